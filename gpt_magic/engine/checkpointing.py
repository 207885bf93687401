"""Gradient checkpointing (Chen et al. 2016): blocks keep their inputs alone and are computed again backward.

A pass then takes the memory of one block and not of all, and about a third more time; its gradients, and with
dropout its random numbers, are the same.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

from gpt_magic.engine.kernels import bf16_products, fast_kernels, in_bf16
from gpt_magic.engine.parts import blocks_of
from gpt_magic.errors import ModelError


@contextmanager
def checkpointed(model: Any) -> Iterator[None]:
    """Let forward passes of ``model`` keep the inputs of its blocks alone; their backward passes may come later.

    Raises:
        ModelError: the family has no blocks that are known here.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    again = partial(_again_backward, model)
    ours = {"gradient_checkpointing": True, "_gradient_checkpointing_func": again}
    changed = [(module, ours) for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not changed:  # as with the original GPT, of which transformers does not know how
        changed = [(block, {"forward": partial(again, block.forward)}) for block in _blocks(model)]
    before = [{name: own for name, own in vars(block).items() if name in new} for block, new in changed]
    for block, new in changed:
        vars(block).update(new)
    try:
        yield
    finally:
        for (block, new), own in zip(changed, before, strict=True):
            for name in new:
                del vars(block)[name]
            vars(block).update(own)


def _blocks(model: Any) -> Iterable[Any]:
    try:
        return blocks_of(model)[0]
    except ModelError:
        family = model.config.model_type
        why = f"the blocks of the family {family} are not known here, so they cannot be computed twice"
        raise ModelError(f"{why}: say checkpointing = 'off'") from None


def _again_backward(model: Any, function: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """``function(*inputs, **named)``, computed again for its gradients just as it is computed now."""
    attention = model.config._attn_implementation
    products = bf16_products if in_bf16(model.device) else nullcontext
    return checkpoint(
        function,
        *inputs,
        **named,
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
