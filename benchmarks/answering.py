"""Does `nano` learn to answer questions? Against its own shape from random weights, and the sliding window.

    python -m benchmarks.answering
    python -m benchmarks.answering --contenders window "extract nano" --seeds 0

Every cell (contender, seed) is written as soon as it is measured; a second run measures only what is missing, or was
measured with other settings, questions or weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpt_magic
from benchmarks.report import machine, read_json, spread, table, write_json

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).resolve().parent
XQUAD = HERE.parents[1] / "shared" / "data" / "xquad_en_24.json"
NANO = Path(gpt_magic.__file__).resolve().parent / "models" / "nano"
FOLDS = 3
TUNING = {"epochs": 3, "batch_size": 16}  # everything else is gpt_magic's default, the learning rate too
# The budget goes into training rows only; the same number format on every processor.
ALONE = {"valid_fraction": 0.0, "baselines": False, "quiet": True, "precision": "fp32"}
CONTENDERS = {
    "extract nano": "nano, style = extract",
    "extract scratch": "its shape, random weights, extract",
    "write nano": "nano, style = write",
    "write scratch": "its shape, random weights, write",
    "window": "sliding window of question words",
}
METRICS = ("exact_match", "f1")

Cell = dict[str, Any]


def folds(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The questions to train on and those to test: of every third article, so that each is tested with one seed."""
    titles = list(dict.fromkeys(frame["title"]))
    tested = frame["title"].isin(titles[seed % FOLDS :: FOLDS])
    return frame[~tested], frame[tested]


def made_from(contender: str, questions: str, nano: Path = NANO) -> dict[str, Any]:
    """All that a cell's numbers depend on, its seed and the code aside."""
    if contender == "window":
        return {"questions": questions}
    config = json.loads((nano / "config.json").read_text(encoding="utf-8"))
    made = {
        "questions": questions,
        "settings": TUNING,
        "shape": {name: config[name] for name in ("n_layer", "n_embd", "n_head", "n_positions", "vocab_size")},
    }
    if contender.endswith("nano"):
        made["weights"] = hashlib.sha256((nano / "model.safetensors").read_bytes()).hexdigest()
    return made


def measure(frame: pd.DataFrame, contender: str, seed: int) -> Cell:
    """Train on the articles of a fold and answer the questions of the others."""
    train, test = folds(frame, seed)
    counts = {"train_rows": len(train), "test_rows": len(test)}
    if contender == "window":
        return {**counts, **window(train, test)}
    style, base = contender.split()
    result: Any = gpt_magic.finetune(train, task="answer", style=style, base=base, seed=seed, **TUNING, **ALONE)
    scored = result.evaluate(test)
    return {
        **counts,
        "exact_match": scored.exact_match,
        "f1": scored.f1,
        "steps": result.metrics["steps"],
        "learning_rate": float(result.history["learning_rate"].max()),
        "last_loss": float(result.history["loss"].tail(10).mean()),
        "train_seconds": round(result.metrics["train_seconds"], 1),
    }


def window(train: pd.DataFrame, test: pd.DataFrame) -> Cell:
    from gpt_magic.data.checks import Findings
    from gpt_magic.data.questions import check_questions
    from gpt_magic.tasks import overlap

    start = time.perf_counter()
    columns = {"question": "question", "context": "context", "answer": "answers"}
    known, asked = (
        check_questions(part, columns, "error", Findings(), "data", extracts=False) for part in (train, test)
    )
    ((_, scores),), _ = overlap.compare(known, asked, threading.Event())
    return {**dict(zip(METRICS, scores, strict=True)), "train_seconds": round(time.perf_counter() - start, 1)}


