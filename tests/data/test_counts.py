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


WORDS = st.sampled_from(["Ada", "苹果", "👩‍🚀", "e\u0301", "שלום", "\u200b", "a\r\nb", " ", ""])
SENTENCES = st.lists(WORDS, max_size=4)
WILD = st.one_of(st.none(), WORDS, st.builds(" ".join, SENTENCES))
# Of each task what a row may hold, a row that is whole, and whether a row is.
RECORDS: dict[str, tuple[Any, Callable[[int], dict[str, Any]], Callable[[dict[str, Any]], bool]]] = {
    "multilabel": (
        st.fixed_dictionaries(
            {"text": WILD, "label": st.one_of(st.none(), st.lists(st.sampled_from("ab"), unique=True))}
        ),
        lambda _: {"text": "whole", "label": ["a", "b"]},
        lambda row: has(row["text"]) and row["label"] is not None,
    ),
    "regress": (
        st.fixed_dictionaries({"text": WILD, "label": st.sampled_from([None, float("nan"), 0.5, -2.25])}),
        lambda number: {"text": "whole", "label": number + 0.5},
        lambda row: has(row["text"]) and row["label"] is not None and row["label"] == row["label"],
    ),
    "tag": (
        SENTENCES.flatmap(
            lambda words: st.sampled_from(
                [
                    {"tokens": words, "tags": ["B-X", "O", "I-X", "B-Y"][: len(words)]},
                    {"tokens": words, "tags": None},
                    {"tokens": None, "tags": ["O"]},
                ]
            )
        ),
        lambda _: {"tokens": ["whole", "one"], "tags": ["B-X", "O"]},
        lambda row: row["tags"] is not None and any(map(has, row["tokens"] or ())),
    ),
    "answer": (
        st.tuples(WILD, WILD, st.sampled_from([None, [], ["Ada"], ["苹果"], ["not there"]])).map(
            lambda row: dict(zip(("question", "context", "answers"), row, strict=True))
        ),
        lambda number: {"question": "Who?", "context": f"Ada {number}", "answers": ["Ada"]},
        lambda row: (
            has(row["question"])
            and has(row["context"])
            and row["answers"] is not None
            and (not row["answers"] or row["answers"][0] in row["context"])
        ),
    ),
}


def has(text: Any) -> bool:
    return text is not None and bool(text.strip())


def many(records: list[dict[str, Any]], kind: str, folder: Path) -> Any:
    if kind == "DataFrame":
        return pd.DataFrame(records)
    if kind == "JSONL":
        lines = (json.dumps(row, ensure_ascii=False).replace("NaN", "null") for row in records)
        (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return folder / "rows.jsonl"
    if kind == "Parquet":
        pd.DataFrame(records).to_parquet(folder / "rows.parquet")
        return folder / "rows.parquet"
    return datasets.Dataset.from_list(records).to_iterable_dataset()


@pytest.mark.parametrize("kind", ["DataFrame", "JSONL", "Parquet", "IterableDataset"])
@pytest.mark.parametrize("task", RECORDS)
@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_of_every_task_is_used_or_reported(task: str, kind: str, tmp_path: Path, data: st.DataObject) -> None:
    some, whole, is_whole = RECORDS[task]
    drawn = data.draw(st.lists(some, max_size=20))
    records = [*map(whole, range(3)), *drawn, *map(whole, range(3, 6))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
        if data.draw(st.booleans(), label="large"):
            patch.setattr(readers, "BIG", -1)
            patch.setattr(streams, "_LOOK", 3)
            patch.setattr(store, "IN_MEMORY", -1)
        told = {"task": task, "missing": "drop", "valid_fraction": data.draw(st.sampled_from([0.0, 0.3, 0.5]))}
        found = read(many(records, kind, tmp_path), **told)
        expected = [number for number, row in enumerate(records) if is_whole(row)]
        assert found.rows == len(records) == len(found.train) + len(found.valid) + found.findings.dropped
        assert sorted([*found.train.index, *found.valid.index]) == expected
        said = [line for line in found.findings.warnings if "left out" in line]
        counts = (int(re.search(r"(\d+) rows? ", line)[1]) for line in said)  # type: ignore[index]
        assert sum(counts) == len(records) - len(expected)
        read_texts = [*found.train.texts, *found.valid.texts]
        assert all(read_texts)


def test_blank_lines_are_said_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n\n"two\n\nparts"\none\n \n\n', encoding="utf-8")
    data = read(str(tmp_path / "a.csv"), valid_fraction=0.0)
    assert list(data.train.texts) == ["two\n\nparts", "one"]
    assert data.findings.facts == [("source", "a.csv, 3 blank lines left out, 2 line breaks within quotes")]
    data = read(jsonl([("a", "x"), ("b", "y")], tmp_path), valid_fraction=0.0)
    assert data.findings.facts == [("source", "rows.jsonl, 1 blank line left out")]
    plain = csv([("a", "x"), ("b", "y")], tmp_path)
    assert read(plain, valid_fraction=0.0).findings.facts == []
    lines = read(plain, valid=str(tmp_path / "rows.jsonl"), label="label").findings.facts
    assert lines == [("validation source", "rows.jsonl, 1 blank line left out")]
