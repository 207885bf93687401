"""Texts through a trained model in packed rows, in the order they came."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import forward_passes, windows
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.ragged import lengths
from gpt_magic.engine.splitting import in_passes

ROWS_A_PASS = 256
_WINDOW = 16_384  # rows among which those of like lengths are looked for


def score_last(
    model: nn.Module,
    ids: Sequence[np.ndarray],
    head: Callable[[nn.Module, Tensor], Tensor],
    hidden: Hidden = hidden_packed,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Apply ``head`` to the last hidden state of every row.

    Args:
        model: the model; its training mode is put back afterwards.
        ids: token ids of each row, none longer than the model reads.
        head: hidden states ``(rows, hidden)`` to outputs ``(rows, outputs)``.
        hidden: packed or padded forward.
        check: called before each forward pass; may raise to end the work.

    Returns:
        Outputs in float32, ``(rows, outputs)``, in the order of ``ids``.
    """
    tokens = lengths(ids)
    out: np.ndarray | None = None
    for rows, part in _outputs(model, ids, lambda rows: list(tokens[rows, None] - 1), head, hidden, check):
        if out is None:
            out = np.empty((len(ids), part.shape[1]), dtype=np.float32)
        out[rows] = part
    if out is None:
        raise ValueError("no rows to score")
    return out


def score_at(
    model: nn.Module,
    ids: Sequence[np.ndarray],
    scored: Sequence[np.ndarray],
    head: Callable[[nn.Module, Tensor], Tensor],
    hidden: Hidden = hidden_packed,
    check: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """Apply ``head`` to the hidden states at some positions of every row; see `score_last`.

    Args:
        scored: the positions, ``(scored,)`` each, ascending.

    Returns:
        Outputs in float32 of each row, ``(scored, outputs)``, in the order of ``ids``.
    """
    out: list[np.ndarray] = [np.empty(0)] * len(ids)
    for rows, part in _outputs(model, ids, lambda rows: [scored[row] for row in rows], head, hidden, check):
        ends = np.cumsum([len(scored[row]) for row in rows])
        for row, outputs in zip(rows, np.split(part, ends[:-1]), strict=True):
            out[row] = outputs
    return out


def _outputs(
    model: nn.Module,
    ids: Sequence[np.ndarray],
    at: Callable[[list[int]], list[np.ndarray]],
    head: Callable[[nn.Module, Tensor], Tensor],
    hidden: Hidden,
    check: Callable[[], None],
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Numbers of rows, and the outputs at the positions ``at`` of each, one after another, ``(scored, outputs)``."""
    tokens = lengths(ids)
    passes = (rows for window in windows(len(ids), _WINDOW) for rows in forward_passes(window, tokens, ROWS_A_PASS))

    def read(rows: list[int]) -> np.ndarray:
        with torch.inference_mode():
            out: np.ndarray = head(model, hidden(model, [ids[row] for row in rows], at(rows))).float().cpu().numpy()
        return out

    training = model.training
    model.eval()
    try:
        yield from in_passes(model, passes, tokens, read, check)
    finally:
        model.train(training)
