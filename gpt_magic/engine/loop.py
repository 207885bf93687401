"""The training loop: tokens in, trained weights and events out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import Encoded, forward_passes, plan, steps_per_epoch
from gpt_magic.engine.events import Control, Emit, Evaluated, Phase, Planned, Stepped, StopRequested
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.schedule import build_optimizer, build_scheduler
from gpt_magic.errors import TrainingError, listing

Hidden = Callable[[nn.Module, Sequence[np.ndarray], Sequence[np.ndarray]], Tensor]


class Objective(Protocol):
    """What a task brings to the loop."""

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """The share that each scored position has in the loss, ``(scored,)``."""

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Weighted loss of each scored position in nats, ``(scored,)``, from hidden states ``(scored, hidden)``."""


@dataclass(frozen=True)
class Settings:
    """The numbers that a training run needs, all settled."""

    steps: int
    batch_size: int
    accumulate: int
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    grad_clip: float
    early_stop: int
    eval_every: int
    seed: int

    @property
    def rows_per_step(self) -> int:
        """The effective batch size."""
        return self.batch_size * self.accumulate


@dataclass
class Job:
    """One training run: everything the loop reads.

    Attributes:
        model: the model, on its device; trained in place.
        objective: the task's loss.
        train: the rows to learn from.
        evaluate: scores the validation rows; None when there are none.
        hidden: packed or padded forward.
    """

    model: nn.Module
    objective: Objective
    train: Encoded
    settings: Settings
    machine: Machine
    evaluate: Callable[[], Mapping[str, Any]] | None = None
    hidden: Hidden = hidden_packed


@dataclass(frozen=True)
class Outcome:
    """How a run ended; the model holds the weights of ``kept_step``.

    Attributes:
        reason: ``done``, ``stopped``, ``early_stop`` or ``failed``.
        step, steps: optimizer steps made and planned.
        kept_step: the step whose weights were kept: the lowest validation loss, or the last step.
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

    Whatever ends the run, the model is left with the best weights it had: those of the lowest validation
    loss when there was an evaluation, else those of the last whole step.
    """
    settings, model = job.settings, job.model
    optimizer = build_optimizer(model, settings.learning_rate, settings.weight_decay)
    scheduler = build_scheduler(optimizer, settings.schedule, settings.warmup, settings.steps)
    per_epoch = steps_per_epoch(len(job.train), settings.rows_per_step)
    lengths = job.train.lengths()
    keeper = _Keeper(model)
    step, seconds, reason, error = 0, 0.0, "done", None
    emit(Planned(settings.steps, per_epoch, len(job.train)))
    emit(Phase("training"))
    try:
        for rows in plan(len(job.train), settings.rows_per_step, settings.steps, settings.seed):
            if control.stop.is_set():
                reason = "stopped"
                break
            began = time.perf_counter()
            model.train()
            loss = _accumulate_gradients(job, rows, lengths, step + 1)
            norm = _clip(model, settings.grad_clip, step + 1, job.train, rows)
            rate = float(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            took = time.perf_counter() - began
            seconds += took
            epoch = step / per_epoch
            emit(Stepped(step, epoch, loss, rate, norm, int(lengths[rows].sum()), took))
            if job.evaluate is not None and _evaluation_due(step, per_epoch, settings):
                keeper.evaluated(step, epoch, job.evaluate, emit)
                patience = settings.early_stop * per_epoch
                if patience and step - keeper.step >= patience and step < settings.steps:
                    reason = "early_stop"
                    break
    except StopRequested:
        reason = "stopped"
    except Exception as failure:  # whatever failed, the weights learned so far are handed back
        reason, error = "failed", failure
    finally:
        optimizer.zero_grad(set_to_none=True)
        model.eval()
    kept, metrics = keeper.restore(step)
    return Outcome(reason, step, settings.steps, kept, metrics, seconds, error)


def _accumulate_gradients(job: Job, rows: Sequence[int], lengths: np.ndarray, step: int) -> float:
    """Backward through one step's rows; returns their mean loss.

    The sum is divided by the weight of the whole step, so the gradient does not depend on how the rows
    are cut into forward passes (a mean of means would).
    """
    targets = {row: job.train.targets[row] for row in rows}
    # Rows that all weigh nothing teach nothing: their sum is 0 whatever it is divided by.
    total = float(sum(job.objective.weights(target).sum() for target in targets.values())) or 1.0
    device = job.machine.device
    loss = 0.0
    for some in forward_passes(rows, lengths, job.settings.batch_size):
        with job.machine.autocast():
            hidden = job.hidden(job.model, [job.train.ids[r] for r in some], [job.train.scored[r] for r in some])
            expected = torch.from_numpy(np.concatenate([targets[r] for r in some])).to(device)
            losses = job.objective.losses(job.model, hidden, expected)
        part = losses.sum() / total
        value = float(part.detach())
        if not np.isfinite(value):
            bad = _rows_not_finite(losses, some, job.train)
            raise TrainingError(f"the loss is {value} at step {step} (rows {listing(bad)}): {_ADVICE}")
        part.backward()  # type: ignore[no-untyped-call]
        loss += value
    return loss


_ADVICE = "the last good weights are kept; lower learning_rate, or look at these rows"


def _rows_not_finite(losses: Tensor, rows: Sequence[int], encoded: Encoded) -> list[Any]:
    """The rows whose own loss is not finite, by their names in the table."""
    finite = torch.isfinite(losses.detach()).cpu().numpy()
    owner = np.repeat(np.asarray(rows), [len(encoded.scored[row]) for row in rows])
    return [encoded.index[row] for row in dict.fromkeys(owner[~finite].tolist())]


def _clip(model: nn.Module, largest: float, step: int, encoded: Encoded, rows: Sequence[int]) -> float:
    """Clip the gradient norm and return what it was before."""
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), largest or float("inf"), foreach=True))
    if not np.isfinite(norm):
        where = listing(encoded.index[row] for row in rows)
        raise TrainingError(f"the gradient is {norm} at step {step} (rows {where}): {_ADVICE}")
    return norm


def _evaluation_due(step: int, per_epoch: int, settings: Settings) -> bool:
    every = settings.eval_every
    return step % per_epoch == 0 or step == settings.steps or (every > 0 and step % every == 0)


class _Keeper:
    """Keeps a copy of the weights with the lowest validation loss."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.step = 0  # of the best weights so far
        self._best: dict[str, Tensor] = {}
        self._metrics: Mapping[str, Any] = {}
        self._loss = float("inf")

    def evaluated(self, step: int, epoch: float, evaluate: Callable[[], Mapping[str, Any]], emit: Emit) -> None:
        began = time.perf_counter()
        metrics = evaluate()
        loss = metrics["loss"] if np.isfinite(metrics["loss"]) else float("inf")
        best = not self._metrics or loss < self._loss
        if best:
            self.step, self._metrics, self._loss = step, metrics, loss
            self._best = {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}
        emit(Evaluated(step, epoch, metrics, best, time.perf_counter() - began))

    def restore(self, last_step: int) -> tuple[int, Mapping[str, Any]]:
        """Put the best weights back; returns their step and metrics (the last step's when none was evaluated)."""
        if not self._metrics:
            return last_step, {}
        if self.step != last_step:
            self.model.load_state_dict(self._best)
        self._best = {}
        return self.step, self._metrics
