"""What the user named to checked and split data for the task at hand. Needs neither torch nor a tokenizer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt_magic.data.columns import NAMES
from gpt_magic.data.labelled import LabelledData, read_labelled
from gpt_magic.data.passages import PassageData, read_passages
from gpt_magic.data.questions import AnswerData, read_questions
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError, OptionError
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd

# The columns of each task, and what to give instead of those of another.
_COLUMNS = {
    "classify": ("text", "label"),
    "generate": ("text", "prompt", "completion", "messages"),
    "answer": ("question", "context", "answer", "answer_start"),
}
_GIVE = {
    "classify": "to classify give text and label",
    "generate": "to generate give text, or prompt and completion, or messages",
    "answer": "to answer give question, context and answer",
}

Data = LabelledData | PassageData | AnswerData


def read_data(options: Options) -> Data:
    """Read and check the tables.

    Raises:
        DataError, OptionError: with one line that says what to change.
    """
    if options.data is None:
        raise DataError("no data: name a DataFrame, as in %%finetune reviews, or say data = ...")
    frame = read_table(options.data)
    task = choose_task(options, frame)
    if task == "generate":
        return read_passages(options, frame)
    if task == "answer":
        return read_questions(options, frame)
    return read_labelled(options, frame)


def choose_task(options: Options, frame: "pd.DataFrame") -> str:
    """The task that is asked for, or that the columns plainly mean.

    Raises:
        OptionError: columns are given that do not belong to the task.
    """
    given = [name for names in _COLUMNS.values() for name in names if getattr(options, name) is not None]
    task = str(options.task)
    if task == "auto":
        task = _meant(given, options, frame)
    others = [name for name in given if name not in _COLUMNS[task]]
    if others:
        owner = next(owner for owner, names in _COLUMNS.items() if others[0] in names)
        raise OptionError(f"{others[0]} is for task = {owner!r}; {_GIVE[task]}")
    return task


def _meant(given: Sequence[str], options: Options, frame: "pd.DataFrame") -> str:
    """The task that the columns mean, of which ``given`` are named."""
    if {*given} & {*_COLUMNS["answer"]} or (not given and _is_for_answering(frame)):
        return "answer"
    if {*given} & {"prompt", "completion", "messages"}:
        return "generate"
    return "generate" if "label" not in given and _is_for_writing(options, frame) else "classify"


def _is_for_answering(frame: "pd.DataFrame") -> bool:
    """Whether there are questions, contexts and answers under these very names."""
    names = {column.strip().casefold() for column in frame.columns}
    return all(names & {*NAMES[role][0]} for role in ("question", "context", "answer"))


def _is_for_writing(options: Options, frame: "pd.DataFrame") -> bool:
    """Whether the columns can only be texts to continue."""
    if options.text is not None:
        return len(frame.columns) == 1
    names = {column.strip().casefold() for column in frame.columns}
    alone = len(names) == 1 and _is_text(*names)
    return bool("messages" in names or names >= {"prompt", "completion"} or alone)


def _is_text(name: str) -> bool:
    return any(name in names for names in NAMES["text"])
