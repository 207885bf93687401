"""A fine-tuned model that gives a text any number of labels."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.label_sets import LabelSetData, check_known_labels
from gpt_magic.errors import markdown
from gpt_magic.tuned.classifier import calibrated, card_limits
from gpt_magic.tuned.labelled import TunedLabelled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gpt_magic.tasks.label_evaluation import LabelSetEvaluation


@dataclass(repr=False, kw_only=True)
class TunedMultilabel(TunedLabelled):
    """A fine-tuned model for several labels a text; see `TunedModel` for what every tuned model has.

    Attributes:
        classes: the labels in the order of the model's outputs, of the kind they had in the data.
        thresholds: from which probability on a text has each label.
        calibration: the fields of a `Calibration`, whose temperature is in the model's head already; None when it was
            not calibrated.
    """

    task = "multilabel"
    kept = ("classes", "thresholds", "calibration")
    headline = {"micro_f1": "micro f1", "macro_f1": "macro f1"}  # noqa: RUF012  # declared in TunedModel
    labels = LabelSetData

    classes: Sequence[Hashable]
    thresholds: Sequence[float]
    calibration: Mapping[str, Any] | None = None

    @property
    def outputs(self) -> int:
        """A logit a label."""
        return len(self.classes)

    def predict(self, x: Any, probabilities: bool = False) -> "pd.DataFrame":
        """Label texts.

        Args:
            x: one text, a sequence or Series of texts, or a table with the text column,
                in any form that ``data`` takes; a file as a `pathlib.Path`, because a str is a text. Of a model for
                pairs a tuple of two texts, a list of such, or a table with both columns.
            probabilities: add a column ``p(label)`` for every label.

        Returns:
            A table in the order and with the index of ``x``: the columns of a table, or ``text``; then ``prediction``
            (a list of labels, which may be empty), ``confidence`` (a list of their probabilities), and, where texts had
            to be cut, ``truncated``. A row without a text gets no prediction. Columns of these names that the table
            has are replaced.

        Raises:
            DataError: there is no text column, or nothing to predict.
        """
        from gpt_magic.tasks.multilabel import sigmoid

        names = [f"p({label})" for label in self.classes]

        def answer(scores: np.ndarray) -> dict[str, Any]:
            chances = sigmoid(scores)
            said = [np.flatnonzero(row) for row in chances >= np.asarray(self.thresholds)]
            return {
                "prediction": [[self.classes[int(i)] for i in some] for some in said],
                "confidence": [row[some].tolist() for row, some in zip(chances, said, strict=True)],
                **(dict(zip(names, chances.T, strict=True)) if probabilities else {}),
            }

        return self._predict(x, answer, ["prediction", "confidence", *names])

    def evaluate(self, data: Any, missing: str = "error") -> "LabelSetEvaluation":
        """Compare predictions with known labels.

        Args:
            data: a table with the text and label columns of the training data, in any form that ``data`` takes.
            missing: ``error`` or ``drop`` for rows without text or without a list of labels.

        Raises:
            OptionError: ``missing`` is neither.
            DataError: a column is missing, a row cannot be used, or a label is not one of ``classes``.
        """
        from gpt_magic.tasks.label_evaluation import evaluate_label_sets

        examples = self._examples(data, missing)
        check_known_labels(examples, self.classes)
        scores, cut = self._score(examples.texts, examples.index)
        return evaluate_label_sets(scores, examples.labels, self.classes, self.thresholds, int(cut.sum()))

    def reliability(self) -> "Figure":
        """Probability against the share of rows with the label, all labels of the validation rows together.

        Raises:
            DataError: the model was not calibrated.
        """
        from gpt_magic.notebook.reliability import reliability_figure

        return reliability_figure(calibrated(self.calibration))

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        some = ", ".join(
            f"{markdown(label)} {threshold:.3f}" for label, threshold in zip(self.classes, self.thresholds, strict=True)
        )
        does = (
            f"A text classifier fine-tuned with gpt_magic. It gives {self._reads()}, any number of {len(self.classes)} "
            "labels."
        )
        how = (
            "A text has a label when the sigmoid of the label's logit is at least this threshold, which is in "
            f"`gpt_magic.json` too: {some}."
        )
        return "text-classification", [does, "", how], card_limits(self.calibration)
