"""A fine-tuned classifier."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.checks import Findings, blank, check_rows
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError, listing, short
from gpt_magic.options import Options
from gpt_magic.tuned.base import TunedModel

if TYPE_CHECKING:
    import pandas as pd

    from gpt_magic.tasks.evaluation import Evaluation


@dataclass(repr=False, kw_only=True)
class TunedClassifier(TunedModel):
    """A fine-tuned classifier; see `TunedModel` for what every tuned model has.

    Attributes:
        classes: the labels in the order of the model's outputs, of the kind they had in the data.
    """

    task = "classify"
    auto_class = "AutoModelForSequenceClassification"
    kept = ("classes",)
    headline = {"accuracy": "accuracy", "macro_f1": "macro f1"}  # noqa: RUF012  # declared in TunedModel

    classes: Sequence[Hashable]

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
        frame, texts = self._texts(x, "text")
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
            end = "last" if self.options.get("truncate") == "tail" else "first"
            self._warn_cut([row for row, flag in zip(texts.index[~empty], cut, strict=True) if flag], end)
        self._warn_empty(texts)
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

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        does = (
            f"A text classifier fine-tuned with gpt_magic. It labels a text with one of {len(self.classes)} classes, "
            f"reading at most {self.max_length:,} tokens."
        )
        limits = [
            "Figures hold for texts like those of the training data. The confidence of a prediction is the model's own",
            "and was not calibrated. The model repeats the biases of its base and of its training data.",
        ]
        return "text-classification", [does], limits

    def _score(self, texts: Sequence[str], index: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
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


def _softmax(scores: np.ndarray) -> np.ndarray:
    from gpt_magic.tasks.classify import softmax

    return softmax(scores)


def _spread_numbers(values: np.ndarray, at: np.ndarray, rows: int) -> np.ndarray:
    out = np.full(rows, np.nan)
    out[at] = values
    return out
