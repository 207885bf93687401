"""The benchmark's own arithmetic; its figures come from hours of training."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks import labels
from benchmarks.report import read_json
from benchmarks.sets import LabelledSet


def toy(name: str) -> LabelledSet:
    rows = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "label": ["a b", "", "b", "a"] * 10})
    return LabelledSet(name, "task", "source", "licence", rows, rows[:4])


def test_every_seed_measures_every_part() -> None:
    cells = labels.wanted(["words", "calibration", "several"], [0, 1])
    assert len(set(cells)) == len(cells) == 2 + 2 * (6 + 2 + 3)
    assert {cell.rows for cell in cells if cell.part == "words"} == {0, 50, 200, 1000}
    assert labels.wanted(["several"], [3])[1].settings()["base"] == "scratch"


def test_tags_are_drawn_as_lists() -> None:
    drawn = labels.draw(toy("tags"), 10, seed=1)
    assert len(drawn) == 10
    assert set(map(tuple, drawn["label"])) <= {("a", "b"), (), ("b",), ("a",)}


def test_a_second_run_measures_what_is_missing_or_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[labels.Wanted] = []

    def measure(cell: labels.Wanted, _: LabelledSet) -> dict[str, Any]:
        made.append(cell)
        return {**dict.fromkeys(labels.METRICS[cell.part], len(made) / 10), "seconds": 1.0}

    monkeypatch.setattr(labels, "SETS", {name: lambda _, name=name: toy(name) for name in labels.SETS})
    monkeypatch.setattr(labels, "measure", measure)
    out, cells = tmp_path / "labels.json", labels.wanted(["calibration"], [0, 1])
    for wanted, count in ((cells[:2], 2), (cells, 4), (cells, 4)):
        labels.run(out, wanted, tmp_path)
        assert len(made) == count
    monkeypatch.setattr(labels, "TEST_ROWS", 7)
    labels.run(out, cells[:1], tmp_path)
    assert made[4:] == cells[:1]
    assert len(read_json(out)["cells"]) == 4
    page = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| films    | 1,000         | head  | 0.400 ± 0.141" in page
