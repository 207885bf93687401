"""What a run hands back: a plain transformers model with all that is known about it."""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.checks import Findings, blank, check_rows, check_texts, rows
from gpt_magic.data.sources import read_table
from gpt_magic.engine.loop import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.errors import DataError, listing, plural, short
from gpt_magic.options import Options
from gpt_magic.recorder import Progress, history
from gpt_magic.summary import Preflight, Summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gpt_magic.tasks.evaluation import Evaluation


class TruncationWarning(UserWarning):
    """Some texts were longer than the model reads, and were cut."""


@dataclass(repr=False)
class TunedModel:
    """A fine-tuned classifier.

    Attributes:
        model: a plain ``transformers`` model, in evaluation mode, on the device it was trained on.
        tokenizer: its plain ``transformers`` tokenizer.
        classes: the labels in the order of the model's outputs, of the kind they had in the data.
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

    model: Any
    tokenizer: Any
    classes: Sequence[Hashable]
    options: dict[str, Any]
    columns: dict[str, str]
    max_length: int
    metrics: dict[str, Any]
    report: Preflight
    summary: Summary
    progress: Progress = field(default_factory=Progress)
    hidden: Hidden = hidden_packed
    shown_in_cell: int | None = field(default=None, compare=False)

    @property
    def history(self) -> "pd.DataFrame":
        """A row a logged step: loss, learning rate, gradient norm, tokens, seconds; ``valid_*`` where evaluated."""
        import pandas as pd

        return pd.DataFrame(history(self.progress, self.options.get("log_every", 1)))

    def plot(self) -> "Figure":
        """The loss curves as a matplotlib Figure."""
        from gpt_magic.notebook.plot import figure

        return figure(self.progress)

    def predict(self, x: Any, probabilities: bool = False) -> "pd.DataFrame":
        """Label texts.

        Args:
            x: one text, a sequence or Series of texts, or a table with the text column,
                in any form that ``data`` takes; a file as a `pathlib.Path`, because a str is a text.
            probabilities: add a column ``p(class)`` for every class.

        Returns:
            A table in the order and with the index of ``x``: the columns of a table, or ``text``; then
            ``prediction``, ``confidence`` (the probability of the prediction), and, where texts had to be cut,
            ``truncated``. A row without a text gets no prediction. Columns of these names that the table has are
            replaced.

        Raises:
            DataError: there is no text column, or nothing to predict.
        """
        frame, texts = self._texts(x)
        empty = blank(texts)
        scores, cut = self._score([str(text) for text in texts[~empty]], list(texts.index[~empty]))
        chances = _softmax(scores)
        names = [f"p({label})" for label in self.classes]
        out = frame.drop(columns=["prediction", "confidence", "truncated", *names], errors="ignore")
        at = np.flatnonzero(~empty.to_numpy())
        out["prediction"] = self._spread([self.classes[i] for i in chances.argmax(axis=1)], at, len(out))
        out["confidence"] = _spread_numbers(chances.max(axis=1), at, len(out))
        if probabilities:
            for number, name in enumerate(names):
                out[name] = _spread_numbers(chances[:, number], at, len(out))
        if cut.any():
            flags = np.zeros(len(out), dtype=bool)
            flags[at] = cut
            out["truncated"] = flags
            self._warn_cut([row for row, flag in zip(texts.index[~empty], cut, strict=True) if flag])
        if empty.any():
            warnings.warn(f"no prediction where there is no text: {rows(texts.index[empty])}", stacklevel=2)
        return out

    def evaluate(self, data: Any, missing: str = "error") -> "Evaluation":
        """Compare predictions with known labels.

        Args:
            data: a table with the text and label columns of the training data, in any form that ``data`` takes.
            missing: ``error`` or ``drop`` for rows without text or label.

        Raises:
            OptionError: ``missing`` is neither.
            DataError: a column is missing, a row cannot be used, or a label is not one of ``classes``.
        """
        from gpt_magic.tasks.evaluation import evaluate_classes

        Options().put("missing", missing)
        frame = read_table(data)
        for role in self.columns:
            self._column(frame, role)
        examples = check_rows(frame, self.columns["text"], self.columns["label"], missing, Findings(), "data")
        known = set(self.classes)
        for label, row in zip(examples.labels, examples.index, strict=True):
            if label not in known:
                raise DataError(
                    f"row {row} has the label {short(label)}; the classes are {listing(map(short, self.classes))}"
                )
        scores, cut = self._score(examples.texts, examples.index)
        return evaluate_classes(scores, examples.labels, self.classes, int(cut.sum()))

    def save(self, folder: str | Path) -> Path:
        """Write model, tokenizer, record and model card; plain transformers can load the folder.

        Raises:
            DataError: the path is a file.
        """
        from gpt_magic.saved import save

        return save(self, folder)

    def __repr__(self) -> str:
        scores = ", ".join(
            f"{name.replace('_', ' ')} {self.metrics[name]:.3f}"
            for name in ("accuracy", "macro_f1")
            if name in self.metrics
        )
        return f"<TunedModel {self.report.title}: {scores or self.summary.status}>"

    def _repr_html_(self) -> str | None:
        from gpt_magic.notebook.cards import card_html
        from gpt_magic.notebook.live import current_cell

        # The cell that trained it shows the card already: as that cell's value the short text will do.
        if self.shown_in_cell is not None and self.shown_in_cell == current_cell():
            return None
        return card_html(self.summary)

    def _texts(self, x: Any) -> "tuple[pd.DataFrame, pd.Series[Any]]":
        """The table to answer with, and its texts."""
        import pandas as pd

        what = f"the {type(x).__name__}"
        if isinstance(x, np.ndarray):
            x = x.tolist()
        if isinstance(x, str):
            x = [x]
        if isinstance(x, list | tuple) and (not x or not isinstance(x[0], dict)):
            x = pd.Series(list(x), dtype=object)
        if isinstance(x, pd.Series):
            if len(x) == 0:
                raise DataError("nothing to predict: no texts were given")
            frame = pd.DataFrame({"text": x})
            column = "text"
        else:
            frame = read_table(x)
            column = self._column(frame, "text")
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

    def _score(self, texts: list[str], index: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Logits ``(texts, classes)`` and whether each text had to be cut ``(texts,)``."""
        from gpt_magic.inference.scoring import score_last
        from gpt_magic.tasks.classify import logits, tokenize

        if not texts:
            return np.zeros((0, len(self.classes)), dtype=np.float32), np.zeros(0, dtype=bool)
        truncate = "tail" if self.options.get("truncate") == "tail" else "head"
        ids, lengths = tokenize(texts, self.tokenizer, self.max_length, truncate, index)
        return score_last(self.model, ids, logits, self.hidden), lengths > self.max_length

    def _spread(self, values: list[Hashable], at: np.ndarray, rows: int) -> Any:
        if len(values) == rows:
            return values
        out = np.full(rows, None, dtype=object)
        out[at] = values
        return out

    def _warn_cut(self, cut: list[Any]) -> None:
        end = "last" if self.options.get("truncate") == "tail" else "first"
        warnings.warn(
            f"{plural(len(cut), 'text')} longer than {self.max_length:,} tokens: only the {end} {self.max_length:,} "
            f"were read ({rows(cut)})",
            TruncationWarning,
            stacklevel=3,
        )


def _softmax(scores: np.ndarray) -> np.ndarray:
    from gpt_magic.tasks.classify import softmax

    return softmax(scores)


def _spread_numbers(values: np.ndarray, at: np.ndarray, rows: int) -> np.ndarray:
    out = np.full(rows, np.nan)
    out[at] = values
    return out
