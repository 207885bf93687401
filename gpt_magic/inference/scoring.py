"""Texts through a trained model in packed rows, in the order they came."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import forward_passes
from gpt_magic.engine.loop import Hidden
from gpt_magic.engine.packing import hidden_packed

_ROWS_A_PASS = 256


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
    last = [np.array([len(row) - 1]) for row in ids]
    found = score_at(model, ids, last, head, hidden, check)
    if not found:
        raise ValueError("no rows to score")
    return np.concatenate(found)


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
    lengths = np.fromiter((len(row) for row in ids), dtype=np.int64, count=len(ids))
    out: list[np.ndarray] = [np.empty(0)] * len(ids)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for rows in forward_passes(range(len(ids)), lengths, _ROWS_A_PASS):
                check()
                states = hidden(model, [ids[r] for r in rows], [scored[r] for r in rows])
                part = head(model, states).float().cpu().numpy()
                ends = np.cumsum([len(scored[r]) for r in rows])
                for row, outputs in zip(rows, np.split(part, ends[:-1]), strict=True):
                    out[row] = outputs
    finally:
        model.train(training)
    return out
