"""A number a text, read off at the text's last token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
from torch import Tensor, nn

from gpt_magic.engine import ragged
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Hidden
from gpt_magic.inference.scoring import score_last
from gpt_magic.models.find import Base
from gpt_magic.models.heads import can_shift, scale_output, shift_output
from gpt_magic.models.load import keeps_head, load_classifier
from gpt_magic.tasks import baselines
from gpt_magic.tasks.labelled import LabelledTask, logits
from gpt_magic.tasks.metrics import number_metrics
from gpt_magic.tasks.task import Check, Completed, Row

_FAR = 3.0  # standard deviations of the numbers that a head learns to lie above 0


@dataclass
class RegressTask(LabelledTask):
    """``task = "regress"``."""

    name = "regress"
    scores = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "spearman": "Spearman"}  # noqa: RUF012

    _shifts: bool = field(init=False, default=True)

    @property
    def objective(self) -> "Regress":
        """Squared error of standardised numbers."""
        return Regress(0.0 if self._shifts else self._mean / self._scale)

    def targets(self, labels: Sequence[Any]) -> np.ndarray:
        """The standardised numbers, ``(rows,)``."""
        standard = (np.asarray(labels, dtype=np.float64) - self._mean) / self._scale
        return standard.astype(np.float32)

    def label_fact(self) -> tuple[str, str]:
        """Mean, spread and range."""
        found = self._labels
        said = f"mean {found.mean():.6g}, standard deviation {found.std():.6g}, {found.min():.6g} to {found.max():.6g}"
        return "numbers", said

    def load(self, base: Base) -> Any:
        """The base with one output.

        Where the model has no place to put the mean afterwards (see `heads.can_shift`) it has to learn it. A base that
        says these numbers already goes on from there: what `complete` did to it is undone.
        """
        names, problem = [self.data.roles.columns["label"]], "regression"
        model = load_classifier(base, names, self.tokenizer.pad_token_id, self.options.dropout, problem)
        self._shifts = can_shift(model)
        if keeps_head(base, names, problem):
            if self._shifts:
                shift_output(model, -self._mean)
            scale_output(model, 1 / self._scale)
        return model

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, mean absolute error, root of the mean squared error, R², Spearman's rank correlation."""
        truth = ragged.flat(rows.targets).astype(np.float64)
        said = score_last(model, rows.ids, logits, hidden, check)[:, 0].astype(np.float64) - self.objective.lift
        found = number_metrics(said, truth)
        return {
            "loss": found["rmse"] ** 2,
            **found,
            "mae": found["mae"] * self._scale,
            "rmse": found["rmse"] * self._scale,
        }

    def complete(self, model: Any, rows: Encoded, hidden: Hidden, *, evaluated: bool = False) -> Completed:  # noqa: ARG002
        """Mean and scale go into the model, which then speaks in the data's unit."""
        scale_output(model, self._scale)
        if self._shifts:
            shift_output(model, self._mean)
        elif abs(self.objective.lift) > _FAR:
            why = f"the numbers are far from 0, and {model.config.model_type} has no place to put their mean"
            return Completed(warnings=[f"{why}: take the mean off before training, and add it to predictions"])
        return Completed()

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The mean, and TF-IDF + ridge regression."""
        return baselines.compare_numbers(self.data.train, self.data.valid, self.options.seed, stop)

    def own(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @property
    def _labels(self) -> np.ndarray:
        return np.asarray(self.data.train.labels, dtype=np.float64)

    @property
    def _mean(self) -> float:
        return float(self._labels.mean())

    @property
    def _scale(self) -> float:
        return float(self._labels.std()) or 1.0  # 0 where all numbers but those set aside are one


@dataclass(frozen=True)
class Regress:
    """The objective of a regression run.

    Attributes:
        lift: what the head is to give above the standardised number.
    """

    lift: float

    @property
    def outputs(self) -> int:
        """The number."""
        return 1

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """Every row counts alike, ``(rows,)``."""
        return np.ones(len(targets))

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Squared error of each row, ``(rows,)``, from last hidden states ``(rows, hidden)``."""
        return (logits(model, hidden)[:, 0] - (targets + self.lift)).square()
