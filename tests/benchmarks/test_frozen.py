"""The benchmark's own arithmetic; its figures come from training."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks import frozen
from benchmarks.report import read_json
from benchmarks.sets import LabelledSet


def toy(name: str) -> LabelledSet:
    rows = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "label": ["a", "b"] * 20})
    return LabelledSet(name, "task", "source", "licence", rows, rows[:4])


def cells(parts: list[str], rounds: int = 2) -> list[frozen.Wanted]:
    return frozen.wanted(parts, ["spam", "films"], [1, 3], ["all", "top:2"], [0], rounds)


def test_the_sides_take_turns() -> None:
    asked = cells(["speed", "quality"])
    assert len(set(asked)) == len(asked) == 2 * len(frozen.SIDES) + 2 * 2 * 2
    assert [cell.trained for cell in asked[:4]] == list(frozen.SIDES)
    assert [cell.trained for cell in asked[-4:]] == ["all", "top:2"] * 2


def test_a_second_run_measures_what_is_missing_or_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[frozen.Wanted] = []

    def measure(cell: frozen.Wanted, data: LabelledSet | None) -> dict[str, Any]:
        made.append(cell)
        if data is None:
            return {"cpu_seconds": {"trainer": 40.0 + cell.seed * 20, "top:2": 4.0}.get(cell.trained, 10.0), "steps": 5}
        found = {"accuracy": 0.9, "macro_f1": 0.8, "cpu_seconds": 7.0, "learning_rate": 1e-3, "parameters": "all"}
        return {**found, "accuracy": 0.85} if cell.trained == "top:2" else found

    monkeypatch.setattr(frozen, "SETS", {name: lambda _, name=name: toy(name) for name in ("spam", "films")})
    out, asked = tmp_path / "frozen.json", cells(["speed", "quality"])
    for wanted, count in ((asked[:3], 3), (asked, len(asked)), (asked, len(asked))):
        frozen.run(out, wanted, tmp_path, measure)
        assert len(made) == count
    monkeypatch.setattr(frozen, "TEST_ROWS", 7)
    frozen.run(out, asked, tmp_path, measure)
    assert {cell.part for cell in made[len(asked) :]} == {"quality"}
    assert len(read_json(out)["cells"]) == len(asked)
    page = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| top:2   | 4.0     | 12.5 (10.0 to 15.0)          | 2      |" in page
    assert "| spam  | 1      | 0.900 / 0.800, 7 s | 0.850 / 0.800, 7 s |" in page
