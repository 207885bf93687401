"""Which rows make an optimizer step, and which of them go through the model together."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, tee, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gpt_magic.engine import ragged

if TYPE_CHECKING:
    from gpt_magic.store import Stored

T = TypeVar("T")

# Attention lays the rows of a forward pass side by side, so its cost and memory go by rows * longest squared.
# One GPT-2 text of full length (1024 tokens) fills this.
ATTENTION_AREA = 2**20

# Numbers that a head computes in one forward pass: 512 MB of logits in float32, and as much for their gradients.
HEAD_OUTPUTS = 2**27

_COUNTABLE = 2**31 - 1  # numbers of one tensor, which all kernels of a GPU can count


@dataclass(frozen=True)
class Encoded:
    """Tokenised rows with the positions that are scored.

    Attributes:
        ids: token ids of each row, ``(tokens,)``.
        scored: positions in the row whose hidden state is scored, ``(scored,)``, ascending.
        targets: what is expected there, ``(scored, ...)``.
        index: the rows' names in the user's table.
        notes: numbers that were noted while the rows were made, ``(noted,)`` each; see `collect`.
        stored: where the rows are kept; None where they were not collected.
    """

    ids: Sequence[np.ndarray]
    scored: Sequence[np.ndarray]
    targets: Sequence[np.ndarray]
    index: Sequence[Any]
    notes: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
    stored: "Stored | None" = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def lengths(self) -> np.ndarray:
        """Tokens in each row, ``(rows,)``."""
        return ragged.lengths(self.ids)

    def scored_counts(self) -> np.ndarray:
        """Scored positions in each row, ``(rows,)``."""
        return ragged.lengths(self.scored)


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """A shuffled order of all rows, ``(rows,)``; the same for the same seed and epoch, on every machine."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def steps_per_epoch(rows: int, rows_per_step: int) -> int:
    """Optimizer steps in one pass; the last may be smaller."""
    return math.ceil(rows / rows_per_step)


def plan(rows: int, rows_per_step: int, steps: int, seed: int) -> Iterator[list[int]]:
    """The rows of each of ``steps`` optimizer steps; every epoch sees every row once."""
    made = 0
    for epoch in range(steps):  # an epoch has a step at least
        order = epoch_order(rows, seed, epoch)
        for start in range(0, rows, rows_per_step):
            if made == steps:
                return
            made += 1
            yield order[start : start + rows_per_step].tolist()


def in_pairs(items: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Each with the one after it; the last with None."""
    here, after = tee(items)
    return zip_longest(here, islice(after, 1, None))


def forward_passes(
    rows: Sequence[int],
    lengths: np.ndarray,
    batch_size: int,
    outputs: np.ndarray | None = None,
    *,
    limited: bool = True,
) -> list[list[int]]:
    """Cut a step's rows into forward passes of at most ``batch_size`` rows of like lengths.

    The order of the rows within a step does not matter to the step: they are sorted by length, so that rows
    that meet in attention fill its area well, and a long one does not make its neighbours long.

    Args:
        rows: numbers of the rows.
        lengths: tokens of every row that there is, not only of ``rows``.
        outputs: numbers that the head computes for each of ``rows``, ``(rows,)``; None where they are few.
        limited: whether a pass keeps to `ATTENTION_AREA` and `HEAD_OUTPUTS`. Where not, what is beyond the area is cut
            only before rows less than half as long as the longest, beside which they would be filler (`static`).
    """
    most = HEAD_OUTPUTS if limited else _COUNTABLE
    passes: list[list[int]] = []
    taken = 0  # outputs of the pass that is being filled
    order = np.argsort(-lengths[np.asarray(rows, dtype=np.int64)], kind="stable")
    for place in order.tolist():
        row, more = int(rows[place]), 0 if outputs is None else int(outputs[place])
        full = not passes or len(passes[-1]) == batch_size or taken + more > most
        # Sorted from the longest: the first row of a pass sets the length of its area.
        apart = limited or full or 2 * lengths[row] < lengths[passes[-1][0]]
        if full or (apart and _area(passes[-1], lengths) > ATTENTION_AREA):
            passes.append([])
            taken = 0
        passes[-1].append(row)
        taken += more
    return passes


def windows(rows: int, size: int) -> Iterator[range]:
    """All rows in order, so many at a time: what only looks at each once need not hold the plan for all."""
    for start in range(0, rows, size):
        yield range(start, min(start + size, rows))


def _area(rows: Sequence[int], lengths: np.ndarray) -> int:
    """Attention area of a pass if it took one row more."""
    return (len(rows) + 1) * int(lengths[rows[0]]) ** 2
