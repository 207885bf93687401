"""SQuAD's JSON, written here by hand, to a table."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gpt_magic.data.questions import read_questions
from gpt_magic.data.read import choose_task
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError
from gpt_magic.options import Options

TEXT = "The owl hunts at night. The hen does not."


def squad(**second: Any) -> dict[str, Any]:
    asked = {"id": "b", "question": "When does the fox hunt?", "answers": [], **second}
    paragraph = {
        "context": TEXT,
        "qas": [
            {
                "id": "a",
                "question": "When does the owl hunt?",
                "answers": [{"text": "night", "answer_start": 17}, {"text": "at night", "answer_start": 14}],
            },
            asked,
        ],
    }
    other = {
        "context": "Hens lay eggs.",
        "qas": [{"question": "Who?", "answers": [{"text": "Hens", "answer_start": 0}]}],
    }
    return {"version": "v2.0", "data": [{"title": "Birds", "paragraphs": [paragraph]}, {"paragraphs": [other]}]}


@pytest.mark.parametrize("name", ["dev.json", "dev.json.gz"])
def test_a_file_is_a_table_with_a_row_a_question(name: str, tmp_path: Path) -> None:
    content = json.dumps(squad(is_impossible=True, plausible_answers=[{"text": "at night", "answer_start": 14}]))
    path = tmp_path / name
    if name.endswith(".gz"):
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(content)
    else:
        path.write_text(content, encoding="utf-8")
    frame = read_table(path)
    assert frame.columns.tolist() == ["id", "title", "question", "context", "answers"]
    assert frame["id"].tolist()[:2] == ["a", "b"]
    assert frame["id"].isna().tolist() == [False, False, True]
    assert frame["context"].tolist() == [TEXT, TEXT, "Hens lay eggs."]
    assert [len(answers) for answers in frame["answers"]] == [2, 0, 1]
    options = Options()
    options.update({"data": path, "valid_fraction": 0.0})
    assert choose_task(options, frame) == "answer"
    found = read_questions(options, frame).train.rows
    assert [(row.answers, row.answer, row.start) for row in found] == [
        (("night", "at night"), "night", 17),
        ((), "", None),
        (("Hens",), "Hens", 0),
    ]


def test_version_1_has_no_marks_of_impossible_questions() -> None:
    frame = read_table(squad(answers=[{"text": "The hen", "answer_start": 24}]))
    assert [one["text"] for answers in frame["answers"] for one in answers] == ["night", "at night", "The hen", "Hens"]


def test_other_objects_with_data_in_them_are_columns() -> None:
    assert read_table({"data": ["a", "b"], "version": ["1", "2"]}).columns.tolist() == ["data", "version"]


def broken(place: list[Any], value: Any) -> dict[str, Any]:
    """SQuAD with something else at a place; None takes it out."""
    made = squad()
    part: Any = made
    for step in place[:-1]:
        part = part[step]
    if value is None:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return made


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        (["data", 1, "paragraphs"], None, "data, article 1 has no 'paragraphs', which a SQuAD file has there"),
        (["data", 1], "text", "data, article 1 is a str, not an object as in a SQuAD file"),
        (
            ["data", 0, "paragraphs", 0, "context"],
            None,
            "data, article 0, paragraph 0 has no 'context', which a SQuAD file has there",
        ),
        (
            ["data", 0, "paragraphs", 0, "qas", 1, "question"],
            None,
            "data, article 0, paragraph 0, question 1 has no 'question', which a SQuAD file has there",
        ),
        (
            ["data", 0, "paragraphs", 0, "qas", 1, "answers"],
            None,
            "data, article 0, paragraph 0, question 1 has no 'answers', which a SQuAD file has there",
        ),
        (
            ["data", 0, "paragraphs", 0, "qas"],
            {"id": 1},
            "data, article 0, paragraph 0: 'qas' is a dict, not a list as in a SQuAD file",
        ),
    ],
)
def test_what_is_missing_is_named(place: list[Any], value: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(broken(place, value))
    assert str(caught.value) == line


def test_a_file_without_questions_has_no_rows() -> None:
    with pytest.raises(DataError, match="data has no rows"):
        read_table({"data": [{"paragraphs": []}]})
