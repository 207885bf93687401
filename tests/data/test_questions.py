"""Tables to questions: what counts as an answer, where it stands, what is said of it, and how contexts are split."""

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from gpt_magic.data.questions import AnswerData
from gpt_magic.data.read import choose_task, read_data
from gpt_magic.errors import DataError, OptionError
from gpt_magic.options import Options
from tests.quiz import quiz

TEXT = "An owl is a bird. An owl hunts at night."
NONE = {"text": [], "answer_start": []}


def read(frame: Any, **options: Any) -> AnswerData:
    told = Options()
    told.update({"data": frame, "valid_fraction": 0.0, **options})
    data = read_data(told)
    assert isinstance(data, AnswerData)
    return data


def one(answer: Any, **columns: Any) -> pd.DataFrame:
    """A row that is to be looked at, and one that is as it should be."""
    more = {name: [value, None] for name, value in columns.items()}
    return pd.DataFrame({"question": ["Who?", "What?"], "context": [TEXT] * 2, "answer": [answer, "a bird"], **more})


# --- what is read ---------------------------------------------------------------------------------------


def test_the_hubs_squad_columns() -> None:
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "context": datasets.Value("string"),
            "question": datasets.Value("string"),
            "answers": {
                "text": datasets.List(datasets.Value("string")),
                "answer_start": datasets.List(datasets.Value("int32")),
            },
        }
    )
    rows = [
        {"id": "a", "context": TEXT, "question": "Who?", "answers": {"text": ["owl"], "answer_start": [21]}},
        {"id": "b", "context": TEXT, "question": "What?", "answers": NONE},
    ]
    data = read(datasets.Dataset.from_list(rows, features=features))
    assert [(row.answer, row.start) for row in data.train.rows] == [("owl", 21), ("", None)]
    assert data.train.unanswerable == 1
    assert data.roles.columns == {"question": "question", "context": "context", "answer": "answers"}


# --- where an answer stands -----------------------------------------------------------------------------


def test_what_is_said_of_places() -> None:
    frame = pd.DataFrame(
        {
            "question": ["Who?"] * 5,
            "context": [TEXT] * 5,
            "answer": ["night", "An owl", "An owl", "a bird", "An owl"],
            "answer_start": [34, None, 17, 3, 18],
        },
        index=[10, 11, 12, 13, 14],
    )
    data = read(frame)
    assert [row.start for row in data.train.rows] == [34, 0, 18, 10, 18]
    assert data.findings.warnings == [
        "data: 2 answers not at answer_start; the nearest place was taken (rows 12, 13)",
        "data: 1 answer several times in the context; the first place was taken, a column answer_start would say which "
        "(row 11)",
    ]
    assert "answer_start = 'answer_start' (found by name)" in data.roles.describe()
    plain = read(frame.drop(columns="answer_start"))
    assert [row.start for row in plain.train.rows] == [34, 0, 0, 10, 0]


def test_places_of_pandas_own_whole_numbers_may_be_missing() -> None:
    frame = pd.DataFrame({"question": ["Who?"] * 2, "context": [TEXT] * 2, "answer": ["An owl", "a bird"]})
    frame["answer_start"] = pd.array([18, None], dtype="Int64")
    assert [row.start for row in read(frame).train.rows] == [18, 10]


def test_the_first_reference_that_stands_in_the_context_is_learned_and_all_are_kept() -> None:
    (row, _) = read(one(["a sparrow", "an owl", "An owl"])).train.rows
    assert (row.answer, row.start, row.answers) == ("An owl", 0, ("a sparrow", "an owl", "An owl"))


def test_an_answer_that_is_not_in_its_context() -> None:
    frame = one("a sparrow")
    with pytest.raises(DataError) as caught:
        read(frame)
    assert str(caught.value) == (
        "data: the answer does not stand in the context, letter for letter, in row 0. Correct them, say missing = "
        "'drop' to leave them out, or style = 'write'"
    )
    data = read(frame, missing="drop")
    assert (len(data.train), data.rows, data.findings.dropped) == (1, 2, 1)
    assert data.findings.warnings == ["data: 1 row whose answer does not stand in the context left out: row 0"]
    with pytest.raises(DataError, match="data: no answer stands in its context"):
        read(frame.head(1), missing="drop")
    written = read(frame, style="write")
    assert [row.answer for row in written.train.rows] == ["a sparrow", "a bird"]
    assert written.findings.warnings == []


def test_rows_in_are_rows_used_and_rows_reported() -> None:
    frame = quiz(40)
    frame.loc[104, "question"] = " "
    frame.loc[105, "context"] = None
    frame.loc[106, "answers"] = None
    frame.at[107, "answers"] = "a purple house"
    data = read(frame, missing="drop", valid_fraction=0.3)
    assert len(data.train) + len(data.valid) + data.findings.dropped == 40
    assert data.findings.dropped == 4
    assert {104, 105, 106, 107}.isdisjoint([*data.train.index, *data.valid.index])
    said = " ".join(data.findings.warnings)
    assert all(str(row) in said for row in (104, 105, 106, 107))
    with pytest.raises(DataError, match="column 'question' is empty in row 104; column 'context' is empty in row 105"):
        read(frame)


