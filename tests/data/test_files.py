"""Patterns and folders: several files are one table, and every row says which file it is from."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gpt_magic.data.read import read_data
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError
from gpt_magic.options import Options


def refused(data: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_table(data)
    return str(caught.value)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three files of two kinds, and one of another."""
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    (folder / "b.csv").write_text("text,label\nthree,x\n\nfour,y\n", encoding="utf-8")
    (folder / "a.csv").write_text("text,label\none,x\ntwo,y\n", encoding="utf-8")
    rows = [{"label": "x", "text": "five"}, {"label": "y", "text": "six"}]
    (folder / "more" / "c.jsonl").write_text("\n\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    (folder / "notes.md").write_text("# Notes", encoding="utf-8")
    return folder


def test_a_pattern_is_one_table_in_the_order_of_the_names(shards: Path) -> None:
    frame = read_table(shards / "*.csv")
    assert frame["text"].tolist() == ["one", "two", "three", "four"]
    assert list(frame.index) == [("a.csv", 0), ("a.csv", 1), ("b.csv", 0), ("b.csv", 1)]
    assert frame.attrs == {"gpt_magic": "2 files: a.csv, b.csv; 1 blank line left out"}


def test_a_deep_pattern_over_files_of_two_kinds(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shards / "notes.md").unlink()
    frame = read_table(str(shards / "**" / "*.*"))
    assert frame["text"].tolist() == ["one", "two", "three", "four", "five", "six"]
    assert frame["label"].tolist() == ["x", "y"] * 3
    monkeypatch.chdir(shards.parent)
    assert list(read_table("data/**/*.jsonl").index) == [("data/more/c.jsonl", 0), ("data/more/c.jsonl", 1)]


def test_a_file_whose_name_is_a_pattern_is_that_file(shards: Path) -> None:
    (shards / "[ab].csv").write_text("text\nliteral\n", encoding="utf-8")
    assert read_table(shards / "[ab].csv")["text"].tolist() == ["literal"]
    assert read_table(shards / "[a].csv")["text"].tolist() == ["one", "two"]


def test_what_is_wrong_names_the_file(shards: Path) -> None:
    assert refused(shards / "*.tsv") == f"data = '{shards}/*.tsv': no file is named so"
    assert refused(shards / "*") == (
        f"data = '{shards}/*' also stands for notes.md, which gpt_magic does not read: say which, such as "
        f"'{shards}/*.csv'"
    )
    (shards / "d.csv").write_text("text,kind\nseven,x\n", encoding="utf-8")
    assert refused(shards / "*.csv") == (
        "data: d.csv has the columns 'text', 'kind', but a.csv has 'text', 'label': files of one table have the same "
        "columns"
    )
    (shards / "d.csv").write_text("text,label\n", encoding="utf-8")
    assert refused(shards / "*.csv") == "data, file d.csv has no rows"
    (shards / "d.csv").write_bytes(b"text,label\ncaf\xe9,x\n")
    assert refused(shards / "*.csv").startswith(f"data = '{shards}/d.csv' is not UTF-8")


def test_rows_of_a_pattern_are_named_in_messages(shards: Path) -> None:
    (shards / "d.csv").write_text("text,label\nseven,x\n,y\n", encoding="utf-8")
    options = Options()
    options.update({"data": str(shards / "*.csv")})
    with pytest.raises(DataError) as caught:
        read_data(options)
    assert str(caught.value).startswith("data: column 'text' is empty in row ('d.csv', 1).")


def test_a_folder_of_texts_is_a_row_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "poems"
    for name in ("old", ".ipynb_checkpoints"):
        (folder / name).mkdir(parents=True)
    texts = {
        "one.txt": "Roses.\n",
        "two.TXT": "Violets.",
        "old/three.txt": "苹果",
        "old/readme": "no",
        ".ipynb_checkpoints/one-checkpoint.txt": "a copy",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    frame = read_table(str(folder))
    found = {"old/three.txt": "苹果", "one.txt": "Roses.\n", "two.TXT": "Violets."}
    assert dict(zip(frame.index, frame["text"], strict=True)) == found
    assert frame.attrs == {"gpt_magic": "3 files: old/three.txt, one.txt, two.TXT"}
    assert dict(read_table(folder / "*.txt")["text"]) == {"one.txt": "Roses.\n"}
    options = Options()
    options.update({"data": str(folder), "valid_fraction": 0.0})
    data = read_data(options)
    assert (data.task, len(data.train)) == ("generate", 3)
    assert data.findings.facts == [("source", "3 files: old/three.txt, one.txt, two.TXT")]


def test_a_folder_without_texts(tmp_path: Path) -> None:
    assert (
        refused(tmp_path) == f"data = '{tmp_path}': the folder has no .txt files; for tables write '{tmp_path}/*.csv'"
    )


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a"], "label": ["x"]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"label": ["y"], "text": ["b"]}).to_parquet(tmp_path / "b.parquet")
    assert read_table(tmp_path / "*.parquet").to_dict("list") == {"text": ["a", "b"], "label": ["x", "y"]}
