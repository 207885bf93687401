"""What counts as an answer, and where it stands."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.data.references import place, read_references
from gpt_magic.errors import DataError

NONE = {"text": [], "answer_start": []}


@pytest.mark.parametrize(
    ("value", "start", "expected"),
    [
        ("An owl", None, [("An owl", None)]),
        ("An owl", 18, [("An owl", 18)]),
        ("An owl", 18.0, [("An owl", 18)]),
        ("An owl", float("nan"), [("An owl", None)]),
        ("An owl", [18], [("An owl", 18)]),
        (["An owl", "owl"], None, [("An owl", None), ("owl", None)]),
        (("An owl", "owl"), (0, 3), [("An owl", 0), ("owl", 3)]),
        (np.array(["An owl"], dtype=object), np.array([18]), [("An owl", 18)]),
        ({"text": ["An owl", "owl"], "answer_start": [0, 3]}, None, [("An owl", 0), ("owl", 3)]),
        ({"text": np.array(["owl"], dtype=object), "answer_start": np.array([3], dtype=np.int32)}, None, [("owl", 3)]),
        ({"text": "owl", "answer_start": 3}, None, [("owl", 3)]),
        ({"text": ["owl"], "answer_start": [np.int64(3)]}, None, [("owl", 3)]),
        ([{"text": "owl", "answer_start": np.float32(3)}], None, [("owl", 3)]),
        ({"text": ["owl"], "answer_start": [np.float64("nan")]}, None, [("owl", None)]),
        ({"text": ["owl"]}, None, [("owl", None)]),
        ([{"text": "owl", "answer_start": 3}, {"text": "An owl"}], None, [("owl", 3), ("An owl", None)]),
        ([], None, []),
        (" [] ", float("nan"), []),
        (["[]"], None, [("[]", None)]),
        (NONE, None, []),
        ([""], [0], []),
        ({"text": np.array([]), "answer_start": np.array([])}, None, []),
    ],
    ids=repr,
)
def test_forms_of_answers(value: Any, start: Any, expected: Any) -> None:
    assert read_references(value, start, "row") == expected


@pytest.mark.parametrize(
    ("value", "start", "line"),
    [
        (7, None, "row 3: the answer 7 is an int; write a text, a list of texts, or {'text': [...], "),
        (["a", None], None, "row 3: the answer None is None; write a text"),
        ({"label": "a"}, None, "row 3: the answer {'label': 'a'} is a dict; write a text"),
        (["a", "b"], [1], "row 3: 2 answers, but 1 of answer_start"),
        ("a", "x", "row 3: answer_start is 'x', not a whole number"),
        ("a", 1.5, "row 3: answer_start is 1.5, not a whole number"),
        ("a", float("inf"), "row 3: answer_start is inf, not a whole number"),
        ("a", -np.inf, "row 3: answer_start is -inf, not a whole number"),
        ({"text": ["a"], "answer_start": [np.float32(1.5)]}, None, "row 3: answer_start is "),
        ({"text": ["a"], "answer_start": [np.bool_(True)]}, None, "row 3: answer_start is "),
        ("a", True, "row 3: answer_start is True, not a whole number"),
    ],
    ids=repr,
)
def test_what_is_no_answer(value: Any, start: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        read_references(value, start, "row 3")
    assert str(caught.value).startswith(line)


LETTERS = st.text(st.sampled_from("ab é\U0001f469\u200d\u0301"), max_size=14)


def occurrences(context: str, answer: str) -> list[int]:
    return [i for i in range(len(context) - len(answer) + 1) if context[i : i + len(answer)] == answer]


@settings(max_examples=100, deadline=None)
@given(LETTERS, LETTERS.filter(bool), st.none() | st.integers(-3, 20))
def test_places_equal_a_search_by_hand(context: str, answer: str, given_start: int | None) -> None:
    every, found = occurrences(context, answer), place(context, answer, given_start)
    if not every:
        assert found == (None, "absent")
    elif given_start is None:
        assert found == (every[0], "ambiguous" if len(every) > 1 else "")
    elif given_start in every:
        assert found == (given_start, "")
    else:
        assert found[1] == "moved"
        assert found[0] in every
        assert abs(found[0] - given_start) == min(abs(start - given_start) for start in every)
