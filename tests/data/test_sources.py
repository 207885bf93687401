import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.data.sources import describe, is_file_name, read_table
from gpt_magic.errors import DataError

WILD = [
    {"text": "苹果是一种什么", "label": "食物"},
    {"text": "emoji 👩‍👩‍👧 and 𝒜", "label": "NA"},
    {"text": 'he said "so, what?"', "label": "null"},
    {"text": "two\nlines\r\nand\ttabs, commas; semicolons", "label": "None"},
    {"text": "NA", "label": "nan"},
    {"text": "null", "label": "n/a"},
    {"text": "  spaces  ", "label": "ordinary"},
    {"text": "'", "label": "#N/A"},
    {"text": "\u2028 \u00a0 \x0b", "label": "-"},
]
Writer = Callable[[pd.DataFrame, Path], None]
WRITERS: dict[str, Writer] = {
    "table.csv": lambda frame, path: frame.to_csv(path, index=False),
    "table.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "TABLE.CSV": lambda frame, path: frame.to_csv(path, index=False),
    "table.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "table.tsv.gz": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "table.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "table.jsonl.gz": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "table.json": lambda frame, path: frame.to_json(path, orient="records"),
    "table.json.gz": lambda frame, path: frame.to_json(path),
    "table.parquet": lambda frame, path: frame.to_parquet(path),
}
OBJECTS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "DataFrame": lambda frame: frame,
    "list of dicts": lambda frame: frame.to_dict("records"),
    "tuple of dicts": lambda frame: tuple(frame.to_dict("records")),
    "dict of columns": lambda frame: frame.to_dict("list"),
    "Dataset": lambda frame: datasets.Dataset.from_pandas(frame),
    "Arrow table": lambda frame: pa.Table.from_pandas(frame),
}


def refused(data: Any, what: str = "data", split: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_table(data, what, split=split)
    return str(caught.value)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_files_arrive_as_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](pd.DataFrame(WILD), path)
    assert read_table(path).to_dict("records") == WILD
    assert read_table(str(path)).to_dict("records") == WILD


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_arrive_as_they_are(kind: str) -> None:
    assert read_table(OBJECTS[kind](pd.DataFrame(WILD))).to_dict("records") == WILD


# Surrogates are no text; a NUL ends a line for the C parser of CSV.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1).filter(
    lambda text: not text.isdigit()
)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_text_arrives_verbatim(tmp_path_factory: pytest.TempPathFactory, pairs: list[Any]) -> None:
    frame = pd.DataFrame([("first", "row"), *pairs], columns=["text", "label"])
    folder = tmp_path_factory.mktemp("texts")
    frame.to_csv(folder / "a.csv", index=False, quoting=csv.QUOTE_ALL)  # else pandas leaves a lone \r without quotes
    frame.to_csv(folder / "a.tsv", index=False, quoting=csv.QUOTE_ALL, sep="\t")
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        assert read_table(folder / name).to_dict("list") == frame.to_dict("list")


def test_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, "a.csv", "text,label\nNA,null\n,x\ny,\n"))
    assert frame.isna().to_numpy().tolist() == [[False, False], [True, False], [False, True]]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.jsonl.gz"])
def test_a_byte_order_mark_is_no_text(name: str, tmp_path: Path) -> None:
    rows = {".csv": "text,label\na,b\n", ".tsv": "text\tlabel\na\tb\n"}.get(name[1:], '{"text": "a", "label": "b"}\n')
    content = ("\ufeff" + (f"[{rows}]" if name == "a.json" else rows)).encode()
    path = written(tmp_path, name, gzip.compress(content) if name.endswith(".gz") else content)
    assert read_table(path).to_dict("records") == [{"text": "a", "label": "b"}]


def test_a_text_of_digits_is_a_text_however_long_the_file(tmp_path: Path) -> None:
    lines = "".join(f"{number},x\n" for number in range(200_000))  # more than pandas reads in one piece
    texts = read_table(written(tmp_path, "a.csv", f"text,label\n{lines}words,x\n"))["text"]
    assert {type(text) for text in texts} == {str}
    assert texts.iloc[7] == "7"


def test_jsonl_guesses_nothing(tmp_path: Path) -> None:
    rows = [
        {"text": "007", "date": "2020-01-01", "label": True},
        {"text": "1", "date": "5", "label": False},
    ]
    lines = "\n".join(map(json.dumps, rows))
    assert read_table(written(tmp_path, "a.jsonl", f"\n{lines}\n\n")).to_dict("records") == rows


