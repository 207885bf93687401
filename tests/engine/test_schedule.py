"""Learning rates and decay groups, against transformers' own."""

from itertools import pairwise

import pytest
import torch
from transformers import Trainer, TrainingArguments

from gpt_magic.engine.schedule import (
    build_optimizer,
    build_scheduler,
    default_learning_rate,
    learning_rates,
    warmup_steps,
)
from tests.tiny import settings, tiny_gpt2


@pytest.mark.parametrize(
    ("warmup", "steps", "expected"),
    [(0.0, 100, 0), (0.1, 100, 10), (5, 100, 5), (500, 100, 99), (0.1, 5, 0), (3, 1, 0)],
)
def test_warmup_is_a_share_or_a_count(warmup: float, steps: int, expected: int) -> None:
    assert warmup_steps(warmup, steps) == expected


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rates_rise_then_fall(schedule: str) -> None:
    optimizer = build_optimizer("adamw", tiny_gpt2(), 1.0, 0.0)
    scheduler = build_scheduler(optimizer, schedule, 0.2, 50)
    rates = []
    for _ in range(50):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[:10] == pytest.approx([i / 10 for i in range(10)])
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == 1.0 if schedule == "constant" else rates[-1] < 0.05
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_decay_groups_are_those_of_transformers() -> None:
    model = tiny_gpt2()
    decayed = {id(p) for p in build_optimizer("adamw", model, 1e-3, 0.1).param_groups[0]["params"]}
    ours = {name for name, p in model.named_parameters() if id(p) in decayed}
    trainer = Trainer(model=model, args=TrainingArguments(output_dir="unused", use_cpu=True, report_to=[]))
    assert ours == set(trainer.get_decay_parameter_names(model))
    assert sum(p.numel() for g in build_optimizer("adamw", model, 1e-3, 0.1).param_groups for p in g["params"]) == sum(
        p.numel() for p in model.parameters()
    )


@pytest.mark.parametrize(
    ("parameters", "rate"),
    [(1_500_000_000, 2e-5), (124_439_808, 5e-5), (81_912_576, 8e-5), (6_967_808, 9e-4), (1000, 1e-3)],
)
def test_default_rates_fall_with_size(parameters: int, rate: float) -> None:
    assert default_learning_rate(parameters, pretrained=True)[0] == rate
    assert default_learning_rate(parameters, pretrained=False)[0] == 1e-3


def test_frozen_parameters_are_left_alone() -> None:
    model = tiny_gpt2()
    model.transformer.wte.weight.requires_grad_(False)
    optimizer = build_optimizer("adamw", model, 1e-3, 0.1)
    assert all(p is not model.transformer.wte.weight for g in optimizer.param_groups for p in g["params"])
    assert isinstance(optimizer, torch.optim.AdamW)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 50), (7, 50), (0.0, 20), (0.5, 700), (0.1, 2)])
def test_rates_for_a_picture_are_those_of_the_steps(schedule: str, warmup: float, steps: int) -> None:
    optimizer = build_optimizer("adamw", tiny_gpt2(), 2e-3, 0.0)
    scheduler = build_scheduler(optimizer, schedule, warmup, steps)
    made = []
    for _ in range(steps):
        made.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    run = settings(schedule=schedule, warmup=warmup, steps=steps, learning_rate=2e-3)
    at, rates = learning_rates(run, per_epoch=10)
    assert (at[0], at[-1]) == (1, steps)
    assert len(at) == len(set(at)) <= 202
    assert rates == pytest.approx([made[step - 1] for step in at])
    assert max(rates) == pytest.approx(max(made))


def test_rates_for_a_picture_stay_where_the_end_is_open() -> None:
    run = settings(schedule="linear", warmup=0.1, steps=3000, learning_rate=1e-3, open_end=True)
    at, rates = learning_rates(run, per_epoch=100)
    assert at[-1] == 300
    assert rates[-1] == max(rates) == pytest.approx(1e-3)
    assert rates[0] == 0
