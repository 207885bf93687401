from typing import Any

import pandas as pd
import pytest

from gpt_magic.data.columns import NAMES, find_roles
from gpt_magic.errors import DataError


def table(*columns: str) -> pd.DataFrame:
    return pd.DataFrame([["x"] * len(columns)], columns=list(columns))


def found(*columns: str, text: str | None = None, label: str | None = None) -> dict[str, str]:
    return find_roles(table(*columns), {"text": text, "label": label}).columns


def refused(*columns: str, text: str | None = None, label: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        found(*columns, text=text, label=label)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        (["input", "labels"], "input", "labels"),
        (["text", "label"], "text", "label"),
        (["id", "Review", "Sentiment"], "Review", "Sentiment"),
        (["文本", "标签"], "文本", "标签"),
        (["title", "text", "topic"], "text", "topic"),  # the plainest name wins
        (["review", "rating"], "review", "rating"),
        (["label", "text"], "text", "label"),
        ([" text ", "LABEL"], " text ", "LABEL"),
        (["question", "y"], "question", "y"),
    ],
)
def test_roles_are_found_by_name(columns: list[str], text: str, label: str) -> None:
    assert found(*columns) == {"text": text, "label": label}


@pytest.mark.parametrize("role", NAMES)
def test_a_name_stands_for_one_role_and_once(role: str) -> None:
    mine = [name for names in NAMES[role] for name in names]
    beside = {"text": ["label"], "label": ["text"], "prompt": ["completion"], "completion": ["prompt"], "messages": []}
    asked = ["question", "context", "answer", "answer_start"]
    beside |= {one: [other for other in asked if other != one] for one in asked}
    beside |= {"tokens": ["tags"], "tags": ["tokens"], "entities": ["text"]}
    others = {name for other in beside[role] for names in NAMES[other] for name in names}
    assert len(mine) == len(set(mine))
    assert not others & set(mine)
    assert [name.casefold().strip() for name in mine] == mine


def test_given_columns_are_taken_whatever_their_names() -> None:
    assert found("a", "b", text="b", label="a") == {"text": "b", "label": "a"}
    assert found("text", "label", "other", text="other") == {"text": "other", "label": "label"}
    assert found("text", "label", text="label", label="text") == {"text": "label", "label": "text"}


def test_what_was_found_is_told_apart_from_what_was_given() -> None:
    roles = find_roles(table("review", "sentiment"), {"text": None, "label": "sentiment"})
    assert roles.found == ("text",)
    assert roles.describe() == "text = 'review' (found by name), label = 'sentiment'"


@pytest.mark.parametrize(
    ("columns", "given", "line"),
    [
        (["text", "input", "label"], {}, "which column is the text: 'text' or 'input'? Say text = 'text'"),
        (["Text", "text", "label"], {}, "which column is the text: 'Text' or 'text'? Say text = 'Text'"),
        (["text", "topic", "class"], {}, "which column is the label: 'topic' or 'class'? Say label = 'topic'"),
        (["a", "label"], {}, "no column is plainly the text: say text = ... with one of 'a', 'label'"),
        (["text", "a", "b"], {}, "no column is plainly the label: say label = ... with one of 'a', 'b'"),
        (["text"], {}, "no column is left for the label: the table has only 'text'"),
        (["a"], {"text": "a"}, "no column is left for the label: the table has only 'a'"),
        (["text", "label"], {"text": "txt"}, "text = 'txt': no such column (did you mean 'text'?)"),
        (["a", "label"], {"text": "body"}, "text = 'body': no such column; the columns are 'a', 'label'"),
        (
            ["a", "b"],
            {"text": "a", "label": "a"},
            "text and label are both the column 'a': name two different columns",
        ),
    ],
)
def test_what_is_not_plain_is_asked_for(columns: list[str], given: dict[str, Any], line: str) -> None:
    assert refused(*columns, **given) == line


def test_a_wide_table_gives_a_short_line() -> None:
    assert len(refused(*(f"column {number}" for number in range(500)))) < 300
