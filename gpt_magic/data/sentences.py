"""Checked sentences: parsed once, and kept as flat arrays, in memory while they are few and else in a file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic import store
from gpt_magic.data.cells import cells
from gpt_magic.engine.ragged import from_lists, to_lists
from gpt_magic.lazy import At, mapped, take

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1000  # a record batch

Parsed = tuple[str, np.ndarray, list[str]]  # text, start and end of each word ``(words, 2)``, a BIO tag of each


@dataclass(frozen=True)
class Sentences:
    """Checked sentences, in the order of the table; of a large table they are read when asked for.

    Attributes:
        texts: one a row, never empty.
        words: start and end of each word in its text, ``(words, 2)`` each.
        tags: a BIO tag of each word.
        index: the table's index values, for messages.
    """

    texts: Sequence[str]
    words: Sequence[np.ndarray]
    tags: Sequence[list[str]]
    index: Sequence[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, positions: Iterable[int] | At) -> "Sentences":
        """The sentences at ``positions``."""
        at = positions if isinstance(positions, range | np.ndarray) else np.array(list(positions), dtype=np.int64)
        return Sentences(take(self.texts, at), take(self.words, at), take(self.tags, at), take(self.index, at))


def keep(rows: Iterable[Parsed], index: Sequence[Any], texts: Sequence[str] | None = None) -> Sentences:
    """Sentences as they come, one at least.

    Args:
        index: the rows' names.
        texts: the texts, where something holds them already; None to keep them too.

    Raises:
        DataError: the disk is full or cannot be written; and whatever ``rows`` raises.
    """
    numbers: dict[str, int] = {}  # of tags, as they first occur
    table = store.spool(_batches(rows, numbers, with_texts=texts is None)).table
    names = list(numbers)
    return Sentences(
        texts=_texts(table.column("texts")) if texts is None else texts,
        words=mapped(np.asarray, from_lists(table.column("words"), (2,))),
        tags=mapped(lambda row: [names[tag] for tag in row.tolist()], from_lists(table.column("tags"))),
        index=index,
    )


def _batches(rows: Iterable[Parsed], numbers: dict[str, int], with_texts: bool) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    rest = iter(rows)
    while piece := list(islice(rest, _ROWS)):
        texts, words, tags = zip(*piece, strict=True)
        tagged = [np.array([numbers.setdefault(tag, len(numbers)) for tag in row], dtype=np.int32) for row in tags]
        columns: dict[str, Any] = {"words": to_lists(words, np.int32), "tags": to_lists(tagged, np.int32)}
        if with_texts:  # as bytes, so that one which is no valid Unicode comes as far as the message that says so
            columns["texts"] = pa.array([text.encode("utf-8", "surrogatepass") for text in texts], pa.large_binary())
        yield pa.RecordBatch.from_pydict(columns)


def _texts(column: Any) -> Sequence[str]:
    import pandas as pd

    written = cells(pd.Series(pd.arrays.ArrowExtensionArray(column), copy=False))
    return mapped(lambda text: text.decode("utf-8", "surrogatepass"), written)
