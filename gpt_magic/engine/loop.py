"""The training loop: tokens in, trained weights and events out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import plan, steps_per_epoch
from gpt_magic.engine.checkpoint import Checkpoints
from gpt_magic.engine.events import Control, Emit, Evaluated, Phase, Planned, Sampled, Stepped, StopRequested
from gpt_magic.engine.job import Job, Settings
from gpt_magic.engine.parts import put_back, trained
from gpt_magic.engine.schedule import build_optimizer, build_scheduler
from gpt_magic.engine.step import accumulate_gradients, clip


@dataclass(frozen=True)
class Outcome:
    """How a run ended; the model holds the weights of ``kept_step``.

    Attributes:
        reason: ``done``, ``stopped``, ``early_stop`` or ``failed``.
        step, steps: optimizer steps made and planned.
        kept_step: the step whose weights were kept: the best on the validation rows, or the last step.
        metrics: the evaluation at ``kept_step``; empty when there was none.
        seconds: time of the steps alone.
        error: what went wrong, for ``failed``.
    """

    reason: str
    step: int
    steps: int
    kept_step: int
    metrics: Mapping[str, Any]
    seconds: float
    error: Exception | None = None


def train(job: Job, emit: Emit, control: Control) -> Outcome:
    """Train ``job.model`` in place, report every step to ``emit``, end when ``control.stop`` is set.

    Whatever ends the run, the model is left with the best weights it had: those that did best on the validation rows
    when there was an evaluation, else those of the last whole step.
    """
    settings, model = job.settings, job.model
    optimizer = build_optimizer(settings.optimizer, model, settings.learning_rate, settings.weight_decay)
    scheduler = build_scheduler(optimizer, settings.schedule, settings.warmup, settings.steps)
    per_epoch = steps_per_epoch(len(job.train), settings.rows_per_step)
    lengths = job.train.lengths()
    keeper = _Keeper(model, job.measure)
    step, seconds, reason, error = 0, 0.0, "done", None
    due = False  # whether an evaluation of this step is still to be made
    kept = _Kept(job.checkpoints, model, optimizer, scheduler, keeper)
    if saved := kept.load():
        step, seconds, due = saved
    emit(Planned(settings.steps, per_epoch, len(job.train)))
    emit(Phase("training"))
    try:
        ahead = islice(plan(len(job.train), settings.rows_per_step, settings.steps, settings.seed), step, None)
        if due and _enough(job, keeper, step, per_epoch, emit):  # the run was cut inside of it
            reason, ahead = "early_stop", islice(ahead, 0)
        due = False
        for rows in ahead:
            if control.stop.is_set():
                reason = "stopped"
                break
            began = time.perf_counter()
            job.learn()
            loss = accumulate_gradients(job, rows, lengths, step + 1)
            norm = clip(model, settings.grad_clip, step + 1, job.train, rows)
            rate = float(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            took = time.perf_counter() - began
            seconds += took
            emit(Stepped(step, step / per_epoch, loss, rate, norm, int(lengths[rows].sum()), took))
            due = _evaluation_due(step, per_epoch, settings)
            if due and _enough(job, keeper, step, per_epoch, emit):
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
    if reason == "stopped":
        kept.save(step, seconds, due)
    kept_step, metrics = keeper.restore(step)
    return Outcome(reason, step, settings.steps, kept_step, metrics, seconds, error)


def _enough(job: Job, keeper: "_Keeper", step: int, per_epoch: int, emit: Emit) -> bool:
    """Look at what was learned; whether it has not become better for as long as ``early_stop`` waits."""
    if job.sample is not None:
        emit(Sampled(step, job.sample()))
    if job.evaluate is None:
        return False
    keeper.evaluated(step, step / per_epoch, job.evaluate, emit)
    patience = job.settings.early_stop * per_epoch
    return bool(patience) and step - keeper.step >= patience and step < job.settings.steps


def _evaluation_due(step: int, per_epoch: int, settings: Settings) -> bool:
    every = settings.eval_every
    return step % per_epoch == 0 or step == settings.steps or (every > 0 and step % every == 0)


class _Keeper:
    """Keeps a copy of the trained weights that did best on the validation rows: those with the lowest ``measure``."""

    def __init__(self, model: nn.Module, measure: str) -> None:
        self.model, self.measure = model, measure
        self.step = 0  # of the best weights so far
        self._best: dict[str, Tensor] = {}
        self._metrics: Mapping[str, Any] = {}
        self._lowest = float("inf")

    def evaluated(self, step: int, epoch: float, evaluate: Callable[[], Mapping[str, Any]], emit: Emit) -> None:
        began = time.perf_counter()
        metrics = evaluate()
        value = metrics[self.measure]
        lowest = value if np.isfinite(value) else float("inf")
        best = not self._metrics or lowest < self._lowest
        if best:
            self.step, self._metrics, self._lowest = step, metrics, lowest
            self._best = {name: value.detach().to("cpu", copy=True) for name, value in trained(self.model)}
        emit(Evaluated(step, epoch, metrics, best, time.perf_counter() - began))

    def restore(self, last_step: int) -> tuple[int, Mapping[str, Any]]:
        """Put the best weights back; returns their step and metrics (the last step's when none was evaluated)."""
        if not self._metrics:
            return last_step, {}
        if self.step != last_step:
            put_back(self.model, self._best)
        self._best = {}
        return self.step, self._metrics

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        return {"step": self.step, "best": self._best, "metrics": dict(self._metrics), "lowest": self._lowest}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.step, self._best, self._metrics, self._lowest = (state[k] for k in ("step", "best", "metrics", "lowest"))


@dataclass
class _Kept:
    """All that a checkpoint holds of a run, where it is found and put back."""

    checkpoints: Checkpoints | None
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    keeper: _Keeper

    def due(self) -> bool:
        return self.checkpoints is not None and self.checkpoints.due()

    def save(self, step: int, seconds: float, due: bool) -> None:
        if self.checkpoints is not None:
            parts = {name: getattr(self, name).state_dict() for name in ("optimizer", "scheduler")}
            clock = {"step": step, "seconds": seconds, "due": due}
            model = {name: weight.detach() for name, weight in trained(self.model)}
            self.checkpoints.save({"model": model, **parts, "keeper": self.keeper.state(), **clock})

    def load(self) -> tuple[int, float, bool] | None:
        """Put a saved run back; returns its step, its seconds and whether an evaluation is due; None without one."""
        if self.checkpoints is None or (state := self.checkpoints.load()) is None:
            return None
        put_back(self.model, state["model"])
        for name in ("optimizer", "scheduler"):
            getattr(self, name).load_state_dict(state[name])
        self.keeper.load_state(state["keeper"])
        return state["step"], state["seconds"], state.get("due", False)
