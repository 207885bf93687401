"""Rows of different lengths through one forward pass without a token of padding.

The rows stand one after another in a single row whose ``position_ids`` restart at 0. Everything that works
token by token (embeddings, layer norms, matrix products, nearly all of the arithmetic) sees no padding. Only
inside attention, where tokens meet, are the rows laid out side by side again, those of like lengths together; there
causality alone keeps the filled-up ends from being seen. The result equals the padded forward up to rounding;
`fits_packed` checks it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.attention import attention
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.kernels import FEWEST, fast_kernels, in_bf16
from gpt_magic.engine.layout import Arrangement, Layout, Queries

ATTENTION = "gpt_magic_packed"

# Families checked against padded forwards in the tests; others are checked when they are first used.
KNOWN = frozenset({"gpt2"})

# The share of scored tokens up to which the last block is computed at these alone.
FEW = 0.75


def packed_attention(
    module: nn.Module,  # noqa: ARG001  # transformers' attention interface
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed_layout: Arrangement | None = None,
    packed_queries: Queries | None = None,
    packed_seen: Sequence[Tensor] | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a packed row; transformers' attention interface.

    Args:
        query, key, value: ``(1, heads, tokens, head size)``; keys and values may have fewer heads (grouped queries).
        packed_queries: the tokens whose output is wanted; None for all.
        packed_seen: for each group of rows which places each place sees, ``(rows, 1, longest, longest)``; None for all
            before it.

    Returns:
        The output ``(1, tokens or queries, heads, head size)``, and no weights.

    Raises:
        ValueError: the model wants something of its attention that is not built here, such as a sliding window.
    """
    wanted = [name for name in ("sliding_window", "softcap", "s_aux") if other.get(name) is not None]
    if attention_mask is not None or packed_layout is None or wanted:
        raise ValueError(f"packed attention has no {wanted or 'masks'}")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    asking: Arrangement = packed_layout
    seen: Sequence[Tensor | None] = packed_seen or [None] * len(packed_layout.shapes)
    if packed_queries is not None:
        asking, seen = packed_queries.layout, packed_queries.seen
        query = query.index_select(2, packed_queries.at)
    keys, values = packed_layout.side_by_side(key), packed_layout.side_by_side(value)
    out = []
    for q, k, v, mask in zip(asking.side_by_side(query), keys, values, seen, strict=True):
        out.append(attention(q, k, v, dropout, scaling, mask))
    return asking.one_after_another(out), None


@contextmanager
def packing(model: nn.Module) -> Iterator[None]:
    """Let ``model`` compute packed rows; its own attention is put back afterwards.

    Nor does it look for padding meanwhile: where the pad token is end-of-text it would warn about every text.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    config: Any = model.config
    before = config._attn_implementation, config.pad_token_id
    config._attn_implementation, config.pad_token_id = ATTENTION, None
    try:
        yield
    finally:
        config._attn_implementation, config.pad_token_id = before


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
    layout = arranged(lengths, device)
    tokens = torch.from_numpy(np.concatenate(ids).astype(np.int64)).to(device)
    positions = torch.from_numpy(layout.positions).to(device)
    at = places(lengths, scored, device)
    with packing(model), fast_kernels(model):
        if 0 < len(at) <= FEW * len(tokens) and is_gpt2(model):
            queries = Queries.of(scored, at, layout)
            trunk: Any = model.base_model
            return gpt2_at(trunk, gpt2_embedded(trunk, tokens, positions), trunk.h, layout, queries)
        out = model.base_model(  # type: ignore[operator]
            input_ids=tokens[None], position_ids=positions[None], use_cache=False, packed_layout=layout
        )
    return out.last_hidden_state[0, at]  # type: ignore[no-any-return]


def arranged(lengths: np.ndarray, device: torch.device) -> Layout:
    """How rows of such lengths are laid side by side in attention as it is computed now."""
    return Layout.cheapest(lengths, device, FEWEST if in_bf16(device) else 1)


def places(lengths: np.ndarray, scored: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Where the scored positions of rows of such lengths stand in a packed row, ``(scored positions of all rows,)``."""
    starts = np.cumsum(lengths) - lengths
    found = np.concatenate([start + some for start, some in zip(starts, scored, strict=True)])
    return torch.from_numpy(found).to(device)


def is_gpt2(model: nn.Module) -> bool:
    """Whether the trunk's forward is the one that is taken apart here."""
    from transformers import GPT2Model

    trunk: Any = model.base_model
    return type(trunk) is GPT2Model and not trunk.config.add_cross_attention


def gpt2_embedded(trunk: Any, tokens: Tensor, positions: Tensor) -> Tensor:
    """What the first block reads, ``(1, tokens, hidden)``, of a packed row, ``(tokens,)``."""
    return trunk.drop(trunk.wte(tokens[None]) + trunk.wpe(positions[None]))  # type: ignore[no-any-return]


def gpt2_at(trunk: Any, hidden: Tensor, blocks: Sequence[Any], layout: Arrangement, queries: Queries) -> Tensor:
    """Hidden states ``(queries, hidden)``; the last block, past its keys and values, computes nothing else.

    Args:
        hidden: what the first of ``blocks`` reads, ``(1, tokens, hidden)``.
        blocks: the trunk's last, or all.
    """
    for block in blocks[:-1]:
        hidden = block(hidden, packed_layout=layout)
    last = blocks[-1]
    # With dropout it draws fewer random numbers than the whole block would: repeatable, but another run.
    attended, _ = last.attn(last.ln_1(hidden), packed_layout=layout, packed_queries=queries)
    hidden = attended[0] + hidden[0, queries.at]
    return trunk.ln_f(hidden + last.mlp(last.ln_2(hidden)))  # type: ignore[no-any-return]


def hidden_padded(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> Tensor:
    """The same as `hidden_packed` by right padding, for families whose attention cannot be packed."""
    device = next(model.parameters()).device
    lengths = torch.tensor([len(row) for row in ids])
    tokens = nn.utils.rnn.pad_sequence([torch.from_numpy(row.astype(np.int64)) for row in ids], batch_first=True)
    mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]  # by length: a pad token may also be text
    with fast_kernels(model):
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
