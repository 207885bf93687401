"""Learning rates are tried: short whole runs from the same start, on a slice of the training rows.

A range test, which raises the rate within one run, points far too high: what a rate is worth shows when it has fallen
again. So each rate gets a run of its own, with warm-up and decay, and is judged on rows that none of them learned from.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from gpt_magic.engine.batching import Encoded, steps_per_epoch
from gpt_magic.engine.checkpoint import random_state, restore_random_state
from gpt_magic.engine.events import Control, Emit, Event, Phase, Stepped, Trial, Tried, Warned
from gpt_magic.engine.job import Job, Settings
from gpt_magic.engine.loop import train
from gpt_magic.engine.parts import put_back, trained
from gpt_magic.engine.schedule import USUAL_EPOCHS
from gpt_magic.engine.splitting import in_passes
from gpt_magic.engine.step import pass_losses, step_passes
from gpt_magic.errors import TrainingError

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the default rate
LEAST_ROWS = 20  # training rows below which nothing can be told
LEAST_RUN = 8 * len(FACTORS)  # steps of a run that is long enough to be tried for
_SHARE = 0.25  # of the run's steps, for all trials together
_USUAL_STEPS, _MOST_STEPS = 10, 100  # of a trial: that many at least, unless all would then cost more than the run
_HELD_OUT, _MOST_HELD_OUT = 0.2, 512  # share of the training rows that judge, and rows at most
_STREAM = 1  # of random numbers, apart from those of the run's order of rows


@dataclass(frozen=True)
class TrialPlan:
    """What trying costs.

    Attributes:
        rates: from the lowest to the highest.
        steps: of each trial.
        learned, held_out: numbers of training rows, no row in both.
    """

    rates: tuple[float, ...]
    steps: int
    learned: np.ndarray
    held_out: np.ndarray

    def said(self, settings: Settings) -> str:
        """In words, before the run: ``5 rates from 9e-5 to 9e-3 are tried first, 20 steps each (a quarter of ...)``."""
        share = self.steps * len(self.rates) / _usual_steps(settings, len(self.learned) + len(self.held_out))
        return (
            f"auto: {len(self.rates)} from {said_rate(self.rates[0])} to {said_rate(self.rates[-1])} are tried first, "
            f"{self.steps} steps each ({share:.0%} of the run's steps), judged on {len(self.held_out):,} training rows "
            "held out from them"
        )


def plan_trials(settings: Settings, rows: int) -> TrialPlan | None:
    """Which rates to try and how long; None where rows or steps are too few to tell.

    Args:
        settings: the run's, with the rate that would be the default.
        rows: training rows.
    """
    usual = _usual_steps(settings, rows)
    fair = max(round(_SHARE * usual / len(FACTORS)), _USUAL_STEPS)
    steps = min(fair, usual // len(FACTORS), _MOST_STEPS)
    if rows < LEAST_ROWS or usual < LEAST_RUN:
        return None
    order = np.random.default_rng((settings.seed, _STREAM)).permutation(rows)
    held_out = min(round(_HELD_OUT * rows), _MOST_HELD_OUT)
    learned = order[held_out : held_out + steps * settings.rows_per_step]
    rates = (float(f"{min(factor * settings.learning_rate, 1.0):.1e}") for factor in FACTORS)
    return TrialPlan(tuple(dict.fromkeys(rates)), steps, learned, order[:held_out])


def try_rates(job: Job, planned: TrialPlan, emit: Emit, control: Control) -> Tried:
    """Try learning rates for ``job``; its model and the random numbers are left as they were, to the bit.

    The best is chosen, or the one below it where that does no worse by more than one standard error of the rows'
    paired differences (Breiman et al. 1984, section 3.4.3): a short run flatters high rates, and low ones do less harm.

    Raises:
        StopRequested: a stop was asked for.
        Exception: what a trial ended with, other than a loss that is not finite.
    """
    began = time.perf_counter()
    learned, held_out = _some(job.train, planned.learned), _some(job.train, planned.held_out)
    trials: list[Trial] = []
    losses: list[np.ndarray] = []
    weights = _weights(job, held_out)
    with _left_as_it_was(job) as back_to_start:
        for number, rate in enumerate(planned.rates, 1):
            back_to_start()
            what = f"trying learning rate {said_rate(rate)} ({number} of {len(planned.rates)})"
            made = _trial(job, learned, rate, planned.steps, what, emit, control)
            if made is not None:
                emit(Phase(f"{what}, looking at held-out rows"))
                losses.append(_row_losses(job, held_out, control))
            mean = float(losses[-1].sum() / weights.sum()) if made is not None else np.inf
            trials.append(Trial(rate, tuple(made or ()), mean if np.isfinite(mean) else np.inf))
            if not np.isfinite(mean):
                break  # and so would the higher ones
    whole = len([trial for trial in trials if np.isfinite(trial.held_out)])
    compared = _compared(trials[:whole], losses[:whole], weights) + trials[whole:]
    chosen, why = _choose(compared, len(planned.rates), planned.steps)
    return Tried(tuple(compared), chosen, why, time.perf_counter() - began)


def said_rate(rate: float) -> str:
    """``3e-4``, ``2.7e-3``."""
    digits, exponent = f"{rate:.1e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def _usual_steps(settings: Settings, rows: int) -> int:
    """Steps of the run; with an open end, about so many."""
    usual = USUAL_EPOCHS * steps_per_epoch(rows, settings.rows_per_step)
    return min(settings.steps, usual) if settings.open_end else settings.steps


def _trial(
    job: Job, rows: Encoded, rate: float, steps: int, what: str, emit: Emit, control: Control
) -> list[float] | None:
    """The losses of a short run with one rate; None where it diverged."""
    losses: list[float] = []

    def say(event: Event) -> None:
        if isinstance(event, Stepped):
            losses.append(event.loss)
        if isinstance(event, Warned):
            emit(event)
        if isinstance(event, Stepped | Phase):
            emit(Phase(f"{what}, step {len(losses) + 1:,} of {steps:,}"))

    own = job.settings
    whole = _usual_steps(own, len(job.train))
    settings = replace(
        own,
        steps=steps,
        learning_rate=rate,
        warmup=own.warmup if own.warmup < 1 else min(own.warmup / whole, 0.5),  # a count is of the whole run
        early_stop=0,
        eval_every=0,
        open_end=False,
    )
    trial = replace(job, train=rows, settings=settings, evaluate=None, sample=None, checkpoints=None, snapshot=None)
    trial.passes = job.passes  # where memory runs out here, it would in the run
    outcome = train(trial, say, control)
    if isinstance(outcome.error, TrainingError) and outcome.error.diverged:
        return None
    if outcome.error is not None:
        raise outcome.error
    control.check()
    return losses


def _some(rows: Encoded, places: np.ndarray) -> Encoded:
    """Some of the rows, in memory."""
    picked = places.tolist()
    ids, scored, targets, index = (
        [part[place] for place in picked] for part in (rows.ids, rows.scored, rows.targets, rows.index)
    )
    return Encoded(ids, scored, targets, index)


def _weights(job: Job, rows: Encoded) -> np.ndarray:
    """What each row counts in the mean loss, ``(rows,)``."""
    return np.array([job.objective.weights(targets).sum() for targets in rows.targets], dtype=np.float64)


def _row_losses(job: Job, rows: Encoded, control: Control) -> np.ndarray:
    """Sum of the weighted losses of each row in nats, ``(rows,)``, by the task's own objective."""
    counts, found = rows.scored_counts(), np.zeros(len(rows))
    judged = replace(job, train=rows)
    judged.passes, lengths = job.passes, rows.lengths()
    cut = step_passes(judged, range(len(rows)), lengths)
    with torch.inference_mode():
        read = in_passes(job.model, cut, lengths, lambda some: pass_losses(judged, some).cpu().double(), control.check)
        for some, losses in read:
            np.add.at(found, np.repeat(some, counts[some]), losses.numpy())
    return found


