"""A model that answers: tables and single questions, evaluation, its folder, and plain transformers."""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpt_magic
from gpt_magic.errors import DataError, OptionError
from gpt_magic.saved import model_card
from gpt_magic.tasks.answers import score_answers
from gpt_magic.tuned import TruncationWarning, TunedAnswerer
from tests.data.test_words import WILD
from tests.quiz import CONTEXT, answerer, base, quiz

STYLES = ["extract", "write"]


@pytest.fixture(scope="module")
def answerers() -> dict[str, TunedAnswerer]:
    """One a style, that has learned something; questions without an answer among the data."""
    data = quiz(80, unanswerable=True)
    made = {style: answerer(style, data, max_steps=60) for style in STYLES}
    return made | {"plain": answerer(data=quiz(40), max_steps=60)}


# --- answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_a_table_of_answers(style: str, answerers: dict[str, TunedAnswerer]) -> None:
    data = quiz(24, unanswerable=True)
    before = data.copy()
    out = answerers[style].predict(data)
    more = ["runner_up"] if style == "extract" else []
    assert out.columns.tolist() == [*data.columns, "answer", "start", "end", "score", *more, "no_answer"]
    assert out.index.tolist() == data.index.tolist()
    pd.testing.assert_frame_equal(data, before)
    assert out["score"].between(0, 1).all()
    assert out["no_answer"].between(0, 1).all()
    assert str(out["start"].dtype) == str(out["end"].dtype) == "Int64"
    for row in out.itertuples():
        if row.answer and not pd.isna(row.start):
            assert row.context[row.start : row.end] == row.answer
        elif style == "extract":
            assert row.answer == ""
    assert "no_answer" not in answerers["plain"].predict(data)


