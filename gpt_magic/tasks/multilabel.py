"""Several labels a text: for each label yes or no, read off at the text's last token."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine import ragged
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Hidden
from gpt_magic.errors import listing, plural
from gpt_magic.inference.calibration import Calibration, calibrated_loss
from gpt_magic.inference.scoring import score_last
from gpt_magic.inference.thresholds import USUAL, best_thresholds
from gpt_magic.models.find import Base
from gpt_magic.models.heads import scale_output
from gpt_magic.models.load import load_classifier
from gpt_magic.tasks import baselines
from gpt_magic.tasks.classify import class_weights
from gpt_magic.tasks.labelled import UNSETTLED, LabelledTask, OnDevice, logits, settle_temperature
from gpt_magic.tasks.metrics import indicators, label_metrics
from gpt_magic.tasks.task import Check, Completed, Row


@dataclass
class MultilabelTask(LabelledTask):
    """``task = "multilabel"``."""

    name = "multilabel"
    scores = {  # noqa: RUF012  # declared in Task
        "micro_f1": "micro F1",
        "macro_f1": "macro F1",
        "average_precision": "average precision",
    }

    measure = "calibrated_loss"

    _calibration: Calibration | None = field(init=False, default=None)
    _scores: np.ndarray | None = field(init=False, default=None)  # of the last evaluation
    _thresholds: list[float] = field(init=False, default_factory=list)

    @property
    def objective(self) -> "Multilabel":
        """Binary cross-entropy, weighted as asked."""
        labels, classes = self.data.train.labels, self.data.classes
        return Multilabel(positive_weights(self.options.class_weights, labels, classes))

    def targets(self, labels: Sequence[Any]) -> np.ndarray:
        """1 for each label that a row has, else 0, ``(rows, labels)``."""
        return indicators(labels, self.data.classes)

    def label_fact(self) -> tuple[str, str]:
        """How many rows have which label."""
        labels: Sequence[Any] = self.data.train.labels
        counts = Counter(one for row in labels for one in row)
        shares = [f"{label} {counts[label]:,} ({counts[label] / len(labels):.0%})" for label in self.data.classes]
        bare = sum(not row for row in labels)
        said = f"{counts.total() / len(labels):.2f} a row" + (f", {plural(bare, 'row')} without any" if bare else "")
        return "labels", f"{len(self.data.classes)}: {listing(shares)}; {said}"

    def load(self, base: Base) -> Any:
        """The base with an output a label."""
        pad, dropout = self.tokenizer.pad_token_id, self.options.dropout
        return load_classifier(base, self.data.classes, pad, dropout, "multi_label_classification")

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, micro and macro F1 at probability 0.5, average precision."""
        scores = self._scores = score_last(model, rows.ids, logits, hidden, check)
        truth = ragged.flat(rows.targets)
        loss = self.objective.from_scores(torch.from_numpy(scores), torch.from_numpy(truth)).mean()
        calibrated = calibrated_loss(scores, truth)
        return {"loss": float(loss), "calibrated_loss": calibrated, **label_metrics(sigmoid(scores), truth > 0)}

    def complete(self, model: Any, rows: Encoded, hidden: Hidden, *, evaluated: bool = False) -> Completed:
        """A temperature, which goes into the head, and each label's threshold."""
        self._thresholds = [USUAL] * len(self.data.classes)
        if not len(rows):
            said = UNSETTLED if self.options.calibrate else Completed()
            return Completed(
                [*said.facts, ("thresholds", f"{USUAL} for each label: no validation rows to tune them on")]
            )
        known, truth = self._scores if evaluated else None, ragged.flat(rows.targets) > 0
        scores = score_last(model, rows.ids, logits, hidden) if known is None else known
        said = Completed()
        if self.options.calibrate:
            self._calibration, said = settle_temperature(scores, truth, self.options.seed)
        if self._calibration is not None:
            scale_output(model, 1 / self._calibration.temperature)
            scores = scores / self._calibration.temperature
        chances = sigmoid(scores)
        self._thresholds = best_thresholds(chances, truth)
        crossed = crossed_f1(chances, truth, self.options.seed)
        fact = (
            f"{_range(self._thresholds)}, for the best F1 of each label; micro F1 "
            f"{label_metrics(chances, truth)['micro_f1']:.1%} at {USUAL}, {crossed:.1%} with tuned ones "
            f"({len(rows):,} validation rows, each half by the other half's thresholds)"
        )
        return Completed(
            [*said.facts, ("thresholds", fact)], said.warnings, {**said.metrics, "tuned_micro_f1": crossed}
        )

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The most frequent labels, and TF-IDF + logistic regression one label at a time."""
        return baselines.compare_label_sets(
            self.data.train, self.data.valid, self.data.classes, self.options.seed, stop
        )

    def own(self) -> dict[str, Any]:
        """The labels, from which probability on a text has them, and how the temperature was settled."""
        return {
            "classes": list(self.data.classes),
            "thresholds": self._thresholds,
            "calibration": asdict(self._calibration) if self._calibration else None,
        }


@dataclass(frozen=True)
class Multilabel:
    """The objective of a multi-label run.

    Attributes:
        positive_weights: weight in the loss of the rows that have each label, ``(labels,)``.
    """

    positive_weights: np.ndarray

    @property
    def outputs(self) -> int:
        """A logit a label."""
        return len(self.positive_weights)

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """Every row counts alike, ``(rows,)``."""
        return np.ones(len(targets))

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of each row in nats, the mean over labels, ``(rows,)``; hidden ``(rows, hidden)``."""
        return self.from_scores(logits(model, hidden), targets)

    def from_scores(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The same from logits, ``(rows, labels)``."""
        weight = self._weights.on(scores.device)
        every = nn.functional.binary_cross_entropy_with_logits(scores, targets, pos_weight=weight, reduction="none")
        return every.mean(dim=1)

    @cached_property
    def _weights(self) -> OnDevice:
        return OnDevice(self.positive_weights)


def positive_weights(
    setting: str | Mapping[Hashable, float], labels: Sequence[Any], classes: Sequence[Hashable]
) -> np.ndarray:
    """Weight in the loss of the rows that have each label, ``(labels,)``: torch's ``pos_weight``.

    ``balanced`` lets the rows with a label count as much as those without: rows without it / rows with it.

    Raises:
        OptionError: a dict names an unknown label, lacks one, or holds something that is not a weight.
    """
    if setting != "balanced":
        return class_weights(setting, labels, classes)
    have = indicators(labels, classes).sum(axis=0, dtype=np.float64)
    weights: np.ndarray = np.maximum(len(labels) - have, 1) / np.maximum(have, 1)
    return weights


def crossed_f1(chances: np.ndarray, truth: np.ndarray, seed: int) -> float:
    """Micro F1 of each half of the rows with the thresholds that are best for the other half."""
    from sklearn.metrics import f1_score

    order = np.random.default_rng(seed).permutation(len(chances))
    said = np.zeros_like(truth)
    for here, other in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        said[here] = chances[here] >= np.asarray(best_thresholds(chances[other], truth[other]))
    return float(f1_score(truth.ravel(), said.ravel(), zero_division=0))


def _range(thresholds: Sequence[float]) -> str:
    """``0.31 to 0.62``."""
    ends = dict.fromkeys(f"{end:.2f}" for end in (min(thresholds), max(thresholds)))
    return " to ".join(ends)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Probabilities from logits, ``(rows, labels)``."""
    chances: np.ndarray = torch.from_numpy(scores).sigmoid().numpy()
    return chances