def test_records_with_different_keys_make_one_table() -> None:
    frame = read_table([{"a": "x"}, {"b": 1, "a": "y"}])
    assert list(frame.columns) == ["a", "b"]
    assert frame["b"].isna().tolist() == [True, False]


def test_the_index_is_kept() -> None:
    frame = pd.DataFrame({"text": ["a", "b"]}, index=["one", "one"])
    assert list(read_table(frame).index) == ["one", "one"]


@pytest.mark.parametrize("names", [[0, 1], ["a", 1], [("x", 1), None], [1.5, pd.Timestamp("2020-01-01")]])
def test_column_names_become_texts(names: list[Any]) -> None:
    frame = pd.DataFrame([["a", "b"]])
    frame.columns = pd.Index(names, tupleize_cols=False)
    assert list(read_table(frame).columns) == [str(name) for name in names]


@pytest.mark.parametrize("kind", OBJECTS)
def test_the_callers_object_is_not_changed(kind: str) -> None:
    frame = pd.DataFrame(WILD).rename(columns={"text": 5})
    frame = frame if kind in ("DataFrame", "list of dicts", "dict of columns") else pd.DataFrame(WILD)
    before = OBJECTS[kind](frame.copy(deep=True))
    given_object = OBJECTS[kind](frame.copy(deep=True))
    table = read_table(given_object)
    table["text"] = "changed"
    table.iloc[0, 0] = "changed"
    if isinstance(before, pd.DataFrame):
        pd.testing.assert_frame_equal(given_object, before)
    elif isinstance(before, datasets.Dataset):
        assert given_object.to_dict() == before.to_dict()
    else:
        assert given_object == before


@pytest.mark.parametrize("numbers", [[1, 0, 1], [1, None, -1]])
def test_class_labels_of_a_dataset_are_their_names(numbers: list[int | None]) -> None:
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["sad", "glad"]))
    given_object = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": numbers}, features=features)
    for dataset in (given_object, given_object.select([0, 1, 2]), given_object.with_format("numpy")):
        labels = read_table(dataset)["label"]
        named = [None if not isinstance(n, int) or n < 0 else ["sad", "glad"][n] for n in numbers]
        assert [None if pd.isna(label) else label for label in labels] == named
        assert labels.cat.categories.tolist() == ["sad", "glad"]  # in the dataset's order
    assert read_table(given_object.remove_columns("label")).columns.tolist() == ["text"]