@pytest.mark.parametrize("style", ["extract", "write"])
@given(pairs=st.lists(st.tuples(WILD, WILD), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_answers_about_wild_texts_stand_where_it_is_said(
    style: str, pairs: list[tuple[str, str]], answerers: dict[str, TunedAnswerer]
) -> None:
    """Emoji, combining marks, right to left, zero width, CRLF: nothing of a text is changed on the way."""
    asked = pd.DataFrame(pairs, columns=["question", "context"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some rows have nothing in them, some questions are long
        found = answerers[style].predict(asked) if asked.map(str.strip).all(axis=1).any() else asked.head(0)
    for row in found.itertuples():
        if not pd.isna(row.start):
            assert row.context[row.start : row.end] == row.answer
            assert row.answer == row.answer.strip() != ""
        if row.answer is not None:
            assert 0 <= row.score <= 1 + 1e-6
        if style == "extract" and row.answer:
            assert not pd.isna(row.start)
            assert row.runner_up is None or row.runner_up in row.context


def test_answers_alone_and_in_a_table_are_the_same(answerers: dict[str, TunedAnswerer]) -> None:
    data = quiz(6, unanswerable=True)
    for style in STYLES:
        tuned = answerers[style]
        table = tuned.predict(data)
        again = tuned.predict(question=data["question"].tolist(), context=data["context"].tolist())
        assert again["answer"].tolist() == table["answer"].tolist()
        for i, row in enumerate(data.itertuples()):
            one = tuned.ask(row.question, row.context)
            assert (one.answer, one.question, one.context) == (table["answer"].iloc[i], row.question, row.context)
            assert one.score == pytest.approx(table["score"].iloc[i], rel=1e-4)
            assert one.no_answer == pytest.approx(table["no_answer"].iloc[i], rel=1e-4, abs=1e-6)
            assert one.start == (None if pd.isna(table["start"].iloc[i]) else table["start"].iloc[i])
    several = answerers["plain"].predict(question=["Who?", "Where?"], context="The owl lives in house 9.")
    assert several["context"].tolist() == ["The owl lives in house 9."] * 2
    assert len(answerers["plain"].predict(question="Who?", context="The owl.")) == 1


def test_it_learns_to_find_answers_and_to_give_none() -> None:
    """What a few hundred steps teach: the place after a word, and that one kind of question has no answer."""
    tuned = answerer(data=quiz(120, unanswerable=True), max_steps=250, learning_rate=3e-3, valid_fraction=0.2)
    found = tuned.evaluate(quiz(40, unanswerable=True))
    assert found.exact_match > 0.6
    assert found.answerable[0] == 30
    assert found.unanswerable[0] == 10


def test_rows_without_question_or_context_get_no_answer(answerers: dict[str, TunedAnswerer]) -> None:
    data = quiz(4)
    data.loc[101, "question"] = None
    data.loc[102, "context"] = "  "
    with pytest.warns(UserWarning, match=r"no answer where there is no question or no context: rows 101, 102"):
        out = answerers["plain"].predict(data)
    assert out["answer"].isna().tolist() == [False, True, True, False]
    assert out["score"].isna().tolist() == [False, True, True, False]
    with pytest.warns(UserWarning, match="no answer where"):
        assert answerers["plain"].predict(data.loc[[101, 102]])["answer"].isna().all()


def padded(rows: int) -> pd.DataFrame:
    """`quiz` in contexts of several windows, at places that differ."""
    data = quiz(rows).drop(columns="answers")
    data["answer"] = [one["text"][0] for one in quiz(rows)["answers"]]
    filler = "Nothing is said of it. "
    data["context"] = [filler * (i % 7) + text + (" " + filler) * (9 - i % 7) for i, text in enumerate(data["context"])]
    return data


def test_long_contexts_are_read_in_windows() -> None:
    """Windows without the answer lose to the one that has it; the places are those of the whole context."""
    tuned = answerer(data=padded(100), max_steps=250, learning_rate=3e-3, valid_fraction=0.2)
    assert tuned.rejects == "windows"
    held = padded(40)
    assert min(len(tuned.tokenizer(text)["input_ids"]) for text in held["context"]) > CONTEXT
    out = tuned.predict(held)
    assert "no_answer" not in out
    assert all(row.context[row.start : row.end] == row.answer for row in out.itertuples())
    assert tuned.evaluate(held).exact_match > 0.6


def test_what_was_cut_is_said(answerers: dict[str, TunedAnswerer]) -> None:
    with pytest.warns(
        TruncationWarning, match=r"1 row with a question too long for 64 tokens: only a part was read \(row 0\)"
    ):
        answerers["extract"].ask("Where does it live? " * 20, "The owl lives in house 9.")
    with pytest.warns(TruncationWarning, match="1 row with a context or question too long for 64 tokens"):
        answerers["write"].ask("Where does it live?", "The owl lives in house 9. " * 20)


@pytest.mark.parametrize(
    ("given", "error", "line"),
    [
        ({}, OptionError, "give a table with questions and contexts, or question = ... and context = ..."),
        (
            {"x": quiz(2), "question": "Who?"},
            OptionError,
            "give a table with questions and contexts, or question = ...",
        ),
        ({"question": "Who?"}, OptionError, "context = ... is not given"),
        ({"context": "An owl."}, OptionError, "question = ... is not given"),
        ({"question": ["Who?"] * 2, "context": ["An owl."]}, DataError, "2 questions, but 1 context"),
        ({"question": [], "context": "An owl."}, DataError, "nothing to answer: no questions were given"),
        ({"question": [7], "context": "An owl."}, DataError, "data, row 0: the question holds an int, not a text"),
        ({"x": quiz(2)[["question"]]}, DataError, "the data have no context column 'context'; theirs are 'question'"),
    ],
    ids=repr,
)
def test_what_cannot_be_answered(given: Any, error: Any, line: str, answerers: dict[str, TunedAnswerer]) -> None:
    with pytest.raises(error) as caught:
        answerers["plain"].predict(**given)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("question", "context", "line"),
    [("", "a", "the question is empty: give a text"), ("a", 3, "the context is an int: give a text")],
)
def test_what_cannot_be_asked(question: Any, context: Any, line: str, answerers: dict[str, TunedAnswerer]) -> None:
    with pytest.raises(DataError, match=line):
        answerers["plain"].ask(question, context)


# --- evaluation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_evaluation_scores_the_answers_of_predict(style: str, answerers: dict[str, TunedAnswerer]) -> None:
    data = quiz(40, unanswerable=True)
    found = answerers[style].evaluate(data)
    scored = score_answers(answerers[style].predict(data)["answer"].tolist(), [one["text"] for one in data["answers"]])
    assert (found.rows, found.exact_match, found.f1) == (40, scored.exact_match, scored.f1)
    assert found.answerable[0] == 30
    assert found.unanswerable == (
        10,
        scored.exact[~scored.answerable].mean(),
        scored.overlap[~scored.answerable].mean(),
    )


@pytest.mark.parametrize("style", STYLES)
def test_evaluation_equals_the_metrics_of_the_run(style: str) -> None:
    held = quiz(10, unanswerable=True)
    tuned = answerer(style, quiz(30, unanswerable=True), valid=held, max_steps=6)
    found = tuned.evaluate(held)
    assert (found.exact_match, found.f1) == (tuned.metrics["exact_match"], tuned.metrics["f1"])


def test_references_need_not_stand_in_the_context(answerers: dict[str, TunedAnswerer]) -> None:
    data = quiz(4).assign(answers=[["nowhere", "house 7"], "grey", {"text": ["x"], "answer_start": [900]}, ["brown"]])
    assert answerers["plain"].evaluate(data).rows == 4
    data.loc[100, "question"] = None
    with pytest.raises(DataError, match="column 'question' is empty in row 100"):
        answerers["plain"].evaluate(data)
    assert answerers["plain"].evaluate(data, missing="drop").rows == 3
    with pytest.raises(DataError, match="the data have no answer column 'answers'; theirs are 'question', 'context'"):
        answerers["plain"].evaluate(data[["question", "context"]])


# --- the object and its folder --------------------------------------------------------------------------


def test_the_card_shows_the_sliding_window_beside_the_model() -> None:
    tuned = answerer(baselines=True, valid_fraction=0.2)
    assert tuned.summary.scores.columns == ["exact match", "F1"]
    assert [name for name, _ in tuned.summary.scores.rows] == [
        "GPT2LMHeadModel fine-tuned",
        "sliding window of question words",
    ]
    assert repr(tuned).startswith("<TunedAnswerer answer · GPT2LMHeadModel · a DataFrame: exact match ")
    assert {"valid_exact_match", "valid_f1"} <= set(tuned.history.columns)


@pytest.mark.parametrize("style", STYLES)
def test_what_is_loaded_is_what_was_saved(style: str, answerers: dict[str, TunedAnswerer], tmp_path: Path) -> None:
    tuned = answerers[style]
    loaded = gpt_magic.load(tuned.save(tmp_path / "qa"))
    assert isinstance(loaded, TunedAnswerer)
    assert type(loaded.model) is type(tuned.model)
    for name in ("style", "longest", "rejects", "columns", "max_length", "metrics", "options"):
        assert getattr(loaded, name) == getattr(tuned, name), name
    data = quiz(8, unanswerable=True)
    pd.testing.assert_frame_equal(loaded.predict(data), tuned.predict(data))
    again = gpt_magic.finetune(quiz(), base=loaded, max_steps=1, quiet=True, baselines=False)
    assert isinstance(again, TunedAnswerer)


PLAIN = """
import json, re, sys
sys.modules["gpt_magic"] = None  # importing it would fail
import transformers

asked, folders, found = json.loads(sys.argv[1]), sys.argv[2:], []
for folder in folders:
    card = open(f"{folder}/README.md", encoding="utf-8").read()
    code, loading = re.findall("```python\\n(.*?)```", card, re.DOTALL)[:2]
    name = re.search("from transformers import (\\\\w+)", loading)[1]
    exec(code)
    model = getattr(transformers, name).from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found.append([name, [answer(model, tokenizer, question, context) for question, context in asked]])
print(json.dumps(found))
"""


def test_the_model_cards_code_gives_the_same_answers_in_plain_transformers(
    answerers: dict[str, TunedAnswerer], tmp_path: Path
) -> None:
    both = [answerers["plain"], answerers["write"]]
    folders = [str(tuned.save(tmp_path / tuned.style)) for tuned in both]
    data = quiz(12)
    asked = [*zip(data["question"], data["context"], strict=True), ("何色ですか？", "家は赤い 🏠 です。\r\nEnd")]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, json.dumps(asked), *folders], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert [name for name, _ in found] == ["AutoModelForQuestionAnswering", "AutoModelForCausalLM"]
    for tuned, (_, answers), tag in zip(both, found, ["question-answering", "text-generation"], strict=True):
        assert answers == [tuned.ask(*one).answer for one in asked]
        assert f"pipeline_tag: {tag}" in model_card(tuned)


def test_no_training_text_is_saved(tmp_path: Path) -> None:
    secret = quiz(20).replace(to_replace=r"house (\d+)", value=r"zeppelin \1", regex=True)
    secret["answers"] = [re.search(r"zeppelin \d+", context)[0] for context in secret["context"]]
    secret.loc[110, "answers"] = "xylophone"
    tuned = answerer(data=secret, missing="drop", max_steps=1, valid=secret.head(4).assign(answers="Number"))
    assert len(tuned.report.warnings) >= 2
    tuned.save(tmp_path)
    for name in ("gpt_magic.json", "README.md"):
        assert not {"zeppelin", "xylophone"} & set(re.findall(r"\w+", (tmp_path / name).read_text(encoding="utf-8")))


def test_a_base_of_another_task_is_a_base_too(answerers: dict[str, TunedAnswerer]) -> None:
    from gpt_magic.tuned import TunedClassifier
    from tests import films

    labelled = gpt_magic.finetune(films.films(), base=answerers["plain"], max_steps=2, quiet=True, baselines=False)
    assert isinstance(labelled, TunedClassifier)
    back = answerer(base=labelled, max_steps=2)
    assert not hasattr(back.model, "score")
    assert back.model.config.num_labels == 2
    assert np.isfinite(back.history["loss"]).all()
    assert isinstance(answerer(base=base(), max_steps=1, valid_fraction=0).metrics["steps"], int)