def _compared(trials: Sequence[Trial], losses: Sequence[np.ndarray], weights: np.ndarray) -> list[Trial]:
    """The trials, with how far each is behind the best and how sure that is."""
    if not trials:
        return []
    best = int(np.argmin([trial.held_out for trial in trials]))
    made = []
    for trial, own in zip(trials, losses, strict=True):
        behind = trial.held_out - trials[best].held_out
        apart = own - losses[best] - weights * behind
        spread = len(weights) / max(len(weights) - 1, 1) * (apart**2).sum()  # of a ratio of sums over rows
        made.append(replace(trial, behind=behind, error=float(np.sqrt(spread) / weights.sum())))
    return made


def _choose(trials: Sequence[Trial], rates: int, steps: int) -> tuple[float, str]:
    """The rate to use, and why."""
    told = f"{rates} rates, {steps} steps each"
    finite = [trial for trial in trials if np.isfinite(trial.held_out)]
    if not finite:
        return trials[0].learning_rate, f"auto: the lowest of {told}, as all diverged"
    best = min(finite, key=lambda trial: trial.held_out)
    below = finite[max(finite.index(best) - 1, 0)]
    chosen = below if below.behind <= below.error else best
    if chosen is best:
        return best.learning_rate, f"auto: the lowest held-out loss, {best.held_out:.3g}, of {told}"
    return chosen.learning_rate, (
        f"auto: of {told}, its held-out loss, {chosen.held_out:.3g}, cannot be told from the best, "
        f"{best.held_out:.3g} at {said_rate(best.learning_rate)}, and lower does less harm"
    )


@contextmanager
def _left_as_it_was(job: Job) -> Iterator["_Back"]:
    """Leave weights, mode and torch's random numbers as they are now; what is given goes back there meanwhile."""
    back = _Back(job)
    try:
        yield back
    finally:
        back()


class _Back:
    def __init__(self, job: Job) -> None:
        self.model, self.random, self.training = job.model, random_state(), job.model.training
        self.weights = {name: value.detach().to("cpu", copy=True) for name, value in trained(job.model)}

    def __call__(self) -> None:
        put_back(self.model, self.weights)
        self.model.train(self.training)
        restore_random_state(self.random)
