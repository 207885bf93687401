"""Learning rates and decay groups, against transformers' own."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments

from gpt_magic.engine.schedule import (
    Course,
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


def begun(**changes: Any) -> tuple[Course, Optimizer]:
    optimizer = build_optimizer("adamw", tiny_gpt2(), 1.0, 0.0)
    return Course(optimizer, settings(learning_rate=1.0, **changes), 10), optimizer


def rates_of(course: Course, optimizer: Optimizer, steps: int, falls_at: int | None = None) -> list[float]:
    rates = []
    for step in course.up_to_end(range(steps), 0):
        if step == falls_at:
            course.fall(step)
        rates.append(course.rate)
        optimizer.step()
        course.advance()
    return rates


def transformers_rates(schedule: str, warmup: float, steps: int) -> list[float]:
    optimizer = build_optimizer("adamw", tiny_gpt2(), 1.0, 0.0)
    scheduler = build_scheduler(optimizer, schedule, warmup, steps)
    rates = []
    for _ in range(steps):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_with_a_known_end_a_course_is_the_schedule(schedule: str) -> None:
    course, optimizer = begun(steps=50, schedule=schedule, warmup=0.2)
    assert (course.steps, course.last, course.holds) == (50, 50, False)
    assert rates_of(course, optimizer, 100) == transformers_rates(schedule, 0.2, 50)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_with_an_open_end_the_rate_stays_until_it_falls_over_one_epoch(schedule: str) -> None:
    course, optimizer = begun(steps=300, schedule=schedule, warmup=0.2, open_end=True)
    assert (course.steps, course.last, course.holds, course.must_fall) == (0, 300, True, 290)
    rates = rates_of(course, optimizer, 1000, falls_at=40)
    assert (course.steps, course.last, course.holds) == (50, 50, False)
    assert rates[:6] == pytest.approx([i / 6 for i in range(6)])  # a fifth of three epochs
    assert rates[6:40] == [1.0] * 34
    assert rates[40:] == pytest.approx(transformers_rates(schedule, 0, 10))


def test_a_constant_rate_has_nothing_to_wait_for() -> None:
    course, optimizer = begun(steps=300, schedule="constant", warmup=5, open_end=True)
    assert rates_of(course, optimizer, 20) == [0.0, 0.2, 0.4, 0.6, 0.8, *[1.0] * 15]
    assert not course.fall(20)
    assert course.last == 20


def test_a_course_goes_on_from_its_state() -> None:
    (first, optimizer), (second, _) = (begun(steps=300, warmup=5, open_end=True) for _ in range(2))
    rates_of(first, optimizer, 23, falls_at=20)
    second.load_state_dict(first.state_dict())
    assert (second.rate, second.last) == (first.rate, 30)


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
