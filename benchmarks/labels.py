"""Label words against a head on few rows; what a temperature does on test rows; several labels a text.

    python -m benchmarks.labels
    python -m benchmarks.labels --parts words --seeds 0

Every cell is written as soon as it is measured; a second run measures only what is missing, or was measured with other
settings, rows or weights.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import gpt_magic
from benchmarks.base import NANO
from benchmarks.report import machine, read_json, spread, table, write_json
from benchmarks.sets import MAX_CHARACTERS, LabelledSet, films, sections, tags
from gpt_magic.inference.calibration import calibration_error, certainty, reliability

if TYPE_CHECKING:
    import pandas as pd

SETS: dict[str, Callable[[Path], LabelledSet]] = {"films": films, "sections": sections, "tags": tags}
EPOCHS = {0: 0, 50: 20, 200: 10, 1000: 5}  # by training rows
TEMPLATES = {"films": "{text}\nThis film is", "sections": "{text}\nSection:"}
TEST_ROWS = 500  # of the words, whose names take more tokens to score, and of all else
TUNING: dict[str, Any] = {"base": "nano", "max_length": 128, "batch_size": 16, "baselines": False, "quiet": True}
METRICS = {
    "words": ("accuracy", "macro_f1"),
    "calibration": ("ece_before", "ece_after", "nll_before", "nll_after", "accuracy"),
    "several": ("micro_f1_half", "micro_f1", "macro_f1", "average_precision"),
}

Cell = dict[str, Any]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Wanted:
    """One cell to measure: ``rows`` are those to train on, 0 for none."""

    part: str
    set: str
    contender: str
    rows: int
    seed: int

    def settings(self) -> dict[str, Any]:
        """The options of the run."""
        valid = {"words": 0.0, "calibration": 0.2, "several": 0.2}[self.part]
        style = {"style": "words", "template": TEMPLATES[self.set]} if self.contender == "words" else {}
        base = {"base": "scratch"} if self.contender == "scratch" else {}
        return {**TUNING, "epochs": EPOCHS[self.rows], "valid_fraction": valid, **style, **base}


def wanted(parts: Sequence[str], seeds: Sequence[int]) -> list[Wanted]:
    """Every cell, all of one seed first; nothing in classifying without training depends on the seed."""
    found = [Wanted("words", name, "words", 0, 0) for name in TEMPLATES]
    for seed in seeds:
        found += [
            Wanted("words", "films", style, rows, seed) for rows in (50, 200, 1000) for style in ("head", "words")
        ]
        found += [Wanted("calibration", name, "head", 1000, seed) for name in ("films", "sections")]
        found += [Wanted("several", "tags", contender, 1000, seed) for contender in ("nano", "scratch", "tfidf")]
    return [cell for cell in found if cell.part in parts]


def draw(data: LabelledSet, rows: int, seed: int) -> pd.DataFrame:
    """Rows to train on; of single labels every one keeps its share."""
    if data.name == "tags":
        return with_lists(data.train.sample(rows, random_state=seed).reset_index(drop=True))
    return data.draw(str(rows), seed)


def with_lists(rows: pd.DataFrame) -> pd.DataFrame:
    """Tags as lists."""
    return rows.assign(label=[label.split() for label in rows["label"]])


def measure(cell: Wanted, data: LabelledSet) -> Cell:
    """Train and score the test rows."""
    test, start = data.test[:TEST_ROWS], time.perf_counter()
    if cell.part == "several":
        scores = several(cell, draw(data, cell.rows, cell.seed), with_lists(test))
    elif cell.rows == 0:
        named = {"label": "label", "template": TEMPLATES[cell.set], "base": "nano", "max_length": TUNING["max_length"]}
        found = gpt_magic.zero_shot(sorted(set(data.train["label"])), **named).evaluate(test)
        scores = {"accuracy": found.accuracy, "macro_f1": found.macro_f1}
    else:
        tuned: Any = gpt_magic.finetune(draw(data, cell.rows, cell.seed), seed=cell.seed, **cell.settings(), **COLUMNS)
        scores = calibration(tuned, test) if cell.part == "calibration" else plain(tuned, test)
    return {**scores, "seconds": round(time.perf_counter() - start, 1)}


COLUMNS = {"text": "text", "label": "label"}


def plain(tuned: Any, test: pd.DataFrame) -> Cell:
    found = tuned.evaluate(test)
    return {"accuracy": found.accuracy, "macro_f1": found.macro_f1}


def calibration(tuned: Any, test: pd.DataFrame) -> Cell:
    """How sure the model is on rows that neither training nor temperature saw, with the temperature and without."""
    scored = tuned.predict(test, probabilities=True)
    after = np.log(scored[[f"p({label})" for label in tuned.classes]].to_numpy(float))
    truth = np.array([list(tuned.classes).index(label) for label in test["label"]])
    temperature = tuned.calibration["temperature"]
    found: Cell = {"temperature": temperature, "accuracy": float((after.argmax(axis=1) == truth).mean())}
    for when, logits in (("before", after * temperature), ("after", after)):
        found[f"ece_{when}"] = calibration_error(reliability(*certainty(logits, truth)))
        exact = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        found[f"nll_{when}"] = float(-exact[np.arange(len(truth)), truth].mean())
    return found


def several(cell: Wanted, train: pd.DataFrame, test: pd.DataFrame) -> Cell:
    """Labels of the test rows, at probability 0.5 and at the tuned thresholds; of TF-IDF at 0.5 alone."""
    from gpt_magic.data.checks import Examples
    from gpt_magic.tasks.baselines import tfidf_label_sets

    if cell.contender == "tfidf":
        classes = sorted({label for labels in train["label"] for label in labels})
        parts = [
            Examples(rows["text"].tolist(), [tuple(set(some) & set(classes)) for some in rows["label"]], [*rows.index])
            for rows in (train, test)
        ]
        micro, macro, average = tfidf_label_sets(*parts, classes, cell.seed)
        return {"micro_f1_half": micro, "micro_f1": micro, "macro_f1": macro, "average_precision": average}
    tuned: Any = gpt_magic.finetune(train, seed=cell.seed, **cell.settings(), **COLUMNS)
    known = test.assign(label=[[one for one in labels if one in set(tuned.classes)] for labels in test["label"]])
    found = tuned.evaluate(known)
    tuned.thresholds = [0.5] * len(tuned.classes)
    half = tuned.evaluate(known)
    return {
        "micro_f1_half": half.micro_f1,
        **{name: getattr(found, name) for name in ("micro_f1", "macro_f1", "average_precision")},
        "ece_validation": [tuned.metrics.get("ece_before"), tuned.metrics.get("ece_after")],
    }


def made_from(cell: Wanted, data: LabelledSet) -> dict[str, Any]:
    """All that a cell's numbers depend on, its seed and the code aside."""
    weights = hashlib.sha256((NANO / "model.safetensors").read_bytes()).hexdigest()[:12]
    return {"rows": data.digest, "test_rows": TEST_ROWS, "settings": cell.settings(), "nano": weights}


