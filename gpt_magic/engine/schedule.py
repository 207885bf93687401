"""The optimizer and how its learning rate moves."""

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gpt_magic.engine.muon import Muon
from gpt_magic.engine.parts import Part

_GPT2_RATE, _GPT2_PARAMETERS = 5e-5, 124e6  # what transformers uses at the size of GPT-2 small
_LOWEST, _HIGHEST = 2e-5, 1e-3
_ALL = Part()
_TIMES = {"lora": 3.0, "head": 10.0}  # the rate of all of the model, of which the last blocks take as much


def default_learning_rate(parameters: int, pretrained: bool, part: Part = _ALL) -> tuple[float, str]:
    """A usual peak learning rate for AdamW, and the reason in words.

    It falls with the number of parameters, from the two ends that are known: 5e-5 for GPT-2 small, as in
    transformers' defaults, and 1e-3 for 7 million parameters, as measured (benchmarks/LOG.md). Small matrices and heads
    alone take more.
    """
    if not pretrained:
        return _HIGHEST, "default from random weights"
    rate = min(max(_GPT2_RATE * _GPT2_PARAMETERS / parameters, _LOWEST), _HIGHEST) * _TIMES.get(part.kind, 1.0)
    said = f"default for {parameters / 1e6:,.0f} M parameters"
    return float(f"{rate:.0e}"), f"{said}, times {_TIMES[part.kind]:g} for {part.kind}" if part.kind in _TIMES else said


def build_optimizer(name: str, model: nn.Module, learning_rate: float, weight_decay: float) -> Optimizer:
    """``adamw`` or ``muon``.

    AdamW (Loshchilov & Hutter 2019) has two groups: matrices and embeddings decay, biases and norms do not.
    """
    if name == "muon":
        return Muon(model, learning_rate, weight_decay)
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate, fused=True)


def build_scheduler(optimizer: Optimizer, schedule: str, warmup: float, steps: int) -> LRScheduler:
    """transformers' own schedules; ``warmup`` below 1 is a share of ``steps``, else a count."""
    from transformers import get_scheduler

    name = "constant_with_warmup" if schedule == "constant" else schedule
    scheduler: LRScheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup_steps(warmup, steps), num_training_steps=steps
    )
    return scheduler


def warmup_steps(warmup: float, steps: int) -> int:
    """Steps of warm-up: a share of ``steps`` when below 1, else a count; never all of the run."""
    count = int(warmup * steps) if warmup < 1 else int(warmup)
    return min(count, steps - 1)
