"""Trials of learning rates leave nothing behind, choose what a whole grid would, and are cheap."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gpt_magic.engine import trials
from gpt_magic.engine.batching import Encoded, steps_per_epoch
from gpt_magic.engine.events import Control, Event, Phase, StopRequested, Trial, Tried
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import train
from gpt_magic.engine.schedule import USUAL_EPOCHS
from gpt_magic.engine.step import _diverged
from gpt_magic.engine.trials import plan_trials, said_rate, try_rates
from gpt_magic.errors import TrainingError
from gpt_magic.tasks.language import encode
from tests.tiny import job, lm_job, random_rows, random_sequences, settings, tiny_gpt2, tiny_lm


def rows_to_learn(rows: int = 200, seed: int = 3) -> Encoded:
    """Rows of which the last token tells the class."""
    made = random_rows(rows, seed=seed, longest=12)
    return replace(made, targets=[np.array([int(ids[-1]) % 3]) for ids in made.ids])


def rows_to_learn_quickly(rows: int = 200, seed: int = 3) -> Encoded:
    """The same of six tokens: within 60 steps a good rate learns all of it, and one that is too high nothing."""
    made = random_rows(rows, seed=seed, longest=12)
    ids = [row % 6 for row in made.ids]
    return replace(made, ids=ids, targets=[np.array([int(row[-1]) % 3]) for row in ids])


def tried(work: Job, **changes: Any) -> tuple[Tried, list[str]]:
    planned = plan_trials(work.settings, len(work.train))
    assert planned is not None
    said: list[str] = []

    def emit(event: Event) -> None:
        assert isinstance(event, Phase)
        said.append(event.name)

    return try_rates(work, replace(planned, **changes), emit, Control()), said


def states(work: Job) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in work.model.state_dict().items()}


@pytest.mark.parametrize("kind", ["classes", "tokens"])
def test_weights_and_random_numbers_are_left_to_the_bit(kind: str) -> None:
    if kind == "classes":
        work = job(tiny_gpt2(dropout=0.2), rows_to_learn(), steps=60)
    else:
        work = lm_job(tiny_lm(dropout=0.2), encode(random_sequences(100, seed=2), 64), steps=60)
    torch.manual_seed(11)
    before, random = states(work), torch.get_rng_state()
    first, said = tried(work)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in states(work).items())
    assert not any(p.grad is not None for p in work.model.parameters())
    assert not work.model.training
    assert [trial.learning_rate for trial in first.trials] == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    assert tried(work)[0].trials == first.trials  # the same start, order and dropout
    assert "trying learning rate 3e-4 (2 of 5), step 4 of 10" in said
    assert "trying learning rate 1e-2 (5 of 5), looking at held-out rows" in said


def test_the_run_after_trials_is_the_run_without_them() -> None:
    outcomes = []
    for searched in (False, True):
        work = job(tiny_gpt2(dropout=0.2), rows_to_learn(), steps=45)
        torch.manual_seed(5)
        if searched:
            work.settings = replace(work.settings, learning_rate=tried(work)[0].chosen)
        else:
            torch_before = torch.get_rng_state()
            chosen = tried(work)[0].chosen
            torch.set_rng_state(torch_before)
            work = job(tiny_gpt2(dropout=0.2), rows_to_learn(), steps=45, learning_rate=chosen)
            torch.manual_seed(5)
        train(work, lambda _: None, Control())
        outcomes.append(states(work))
    assert all(torch.equal(value, outcomes[1][name]) for name, value in outcomes[0].items())


@pytest.mark.parametrize("open_end", [False, True])
def test_a_trial_is_a_run_of_its_own(open_end: bool) -> None:
    """Its losses are those of a run with that rate over those rows; the others are judged as torch would."""
    usual = USUAL_EPOCHS * steps_per_epoch(len(rows_to_learn()), 4) if open_end else 60
    how: dict[str, Any] = {"steps": 10 * usual, "open_end": True, "early_stop": 2} if open_end else {"steps": usual}
    work = job(tiny_gpt2(), rows_to_learn(), warmup=usual // 3, **how)  # a third of the run, so a third of the trial
    planned = plan_trials(work.settings, len(work.train))
    assert planned is not None
    assert not set(planned.learned) & set(planned.held_out)
    made = try_rates(work, planned, lambda _: None, Control())
    rows = work.train
    some = Encoded(*([part[i] for i in planned.learned] for part in (rows.ids, rows.scored, rows.targets, rows.index)))
    alone = job(tiny_gpt2(), some, steps=planned.steps, learning_rate=3e-3, warmup=(usual // 3) / usual)
    seen: list[float] = []
    train(alone, lambda event: seen.append(event.loss) if hasattr(event, "grad_norm") else None, Control())
    (trial,) = [one for one in made.trials if one.learning_rate == 3e-3]
    assert list(trial.losses) == seen
    with torch.no_grad():
        logits = torch.cat([alone.model(torch.from_numpy(rows.ids[i])[None].long()).logits for i in planned.held_out])
    truth = torch.tensor([int(rows.targets[i][0]) for i in planned.held_out])
    own = torch.nn.functional.cross_entropy(logits, truth, reduction="none").double().numpy()
    assert trial.held_out == pytest.approx(own.mean(), abs=1e-5)
    best = min(made.trials, key=lambda one: one.held_out)
    assert trial.behind == trial.held_out - best.held_out


@pytest.mark.parametrize("most", [3, 0])
def test_memory_that_runs_out_is_no_divergence(most: int) -> None:
    """Held-out rows are read fewer at a time; where not even one fits, that is what is said."""
    whole = tried(job(tiny_gpt2(), rows_to_learn(), steps=60))[0]
    work = job(tiny_gpt2(), rows_to_learn(), steps=60)
    real = work.hidden

    def hidden(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> torch.Tensor:
        if len(ids) > most and (torch.is_inference_mode_enabled() or not most):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(model, ids, scored)

    work.hidden = hidden
    if not most:
        with pytest.raises(TrainingError, match="memory ran out at step 1 with one row") as caught:
            tried(work)
        assert not caught.value.diverged
        return
    found = tried(work)[0]
    assert found.chosen == whole.chosen
    for ours, expected in zip(found.trials, whole.trials, strict=True):
        assert ours.losses == expected.losses
        assert ours.held_out == pytest.approx(expected.held_out, rel=1e-6)


def test_the_error_is_that_of_paired_differences() -> None:
    rng = np.random.default_rng(0)
    losses, weights = [rng.random(50), rng.random(50) + 0.2], np.ones(50)
    made = [Trial(rate, (), float(own.mean())) for rate, own in zip((1e-3, 1e-2), losses, strict=True)]
    compared = trials._compared(made, losses, weights)
    apart = losses[1] - losses[0]
    assert compared[1].error == pytest.approx(apart.std(ddof=1) / np.sqrt(50))
    assert (compared[0].error, compared[0].behind) == (0.0, 0.0)


def trial(rate: float, behind: float, error: float = 0.01) -> Trial:
    return Trial(rate, (), 0.5 + behind, behind, error)


DIVERGED = Trial(1e-2, (), float("inf"))


@pytest.mark.parametrize(
    ("found", "chosen", "says"),
    [
        ([trial(1e-4, 0.3), trial(1e-3, 0.0), DIVERGED], 1e-3, "the lowest held-out loss, 0.5, of 3 rates"),
        ([trial(1e-4, 0.3), trial(3e-4, 0.005), trial(1e-3, 0.0)], 3e-4, "cannot be told from the best, 0.5 at 1e-3"),
        ([trial(1e-5, 0.01, 0.02), trial(1e-4, 0.01, 0.02), trial(1e-3, 0.0)], 1e-4, "cannot be told"),
        ([trial(1e-4, 0.0, 0.0), trial(1e-3, 0.0, 0.0)], 1e-4, "the lowest held-out loss"),
        ([Trial(1e-4, (), float("inf"))], 1e-4, "as all diverged"),
    ],
)
def test_what_cannot_be_told_from_the_best_is_lower_by_one_rate_at_most(
    found: list[Trial], chosen: float, says: str
) -> None:
    rate, why = trials._choose(found, 3, 20)
    assert rate == chosen
    assert says in why


def test_a_rate_that_diverges_ends_the_search_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = trials.train
    made: list[float] = []

    def diverges(work: Job, emit: Any, control: Control) -> Any:
        made.append(work.settings.learning_rate)
        outcome = real(work, emit, control)
        if work.settings.learning_rate > 1e-3:
            return replace(outcome, reason="failed", error=_diverged("the loss is nan at step 3"))
        return outcome

    monkeypatch.setattr(trials, "train", diverges)
    work = job(tiny_gpt2(), rows_to_learn(), steps=60)
    found, _ = tried(work)
    assert made == [1e-4, 3e-4, 1e-3, 3e-3]
    assert [np.isfinite(one.held_out) for one in found.trials] == [True, True, True, False]
    assert found.chosen <= 1e-3


def test_any_other_failure_is_raised_and_the_start_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    work = job(tiny_gpt2(), rows_to_learn(), steps=60)
    before = states(work)

    def full(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(trials, "_row_losses", full)
    with pytest.raises(MemoryError):
        tried(work)
    assert all(torch.equal(before[name], value) for name, value in states(work).items())


@pytest.mark.parametrize("moment", [", step 3 of", "looking at held-out rows"])
def test_a_stop_is_heeded_in_between(moment: str) -> None:
    work = job(tiny_gpt2(), rows_to_learn(), steps=60)
    before, control, said = states(work), Control(), []

    def emit(event: Any) -> None:
        said.append(event.name)
        if moment in event.name:
            control.stop.set()

    planned = plan_trials(work.settings, len(work.train))
    assert planned is not None
    with pytest.raises(StopRequested):
        try_rates(work, planned, emit, control)
    assert len(said) < 16
    assert all(torch.equal(before[name], value) for name, value in states(work).items())


@pytest.mark.parametrize(
    ("steps", "rows", "of_each", "held_out"),
    [(60, 100, 10, 20), (50, 100, 10, 20), (40, 20, 8, 4), (600, 4000, 30, 512), (10**6, 4000, 100, 512)],
)
def test_what_trying_costs(steps: int, rows: int, of_each: int, held_out: int) -> None:
    planned = plan_trials(settings(steps=steps), rows)
    assert planned is not None
    assert (planned.steps, len(planned.held_out)) == (of_each, held_out)
    assert planned.steps * len(planned.rates) <= steps  # never more than the run itself
    assert f"{of_each} steps each ({of_each * 5 / steps:.0%} of the run's steps)" in planned.said(settings(steps=steps))


@pytest.mark.parametrize(("steps", "rows"), [(39, 100), (100, 19)])
def test_too_little_to_tell(steps: int, rows: int) -> None:
    assert plan_trials(settings(steps=steps), rows) is None


@pytest.mark.parametrize(("rate", "said"), [(3e-4, "3e-4"), (0.00027, "2.7e-4"), (1.0, "1e0"), (9e-4, "9e-4")])
def test_rates_are_said_briefly(rate: float, said: str) -> None:
    assert said_rate(rate) == said


@pytest.mark.parametrize("seed", range(3))
def test_rates_that_are_far_too_high_are_not_chosen(seed: int) -> None:
    """Around a rate of 0.1, the choice ends with about the loss of the best of a grid of whole runs."""
    rows, held = rows_to_learn_quickly(), rows_to_learn_quickly(100, seed=9)

    def whole(rate: float) -> float:
        work = job(tiny_gpt2(seed=seed), rows, steps=60, learning_rate=rate, warmup=0.1)
        train(work, lambda _: None, Control())
        return float(trials._row_losses(replace(work, train=held), held, Control()).mean())

    found, _ = tried(job(tiny_gpt2(seed=seed), rows, steps=60, learning_rate=0.1, warmup=0.1))
    grid = [whole(one.learning_rate) for one in found.trials]
    chosen = [one.learning_rate for one in found.trials].index(found.chosen)
    assert found.chosen < 0.1
    assert max(grid) - min(grid) > 0.5
    assert grid[chosen] < min(grid) + 0.1 * (max(grid) - min(grid))
