"""Is `nano` worth its place in tagging? On the Broad Twitter Corpus, against its shape from random weights.

    python -m benchmarks.tagging
    python -m benchmarks.tagging --contenders nano --seeds 0

Also what it brings to score a word at its first token instead of its last, and to read every text twice. The corpus
is read from ``../shared/data/btc`` beside the project: sections a, b, e, f and g train, h tests. Every cell (contender,
seed) is written as soon as it is measured; a second run measures only what is missing, or was measured with other
settings, rows or weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

import gpt_magic
from benchmarks.base import NANO
from benchmarks.report import machine, read_json, spread, table, write_json
from gpt_magic.data.sources import read_table

TWEETS = 2000  # drawn by the seed from all that there are to train: a cell is to take a minute or two
TUNING = {"epochs": 3, "batch_size": 16, "max_length": 256}  # the rest is gpt_magic's default, the learning rate too
# One tweet has no character; the same number format on every processor.
ALONE = {"valid_fraction": 0.0, "baselines": False, "quiet": True, "precision": "fp32", "missing": "drop"}
CONTENDERS = {
    "nano": "nano, fine-tuned",
    "scratch": "its shape, random weights",
    "frequent": "most frequent tag of each word",
    "nano, first": "nano, words scored at their first tokens",
    "nano, repeat": "nano, every text read twice",
}
ABLATION = ("nano, first", "nano, repeat")
METRICS = ("f1", "precision", "recall", "token_accuracy")
TYPES = ("LOC", "ORG", "PER")

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parents[1] / "shared" / "data" / "btc"

Cell = dict[str, Any]


def corpus(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test tweets, with the columns ``tokens`` and ``tags``."""
    parts = {section: read_table(folder / f"{section}.conll") for section in "abefgh"}
    return pd.concat([parts[section] for section in "abefg"], ignore_index=True), parts["h"]


def digest(*tables: pd.DataFrame) -> str:
    """Changes with the rows."""
    return hashlib.sha256("".join(frame.to_json() for frame in tables).encode()).hexdigest()[:12]


