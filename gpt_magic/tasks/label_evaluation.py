"""How well a model does on rows whose labels, several a row, or numbers are known."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.errors import plural
from gpt_magic.inference.calibration import calibration_error, certainty, reliability
from gpt_magic.tasks.metrics import average_precisions, indicators, label_metrics, number_metrics

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LabelSetEvaluation:
    """Metrics of a model for several labels a row, as scikit-learn defines them.

    Attributes:
        rows: rows that were scored.
        loss: mean binary cross-entropy in nats of all rows and labels, unweighted.
        micro_f1, macro_f1: with the model's thresholds, between 0 and 1.
        average_precision: the mean over the labels that some row has; it needs no thresholds. NaN where none has.
        exact_match: share of the rows with all labels right.
        calibration_error: expected calibration error of the probabilities of all labels.
        per_label: a row a label with ``precision``, ``recall``, ``f1``, ``average_precision``, ``support`` and
            ``threshold``.
        truncated: rows of which the model read only a part.
    """

    rows: int
    loss: float
    micro_f1: float
    macro_f1: float
    average_precision: float
    exact_match: float
    calibration_error: float
    per_label: "pd.DataFrame"
    truncated: int = 0

    def __str__(self) -> str:
        return (
            f"{plural(self.rows, 'row')}: micro F1 {self.micro_f1:.4f}, macro F1 {self.macro_f1:.4f}, average "
            f"precision {self.average_precision:.4f}, exact match {self.exact_match:.4f}, calibration error "
            f"{self.calibration_error:.4f}, loss {self.loss:.4f}{_cut(self.truncated)}\n\n{self.per_label.round(4)}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.label_cards import label_set_html

        return label_set_html(self)


@dataclass(frozen=True)
class NumberEvaluation:
    """Metrics of a model for numbers.

    Attributes:
        rows: rows that were scored.
        mae, rmse: mean absolute error and root of the mean squared error, in the unit of the data.
        r2: share of the variance that is explained, below 0 where the mean would do better; NaN where there is none.
        spearman: rank correlation; NaN where all numbers, or all that were said, are one.
        truncated: rows of which the model read only a part.
    """

    rows: int
    mae: float
    rmse: float
    r2: float
    spearman: float
    truncated: int = 0

    def __str__(self) -> str:
        return (
            f"{plural(self.rows, 'row')}: MAE {self.mae:.4g}, RMSE {self.rmse:.4g}, R² {self.r2:.4f}, Spearman "
            f"{self.spearman:.4f}{_cut(self.truncated)}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.label_cards import number_html

        return number_html(self)


def evaluate_label_sets(
    scores: np.ndarray,
    labels: Sequence[Any],
    classes: Sequence[Hashable],
    thresholds: Sequence[float],
    truncated: int = 0,
) -> LabelSetEvaluation:
    """Compare logits with known labels.

    Args:
        scores: logits, ``(rows, labels)``.
        labels: the true labels of each row, all among ``classes``.
        classes: the labels in the order of the logits.
        thresholds: from which probability on a row has each label.
    """
    import pandas as pd
    import torch
    from sklearn.metrics import precision_recall_fscore_support

    have = indicators(labels, classes)
    truth, chances = have > 0, torch.from_numpy(scores).sigmoid().numpy()
    said = chances >= np.asarray(thresholds)
    found = label_metrics(chances, truth, thresholds)
    columns = [
        precision_recall_fscore_support(true, told, average="binary", zero_division=0)[:3]
        for true, told in zip(truth.T, said.T, strict=True)
    ]
    per_label = pd.DataFrame(
        columns, columns=["precision", "recall", "f1"], index=pd.Index(list(classes), name="label")
    )
    per_label["average_precision"] = average_precisions(chances, truth)
    per_label["support"] = truth.sum(axis=0)
    per_label["threshold"] = list(thresholds)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.from_numpy(scores), torch.from_numpy(have))
    return LabelSetEvaluation(
        rows=len(labels),
        loss=float(loss),
        **found,
        exact_match=float((truth == said).all(axis=1).mean()),
        calibration_error=calibration_error(reliability(*certainty(scores, truth))),
        per_label=per_label,
        truncated=truncated,
    )


def evaluate_numbers(said: np.ndarray, labels: Sequence[Any], truncated: int = 0) -> NumberEvaluation:
    """Compare numbers that were said, ``(rows,)``, with the true ones."""
    truth = np.asarray(labels, dtype=np.float64)
    return NumberEvaluation(len(truth), **number_metrics(said.astype(np.float64), truth), truncated=truncated)


def _cut(truncated: int) -> str:
    return f"; {truncated:,} of them cut to what the model reads" if truncated else ""
