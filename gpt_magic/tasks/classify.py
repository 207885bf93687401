"""Text classification: one label a text, read off at the text's last token."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.data.checks import rows
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.loop import Hidden
from gpt_magic.errors import DataError, OptionError, listing, plural, short
from gpt_magic.inference.scoring import score_last
from gpt_magic.models.find import Base
from gpt_magic.models.load import load_classifier
from gpt_magic.tasks import baselines
from gpt_magic.tasks.task import Check, Row, Rows, Task


@dataclass
class ClassifyTask(Task):
    """``task = "classify"``."""

    name = "classify"
    scores = {"accuracy": "accuracy", "macro_f1": "macro F1"}  # noqa: RUF012  # declared in Task

    ignores = ("samples", "sample_tokens", "repeat")

    data: LabelledData

    @property
    def objective(self) -> "Classify":
        """Cross-entropy, weighted as asked."""
        data = self.data
        return Classify(data.classes, class_weights(self.options.class_weights, data.train.labels, data.classes))

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Rows scored at their last token."""
        data, truncate = self.data, self.options.truncate
        self.tokenizer = tokenizer
        ids, lengths = tokenize(data.train.texts, tokenizer, limit, truncate, data.train.index, check)
        valid_ids, valid_lengths = tokenize(data.valid.texts, tokenizer, limit, truncate, data.valid.index, check)
        counts = Counter(data.train.labels)
        shares = [f"{label} {counts[label]:,} ({counts[label] / len(data.train):.0%})" for label in data.classes]
        warnings = []
        for what, found, examples in (("training", lengths, data.train), ("validation", valid_lengths, data.valid)):
            over = np.flatnonzero(found > limit)
            if len(over):
                part = "first" if truncate == "head" else "last"
                warnings.append(
                    f"{len(over):,} of {len(found):,} {what} texts are longer than {limit:,} tokens; the {part} "
                    f"{limit:,} are read (rows {listing(examples.index[i] for i in over)})"
                )
        return Rows(
            train=encode(ids, data.train.labels, data.classes, data.train.index),
            valid=encode(valid_ids, data.valid.labels, data.classes, data.valid.index),
            facts=[
                ("classes", f"{len(data.classes)}: {listing(shares)}"),
                *length_facts(lengths, sum(map(len, ids))),
            ],
            warnings=warnings,
            lengths=length_picture(lengths, limit),
        )

    def load(self, base: Base) -> Any:
        """The base with a classification head."""
        return load_classifier(base, self.data.classes, self.tokenizer.pad_token_id, self.options.dropout)

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, accuracy and macro F1."""
        targets = np.concatenate(list(rows.targets))
        scores = score_last(model, rows.ids, logits, hidden, check)
        return quick_metrics(scores, targets, self.objective.weights(targets))

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The majority class, and TF-IDF + logistic regression."""
        return baselines.compare(self.data.train, self.data.valid, self.options.seed, stop)

    def own(self) -> dict[str, Any]:
        """The classes."""
        return {"classes": list(self.data.classes)}


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
        weight = torch.from_numpy(self.class_weights).to(hidden.device, torch.float32)
        return nn.functional.cross_entropy(logits(model, hidden), targets, weight=weight, reduction="none")


def logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """Class logits in float32, ``(rows, classes)``, from last hidden states ``(rows, hidden)``."""
    return model.score(hidden).float()  # type: ignore[operator, no-any-return]


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


def tokenize(
    texts: Sequence[str],
    tokenizer: Any,
    max_length: int,
    truncate: str,
    index: Sequence[Any],
    check: Callable[[], None] = lambda: None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Token ids of each text, cut to ``max_length``.

    Args:
        truncate: ``head`` keeps the beginning, ``tail`` the end, ``error`` refuses.
        index: the rows' names, for the message.
        check: called now and then; may raise to end the work.

    Returns:
        The ids, ``(tokens,)`` each, and the lengths before cutting, ``(texts,)``.

    Raises:
        DataError: with ``truncate="error"``, some texts are longer than ``max_length``; or a text has no tokens.
    """
    ids: list[np.ndarray] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    for row in token_ids(texts, tokenizer, index, check):
        lengths[len(ids)] = len(row)
        kept = row[:max_length] if truncate != "tail" else row[-max_length:]
        ids.append(np.asarray(kept, dtype=np.int32))
    over: list[int] = np.flatnonzero(lengths > max_length).tolist()
    if over and truncate == "error":
        raise DataError(
            f"{plural(len(over), 'row')} with a text longer than {max_length:,} tokens "
            f"({rows(index[i] for i in over)}): shorten them, or say truncate = 'head' or 'tail'"
        )
    empty: list[int] = np.flatnonzero(lengths == 0).tolist()
    if empty:
        raise DataError(f"the tokenizer makes no tokens of {rows(index[i] for i in empty)}: remove them")
    return ids, lengths


def encode(
    ids: Sequence[np.ndarray], labels: Sequence[Hashable], classes: Sequence[Hashable], index: Sequence[Any]
) -> Encoded:
    """Rows that are scored at their last token, with the number of their class as target."""
    number = {label: i for i, label in enumerate(classes)}
    return Encoded(
        ids=ids,
        scored=[np.array([len(row) - 1]) for row in ids],
        targets=[np.array([number[label]]) for label in labels],
        index=index,
    )


def quick_metrics(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Loss, accuracy and macro F1 from logits ``(rows, classes)`` and class numbers ``(rows,)``.

    Args:
        weights: weight of each row in the loss, ``(rows,)``; when all are 0 the rows count alike.
    """
    from sklearn.metrics import accuracy_score, f1_score

    chosen = scores.argmax(axis=1)
    nll = nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(targets), reduction="none").numpy()
    return {
        "loss": float(np.average(nll, weights=weights if weights.any() else None)),
        "accuracy": float(accuracy_score(targets, chosen)),
        "macro_f1": float(f1_score(targets, chosen, average="macro", zero_division=0)),
    }


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from logits, ``(rows, classes)``."""
    return torch.from_numpy(scores).softmax(dim=1).numpy()
