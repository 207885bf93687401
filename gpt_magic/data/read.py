"""What the user named to checked and split data for the task at hand. Needs neither torch nor a tokenizer."""

from typing import TYPE_CHECKING

from gpt_magic.data.columns import NAMES
from gpt_magic.data.labelled import LabelledData, read_labelled
from gpt_magic.data.passages import PassageData, read_passages
from gpt_magic.data.sources import NOTE, read_table
from gpt_magic.data.streams import Say
from gpt_magic.errors import DataError, OptionError
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd

Data = LabelledData | PassageData


def read_data(options: Options, say: Say = lambda _: None) -> Data:
    """Read and check the tables; ``say`` is told how far a long reading is and may raise to end it.

    Raises:
        DataError, OptionError: with one line that says what to change.
    """
    if options.data is None:
        raise DataError("no data: name a DataFrame, as in %%finetune reviews, or say data = ...")
    tables = {"source": read_table(options.data, say=say, split=options.split)}
    if options.valid is not None:
        tables["validation source"] = read_table(options.valid, "valid", say)
        options = options.copy_with(valid=tables["validation source"])
    read = read_passages if choose_task(options, tables["source"]) == "generate" else read_labelled
    data: Data = read(options, tables["source"])
    data.findings.facts += [(name, table.attrs[NOTE]) for name, table in tables.items() if NOTE in table.attrs]
    return data


def choose_task(options: Options, frame: "pd.DataFrame") -> str:
    """The task that is asked for, or that the columns plainly mean.

    Raises:
        OptionError: columns are given that do not belong to the task.
    """
    writing = [name for name in ("prompt", "completion", "messages") if getattr(options, name) is not None]
    task = str(options.task)
    if task == "auto":
        task = "generate" if writing or (options.label is None and _is_for_writing(options, frame)) else "classify"
    if task == "classify" and writing:
        raise OptionError(f"{writing[0]} is for task = 'generate'; to classify give text and label")
    if task == "generate" and options.label is not None:
        raise OptionError(
            "label is for task = 'classify'; to generate give text, or prompt and completion, or messages"
        )
    return task


def _is_for_writing(options: Options, frame: "pd.DataFrame") -> bool:
    """Whether the columns can only be texts to continue."""
    if options.text is not None:
        return len(frame.columns) == 1
    names = {column.strip().casefold() for column in frame.columns}
    alone = len(names) == 1 and _is_text(*names)
    return bool("messages" in names or names >= {"prompt", "completion"} or alone)


def _is_text(name: str) -> bool:
    return any(name in names for names in NAMES["text"])
