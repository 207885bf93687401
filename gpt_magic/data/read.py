"""What the user named to checked and split data for the task at hand. Needs neither torch nor a tokenizer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gpt_magic.data.columns import NAMES
from gpt_magic.data.label_numbers import NumberData, is_numbers
from gpt_magic.data.label_sets import LabelSetData, is_label_set
from gpt_magic.data.labelled import LabelledData, labelled_roles, read_labelled
from gpt_magic.data.passages import PassageData, conversations_in, read_passages
from gpt_magic.data.questions import AnswerData, read_questions
from gpt_magic.data.sources import NOTE, read_table
from gpt_magic.data.streams import Say
from gpt_magic.data.tagged import TaggedData, is_tagged, read_tagged
from gpt_magic.errors import DataError, OptionError
from gpt_magic.options import Options, find

if TYPE_CHECKING:
    import pandas as pd

Data = LabelledData | PassageData | TaggedData | AnswerData

_LABELS: dict[str, type[LabelledData]] = {kind.task: kind for kind in (LabelledData, LabelSetData, NumberData)}
# The columns of each task, and what to give instead of those of another.
_COLUMNS = {
    **dict.fromkeys(_LABELS, ("text", "label")),
    "generate": ("text", "prompt", "completion", "messages"),
    "tag": ("text", "tokens", "tags", "entities"),
    "answer": ("question", "context", "answer", "answer_start"),
}
_GIVE = {
    **dict.fromkeys(_LABELS, "to classify give text and label"),
    "generate": "to generate give text, or prompt and completion, or messages",
    "tag": "to tag give tokens and tags, or text and entities",
    "answer": "to answer give question, context and answer",
}
_STYLES = {"classify": ("head", "words"), "answer": ("extract", "write")}
_READERS: "dict[str, Callable[[Options, pd.DataFrame, Say], Data]]" = {
    **{task: partial(read_labelled, kind=kind) for task, kind in _LABELS.items()},
    "generate": read_passages,
    "tag": read_tagged,
    "answer": read_questions,
}


def read_data(options: Options, say: Say = lambda _: None) -> Data:
    """Read and check the tables; ``say`` is told how far a long reading or check is and may raise to end it.

    Raises:
        DataError, OptionError: with one line that says what to change.
    """
    return check_tables(options, read_tables(options, say), say)


def read_tables(options: Options, say: Say = lambda _: None) -> "dict[str, pd.DataFrame]":
    """The tables ``data`` and, where it is given, ``valid``.

    Raises:
        DataError: as `read_table`; or no data are named.
    """
    if options.data is None:
        raise DataError("no data: name a DataFrame, as in %%finetune reviews, or say data = ...")
    tables = {"data": read_table(options.data, say=say, split=options.split)}
    if options.valid is not None:
        tables["valid"] = read_table(options.valid, "valid", say)
    return tables


def check_tables(options: Options, tables: "Mapping[str, pd.DataFrame]", say: Say = lambda _: None) -> Data:
    """Check what `read_tables` gave, and settle who trains and who validates; raises as `read_data`."""
    if "valid" in tables:
        options = options.copy_with(valid=tables["valid"])
    data = _READERS[choose_task(options, tables["data"])](options, tables["data"], say)
    sources = {"data": "source", "valid": "validation source"}
    data.findings.facts += [(sources[name], table.attrs[NOTE]) for name, table in tables.items() if NOTE in table.attrs]
    return data


def choose_task(options: Options, frame: "pd.DataFrame") -> str:
    """The task that is asked for, or that the columns plainly mean.

    Raises:
        OptionError: columns or a style are given that do not belong to the task.
    """
    given = [name for name in dict.fromkeys(sum(_COLUMNS.values(), ())) if getattr(options, name) is not None]
    task = str(options.task)
    if task == "auto":
        task = _meant(given, options, frame)
    others = [name for name in given if name not in _COLUMNS[task]]
    if others:
        owner = next(owner for owner, names in _COLUMNS.items() if others[0] in names)
        raise OptionError(f"{others[0]} is for task = {owner!r}; {_GIVE[task]}")
    if isinstance(options.text, list) and task not in _LABELS:
        raise OptionError(f"text = {options.text}: two columns are pairs to label; to {task} give one column")
    _check_style(options, task)
    return task


def is_for(option: str, task: str) -> bool:
    """Whether a task takes an option: a column, a style or another that is not for all of them."""
    if option in set().union(*_COLUMNS.values()):
        return option in _COLUMNS[task]
    return task in (_STYLES if option == "style" else find(option).metadata.get("tasks", (task,)))


def _meant(given: Sequence[str], options: Options, frame: "pd.DataFrame") -> str:
    """The task that the columns mean, of which ``given`` are named."""
    if {*given} & {*_COLUMNS["answer"]} or (not given and _is_for_answering(frame)):
        return "answer"
    if {*given} & {"prompt", "completion", "messages"}:
        return "generate"
    if is_tagged(options, frame):
        return "tag"
    if "label" not in given and _is_for_writing(options, frame):
        return "generate"
    return _label_task(options, frame)


def _label_task(options: Options, frame: "pd.DataFrame") -> str:
    """The task that the labels are for: lists are several labels a row, numbers with a fraction are learned as such."""
    try:
        values = frame[labelled_roles(options, frame).columns["label"]]
    except DataError:  # there is more to be said of it where the data are read
        return "classify"
    if any(map(is_label_set, values)):
        return "multilabel"
    return "regress" if is_numbers(values) and options.style != "words" else "classify"


def _check_style(options: Options, task: str) -> None:
    """Raise `OptionError` when a style is given that the task does not have."""
    styles, style = _STYLES.get(task, ()), options.style
    if style == "auto" or style in styles:
        return
    others = [other for other, has in _STYLES.items() if style in has]
    says = f"; {task} has {' and '.join(map(repr, styles))}" if styles else f", not {task!r}"
    raise OptionError(f"style = {style!r} is for task = {' or '.join(map(repr, others))}{says}")


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
    return bool(conversations_in(frame) or names >= {"prompt", "completion"} or alone)


def _is_text(name: str) -> bool:
    return any(name in names for names in NAMES["text"])
