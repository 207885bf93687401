"""What is streamed is the table that reading all at once gives, and does not lie in memory."""

import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_magic import store
from gpt_magic.data import readers, sources, streams
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError, plural

CELLS = st.sampled_from(
    [
        "",
        "NA",
        "7",
        "007",
        "1.5",
        "True",
        "false",
        "a text",
        "苹果",
        "two\nlines",
        'say "so"',
        "a, b",
        " ",
        "x" * 50,
        "1e5",
    ]
)
NUMBERS = st.sampled_from(["", "1", "2", "-3.5"])
TRUTHS = st.sampled_from(["True", "False"])
USER = {"role": "user", "content": "Why?"}
VALUES = st.sampled_from(["a", "苹果", None, 1, 2.5, True, [USER], [USER, USER], [{"role": "user"}], [], {"a": 1}])


@pytest.fixture
def streaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Everything counts as large, and is read three rows at a time."""
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BIG", -1)
        patch.setattr(sources, "BIG", -1)
        patch.setattr(streams, "_LOOK", 3)
        patch.setattr(streams, "_MOST_ROWS", 3)
        patch.setattr(store, "IN_MEMORY", -1)
        yield patch


def at_once(data: Any) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BIG", 2**60)
        patch.setattr(sources, "BIG", 2**60)
        return read_table(data)


def plain(frame: pd.DataFrame) -> list[list[Any]]:
    """The cells of a table, whatever they are kept in."""

    def of(value: Any) -> Any:
        if isinstance(value, np.ndarray | list):
            return [of(item) for item in value]
        return None if pd.api.types.is_scalar(value) and pd.isna(value) else value

    return [[of(value) for value in frame[column]] for column in frame.columns]


SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.lists(st.tuples(CELLS, CELLS, NUMBERS, TRUTHS), min_size=1, max_size=12), st.integers(0, 3))
@SLOW
def test_csv(streaming: Any, tmp_path: Path, rows: list[tuple[str, ...]], blanks: int) -> None:
    for name, separator in (("a.csv", ","), ("a.tsv", "\t"), ("a.csv.gz", ",")):
        opened = gzip.open if name.endswith(".gz") else open
        with opened(tmp_path / name, "wt", newline="", encoding="utf-8") as file:  # type: ignore[operator]
            csv.writer(file, delimiter=separator).writerows([("text", "other", "number", "truth"), *rows])
            file.write("\n" * blanks)
        streamed, whole = read_table(tmp_path / name), at_once(tmp_path / name)
        pd.testing.assert_frame_equal(streamed, whole)
        within = sum(len(re.findall(r"\r\n|\r|\n", cell)) for row in rows for cell in row)
        said = [f"{plural(blanks, 'blank line')} left out"] * bool(blanks)
        said += [f"{plural(within, 'line break')} within quotes"] * bool(within)
        assert streamed.attrs == whole.attrs == ({"gpt_magic": ", ".join([name, *said])} if said else {})


def test_a_column_that_becomes_a_text_late(streaming: Any, tmp_path: Path) -> None:
    rows = [f"{number},t{number},{number}" for number in range(20)]
    rows[17] = "seventeen,t17,x"
    (tmp_path / "a.csv").write_text("\n".join(["id,text,label", *rows]), encoding="utf-8")
    streamed = read_table(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(streamed, at_once(tmp_path / "a.csv"))
    assert streamed["id"].tolist()[:2] == ["0", "1"]


@given(
    st.lists(st.dictionaries(st.sampled_from(["text", "label", "more"]), VALUES, max_size=3), min_size=1, max_size=12),
    st.booleans(),
)
@SLOW
def test_jsonl_and_data_that_stream(streaming: Any, tmp_path: Path, rows: list[dict[str, Any]], texts: bool) -> None:
    if not any(rows):
        return
    records = ["a", "b"] * len(rows) if texts else rows
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n".join(map(json.dumps, records)), encoding="utf-8")
    streamed, whole = read_table(path), at_once(path)
    assert list(streamed.columns) == list(whole.columns)
    assert plain(streamed) == plain(whole)
    for column in whole.columns:
        same = whole[column].dtype != object
        assert (streamed[column].dtype == whole[column].dtype) or not same
    assert streamed.attrs == whole.attrs


@given(
    st.lists(st.tuples(st.sampled_from(["a", None, "苹果"]), st.integers(0, 9), st.lists(st.just(USER))), min_size=1),
    st.sampled_from(["range", "numbers", "texts"]),
)
@SLOW
def test_parquet(streaming: Any, tmp_path: Path, rows: list[tuple[Any, ...]], index: str) -> None:
    frame = pd.DataFrame(rows, columns=["text", "label", "messages"])
    frame["kind"] = pd.Categorical(["x"] * len(frame))
    if index != "range":
        frame.index = pd.Index([f"r{i}" if index == "texts" else 3 * i for i in range(len(frame))], name="row")
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=4)
    streamed, whole = read_table(tmp_path / "a.parquet"), at_once(tmp_path / "a.parquet")
    assert plain(streamed) == plain(whole)
    pd.testing.assert_frame_equal(streamed.drop(columns="messages"), whole.drop(columns="messages"))


@pytest.mark.parametrize("select", [False, True])
def test_datasets(streaming: Any, select: bool) -> None:
    features = datasets.Features(
        text=datasets.Value("string"),
        label=datasets.ClassLabel(names=["sad", "glad"]),
        words=[datasets.Value("string")],
    )
    columns = {"text": ["a", "b", None, "d"], "label": [1, 0, -1, 1], "words": [["a"], [], ["c", "d"], None]}
    dataset = datasets.Dataset.from_dict(columns, features=features)
    dataset = dataset.select([3, 0, 2]) if select else dataset
    streamed, whole = read_table(dataset), at_once(dataset)
    assert plain(streamed) == plain(whole)
    assert streamed["label"].dtype == whole["label"].dtype
    iterable = read_table(dataset.to_iterable_dataset())
    assert plain(iterable) == plain(whole)
    assert iterable["label"].dtype == whole["label"].dtype


@pytest.mark.parametrize("kind", ["large", "iterable", "whole"])
def test_lists_of_class_labels_are_their_names(kind: str, request: pytest.FixtureRequest) -> None:
    names = ["O", "B-PER"]
    features = datasets.Features(
        tokens=datasets.List(datasets.Value("string")), ner_tags=datasets.List(datasets.ClassLabel(names=names))
    )
    columns = {"tokens": [["Ada", "ran"], ["no"], [], None, ["odd"]], "ner_tags": [[1, 0], [0], [], None, [-1]]}
    dataset = datasets.Dataset.from_dict(columns, features=features)
    if kind == "large":
        request.getfixturevalue("streaming")
    frame = read_table(dataset.to_iterable_dataset() if kind == "iterable" else dataset)
    assert frame["ner_tags"].tolist() == [["B-PER", "O"], ["O"], [], None, [-1]]


def test_a_generator_of_datasets_is_told_as_it_comes(streaming: Any) -> None:
    said: list[str] = []
    stream = datasets.IterableDataset.from_generator(lambda: ({"text": f"t{i}"} for i in range(7)))
    assert read_table(stream, say=said.append)["text"].tolist() == [f"t{i}" for i in range(7)]
    assert said == ["reading data, 3 rows", "reading data, 6 rows", "reading data, 7 rows"]


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_parquet_file_that_is_small_as_it_is_written_may_be_a_large_table(pieces: int, tmp_path: Path) -> None:
    """Values that repeat are written once; in memory each row has its own."""
    frame = pd.DataFrame({"text": [f"{number % 5} " + "so long a text " * 100 for number in range(40_000)]})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=len(frame) // pieces)
    assert (tmp_path / "a.parquet").stat().st_size < 10**6
    size = len(frame) * len(frame["text"][0])
    assert streams.parquet_bytes(tmp_path / "a.parquet") == pytest.approx(size, rel=0.1)
    before = pa.total_allocated_bytes()
    found = read_table(tmp_path / "a.parquet")
    assert pa.total_allocated_bytes() - before < size / 10
    assert found["text"].iloc[-1] == frame["text"].iloc[-1]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_texts_lie_in_a_file(name: str, streaming: pytest.MonkeyPatch, tmp_path: Path) -> None:
    streaming.setattr(streams, "_MOST_ROWS", 50_000)
    streaming.setattr(streams, "_LOOK", 1000)
    frame = pd.DataFrame({"text": [f"{i} {'x' * 400}" for i in range(20_000)], "label": [0, 1] * 10_000})
    writers = {"a.csv": frame.to_csv, "a.parquet": frame.to_parquet}
    if name in writers:
        writers[name](tmp_path / name, index=False)
    else:
        frame.to_json(tmp_path / name, orient="records", lines=True)
    before = pa.total_allocated_bytes()
    streamed = read_table(tmp_path / name)
    assert pa.total_allocated_bytes() - before < 1_000_000  # of 8 MB of text
    assert streamed["text"].tolist() == frame["text"].tolist()
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_stop_ends_the_reading_and_leaves_nothing(name: str, streaming: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"t{i}" for i in range(30)]})
    {
        "a.csv": lambda path: frame.to_csv(path, index=False),
        "a.parquet": frame.to_parquet,
        "a.jsonl": lambda path: frame.to_json(path, orient="records", lines=True),
    }[name](tmp_path / name)

    def stop(what: str) -> None:
        if what.endswith(" 9 rows"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        read_table(tmp_path / name, say=stop)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "wide.csv",
            "text,label\n" + "a,b\n" * 9 + "so, what,b\n",
            "Expected 2 fields in line 11, saw 3; put texts with",
        ),
        ("open.csv", "text,label\n" + "a,b\n" * 9 + '"a,b\n', "EOF inside string starting at row"),
        ("latin.csv", b"text,label\n" + b"a,b\n" * 9 + b"caf\xe9,x\n", "is not UTF-8 (byte 0xe9)"),
        ("german.csv", "text;label\n" + "a;b\n" * 9, "its first line has ';', not ','"),
        ("bad.jsonl", '{"text": "a"}\n' * 9 + '{"text": \n', "line 10, column 9 is not JSON (Expecting value)"),
        ("mixed.jsonl", '{"text": "a"}\n' * 9 + '"b"\n', "data, row 9, is a str: every row must be a dict such as"),
        (
            "half.jsonl",
            '{"text": "a"}\n' * 9 + '{"text": "\\ud83d"}\n',
            "data, row 9: the text in column 'text' is no va",
        ),
        (
            "within.jsonl",
            '{"text": ["a"]}\n' * 9 + '{"text": ["a", "\\ud83d"]}\n',
            "data, row 9: the text in column 'text' is no va",
        ),
        (
            "first.jsonl",
            '{"messages": [{"role": "user", "content": "\\ud83d"}]}\n' * 9,
            "data, row 0: the text in column 'messages' is no va",
        ),
    ],
)
def test_what_cannot_be_read_says_where(
    name: str, content: str | bytes, reason: str, streaming: Any, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name)
    assert reason in str(caught.value)
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


def test_a_column_of_digits_is_of_texts_where_it_is_in_another_file(streaming: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nwords,x\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("text,label\n" + "007,1\n" * 9, encoding="utf-8")
    frame = read_table(f"{tmp_path}/*.csv")
    assert frame["text"].tolist() == ["words", *["007"] * 9]
    assert frame["label"].tolist() == ["x", *["1"] * 9]
