"""Sentences with tags from tables: every form, what is said of it, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic import store
from gpt_magic.data import readers, sentences, sources, streams
from gpt_magic.data.read import choose_task, read_data
from gpt_magic.data.sources import read_table
from gpt_magic.data.tagged import Sentences, TaggedData
from gpt_magic.errors import DataError, OptionError
from gpt_magic.options import Options
from tests.data.test_words import WILD

TOKENS = [["Ada", "lives", "in", "New", "York"], ["no", "one", "."], ["Bob", "met", "Ada"], ["Rome", "!"]]
TAGS = [["B-PER", "O", "O", "B-LOC", "I-LOC"], ["O", "O", "O"], ["B-PER", "O", "B-PER"], ["B-LOC", "O"]]
TEXTS = ["Ada lives in New York", "no one .", "Bob met Ada", "Rome !"]
SPANS = [
    [{"start": 0, "end": 3, "label": "PER"}, {"start": 13, "end": 21, "label": "LOC"}],
    [],
    [{"start": 8, "end": 11, "label": "PER"}, {"start": 0, "end": 3, "label": "PER"}],
    [{"start": 0, "end": 4, "label": "LOC"}],
]


def read(data: Any, **options: Any) -> TaggedData:
    given_options = Options()
    given_options.update({"data": data, "valid_fraction": 0.0, **options})
    found = read_data(given_options)
    assert isinstance(found, TaggedData)
    return found


def tokens_of(sentences: Sentences) -> list[list[str]]:
    pairs = zip(sentences.texts, sentences.words, strict=True)
    return [[text[start:end] for start, end in words.tolist()] for text, words in pairs]


def table(tokens: Any = TOKENS, tags: Any = TAGS) -> pd.DataFrame:
    return pd.DataFrame({"tokens": tokens, "tags": tags}, index=[f"r{i}" for i in range(len(tokens))])


def spans(texts: Any = TEXTS, entities: Any = SPANS) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "entities": entities}, index=[f"r{i}" for i in range(len(texts))])


# --- forms ----------------------------------------------------------------------------------------------


def conll(folder: Path) -> Path:
    pairs = zip(TOKENS, TAGS, strict=True)
    lines = ["\n".join(f"{word}\t{tag}" for word, tag in zip(*pair, strict=True)) for pair in pairs]
    (folder / "a.conll").write_text("-DOCSTART-\n\n" + "\n\n".join(lines))
    return folder / "a.conll"


def class_labels(folder: Path) -> datasets.Dataset:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    rows = {"tokens": TOKENS, "ner_tags": [[names.index(tag) for tag in tags] for tags in TAGS]}
    return datasets.Dataset.from_dict(rows, features=features)


def parquet(frame: pd.DataFrame, folder: Path) -> Path:
    frame.reset_index(drop=True).to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def jsonl(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    return folder / "a.jsonl"


FORMS = {
    "lists": lambda _: table(),
    "arrays": lambda _: table([np.array(t) for t in TOKENS], [tuple(t) for t in TAGS]),
    "words and labels": lambda _: table().set_axis(["words", "labels"], axis=1),
    "records": lambda _: table().to_dict("records"),
    "class labels": class_labels,
    "class labels that stream": lambda folder: class_labels(folder).to_iterable_dataset(),
    "conll": conll,
    "tokens as parquet": lambda folder: parquet(table(), folder),
    "tokens as jsonl": lambda folder: jsonl(table(), folder),
    "spans": lambda _: spans(),
    "spans as parquet": lambda folder: parquet(spans(), folder),
    "spans as jsonl": lambda folder: jsonl(spans(), folder),
    "spans as a dataset": lambda _: datasets.Dataset.from_list(spans().to_dict("records")),
    "spans by columns": lambda _: spans(
        entities=[{key: [one[key] for one in row] for key in ("start", "end", "label")} for row in SPANS]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_and_read_alike(form: str, tmp_path: Path) -> None:
    data = FORMS[form](tmp_path)
    options = {"entities": "entities"} if form == "spans by columns" else {}
    found = read(data, **options)
    assert tokens_of(found.train) == TOKENS
    assert found.train.tags == TAGS
    assert found.train.texts == TEXTS
    assert found.types == ["LOC", "PER"]
    assert (found.rows, len(found.train), len(found.valid), found.findings.dropped) == (4, 4, 0, 0)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Whatever can be streamed is, a few rows at a time."""
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
    for module in (readers, sources):
        monkeypatch.setattr(module, "BIG", -1)
    monkeypatch.setattr(streams, "_LOOK", 3)
    monkeypatch.setattr(streams, "_MOST_ROWS", 3)
    monkeypatch.setattr(sentences, "_ROWS", 3)
    monkeypatch.setattr(store, "IN_MEMORY", -1)
    return monkeypatch


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike_from_files(form: str, tmp_path: Path, large: pytest.MonkeyPatch) -> None:
    test_every_form_is_found_and_read_alike(form, tmp_path)


