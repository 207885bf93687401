"""What every run hands back: a plain transformers model with all that is known about it."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.checks import blank, check_texts, rows
from gpt_magic.data.sources import read_table
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.errors import DataError, listing, plural
from gpt_magic.recorder import Progress, history
from gpt_magic.summary import Preflight, Summary
from gpt_magic.tuned.trials import Trials

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd
    from matplotlib.figure import Figure


class TruncationWarning(UserWarning):
    """Some texts were longer than the model reads, and were cut."""


def as_list(x: Any) -> Any:
    """A list of what is a plain sequence: an array of numpy's or of pandas', an index, a column of a data set.

    A Series and a table stay as they are: their rows have names.
    """
    import pandas as pd

    if isinstance(x, np.ndarray | pd.api.extensions.ExtensionArray | pd.Index):
        return x.tolist()
    plain = isinstance(x, Sequence) and not isinstance(x, str | bytes | list | tuple)
    return list(x) if plain else x


@dataclass(repr=False, kw_only=True)
class TunedModel:
    """A fine-tuned model.

    Attributes:
        task: the option ``task`` that it was trained with.
        kind: its name among the results, where that is not the task's.
        kept: the attributes beside the common ones that a saved model remembers.
        auto_class: the class of transformers that loads it, see also `auto_class_of`.
        model: a plain ``transformers`` model, in evaluation mode, on the device it was trained on.
        tokenizer: its plain ``transformers`` tokenizer.
        options: the options of the run, as plain values.
        columns: which column played which role.
        max_length: tokens of a text that the model reads; ``truncate`` says which end of a longer one.
        metrics: the validation metrics of the kept weights, with ``train_seconds`` (time of the steps alone),
            ``steps`` and ``kept_step``.
        report: the pre-flight: what was checked and planned, with its warnings.
        summary: the content of the card.
        progress: the run's steps and evaluations.
        hidden: packed or padded forward.
        shown_in_cell: execution count of the cell whose live display ended with the card; None outside notebooks.
    """

    task: ClassVar[str]
    kind: ClassVar[str] = ""
    auto_class: ClassVar[str]
    kept: ClassVar[Sequence[str]] = ()
    headline: ClassVar[Mapping[str, str]]

    model: Any
    tokenizer: Any
    options: dict[str, Any]
    columns: dict[str, str]
    max_length: int
    metrics: dict[str, Any]
    report: Preflight
    summary: Summary
    progress: Progress = field(default_factory=Progress)
    hidden: Hidden = hidden_packed
    shown_in_cell: int | None = field(default=None, compare=False)

    def wait(self, timeout: float | None = None) -> "Self":  # noqa: ARG002
        """The model itself: there is nothing to wait for. A run in the background had this name until it ended."""
        return self

    @property
    def history(self) -> "pd.DataFrame":
        """A row a logged step: loss, learning rate, gradient norm, tokens, seconds; ``valid_*`` where evaluated."""
        import pandas as pd

        return pd.DataFrame(history(self.progress, self.options.get("log_every", 1)))

    @property
    def trials(self) -> Trials | None:
        """The learning rates that ``learning_rate = "auto"`` tried, with their losses; None where none were."""
        tried = self.progress.tried
        return None if tried is None else Trials(**vars(tried))

    def plot(self) -> "Figure":
        """The loss curves as a matplotlib Figure."""
        from gpt_magic.notebook.plot import figure

        return figure(self.progress)

    @classmethod
    def auto_class_of(cls, known: Mapping[str, Any]) -> str:  # noqa: ARG003
        """The class of transformers that loads a model of which the attributes in ``kept`` are known."""
        return cls.auto_class

    @abstractmethod
    def evaluate(self, data: Any, missing: str = "error") -> Any:
        """Measure the model on ``data``, in any form that the option ``data`` takes."""

    @abstractmethod
    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """For the model card: the pipeline tag, what the model does, and its limits, in Markdown."""

    def save(self, folder: str | Path) -> Path:
        """Write model, tokenizer, record and model card; plain transformers can load the folder.

        Raises:
            DataError: the path is a file.
        """
        from gpt_magic.saved import save

        return save(self, folder)

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{said} {self.metrics[name]:.3f}" for name, said in self.headline.items() if name in self.metrics
        )
        return f"<{type(self).__name__} {self.report.title}: {scores or self.summary.status}>"

    def _repr_html_(self) -> str | None:
        from gpt_magic.notebook.cards import card_html
        from gpt_magic.notebook.live import current_cell
        from gpt_magic.notebook.samples import samples_html
        from gpt_magic.notebook.trials import trials_html

        # The cell that trained it shows the card already: as that cell's value the short text will do.
        if self.shown_in_cell is not None and self.shown_in_cell == current_cell():
            return None
        tried = trials_html(self.trials) if self.trials is not None else ""
        return card_html(self.summary) + tried + samples_html(self.progress, final=True)

    def _texts(self, x: Any, role: str) -> "tuple[pd.DataFrame, pd.Series[Any]]":
        """The table to answer with, and its texts, those of the column that played ``role``."""
        import pandas as pd

        what = f"the {type(x).__name__}"
        x = as_list(x)
        if isinstance(x, str):
            x = [x]
        if isinstance(x, list | tuple) and (not x or not isinstance(x[0], dict)):
            x = pd.Series(list(x), dtype=object)
        if isinstance(x, pd.Series):
            if len(x) == 0:
                raise DataError("nothing to predict: no texts were given")
            frame = pd.DataFrame({role: x})
            column = role
        else:
            frame = read_table(x)
            column = self._column(frame, role)
            what = f"column {column!r}"
        texts = frame[column]
        if texts.notna().any():  # a column without any text is of another kind
            check_texts(texts, what, "data")
        return frame, texts

    def _column(self, frame: "pd.DataFrame", role: str) -> str:
        column = self.columns[role]
        if column not in frame.columns:
            raise DataError(
                f"the data have no {role} column {column!r}; theirs are {listing(map(repr, frame.columns), 12)}"
            )
        return column

    def _warn_empty(self, texts: "pd.Series[Any]", depth: int = 3) -> None:
        """Name the rows without a text; ``depth`` is how many frames away the caller to blame is."""
        empty = blank(texts)
        if empty.any():
            warnings.warn(f"no prediction where there is no text: {rows(texts.index[empty])}", stacklevel=depth)

    @property
    def _room(self) -> int:
        """Tokens that a text may have."""
        return self.max_length

    def _warn_cut(self, cut: list[Any], end: str, depth: int = 3) -> None:
        room = self._room
        warnings.warn(
            f"{plural(len(cut), 'text')} longer than {room:,} tokens: only the {end} {room:,} were read ({rows(cut)})",
            TruncationWarning,
            stacklevel=depth,
        )
