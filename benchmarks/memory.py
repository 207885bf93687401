"""What is said of a run's memory before it starts against what torch's allocator counts, and against HF Trainer.

    python -m benchmarks.memory

Every cell is a process of its own: two optimizer steps on random weights and random tokens, short texts to classify
and prompts to complete. "Trainer" is transformers' with its defaults (padded, fused AdamW), on the same rows. A
benchmark that was cut goes on with the cells that its file lacks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import machine, read_json, table, write_json

HERE = Path(__file__).parent
SHAPES = {
    "nano": {"n_layer": 6, "n_embd": 256, "n_head": 4, "n_positions": 1024, "vocab_size": 8192},
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
}
# task, what is trained, most tokens of a row, batch, dropout, checkpointing
CELLS = [
    ("nano", "classify", "all", 48, 16, 0.0, "off"),
    ("nano", "classify", "all", 224, 16, 0.1, "off"),
    ("nano", "complete", "all", 224, 16, 0.0, "off"),
    ("nano", "classify", "all", 1000, 8, 0.0, "on"),
    ("nano", "classify", "lora", 48, 4, 0.0, "off"),
    ("nano", "classify", "lora", 224, 16, 0.1, "off"),
    ("nano", "classify", "top:2", 224, 16, 0.0, "off"),
    ("nano", "complete", "top:2", 224, 16, 0.0, "off"),
    ("nano", "classify", "head", 224, 16, 0.0, "off"),
    ("gpt2", "classify", "all", 48, 16, 0.0, "off"),
    ("gpt2", "classify", "all", 48, 16, 0.1, "off"),
    ("gpt2", "classify", "all", 224, 4, 0.0, "on"),
    ("gpt2", "complete", "all", 48, 16, 0.1, "off"),
    ("gpt2", "classify", "lora", 48, 16, 0.0, "off"),
    ("gpt2", "classify", "top:2", 48, 16, 0.0, "off"),
]
STEPS, RANK = 2, 8


def cell(
    shape: str, kind: str, part: str, longest: int, batch: int, dropout: float, checkpointing: str, folder: str
) -> None:
    """One cell in this process; prints its figures as JSON."""
    import torch

    from benchmarks.allocator import allocated
    from gpt_magic.engine.adapters import Lora, add_adapter
    from gpt_magic.engine.events import Control
    from gpt_magic.engine.job import Job, Settings
    from gpt_magic.engine.loop import train
    from gpt_magic.engine.packing import hidden_packed
    from gpt_magic.engine.parts import freeze, parse
    from gpt_magic.engine.precision import choose_machine
    from gpt_magic.engine.rehearsal import rehearse
    from gpt_magic.engine.trunk import blank_states, hidden_from, keep_states, rehearse_states
    from gpt_magic.engine.vocabulary import leave_out_unused, used_rows

    rows, objective = data(shape, kind, longest, batch)
    trains = parse(part)
    onward = partial(hidden_from, blocks=trains.blocks) if trains.freezes else hidden_packed
    settings = Settings(
        STEPS, batch, 1, 1e-4, "linear", 0.0, 0.01, 1.0, 0, 0, seed=0, checkpointing=checkpointing
    )  # fmt: skip

    def work(some: Any, model: Any) -> Job:
        if (used := used_rows(model, rows)) is not None:  # as a run does
            leave_out_unused(model, used)
        return Job(model, objective, some, settings, choose_machine("cpu", "fp32"), hidden=onward)

    def begun() -> Any:
        model = load(shape, kind, dropout)
        if part == "lora":
            add_adapter(model, Lora(RANK, 2 * RANK, 0.0))
        if trains.freezes:
            freeze(model, trains)
        return model

    def run(model: Any) -> None:
        read = keep_states(model, rows, trains.blocks) if trains.freezes else rows
        train(work(read, model), lambda _: None, Control())

    read, before = rows, None
    if trains.freezes:
        read = blank_states(rows, trains.blocks, SHAPES[shape]["n_embd"])
        before = partial(rehearse_states, rows=rows, blocks=trains.blocks)
    need = rehearse(begun, partial(work, read), torch.device("cpu"), before=before)
    made: list[Any] = []
    weights, _ = allocated(lambda: made.append(begun()))
    _, held = allocated(lambda: run(made[0]))
    made.clear()
    found = {"said": need.total, "measured": weights + held, "passes": need.passes, "trainer": None}
    if checkpointing == "off" and part == "all":
        model = load(shape, kind, dropout)
        found["trainer"] = weights + allocated(lambda: trainer(model, rows, kind, batch, folder))[1]
    print(json.dumps(found))


def data(shape: str, kind: str, longest: int, batch: int) -> tuple[Any, Any]:
    """Random rows, lengths as of short texts (median about half of the longest), and the task's objective."""
    from gpt_magic.engine.batching import Encoded
    from gpt_magic.tasks.classify import Classify
    from gpt_magic.tasks.language import NextToken

    rng = np.random.default_rng(0)
    count, vocabulary = 4 * batch, SHAPES[shape]["vocab_size"]
    lengths = np.clip(rng.lognormal(np.log(longest / 2), 0.5, count), 4, longest).astype(int)
    ids = [rng.integers(0, vocabulary, length).astype(np.int32) for length in lengths]
    if kind == "classify":
        scored = [np.array([len(row) - 1]) for row in ids]
        targets = [np.array([int(number)]) for number in rng.integers(0, 2, count)]
        return Encoded(ids, scored, targets, range(count)), Classify([0, 1], np.ones(2))
    scored = [np.arange(len(row) - len(row) // 4 - 1, len(row) - 1) for row in ids]  # the last quarter is completed
    targets = [row[at + 1].astype(np.int64) for row, at in zip(ids, scored, strict=True)]
    return Encoded(ids, scored, targets, range(count)), NextToken(vocabulary)


def load(shape: str, kind: str, dropout: float) -> Any:
    """The shape with random weights and the head of the task."""
    from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    config = GPT2Config(**SHAPES[shape], **drop, **ends, num_labels=2)
    return GPT2ForSequenceClassification(config) if kind == "classify" else GPT2LMHeadModel(config)


def trainer(model: Any, rows: Any, kind: str, batch: int, folder: str) -> None:
    """Steps of transformers' Trainer with its defaults on the same rows."""
    import torch
    from transformers import Trainer, TrainingArguments

    def collate(some: list[int]) -> dict[str, torch.Tensor]:
        pad = torch.nn.utils.rnn.pad_sequence
        ids = [torch.from_numpy(rows.ids[row]).long() for row in some]
        mask = pad([torch.ones_like(row) for row in ids], batch_first=True)
        if kind == "classify":
            labels = torch.tensor([int(rows.targets[row][0]) for row in some])
        else:
            expected = [torch.full_like(row, -100) for row in ids]
            for own, row in zip(expected, some, strict=True):
                own[rows.scored[row] + 1] = torch.from_numpy(rows.targets[row])
            labels = pad(expected, batch_first=True, padding_value=-100)
        return {"input_ids": pad(ids, batch_first=True), "attention_mask": mask, "labels": labels}

    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=STEPS,
        per_device_train_batch_size=batch,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model=model, args=arguments, train_dataset=range(len(rows)), data_collator=collate).train()  # type: ignore[arg-type]


def measure(values: tuple[Any, ...], folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory", "--cell", json.dumps([*values, folder])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def show(cells: list[dict[str, Any]]) -> str:
    head = [
        "model",
        "task",
        "trained",
        "longest",
        "batch",
        "dropout",
        "blocks twice",
        "said, MB",
        "measured, MB",
        "ratio",
    ]
    head += ["Trainer, MB", "ours / Trainer"]
    rows = []
    for found in cells:
        shape, kind, part, longest, batch, dropout, checkpointing = found["cell"]
        theirs = found["trainer"]
        rows.append(
            [
                *map(str, (shape, kind, part, longest, batch, dropout, {"on": "yes", "off": "no"}[checkpointing])),
                f"{found['said'] / 1e6:,.0f}",
                f"{found['measured'] / 1e6:,.0f}",
                f"{found['said'] / found['measured']:.3f}",
                f"{theirs / 1e6:,.0f}" if theirs else "",
                f"{found['measured'] / theirs:.2f}" if theirs else "",
            ]
        )
    return table(head, rows)


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    return "\n".join(
        [
            "# Memory said before a run, and measured",
            "",
            f"Made by `python -m benchmarks.memory` on {results['machine']}, {results['date']}. Bytes that torch's",
            "allocator held at the worst moment of two steps, weights and optimizer among them, nothing validated; of",
            "`top:k` and `head` also while the frozen blocks read the rows, before the first step.",
            "Trainer is transformers' with its defaults, on the same rows, padded.",
            "",
            show(results["cells"]),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--fresh", action="store_true", help="measure all cells, also those that the file has")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory.json")
    asked = parser.parse_args()
    if asked.cell:
        cell(*asked.cell)
        return
    known = [] if asked.fresh else read_json(asked.out).get("cells", [])
    cells = [found for found in known if tuple(found["cell"]) in CELLS]
    with tempfile.TemporaryDirectory(prefix="gpt_magic_memory_") as folder:
        for values in CELLS:
            if list(values) in [list(found["cell"]) for found in cells]:
                continue
            cells.append({"cell": list(values), **measure(values, folder)})
            cells.sort(key=lambda found: CELLS.index(tuple(found["cell"])))
            results = {"machine": machine(), "date": datetime.now(UTC).isoformat(timespec="seconds"), "cells": cells}
            write_json(asked.out, results)
            asked.out.with_suffix(".md").write_text(page(results), encoding="utf-8")
    print(show(cells))


if __name__ == "__main__":
    main()
