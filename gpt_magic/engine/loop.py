"""The training loop: tokens in, trained weights and events out."""

import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import in_pairs, plan, steps_per_epoch
from gpt_magic.engine.capture import choose_steps
from gpt_magic.engine.checkpoint import Checkpoints
from gpt_magic.engine.events import Control, Emit, Evaluated, Phase, Planned, Sampled, Stepped, StopRequested
from gpt_magic.engine.job import Job, Passes, Settings
from gpt_magic.engine.parts import put_back, trained
from gpt_magic.engine.schedule import Course, build_optimizer


@dataclass(frozen=True)
class Outcome:
    """How a run ended; the model holds the weights of ``kept_step``.

    Attributes:
        reason: ``done``, ``stopped``, ``early_stop`` or ``failed``; ``snapshot`` of a run that goes on.
        step, steps: optimizer steps made and planned; 0 were planned while the end is open.
        kept_step: the step whose weights were kept: the best on the validation rows, or the last step.
        metrics: the evaluation at ``kept_step``; empty when there was none.
        seconds: time of the steps alone.
        error: what went wrong, for ``failed``.
        how: how the steps were made, where there is something to say of it.
    """

    reason: str
    step: int
    steps: int
    kept_step: int
    metrics: Mapping[str, Any]
    seconds: float
    error: Exception | None = None
    how: str = ""


def train(job: Job, emit: Emit, control: Control) -> Outcome:
    """Train ``job.model`` in place, report every step to ``emit``, do between two steps what ``control`` asks for.

    Whatever ends the run, the model is left with the best weights it had: those that did best on the validation rows
    when there was an evaluation, else those of the last whole step.
    """
    settings, model = job.settings, job.model
    optimizer = build_optimizer(settings.optimizer, model, settings.learning_rate, settings.weight_decay)
    per_epoch = steps_per_epoch(len(job.train), settings.rows_per_step)
    course = Course(optimizer, settings, per_epoch)
    lengths = job.train.lengths()
    keeper = _Keeper(model, job.measure, control.clock)
    step, seconds, reason, error = 0, 0.0, "done", None
    due = False  # whether an evaluation of this step is still to be made
    kept = _Kept(job.checkpoints, model, optimizer, course, keeper, job.passes)
    if saved := kept.load():
        step, seconds, due = saved
    make_step = choose_steps(job, optimizer, emit)  # now it is known whether blocks are computed twice
    emit(Planned(course.steps, per_epoch, len(job.train)))
    emit(Phase(_phase(settings, course, keeper, step, per_epoch)))
    try:
        ahead = islice(plan(len(job.train), settings.rows_per_step, settings.steps, settings.seed), step, None)
        if due and _enough(job, keeper, course, step, per_epoch, emit):  # the run was cut inside of it
            reason, ahead = "early_stop", islice(ahead, 0)
        due = False
        for rows, upcoming in course.up_to_end(in_pairs(ahead), step):
            _between_steps(job, control, keeper, course, step, seconds)
            if control.stop.is_set():
                reason = "stopped"
                break
            began = time.perf_counter()
            loss, norm = make_step(rows, step + 1, upcoming)
            rate = course.rate
            course.advance()
            step += 1
            took = time.perf_counter() - began
            seconds += took
            emit(Stepped(step, step / per_epoch, loss, rate, norm, int(lengths[rows].sum()), took))
            due = _evaluation_due(step, per_epoch, course.last, settings.eval_every)
            _between_steps(job, control, keeper, course, step, seconds)  # an evaluation may be long
            if due and _enough(job, keeper, course, step, per_epoch, emit):
                reason = "early_stop"
                break
            due = False
            if kept.due():
                kept.save(step, seconds, due)
    except StopRequested:
        reason = "stopped"
    except Exception as failure:  # whatever failed, the weights learned so far are handed back
        reason, error = "failed", failure
    finally:
        optimizer.zero_grad(set_to_none=True)
        model.eval()
    if reason == "stopped" and step:
        kept.save(step, seconds, due)
    kept_step, metrics = keeper.restore(step)
    return Outcome(reason, step, course.steps, kept_step, metrics, seconds, error, make_step.how)


def _between_steps(job: Job, control: Control, keeper: "_Keeper", course: Course, step: int, seconds: float) -> None:
    """Rest while the run is paused; hand out the best weights where they are wanted."""

    def hand_out() -> None:
        assert job.snapshot is not None
        kept_step, metrics = keeper.kept(step)
        job.snapshot(keeper.copy, Outcome("snapshot", step, course.steps, kept_step, metrics, seconds))

    control.rest(hand_out if step and job.snapshot is not None else None)


