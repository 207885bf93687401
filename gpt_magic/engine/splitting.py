"""Forward passes that nothing is learned from, of fewer rows where memory runs out."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from torch import nn

from gpt_magic.engine.events import Emit, Warned
from gpt_magic.engine.memory import let_go
from gpt_magic.errors import out_of_memory, plural

T = TypeVar("T")

# Most tokens of a pass, filled-up ones among them, through models with which memory ran out.
_FITS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def in_passes(
    model: nn.Module,
    cut: Iterable[list[int]],
    lengths: np.ndarray,
    read: Callable[[list[int]], T],
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[list[int], T]]:
    """The rows of each pass, and what ``read`` makes of them; where memory runs out, of half as many at a time.

    From then on passes through ``model`` have no more tokens than that; rows that are shorter still go together.

    Args:
        cut: rows of each pass, from the longest; see `forward_passes`.
        lengths: tokens of every row.
        check: called before each pass; may raise to end the work.

    Raises:
        Exception: what ``check`` and ``read`` raise; where memory ran out, with one row alone.
    """
    for rows in cut:
        left = rows
        while left:
            check()
            longest = max(int(lengths[left[0]]), 1)
            some = left[: max(_FITS[model] // longest, 1)] if model in _FITS else left
            try:
                made = read(some)
            except (RuntimeError, MemoryError) as failure:
                if len(some) == 1 or not out_of_memory(failure):
                    raise
            else:
                yield some, made
                left = left[len(some) :]
                continue
            let_go(next(model.parameters()).device)  # only now are the failure's frames gone
            _FITS[model] = len(some) // 2 * longest


@contextmanager
def told_of_splits(model: nn.Module, emit: Emit) -> Iterator[None]:
    """Tell ``emit`` if memory ran out in passes through ``model`` within it."""
    before = _FITS.get(model)
    yield
    if _FITS.get(model) != before:
        most = plural(_FITS[model], "token")
        emit(
            Warned(
                f"memory ran out in an evaluation: since then it reads at most {most} at a time; its numbers are the "
                "same"
            )
        )
