"""Gradient checkpointing (Chen et al. 2016): blocks keep their inputs alone and are computed again backward.

A pass then takes the memory of one block and not of all, and about a third more time; its gradients, and with
dropout its random numbers, are the same.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from gpt_magic.engine.kernels import bf16_products, fast_kernels, in_bf16


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """Let forward passes of ``model`` keep the inputs of its blocks alone; their backward passes may come later."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    ours = {"gradient_checkpointing": True, "_gradient_checkpointing_func": partial(_again_backward, model)}
    before = [{name: own for name, own in vars(block).items() if name in ours} for block in blocks]
    for block in blocks:
        vars(block).update(ours)
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            for name in ours:
                del vars(block)[name]
            vars(block).update(own)


def _again_backward(model: Any, function: Callable[..., Any], *inputs: Any) -> Any:
    """``function(*inputs)``, computed again for its gradients just as it is computed now."""
    attention = model.config._attn_implementation
    products = bf16_products if in_bf16(model.device) else nullcontext
    return checkpoint(
        function,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _as_it_was(model, attention, products)),
    )


@contextmanager
def _as_it_was(model: Any, attention: str, products: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """The attention and the kernels of the forward pass, which has put them back by the time of the backward pass."""
    before, model.config._attn_implementation = model.config._attn_implementation, attention
    try:
        with products(), fast_kernels(model):
            yield
    finally:
        model.config._attn_implementation = before