@pytest.mark.parametrize("streams", [False, True])
def test_class_labels_lie_in_a_file_too(streams: bool, tmp_path: Path, large: pytest.MonkeyPatch) -> None:
    data = class_labels(tmp_path)
    frame = read_table(data.to_iterable_dataset() if streams else data)
    assert isinstance(frame["ner_tags"].array, pd.arrays.ArrowExtensionArray)
    gaps = [*data.select([0, 1]).to_list(), {"tokens": ["Rome"], "ner_tags": None}]
    some = datasets.Dataset.from_list(gaps, features=data.features)
    found = read(some, missing="drop")
    assert (found.train.tags, found.findings.dropped) == (TAGS[:2], 1)
    with pytest.raises(DataError, match="column 'ner_tags' is empty in row 2"):
        read(some)
    unnamed = [{"tokens": ["Rome"], "ner_tags": [-1]}]
    with pytest.raises(DataError, match="data, row 1: tag 0 in 'ner_tags', -1, is an int; give names such as 'B-PER'"):
        read(datasets.Dataset.from_list([*gaps[:1], *unnamed], features=data.features))


def test_gaps_are_found_in_a_file(tmp_path: Path, large: pytest.MonkeyPatch) -> None:
    gaps = table([[], None, [" "], ["no"], *TOKENS], [[], ["O"], ["O"], None, *TAGS])
    found = read(parquet(gaps, tmp_path), missing="drop")
    assert (found.findings.dropped, found.train.tags, found.train.index) == (4, TAGS, [4, 5, 6, 7])
    with pytest.raises(DataError, match=r"'tokens' is empty in rows 0, 1, 2; column 'tags' is empty in row 3\. Fill"):
        read(tmp_path / "a.parquet")