def test_rows_that_share_a_name_with_one_left_out_are_kept() -> None:
    context = [f"Ada met {i}." for i in range(12)]
    there = pd.DataFrame({"question": "Who?", "context": context, "answer": "Ada"})
    lost = there.head(3).assign(answer="Eve")
    data = read(pd.concat([there, lost]), missing="drop")
    assert [row.context for row in data.train.rows] == context
    assert (data.findings.dropped, data.rows) == (3, 15)
    assert data.findings.warnings == ["data: 3 rows whose answer does not stand in the context left out: rows 0, 1, 2"]


def test_a_csv_can_say_that_there_is_no_answer(tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": ["Who?", "When?", "Why?"], "context": TEXT, "answer": ["owl", "[]", ""]})
    frame.head(2).to_csv(tmp_path / "asked.csv", index=False)
    data = read(tmp_path / "asked.csv")
    assert [row.answers for row in data.train.rows] == [("owl",), ()]
    frame.to_csv(tmp_path / "asked.csv", index=False)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "asked.csv")
    assert str(caught.value) == (
        "data: column 'answer' is empty in row 2 ([] says that there is no answer). Fill them, or say missing = 'drop' "
        "to leave such rows out"
    )


@pytest.mark.parametrize("longer", ["data", "valid"])
def test_a_long_check_says_how_far_it_is_and_can_be_ended(longer: str) -> None:
    told = Options()
    told.update({"data": quiz(20), "valid": quiz(20), longer: pd.concat([quiz(100)] * 25)})
    said: list[str] = []
    read_data(told, said.append)
    assert said == ["checking questions, 1,000 of 2,500 rows", "checking questions, 2,000 of 2,500 rows"]

    def stop(_: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        read_data(told, stop)


# --- splits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_context_stays_on_one_side(seed: int) -> None:
    data = read(quiz(80), valid_fraction=0.3, seed=seed)
    sides = [{row.context for row in part.rows} for part in (data.train, data.valid)]
    assert not sides[0] & sides[1]
    assert (len(data.train), len(data.valid)) == (56, 24)
    assert data.split == f"random split of 30%, seed {seed}, by context"


def test_validation_on_contexts_of_the_training_data_is_warned_about() -> None:
    frame = quiz(8)
    other = frame.iloc[[1, 2]].assign(question=["Which?", frame["question"].iloc[2]])
    data = read(frame.drop(index=[101]), valid=other)
    assert data.findings.warnings == [
        "1 of 2 rows to validate also in the training data (1 exactly), so validation looks better than it is: row 102",
        "2 of 2 rows to validate about contexts of the training data, so validation looks better than it is: rows 101, "
        "102",
    ]


def test_validation_data_need_no_places() -> None:
    frame = one("An owl", answer_start=18)
    valid = frame.drop(columns="answer_start").assign(context=f"{TEXT} Yes.")
    assert len(read(frame, valid=valid).valid) == 2
    with pytest.raises(DataError, match="valid has no column 'context' for the context"):
        read(frame, valid=valid.drop(columns="context"))


def test_no_answers_that_could_not_be_learned() -> None:
    frame = one([])
    assert read(frame).findings.warnings == []
    with pytest.raises(DataError, match="no row to train on has an answer: there is nothing to learn"):
        read(frame.head(1))
    data = read(quiz(8), valid=frame.rename(columns={"answer": "answers"}))
    assert data.findings.warnings[-1] == (
        "1 row to validate without an answer and none to train: when to give no answer is not learned"
    )


# --- the task -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "options", "task"),
    [
        (["question", "context", "answer"], {}, "answer"),
        (["Question", "Context ", "Answers"], {}, "answer"),
        (["id", "title", "question", "context", "answers"], {}, "answer"),
        (["question", "answer"], {"context": "question"}, "answer"),
        (["q", "c", "a"], {"question": "q", "context": "c", "answer": "a"}, "answer"),
        (["question", "context", "answer", "label"], {"label": "label"}, "classify"),
        (["question", "context", "answer"], {"prompt": "question", "completion": "answer"}, "generate"),
        (["question", "context", "label"], {}, "classify"),
        (["question", "answer"], {}, "classify"),
        (["prompt", "completion", "context"], {}, "generate"),
    ],
)
def test_columns_that_plainly_mean_it(columns: list[str], options: dict[str, Any], task: str) -> None:
    told = Options()
    told.update(options)
    assert choose_task(told, pd.DataFrame([["a"] * len(columns)], columns=columns)) == task


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"task": "answer", "label": "a"},
            "label is for task = 'classify'; to answer give question, context ",
        ),
        (
            {"context": "c", "prompt": "a"},
            "prompt is for task = 'generate'; to answer give question, context ",
        ),
        ({"task": "classify", "question": "a"}, "question is for task = 'answer'; to classify give text and label"),
        ({"task": "generate", "answer": "a"}, "answer is for task = 'answer'; to generate give text, or prompt and "),
    ],
    ids=repr,
)
def test_columns_of_other_tasks(options: dict[str, Any], line: str) -> None:
    told = Options()
    told.update(options)
    with pytest.raises(OptionError) as caught:
        choose_task(told, quiz(4))
    assert str(caught.value).startswith(line)


def test_styles() -> None:
    assert read(quiz(4)).style == "extract"
    assert read(quiz(4), style="write").style == "write"
    with pytest.raises(OptionError, match="style = 'head' is for task = 'classify'; answer has 'extract' and 'write'"):
        read(quiz(4), style="head")
    started = one("An owl", begin=3)
    assert read(started, style="write", answer_start="begin").findings.warnings == [
        "answer_start does nothing for style = 'write'"
    ]
