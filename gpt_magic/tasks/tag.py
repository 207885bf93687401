"""Tagging: named entities, slots and the like; a BIO tag for each word of a text."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
from torch import Tensor, nn

from gpt_magic.data.schemes import bio_labels
from gpt_magic.data.tagged import Sentences, TaggedData
from gpt_magic.data.tokens import length_facts, length_picture
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.loop import Hidden
from gpt_magic.errors import listing, plural
from gpt_magic.inference.tagging import best_tags, logits, score_words
from gpt_magic.models.find import Base
from gpt_magic.models.load import load_tagger
from gpt_magic.tasks.entities import Found, frequent_tags, nothing_found, tag_numbers
from gpt_magic.tasks.spelling import Reader, Tally
from gpt_magic.tasks.task import Check, Row, Rows, Task


@dataclass
class TagTask(Task):
    """``task = "tag"``."""

    name = "tag"
    scores = {  # noqa: RUF012  # declared in Task
        "f1": "F1",
        "precision": "precision",
        "recall": "recall",
        "token_accuracy": "token accuracy",
    }
    ignores = ("truncate", "class_weights", "samples", "sample_tokens")

    data: TaggedData
    _valid: Tally = field(init=False, default_factory=Tally)

    @property
    def objective(self) -> "TagWords":
        """Cross-entropy of each word's tag."""
        return TagWords(len(bio_labels(self.data.types)))

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Every text in windows, its words scored at their last tokens; see `Reader`."""
        data = self.data
        self.tokenizer = tokenizer
        reader, tally = Reader(tokenizer, limit, self.options.repeat), Tally()
        train = self._encode(reader, data.train, tally, check)
        valid = self._encode(reader, data.valid, self._valid, check)
        lengths = np.array(tally.lengths)
        facts = [*data.notes, *_entity_facts(data), *length_facts(lengths, int(train.lengths().sum()))]
        if self.options.repeat:
            facts.append(("repeat", "every text is read twice, and tagged at the second reading"))
        windows = len(train) > len(data.train)
        if windows:
            facts.append(("windows", f"{len(train):,} that overlap by half, each word scored in one of them"))
        warnings = [
            f"{plural(len(long), f'{what} row')} with a word that is longer than what is read at once, so only its end "
            f"is read (rows {listing(long)})"
            for what, long in (("training", tally.long), ("validation", self._valid.long))
            if long
        ]
        return Rows(
            train=train,
            valid=valid,
            facts=facts,
            warnings=warnings,
            lengths=length_picture(lengths, reader.limit),
            noun="window" if windows else "row",
        )

    def load(self, base: Base) -> Any:
        """The base with a tagging head."""
        return load_tagger(base, bio_labels(self.data.types), self.tokenizer.pad_token_id, self.options.dropout)

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, Any]:
        """Loss, and F1, precision and recall of whole entities, and token accuracy."""
        tags = (tag_numbers(tags, self.data.types) for tags in self.data.valid.tags)
        loss, found = measure(model, rows, self._valid, tags, self.data.types, hidden, check)
        return {"loss": loss, **found.scores(), "words": found.words}

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:  # noqa: ARG002  # it takes a moment
        """The most frequent tag of each word, and no entity at all."""
        data = self.data
        usual = frequent_tags(data.train, data.valid, data.types).scores()
        said = {"most frequent tag of each word": usual, "no entities at all": nothing_found(data.valid)}
        return [(who, [scores[name] for name in self.scores]) for who, scores in said.items()], []

    def own(self) -> dict[str, Any]:
        """The types of entities, and whether texts are read twice."""
        return {"types": list(self.data.types), "repeat": bool(self.options.repeat)}

    def _encode(self, reader: Reader, sentences: Sentences, tally: Tally, check: Check) -> Encoded:
        targets = (tag_numbers(tags, self.data.types) for tags in sentences.tags)
        return reader.encode(sentences.texts, sentences.words, targets, sentences.index, tally, check)


@dataclass(frozen=True)
class TagWords:
    """The objective of a tagging run: cross-entropy of the tag of every word.

    Attributes:
        outputs: tags.
    """

    outputs: int

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """Every word counts alike, ``(words,)``."""
        return np.ones(len(targets))

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each word in nats, ``(words,)``, from hidden states ``(words, hidden)``."""
        return nn.functional.cross_entropy(logits(model, hidden), targets, reduction="none")


def measure(
    model: nn.Module,
    rows: Encoded,
    tally: Tally,
    tags: Iterable[np.ndarray],
    types: Sequence[str],
    hidden: Hidden,
    check: Check = lambda: None,
) -> tuple[float, Found]:
    """Mean loss of a word in nats, and the entities that are found; nothing but counts is kept of a text.

    Args:
        rows: the texts' windows.
        tally: how many windows each text has.
        tags: numbers of the true tags of each text, ``(words,)``.
    """
    found, nats = Found(types), 0.0
    for truth, scores in zip(tags, score_words(model, rows, tally.windows, hidden, check), strict=True):
        nats -= float(scores[np.arange(len(truth)), truth].sum(dtype=np.float64))
        found.add(truth, best_tags(scores))
    return nats / max(found.words, 1), found


def _entity_facts(data: TaggedData) -> list[tuple[str, str]]:
    tags = data.train.tags
    counts = Counter(tag[2:] for row in tags for tag in row if tag.startswith("B-"))
    total = counts.total()
    shares = listing(f"{kind} {counts[kind]:,} ({counts[kind] / total:.0%})" for kind in data.types) if total else ""
    within = sum(any(tag.startswith("B-") for tag in row) for row in tags)
    words = sum(map(len, tags))
    return [
        ("types", f"{len(data.types)}: {shares}"),
        ("entities", f"{total:,} in {within:,} of {plural(len(tags), 'row')} to train, {plural(words, 'word')}"),
    ]