def test_lines_of_a_file_that_are_no_tokens_are_said(tmp_path: Path) -> None:
    path = conll(tmp_path)
    assert read(path).notes == [("lines of data", "1 -DOCSTART- line left out"), ("tags of data", "BIO")]
    (tmp_path / "b.conll").write_text("# source = a book\n" + path.read_text())
    (tmp_path / "c.conll").write_text("Ada\tB-PER\n")
    found = read(tmp_path / "*.conll", valid=tmp_path / "[ac].conll")
    assert found.notes[0] == ("lines of data", "2 -DOCSTART- lines and 1 comment line left out")
    assert ("lines of valid", "1 -DOCSTART- line left out") in found.notes
    (tmp_path / "d.conll").write_text(path.read_text())
    assert read(tmp_path / "[ad].conll").notes[0] == ("lines of data", "2 -DOCSTART- lines left out")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (TAGS, "BIO"),
        ([["S-PER", "O", "O", "B-LOC", "E-LOC"], *TAGS[1:]], "BIOES, 2 tags rewritten as BIO"),
        ([["U-PER", "O", "O", "B-LOC", "L-LOC"], *TAGS[1:]], "BILOU, 2 tags rewritten as BIO"),
        ([["I-PER", "O", "O", "I-LOC", "I-LOC"], ["O"] * 3, ["I-PER", "O", "I-PER"], ["I-LOC", "O"]], None),
        ([["PER", "O", "O", "LOC", "LOC"], ["O"] * 3, ["PER", "O", "PER"], ["LOC", "O"]], None),
        (
            [["I-PER", "O", "O", "B-LOC", "I-LOC"], *TAGS[1:3], ["I-LOC", "O"]],
            "BIO, 2 entities begun where they had no B (rows r0, r3)",
        ),
    ],
)
def test_every_scheme_is_said(tags: Any, said: str | None) -> None:
    found = read(table(tags=tags))
    assert found.train.tags == TAGS
    if said is None:
        scheme = "IOB1" if tags[0][0].startswith("I-") else "IO"
        said = f"{scheme}, {5 if scheme == 'IOB1' else 6} tags rewritten as BIO"
    assert found.notes == [("tags of data", said)]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda tag: tag.replace("-", "_"), "'B-LOC'"),
        (lambda tag: "-".join(reversed(tag.split("-"))), "'B-LOC'"),
        (str.lower, "'B-LOC'"),
        (lambda tag: tag if tag == "O" else tag.lower(), "'B-LOC'"),
        (lambda tag: tag.replace("-", ":"), "'B-LOC'"),
        (lambda tag: tag.replace("-", "_").replace("LOC", "Loc"), "'B-Loc'"),
    ],
)
def test_bio_written_otherwise_is_not_taken_for_types(form: Callable[[str], str], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(table(tags=[[form(tag) for tag in row] for row in TAGS]))
    assert str(caught.value).startswith("data: the tags in 'tags', such as ")
    assert str(caught.value).endswith(f" are BIO written otherwise: write {said}, and 'O' for what is no entity")


@pytest.mark.parametrize("kinds", [("Vitamin-B", "drug"), ("B_cell", "T_cell"), ("Vitamin-B", "Vitamin-C"), ("I_DNA",)])
def test_types_that_look_a_little_like_tags_are_types(kinds: tuple[str, ...]) -> None:
    assert read(table([["a", *kinds]] * 3, [["O", *kinds]] * 3)).types == sorted(kinds)


def test_tokens_without_a_character_are_counted() -> None:
    found = read(table([["Ada", "", "lives"], *TOKENS[1:]], [["B-PER", "O", "O"], *TAGS[1:]]))
    assert tokens_of(found.train)[0] == ["Ada", "lives"]
    assert ("tokens of data", "1 without a character left out") in found.notes


def test_entities_cut_words_and_lose_white_space() -> None:
    found = read(
        spans(
            ["Londoners in Rome "], [[{"start": 0, "end": 6, "label": "LOC"}, {"start": 12, "end": 18, "label": "LOC"}]]
        )
    )
    assert tokens_of(found.train) == [["London", "ers", "in", "Rome"]]
    assert found.train.tags == [["B-LOC", "O", "O", "B-LOC"]]
    assert found.notes == [
        ("words of data", "1 cut in two where an entity begins or ends within them"),
        ("entities of data", "1 without the white space at their ends"),
    ]


@settings(max_examples=100, deadline=None)
@given(text=WILD.filter(lambda text: text.strip()), edges=st.lists(st.integers(0, 40), max_size=6, unique=True))
def test_spans_come_back_from_the_tags_of_words(text: str, edges: list[int]) -> None:
    edges = sorted(edge for edge in edges if edge <= len(text))
    marked = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False) if text[a:b].strip()]
    rows = [
        {"text": text, "entities": [{"start": a, "end": b, "label": "X"} for a, b in marked]},
        {"text": "a", "entities": [{"start": 0, "end": 1, "label": "X"}]},
    ]
    found = read(rows).train
    words, tags = found.words[0].tolist(), found.tags[0]
    back = []
    for (start, end), tag in zip(words, tags, strict=True):
        if tag == "B-X":
            back.append([start, end])
        elif tag == "I-X":
            back[-1][1] = end
    assert [text[a:b] for a, b in back] == [text[a:b].strip() for a, b in marked]
    assert all(a <= start and end <= b for (a, b), (start, end) in zip(marked, back, strict=True))