def run(out: Path, cells: Sequence[Wanted], cache: Path) -> None:
    """Measure what is missing, writing after every cell."""
    loaded = {name: SETS[name](cache) for name in dict.fromkeys(cell.set for cell in cells)}
    found: dict[str, Cell] = {_key(cell): cell for cell in read_json(out).get("cells", [])}
    for cell in cells:
        made = made_from(cell, loaded[cell.set])
        if found.get(_key(asdict(cell)), {}).get("made_from") == made:
            continue
        scores = measure(cell, loaded[cell.set])
        date = datetime.now(UTC).isoformat(timespec="seconds")
        found[_key(asdict(cell))] = {**asdict(cell), **scores, "made_from": made, "machine": machine(), "date": date}
        known = {**read_json(out).get("sets", {}), **{name: data.describe() for name, data in loaded.items()}}
        for described in known.values():
            described.pop("test_classes", None)
        write_json(out, {"sets": known, "cells": list(found.values())})
        out.with_suffix(".md").write_text(page(read_json(out)), encoding="utf-8")
        print(cell, scores, flush=True)


def _key(cell: Cell) -> str:
    return "/".join(str(cell[name]) for name in ("part", "set", "contender", "rows", "seed"))


def rows_of(cells: Sequence[Cell], part: str) -> list[list[str]]:
    """A row a set, contender and size: mean and standard deviation over the seeds."""
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        if cell["part"] == part:
            groups.setdefault((cell["set"], cell["rows"], cell["contender"]), []).append(cell)
    lines = []
    for (name, rows, contender), some in sorted(groups.items()):
        figures = [spread([cell[metric] for cell in some]) for metric in METRICS[part]]
        said = [f"{f['mean']:.3f}" + (f" ± {f['sd']:.3f}" if f["count"] > 1 else "") for f in figures]
        lines.append([name, f"{rows:,}", contender, *said, str(len(some))])
    return lines


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    cells = results["cells"]

    def shown(part: str, contender: str = "what", seeds: str = "seeds") -> str:
        names = [name.replace("_", " ") for name in METRICS[part]]
        return table(["set", "training rows", contender, *names, seeds], rows_of(cells, part))

    sets = "\n".join(
        f"- `{name}`: {data['task']}. From {data['source']}; licence: {data['licence']}."
        for name, data in results["sets"].items()
    )
    machines = "; ".join(sorted({cell["machine"] for cell in cells}))
    days = sorted({cell["date"][:10] for cell in cells})
    epochs = ", ".join(f"{count} of {rows:,}" for rows, count in EPOCHS.items() if rows)
    templates = "; ".join(f"`{name}` {text!r}" for name, text in TEMPLATES.items())
    return f"""# Labels: words, calibration, several a text

Means ± standard deviations over the seeds, which draw the training rows and start the training; the first
{TEST_ROWS} test rows of each set. `nano`, {TUNING["max_length"]} tokens, batch {TUNING["batch_size"]}, its default
learning rate; epochs by training rows: {epochs}. Texts are cut at {MAX_CHARACTERS} characters.

## Label words against a head

`words` scores the names of the labels behind the text with the language-model head, `head` is a new layer. 0 rows:
`nano` as it is. The last weights, no validation rows. Templates: {templates}.

{shown("words", "style")}

## Calibration

Expected calibration error (15 bins) and cross-entropy in nats of rows that neither the training nor the temperature
saw, without the temperature and with it. A fifth of the training rows validate.

{shown("calibration", "style")}

## Several labels a text

Micro F1 at probability 0.5 and at the thresholds that were tuned on a fifth of the training rows, macro F1 (tuned),
average precision. `scratch` is the shape of `nano` with random weights; TF-IDF + logistic regression trains on all
rows and says what it finds likelier than not.

{shown("several")}

{sets}

{machines}; {" to ".join(dict.fromkeys([days[0], days[-1]]))}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "labels.json")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "gpt_magic_benchmarks")
    asked = parser.parse_args()
    run(asked.out, wanted(asked.parts, asked.seeds), asked.cache.resolve())
    print(asked.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
