"""Numbers that are folded into a model's head, so that plain transformers computes with them too."""

from typing import Any

import torch


def scale_output(model: Any, factor: float) -> None:
    """Let the head ``score`` give ``factor`` times what it gave, in place."""
    with torch.no_grad():
        for parameter in model.score.parameters():
            parameter.mul_(factor)


def can_shift(model: Any) -> bool:
    """Whether `shift_output` can be used: the trunk ends with a layer norm that has a bias, as GPT-2's does."""
    return _last_bias(model) is not None


def shift_output(model: Any, amount: float) -> None:
    """Let the head ``score``, of one output and without a bias of its own, give ``amount`` more, in place.

    The bias of the trunk's last layer norm moves along the head's weights w by amount * w / |w|², which the head turns
    into just ``amount``, whatever the text.
    """
    weight, bias = model.score.weight[0], _last_bias(model)
    with torch.no_grad():
        exact = (weight if weight.is_meta else weight.cpu()).double()  # which Apple's GPUs do not have
        bias.add_((amount * exact / exact.square().sum()).to(bias.dtype).to(bias.device))


def _last_bias(model: Any) -> Any:
    norms = (getattr(model.base_model, name, None) for name in ("ln_f", "final_layer_norm"))
    biases = (getattr(norm, "bias", None) for norm in norms)
    return next((bias for bias in biases if bias is not None), None)
