"""No row is lost without a word: what was read is what trains, what validates, and what is said to be left out."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_magic import store
from gpt_magic.data import readers, sources, streams
from gpt_magic.data.read import read_data
from gpt_magic.errors import DataError
from gpt_magic.options import Options

TEXTS = st.sampled_from(["a film", "A  FILM", "another", "苹果", "x", "", " ", None, "NA"])
LABELS = st.sampled_from(["good", "bad", "bad", None])
Rows = list[tuple[Any, Any]]


def jsonl(rows: Rows, folder: Path) -> str:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (folder / "rows.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    return str(folder / "rows.jsonl")


def csv(rows: Rows, folder: Path) -> str:
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / "rows.csv", index=False)
    return str(folder / "rows.csv")


def shards(rows: Rows, folder: Path) -> str:
    for number, part in enumerate((rows[::2], rows[1::2])):
        pd.DataFrame(part or rows[:1], columns=["text", "label"]).to_parquet(folder / f"part{number}.parquet")
    return str(folder / "part*.parquet")


def frame(rows: Rows, _: Path) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["text", "label"])


def stream(rows: Rows, folder: Path) -> datasets.IterableDataset:
    return datasets.IterableDataset.from_generator(lambda: ({"text": a, "label": b} for a, b in rows))


SOURCES: dict[str, Callable[[Rows, Path], Any]] = {
    "CSV": csv,
    "JSONL with blank lines": jsonl,
    "files of a pattern": shards,
    "DataFrame": frame,
    "IterableDataset": stream,
}


def read(data: Any, **told: Any) -> Any:
    options = Options()
    options.update({"data": data, **told})
    return read_data(options)


@pytest.mark.parametrize("source", SOURCES)
@given(
    st.lists(st.tuples(TEXTS, LABELS), min_size=2, max_size=25),
    st.sampled_from([0.0, 0.1, 0.3, 0.5]),
    st.sampled_from(["classify", "generate"]),
    st.integers(0, 99),
    st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_used_or_reported(
    source: str, tmp_path: Path, rows: Rows, fraction: float, task: str, seed: int, large: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
        if large:
            patch.setattr(readers, "BIG", -1)
            patch.setattr(streams, "_LOOK", 3)
            patch.setattr(store, "IN_MEMORY", -1)
        data = SOURCES[source](rows, tmp_path)
        table = sources.read_table(data)
        columns = ["text", "label"] if task == "classify" else ["text"]
        whole = ~table[columns].apply(lambda column: column.isna() | (column.astype(str).str.strip() == "")).any(axis=1)
        told = {"valid_fraction": fraction, "seed": seed, "task": task, "missing": "drop"}
        if not whole.any() or (task == "classify" and table["label"][whole].nunique() < 2):
            with pytest.raises(DataError):
                read(data, **told, **({} if task == "classify" else {"text": "text"}))
            return
        found = read(data, text="text", **told)
        expected = [str(row) for row, good in zip(table.index, whole, strict=True) if good]
        kept = [*map(str, found.train.index), *map(str, found.valid.index)]
        assert found.rows == len(table) == len(found.train) + len(found.valid) + found.findings.dropped
        if found.split.startswith("the last"):  # both ends of one text
            assert [*map(str, found.train.index)] == expected
            return
        assert sorted(kept) == sorted(expected)
        texts = dict(zip(map(str, table.index), table["text"], strict=True))
        for part in (found.train, found.valid):
            assert list(part.texts) == [texts[str(row)] for row in part.index]
        if found.findings.dropped:
            said = next(line for line in found.findings.warnings if "left out" in line)
            assert int(re.search(r"(\d+) rows? ", said)[1]) == len(table) - len(expected)  # type: ignore[index]


def test_blank_lines_are_said_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n\n"two\n\nparts"\none\n \n\n', encoding="utf-8")
    data = read(str(tmp_path / "a.csv"), valid_fraction=0.0)
    assert list(data.train.texts) == ["two\n\nparts", "one"]
    assert data.findings.facts == [("source", "a.csv, 3 blank lines left out")]
    data = read(jsonl([("a", "x"), ("b", "y")], tmp_path), valid_fraction=0.0)
    assert data.findings.facts == [("source", "rows.jsonl, 1 blank line left out")]
    plain = csv([("a", "x"), ("b", "y")], tmp_path)
    assert read(plain, valid_fraction=0.0).findings.facts == []
    lines = read(plain, valid=str(tmp_path / "rows.jsonl"), label="label").findings.facts
    assert lines == [("validation source", "rows.jsonl, 1 blank line left out")]
