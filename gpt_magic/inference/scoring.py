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
    lengths = np.fromiter((len(row) for row in ids), dtype=np.int64, count=len(ids))
    last = [np.array([length - 1]) for length in lengths]
    out: np.ndarray | None = None
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for rows in forward_passes(range(len(ids)), lengths, _ROWS_A_PASS):
                check()
                part = head(model, hidden(model, [ids[r] for r in rows], [last[r] for r in rows])).float().cpu().numpy()
                if out is None:
                    out = np.empty((len(ids), part.shape[1]), dtype=np.float32)
                out[rows] = part
    finally:
        model.train(training)
    if out is None:
        raise ValueError("no rows to score")
    return out