# --- split and validation -------------------------------------------------------------------------------


def test_a_rare_entity_is_on_both_sides_of_the_split() -> None:
    tags = [["B-PER"]] * 36 + [["B-LOC"]] * 4
    found = read(table([[f"name {i}"] for i in range(40)], tags), valid_fraction=0.25)
    assert (len(found.train), len(found.valid)) == (30, 10)
    assert [sum(row == ["B-LOC"] for row in part.tags) for part in (found.train, found.valid)] == [3, 1]
    assert found.split == "stratified split of 25%, seed 42, by each row's rarest entity"
    assert not {*found.train.index} & {*found.valid.index}


def test_validation_data_are_read_by_themselves() -> None:
    iob1 = table([["Ada"], ["Ada", "ran"]], [["I-PER"], ["I-PER", "O"]])
    found = read(table(), valid=iob1)
    assert found.valid.tags == [["B-PER"], ["B-PER", "O"]]
    assert ("tags of valid", "IOB1, 2 tags rewritten as BIO") in found.notes
    with pytest.raises(DataError) as caught:
        read(table(), valid=table([["Ada"], ["Acme"]], [["B-PER"], ["B-ORG"]]))
    assert str(caught.value) == "valid, row r1: no training row has an entity 'ORG'; there are 'LOC', 'PER'"
    leaks = read(table(), valid=table().iloc[:1])
    assert "1 of 1 row to validate also in the training data" in leaks.findings.warnings[0]


def test_rows_without_tokens_are_named_or_dropped() -> None:
    gaps = table([[], None, [" "], *TOKENS[3:]], [[], ["O"], ["O"], *TAGS[3:]])
    with pytest.raises(DataError, match=r"column 'tokens' is empty in rows r0, r1, r2\. Fill them"):
        read(gaps)
    found = read(gaps, missing="drop")
    assert (found.findings.dropped, len(found.train), found.rows) == (3, 1, 4)


def test_an_entity_seen_once_is_said() -> None:
    warnings = read(table(tags=[["B-PER", "O", "O", "B-LOC", "I-LOC"], *TAGS[1:3], ["O", "O"]])).findings.warnings
    assert "entities seen once only, so hardly learned: 'LOC'" in warnings


