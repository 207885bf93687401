"""How well entities are found: counts that grow text by text, and what they are worth; the baseline to beat."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpt_magic.data.schemes import OUTSIDE, TagCount, bio_labels, to_bio
from gpt_magic.data.sentences import Sentences
from gpt_magic.errors import plural
from gpt_magic.inference.tagging import entities

if TYPE_CHECKING:
    import pandas as pd


class Found:
    """Entities found, text by text; one counts as right where its words and its type are.

    On valid BIO these are the counts of seqeval and of conlleval.

    Attributes:
        types: what an entity can be, in the order of the numbers of its tags.
        right, said, true: entities of each type that are both, that were predicted, that are there, ``(types,)``.
    """

    def __init__(self, types: Sequence[str]) -> None:
        self.types = list(types)
        self.right, self.said, self.true = (np.zeros(len(types), dtype=np.int64) for _ in range(3))
        self.words = 0
        self.words_right = 0

    def add(self, truth: np.ndarray, found: np.ndarray) -> None:
        """Count a text: numbers of its true tags and of those predicted, both valid BIO, ``(words,)``."""
        true, said = set(entities(truth)), set(entities(found))
        for counts, some in ((self.right, true & said), (self.said, said), (self.true, true)):
            for _, _, kind in some:
                counts[kind] += 1
        self.words += len(truth)
        self.words_right += int((truth == found).sum())

    def scores(self) -> dict[str, float]:
        """Micro-averaged F1, precision and recall over all types, and the share of words with the right tag."""
        right, said, true = (int(counts.sum()) for counts in (self.right, self.said, self.true))
        return {
            "f1": 2 * right / max(said + true, 1),
            "precision": right / max(said, 1),
            "recall": right / max(true, 1),
            "token_accuracy": self.words_right / max(self.words, 1),
        }

    def per_type(self) -> "pd.DataFrame":
        """A row a type with ``precision``, ``recall``, ``f1`` and ``support``, the entities that are there."""
        import pandas as pd

        return pd.DataFrame(
            {
                "precision": self.right / np.maximum(self.said, 1),
                "recall": self.right / np.maximum(self.true, 1),
                "f1": 2 * self.right / np.maximum(self.said + self.true, 1),
                "support": self.true,
            },
            index=pd.Index(self.types, name="type"),
        )


@dataclass(frozen=True)
class TagEvaluation:
    """Metrics of a tagger, as seqeval and conlleval define them.

    Attributes:
        rows, words: what was scored.
        loss: mean cross-entropy of a word's tag in nats.
        f1, precision, recall: of whole entities, over all types (micro).
        token_accuracy: share of the words with the right tag; high wherever entities are rare.
        per_type: a row a type with ``precision``, ``recall``, ``f1``, ``support``.
    """

    rows: int
    words: int
    loss: float
    f1: float
    precision: float
    recall: float
    token_accuracy: float
    per_type: "pd.DataFrame"

    def __str__(self) -> str:
        head = (
            f"{plural(self.rows, 'row')}, {plural(self.words, 'word')}: F1 {self.f1:.4f}, precision "
            f"{self.precision:.4f}, recall {self.recall:.4f}, token accuracy {self.token_accuracy:.4f}, "
            f"loss {self.loss:.4f}"
        )
        return f"{head}\n\n{self.per_type.round(4)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.entities import tag_evaluation_html

        return tag_evaluation_html(self)


def tag_numbers(tags: Sequence[str], types: Sequence[str]) -> np.ndarray:
    """The numbers of BIO tags among a model's outputs, ``(words,)``."""
    number = {tag: i for i, tag in enumerate(bio_labels(types))}
    return np.array([number[tag] for tag in tags], dtype=np.int64)


def frequent_tags(
    train: Sentences, valid: Sentences, types: Sequence[str], check: Callable[[], None] = lambda: None
) -> Found:
    """What is found in ``valid`` by giving each word its most frequent tag in ``train``, and ``O`` to unknown ones.

    Args:
        check: called now and then; may raise to end the work.
    """
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text, words, tags in zip(train.texts, train.words, train.tags, strict=True):
        check()
        for (start, end), tag in zip(words.tolist(), tags, strict=True):
            seen[text[start:end]][tag] += 1
    usual = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    found = Found(types)
    for text, words, tags in zip(valid.texts, valid.words, valid.tags, strict=True):
        check()
        said = [usual.get(text[start:end], OUTSIDE) for start, end in words.tolist()]
        found.add(tag_numbers(tags, types), tag_numbers(to_bio(said, TagCount(set())), types))
    return found


def nothing_found(valid: Sentences) -> dict[str, float]:
    """Scores on ``valid`` of the tag ``O`` for every word."""
    words = sum(map(len, valid.tags))
    outside = sum(tag == OUTSIDE for tags in valid.tags for tag in tags)
    return {"f1": 0.0, "precision": 0.0, "recall": 0.0, "token_accuracy": outside / max(words, 1)}
