import gzip
from pathlib import Path

import pytest

from gpt_magic import store
from gpt_magic.data import readers, streams
from gpt_magic.data.conll import LEFT_OUT, read_conll
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError

PLAIN = "Ada\tB-PER\nlives\tO\n\n\nin\tO\nNew York\tB-LOC\n"
TOKENS, TAGS = [["Ada", "lives"], ["in", "New York"]], [["B-PER", "O"], ["O", "B-LOC"]]


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "A.IOB", "a.conll.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_a_sentence(name: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data = ("\ufeff" + PLAIN.replace("\n", end)).encode()
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    frame = read_table(path)
    assert (frame["tokens"].tolist(), frame["tags"].tolist()) == (TOKENS, TAGS)
    assert LEFT_OUT not in frame.attrs


def test_columns_between_are_not_read() -> None:
    lines = ["-DOCSTART- -X- -X- O\n", "\n", "Ada NNP B-NP B-PER\n", "lives VBZ  B-VP\tO\n", "\n", "-DOCSTART-\n"]
    frame = read_conll(line.replace("\t", " ") for line in lines)
    assert frame["tokens"].tolist() == [["Ada", "lives"]]
    assert frame["tags"].tolist() == [["B-PER", "O"]]
    assert frame.attrs[LEFT_OUT] == {"-DOCSTART- line": 2}


def test_comments_stand_before_a_sentence_and_have_no_tag() -> None:
    lines = ["# id 7f\tdomain=en", "# text = # is a sign", "#\tO", "# O", "#tag\tB-PER", "", "# sent_id = 2", "b\tO"]
    frame = read_conll(lines)
    assert frame["tokens"].tolist() == [["#", "#", "#tag"], ["b"]]
    assert frame.attrs[LEFT_OUT] == {"comment line": 3}


def test_a_token_without_a_character_is_kept_for_the_reader() -> None:
    assert read_conll(["\tO", " \tO", "a\tO"])["tokens"].tolist() == [["", " ", "a"]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Ada\tB-PER\nlives\n", "line 2, 'lives', does not end with a tag such as O or B-PER"),
        ("Ada\tPROPN\n", "line 1, 'Ada\\tPROPN', does not end with a tag such as O or B-PER"),
        ("B-PER\n", "line 1, 'B-PER', does not end with a tag such as O or B-PER"),
    ],
)
def test_a_line_without_a_tag(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value) == f"data = '{path}' cannot be read: {line}"


def test_a_file_without_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- O\n\n")
    with pytest.raises(DataError, match="data has no rows"):
        read_table(path)


def test_a_large_file_is_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- O\n\n" + "".join(f"word{i}\tO\n\n# {i}\n" for i in range(20)) + PLAIN)
    small, said = read_table(path), list[str]()
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "IN_MEMORY", -1)
    monkeypatch.setattr(readers, "BIG", -1)
    monkeypatch.setattr(streams, "_LOOK", 10)
    large = read_table(path, say=said.append)
    assert [large[name].tolist() for name in large] == [small[name].tolist() for name in small]
    assert large.attrs == small.attrs == {LEFT_OUT: {"-DOCSTART- line": 1, "comment line": 20}}
    assert said == [f"reading a.conll, {rows} rows" for rows in (10, 20, 22)]
    path.write_text(f"{path.read_text()}\nword\n")
    with pytest.raises(DataError, match="line 70, 'word', does not end with a tag"):
        read_table(path)
    assert list((tmp_path / "cache").iterdir()) == []
