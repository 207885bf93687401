"""Rows in memory, in a file and found again are the same rows; a failure leaves nothing."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_magic import store
from gpt_magic.engine import collecting
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.collecting import TokenRow, collect
from gpt_magic.errors import DataError
from tests.full import FullDisk

SHAPES = st.sampled_from([(), (2,), (2, 3)])
LENGTHS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=12)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "IN_MEMORY", -1)
    monkeypatch.setattr(collecting, "_ROWS", 3)
    return tmp_path / "cache"


def token_rows(seed: int, shapes: list[tuple[int, int]], tail: tuple[int, ...], dtype: Any) -> list[TokenRow]:
    rng = np.random.default_rng(seed)
    return [
        (
            rng.integers(0, 50_257, tokens).astype(np.int32),
            np.sort(rng.integers(0, tokens, scored)),
            (rng.normal(size=(scored, *tail)) * 1000).astype(dtype),
            f"row {number}",
        )
        for number, (tokens, scored) in enumerate(shapes)
    ]


def same(encoded: Encoded, rows: list[TokenRow], dtype: Any) -> None:
    assert len(encoded) == len(rows)
    for place, (ids, scored, targets, name) in enumerate(rows):
        assert (encoded.ids[place].tolist(), encoded.ids[place].dtype) == (ids.tolist(), np.int32)
        assert (encoded.scored[place].tolist(), encoded.scored[place].dtype) == (scored.tolist(), np.int64)
        np.testing.assert_array_equal(encoded.targets[place], targets)
        assert encoded.targets[place].dtype == (np.int64 if np.issubdtype(dtype, np.integer) else dtype)
        assert encoded.index[place] == name
    assert encoded.lengths().tolist() == [len(row[0]) for row in rows]
    assert encoded.scored_counts().tolist() == [len(row[1]) for row in rows]


@given(st.integers(0, 99), LENGTHS, SHAPES, st.sampled_from([np.int64, np.int32, np.float32, np.float64]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_memory_file_and_found_again(
    folder: Path, seed: int, shapes: list[tuple[int, int]], tail: tuple[int, ...], dtype: Any
) -> None:
    rows = token_rows(seed, shapes, tail, dtype)
    key = store.fingerprint(repr((seed, shapes, tail, dtype)))
    store.cache().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "IN_MEMORY", 10**9)
        small = collect(rows, key)
    assert small.stored is not None
    assert small.stored.path is None
    unnamed, made, found = collect(rows), collect(rows, key), collect(iter(()), key)
    for encoded in (small, unnamed, made, found):
        same(encoded, rows, dtype)
    assert made.stored is not None
    assert found.stored is not None
    assert (made.stored.made, found.stored.made) == (True, False)
    assert made.stored.path == found.stored.path == folder / f"{key}.gpt_magic.arrow"


def test_notes_come_back_even_of_rows_that_made_none(folder: Path) -> None:
    rows = token_rows(0, [(2, 1)] * 10, (), np.int64)

    def noting(notes: dict[str, "array[int]"]) -> Iterator[TokenRow]:
        for number, row in enumerate(rows):
            notes["seen"].append(number)
            if number % 2:
                notes["odd"].append(number)
            yield row
        notes["seen"].append(99)  # a row of the table that gave nothing

    for key in (None, "noted", "noted"):
        notes = {"seen": array("q"), "odd": array("q")}
        found = collect(noting(notes), key, notes=notes).notes
        assert {name: numbers.tolist() for name, numbers in found.items()} == {
            "seen": [*range(10), 99],
            "odd": [1, 3, 5, 7, 9],
        }
    assert collect(iter(()), notes={"none": array("q", [1])}).notes["none"].tolist() == [1]


def test_targets_are_stored_as_narrow_as_told(folder: Path) -> None:
    rows = token_rows(0, [(4, 3)] * 50, (), np.int64)
    wide, narrow = collect(rows, "wide"), collect(rows, "narrow", dtype=np.int32)
    same(narrow, rows, np.int64)
    assert (folder / "narrow.gpt_magic.arrow").stat().st_size < (folder / "wide.gpt_magic.arrow").stat().st_size
    assert wide.targets == narrow.targets


def test_a_failure_leaves_nothing_and_the_next_run_makes_it(folder: Path) -> None:
    rows = token_rows(0, [(2, 1)] * 10, (), np.int64)

    def failing() -> Iterator[TokenRow]:
        yield from rows[:8]
        raise KeyError("stopped")

    with pytest.raises(KeyError):
        collect(failing(), "cut")
    assert list(folder.iterdir()) == []
    same(collect(rows, "cut"), rows, np.int64)


def test_a_disk_that_fills_up_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pa.ipc, "new_file", lambda *_: FullDisk(left=1))
    with pytest.raises(DataError, match="its disk is full"):
        collect(token_rows(0, [(2, 1)] * 10, (), np.int64), "full")
    assert list(folder.iterdir()) == []


def test_names_of_any_kind_are_kept_as_they_are_in_memory_and_as_texts_in_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [7, ("a", 1), "\ud83d", None]
    rows = [(*row[:3], name) for row, name in zip(token_rows(0, [(2, 1)] * 4, (), np.int64), names, strict=True)]
    assert list(collect(rows).index) == ["7", "('a', 1)", "?", "None"]
    monkeypatch.setattr(store, "IN_MEMORY", 10**9)
    assert list(collect(rows).index) == names
    assert len(collect(iter(()))) == 0
