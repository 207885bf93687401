"""A fine-tuned classifier."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.labelled import LabelledData
from gpt_magic.errors import DataError, listing, short
from gpt_magic.tuned.labelled import TunedLabelled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gpt_magic.tasks.evaluation import Evaluation


@dataclass(repr=False, kw_only=True)
class TunedClassifier(TunedLabelled):
    """A fine-tuned classifier; see `TunedModel` for what every tuned model has.

    Attributes:
        classes: the labels in the order of the model's outputs, of the kind they had in the data.
        calibration: the fields of a `Calibration`, whose temperature is in the model's head already; None when it was
            not calibrated.
    """

    task = "classify"
    kept: ClassVar[Sequence[str]] = ("classes", "calibration")
    headline = {"accuracy": "accuracy", "macro_f1": "macro f1"}  # noqa: RUF012  # declared in TunedModel
    labels = LabelledData

    classes: Sequence[Hashable]
    calibration: Mapping[str, Any] | None = None

    @property
    def outputs(self) -> int:
        """A logit a class."""
        return len(self.classes)

    def predict(self, x: Any, probabilities: bool = False) -> "pd.DataFrame":
        """Label texts.

        Args:
            x: one text, a sequence or Series of texts, or a table with the text column,
                in any form that ``data`` takes; a file as a `pathlib.Path`, because a str is a text. Of a model for
                pairs a tuple of two texts, a list of such, or a table with both columns.
            probabilities: add a column ``p(class)`` for every class.

        Returns:
            A table in the order and with the index of ``x``: the columns of a table, or ``text``; then
            ``prediction``, ``confidence`` (the probability of the prediction), and, where texts had to be cut,
            ``truncated``. A row without a text gets no prediction. Columns of these names that the table has are
            replaced.

        Raises:
            DataError: there is no text column, or nothing to predict.
        """
        from gpt_magic.inference.calibration import softmax

        names = [f"p({label})" for label in self.classes]

        def answer(scores: np.ndarray) -> dict[str, Any]:
            chances = softmax(scores)
            return {
                "prediction": [self.classes[i] for i in chances.argmax(axis=1)],
                "confidence": chances.max(axis=1),
                **(dict(zip(names, chances.T, strict=True)) if probabilities else {}),
            }

        return self._predict(x, answer, ["prediction", "confidence", *names])

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

        examples, known = self._examples(data, missing), set(self.classes)
        for label, row in zip(examples.labels, examples.index, strict=True):
            if label not in known:
                raise DataError(
                    f"row {row} has the label {short(label)}; the classes are {listing(map(short, self.classes))}"
                )
        scores, cut = self._score(examples.texts, examples.index)
        return evaluate_classes(scores, examples.labels, self.classes, int(cut.sum()))

    def reliability(self) -> "Figure":
        """Confidence against the share that was right, on the validation rows, without and with the temperature.

        Raises:
            DataError: the model was not calibrated.
        """
        from gpt_magic.notebook.reliability import reliability_figure

        return reliability_figure(calibrated(self.calibration))

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        does = (
            f"A text classifier fine-tuned with gpt_magic. It labels {self._reads()}, with one of {len(self.classes)} "
            "classes."
        )
        return "text-classification", [does], card_limits(self.calibration)


def calibrated(calibration: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The calibration, or a `DataError` where there is none."""
    if calibration is None:
        raise DataError("the model was not calibrated; its card says why")
    return calibration


def card_limits(calibration: Mapping[str, Any] | None) -> list[str]:
    """The limits of a model that says how sure it is, for its card."""
    sure = (
        "was not calibrated."
        if calibration is None
        else f"was calibrated on {calibration['rows']:,} rows like those of the training data."
    )
    return [
        "Figures hold for texts like those of the training data. The confidence of a prediction is the model's own and",
        f"{sure} The model repeats the biases of its base and of its training data.",
    ]
