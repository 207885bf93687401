"""LoRA by peft: small matrices beside a model's large ones (Hu et al. 2021, arXiv 2106.09685), which stay as they are.

The layers are put into the model itself, through the interface that transformers has for adapters: it stays one of its
models, in which the packed path finds what it knows, and its ``save_pretrained`` writes the adapter as peft reads it.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from gpt_magic.engine.parts import blocks_of, head_of
from gpt_magic.errors import ModelError, OptionError, listing, nearest

_NAME = "default"  # of the adapter, as peft calls the only one


@dataclass(frozen=True)
class Lora:
    """What the small matrices are like.

    Attributes:
        rank: columns of the one and rows of the other.
        alpha: their product counts alpha / rank.
        dropout: of what they read.
        targets: names of the layers that get them; None for all in the blocks.
    """

    rank: int
    alpha: int
    dropout: float
    targets: Sequence[str] | None = None


def check_peft() -> None:
    """Raise a `ModelError` with the install command where peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise ModelError("train = 'lora' needs the package peft, which is not installed: pip install peft")


def add_adapter(model: Any, lora: Lora, base: str | None = None) -> None:
    """Put new small matrices, from torch's current seed, into ``model``; only they are left to be trained.

    A head of its own, and the last norm with it (see `parts.freeze`), is trained too and saved with the adapter.

    Args:
        base: where peft finds the model without the adapter, a hub id or a folder.

    Raises:
        OptionError: the model has no layers of the names in ``lora.targets``.
        ModelError: peft is not installed, or the family has no list of blocks that is known here.
    """
    check_peft()
    from peft import LoraConfig

    layers = large_layers(model)
    targets = list(lora.targets) if lora.targets is not None else list(layers)
    unknown = [name for name in targets if name not in layers]
    if unknown or not targets:
        what = f"no layer {unknown[0]!r} in the blocks{nearest(unknown[0], layers)}" if unknown else "no layer is named"
        raise OptionError(f"lora_targets = {targets}: {what}; there are {listing(layers)}")
    heads = head_of(model)
    also = [*heads, *blocks_of(model)[1]] if heads else []
    names = {module: name for name, module in model.named_modules()}
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(targets),
        fan_in_fan_out=all(layers[name] for name in targets),
        modules_to_save=[names[module] for module in also] or None,
        task_type=_kind(model),
    )
    model.add_adapter(config, _NAME)
    model.peft_config[_NAME].base_model_name_or_path = base


def merge_adapter(model: Any) -> None:
    """Add the small matrices' products to the large ones, and leave nothing of peft in ``model``."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
                setattr(parent, name, module.get_base_layer())
            elif isinstance(module, ModulesToSaveWrapper):
                setattr(parent, name, module.modules_to_save[_NAME])
    del model.peft_config
    del model._hf_peft_config_loaded
    model.requires_grad_(requires_grad=True)


def adapted(model: Any) -> bool:
    """Whether there is an adapter in ``model``."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def base_of(model: Any) -> str:
    """Where the model without the adapter in it is found: a hub id or a folder."""
    return str(model.peft_config[_NAME].base_model_name_or_path)


def large_layers(model: Any) -> dict[str, bool]:
    """Names of the layers in the blocks that multiply by a matrix, and whether it is stored as (in, out)."""
    from transformers.pytorch_utils import Conv1D

    blocks, _ = blocks_of(model)
    return {
        name.rpartition(".")[2]: isinstance(module, Conv1D)
        for name, module in blocks.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def _kind(model: Any) -> str | None:
    """What peft calls the task of a model, for its own classes that load an adapter."""
    kinds = {
        "ForSequenceClassification": "SEQ_CLS",
        "ForTokenClassification": "TOKEN_CLS",
        "ForQuestionAnswering": "QUESTION_ANS",
        "ForCausalLM": "CAUSAL_LM",
        "LMHeadModel": "CAUSAL_LM",
    }
    name = type(model).__name__
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), None)
