"""Is `nano` worth its place? Against its own shape from random weights, and TF-IDF with logistic regression.

    python -m benchmarks.base
    python -m benchmarks.base --contenders nano --seeds 0

Every cell (set, size, contender, seed) is written as soon as it is measured; a second run measures only what is
missing, or was measured with other settings, rows or weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpt_magic
from benchmarks.report import machine, read_json, spread, table, write_json
from benchmarks.sets import MAX_CHARACTERS, SETS, LabelledSet

if TYPE_CHECKING:
    import pandas as pd

EPOCHS = {"200": 10, "1000": 5, "all": 2}
TUNING = {"max_length": 128, "batch_size": 16}  # everything else is gpt_magic's default, the learning rate too
# The budget goes into training rows only; the same number format on every processor.
ALONE = {"valid_fraction": 0.0, "baselines": False, "quiet": True, "precision": "fp32"}
TFIDF: dict[str, Any] = {"ngram_range": [1, 2], "sublinear_tf": True, "C": 10.0, "max_iter": 1000}
CONTENDERS = {
    "nano": "nano, fine-tuned",
    "scratch": "its shape, random weights",
    "tfidf": "TF-IDF + logistic regression",
}
METRICS = ("accuracy", "macro_f1")

HERE = Path(__file__).resolve().parent
NANO = Path(gpt_magic.__file__).resolve().parent / "models" / "nano"

Cell = dict[str, Any]


def key(cell: Cell) -> tuple[str, str, str, int]:
    return cell["set"], cell["size"], cell["contender"], cell["seed"]


def made_from(data: LabelledSet, size: str, contender: str, nano: Path = NANO) -> dict[str, Any]:
    """All that a cell's numbers depend on, its seed and the code aside."""
    if contender == "tfidf":
        return {"rows": data.digest, "settings": TFIDF}
    config = json.loads((nano / "config.json").read_text(encoding="utf-8"))
    made = {
        "rows": data.digest,
        "settings": {**TUNING, "epochs": EPOCHS[size]},
        "shape": {name: config[name] for name in ("n_layer", "n_embd", "n_head", "n_positions", "vocab_size")},
    }
    if contender == "nano":
        made["weights"] = hashlib.sha256((nano / "model.safetensors").read_bytes()).hexdigest()
    return made


def tuned(train: pd.DataFrame, test: pd.DataFrame, base: str, size: str, seed: int) -> Cell:
    result: Any = gpt_magic.finetune(
        train, text="text", label="label", base=base, epochs=EPOCHS[size], seed=seed, **TUNING, **ALONE
    )
    scored = result.evaluate(test)
    return {
        "accuracy": scored.accuracy,
        "macro_f1": scored.macro_f1,
        "steps": result.metrics["steps"],
        "learning_rate": float(result.history["learning_rate"].max()),
        "train_seconds": round(result.metrics["train_seconds"], 1),
    }


def tfidf(train: pd.DataFrame, test: pd.DataFrame) -> Cell:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline

    start = time.perf_counter()
    features = TfidfVectorizer(ngram_range=tuple(TFIDF["ngram_range"]), sublinear_tf=TFIDF["sublinear_tf"])
    model = make_pipeline(features, LogisticRegression(C=TFIDF["C"], max_iter=TFIDF["max_iter"]))
    model.fit(train["text"], train["label"])
    said = model.predict(test["text"])
    return {
        "accuracy": float(accuracy_score(test["label"], said)),
        "macro_f1": float(f1_score(test["label"], said, average="macro", zero_division=0)),
        "train_seconds": round(time.perf_counter() - start, 1),
    }


def measure(data: LabelledSet, size: str, contender: str, seed: int) -> Cell:
    """Train on the rows that the seed draws and score the test rows."""
    train = data.draw(size, seed)
    scores = tfidf(train, data.test) if contender == "tfidf" else tuned(train, data.test, contender, size, seed)
    return {"train_rows": len(train), **scores}


def still_valid(cells: Sequence[Cell], sets: Sequence[LabelledSet], nano: Path = NANO) -> list[Cell]:
    """The cells that would be measured from the same rows, settings and weights today; other sets' are not judged."""
    loaded = {data.name: data for data in sets}

    def current(cell: Cell) -> bool:
        data = loaded.get(cell["set"])
        return data is None or (
            cell["size"] in EPOCHS and cell["made_from"] == made_from(data, cell["size"], cell["contender"], nano)
        )

    return [cell for cell in cells if current(cell)]


def missing(cells: Sequence[Cell], wanted: Sequence[tuple[str, str, str, int]]) -> list[tuple[str, str, str, int]]:
    """What is wanted and not measured, in the order it is wanted."""
    done = {key(cell) for cell in cells}
    return [cell for cell in wanted if cell not in done]


