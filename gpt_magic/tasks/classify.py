"""Text classification: one label a text, read off at the text's last token."""

from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.data.checks import Examples, rows
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine import ragged
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.collecting import TokenRow, collect
from gpt_magic.engine.loop import Hidden
from gpt_magic.errors import DataError, OptionError, listing, plural, short
from gpt_magic.inference.scoring import score_last
from gpt_magic.lazy import take
from gpt_magic.models.find import Base
from gpt_magic.models.load import load_classifier
from gpt_magic.tasks import baselines
from gpt_magic.tasks.keys import token_key
from gpt_magic.tasks.task import Check, Row, Rows, Task


@dataclass
class ClassifyTask(Task):
    """``task = "classify"``."""

    name = "classify"
    scores = {"accuracy": "accuracy", "macro_f1": "macro F1"}  # noqa: RUF012  # declared in Task

    ignores = ("samples", "sample_tokens")

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
        train = self._tokens(data.train, limit, check, 0)
        valid = self._tokens(data.valid, limit, check, len(data.train))
        lengths, valid_lengths = train.notes["lengths"], valid.notes["lengths"]
        counts = Counter(data.train.labels)
        shares = [f"{label} {counts[label]:,} ({counts[label] / len(data.train):.0%})" for label in data.classes]
        warnings = []
        for what, found, examples in (("training", lengths, data.train), ("validation", valid_lengths, data.valid)):
            over = np.flatnonzero(found > limit)
            if len(over):
                part = "first" if truncate == "head" else "last"
                warnings.append(
                    f"{len(over):,} of {len(found):,} {what} texts are longer than {limit:,} tokens; the {part} "
                    f"{limit:,} are read (rows {listing(take(examples.index, over), count=len(over))})"
                )
        return Rows(
            train=train,
            valid=valid,
            facts=[
                ("classes", f"{len(data.classes)}: {listing(shares)}"),
                *length_facts(lengths, int(train.lengths().sum())),
            ],
            warnings=warnings,
            lengths=length_picture(lengths, limit),
        )

    def load(self, base: Base) -> Any:
        """The base with a classification head."""
        return load_classifier(base, self.data.classes, self.tokenizer.pad_token_id, self.options.dropout)

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, accuracy and macro F1."""
        targets = ragged.flat(rows.targets)
        scores = score_last(model, rows.ids, logits, hidden, check)
        return quick_metrics(scores, targets, self.objective.weights(targets))

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The majority class, and TF-IDF + logistic regression."""
        return baselines.compare(self.data.train, self.data.valid, self.options.seed, stop)

    def own(self) -> dict[str, Any]:
        """The classes."""
        return {"classes": list(self.data.classes)}

    def _tokens(self, examples: Examples, limit: int, check: Check, before: int) -> Encoded:
        """Rows for the loop, made anew or found; ``before`` rows of others were made."""
        truncate = self.options.truncate
        key, need = token_key(self.tokenizer, examples.texts, "last token", limit, truncate)
        found = collect_tokens(
            examples.texts,
            self.tokenizer,
            limit,
            truncate,
            examples.index,
            check,
            watch=lambda rows: self.watched(rows, before),
            key=key,
            need=need,
        )
        rows = encode(found.ids, examples.labels, self.data.classes, examples.index)
        return replace(rows, notes=found.notes, stored=found.stored)


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
) -> tuple[Sequence[np.ndarray], np.ndarray]:
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
    found = collect_tokens(texts, tokenizer, max_length, truncate, index, check)
    return found.ids, found.notes["lengths"]


def collect_tokens(
    texts: Sequence[str],
    tokenizer: Any,
    max_length: int,
    truncate: str,
    index: Sequence[Any],
    check: Callable[[], None],
    watch: Callable[[Iterator[list[int]]], Iterator[list[int]]] = iter,
    key: str | None = None,
    need: int = 0,
) -> Encoded:
    """What `tokenize` gives, in the tokens and the notes of rows that nothing is scored of yet.

    Args:
        watch: what the token ids go through, one text after the other.
        key, need: see `collect`.
    """
    lengths: array[int] = array("q")

    def made() -> Iterator[TokenRow]:
        over: array[int] = array("q")
        empty: array[int] = array("q")
        for number, row in enumerate(watch(token_ids(texts, tokenizer, index, check))):
            lengths.append(len(row))
            if not row:
                empty.append(number)
            if truncate == "error" and len(row) > max_length:
                over.append(number)
            kept = row[:max_length] if truncate != "tail" else row[-max_length:]
            yield np.asarray(kept, dtype=np.int32), _NOTHING, _NOTHING, number
        if over:
            raise DataError(
                f"{plural(len(over), 'row')} with a text longer than {max_length:,} tokens "
                f"({rows(index[i] for i in over)}): shorten them, or say truncate = 'head' or 'tail'"
            )
        if empty:
            raise DataError(f"the tokenizer makes no tokens of {rows(index[i] for i in empty)}: remove them")

    return collect(made(), key, notes={"lengths": lengths}, need=need)


_NOTHING = np.empty(0, dtype=np.int64)


def encode(
    ids: Sequence[np.ndarray], labels: Sequence[Hashable], classes: Sequence[Hashable], index: Sequence[Any]
) -> Encoded:
    """Rows that are scored at their last token, with the number of their class as target."""
    number = {label: i for i, label in enumerate(classes)}
    last = ragged.lengths(ids) - 1
    targets = np.fromiter((number[label] for label in labels), dtype=np.int64, count=len(labels))
    return Encoded(ids=ids, scored=ragged.one_a_row(last), targets=ragged.one_a_row(targets), index=index)


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