def _enough(job: Job, keeper: "_Keeper", course: Course, step: int, per_epoch: int, emit: Emit) -> bool:
    """Look at what was learned; whether it has not become better for as long as ``early_stop`` waits.

    Where the end is open, that is first the time to go back to the best weights and let the rate fall from there.
    """
    if job.sample is not None:
        emit(Sampled(step, job.sample()))
    if job.evaluate is None:
        return False
    keeper.evaluated(step, step / per_epoch, job.evaluate, emit)
    patience = job.settings.early_stop * per_epoch
    no_better = bool(patience) and step - keeper.since >= patience and step < course.last
    if not job.settings.open_end:
        return no_better
    ends = course.holds and (no_better or step >= course.must_fall) and not course.fall(step)
    if course.begins_to_fall(step):
        keeper.put_back()
        emit(Planned(course.steps, per_epoch, len(job.train)))
    if not ends:
        emit(Phase(_phase(job.settings, course, keeper, step, per_epoch)))
    return ends and no_better


def _phase(settings: Settings, course: Course, keeper: "_Keeper", step: int, per_epoch: int) -> str:
    """What the run is doing, in words."""
    if course.holds:
        return f"training; nothing better for {(step - keeper.since) / per_epoch:.2g} of {settings.early_stop} epochs"
    return "training while the rate falls" if settings.open_end else "training"


def _evaluation_due(step: int, per_epoch: int, last: int, every: int) -> bool:
    return step % per_epoch == 0 or step == last or (every > 0 and step % every == 0)


class _Keeper:
    """Keeps a copy of the trained weights that did best on the validation rows: those with the lowest ``measure``."""

    def __init__(self, model: nn.Module, measure: str, clock: Callable[[], float]) -> None:
        self.model, self.measure, self.clock = model, measure, clock
        self.step = 0  # of the best weights so far
        self.since = 0  # the step since which nothing was better
        self._best: dict[str, Tensor] = {}
        self._metrics: Mapping[str, Any] = {}
        self._lowest = float("inf")

    def evaluated(self, step: int, epoch: float, evaluate: Callable[[], Mapping[str, Any]], emit: Emit) -> None:
        began = self.clock()
        metrics = evaluate()
        value = metrics[self.measure]
        lowest = value if np.isfinite(value) else float("inf")
        if lowest < self._lowest or not self._metrics:
            self.since = step
        best = self.since == step or not np.isfinite(self._lowest)  # while nothing is known the last are as good as any
        if best:
            self.step, self._metrics, self._lowest = step, metrics, lowest
            self._best = {name: value.detach().to("cpu", copy=True) for name, value in trained(self.model)}
        emit(Evaluated(step, epoch, metrics, best, self.clock() - began))

    def put_back(self) -> None:
        """Go on from the best weights."""
        put_back(self.model, self._best)

    def restore(self, last_step: int) -> tuple[int, Mapping[str, Any]]:
        """Put the best weights back; returns their step and metrics (the last step's when none was evaluated)."""
        if self._metrics:  # also those of the last step: what failed may have been an update, half made
            put_back(self.model, self._best)
        self._best = {}
        return self.kept(last_step)

    def kept(self, last_step: int) -> tuple[int, Mapping[str, Any]]:
        """Step and metrics of the best weights; the last step's when none was evaluated."""
        return (self.step, self._metrics) if self._metrics else (last_step, {})

    def copy(self) -> nn.Module:
        """A model of its own with the best weights so far; those of now when none was evaluated."""
        twin = deepcopy(self.model)
        if self._metrics:
            put_back(twin, self._best)
        return twin.eval()

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        metrics = json.dumps(dict(self._metrics), default=lambda value: value.tolist())  # of numpy's numbers
        numbers = {"step": self.step, "since": self.since, "lowest": float(self._lowest)}
        return {**numbers, "best": self._best, "metrics": metrics}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.step, self._best, self._lowest = (state[name] for name in ("step", "best", "lowest"))
        self.since = state.get("since", self.step)
        self._metrics = json.loads(state["metrics"])


@dataclass
class _Kept:
    """All that a checkpoint holds of a run, where it is found and put back."""

    checkpoints: Checkpoints | None
    model: nn.Module
    optimizer: torch.optim.Optimizer
    course: Course
    keeper: _Keeper
    passes: Passes  # other passes round otherwise

    def due(self) -> bool:
        return self.checkpoints is not None and self.checkpoints.due()

    def save(self, step: int, seconds: float, due: bool) -> None:
        if self.checkpoints is not None:
            parts = {name: getattr(self, name).state_dict() for name in ("optimizer", "course")}
            parts["model"] = {name: weight.detach() for name, weight in trained(self.model)}
            clock = {"step": step, "seconds": seconds, "due": due}
            self.checkpoints.save({**parts, "keeper": self.keeper.state(), "passes": dict(vars(self.passes)), **clock})

    def load(self) -> tuple[int, float, bool] | None:
        """Put a saved run back; returns its step, its seconds and whether an evaluation is due; None without one."""
        if self.checkpoints is None or (state := self.checkpoints.load()) is None:
            return None
        put_back(self.model, state["model"])
        for name in ("optimizer", "course"):
            getattr(self, name).load_state_dict(state[name])
        self.keeper.load_state(state["keeper"])
        self.passes.__dict__.update(state.get("passes", {}))
        return state["step"], state["seconds"], state.get("due", False)
