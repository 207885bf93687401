"""Sequences whose items are read when they are asked for: a table of any size costs 8 bytes a row, or none."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")
At = range | np.ndarray

_PIECE = 1000  # items read at once when all are looked at in turn


class Lazy(Sequence[T], Generic[T]):
    """Items at positions of something that stays where it is, such as a file.

    Attributes:
        at: position of each item, ``(items,)``; a range costs nothing.
        read: positions ``(some,)`` to the items there.
    """

    def __init__(self, at: At, read: Callable[[At], list[T]]) -> None:
        self.at, self.read = at, read

    def __len__(self) -> int:
        return len(self.at)

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return self.read(self.at[place])
        number = range(len(self))[place]
        return self.read(self.at[number : number + 1])[0]

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), _PIECE):
            yield from self.read(self.at[start : start + _PIECE])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __add__(self, other: Sequence[T]) -> list[T]:
        return [*self, *other]

    def __repr__(self) -> str:
        return f"<{len(self):,} items, read when asked for>"

    def take(self, positions: At) -> "Lazy[T]":
        """The items at ``positions``, not read yet."""
        if isinstance(self.at, range) and self.at == range(len(self)):
            return Lazy(positions, self.read)
        return Lazy(pick(np.asarray(self.at), positions), self.read)


def pick(values: np.ndarray, at: At) -> np.ndarray:
    """``values`` at positions; those of a range as a view."""
    if isinstance(at, range):
        return values[at.start : at.stop : at.step] if len(at) else values[:0]
    return values[at]


def take(items: Sequence[T], at: At) -> Sequence[T]:
    """The items at positions, not read yet where they need not be."""
    if isinstance(items, Lazy):
        return items.take(at)
    return [items[i] for i in (at if isinstance(at, range) else at.tolist())]


def mapped(function: Callable[..., T], *columns: Sequence[Any]) -> Lazy[T]:
    """``map`` over sequences of one length, done when an item is asked for."""
    return Lazy(range(len(columns[0])), lambda at: list(map(function, *(take(column, at) for column in columns))))


def named(numbers: np.ndarray, values: Sequence[T]) -> Lazy[T]:
    """``values[number]`` for each of ``numbers``, ``(rows,)``."""
    return Lazy(range(len(numbers)), lambda at: [values[number] for number in pick(numbers, at).tolist()])
