"""How fast are answers? Labels against transformers' pipeline, label words, and text against plain ``generate``.

    python -m benchmarks.predict
    python -m benchmarks.predict --texts 1000 --rounds 5

The sides take turns in one process with the same model and the same texts; CPU seconds stand beside wall time, which
other work on the machine stretches.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

import gpt_magic
import gpt_magic.samples
from benchmarks.report import machine, middle, read_json, table, write_json
from gpt_magic.inference.generation import generate
from gpt_magic.inference.label_tree import label_tree, score_labels
from gpt_magic.inference.sampling import Sampling
from gpt_magic.models.load import quiet

RESULTS = Path(__file__).resolve().parent / "results"
NEW_TOKENS = 24
LABELS = 10
Side = Callable[[], Any]


def short_texts(count: int) -> list[str]:
    """Lines of 20 to 200 characters from the mails in the package."""
    lines = (line.strip() for mail in gpt_magic.samples.load("spam")["text"] for line in mail.splitlines())
    return list(dict.fromkeys(line for line in lines if 20 <= len(line) <= 200))[:count]


def take_turns(sides: dict[str, Side], rounds: int) -> tuple[dict[str, dict[str, list[float]]], dict[str, Any]]:
    """Wall and CPU seconds of each side in each round, and what it gave last."""
    times: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in sides}
    given = {}
    names = list(sides)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            wall, cpu = time.perf_counter(), time.process_time()
            given[name] = sides[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name]["wall"].append(time.perf_counter() - wall)
            times[name]["cpu"].append(time.process_time() - cpu)
    return times, given


def labels_against_pipeline(texts: Sequence[str], classifier: Any, rounds: int) -> tuple[Any, float]:
    """Times, and the largest difference between two probabilities."""
    from transformers import pipeline

    pipe = pipeline("text-classification", model=classifier.model, tokenizer=classifier.tokenizer)

    def by_pipeline(**how: Any) -> np.ndarray:
        rows = pipe(list(texts), truncation=True, max_length=classifier.max_length, top_k=None, **how)
        return np.array([max(one["score"] for one in row) for row in rows])

    sides: dict[str, Side] = {
        "pipeline, a batch of 16": lambda: by_pipeline(batch_size=16),
        "pipeline, defaults": by_pipeline,
        "gpt_magic": lambda: classifier.predict(list(texts))["confidence"].to_numpy(),
    }
    times, given = take_turns(sides, rounds)
    ours = given.pop("gpt_magic")
    return times, float(max(np.abs(ours - theirs).max() for theirs in given.values()))


def label_words(rounds: int, prompts: int = 100) -> tuple[Any, float]:
    """One sequence a prompt and label, padded, against a shared beginning; nano's shape, ten labels."""
    rng = np.random.default_rng(0)
    model = language_model("nano")
    texts = [rng.integers(0, 8000, n).astype(np.int32) for n in rng.integers(10, 60, prompts)]
    labels = [rng.integers(0, 8000, n).tolist() for n in rng.integers(1, 4, LABELS)]

    def one_by_one() -> np.ndarray:
        scores = np.empty((len(texts), LABELS), dtype=np.float32)
        for row, text in enumerate(texts):
            rows = [torch.tensor([*text, *label]) for label in labels]
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
            with torch.inference_mode():
                known = model(padded, use_cache=False).logits.log_softmax(-1)
            for number, label in enumerate(labels):
                at = np.arange(len(text) - 1, len(text) + len(label) - 1)
                scores[row, number] = float(known[number, at, label].sum())
        return scores

    tree = label_tree(labels)
    times, given = take_turns(
        {"one sequence a label": one_by_one, "gpt_magic": lambda: score_labels(model, texts, tree)}, rounds
    )
    return times, float(np.abs(np.subtract(*given.values())).max())


def text_against_generate(shape: str, batch: int, rounds: int) -> tuple[Any, bool]:
    """Greedy continuations of prompts of 20 tokens, and whether they are the same tokens."""
    model, tokenizer = language_model(shape), _Numbers()
    prompts = [row.tolist() for row in np.random.default_rng(0).integers(0, 8000, (batch, 20))]
    sampling = Sampling(max_new_tokens=NEW_TOKENS, temperature=0)

    def plain() -> list[str]:
        with quiet(), torch.inference_mode():
            ids = torch.tensor(prompts, device=model.device)
            how = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
            out = model.generate(ids, attention_mask=torch.ones_like(ids), **how)
        return [tokenizer.decode(row) for row in out[:, 20:].tolist()]

    def ours() -> list[str]:
        return [one.text for one in generate(model, tokenizer, prompts, sampling, batch_size=batch)]

    times, given = take_turns({"generate": plain, "gpt_magic": ours}, rounds)
    return times, given["generate"] == given["gpt_magic"]


