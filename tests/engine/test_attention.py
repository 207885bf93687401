"""Attention as plain products, a few rows at a time, against torch's own."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from gpt_magic.engine import attention
from gpt_magic.engine.attention import causal, plain
from gpt_magic.engine.kernels import bf16_products


def _parts(*shape: int, kind: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys, values and a gradient ``(rows, heads, tokens, size)``, in memory token by token."""
    rows, heads, tokens, size = shape
    return [torch.randn(rows, tokens, heads, size, dtype=kind).transpose(1, 2) for _ in range(4)]


def _with_gradients(way: Any, parts: list[Tensor], *how: Any, **named: Any) -> list[Tensor]:
    leaves = [part.clone().requires_grad_() for part in parts[:3]]
    out = way(*leaves, *how, **named)
    return [out.detach(), *torch.autograd.grad(out, leaves, parts[3])]


@given(
    rows=st.integers(1, 5),
    heads=st.integers(1, 3),
    tokens=st.integers(1, 40),
    queries=st.sampled_from([1, 3, 16, 64]),
    weights=st.sampled_from([1, 50, 1000, 1 << 20]),
    kept=st.sampled_from([0, 256]),
    scaling=st.sampled_from([None, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_causal_attention_is_torchs_own_however_it_is_cut(
    rows: int, heads: int, tokens: int, queries: int, weights: int, kept: int, scaling: float | None
) -> None:
    parts = _parts(rows, heads, tokens, 8)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attention, "_QUERIES", queries)
        patched.setattr(attention, "_WEIGHTS", weights)
        patched.setattr(attention, "KEPT", kept)
        ours = _with_gradients(causal, parts, scaling)
    theirs = _with_gradients(scaled_dot_product_attention, parts, is_causal=True, scale=scaling)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_long_rows_in_bf16_are_as_near_as_torchs_own() -> None:
    torch.manual_seed(0)
    exact = _parts(2, 4, 600, 16)
    right = _with_gradients(scaled_dot_product_attention, exact, is_causal=True)
    rounded = [part.bfloat16() for part in exact]
    ours = _with_gradients(causal, rounded, None)
    theirs = _with_gradients(scaled_dot_product_attention, rounded, is_causal=True)
    for one, other, value in zip(ours, theirs, right, strict=True):
        assert _off(one, value) < max(1.5 * _off(other, value), 8e-3)


def _off(near: Tensor, value: Tensor) -> float:
    return float((near.double() - value).norm() / value.norm())


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [64, 300])
def test_what_memory_held_before_does_not_matter(
    kind: torch.dtype, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "empty_like", lambda tensor: torch.full_like(tensor, float("nan")))
    for part in _with_gradients(causal, _parts(2, 2, tokens, 16, kind=kind), None):
        assert part.isfinite().all()


def test_of_long_rows_no_weights_are_kept() -> None:
    kept: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    for tokens in (attention.KEPT, attention.KEPT + 1):
        kept.clear()
        parts = [part.requires_grad_() for part in _parts(2, 1, tokens, 4)[:3]]
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            causal(*parts, None)
        assert (max(kept) >= tokens**2) == (tokens <= attention.KEPT)


@pytest.mark.parametrize(("kind", "tokens"), [(torch.bfloat16, 300), (torch.bfloat16, 9), (torch.float32, 300)])
def test_which_routine_is_taken(kind: torch.dtype, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows in float32, which other families have, stay with torch's own; so does all that is not in bf16."""
    taken: list[str] = []
    monkeypatch.setattr(attention, "causal", lambda query, *_: taken.append("causal") or query)
    parts = _parts(1, 2, tokens, 8, kind=kind)[:3]
    attention.attention(*parts, 0.0, None)
    assert taken == []
    with bf16_products():
        attention.attention(*parts, 0.0, None)
    assert taken == (["causal"] if kind == torch.bfloat16 else [])


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (3, 2, 17, 8)])
def test_plain_attention_is_torchs_own(shape: tuple[int, ...], scaling: float | None) -> None:
    parts = _parts(*shape)
    ours = _with_gradients(plain, parts, 0.0, scaling)
    theirs = _with_gradients(scaled_dot_product_attention, parts, is_causal=True, scale=scaling)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_plain_attention_of_few_queries_is_torchs_own() -> None:
    torch.manual_seed(0)
    seen = torch.arange(9) <= torch.tensor([[2, 8], [0, 5], [7, 7]])[:, None, :, None]
    leaves = [torch.randn(3, 4, tokens, 8).requires_grad_() for tokens in (2, 9, 9)]
    ours, theirs = plain(*leaves, 0.0, None, seen), scaled_dot_product_attention(*leaves, seen)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    back = torch.randn(3, 4, 2, 8)
    for one, other in zip(*(torch.autograd.grad(out, leaves, back) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_plain_attention_drops_out_as_torchs_own() -> None:
    q, k, v = torch.randn(3, 4, 2, 9, 8).unbind()
    torch.manual_seed(0)
    many = torch.stack([plain(q, k, v, 0.5, None) for _ in range(2000)])
    torch.testing.assert_close(many.mean(0), plain(q, k, v, 0.0, None), atol=0.15, rtol=0)
    assert many.std(0).mean() > 0.1
