"""Rows of different lengths in flat arrays: no Python object a row, and the arrays may lie in a file."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


class Ragged(Sequence[np.ndarray]):
    """Rows cut from flat arrays when they are asked for.

    Args:
        pieces: (values ``(total, ...)``, offsets ``(rows + 1,)``) pairs, the rows of the first before those of the
            next; a row's values stand from its offset to the next one's.
        dtype: what a row is handed out as; by default, as a view, what it is stored as.
    """

    def __init__(self, pieces: Sequence[tuple[np.ndarray, np.ndarray]], dtype: type | None = None) -> None:
        self._pieces = pieces
        self._dtype = dtype
        self._starts = [0, *np.cumsum([len(offsets) - 1 for _, offsets in pieces]).tolist()]

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, place: slice) -> list[np.ndarray]: ...

    def __getitem__(self, place: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        row = range(len(self))[place]
        piece = bisect_right(self._starts, row) - 1
        values, offsets = self._pieces[piece]
        row -= self._starts[piece]
        return self._handed(values[offsets[row] : offsets[row + 1]])

    def __iter__(self) -> Iterator[np.ndarray]:
        for values, offsets in self._pieces:
            for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                yield self._handed(values[start:end])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(np.array_equal(a, b) for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def lengths(self) -> np.ndarray:
        """Values in each row, ``(rows,)``; the values are not looked at."""
        return _joined([np.diff(offsets) for _, offsets in self._pieces], np.int64)

    def pieces(self) -> Iterator[np.ndarray]:
        """The values of all rows, some rows after others, ``(some, ...)`` each, as they are stored."""
        return (values for values, _ in self._pieces)

    def flat(self) -> np.ndarray:
        """The values of all rows, ``(total, ...)``."""
        return _joined(list(self.pieces()), self._dtype)

    def _handed(self, row: np.ndarray) -> np.ndarray:
        return row if self._dtype is None else row.astype(self._dtype, copy=False)


def one_a_row(values: np.ndarray) -> Ragged:
    """Rows of one value each, from ``(rows, ...)``."""
    return Ragged([(values, np.arange(len(values) + 1, dtype=np.int32))])


def to_lists(rows: Sequence[np.ndarray], dtype: Any) -> "pa.LargeListArray":
    """Rows as a column of an Arrow table, the values of each one after the other."""
    import pyarrow as pa

    ends = np.cumsum([0, *(row.size for row in rows)])
    values = np.concatenate([row.reshape(-1) for row in rows]).astype(dtype, copy=False)
    return pa.LargeListArray.from_arrays(pa.array(ends), pa.array(values))


def from_lists(column: Any, shape: tuple[int, ...] = (), dtype: type | None = None) -> Ragged:
    """Rows of an Arrow column that `to_lists` made, of values ``(total, *shape)``, as views; ``dtype`` as `Ragged`."""
    pieces = [(chunk.values.to_numpy(), chunk.offsets.to_numpy()) for chunk in column.chunks]
    if shape:
        pieces = [(values.reshape(-1, *shape), offsets // np.prod(shape)) for values, offsets in pieces]
    return Ragged(pieces, dtype)


def lengths(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Values in each row, ``(rows,)``."""
    if isinstance(rows, Ragged):
        return rows.lengths()
    return np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))


def flat(rows: Sequence[np.ndarray]) -> np.ndarray:
    """The values of all rows, ``(total, ...)``."""
    return rows.flat() if isinstance(rows, Ragged) else np.concatenate(rows)


def pieces(rows: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
    """The values of all rows, some rows after others, ``(some, ...)`` each; nothing is copied."""
    return rows.pieces() if isinstance(rows, Ragged) else rows


def _joined(parts: list[np.ndarray], dtype: type | None) -> np.ndarray:
    whole = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return whole if dtype is None else whole.astype(dtype, copy=False)
