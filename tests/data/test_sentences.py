"""Sentences come back as they were kept, in memory and from a file; of a table of any size little is held."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_magic import store
from gpt_magic.data import readers, sentences, streams
from gpt_magic.data.read import read_data
from gpt_magic.data.sentences import Sentences, keep
from gpt_magic.options import Options
from tests.places import places

TOKENS = st.lists(st.text(st.characters(exclude_categories=[]), min_size=1, max_size=5), min_size=1, max_size=6)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(readers, "BIG", -1)
    monkeypatch.setattr(store, "IN_MEMORY", -1)
    return monkeypatch


@given(rows=st.lists(TOKENS, min_size=1, max_size=9), ours=st.booleans(), small=st.booleans(), data=st.data())
def test_what_is_kept_comes_back(rows: list[list[str]], ours: bool, small: bool, data: st.DataObject) -> None:
    texts = ["".join(row) for row in rows]  # half of a surrogate pair among them
    ends = [np.cumsum([len(token) for token in row]) for row in rows]
    words = [np.stack([end - np.array([*map(len, row)]), end], axis=1) for end, row in zip(ends, rows, strict=True)]
    tags = [[data.draw(st.sampled_from(["O", "B-é", "I-é", "B-\ud83d"])) for _ in row] for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentences, "_ROWS", 2)
        patch.setattr(store, "IN_MEMORY", 10**9 if small else -1)
        found = keep(zip(texts, words, tags, strict=True), range(len(rows)), texts if ours else None)
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9))
    for part, at in ((found, range(len(rows))), (found.take(places), places), (found.take(places).take([]), [])):
        assert len(part) == len(at)
        assert list(part.texts) == [texts[i] for i in at]
        assert list(part.tags) == [tags[i] for i in at]
        assert [one.tolist() for one in part.words] == [words[i].tolist() for i in at]
        assert list(part.index) == list(at)


def test_nothing_half_made_is_left(large: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def rows() -> Any:
        yield from [("a", np.array([[0, 1]]), ["O"])] * 1500
        raise InterruptedError

    with pytest.raises(InterruptedError):
        keep(rows(), range(1500))
    assert list((tmp_path / "cache").iterdir()) == []


def read(path: Path, say: Any = lambda _: None) -> Any:
    options = Options()
    options.update({"data": path})
    return read_data(options, say)


def write(rows: int, folder: Path) -> Path:
    few = places(100)
    pd.concat([few] * (rows // 100), ignore_index=True).to_parquet(folder / f"{rows}.parquet")
    return folder / f"{rows}.parquet"


def test_of_a_large_table_little_is_held(large: pytest.MonkeyPatch, tmp_path: Path) -> None:
    large.setattr(streams, "_MOST_ROWS", 500)
    held, peaks, found = [], [], []
    for rows in (500, 1000, 4000):  # the first for what is imported and made once
        path = write(rows, tmp_path)
        tracemalloc.start()
        found.append(read(path))
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        held.append(now)
        peaks.append(peak)
    assert all(isinstance(part, Sentences) and len(part) for part in (found[-1].train, found[-1].valid))
    assert held[2] - held[1] < 3000 * 64  # bytes; a row of some six words and tags has more than 1,000 as objects
    assert peaks[2] - peaks[1] < 3000 * 200
    assert pa.total_allocated_bytes() < 2**20


def test_a_stop_is_heeded_in_every_part_of_the_check(large: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, said = write(3000, tmp_path), []
    read(path, said.append)
    doing = ["looking for empty sentences", "checking sentences", *["counting entities"] * 2, "comparing sentences"]
    told = [f"{part}, {number:,} of 3,000 rows" for part in doing for number in (1000, 2000)]
    assert [line for line in said if not line.startswith("reading ")] == told

    def stop_at(place: str) -> Any:
        def say(what: str) -> None:
            if what == place:
                raise InterruptedError

        return say

    for place in dict.fromkeys(told):
        with pytest.raises(InterruptedError):
            read(path, stop_at(place))
    assert list((tmp_path / "cache").iterdir()) == []
