"""Text classification: one label a text, read off at the text's last token."""

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
from gpt_magic.errors import OptionError, listing, short
from gpt_magic.inference.calibration import Calibration, calibrated_loss
from gpt_magic.inference.scoring import score_last
from gpt_magic.models.find import Base
from gpt_magic.models.heads import scale_output
from gpt_magic.models.load import load_classifier
from gpt_magic.tasks import baselines
from gpt_magic.tasks.labelled import UNSETTLED, LabelledTask, OnDevice, logits, settle_temperature
from gpt_magic.tasks.task import Check, Completed, Row


@dataclass
class ClassifyTask(LabelledTask):
    """``task = "classify"``."""

    name = "classify"
    scores = {"accuracy": "accuracy", "macro_f1": "macro F1"}  # noqa: RUF012  # declared in Task
    ignores = ("template",)
    measure = "calibrated_loss"

    _calibration: Calibration | None = field(init=False, default=None)
    _scores: np.ndarray | None = field(init=False, default=None)  # of the last evaluation

    @property
    def objective(self) -> "Classify":
        """Cross-entropy, weighted as asked."""
        data = self.data
        return Classify(data.classes, class_weights(self.options.class_weights, data.train.labels, data.classes))

    def targets(self, labels: Sequence[Hashable]) -> np.ndarray:
        """The number of each row's class, ``(rows,)``."""
        number = {label: i for i, label in enumerate(self.data.classes)}
        return np.fromiter((number[label] for label in labels), dtype=np.int64, count=len(labels))

    def label_fact(self) -> tuple[str, str]:
        """How many rows have which class."""
        return class_fact(self.data.train.labels, self.data.classes)

    def load(self, base: Base) -> Any:
        """The base with a classification head."""
        return load_classifier(base, self.data.classes, self.tokenizer.pad_token_id, self.options.dropout)

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, accuracy and macro F1."""
        targets = ragged.flat(rows.targets)
        scores = self._scores = score_last(model, rows.ids, logits, hidden, check)
        return quick_metrics(scores, targets, self.objective.weights(targets))

    def complete(self, model: Any, rows: Encoded, hidden: Hidden, *, evaluated: bool = False) -> Completed:
        """A temperature, which goes into the head."""
        if not self.options.calibrate:
            return Completed()
        if not len(rows):
            return UNSETTLED
        known = self._scores if evaluated else None
        scores = score_last(model, rows.ids, logits, hidden) if known is None else known
        self._calibration, said = settle_temperature(scores, ragged.flat(rows.targets), self.options.seed)
        if self._calibration is not None:
            scale_output(model, 1 / self._calibration.temperature)
        return said

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The majority class, and TF-IDF + logistic regression."""
        return baselines.compare(self.data.train, self.data.valid, self.options.seed, stop)

    def own(self) -> dict[str, Any]:
        """The classes, and how the temperature was settled."""
        return {
            "classes": list(self.data.classes),
            "calibration": asdict(self._calibration) if self._calibration else None,
        }


@dataclass(frozen=True)
class Classify:
    """The objective of a classification run.

    Attributes:
        classes: the labels, in the order of the model's outputs.
        class_weights: weight of each class in the loss, ``(classes,)``.
    """

    classes: Sequence[Hashable]
    class_weights: np.ndarray

    @property
    def outputs(self) -> int:
        """A logit a class."""
        return len(self.classes)

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """The share that each row has in the loss, ``(rows,)``."""
        chosen: np.ndarray = self.class_weights[targets]
        return chosen

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Weighted cross-entropy of each row in nats, ``(rows,)``, from last hidden states ``(rows, hidden)``."""
        weight = self._weights.on(hidden.device)
        return nn.functional.cross_entropy(logits(model, hidden), targets, weight=weight, reduction="none")

    @cached_property
    def _weights(self) -> OnDevice:
        return OnDevice(self.class_weights)


def class_fact(labels: Sequence[Hashable], classes: Sequence[Hashable]) -> tuple[str, str]:
    """For the report: how many rows have which class."""
    counts = Counter(labels)
    shares = [f"{label} {counts[label]:,} ({counts[label] / len(labels):.0%})" for label in classes]
    return "classes", f"{len(classes)}: {listing(shares)}"


def class_weights(
    setting: str | Mapping[Hashable, float], labels: Sequence[Hashable], classes: Sequence[Hashable]
) -> np.ndarray:
    """Weight of each class in the loss, ``(classes,)``.

    ``balanced`` is scikit-learn's: rows / (classes * rows of the class).

    Raises:
        OptionError: a dict names an unknown class, lacks one, or holds something that is not a weight.
    """
    if setting == "none":
        return np.ones(len(classes))
    if setting == "balanced":
        counts = Counter(labels)
        return np.array([len(labels) / (len(classes) * counts[label]) for label in classes])
    assert isinstance(setting, Mapping)
    unknown = [label for label in setting if label not in classes]
    lacking = [label for label in classes if label not in setting]
    if unknown or lacking:
        what = f"{listing(map(repr, unknown))} unknown" if unknown else f"{listing(map(repr, lacking))} not given"
        raise OptionError(f"class_weights: {what}; give a weight for each of {listing(map(repr, classes))}")
    numbers = (int, float, np.integer, np.floating)
    bad = [w for w in setting.values() if isinstance(w, bool) or not isinstance(w, numbers) or not 0 <= w < 1e9]
    if bad or not any(setting.values()):
        raise OptionError(f"class_weights = {short(dict(setting))}: weights must be numbers from 0 up, not all 0")
    return np.array([float(setting[label]) for label in classes])


def quick_metrics(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Loss, calibrated loss, accuracy and macro F1 from logits ``(rows, classes)`` and class numbers ``(rows,)``.

    Args:
        weights: weight of each row in the loss, ``(rows,)``; when all are 0 the rows count alike.
    """
    from sklearn.metrics import accuracy_score, f1_score

    chosen = scores.argmax(axis=1)
    nll = nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(targets), reduction="none").numpy()
    shares = weights if weights.any() else None
    return {
        "loss": float(np.average(nll, weights=shares)),
        "calibrated_loss": calibrated_loss(scores, targets, shares),
        "accuracy": float(accuracy_score(targets, chosen)),
        "macro_f1": float(f1_score(targets, chosen, average="macro", zero_division=0)),
    }
