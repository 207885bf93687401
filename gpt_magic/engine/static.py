"""Forward passes of a few fixed sizes, so that what one launches on a GPU can be recorded and launched again.

Rows are filled up to the next such size. Filler tokens are no row's: no token reads them, they are not scored and have
no gradient. The number of every place is in arrays of fixed lengths, so two passes of one size differ in numbers alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.job import Job
from gpt_magic.engine.kernels import fast_kernels
from gpt_magic.engine.layout import Queries, past, rounded
from gpt_magic.engine.packing import FEW, gpt2_at, gpt2_embedded, packing

# What is smaller than this is filled up to it: it costs nothing, and there are fewer sizes.
_LEAST_TOKENS, _LEAST_LONGEST = 64, 16

# Numbers an octave that sizes are rounded up to: tokens cost the most.
_TOKENS, _SCORED, _OTHERS = 4, 2, 1


@dataclass(frozen=True)
class Size:
    """What two passes must have in common to be launched alike.

    Attributes:
        tokens: of the packed row.
        rows, longest: in attention, ``rows * longest`` places.
        scored: positions whose hidden state is scored.
        queries: most scored positions of a row where the last block is computed at these alone; 0 where at all tokens.
        even, even_queries: whether every row has just ``longest`` tokens, or ``queries`` scored positions: then they
            stand side by side as they are.
    """

    tokens: int
    rows: int
    longest: int
    scored: int
    queries: int
    even: bool
    even_queries: bool

    def lengths(self) -> list[int]:
        """Of the arrays of `Filled.places`, one after the other."""
        asking = self.scored if self.queries else 0
        own = self.rows * self.queries
        return [self.tokens, self.tokens, self.rows * self.longest, self.tokens, self.scored, own, own, asking]


@dataclass(frozen=True)
class Filled:
    """The rows of one forward pass, filled up.

    Attributes:
        size: how far.
        places: whole numbers, ``(all,)``, as `hidden_filled` reads them.
        targets: of the scored positions, ``(scored, ...)``; of filler the first one.
        shares: of each loss in the step's, ``(scored,)``; 0 of filler.
    """

    size: Size
    places: np.ndarray
    targets: np.ndarray
    shares: np.ndarray


def fill_up(
    ids: Sequence[np.ndarray], scored: Sequence[np.ndarray], targets: Sequence[np.ndarray], total: float
) -> Filled:
    """Rows as a forward pass of one of a few sizes.

    Args:
        ids: token ids of each row.
        scored: scored positions of each row.
        targets: what is expected there.
        total: the weight of all scored positions of the step, by which its losses are divided.
    """
    lengths, counts = (np.array([len(row) for row in some]) for some in (ids, scored))
    tokens, asked = int(lengths.sum()), int(counts.sum())
    rows, longest = rounded(len(ids), _OTHERS), max(rounded(int(lengths.max()), _OTHERS), _LEAST_LONGEST)
    queries = rounded(int(counts.max()), _OTHERS) if 0 < asked <= FEW * tokens else 0
    even, even_queries = tokens == rows * longest, bool(queries) and asked == rows * queries
    # Where places are left empty there is a filler token, and the other way round: they stand for one another.
    all_tokens = tokens if even else max(rounded(tokens + 1, _TOKENS), _LEAST_TOKENS)
    all_scored = asked if even_queries else rounded(asked + 1, _SCORED)
    size = Size(all_tokens, rows, longest, all_scored, queries, even, even_queries)
    starts = np.cumsum(lengths) - lengths
    at = np.concatenate([start + some for start, some in zip(starts, scored, strict=True)])
    fillers = np.arange(tokens, all_tokens) if all_tokens > tokens else np.zeros(1, dtype=np.int64)
    spread, gather = _ways(lengths, rows, longest, all_tokens)
    places = [
        _filled(np.concatenate(list(ids)), all_tokens),
        _filled(np.arange(tokens) - np.repeat(starts, lengths), all_tokens),
        spread,
        gather,
        np.concatenate([at, np.resize(fillers, all_scored - asked)]),
    ]
    if queries:
        asking, back = _ways(counts, rows, queries, all_scored)
        own = _filled(np.concatenate(list(scored)), max(all_scored, asked + 1))
        places += [own[asking], asking, back]
    expected = np.concatenate(list(targets))
    filler = expected[:1] if asked else np.zeros((1, *expected.shape[1:]), expected.dtype)
    shares = np.zeros(all_scored, dtype=np.float32)
    shares[:asked] = 1 / total
    return Filled(
        size,
        np.concatenate(places).astype(np.int64, copy=False),
        np.concatenate([expected, np.repeat(filler, all_scored - asked, axis=0)]),
        shares,
    )


def hidden_filled(model: nn.Module, size: Size, places: Tensor) -> Tensor:
    """The same as `hidden_packed` of the rows that were filled up; GPT-2's alone.

    Args:
        places: as `fill_up` makes them, on the model's device.

    Returns:
        Hidden states, ``(scored, hidden)``; of filler, some that are finite.
    """
    tokens, positions, spread, gather, at, own, asking, back = torch.split(places, size.lengths())
    trunk: Any = model.base_model
    layout = Grid(size.rows, size.longest, None if size.even else (spread, gather))
    with packing(model), fast_kernels(model):
        hidden = gpt2_embedded(trunk, tokens, positions)
        if size.queries:
            asked = Grid(size.rows, size.queries, None if size.even_queries else (asking, back))
            seen = past(own.view(size.rows, size.queries), size.longest)
            return gpt2_at(trunk, hidden, trunk.h, layout, Queries(at, asked, [seen]))
        for block in trunk.h:
            hidden = block(hidden, packed_layout=layout)
        return trunk.ln_f(hidden)[0, at]  # type: ignore[no-any-return]


@dataclass
class Buffers:
    """What a forward pass of one size reads, always in the same place; see `static.Filled`."""

    places: Tensor
    targets: Tensor
    shares: Tensor

    def to(self, device: torch.device) -> "Buffers":
        """A copy."""
        return Buffers(*(part.to(device, copy=True) for part in vars(self).values()))

    def take(self, other: "Buffers") -> None:
        """Copy what ``other`` holds, without waiting for it."""
        for mine, its in zip(vars(self).values(), vars(other).values(), strict=True):
            mine.copy_(its, non_blocking=True)


def lay_out(job: Job, rows: Sequence[int], total: float) -> tuple[Size, Buffers]:
    """The rows of one forward pass, filled up; ``total`` as in `static.fill_up`."""
    ids, scored, targets = (
        [part[row] for row in rows] for part in (job.train.ids, job.train.scored, job.train.targets)
    )
    filled = fill_up(ids, scored, targets, total)
    return filled.size, Buffers(*map(torch.from_numpy, (filled.places, filled.targets, filled.shares)))


def filled_loss(job: Job, size: Size, read: Buffers) -> Tensor:
    """One forward pass: its rows' share in the step's mean loss, ``()``."""
    with job.machine.autocast(), fast_kernels(job.model):
        hidden = hidden_filled(job.model, size, read.places)
        losses = job.objective.losses(job.model, hidden, read.targets)
    return (losses * read.shares).sum()


class Grid:
    """An `Arrangement` of fixed size, where each way's gradient goes the other way.

    That is right as long as empty places and filler tokens have no gradient. To add up what was read several times,
    as the gradient of `Tensor.index_select` does, takes a GPU longer the more often a token was read.

    Args:
        rows, longest: places.
        ways: which token stands in each place, ``(places,)``, and in which place each token, ``(tokens,)``; None where
            the tokens stand as they are.
    """

    def __init__(self, rows: int, longest: int, ways: tuple[Tensor, Tensor] | None) -> None:
        self.shapes = [(rows, longest)]
        self._ways = ways

    def side_by_side(self, packed: Tensor) -> list[Tensor]:
        """``(1, heads, tokens, size)`` to one ``(rows, heads, longest, size)``."""
        laid = packed[0].transpose(0, 1)
        if self._ways is not None:
            laid = _moved(laid, *self._ways)
        return [laid.reshape(*self.shapes[0], *laid.shape[1:]).transpose(1, 2)]

    def one_after_another(self, laid: Sequence[Tensor]) -> Tensor:
        """The way back, ``(1, tokens, heads, size)``."""
        (part,) = laid
        by_token = part.transpose(1, 2).flatten(0, 1)
        return (by_token if self._ways is None else _moved(by_token, *self._ways[::-1]))[None]


def _moved(x: Tensor, way: Tensor, back: Tensor) -> Tensor:
    return _Moved.apply(x, way, back)  # type: ignore[no-untyped-call, no-any-return]


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, way: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, way)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return grad.index_select(0, back), None, None


def _ways(counts: np.ndarray, rows: int, longest: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Which token stands in each of ``rows * longest`` places, and where each of ``tokens`` tokens, as in `Grid`."""
    total = int(counts.sum())
    own = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = np.repeat(np.arange(len(counts)) * longest, counts) + own
    spread = np.full(rows * longest, total, dtype=np.int64)
    spread[taken] = np.arange(total)
    empty = int(np.argmax(spread == total))  # the first, if there is one; else there is no filler either
    gather = np.full(tokens, empty, dtype=np.int64)
    gather[:total] = taken
    return spread, gather


def _filled(numbers: np.ndarray, length: int) -> np.ndarray:
    """With zeros at the end."""
    return np.concatenate([numbers, np.zeros(length - len(numbers), dtype=np.int64)])
