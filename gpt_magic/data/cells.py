"""Cells of a table, read when they are asked for, and hashes that stand for texts."""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gpt_magic.lazy import At, Lazy, take

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


def cells(column: "pd.Series[Any] | pd.Index[Any]", at: At | None = None) -> Lazy[Any]:
    """The cells of a column, or the names of an index, at positions; all by default."""
    import pandas as pd

    def read(some: At) -> list[Any]:
        # The column is kept, not its array: while it lives, pandas copies what the user changes in a table of theirs.
        values: Any = column if isinstance(column, pd.Index) else column.array
        arrow = isinstance(values, pd.arrays.ArrowExtensionArray | pd.arrays.ArrowStringArray)
        if isinstance(some, range) and some.step == 1:
            piece = values[some.start : some.stop]
        else:
            places = np.asarray(some)
            if not len(places):
                return []
            low = int(places.min())  # near each other they touch few pages of a file
            piece = values[low : int(places.max()) + 1].take(places - low)
        found: list[Any] = piece.__arrow_array__().to_pylist() if arrow else list(piece)
        return found

    return Lazy(range(len(column)) if at is None else at, read)


def texts_of(column: "pd.Series[Any]", at: At | None = None) -> Lazy[str]:
    """The cells of a column of texts without gaps at positions."""
    found = cells(column, at)
    return Lazy(found.at, lambda some: [str(value) for value in found.read(some)])


def told(items: Sequence[T], doing: str, say: Callable[[str], None]) -> Lazy[T]:
    """The same items; ``say`` is told as they are looked at in turn, and may raise to end it.

    Args:
        doing: such as ``checking sentences``.
    """

    def read(at: At) -> list[T]:
        if len(at) and at[0]:
            say(f"{doing}, {at[0]:,} of {len(items):,} rows")
        return list(take(items, at))

    return Lazy(range(len(items)), read)


def text_hashes(texts: Sequence[Hashable]) -> np.ndarray:
    """8 bytes that stand for each text within this process, ``(texts,)``.

    Two different texts among a million share theirs once in 37 million tables.
    """
    return np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))


def groups(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are alike.

    Args:
        hashes: ``(rows,)``.

    Returns:
        The number of each row's group, ``(rows,)``, numbered as they first occur; and the first row of each group,
        ``(groups,)``, ascending.
    """
    _, firsts, of = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(firsts, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[of], firsts[order]


def numbered(labels: Sequence[Hashable]) -> np.ndarray:
    """The place of each label among the different ones, ``(rows,)``: sorted, or of many kinds as they first occur."""
    known: dict[Hashable, int] = {}
    codes = np.fromiter((known.setdefault(label, len(known)) for label in labels), dtype=np.int64, count=len(labels))
    try:
        order: list[Any] = sorted(known)
    except TypeError:
        return codes
    place = np.empty(len(order), dtype=np.int64)
    place[[known[label] for label in order]] = np.arange(len(order))
    return place[codes]
