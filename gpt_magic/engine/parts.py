"""Which parts of a model are trained: all, the last blocks, the head alone; the rest is frozen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gpt_magic.errors import ModelError, OptionError, plural


@dataclass(frozen=True)
class Part:
    """What is trained.

    Attributes:
        kind: ``all``, ``lora``, ``top`` or ``head``.
        blocks: of ``top``, how many of the last blocks.
    """

    kind: str = "all"
    blocks: int = 0

    @property
    def freezes(self) -> bool:
        """Whether there is a frozen trunk under it, which makes the same of a row every time."""
        return self.kind in ("top", "head")


def parse(train: str) -> Part:
    """What the option ``train`` says: ``all``, ``lora``, ``head`` or ``top:k``."""
    kind, _, blocks = train.partition(":")
    return Part(kind, int(blocks or 0))


def freeze(model: Any, part: Part) -> list[nn.Module]:
    """Leave of ``model`` only ``part`` to be trained: its blocks, the last norm and the head.

    The last norm's bias is the only bias that GPT-2's heads for labels have, and costs nothing to train. A language
    model's head that shares its matrix with the embedding stays as it is: the frozen blocks read that matrix.

    Returns:
        The frozen modules of the trunk, which are to compute as in use, without dropout.

    Raises:
        OptionError: the model has fewer blocks, or nothing but the last norm would be left to train.
        ModelError: the family has no list of blocks that is known here.
    """
    blocks, after = blocks_of(model)
    if part.blocks > len(blocks):
        raise OptionError(
            f"train = 'top:{part.blocks}': the model has {plural(len(blocks), 'block')}; say top:1 to top:{len(blocks)}"
        )
    heads = head_of(model)
    if part.kind == "head" and not heads:
        raise OptionError(
            "train = 'head': this head shares its matrix with the embedding, which stays as it is, so nothing would be "
            "learned; say train = 'top:1' or 'lora'"
        )
    top = list(blocks[len(blocks) - part.blocks :])
    model.requires_grad_(requires_grad=False)
    for module in (*top, *after, *heads):
        module.requires_grad_(requires_grad=True)
    frozen = []
    for module in model.base_model.children():
        frozen += [b for b in blocks if b not in top] if module is blocks else [] if module in after else [module]
    return frozen


def thaw(model: nn.Module) -> None:
    """Let all be trained again, as in a model that was just loaded."""
    model.requires_grad_(requires_grad=True)


def blocks_of(model: Any) -> tuple[nn.ModuleList, list[nn.Module]]:
    """The trunk's blocks, and its modules with weights behind them: the last norm.

    Raises:
        ModelError: the family has no list of blocks that is known here.
    """
    children = list(model.base_model.children())
    for place, module in enumerate(children):
        if isinstance(module, nn.ModuleList):
            return module, [other for other in children[place + 1 :] if next(other.parameters(), None) is not None]
    raise ModelError(
        f"the blocks of the family {model.config.model_type} are not known here: say train = 'all' or 'lora'"
    )


def head_of(model: Any) -> list[nn.Module]:
    """The modules outside of the trunk that have weights of their own."""
    within = {id(weight) for weight in model.base_model.parameters()}
    outside = [module for module in model.children() if module is not model.base_model]
    return [module for module in outside if {id(weight) for weight in module.parameters()} - within]


def trained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and weights of what is trained; a matrix that is used twice comes once."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def put_back(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give what is trained the values that it had, by the names of `trained`.

    Raises:
        LookupError, RuntimeError: they are another model's.
    """
    with torch.no_grad():
        for name, weight in trained(model):
            weight.copy_(weights[name])


def count(model: nn.Module) -> tuple[int, int]:
    """How many parameters are trained, and how many there are."""
    return sum(weight.numel() for _, weight in trained(model)), sum(weight.numel() for weight in model.parameters())