def draw(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The tweets that a seed trains on; the same for every contender."""
    chosen = np.random.default_rng(seed).choice(len(train), min(TWEETS, len(train)), replace=False)
    return train.iloc[chosen].reset_index(drop=True)


def made_from(rows: str, contender: str, nano: Path = NANO) -> dict[str, Any]:
    """All that a cell's numbers depend on, its seed and the code aside."""
    made: dict[str, Any] = {"rows": rows, "tweets": TWEETS}
    if contender == "frequent":
        return made
    config = json.loads((nano / "config.json").read_text(encoding="utf-8"))
    made["settings"] = TUNING
    made["shape"] = {name: config[name] for name in ("n_layer", "n_embd", "n_head", "n_positions", "vocab_size")}
    if contender != "scratch":
        made["weights"] = hashlib.sha256((nano / "model.safetensors").read_bytes()).hexdigest()
    return made


def first_tokens(pieces: Sequence[Sequence[int]]) -> np.ndarray:
    """Where each word begins, ``(words,)``."""
    return np.cumsum([0, *(len(piece) for piece in pieces[:-1])])


def tuned(train: pd.DataFrame, test: pd.DataFrame, contender: str, seed: int) -> Cell:
    base, repeat = contender.partition(",")[0], contender.endswith("repeat")
    first = contender.endswith("first")
    with patch("gpt_magic.tasks.spelling.scored", first_tokens) if first else nullcontext():
        result: Any = gpt_magic.finetune(train, task="tag", base=base, seed=seed, repeat=repeat, **TUNING, **ALONE)
        scored = result.evaluate(test, missing="drop")
    return {
        **{metric: getattr(scored, metric) for metric in METRICS},
        "per_type": scored.per_type["f1"].to_dict(),
        "steps": result.metrics["steps"],
        "train_seconds": round(result.metrics["train_seconds"], 1),
    }


def frequent(train: pd.DataFrame, test: pd.DataFrame) -> Cell:
    from gpt_magic.data.checks import Findings
    from gpt_magic.data.columns import Roles
    from gpt_magic.data.tagged import check_sentences
    from gpt_magic.tasks.entities import frequent_tags

    roles = Roles({"tokens": "tokens", "tags": "tags"}, ())
    read = [check_sentences(frame, roles, "drop", Findings(), [], "data") for frame in (train, test)]
    found = frequent_tags(read[0], read[1], TYPES)
    return {**found.scores(), "per_type": found.per_type()["f1"].to_dict()}


def measure(train: pd.DataFrame, test: pd.DataFrame, contender: str, seed: int) -> Cell:
    """Train on the tweets that the seed draws and score the test tweets."""
    drawn = draw(train, seed)
    return frequent(drawn, test) if contender == "frequent" else tuned(drawn, test, contender, seed)


def run(
    out: Path,
    train: pd.DataFrame,
    test: pd.DataFrame,
    wanted: Sequence[tuple[str, int]],
    measure: Callable[[pd.DataFrame, pd.DataFrame, str, int], Cell] = measure,
) -> dict[str, Any]:
    """Measure what is wanted and missing, writing after every cell."""
    rows = digest(train, test)
    found: list[Cell] = read_json(out).get("cells", [])
    cells = [cell for cell in found if cell["made_from"] == made_from(rows, cell["contender"])]
    if len(cells) < len(found):
        print(f"{len(found) - len(cells)} cells were measured with other settings, rows or weights: dropped")
    done = {(cell["contender"], cell["seed"]) for cell in cells}
    facts = {"train_tweets": len(train), "test_tweets": len(test)}
    for contender, seed in wanted:
        if (contender, seed) in done:
            continue
        cells.append(
            {
                "contender": contender,
                "seed": seed,
                **measure(train, test, contender, seed),
                "made_from": made_from(rows, contender),
                "machine": machine(),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        save(out, cells, facts)
        print(f"{contender} seed {seed}: F1 {cells[-1]['f1']:.3f}, {cells[-1].get('train_seconds', 0)} s", flush=True)
    return save(out, cells, facts)


def save(out: Path, cells: Sequence[Cell], facts: dict[str, int]) -> dict[str, Any]:
    """Write the JSON and the page beside it; return what was written."""
    results = {"settings": {**TUNING, "tweets": TWEETS}, **facts, "summary": summary(cells), "cells": list(cells)}
    write_json(out, results)
    if cells:
        out.with_suffix(".md").write_text(page(results), encoding="utf-8")
    return results


def summary(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds, a row a contender."""
    groups = {name: [cell for cell in cells if cell["contender"] == name] for name in CONTENDERS}
    return [
        {
            "contender": name,
            "seeds": sorted(cell["seed"] for cell in group),
            **{metric: spread([cell[metric] for cell in group]) for metric in METRICS},
            "per_type": {kind: spread([cell["per_type"][kind] for cell in group]) for kind in TYPES},
        }
        for name, group in groups.items()
        if group
    ]


def show(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as a table: a row a contender."""

    def text(figures: dict[str, float]) -> str:
        mean = f"{figures['mean']:.3f}"
        return mean if figures["count"] == 1 else f"{mean} ± {figures['sd']:.3f}"

    head = ["", "seeds", "F1", "precision", "recall", "token accuracy", *(f"F1 of {kind}" for kind in TYPES)]
    body = [
        [
            CONTENDERS[row["contender"]],
            ", ".join(map(str, row["seeds"])),
            *(text(row[metric]) for metric in METRICS),
            *(text(row["per_type"][kind]) for kind in TYPES),
        ]
        for row in rows
    ]
    return table(head, body)


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    cells, settings = results["cells"], results["settings"]
    days = sorted({cell["date"][:10] for cell in cells})
    weights = {cell["made_from"]["weights"][:12] for cell in cells if "weights" in cell["made_from"]}
    main = [row for row in results["summary"] if row["contender"] not in ABLATION]
    seeds = {seed for row in results["summary"] if row["contender"] in ABLATION for seed in row["seeds"]}
    alike = summary([c for c in cells if c["seed"] in seeds and c["contender"] in ("nano", *ABLATION)])
    trained = f" Weights of nano (SHA-256): {', '.join(sorted(weights))}." if weights else ""
    return f"""# Tagging the Broad Twitter Corpus

F1 of whole entities (person, place, organisation), as seqeval counts them, on section h, {results["test_tweets"]:,}
tweets; mean ± standard deviation over the seeds. A seed draws {settings["tweets"]:,} of the {results["train_tweets"]:,}
tweets of sections a, b, e, f and g and starts the training, for every contender alike. Small models are weak here, and
section h has more persons than the rest; what counts is the difference between the lines.

{show(main)}

## Where a word is scored, and reading twice

{show(alike)}

The first line is as above with the seeds of the others. The first token of a word knows nothing of the rest of it; read
twice (`repeat = True`, arXiv 2601.17585), a text costs twice as much.

{settings["epochs"]} epochs, batch {settings["batch_size"]}, {settings["max_length"]} tokens, the default learning rate,
no validation rows, the last weights. The corpus: Derczynski, Bontcheva and Roberts (COLING 2016), CC BY 4.0; nothing of
it is in this repository.

{"; ".join(sorted({cell["machine"] for cell in cells}))}; {" to ".join(dict.fromkeys([days[0], days[-1]]))}.{trained}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tagging.json")
    asked = parser.parse_args()
    if not asked.corpus.is_dir():
        print(f"skipped: there is no Broad Twitter Corpus in '{asked.corpus}' (a.conll to h.conll)")
        return
    wanted = [(name, seed) for seed in asked.seeds for name in asked.contenders]
    print(show(run(asked.out, *corpus(asked.corpus), wanted)["summary"]))


if __name__ == "__main__":
    main()