def summary(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds, a row a contender."""
    return [
        {"contender": name, **{metric: spread([cell[metric] for cell in found]) for metric in METRICS}}
        for name in CONTENDERS
        if (found := [cell for cell in cells if cell["contender"] == name])
    ]


def show(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as a table."""

    def text(value: dict[str, float]) -> str:
        mean = f"{100 * value['mean']:.1f}"
        return f"{mean} (1 seed)" if value["count"] == 1 else f"{mean} ± {100 * value['sd']:.1f}"

    body = [[CONTENDERS[row["contender"]], *(text(row[metric]) for metric in METRICS)] for row in rows]
    return table(["", "exact match, %", "F1, %"], body)


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    cells = results["cells"]
    machines = "; ".join(sorted({cell["machine"] for cell in cells}))
    days = sorted({cell["date"][:10] for cell in cells})
    weights = {cell["made_from"]["weights"][:12] for cell in cells if "weights" in cell["made_from"]}
    trained = f" Weights of nano (SHA-256): {', '.join(sorted(weights))}." if weights else ""
    seconds = {name: [cell["train_seconds"] for cell in cells if cell["contender"] == name] for name in CONTENDERS}
    took = ", ".join(f"{name} {min(some):g} to {max(some):g} s" for name, some in seconds.items() if some)
    train = sorted({cell["train_rows"] for cell in cells})
    return f"""# Answering questions

Exact match and F1 as SQuAD's script computes them, mean ± standard deviation over the seeds
{", ".join(map(str, sorted({cell["seed"] for cell in cells})))}. A seed holds out the questions of every third article,
so that three seeds test each question once, and starts the training.

{show(results["summary"])}

XQuAD, English, 24 articles (Artetxe, Ruder, Yogatama 2020; CC BY-SA 4.0): {results["questions"]} questions, of which
{train[0]} to {train[-1]} train. {results["settings"]["epochs"]} epochs, batch {results["settings"]["batch_size"]}, each
contender with its default learning rate, no validation rows, the last weights.

Seconds of training steps: {took}; on a machine that did other work too.

{machines}; {" to ".join(dict.fromkeys([days[0], days[-1]]))}.{trained}
"""


def save(out: Path, cells: Sequence[Cell], questions: int) -> dict[str, Any]:
    """Write the JSON and the page beside it; return what was written."""
    results = {"settings": TUNING, "questions": questions, "summary": summary(cells), "cells": list(cells)}
    write_json(out, results)
    if cells:
        out.with_suffix(".md").write_text(page(results), encoding="utf-8")
    return results


def run(
    out: Path,
    frame: pd.DataFrame,
    digest: str,
    wanted: Sequence[tuple[str, int]],
    measure: Callable[[pd.DataFrame, str, int], Cell] = measure,
) -> dict[str, Any]:
    """Measure what is wanted and missing, writing after every cell."""
    found = read_json(out).get("cells", [])
    cells = [cell for cell in found if cell["made_from"] == made_from(cell["contender"], digest)]
    if len(cells) < len(found):
        print(f"{len(found) - len(cells)} cells were measured with other settings, questions or weights: dropped")
    done = {(cell["contender"], cell["seed"]) for cell in cells}
    todo = [one for one in wanted if one not in done]
    results = save(out, cells, len(frame))
    for number, (contender, seed) in enumerate(todo, 1):
        cell = {
            "contender": contender,
            "seed": seed,
            **measure(frame, contender, seed),
            "made_from": made_from(contender, digest),
            "machine": machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        cells.append(cell)
        results = save(out, cells, len(frame))
        print(
            f"{number}/{len(todo)} {contender} seed {seed}: exact match {cell['exact_match']:.3f}, "
            f"F1 {cell['f1']:.3f}, {cell['train_seconds']} s",
            flush=True,
        )
    return results


def main() -> None:
    from gpt_magic.data.sources import read_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", type=Path, default=XQUAD, help="English XQuAD as a SQuAD file (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "answering.json")
    asked = parser.parse_args()
    if not asked.data.is_file():
        print(f"nothing measured: {asked.data} is not there; give an English XQuAD in SQuAD's format as --data")
        return
    digest = hashlib.sha256(asked.data.read_bytes()).hexdigest()[:16]
    wanted = [(contender, seed) for seed in asked.seeds for contender in asked.contenders]
    print(show(run(asked.out, read_table(asked.data), digest, wanted)["summary"]))


if __name__ == "__main__":
    main()
