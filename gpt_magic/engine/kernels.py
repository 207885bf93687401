"""The same modules computed by faster routines: the numbers differ by rounding alone.

Which routines are used depends on the machine and not on a timing, so a run can be repeated to the bit.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from gpt_magic.engine.layout import next_multiple, rounded

# Rows of a product in bfloat16: so many numbers an octave, all of them multiples of what the processor takes at once.
_SIZES, FEWEST = 16, 16

FEW = range(4, 65)  # rows of a product that is few: the tokens that a batch of texts gets at once in writing

_IN_BF16: ContextVar[bool] = ContextVar("products in bf16", default=False)


@contextmanager
def bf16_products() -> Iterator[None]:
    """Within it `fast_kernels` computes a model's products in bfloat16, on CPUs; nothing else becomes less exact.

    Weights, their gradients, the residual stream, norms and losses stay in float32. torch's own autocast does the same
    and is slower on CPUs (benchmarks/LOG.md).
    """
    before = _IN_BF16.set(True)
    try:
        yield
    finally:
        _IN_BF16.reset(before)


def in_bf16(device: torch.device) -> bool:
    """Whether products on ``device`` are computed in bfloat16 by the routines here."""
    return _IN_BF16.get() and device.type == "cpu"


@contextmanager
def fast_kernels(model: nn.Module) -> Iterator[None]:
    """Let ``model`` compute with the fastest routines here; its modules are as they were afterwards.

    Backward passes of what was computed within it may come later.
    """
    swapped = []
    trunk: Any = getattr(model, "base_model", model)
    blocks = set(trunk.modules())
    # Attention of other families mixes types that only autocast would bring together.
    stays = getattr(getattr(trunk, "config", None), "model_type", "") == "gpt2"
    for module in model.modules():
        forward = _faster(module, module in blocks, stays)
        if forward is not None and "forward" not in vars(module):  # else somebody has swapped it already
            module.forward = forward
            swapped.append(module)
    try:
        yield
    finally:
        for module in swapped:
            vars(module).pop("forward", None)


def _faster(module: nn.Module, in_trunk: bool, stays: bool) -> Callable[[Tensor], Tensor] | None:
    """What to compute instead of ``module``'s own forward, if anything; results in bfloat16 may stay so."""
    new_gelu, conv1d = _transformers_types()
    kind = type(module)  # not isinstance: a subclass may compute something else
    if kind is new_gelu:
        return partial(nn.functional.gelu, approximate="tanh")
    if kind is not conv1d and kind is not nn.Linear:
        return None
    weight: Any = module.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return None
    if in_bf16(weight.device):
        # Logits of GPT-2 are around -100, where bfloat16 has steps of a half: the head's are computed in float32.
        how = partial(bf16_product, stays=stays) if in_trunk else bf16_gradients
    elif onednn_is_faster() or (kind is nn.Linear and onednn_is_faster_for_few()):
        how = product
    else:
        return None
    if kind is conv1d:
        return lambda x: how(x, module.weight, module.bias)  # type: ignore[arg-type]
    return lambda x: how(x, module.weight.t(), module.bias)  # type: ignore[operator, arg-type]


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
    return "AMD" in str(_processor().get("cpu_name")) and onednn_is_faster_for_few()


@cache
def onednn_is_faster_for_few() -> bool:
    """Whether to compute products of `FEW` rows with a weight that lies as ``(out, in)`` by oneDNN.

    Up to twice as fast as MKL on an Intel processor with AVX-512 (benchmarks/LOG.md).
    """
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return mkl and bool(_processor().get("avx512_f")) and has_onednn()


def _processor() -> Mapping[str, Any]:
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


@cache
def has_onednn() -> bool:
    """Whether this torch has oneDNN's linear layer in the form that is used here."""
    # The first to ask may be a rehearsal, whose tensors have no numbers (engine/rehearsal.py): this is computed apart.
    with _disable_current_modes(), torch.inference_mode():
        x = torch.linspace(-1, 1, 12, device="cpu").view(4, 3)
        weight = torch.linspace(2, 3, 6, device="cpu").view(2, 3)
        try:
            return torch.allclose(_onednn(x, weight), x @ weight.t(), atol=1e-5)
        except (AttributeError, RuntimeError):  # it is not public, and may change
            return False


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight + bias`` in float32, by oneDNN where that is faster; gradients too where it always is.

    Args:
        x: ``(..., in)``.
        weight: ``(in, out)``, in any memory order.
        bias: ``(out,)``.

    Returns:
        ``(..., out)``.
    """
    rows = x.reshape(-1, x.shape[-1])
    if not torch.is_grad_enabled():
        out = _without_gradients(rows, weight, bias)
    elif onednn_is_faster():
        out = _Product.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    else:
        out = nn.functional.linear(rows, weight.t(), bias)
    return out.view(*x.shape[:-1], weight.shape[1])


def _without_gradients(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = len(x)
    if onednn_is_faster():
        by_onednn = rows > 1  # a token after the other, as in writing: there torch's own choice is the faster one
    else:
        by_onednn = rows in FEW and onednn_is_faster_for_few() and weight.t().is_contiguous()
    return (_onednn if by_onednn else nn.functional.linear)(x, weight.t(), bias)


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


def bf16_product(x: Tensor, weight: Tensor, bias: Tensor | None = None, stays: bool = True) -> Tensor:
    """``x @ weight + bias`` in bfloat16; gradients are in the type of what they are of.

    Args:
        x: ``(..., in)``, float32 or bfloat16.
        weight: ``(in, out)``, float32, in any memory order.
        bias: ``(out,)``, float32.
        stays: whether the result stays in bfloat16, else it is given in float32.

    Returns:
        ``(..., out)``.
    """
    out: Tensor = _Bf16Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return (out if stays else out.float()).view(*x.shape[:-1], weight.shape[1])


def bf16_gradients(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight + bias`` in float32, of which the gradients are computed in bfloat16; see `bf16_product`."""
    out: Tensor = _Bf16Gradients.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], weight.shape[1])


class _Bf16Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.kind, ctx.rows = x.dtype, len(x)
        x, weight = _filled_up(x), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        out = x @ weight if bias is None else torch.addmm(bias.bfloat16(), x, weight)
        return out[: ctx.rows]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = _filled_up(grad)
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            (grad @ weight.t())[: ctx.rows].to(ctx.kind) if for_x else None,
            (x.t() @ grad).float() if for_weight else None,
            grad.sum(0).float() if for_bias else None,
        )


class _Bf16Gradients(_Bf16Product):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.kind, ctx.rows = x.dtype, len(x)
        ctx.save_for_backward(_filled_up(x), weight.bfloat16())
        return _without_gradients(x, weight, bias)


def _filled_up(x: Tensor) -> Tensor:
    """``x``, ``(rows, width)``, in bfloat16, with rows of zeros up to the next of a few numbers.

    For a product of a size that it has not seen lately oneDNN compiles a kernel, which takes longer than the product;
    the tokens of a step are hardly ever as many as those of another.
    """
    rows = len(x)
    size = max(rounded(rows, _SIZES), next_multiple(rows, FEWEST))
    if size == rows:
        return x.bfloat16()
    out = x.new_empty(size, x.shape[1], dtype=torch.bfloat16)
    out[:rows] = x
    out[rows:] = 0
    return out
