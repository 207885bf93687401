"""Answers as they are shown, and how they are asked for in a notebook."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from gpt_magic.notebook.answers import answer_html, answer_text, evaluation_html
from gpt_magic.notebook.markup import plain
from gpt_magic.notebook.texts import find_question
from gpt_magic.tasks.evaluation import evaluate_answers
from gpt_magic.tuned.answerer import Answer, TunedAnswerer
from tests.cells import refused, run
from tests.notebook.test_cards import ATTRIBUTES, TAGS, Page
from tests.quiz import answerer, quiz

CONTEXT = "The owl lives in the red house. It sleeps by day."


def answer(text: str = "the red house", context: str = CONTEXT, **more: Any) -> Answer:
    start = context.find(text) if text else None
    given = {"score": 0.873, "runner_up": "by day", "no_answer": None, **more}
    return Answer("Where does it live?", context, text, start, None if start is None else start + len(text), **given)


# --- what is shown --------------------------------------------------------------------------------------


def test_the_answer_is_marked_in_its_context() -> None:
    page = Page(answer_html(answer()))
    assert page.text == (
        "Where does it live?→ the red house (87.3%)The owl lives in the red house. It sleeps by day.else: by day"
    )
    bold = [attributes for tag, attributes in page.tags if tag == "strong"]
    assert "text-decoration:underline" in str(bold[-1]["style"])  # not by colour alone
    assert str(answer()) == (
        "Where does it live?\n→ the red house (87.3%)\nThe owl lives in ⟦the red house⟧. It sleeps by day.\n"
        "else: by day"
    )


def test_no_answer_and_written_answers_are_said_without_a_mark() -> None:
    none = answer("", no_answer=0.6, score=0.6)
    assert str(none).startswith("Where does it live?\n→ no answer in this context (60.0%)\nThe owl lives in the red")
    assert "no answer in this context (60.0%)" in Page(answer_html(none)).text
    assert "(87.3%; no answer 10.0%)" in str(answer(no_answer=0.1))
    written = Answer("Who?", CONTEXT, "a bird", None, None, 0.5, None, None)
    assert str(written) == f"Who?\n→ a bird (50.0%)\n{CONTEXT}"
    assert sum(tag == "strong" for tag, _ in Page(answer_html(written)).tags) == 1  # the question


def test_of_a_long_context_the_surroundings_are_shown() -> None:
    context = "a" * 5000 + " the red house " + "b" * 5000
    text = Page(answer_html(answer(context=context))).text
    assert f"…{'a' * 399} the red house {'b' * 399}…" in text
    assert "a" * 800 + "…" in Page(answer_html(answer("", context=context))).text


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60), st.data())
def test_whatever_is_answered_is_text_and_no_markup(context: str, data: Any) -> None:
    context = f"<b>{context}</b> $x$ &amp;"
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    one = Answer(context, context, context[start:end], start, end, 0.5, context, 0.1)
    page = Page(answer_html(one).replace("<br>", "\n"))
    assert {tag for tag, _ in page.tags} <= TAGS | {"bdi"}
    assert {name for _, attributes in page.tags for name in attributes} <= ATTRIBUTES | {"dir"}
    marked = plain(context[start:end]).replace("\n", "")
    assert marked in page.text.replace("\n", "")
    assert "⟦" in answer_text(one)


def test_evaluations() -> None:
    both = Page(evaluation_html(evaluate_answers(["owl", "fox", ""], [["owl"], ["red fox"], []], truncated=2))).text
    assert "all366.7%88.9%" in both
    assert "with an answer250.0%83.3%" in both
    assert "without an answer1100.0%100.0%" in both
    assert "2 rows were longer than the model reads and were cut" in both
    plain_one = Page(evaluation_html(evaluate_answers(["房"], [["房子"]]))).text
    assert "all10.0%66.7%" in plain_one
    assert "without an answer" not in plain_one
    assert "a character counts as a word" in plain_one


# --- what is asked --------------------------------------------------------------------------------------

NAMES: dict[str, Any] = {"note": CONTEXT, "held": SimpleNamespace(text=CONTEXT), "frame": quiz(2), "number": 7}


@pytest.mark.parametrize(
    ("rest", "cell", "expected"),
    [
        ('"Who lives there?" note', None, ("Who lives there?", CONTEXT)),
        ("'Who lives there?' note   # a comment", None, ("Who lives there?", CONTEXT)),
        ('"Who lives there?" held.text', None, ("Who lives there?", CONTEXT)),
        ('"Who?" "An \\"owl\\"."', None, ("Who?", 'An "owl".')),
        ("", f"Who?\n\n{CONTEXT}\n", ("Who?", CONTEXT)),
        ("", f"\nWho\nis it?\n  \n{CONTEXT}\n\nMore of it.\n", ("Who\nis it?", f"{CONTEXT}\n\nMore of it.")),
        ("Who is it?", f"{CONTEXT}\n\nMore of it.\n", ("Who is it?", f"{CONTEXT}\n\nMore of it.")),
        ('"Who is it?"', f"{CONTEXT}\n", ("Who is it?", CONTEXT)),
    ],
)
def test_questions_with_contexts(rest: str, cell: str | None, expected: tuple[str, str]) -> None:
    assert find_question("qa", rest, cell, NAMES) == expected


def test_a_table_is_asked_by_its_name() -> None:
    assert find_question("qa", "frame", None, NAMES) is NAMES["frame"]


@pytest.fixture(scope="module")
def tuned() -> TunedAnswerer:
    return answerer(max_steps=30)


@pytest.fixture(scope="module")
def shell(tuned: TunedAnswerer) -> Iterator[InteractiveShell]:
    """An IPython with gpt_magic, a model `qa`, a table, a text."""
    made = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    made.user_ns.update(NAMES, qa=tuned)
    run(made, "%load_ext gpt_magic")
    yield made
    run(made, "%unload_ext gpt_magic")


@pytest.mark.parametrize(
    "cell",
    [
        '%predict qa "Where does the owl live?" note',
        f"%%predict qa\nWhere does the owl live?\n\n{CONTEXT}",
        f"%%predict qa Where does the owl live?\n{CONTEXT}",
        'found = %predict qa "Where does the owl live?" note\nfound',
    ],
)
def test_predict_gives_the_answer_in_its_context(cell: str, shell: InteractiveShell, tuned: TunedAnswerer) -> None:
    found = run(shell, cell)
    assert found == tuned.ask("Where does the owl live?", CONTEXT)
    assert found._repr_html_() == answer_html(found)
    assert repr(found) == str(found) == answer_text(found)


def test_predict_of_a_table(shell: InteractiveShell, tuned: TunedAnswerer) -> None:
    found = run(shell, "%predict qa frame")
    pd.testing.assert_frame_equal(found, tuned.predict(NAMES["frame"]))


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("%predict qa --probabilities frame", "--probabilities: for models that label, and qa answers; a text that "),
        ("%predict qa frame --top-k 5", "--top-k: for models that write, and qa answers; a text that begins "),
        ('%predict qa "Who?" number', "'number' is an int, not a text with the answer in it"),
        (
            '%predict qa "Who?" noet',
            "there is no 'noet' in this notebook (did you mean 'note'?); a context stands in quotes, or under a name",
        ),
        (
            '%predict qa "Who?" nothing.like',
            "there is no 'nothing.like' in this notebook; a context stands in quotes, or under a name",
        ),
        ('%predict qa "Who?" An owl.', "there is no 'An owl.' in this notebook; a context stands in quotes, or under "),
        (
            '%predict qa "Who?" note[:5]',
            "'note[:5]' is an expression: write qa.ask(\"Who?\", note[:5]); a context stands in quotes",
        ),
        ("%predict qa 'Who?' note.upper()", "'note.upper()' is an expression: write qa.ask('Who?', note.upper())"),
        ("%predict qa frame[:1]", "'frame[:1]' is an expression: write qa.predict(frame[:1]); a text stands in "),
        ("%predict qa", 'there is no question with a context: %predict qa "question" NAME, or %%predict qa with '),
        ("%predict qa who is it", "there is no question with a context: "),
        ("%%predict qa\nWho is it?", "the cell has no question with a context: "),
        ("%%predict qa Who?\n\n", "the cell has no question with a context: "),
    ],
)
def test_what_is_refused(cell: str, line: str, shell: InteractiveShell) -> None:
    assert refused(shell, cell).startswith(line)