class _Numbers:
    """A tokenizer whose texts are the tokens' numbers, so that nothing but the model's time is measured."""

    eos_token_id = None

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return " ".join(map(str, tokens))


def language_model(shape: str) -> Any:
    """Random weights in the shape of ``nano`` or GPT-2 small."""
    torch.manual_seed(0)
    ends: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
    small = {"n_layer": 6, "n_embd": 256, "n_head": 8, "vocab_size": 8192}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return GPT2LMHeadModel(GPT2Config(**(small if shape == "nano" else {}), **ends)).eval().to(device)


def as_rows(what: str, times: dict[str, dict[str, list[float]]], same: str) -> list[list[str]]:
    """Table rows: each side's seconds, and how much faster it is than the first."""
    (_, first), *_ = times.items()
    rows = []
    for name, own in times.items():
        ratios = [[a / b for a, b in zip(first[clock], own[clock], strict=True)] for clock in ("wall", "cpu")]
        said = [f"{statistics.median(own[clock]):.2f}" for clock in ("wall", "cpu")]
        against = [f"{statistics.median(r):.2f} ({min(r):.2f}-{max(r):.2f})" for r in ratios]
        rows.append([what, name, *said, *against, same if own is not first else ""])
    return rows


def classifier_of(shape: str) -> Any:
    """A classifier that has learned for one step: what it says does not matter here."""
    rows = [{"text": f"a {word} film, number {n}", "label": word} for n in range(8) for word in ("good", "bad")]
    tuned = gpt_magic.finetune(rows, base="nano", max_steps=1, baselines=False, quiet=True)
    if shape == "gpt2":
        torch.manual_seed(0)
        config = GPT2Config(num_labels=2, pad_token_id=tuned.tokenizer.pad_token_id)
        tuned.model = GPT2ForSequenceClassification(config).eval().to(tuned.model.device)
    return tuned


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write it and its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", default=["nano", "gpt2"], choices=["nano", "gpt2"])
    parser.add_argument("--results", type=Path, default=RESULTS / "predict.json")
    args = parser.parse_args(arguments)
    content: dict[str, Any] = {"machine": machine(), "rounds": args.rounds, "texts": args.texts, "cells": {}}
    content["date"] = datetime.now(UTC).date().isoformat()
    rows: list[list[str]] = []
    texts = short_texts(args.texts)

    def note(what: str, times: dict[str, dict[str, list[float]]], same: str) -> None:
        seconds = {side: {clock: middle(v) for clock, v in own.items()} for side, own in times.items()}
        content["cells"][what] = {"seconds": seconds, "same": same}
        rows.extend(as_rows(what, times, same))
        print(rows[-1], flush=True)

    for shape in args.shapes:
        times, apart = labels_against_pipeline(texts, classifier_of(shape), args.rounds)
        note(f"{len(texts):,} short texts, {shape}", times, f"probabilities to {apart:.0e}")
        for batch in (1, 8):
            written, alike = text_against_generate(shape, batch, args.rounds)
            note(f"{NEW_TOKENS} tokens, batch {batch}, {shape}", written, "same tokens" if alike else "other tokens")
    times, apart = label_words(args.rounds)
    note(f"{LABELS} label words, nano", times, f"log-probabilities to {apart:.0e}")
    head = ["what", "side", "seconds", "CPU seconds", "x faster, wall", "x faster, CPU time", "the same"]
    content["table"] = table(head, rows)
    print(f"\n{machine()}\n\n{content['table']}")
    save(args.results, content)


def save(out: Path, content: dict[str, Any]) -> None:
    """Put the figures of this machine beside those of others, in the JSON and on the page."""
    others = [old for old in read_json(out).get("machines", []) if old["machine"] != content["machine"]]
    machines = sorted([*others, content], key=lambda found: found["machine"])
    write_json(out, {"machines": machines})
    page = (
        "# Answers, side by side\n\nMade by `python -m benchmarks.predict`; medians of the rounds (smallest-largest).\n"
    )
    for found in machines:
        page += f"\n## {found['machine']}\n\n{found['rounds']} rounds, {found['date']}.\n\n{found['table']}\n"
    out.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
