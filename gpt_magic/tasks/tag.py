"""Tagging: named entities, slots and the like; a BIO tag for each word of a text."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

import numpy as np
from torch import Tensor, nn

from gpt_magic.data.schemes import bio_labels
from gpt_magic.data.sentences import Sentences
from gpt_magic.data.tagged import TaggedData
from gpt_magic.data.tokens import length_facts, length_picture
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.events import Control, StopRequested
from gpt_magic.engine.job import Hidden
from gpt_magic.errors import listing, plural
from gpt_magic.inference.tagging import best_tags, logits, score_words
from gpt_magic.lazy import mapped
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
        train = self._encode(reader, data.train, tally, check, 0)
        valid = self._encode(reader, data.valid, self._valid, check, len(data.train))
        lengths = tally.lengths
        facts = [*data.notes, *_entity_facts(data, check), *length_facts(lengths, int(train.lengths().sum()))]
        if self.options.repeat:
            facts.append(("repeat", "every text is read twice, and tagged at the second reading"))
        windows = len(train) > len(data.train)
        if windows:
            facts.append(("windows", f"{len(train):,} that overlap by half, each word scored in one of them"))
        warnings = [
            f"{plural(len(long), f'{what} row')} with a word that is longer than what is read at once, so only its end "
            f"is read (rows {listing(long)})"
            for what, long in (("training", tally.long), ("validation", self._valid.long))
            if len(long)
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

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The most frequent tag of each word, and no entity at all."""
        data = self.data
        try:
            usual = frequent_tags(data.train, data.valid, data.types, Control(stop).check).scores()
        except StopRequested:
            return [], ["no baselines: stopped while words and their tags were counted"]
        said = {"most frequent tag of each word": usual, "no entities at all": nothing_found(data.valid)}
        return [(who, [scores[name] for name in self.scores]) for who, scores in said.items()], []

    def own(self) -> dict[str, Any]:
        """The types of entities, and whether texts are read twice."""
        return {"types": list(self.data.types), "repeat": bool(self.options.repeat)}

    def _encode(self, reader: Reader, sentences: Sentences, tally: Tally, check: Check, before: int) -> Encoded:
        """Rows for the loop, made anew or found; ``before`` rows of others were made."""
        return reader.encode(
            sentences.texts,
            sentences.words,
            mapped(partial(tag_numbers, types=self.data.types), sentences.tags),
            sentences.index,
            tally,
            check,
            watch=lambda rows: self.watched(rows, before),
            cached=True,
        )


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


def _entity_facts(data: TaggedData, check: Check) -> list[tuple[str, str]]:
    counts: Counter[str] = Counter()
    within = words = 0
    for tags in data.train.tags:
        check()
        begun = [tag[2:] for tag in tags if tag.startswith("B-")]
        counts.update(begun)
        within += bool(begun)
        words += len(tags)
    total = counts.total()
    shares = listing(f"{kind} {counts[kind]:,} ({counts[kind] / total:.0%})" for kind in data.types) if total else ""
    return [
        ("types", f"{len(data.types)}: {shares}"),
        ("entities", f"{total:,} in {within:,} of {plural(len(data.train), 'row')} to train, {plural(words, 'word')}"),
    ]
