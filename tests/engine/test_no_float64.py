"""Devices that know neither float64 nor torch's operations on lists of tensors, as Apple's GPUs; tried on a CPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gpt_magic.engine.events import Control, Stepped
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.trials import plan_trials, try_rates
from gpt_magic.models.heads import shift_output
from gpt_magic.tasks.language import encode, row_nats
from tests.tiny import job, random_rows, random_sequences, tiny_gpt2, tiny_lm


class NoFloat64(TorchFunctionMode):
    """Only what was brought to the processor first can become float64."""

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = func is Tensor.double or any(value is torch.float64 for value in (*args, *(kwargs or {}).values()))
        if asked and isinstance(args[0], Tensor):
            self.met += 1
            if not getattr(args[0], "brought", False):
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it")
        out = func(*args, **(kwargs or {}))
        if func is Tensor.cpu:
            out.brought = True
        return out


def test_a_language_model_is_evaluated() -> None:
    model, rows = tiny_lm(), encode(random_sequences(20, seed=1), 64)
    expected = row_nats(model, rows, hidden_packed)
    with NoFloat64() as device:
        found = row_nats(model, rows, hidden_packed)
    assert device.met
    np.testing.assert_array_equal(found, expected)


def test_rates_are_tried() -> None:
    work = job(tiny_gpt2(), random_rows(60, seed=1), steps=60)
    planned = plan_trials(work.settings, 60)
    assert planned is not None
    with NoFloat64() as device:
        tried = try_rates(work, planned, lambda _: None, Control())
    assert device.met
    assert np.isfinite([trial.held_out for trial in tried.trials]).all()


def test_a_head_is_shifted() -> None:
    models = [tiny_gpt2(classes=1, seed=2) for _ in range(2)]
    shift_output(models[0], 40.0)
    with NoFloat64() as device:
        shift_output(models[1], 40.0)
    assert device.met
    assert torch.equal(models[0].base_model.ln_f.bias, models[1].base_model.ln_f.bias)


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(work: Any) -> list[float]:
        events: list[Any] = []
        outcome = train(work, events.append, Control())
        assert outcome.error is None, outcome.error
        return [event.loss for event in events if isinstance(event, Stepped)]

    def make() -> Any:
        return job(tiny_gpt2(), random_rows(40, seed=1), grad_clip=0.1)

    expected = losses(make())
    monkeypatch.setattr(torch.nn.utils.clip_grad, "_device_has_foreach_support", lambda device: False)
    monkeypatch.setattr(torch.nn.utils.clip_grad, "_has_foreach_support", lambda tensors, device: False)
    assert losses(make()) == pytest.approx(expected, rel=1e-5)
