"""The same modules computed by faster routines: the numbers differ by rounding alone.

Which routines are used depends on the machine and not on a timing, so a run can be repeated to the bit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def fast_kernels(model: nn.Module) -> Iterator[None]:
    """Let ``model`` compute with the fastest routines here; its modules are as they were afterwards.

    Backward passes of what was computed within it may come later.
    """
    swapped = []
    for module in model.modules():
        forward = _faster(module)
        if forward is not None and "forward" not in vars(module):  # else somebody has swapped it already
            module.forward = forward
            swapped.append(module)
    try:
        yield
    finally:
        for module in swapped:
            vars(module).pop("forward", None)


def _faster(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """What to compute instead of ``module``'s own forward, if anything."""
    new_gelu, conv1d = _transformers_types()
    kind = type(module)  # not isinstance: a subclass may compute something else
    if kind is new_gelu:
        return partial(nn.functional.gelu, approximate="tanh")
    if kind is not conv1d and kind is not nn.Linear:
        return None
    weight: Any = module.weight
    if not onednn_is_faster() or weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    if torch.is_autocast_enabled("cpu"):
        return None
    if kind is conv1d:
        return lambda x: product(x, module.weight, module.bias)  # type: ignore[arg-type]
    return lambda x: product(x, module.weight.t(), module.bias)  # type: ignore[operator, arg-type]


@cache
def _transformers_types() -> tuple[type, type]:
    from transformers.activations import NewGELUActivation
    from transformers.pytorch_utils import Conv1D

    return NewGELUActivation, Conv1D


@cache
def onednn_is_faster() -> bool:
    """Whether to compute float32 products by oneDNN and not by MKL, which torch takes for them.

    MKL leaves the AVX-512 units of AMD's processors unused (benchmarks/LOG.md); elsewhere torch's choice stands.
    """
    cpu = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return mkl and "AMD" in str(cpu.get("cpu_name")) and bool(cpu.get("avx512_f")) and has_onednn()


@cache
def has_onednn() -> bool:
    """Whether this torch has oneDNN's linear layer in the form that is used here."""
    with torch.inference_mode():
        x, weight = torch.linspace(-1, 1, 12).view(4, 3), torch.linspace(2, 3, 6).view(2, 3)
        try:
            return torch.allclose(_onednn(x, weight), x @ weight.t(), atol=1e-5)
        except (AttributeError, RuntimeError):  # it is not public, and may change
            return False


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight + bias`` in float32 by oneDNN, with gradients.

    Args:
        x: ``(..., in)``.
        weight: ``(in, out)``, in any memory order.
        bias: ``(out,)``.

    Returns:
        ``(..., out)``.
    """
    out: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], weight.shape[1])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight.t(), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _onednn(grad, weight) if for_x else None,
            _onednn(x.t(), grad.t()) if for_weight else None,
            grad.sum(0) if for_bias else None,
        )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``: the linear layer that torch's own compiler puts in for a constant weight."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out