def test_a_dataset_split_is_train_or_asked_for() -> None:
    parts = {name: datasets.Dataset.from_dict({"text": [name]}) for name in ("train", "test", "more")}
    splits = datasets.DatasetDict(parts)
    frame = read_table(splits)
    assert frame["text"].tolist() == ["train"]
    assert frame.attrs == {"gpt_magic": "split 'train' of a DatasetDict (others: test, more)"}
    assert read_table(splits, split="test")["text"].tolist() == ["test"]
    assert read_table({"only": parts["more"]})["text"].tolist() == ["more"]
    del splits["train"]
    assert refused(splits) == "data holds the splits test, more: say which, such as split = 'test'"
    assert refused(splits, split="tset") == "data has no split 'tset' (did you mean 'test'?)"
    assert refused(parts["train"], split="test") == "split = 'test': data is a Dataset, which has no splits"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (None, "data is None: give a DataFrame, a list of dicts or of texts, a datasets.Dataset, or the path of a CSV"),
        (3, "data is an int: give a DataFrame,"),
        (pd.Series(["a"]), "data is a Series: give a DataFrame,"),
        (pa.array(["a"]), "data is a StringArray: give a DataFrame,"),
        ([], "data has no rows"),
        (pd.DataFrame({"text": []}), "data has no rows"),
        (pd.DataFrame(index=range(3)), "data has no columns"),
        (["a", 2], "data, row 0, is a str: every row must be a dict such as {'text': ..., 'label': ...}"),
        ([{"text": "a"}, None], "data, row 1, is None: every row must be a dict such as {'text': ..., 'label': ...}"),
        ({"text": "a"}, "data is a dict, but not of columns that make a table: "),
        ({"text": ["a"], "label": ["b", "c"]}, "data is a dict, but not of columns that make a table: "),
        ({"text": {"a", "b"}}, "data is a dict, but not of columns that make a table: "),
        (pd.DataFrame([["a", "b"]], columns=["x", "x"]), "data has two columns named 'x': rename one"),
        (pd.DataFrame([["a", "b"]], columns=[1, "1"]), "data has two columns named '1': rename one"),
        (
            pd.DataFrame([["a"]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
            "data has columns of 2 levels: flatten them to plain names first",
        ),
        ("https://example.org/a.csv", "data = 'https://example.org/a.csv' is a web address: read it into a DataFrame"),
        ("reviews", "data = 'reviews': no such file, and no such data set on this disk while HF_HUB_OFFLINE is set; "),
        ("a.xlsx", "data = 'a.xlsx' is not a file that gpt_magic reads (.csv, .tsv, .jsonl, .json, .txt, .parquet, "),
    ],
)
def test_what_is_no_table_says_so(data: Any, line: str) -> None:
    assert refused(data).startswith(line)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.csv", "", "cannot be read: No columns to parse from file"),
        ("header.csv", "text,label\n", "data has no rows"),
        ("latin.csv", b"text,label\ncaf\xe9,x\n", "is not UTF-8 (byte 0xe9): save it as UTF-8, or read it into a Data"),
        ("utf16.jsonl", '{"text": "a"}'.encode("utf-16"), "is not UTF-8 (byte 0xff)"),
        (
            "wide.csv",
            "text,label\na,b\nso, what,b\n",
            "read: Expected 2 fields in line 3, saw 3; put texts with ',' in quotes",
        ),
        ("moved.csv", "text,label\nso, what,b\n", "rows have more fields than the first line; put texts with ',' in "),
        ("moved.tsv", "text\tlabel\na\tb\tc\n", "rows have more fields than the first line; put texts with '\\t' in "),
        (
            "german.csv",
            "text;label\na;b\n",
            "its first line has ';', not ',': read it with pandas.read_csv(..., sep=';')",
        ),
        (
            "comma.tsv",
            "text,label\na,b\n",
            "its first line has ',', not '\\t': read it with pandas.read_csv(..., sep=',')",
        ),
        ("open.csv", 'text,label\n"a,b\n', "EOF inside string starting at row 1"),
        ("bad.jsonl", '{"text": "a"}\n\n{"text": \n', "cannot be read: line 3, column 9 is not JSON (Expecting value)"),
        ("bad.json", '[{"text": "a"},\n{"text" "b"}]', "cannot be read: line 2, column 9 is not JSON (Expecting ':'"),
        ("texts.jsonl", '"a"\n2\n', "data, row 0, is a str: every row must be a dict"),
        ("number.json", "3", "data is an int: give a DataFrame"),
        ("no.parquet", "text", "cannot be read: "),
        ("no.csv.gz", "text,label\na,b\n", "cannot be read: Not a gzipped file"),
    ],
)
def test_what_cannot_be_read_says_where(name: str, content: str | bytes, reason: str, tmp_path: Path) -> None:
    line = refused(written(tmp_path, name, content))
    assert reason in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("form", ["list", "jsonl"])
def test_an_emoji_cut_in_two_is_named(form: str, tmp_path: Path) -> None:
    records = [{"text": "whole 🍎"}, {"text": "half \ud83d"}]
    data = records if form == "list" else written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, records)))
    assert refused(data) == (
        "data, row 1: the text in column 'text' is no valid Unicode (an emoji cut in two?): clean it with "
        "text.encode('utf-8', 'ignore').decode()"
    )


def test_a_missing_file_gives_the_nearest_name(tmp_path: Path) -> None:
    written(tmp_path, "reviews.csv", "text\na\n")
    assert refused(tmp_path / "revews.csv").endswith("revews.csv': no such file (did you mean 'reviews.csv'?)")
    assert refused(tmp_path / "nowhere" / "a.csv").endswith("no such file")


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "a.csv", "text\na\n")
    assert len(read_table("~/a.csv")) == 1


