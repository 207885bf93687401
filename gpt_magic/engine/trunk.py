"""What a frozen trunk makes of each row, computed once and kept while the run lasts.

The frozen blocks compute the same of a row in every epoch, as they have neither dropout nor gradients. So a row's
hidden states before the first trained block take the place of its token ids, and later epochs cost what is trained.
Where no block is trained, the states at the scored positions are all that is needed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic import store
from gpt_magic.engine.batching import Encoded, forward_passes
from gpt_magic.engine.kernels import fast_kernels
from gpt_magic.engine.layout import Queries
from gpt_magic.engine.packing import FEW, arranged, gpt2_at, gpt2_embedded, is_gpt2, packing, places
from gpt_magic.engine.ragged import Ragged, from_lists, to_lists
from gpt_magic.engine.splitting import in_passes
from gpt_magic.lazy import mapped

_ROWS_A_PASS = 64
_PIECE = 2**26  # bytes of states that are held before they are written
_LOOKED_AT = 16_384  # rows whose passes are looked at beforehand


@dataclass(frozen=True)
class States(Encoded):
    """Rows of which ``ids`` are hidden states, ``(tokens or scored positions, hidden)``.

    Attributes:
        tokens: tokens of each row as it was, ``(rows,)``.
    """

    tokens: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64), compare=False)

    def lengths(self) -> np.ndarray:
        """Tokens in each row as it was, ``(rows,)``."""
        return self.tokens


def can_keep(model: Any, blocks: int) -> bool:
    """Whether the states below the last ``blocks`` can be kept: those of GPT-2, below which there are blocks."""
    return is_gpt2(model) and blocks < len(model.base_model.h)


def size(rows: Encoded, blocks: int, width: int) -> int:
    """Bytes of the states of ``rows`` below the last ``blocks``, of a trunk with hidden states ``(width,)``."""
    kept = rows.lengths() if blocks else rows.scored_counts()
    return int(kept.sum()) * width * np.dtype(np.float32).itemsize


def keep_states(
    model: Any,
    rows: Encoded,
    blocks: int,
    check: Callable[[], None] = lambda: None,
    watch: Callable[[int], None] = lambda _: None,
) -> States:
    """The rows with their hidden states below the last ``blocks`` of a GPT-2, which `hidden_from` goes on from.

    The states are in memory while they are few, else in a file of the cache that is gone with them. They are kept in
    float32: float16 moves losses by 3e-5 within a few steps and saves no time on a CPU (benchmarks/LOG.md).

    Args:
        check: called before each forward pass; may raise to end the work.
        watch: told after each piece how many rows are done.

    Raises:
        DataError: the disk is full or cannot be written. Nothing half made is kept.
    """
    import pyarrow as pa

    lengths, width = rows.lengths(), int(model.config.hidden_size)

    def read(some: list[int]) -> list[np.ndarray]:
        ids = [rows.ids[row] for row in some]
        states = _below(model, ids, blocks)[0].float().cpu().numpy()
        return np.split(states, np.cumsum([len(row) for row in ids])[:-1])

    def batches() -> Iterator[Any]:
        for some in _pieces(lengths, _PIECE // (4 * width)):
            made: list[np.ndarray] = [np.empty(0)] * len(some)
            cut = forward_passes(some, lengths, _ROWS_A_PASS)
            for together, found in in_passes(model, cut, lengths, read, check):
                for row, states in zip(together, found, strict=True):
                    # A copy: a part of the states would keep all of them in memory.
                    made[row - some.start] = states if blocks else states[rows.scored[row]].copy()
            yield pa.record_batch({"states": to_lists(made, np.float32)})
            watch(some.stop)

    training = model.training
    model.eval()
    try:
        stored = store.spool(batches(), None, size(rows, blocks, width))
    finally:
        model.train(training)
    return _of(rows, blocks, from_lists(stored.table.column("states"), (width,)))


def rehearse_states(model: Any, rows: Encoded, blocks: int) -> None:
    """Hold what `keep_states` holds on the model's device at its worst moment, once; of many rows the first count."""
    lengths, width = rows.lengths()[:_LOOKED_AT], int(model.config.hidden_size)
    largest = max(
        (
            some
            for piece in _pieces(lengths, _PIECE // (4 * width))
            for some in forward_passes(piece, lengths, _ROWS_A_PASS)
        ),
        key=lambda some: int(lengths[some].sum()),
    )
    others = min(int(lengths.sum()), _PIECE // (4 * width)) - int(lengths[largest].sum())
    device = next(model.parameters()).device
    waiting = torch.empty(max(others, 0) if blocks and device.type == "cpu" else 0, width)  # to be written
    _below(model, [rows.ids[row] for row in largest], blocks)
    del waiting


def blank_states(rows: Encoded, blocks: int, width: int) -> States:
    """What `keep_states` makes of ``rows``, of the same shapes; nothing is computed and nothing kept."""
    kept = rows.lengths() if blocks else rows.scored_counts()
    zeros = mapped(lambda count: np.zeros((count, width), dtype=np.float32), kept.tolist())
    return _of(rows, blocks, zeros)


def _of(rows: Encoded, blocks: int, states: Sequence[np.ndarray]) -> States:
    return States(
        ids=states,
        scored=rows.scored if blocks else _numbered(rows.scored_counts()),
        targets=rows.targets,
        index=rows.index,
        notes=rows.notes,
        stored=rows.stored,
        tokens=rows.lengths(),
    )


def _numbered(counts: np.ndarray) -> Ragged:
    """Rows of 0, 1, 2 ..., of so many numbers each."""
    ends = np.concatenate([[0], np.cumsum(counts)])
    return Ragged([(np.arange(ends[-1]) - np.repeat(ends[:-1], counts), ends)])


def hidden_from(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray], *, blocks: int) -> Tensor:
    """The same as `hidden_packed` from the rows' states below the last ``blocks``, which `keep_states` made.

    Args:
        ids: those states of each row, ``(tokens, hidden)``; where ``blocks`` is 0, ``(scored, hidden)``.
    """
    trunk: Any = model.base_model
    device = next(model.parameters()).device
    lengths = np.array([len(row) for row in ids])
    states = torch.from_numpy(np.concatenate(list(ids))).to(device)
    at = places(lengths, scored, device)
    if not blocks:
        return trunk.ln_f(states[at])  # type: ignore[no-any-return]
    layout = arranged(lengths, device)
    top = trunk.h[len(trunk.h) - blocks :]
    with packing(model), fast_kernels(model):
        if 0 < len(at) <= FEW * len(states):
            return gpt2_at(trunk, states[None], top, layout, Queries.of(scored, at, layout))
        hidden = states[None]
        for block in top:
            hidden = block(hidden, packed_layout=layout)
        return trunk.ln_f(hidden)[0, at]  # type: ignore[no-any-return]


def _below(model: Any, ids: Sequence[np.ndarray], blocks: int) -> Tensor:
    """States of the rows before the last ``blocks``, one row after the other, ``(1, tokens, hidden)``."""
    trunk, device = model.base_model, next(model.parameters()).device
    lengths = np.array([len(row) for row in ids])
    layout = arranged(lengths, device)
    tokens = torch.from_numpy(np.concatenate(list(ids)).astype(np.int64)).to(device)
    positions = torch.from_numpy(layout.positions).to(device)
    with torch.inference_mode(), packing(model), fast_kernels(model):
        hidden = gpt2_embedded(trunk, tokens, positions)
        for block in trunk.h[: len(trunk.h) - blocks]:
            hidden = block(hidden, packed_layout=layout)
    return hidden


def _pieces(lengths: np.ndarray, most: int) -> Iterator[range]:
    """All rows in order, in pieces of at most so many tokens, or of one row."""
    start, total = 0, 0
    for row, length in enumerate(lengths.tolist()):
        if row > start and total + length > most:
            yield range(start, row)
            start, total = row, 0
        total += length
    if len(lengths):
        yield range(start, len(lengths))
