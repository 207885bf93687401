"""Causal attention of rows that stand side by side, by whichever routine is the fastest.

In bfloat16 on CPUs the backward pass of torch's fused attention is slower than in float32. Plain products of a few
rows at a time, whose weights stay in the processor's cache, are faster than either (benchmarks/LOG.md).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gpt_magic.engine.kernels import in_bf16

# Tokens of the longest row up to which the weights of all pairs are kept for the backward pass, not computed again.
KEPT = 256

# Queries at a time, which do not meet the keys behind the last of them; and weights at a time, 2 MiB in bfloat16.
_QUERIES, _WEIGHTS = 256, 1 << 20


def attention(
    query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float | None, seen: Tensor | None = None
) -> Tensor:
    """Attention within rows.

    Args:
        query, key, value: ``(rows, heads, tokens, head size)``; there may be fewer queries, with ``seen``.
        dropout: share of the weights that are set to 0.
        scaling: of the products of queries and keys; None for 1 / sqrt(head size).
        seen: which keys each query sees, ``(rows, 1, queries, tokens)``; None for all up to its own.

    Returns:
        ``(rows, heads, queries, head size)``.
    """
    kept = key.shape[2] <= KEPT
    if in_bf16(query.device) and seen is None and not dropout and (kept or query.dtype == torch.bfloat16):
        return causal(query, key, value, scaling)
    if in_bf16(query.device) and kept:
        return plain(query, key, value, dropout, scaling, seen)
    own = seen is None
    return nn.functional.scaled_dot_product_attention(query, key, value, seen, dropout, own, scale=scaling)


def plain(
    query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float | None, seen: Tensor | None = None
) -> Tensor:
    """`attention` as three plain operations, which keep the weights of all pairs of tokens."""
    if seen is None:
        unseen = _unseen(query.shape[2], query.dtype)
    else:
        unseen = torch.zeros(seen.shape, dtype=query.dtype).masked_fill_(~seen, float("-inf"))
        unseen = unseen.expand(*query.shape[:2], -1, -1).flatten(0, 1)
    q, k, v = (part.flatten(0, 1) for part in (query, key, value))
    shares = _shares(q, k, unseen, _scale(query, scaling))
    return torch.bmm(nn.functional.dropout(shares, dropout, dropout > 0), v).view(query.shape)


def causal(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """`attention` of every token to all up to its own, a few rows and `_QUERIES` queries at a time."""
    out: Tensor = _Causal.apply(query, key, value, _scale(query, scaling))  # type: ignore[no-untyped-call]
    return out


def _scale(query: Tensor, scaling: float | None) -> float:
    return query.shape[-1] ** -0.5 if scaling is None else scaling


class _Causal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.scale, ctx.shape = scale, query.shape
        q, k, v = (part.flatten(0, 1) for part in (query, key, value))
        ctx.unseen = _unseen(query.shape[2], query.dtype)
        out, kept = torch.empty_like(q), []
        for rows, queries, keys in _pieces(query.shape):
            shares = _shares(q[rows, queries], k[rows, keys], ctx.unseen[queries, keys], scale)
            torch.bmm(shares, v[rows, keys], out=out[rows, queries])
            if query.shape[2] <= KEPT and any(ctx.needs_input_grad):
                kept.append(shares)
        ctx.save_for_backward(q, k, v, *kept)
        return out.view(query.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *kept = ctx.saved_tensors
        grad, scale, tokens = grad.flatten(0, 1), ctx.scale, ctx.shape[2]
        for_q, for_k, for_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for number, (rows, queries, keys) in enumerate(_pieces(ctx.shape)):
            asks, sees, back = q[rows, queries], k[rows, keys], grad[rows, queries]
            shares = kept[number] if kept else _shares(asks, sees, ctx.unseen[queries, keys], scale)
            of_shares = torch.bmm(back, v[rows, keys].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            torch.bmm(of_scores, sees, out=for_q[rows, queries])
            # The first piece of some rows sees all their tokens; what the others give is added to it.
            beta = 0 if keys.stop == tokens else 1
            for_v[rows, keys].baddbmm_(shares.transpose(1, 2), back, beta=beta)
            for_k[rows, keys].baddbmm_(of_scores.transpose(1, 2), asks, beta=beta, alpha=scale)
        return for_q.mul_(scale).view(ctx.shape), for_k.view(ctx.shape), for_v.view(ctx.shape), None


def _pieces(shape: torch.Size) -> Iterator[tuple[slice, slice, slice]]:
    """What is computed at a time of ``(rows, heads, tokens, head size)``: rows times heads, queries, keys."""
    rows, heads, tokens, _ = shape
    at_once = heads * max(_WEIGHTS // (heads * min(tokens, _QUERIES) * tokens), 1)
    for first in range(0, rows * heads, at_once):
        for end in range(tokens, 0, -_QUERIES):
            yield slice(first, first + at_once), slice(max(end - _QUERIES, 0), end), slice(0, end)


def _unseen(tokens: int, kind: torch.dtype) -> Tensor:
    """Minus infinity where a query, ``(queries, keys)``, does not see a key, else 0."""
    return torch.full((tokens, tokens), float("-inf"), dtype=kind).triu_(1)


def _shares(query: Tensor, key: Tensor, unseen: Tensor, scale: float) -> Tensor:
    """How much of each key every query takes: ``(rows times heads, queries, keys)``."""
    return torch.baddbmm(unseen, query, key.transpose(1, 2), alpha=scale).softmax(-1)