def test_messages_name_the_option() -> None:
    assert refused([], "valid") == "valid has no rows"
    assert refused(0.2, "valid") == "valid = 0.2 is no table; to set a share of the data aside say valid_fraction = 0.2"


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.b.tsv.gz", "x/y.jsonl", "a.json", "a.parquet"])
def test_file_names(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize("name", ["csv", "reviews", "reviews.train", "a.xlsx", "gz", "a.gz", ""])
def test_other_names(name: str) -> None:
    assert not is_file_name(name)


def test_how_the_report_names_data() -> None:
    assert describe("folder/reviews.csv") == "reviews.csv"
    assert describe(pd.DataFrame()) == "a DataFrame"
    assert describe([{"a": 1}]) == "a list"
    assert describe(datasets.Dataset.from_dict({"a": [1]}).to_iterable_dataset()) == "an IterableDataset"


def test_texts_alone_are_a_table_of_one_column(tmp_path: Path) -> None:
    assert read_table(["a", "b"]).to_dict("list") == {"text": ["a", "b"]}
    (tmp_path / "book.txt").write_text("\ufeffOne.\n\nTwo.", encoding="utf-8")
    assert read_table(tmp_path / "book.txt").to_dict("list") == {"text": ["One.\n\nTwo."]}


def test_a_text_is_no_name_of_a_file() -> None:
    for text in ("It was a dark and stormy night. " * 200, "夜" * 200, "one line\nand another"):
        line = refused(text)
        assert line.startswith(f"data = {text[:20]!r}"[:-1])
        assert line.endswith(" is a text, not the name of a file: texts to learn from stand in a list, data = [text]")
        assert len(line) < 200
    assert refused("two\nlines", "valid").endswith("valid = [text]")


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_folder_here(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "notes.txt", "private")
    monkeypatch.chdir(tmp_path)
    assert refused(name) == f"data = {name!r} names nothing: give the path of a file, or a DataFrame without quotes"


def test_a_folder_with_the_name_of_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    folder = tmp_path / "all.csv"
    folder.mkdir()
    assert refused(folder) == f"data = '{folder}' is a folder: write '{folder}/*.csv'"


def test_a_row_a_line_is_read_also_where_the_file_is_called_json(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '{"text": "a", "label": "x"}\n\n{"text": "b", "label": "y"}\n')
    frame = read_table(path)
    assert frame["text"].tolist() == ["a", "b"]
    assert frame.attrs["gpt_magic"] == "a.json, 1 blank line left out"
    bad = written(tmp_path, "b.json", '{"text": "a"}\n{"text": b}\n')
    assert refused(bad) == f"data = '{bad}' cannot be read: line 2, column 10 is not JSON (Expecting value)"


def test_what_excel_calls_unicode_text_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label\na,x\n".encode("utf-16"))
    assert refused(path).endswith("such as encoding='utf-16'")


def test_lines_that_a_quote_goes_over_are_counted(tmp_path: Path) -> None:
    """A stray quote at the start of a cell takes in what follows: all that can be seen is that there are fewer rows."""
    path = written(tmp_path, "a.tsv", 'text\tlabel\n"so they said\tx\nand he"\ty\n\nlast\tx\n')
    frame = read_table(path)
    assert len(frame) == 2
    assert frame.attrs["gpt_magic"] == "a.tsv, 1 blank line left out, 1 line break within quotes"
    both = read_table(f"{tmp_path}/*.tsv")
    assert both.attrs["gpt_magic"] == "1 file: a.tsv; 1 blank line left out, 1 line break within quotes"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_line_is_a_row_or_said(end: str, tmp_path: Path) -> None:
    lines = ["text,label", '"a', "", 'b",x', "", "c,y", '"d', 'e",x']
    frame = read_table(written(tmp_path, "a.csv", end.join(lines)))
    assert len(frame) == 3
    assert frame.attrs["gpt_magic"] == "a.csv, 1 blank line left out, 3 line breaks within quotes"


def test_files_of_one_table_have_columns_of_one_kind(tmp_path: Path) -> None:
    """As if they stood in one file: what is digits only in one of them is read as the texts that the others have."""
    written(tmp_path, "a.csv", "text,label,n\nwords,x1,1\n")
    written(tmp_path, "b.csv", "text,label,n\n007,02,2\n8,,3\n")
    written(tmp_path, "c.tsv", "text\tlabel\tn\n\tTrue\t4\n\t\t5\n")
    frame = read_table(f"{tmp_path}/*")
    assert frame["text"].tolist()[:3] == ["words", "007", "8"]
    assert frame["text"].isna().tolist() == [False, False, False, True, True]
    assert frame["label"].fillna("-").tolist() == ["x1", "02", "-", "True", "-"]
    assert frame["n"].tolist() == [1, 2, 3, 4, 5]
