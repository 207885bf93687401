"""How many rows go through the model at a time is measured: what does not fit is never chosen, and is said."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt_magic.engine import pace
from gpt_magic.engine.job import Hidden, Job
from gpt_magic.engine.pace import settle_rows_at_once
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.parts import Part, freeze
from tests.tiny import job, random_rows, tiny_gpt2


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_KNOWN", {})


def fits(most: int, after: int = 0) -> Hidden:
    """A forward pass that has no memory for more rows, from its call ``after`` on."""
    calls: Iterator[int] = iter(range(10**6))

    def hidden(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> Tensor:
        if next(calls) >= after and len(ids) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return hidden_packed(model, ids, scored)

    return hidden


def work(hidden: Hidden = hidden_packed, **changes: Any) -> Job:
    made = job(tiny_gpt2(), random_rows(64, seed=1), steps=200, **{"batch_size": 32, **changes})
    made.hidden = hidden
    return made


@pytest.mark.parametrize("most", [4, 9, 16])
def test_sizes_that_do_not_fit_are_not_chosen_and_said(most: int) -> None:
    measured = work(fits(most))
    why = settle_rows_at_once(measured, lambda: None)
    assert 1 <= measured.passes.rows <= most
    assert not measured.passes.checkpointing
    assert why.startswith("memory ran out with 32 at a time; ")
    assert "inf" not in why
    assert "nan" not in why
    again = work()
    assert settle_rows_at_once(again, lambda: None) == "as measured before"
    assert again.passes == measured.passes


def test_one_row_that_fits_alone_is_all_there_is() -> None:
    measured = work(fits(1))
    assert settle_rows_at_once(measured, lambda: None) == (
        "memory ran out with 32 at a time; one at a time is all that fits"
    )
    assert measured.passes.rows == 1


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_what_fitted_once_and_no_more_is_not_chosen(after: int) -> None:
    measured = work(fits(8, after))
    why = settle_rows_at_once(measured, lambda: None)
    assert measured.passes.rows <= 8
    assert "memory ran out" in why
    assert "inf" not in why


def test_what_is_measured_is_not_taken_for_another_run() -> None:
    settle_rows_at_once(work(), lambda: None)
    assert settle_rows_at_once(work(), lambda: None) == "as measured before"
    last = work()
    freeze(last.model, Part("top", 1))
    assert settle_rows_at_once(last, lambda: None) != "as measured before"
    assert settle_rows_at_once(work(checkpointing="on"), lambda: None) != "as measured before"


def test_weights_and_random_numbers_are_as_before() -> None:
    measured = work(fits(8))
    torch.manual_seed(4)
    before, random = replace(measured.passes), torch.get_rng_state()
    weights = {name: value.clone() for name, value in measured.model.state_dict().items()}
    settle_rows_at_once(measured, lambda: None)
    assert measured.passes.rows < before.rows
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, weights[name]) for name, value in measured.model.state_dict().items())
    assert all(weight.grad is None for weight in measured.model.parameters())
