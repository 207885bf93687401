"""Exact match and F1 against torchmetrics (version 1) and against the rules of version 2 written down anew."""

import collections
import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.text import squad

from gpt_magic.tasks.answers import normalise, score_answers
from gpt_magic.tasks.evaluation import evaluate_answers

WORDS = [
    "the",
    "The",
    "a",
    "an",
    "owl",
    "Owl's",
    "red",
    "house",
    "1,000",
    "…",
    "!",
    "é",
    "“quoted”",
    "\u00a0",
    "\t",
    "-",
    "re-",
]
ANSWER = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
GIVEN = ANSWER.filter(lambda text: text.strip())


def torchmetrics_squad(answers: list[str], references: list[list[str]]) -> tuple[float, float]:
    told = [{"prediction_text": answer, "id": str(i)} for i, answer in enumerate(answers)]
    known = [
        {"answers": {"text": some, "answer_start": [0] * len(some)}, "id": str(i)} for i, some in enumerate(references)
    ]
    found = squad(told, known)
    return float(found["exact_match"]) / 100, float(found["f1"]) / 100


# torchmetrics has version 2's rule for references of which nothing is left; they are looked at below.
SAID = GIVEN.filter(lambda text: normalise(text))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ANSWER, st.lists(SAID, min_size=1, max_size=3)), min_size=1, max_size=8))
def test_version_1_equals_torchmetrics(rows: list[tuple[str, list[str]]]) -> None:
    answers, references = [row[0] for row in rows], [row[1] for row in rows]
    found = score_answers(answers, references)
    assert (found.exact_match, found.f1) == pytest.approx(torchmetrics_squad(answers, references), abs=1e-6)


def version_2(answer: str, references: list[str]) -> tuple[float, float]:
    """The metric as described: articles, punctuation and case aside; nothing is right where there is nothing."""

    def words(text: str) -> list[str]:
        kept = "".join(c for c in text.lower() if c not in string.punctuation)
        return [word for word in re.sub(r"\b(a|an|the)\b", " ", kept).split() if word]

    golds = [words(text) for text in references if words(text)] or [[]]
    said, scores = words(answer), []
    for gold in golds:
        if not gold or not said:
            scores.append(float(gold == said))
            continue
        left = collections.Counter(gold)
        same = 0
        for word in said:
            if left[word] > 0:
                left[word] -= 1
                same += 1
        scores.append(2 * same / (len(said) + len(gold)))  # = 2PR / (P + R)
    return max(float(said == gold) for gold in golds), max(scores)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ANSWER, st.lists(GIVEN, max_size=3)), min_size=1, max_size=8))
def test_version_2_equals_its_rules(rows: list[tuple[str, list[str]]]) -> None:
    rows = [*rows, ("owl", [])]  # one question without an answer makes it version 2
    expected = [version_2(*row) for row in rows]
    found = score_answers([row[0] for row in rows], [row[1] for row in rows])
    assert found.exact.tolist() == pytest.approx([exact for exact, _ in expected])
    assert found.overlap.tolist() == pytest.approx([f1 for _, f1 in expected])
    assert found.answerable.tolist() == [bool(row[1]) for row in rows]


def test_the_two_versions_differ_in_answers_of_which_nothing_is_left() -> None:
    assert score_answers(["a"], [["The"]]).overlap.tolist() == [0.0]
    assert score_answers(["a", ""], [["The"], []]).overlap.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("红色的房子", ["红色的房子"], 1, 1),
        ("红色的房子。", ["《红色的房子》"], 1, 1),  # punctuation of all of Unicode
        ("红房子", ["红色的房子"], 0, 2 * (3 / 3) * (3 / 5) / (3 / 3 + 3 / 5)),
        ("在2015年", ["2015年"], 0, 2 * (2 / 3) * (2 / 2) / (2 / 3 + 2 / 2)),  # a number is one word
        ("the房子", ["房子"], 0, 2 * (2 / 3) * (2 / 2) / (2 / 3 + 2 / 2)),  # no articles in Chinese
        ("子房", ["房子"], 0, 1),
        ("ปลา", ["ปลา!"], 1, 1),
    ],
)
def test_characters_are_the_words_of_scripts_without_spaces(
    answer: str, references: list[str], exact: float, f1: float
) -> None:
    found = score_answers([answer], [references])
    assert found.by_character
    assert found.exact.tolist() == [exact]
    assert found.overlap.tolist() == pytest.approx([f1])


def test_a_chinese_name_among_english_answers_changes_nothing() -> None:
    answers, references = ["red house", "北京", "the owl"], [["the red house"], ["北京市"], ["owl"]]
    found = score_answers(answers, references)
    assert not found.by_character
    assert (found.exact_match, found.f1) == pytest.approx(torchmetrics_squad(answers, references))
    assert normalise("The «Owl»") == "«owl»"  # the official script removes ASCII's punctuation only


def test_evaluations_say_what_they_are_of() -> None:
    one = evaluate_answers(["owl", "red fox", ""], [["the owl"], ["fox"], []])
    assert (one.rows, one.exact_match) == (3, pytest.approx(2 / 3))
    assert one.answerable == (2, 0.5, pytest.approx((1 + 2 / 3) / 2))
    assert one.unanswerable == (1, 1.0, 1.0)
    assert str(one) == (
        "3 rows: exact match 0.6667, F1 0.8889; 2 with an answer: exact match 0.5000, F1 0.8333; 1 without one: exact "
        "match 1.0000, F1 1.0000"
    )
    plain = evaluate_answers(["owl"], [["owl"]], truncated=1)
    assert plain.unanswerable is None
    assert str(plain) == "1 row: exact match 1.0000, F1 1.0000; 1 of them cut to what the model reads"
    nothing: Any = evaluate_answers(["owl", ""], [[], []])
    assert (nothing.answerable, nothing.unanswerable) == (None, (2, 0.5, 0.5))
