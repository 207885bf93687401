"""Which task the columns mean, and what is read for it."""

from typing import Any

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
