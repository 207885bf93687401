"""Where the tokens of a packed row stand in attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

# What calling attention once more costs, in the area it would compute in that time. Elsewhere than on the CPU a
# launch costs as much as the attention of a whole text.
_GROUP_COSTS, _GROUP_COSTS_ELSEWHERE = 2**14, 2**20

_Number = TypeVar("_Number", int, np.ndarray)


class Arrangement(Protocol):
    """How the tokens of a packed row are laid side by side, row by row, and back.

    Attributes:
        shapes: rows and places a row of each group.
    """

    shapes: list[tuple[int, int]]

    def side_by_side(self, packed: Tensor) -> list[Tensor]:
        """``(1, heads, tokens, size)`` to ``(rows, heads, longest, size)`` for each group."""

    def one_after_another(self, laid: Sequence[Tensor]) -> Tensor:
        """``(rows, heads, longest, size)`` of each group to ``(1, tokens, heads, size)``."""


class Layout:
    """Where every token of a packed row stands when the rows are laid side by side, group by group.

    Args:
        counts: tokens of each row.
        groups: the numbers of the rows that stand side by side, see `like_lengths`.
        multiple: each row has a multiple of so many places.

    Attributes:
        groups: as given.
        positions: for each packed token its position in its own row, ``(tokens,)``.
        shapes: rows and places a row of each group.
    """

    def __init__(
        self, counts: np.ndarray, groups: Sequence[np.ndarray], device: torch.device, multiple: int = 1
    ) -> None:
        self.groups = groups
        row = np.repeat(np.arange(len(counts)), counts)
        self.positions = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.shapes = [(len(group), next_multiple(max(int(counts[group].max()), 1), multiple)) for group in groups]
        first = np.empty(len(counts), dtype=np.int64)  # each row's first place
        self._size = 0
        for group, (rows, longest) in zip(groups, self.shapes, strict=True):
            first[group] = self._size + np.arange(rows) * longest
            self._size += rows * longest
        self._places = first[row] + self.positions
        # Already side by side, when rows of one length follow one another.
        self._same = np.array_equal(self._places, np.arange(self._size))
        self._gather = torch.from_numpy(self._places).to(device)
        self._spread = torch.from_numpy(self.fill(np.arange(len(row)))).to(device)

    def fill(self, packed: np.ndarray) -> np.ndarray:
        """``(tokens,)`` to ``(places,)``, with 0 in the filled-up ends."""
        laid = np.zeros(self._size, dtype=np.int64)
        laid[self._places] = packed
        return laid

    def side_by_side(self, packed: Tensor) -> list[Tensor]:
        """``(1, heads, tokens, size)`` to ``(rows, heads, longest, size)`` for each group."""
        by_token = packed[0].transpose(0, 1)
        laid = by_token if self._same else by_token.index_select(0, self._spread)
        parts = torch.split(laid, [rows * longest for rows, longest in self.shapes])
        return [
            part.reshape(*shape, *part.shape[1:]).transpose(1, 2)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def one_after_another(self, laid: Sequence[Tensor]) -> Tensor:
        """``(rows, heads, longest, size)`` of each group to ``(1, tokens, heads, size)``."""
        by_token = torch.cat([part.transpose(1, 2).flatten(0, 1) for part in laid])
        return (by_token if self._same else by_token.index_select(0, self._gather))[None]

    @classmethod
    def cheapest(cls, lengths: np.ndarray, device: torch.device, multiple: int = 1) -> "Layout":
        """Rows of ``lengths`` tokens in the groups of `like_lengths`."""
        return cls(lengths, like_lengths(lengths, device, multiple), device, multiple)


def like_lengths(lengths: np.ndarray, device: torch.device, multiple: int = 1) -> list[np.ndarray]:
    """Cut the rows into groups of like lengths, so that the least is computed in attention.

    Args:
        lengths: tokens of each row.
        device: where attention is computed.
        multiple: of the places a row.

    Returns:
        The numbers of the rows in each group; ``rows * longest**2``, and what calls cost, add up to the least.
    """
    call = _GROUP_COSTS if device.type == "cpu" else _GROUP_COSTS_ELSEWHERE
    order = np.argsort(-lengths, kind="stable")
    area = next_multiple(lengths[order], multiple).astype(float) ** 2  # of each row of a group that begins here
    # The best cut of the first rows, from the best cuts of fewer.
    least, begins = np.zeros(len(order) + 1), np.zeros(len(order) + 1, dtype=np.int64)
    for end in range(1, len(order) + 1):
        costs = least[:end] + np.arange(end, 0, -1) * area[:end] + call
        begins[end] = costs.argmin()
        least[end] = costs[begins[end]]
    groups, end = [], len(order)
    while end:
        groups.append(np.sort(order[begins[end] : end]))
        end = int(begins[end])
    return groups[::-1]


@dataclass(frozen=True)
class Queries:
    """The tokens that ask in an attention where all tokens answer.

    Attributes:
        at: their places in the packed row, ``(queries,)``.
        layout: how they are laid side by side.
        seen: which keys each may see, ``(rows, 1, most queries, longest)`` for each group of rows.
    """

    at: Tensor
    layout: Arrangement
    seen: Sequence[Tensor]

    @classmethod
    def of(cls, scored: Sequence[np.ndarray], at: Tensor, keys: Layout) -> "Queries":
        """The scored positions of rows ask, at ``at``; each sees its row's tokens up to itself."""
        layout = Layout(np.array([len(some) for some in scored]), keys.groups, at.device)
        own = torch.from_numpy(layout.fill(np.concatenate(list(scored)))).to(at.device)
        parts = torch.split(own, [rows * most for rows, most in layout.shapes])
        seen = [
            past(part.view(rows, most), longest)
            for part, (rows, most), (_, longest) in zip(parts, layout.shapes, keys.shapes, strict=True)
        ]
        return cls(at, layout, seen)


def past(own: Tensor, longest: int) -> Tensor:
    """What queries at the positions ``own``, ``(rows, queries)``, see: ``(rows, 1, queries, longest)``."""
    return torch.arange(longest, device=own.device) <= own[:, None, :, None]


def rounded(number: int, an_octave: int) -> int:
    """The next of so many numbers an octave, from ``number`` up: of two these are 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    octave = max((number - 1).bit_length() - 1, 0)
    step = max((1 << octave) // an_octave, 1)
    return max(next_multiple(number, step), 1)


def next_multiple(number: _Number, multiple: int) -> _Number:
    """The next multiple, from ``number`` up."""
    return -(-number // multiple) * multiple
