"""Which task the columns mean, and what is read for it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.passages import PassageData
from gpt_magic.data.read import choose_task, read_data
from gpt_magic.errors import DataError, OptionError
from gpt_magic.options import Options


def options(**given: Any) -> Options:
    made = Options()
    made.update(given)
    return made


@pytest.mark.parametrize(
    ("columns", "given", "task"),
    [
        (["text", "label"], {}, "classify"),
        (["review", "sentiment"], {}, "classify"),
        (["text", "number"], {}, "classify"),
        (["text"], {}, "generate"),
        ([" Review "], {}, "generate"),
        (["文本"], {}, "generate"),
        (["verse"], {}, "classify"),
        (["verse"], {"text": "verse"}, "generate"),
        (["verse", "poet"], {"text": "verse"}, "classify"),
        (["prompt", "completion"], {}, "generate"),
        (["Completion", "id", "PROMPT"], {}, "generate"),
        (["prompt", "answer"], {}, "classify"),
        (["prompt", "answer"], {"prompt": "prompt"}, "generate"),
        (["prompt", "answer"], {"completion": "answer"}, "generate"),
        (["id", "messages"], {}, "generate"),
        (["id", "talk"], {"messages": "talk"}, "generate"),
        (["messages", "topic"], {"label": "topic"}, "classify"),
        (["prompt", "completion"], {"label": "completion"}, "classify"),
        (["text"], {"task": "classify"}, "classify"),
        (["text", "label"], {"task": "generate"}, "generate"),
        (["prompt", "completion"], {"task": "classify"}, "classify"),
    ],
)
def test_the_task_that_the_columns_mean(columns: list[str], given: dict[str, Any], task: str) -> None:
    frame = pd.DataFrame([["a"] * len(columns)], columns=columns)
    assert choose_task(options(**given), frame) == task


@pytest.mark.parametrize(
    ("labels", "given", "task"),
    [
        ([["a"], []], {}, "multilabel"),
        ([["a"], "b"], {}, "multilabel"),
        ([np.array(["a"]), np.array([])], {}, "multilabel"),
        ([{"a"}, {"b"}], {}, "multilabel"),
        ([0.5, 1.0], {}, "regress"),
        ([0.5, np.nan], {}, "regress"),
        (pd.Series([0.5, None], dtype=object), {}, "regress"),
        (pd.Series([0.5, 1], dtype=object), {}, "regress"),
        (pd.Series([2.0, 1], dtype=object), {}, "classify"),
        (pd.Series([0.5, "1"], dtype=object), {}, "classify"),
        ([1.0, 2.0], {}, "classify"),
        ([1, 2], {}, "classify"),
        ([1, 2], {"task": "regress"}, "regress"),
        ([["a"], []], {"task": "classify"}, "classify"),
        (["a", "b"], {"style": "words"}, "classify"),
        (["a", "b"], {"style": "head"}, "classify"),
        (["a", "b"], {"text": ["text", "more"]}, "classify"),
        ([0.5, 1.0], {"text": ["text", "more"]}, "regress"),
    ],
)
def test_the_task_that_the_labels_mean(labels: list[Any], given: dict[str, Any], task: str) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "more": ["c", "d"], "label": labels})
    assert choose_task(options(**given), frame) == task


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            {"text": "Ada met", "entities": '[{"start": 0, "end": 3, "label": "PER"}]'},
            "data, row 0: column 'entities' holds a str, not a list of entities such as {'start': ",
        ),
        ({"text": "Ada met", "entities": None}, "data: no row has both text in 'text' and entities in 'entities'"),
        (
            {"tokens": "['Ada', 'met']", "tags": "['B-PER', 'O']"},
            "data, row 0: column 'tokens' holds a str, not a list of tokens; split it, as with .str.split(), or keep",
        ),
    ],
)
def test_columns_that_can_only_be_to_tag_are_read_so_whatever_they_hold(columns: dict[str, Any], line: str) -> None:
    frame = pd.DataFrame([columns] * 12)
    assert choose_task(options(), frame) == "tag"
    with pytest.raises(DataError) as caught:
        read_data(options(data=frame, missing="drop"))
    assert str(caught.value).startswith(line)


def test_other_columns_of_such_names_are_not_to_tag() -> None:
    for frame in (
        pd.DataFrame({"text": ["a", "b"], "entities": ["x", "y"], "label": ["p", "q"]}),
        pd.DataFrame({"text": ["a", "b"], "tags": ["x", "y"], "label": ["p", "q"]}),
        pd.DataFrame({"text": ["a", "b"], "tokens": [3, 4], "tags": ["p", "q"], "label": ["p", "q"]}),
    ):
        assert choose_task(options(), frame) == "classify"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"text": ["text", "label"], "task": "generate"}, "text = ['text', 'label']: two columns are pairs to label; "),
        ({"style": "words", "task": "regress"}, "style = 'words' is for task = 'classify', not 'regress'"),
        ({"style": "head", "task": "generate"}, "style = 'head' is for task = 'classify', not 'generate'"),
    ],
)
def test_what_is_for_other_tasks_is_refused(given: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_data(options(data=pd.DataFrame({"text": ["a"], "label": ["b"]}), **given))
    assert str(caught.value).startswith(line)


def test_pairs_of_texts_are_read_checked_and_kept_together() -> None:
    frame = pd.DataFrame({"one": ["a", "b", "c", "a"] * 5, "other": list("vwxy") * 5, "label": ["p", "q"] * 10})
    found = read_data(options(data=frame, text=["one", "other"], label="label"))
    assert isinstance(found, LabelledData)
    assert found.roles.describe() == "text = 'one', second text = 'other', label = 'label'"
    assert set(found.train.texts) <= {("a", "v"), ("b", "w"), ("c", "x"), ("a", "y")}
    assert not {*found.train.texts} & {*found.valid.texts}  # copies of a pair on one side
    frame.loc[3, "other"] = None
    with pytest.raises(DataError, match=r"column 'other' is empty in row 3\. Fill them"):
        read_data(options(data=frame, text=["one", "other"], label="label"))
    valid = frame[["one", "label"]]
    with pytest.raises(DataError, match="valid has no column 'other' for the second text; it has 'one', 'label'"):
        read_data(options(data=frame.dropna(), text=["one", "other"], label="label", valid=valid))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"label": "label", "task": "generate"},
            "label is for task = 'classify'; to generate give text, or prompt and completion, or messages",
        ),
        (
            {"label": "label", "prompt": "text"},
            "label is for task = 'classify'; to generate give text, or prompt and completion, or messages",
        ),
        (
            {"completion": "label", "task": "classify"},
            "completion is for task = 'generate'; to classify give text and label",
        ),
    ],
)
def test_columns_of_the_other_task_are_refused(given: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_data(options(data=pd.DataFrame({"text": ["a"], "label": ["b"]}), **given))
    assert str(caught.value) == line


def test_data_are_read_for_their_task() -> None:
    texts = [f"text number {i}" for i in range(20)]
    written = read_data(options(data=texts))
    assert isinstance(written, PassageData)
    assert (written.style, written.rows, len(written.train), len(written.valid)) == ("text", 20, 18, 2)
    labelled = read_data(options(data={"text": texts, "label": ["a", "b"] * 10}))
    assert isinstance(labelled, LabelledData)
    with pytest.raises(DataError, match="no data: name a DataFrame"):
        read_data(options())