def summary(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds, a row a set, size and contender."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell)[:3], []).append(cell)
    order = {name: i for i, name in enumerate([*SETS, *EPOCHS, *CONTENDERS])}
    return [
        {
            "set": group[0],
            "size": group[1],
            "contender": group[2],
            **{metric: spread([cell[metric] for cell in groups[group]]) for metric in METRICS},
        }
        for group in sorted(groups, key=lambda group: [order.get(name, 0) for name in group])
    ]


def show(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as a table: a row a set and size, a column a contender."""

    def text(row: dict[str, Any]) -> str:
        count = row["accuracy"]["count"]
        if count == 1:  # has no spread
            return " / ".join(f"{row[metric]['mean']:.3f}" for metric in METRICS) + " (1 seed)"
        figures = " / ".join(f"{row[metric]['mean']:.3f} ± {row[metric]['sd']:.3f}" for metric in METRICS)
        return figures if count >= 3 else f"{figures} ({count} seeds)"

    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        lines.setdefault((row["set"], row["size"]), {})[row["contender"]] = text(row)
    body = [[*line, *(cells.get(name, "") for name in CONTENDERS)] for line, cells in lines.items()]
    return table(["set", "training rows", *CONTENDERS.values()], body)


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    cells = results["cells"]
    facts = []
    for name, data in results["sets"].items():
        largest = max(data["test_classes"].values()) / data["test_rows"]
        facts.append(
            f"- `{name}`: {data['task']}. From {data['source']}; licence: {data['licence']}. {data['train_rows']:,} "
            f"training rows in all, {data['test_rows']:,} test rows, {largest:.3f} of them in the largest class."
        )
    weights = {cell["made_from"]["weights"][:12] for cell in cells if "weights" in cell["made_from"]}
    days = sorted({cell["date"][:10] for cell in cells})
    period = " to ".join(dict.fromkeys([days[0], days[-1]]))
    seeds = sorted({cell["seed"] for cell in cells})
    settings = results["settings"]
    epochs = ", ".join(f"{count} epochs of {size} rows" for size, count in settings["epochs"].items())
    machines = "; ".join(sorted({cell["machine"] for cell in cells}))
    trained = f" Weights of nano (SHA-256): {', '.join(sorted(weights))}." if weights else ""
    return f"""# What the base model brings

Accuracy / macro F1 on the test rows, mean ± standard deviation over the seeds {", ".join(map(str, seeds))}. The seed
draws the rows (`all` are the same for every seed) and starts the training; TF-IDF on all rows has no chance in it.

{show(results["summary"])}

{chr(10).join(facts)}

Texts are cut at {settings["max_characters"]} characters for all. `nano` and its shape from random weights get the same
steps: {epochs}; batch {settings["batch_size"]}, {settings["max_length"]} tokens, each with its default learning rate,
no validation rows, the last weights. TF-IDF: words and pairs of words, sublinear, C = {settings["tfidf"]["C"]:g}.

{machines}; {period}.{trained}
"""


def save(out: Path, cells: Sequence[Cell], sets: Sequence[LabelledSet]) -> dict[str, Any]:
    """Write the JSON and the page beside it; return what was written."""
    known = {**read_json(out).get("sets", {}), **{data.name: data.describe() for data in sets}}
    results = {
        "settings": {**TUNING, "epochs": EPOCHS, "max_characters": MAX_CHARACTERS, "tfidf": TFIDF},
        "sets": {name: known[name] for name in SETS if name in known},
        "summary": summary(cells),
        "cells": list(cells),
    }
    write_json(out, results)
    if cells:
        out.with_suffix(".md").write_text(page(results), encoding="utf-8")
    return results


def run(
    out: Path,
    sets: Sequence[LabelledSet],
    wanted: Sequence[tuple[str, str, str, int]],
    measure: Callable[[LabelledSet, str, str, int], Cell] = measure,
) -> dict[str, Any]:
    """Measure what is wanted and missing, writing after every cell."""
    found = read_json(out).get("cells", [])
    cells = still_valid(found, sets)
    if len(cells) < len(found):
        print(f"{len(found) - len(cells)} cells were measured with other settings, rows or weights: dropped")
    loaded = {data.name: data for data in sets}
    todo = missing(cells, wanted)
    results = save(out, cells, sets)
    for number, (name, size, contender, seed) in enumerate(todo, 1):
        made = made_from(loaded[name], size, contender)  # before the measurement, in which the weights may change
        cell = {
            "set": name,
            "size": size,
            "contender": contender,
            "seed": seed,
            **measure(loaded[name], size, contender, seed),
            "made_from": made,
            "machine": machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        cells.append(cell)
        results = save(out, cells, sets)
        print(
            f"{number}/{len(todo)} {name} {size} {contender} seed {seed}: accuracy {cell['accuracy']:.3f}, "
            f"macro F1 {cell['macro_f1']:.3f}, {cell['train_seconds']} s",
            flush=True,
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--sizes", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "base.json")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "gpt_magic_benchmarks")
    asked = parser.parse_args()
    sets = [SETS[name](asked.cache.resolve()) for name in asked.sets]
    wanted = [
        (name, size, contender, seed)
        for seed in asked.seeds
        for name in asked.sets
        for size in asked.sizes
        for contender in asked.contenders
    ]
    print(show(run(asked.out, sets, wanted)["summary"]))


if __name__ == "__main__":
    main()