# --- which task -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "task"),
    [
        (table(), "tag"),
        (spans(), "tag"),
        (table().assign(id=1), "tag"),
        (spans().assign(label="x"), "classify"),
        (spans().assign(sentiment=["x", "y", "x", "y"]), "classify"),
        (spans().assign(Rating=["x", "y", "x", "y"]), "classify"),
        (spans().assign(entities="none"), "tag"),  # what is wrong with them is said where they are read
        (table(TEXTS, TEXTS), "tag"),
        (pd.DataFrame({"text": ["a"], "labels": [["x", "y"]]}), "multilabel"),
    ],
)
def test_columns_that_plainly_mean_entities(frame: pd.DataFrame, task: str) -> None:
    assert choose_task(Options(), frame) == task


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"tokens": "tokens", "entities": "tags"},
            "entities and tokens are both given: give text and entities, or tokens and tags",
        ),
        ({"tags": "tags", "task": "classify"}, "tags is for task = 'tag'; to classify give text and label"),
        (
            {"label": "tags", "task": "tag"},
            "label is for task = 'classify'; to tag give tokens and tags, or text and entities",
        ),
        (
            {"task": "tag", "prompt": "tokens"},
            "prompt is for task = 'generate'; to tag give tokens and tags, or text and entities",
        ),
    ],
)
def test_options_that_do_not_belong_together(options: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(table(), **options)
    assert str(caught.value) == line


# --- refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "tags", "line"),
    [
        ([["a", "b"]], [["O"]], "data, row r0: 2 tokens in 'tokens', but 1 tags in 'tags'"),
        (
            ["a b"],
            [["O"]],
            "data, row r0: column 'tokens' holds a str, not a list of tokens; split it, as with .str.split(), or keep "
            "lists in JSONL or Parquet",
        ),
        ([["a", 1]], [["O", "O"]], "data, row r0: token 1 in 'tokens', 1, is an int; give texts"),
        ([["a"]], [[3]], "data, row r0: tag 0 in 'tags', 3, is an int; give names such as 'B-PER'"),
        ([["a"]], [5], "data, row r0: column 'tags' holds an int, not a list of tags"),
        ([["a"]], [[" "]], "data, row r0: tag 0 in 'tags' is empty; what is no entity has the tag 'O'"),
        ([["a", "b"]], [["PER", "B-PER"]], "data, row r0: the tag 'PER' in 'tags' has no B- or I- before it"),
        (
            [["a", "b"]],
            [["NOUN", "VERB"]],
            "data: the tags in 'tags', such as 'NOUN', have no B- or I- before them, and none is 'O': they do not mark "
            "entities",
        ),
        ([["a"]], [["O"]], "column 'tags' has no entity in any row: nothing to learn"),
    ],
)
def test_tokens_and_tags_that_cannot_be_read(tokens: Any, tags: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        read(table(tokens, tags), task="tag")
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("entities", "line"),
    [
        ("none", "holds a str, not a list of entities such as {'start': 0, 'end': 5, 'label': 'PER'}"),
        ([(0, 3, "PER")], "entity 0 in 'entities' is (0, 3, 'PER'); write {'start': 0, 'end': 5, 'label': 'PER'}"),
        (
            [{"start": 0, "end": "3", "label": "PER"}],
            "entity 0 in 'entities' has the end '3', not a whole number of characters",
        ),
        ([{"start": 0, "end": 3, "label": ""}], "entity 0 in 'entities' has the label '', not a name such as 'PER'"),
        ([{"start": 3, "end": 3, "label": "PER"}], "entity 0 in 'entities', from 3 to 3, marks nothing"),
        ([{"start": 3, "end": 1, "label": "PER"}], "entity 0 in 'entities', from 3 to 1, marks nothing"),
        ([{"start": 3, "end": 4, "label": "PER"}], "entity 0 in 'entities', from 3 to 4, marks white space only"),
        (
            [{"start": 0, "end": 30, "label": "PER"}],
            "entity 0 in 'entities', from 0 to 30, reaches out of the text, which has 21 characters",
        ),
        (
            [{"start": -3, "end": 2, "label": "PER"}],
            "entity 0 in 'entities', from -3 to 2, reaches out of the text, which has 21 characters",
        ),
        (
            [{"start": 4, "end": 9, "label": "A"}, {"start": 0, "end": 5, "label": "PER"}],
            "entities 1 and 0 in 'entities', from 0 to 5 and from 4 to 9, overlap: keep one",
        ),
    ],
)
def test_entities_that_cannot_be_read(entities: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        read(spans(TEXTS, [entities, *SPANS[1:]]), task="tag", text="text", entities="entities")
    assert str(caught.value).removeprefix("data, row r0: ").removeprefix("column 'entities' ") == line


def test_a_number_without_a_class_is_refused() -> None:
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "tags": datasets.List(datasets.ClassLabel(names=["O", "B-X"])),
        }
    )
    data = datasets.Dataset.from_dict({"tokens": [["a", "b"]], "tags": [[-1, 1]]}, features=features)
    with pytest.raises(DataError, match="row 0: tag 0 in 'tags', -1, is an int"):
        read(data)
