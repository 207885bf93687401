"""A table in a file of its own comes back as the readers would have seen it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpt_magic.data.frames import read_frame, write_frame

COLUMNS: dict[str, Any] = {
    "texts": ["one", "deux", "三 🍎"],
    "texts with holes": ["one", None, "three"],
    "labels of two kinds": ["a", 1, True],
    "whole numbers": np.array([3, -1, 2**60]),
    "numbers": np.array([0.1, np.nan, -1e300]),
    "truth": np.array([True, False, True]),
    "nullable": pd.array([1, None, 3], dtype="Int64"),
    "categories": pd.Categorical(["b", "a", "b"], categories=["b", "a", "never"]),
    "ordered numbers": pd.Categorical([2, 1, 2], categories=[2, 1], ordered=True),
    "times": pd.to_datetime(["2026-01-01", None, "2026-11-25"]),
    "lists": [["a", "b"], [], ["c"]],
    "arrays": [np.array(["a"]), np.array([], dtype=object), np.array(["b", "c"])],
    "dicts": [[{"role": "user", "content": "x", "more": None}], [{"role": "user"}], []],
    "numpy's own": [np.float64(0.1), np.int64(4), np.bool_(False)],
    "nothing": [None, None, None],
}


def as_lists(value: Any) -> Any:
    """Cells as plain values: a list for an array, None for whatever is missing."""
    if isinstance(value, np.ndarray):
        return [as_lists(item) for item in value.tolist()]
    if isinstance(value, list | dict):
        return value
    return None if pd.isna(value) else value.item() if hasattr(value, "item") else value


@pytest.mark.parametrize("name", COLUMNS)
def test_cells_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({name: pd.Series(COLUMNS[name]), "left out": [object()] * 3})
    write_frame(frame, [name], tmp_path / "table")
    again = read_frame(tmp_path / "table")
    assert list(again.columns) == [name]
    before, after = ([as_lists(cell) for cell in table[name]] for table in (frame, again))
    assert before == after
    assert list(map(type, before)) == list(map(type, after))
    if isinstance(frame[name].dtype, pd.CategoricalDtype):
        assert again[name].dtype == frame[name].dtype


@pytest.mark.parametrize(
    "index",
    [range(3), range(5, 11, 2), ["a", "b", "c"], [("a.csv", 0), ("a.csv", 1), ("b.csv", 0)], [1.5, 2.5, "x"]],
    ids=str,
)
def test_names_of_rows_and_notes_come_back(index: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "left out": 1}).set_axis(pd.Index(index))
    frame.attrs.update({"gpt_magic": "two files", "odd": object()})
    write_frame(frame, ["text"], tmp_path / "table")
    again = read_frame(tmp_path / "table")
    assert list(again.index) == list(frame.index)
    assert again.attrs == {"gpt_magic": "two files"}


def test_a_column_that_lies_in_a_file_stays_in_one(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(1000)], "lists": [[n] for n in range(1000)]})
    write_frame(frame, ["text"], tmp_path / "one")
    write_frame(read_frame(tmp_path / "one"), ["text"], tmp_path / "two")
    again = read_frame(tmp_path / "two")
    assert again["text"].tolist() == frame["text"].tolist()
    assert again["text"].dtype.storage == "pyarrow"


@pytest.mark.parametrize("cell", [object(), {1, 2}, b"bytes"], ids=["object", "set", "bytes"])
def test_what_no_file_can_hold_is_named(cell: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"odd one": pd.Series(["a", cell], dtype=object)})
    with pytest.raises(TypeError, match=r"^odd one holds what cannot be kept in a file"):
        write_frame(frame, ["odd one"], tmp_path / "table")
