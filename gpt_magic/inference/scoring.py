"""Texts through a trained model in packed rows, in the order they came."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import forward_passes, windows
from gpt_magic.engine.loop import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.ragged import lengths

_ROWS_A_PASS = 256
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
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            passes = (
                rows for window in windows(len(ids), _WINDOW) for rows in forward_passes(window, tokens, _ROWS_A_PASS)
            )
            for rows in passes:
                check()
                last = list(tokens[rows, None] - 1)
                part = head(model, hidden(model, [ids[r] for r in rows], last)).float().cpu().numpy()
                if out is None:
                    out = np.empty((len(ids), part.shape[1]), dtype=np.float32)
                out[rows] = part
    finally:
        model.train(training)
    if out is None:
        raise ValueError("no rows to score")
    return out
