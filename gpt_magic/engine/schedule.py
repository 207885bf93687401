"""The optimizer and how its learning rate moves."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from gpt_magic.engine.job import Settings
from gpt_magic.engine.muon import Muon
from gpt_magic.engine.parts import Part

_GPT2_RATE, _GPT2_PARAMETERS = 5e-5, 124e6  # what transformers uses at the size of GPT-2 small
T = TypeVar("T")

_LOWEST, _HIGHEST = 2e-5, 1e-3
_ALL = Part()
_TIMES = {"lora": 3.0, "head": 10.0}  # the rate of all of the model, of which the last blocks take as much
USUAL_EPOCHS = 3  # that a warm-up is a share of where nobody knows how many there will be


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


class Course:
    """How the learning rate moves through a run, and where the run ends.

    With a known end it is one of transformers' schedules. With an open one the rate rises in the warm-up, a share of
    `USUAL_EPOCHS` where it is a share, and then stays; once the validation rows do no better, it falls to nothing as
    ``schedule`` says, over one epoch (warm-up, stable, decay: Hu et al. 2024, arXiv 2404.06395).
    """

    def __init__(self, optimizer: Optimizer, settings: Settings, per_epoch: int) -> None:
        self._most = settings.steps
        self._fall: _Fall | None = None
        if settings.open_end:
            warmup = warmup_steps(settings.warmup, min(USUAL_EPOCHS * per_epoch, settings.steps))
            self._fall = _Fall(settings.schedule, warmup, min(per_epoch, settings.steps))
            self.scheduler: LRScheduler = LambdaLR(optimizer, self._fall)
        else:
            self.scheduler = build_scheduler(optimizer, settings.schedule, settings.warmup, settings.steps)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.scheduler.get_last_lr()[0])

    @property
    def last(self) -> int:
        """The last step there may be."""
        falls = self._fall is not None and self._fall.begins is not None
        return self._fall.end if falls and self._fall is not None else self._most

    @property
    def steps(self) -> int:
        """Steps of the whole run; 0 while its end is open."""
        return 0 if self._fall is not None and self._fall.begins is None else self.last

    @property
    def holds(self) -> bool:
        """Whether the end is open and the rate has not begun to fall."""
        return self._fall is not None and self._fall.begins is None

    @property
    def must_fall(self) -> int:
        """The step from which the rate has to fall if the run is to end in time."""
        return self._most - (self._fall.steps if self._fall is not None and self._fall.falls else 0)

    def up_to_end(self, items: Iterable[T], step: int) -> Iterator[T]:
        """Items, one a step after ``step``, up to the last step; where that is may become known on the way."""
        for made, item in enumerate(items, step):
            if made >= self.last:
                return
            yield item

    def begins_to_fall(self, step: int) -> bool:
        """Whether the rate falls from this very step on."""
        return self._fall is not None and self._fall.begins == step and self._fall.falls

    def advance(self) -> None:
        """Go on to the next step."""
        self.scheduler.step()

    def fall(self, step: int) -> bool:
        """Let the rate fall from ``step`` on; whether there is anything to wait for, as a constant rate has not."""
        assert self._fall is not None
        self._fall.begins = step
        return self._fall.falls

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self.scheduler.load_state_dict(state)


def learning_rates(settings: Settings, per_epoch: int, points: int = 200) -> tuple[list[int], list[float]]:
    """Steps, from the first to the last, and the rate that each of them is made with, for a picture.

    Of a run whose end is open, the usual epochs, in which the rate does not fall.
    """
    optimizer = AdamW([nn.Parameter(torch.zeros(1))], lr=settings.learning_rate)
    scheduler = Course(optimizer, settings, per_epoch).scheduler
    assert isinstance(scheduler, LambdaLR)
    steps = min(USUAL_EPOCHS * per_epoch, settings.steps) if settings.open_end else settings.steps
    at = {round(i * (steps - 1) / points) for i in range(points + 1)}
    at.add(min(warmup_steps(settings.warmup, steps), steps - 1))  # the corner
    (factor,) = scheduler.lr_lambdas
    return [step + 1 for step in sorted(at)], [settings.learning_rate * factor(step) for step in sorted(at)]


class _Fall:
    """The factor of the rate where the end is open; a scheduler keeps the attributes of such an object in its state."""

    def __init__(self, schedule: str, warmup: int, steps: int) -> None:
        self.schedule, self.warmup, self.steps = schedule, warmup, steps
        self.begins: int | None = None  # the step after which the rate falls, once that is known

    @property
    def falls(self) -> bool:
        return self.schedule != "constant"

    @property
    def end(self) -> int:
        return (self.begins or 0) + (self.steps if self.falls else 0)

    def __call__(self, step: int) -> float:
        risen = min(step / self.warmup, 1.0) if self.warmup else 1.0
        if self.begins is None or not self.falls:
            return risen
        share = min(max(step - self.begins, 0) / self.steps, 1.0)
        return risen * (0.5 * (1.0 + math.cos(math.pi * share)) if self.schedule == "cosine" else 1.0 - share)
