"""Rows of different lengths through one forward pass without a token of padding.

The rows stand one after another in a single row whose ``position_ids`` restart at 0. Everything that works
token by token (embeddings, layer norms, matrix products, nearly all of the arithmetic) sees no padding. Only
inside attention, where tokens meet, are the rows laid out side by side again; there causality alone keeps the
filled-up ends from being seen. The result equals the padded forward up to rounding; `fits_packed` checks it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import Encoded

ATTENTION = "gpt_magic_packed"

# Families checked against padded forwards in the tests; others are checked when they are first used.
KNOWN = frozenset({"gpt2"})


class Layout:
    """Where every token of a packed row stands when the rows are laid side by side.

    Attributes:
        rows, longest: shape of the side-by-side layout.
        spread: for each of its ``rows * longest`` places the packed token that stands there (0 in filled-up ends).
        gather: for each packed token its place, ``(tokens,)``.
    """

    def __init__(self, lengths: np.ndarray, device: torch.device) -> None:
        self.rows, self.longest = len(lengths), int(lengths.max())
        row = np.repeat(np.arange(self.rows), lengths)
        self.positions = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = row * self.longest + self.positions
        spread = np.zeros(self.rows * self.longest, dtype=np.int64)
        spread[places] = np.arange(len(row))
        self.spread = torch.from_numpy(spread).to(device)
        self.gather = torch.from_numpy(places).to(device)


def packed_attention(
    module: nn.Module,  # noqa: ARG001  # transformers' attention interface
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed_layout: Layout | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a packed row; transformers' attention interface.

    Args:
        query, key, value: ``(1, heads, tokens, head size)``; keys and values may have fewer heads (grouped queries).

    Returns:
        The output ``(1, tokens, heads, head size)``, and no weights.

    Raises:
        ValueError: the model wants something of its attention that is not built here, such as a sliding window.
    """
    wanted = [name for name in ("sliding_window", "softcap", "s_aux") if other.get(name) is not None]
    if attention_mask is not None or packed_layout is None or wanted:
        raise ValueError(f"packed attention has no {wanted or 'masks'}")
    where = packed_layout

    def side_by_side(part: Tensor) -> Tensor:
        """``(1, heads, tokens, size)`` to ``(heads, rows, longest, size)``: all one to the kernel which axis leads."""
        laid = part[0].index_select(1, where.spread).view(part.shape[1], where.rows, where.longest, part.shape[3])
        groups = query.shape[1] // part.shape[1]
        return laid if groups == 1 else laid.repeat_interleave(groups, dim=0)

    out = nn.functional.scaled_dot_product_attention(
        side_by_side(query), side_by_side(key), side_by_side(value), dropout_p=dropout, is_causal=True, scale=scaling
    )
    return out.flatten(1, 2).index_select(1, where.gather).transpose(0, 1)[None], None


@contextmanager
def packing(model: nn.Module) -> Iterator[None]:
    """Let ``model`` compute packed rows; its own attention is put back afterwards."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    config: Any = model.config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def hidden_packed(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> Tensor:
    """Hidden states at the scored positions, all rows in one packed row.

    Args:
        model: a transformers model with a causal trunk at ``model.base_model``.
        ids: token ids of each row.
        scored: scored positions of each row.

    Returns:
        Hidden states, ``(scored positions of all rows, hidden)``, row by row.
    """
    device = next(model.parameters()).device
    lengths = np.array([len(row) for row in ids])
    starts = np.cumsum(lengths) - lengths
    layout = Layout(lengths, device)
    tokens = torch.from_numpy(np.concatenate(ids).astype(np.int64)).to(device)
    positions = torch.from_numpy(layout.positions).to(device)
    at = torch.from_numpy(np.concatenate([start + some for start, some in zip(starts, scored, strict=True)])).to(device)
    with packing(model):
        out = model.base_model(  # type: ignore[operator]
            input_ids=tokens[None], position_ids=positions[None], use_cache=False, packed_layout=layout
        )
    return out.last_hidden_state[0, at]  # type: ignore[no-any-return]


def hidden_padded(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> Tensor:
    """The same as `hidden_packed` by right padding, for families whose attention cannot be packed."""
    device = next(model.parameters()).device
    lengths = torch.tensor([len(row) for row in ids])
    tokens = nn.utils.rnn.pad_sequence([torch.from_numpy(row.astype(np.int64)) for row in ids], batch_first=True)
    mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]  # by length: a pad token may also be text
    out = model.base_model(  # type: ignore[operator]
        input_ids=tokens.to(device), attention_mask=mask.long().to(device), use_cache=False
    )
    rows = torch.from_numpy(np.repeat(np.arange(len(ids)), [len(some) for some in scored])).to(device)
    at = torch.from_numpy(np.concatenate(list(scored))).to(device)
    return out.last_hidden_state[rows, at]  # type: ignore[no-any-return]


def fits_packed(model: nn.Module, sample: Encoded, rows: int = 8) -> bool:
    """Whether packing is exact for this model: known, or verified on a few rows of ``sample``."""
    if getattr(model.config, "model_type", "") in KNOWN:
        return True
    if len(sample) < 2:
        return False
    ids, scored = sample.ids[:rows], sample.scored[:rows]
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            packed, padded = hidden_packed(model, ids, scored), hidden_padded(model, ids, scored)
    except (TypeError, ValueError, RuntimeError):  # a family that takes no position_ids, say
        return False
    finally:
        model.train(training)
    return bool(torch.allclose(packed, padded, rtol=1e-3, atol=1e-4))
