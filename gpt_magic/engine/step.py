"""One optimizer step's gradients: forward and backward through its rows, in as many passes as fit."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gpt_magic.engine.batching import Encoded, forward_passes
from gpt_magic.engine.checkpoint import random_state, restore_random_state
from gpt_magic.engine.checkpointing import checkpointed
from gpt_magic.engine.events import Emit, Phase, Warned
from gpt_magic.engine.job import Job, Passes
from gpt_magic.engine.kernels import fast_kernels
from gpt_magic.engine.memory import let_go
from gpt_magic.errors import TrainingError, listing, out_of_memory, plural


class Step(Protocol):
    """Makes one optimizer step after another.

    Attributes:
        how: how they were made, for the report; empty where there is nothing to say.
    """

    @property
    def how(self) -> str: ...  # noqa: D102  # see the class

    def __call__(self, rows: Sequence[int], step: int, upcoming: Sequence[int] | None) -> tuple[float, float]:
        """Update the weights.

        Args:
            rows: the step's.
            step: its number, from 1.
            upcoming: the rows of the next step, if there may be one.

        Returns:
            The mean loss, and the gradient norm before clipping.

        Raises:
            TrainingError: loss or gradient are not finite, or one row alone does not fit; nothing was updated then.
        """


@dataclass
class Plain:
    """A step as one operation after another, see `Step`."""

    job: Job
    optimizer: Optimizer
    emit: Emit
    how: str = ""

    def __post_init__(self) -> None:
        self._lengths = self.job.train.lengths()

    def __call__(self, rows: Sequence[int], step: int, upcoming: Sequence[int] | None) -> tuple[float, float]:  # noqa: ARG002
        """As `Step`."""
        job = self.job
        job.learn()
        loss = accumulate_gradients(job, rows, self._lengths, step, self.emit)
        norm = clip(job.model, job.settings.grad_clip, step, job.train, rows)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm


def accumulate_gradients(
    job: Job, rows: Sequence[int], lengths: np.ndarray, step: int, emit: Emit = lambda _: None
) -> float:
    """Backward through one step's rows; returns their mean loss.

    The sum is divided by the weight of the whole step, so the gradient does not depend on how the rows are cut into
    forward passes (a mean of means would). So where memory runs out the step is made anew with half as many rows a
    pass, and where one row is too many, with blocks that are computed twice; later steps stay with what fitted.

    Args:
        emit: told when memory ran out.

    Raises:
        TrainingError: the loss is not finite, or one row alone does not fit.
    """
    before, random = replace(job.passes), random_state()
    while True:
        cut = step_passes(job, rows, lengths)
        try:
            loss = _accumulate(job, cut, step)
        except (RuntimeError, MemoryError) as failure:
            if not out_of_memory(failure):
                raise
            said = " ".join(str(failure).split())[:200]
        else:
            if job.passes != before:
                emit(
                    Warned(f"memory ran out at step {step}: since then {_told(job.passes)}; the gradients are the same")
                )
                emit(Phase(f"training, {_told(job.passes)}"))
            return loss
        # Only now, outside of the except clause, are the failure's frames gone, which held the tensors of the pass.
        job.model.zero_grad(set_to_none=True)
        let_go(job.machine.device)
        restore_random_state(random)
        _make_smaller(job, cut, step, said)


def step_passes(job: Job, rows: Sequence[int], lengths: np.ndarray, *, limited: bool = False) -> list[list[int]]:
    """The forward passes of one step's rows.

    On a CPU, where small passes stay in its cache, they are limited as those of evaluations are. On a CUDA GPU fused
    attention keeps no area and the pre-flight has counted what fits (not yet measured there). An Apple GPU keeps the
    area, and refuses a tensor of more than 4 GB.

    Args:
        limited: whether they are limited on any device, see `forward_passes`.
    """
    scored = np.fromiter((len(job.train.scored[row]) for row in rows), dtype=np.int64, count=len(rows))
    limited = limited or job.machine.device.type != "cuda"
    return forward_passes(rows, lengths, job.passes.rows, scored * job.objective.outputs, limited=limited)


def pass_losses(job: Job, rows: Sequence[int]) -> Tensor:
    """One forward pass: the weighted losses of all scored positions of the rows, ``(scored,)``."""
    train = job.train
    with (
        job.machine.autocast(),
        fast_kernels(job.model),  # for the head too
        checkpointed(job.model) if job.passes.checkpointing else nullcontext(),
    ):
        hidden = job.hidden(job.model, [train.ids[row] for row in rows], [train.scored[row] for row in rows])
        expected = torch.from_numpy(np.concatenate([train.targets[row] for row in rows])).to(hidden.device)
        return job.objective.losses(job.model, hidden, expected)


def step_weight(job: Job, rows: Sequence[int]) -> float:
    """The weight of all scored positions of one step's rows, by which the sum of their losses is divided."""
    weights = (job.objective.weights(job.train.targets[row]) for row in rows)
    # Rows that all weigh nothing teach nothing: their sum is 0 whatever it is divided by.
    return float(sum(some.sum() for some in weights)) or 1.0


def _accumulate(job: Job, cut: Sequence[Sequence[int]], step: int) -> float:
    total, loss = step_weight(job, [row for rows in cut for row in rows]), 0.0
    for rows in cut:  # in the traceback of a failure a generator would keep the job alive
        loss += _one_pass(job, rows, total, step)
    return loss


def _one_pass(job: Job, rows: Sequence[int], total: float, step: int) -> float:
    losses = pass_losses(job, rows)
    part = losses.sum() / total
    value = float(part.detach())
    if not np.isfinite(value):
        bad = _rows_not_finite(losses, rows, job.train)
        raise _diverged(f"the loss is {value} at step {step} (rows {listing(bad)}): {_ADVICE}")
    part.backward()  # type: ignore[no-untyped-call]
    return value


def _make_smaller(job: Job, cut: Sequence[Sequence[int]], step: int, said: str) -> None:
    """Let the next try take less memory than ``cut``, whose largest pass did not fit."""
    passes, most = job.passes, max(map(len, cut))
    if most > 1:
        passes.rows = most // 2
    elif job.settings.checkpointing == "auto" and not passes.checkpointing:
        passes.checkpointing = True
    else:
        longest = max(len(job.train.ids[row]) for rows in cut for row in rows)
        off = "" if passes.checkpointing else ", say checkpointing = 'on'"
        raise TrainingError(
            f"memory ran out at step {step} with one row of {plural(longest, 'token')} at a time: lower max_length, "
            f"take a smaller base{off} ({said})"
        )


def _told(passes: Passes) -> str:
    twice = ", blocks computed twice" if passes.checkpointing else ""
    return f"{plural(passes.rows, 'row')} at a time{twice}"


_ADVICE = "the last good weights are kept; lower learning_rate, or look at these rows"


def _diverged(line: str) -> TrainingError:
    error = TrainingError(line)
    error.diverged = True
    return error


def _rows_not_finite(losses: Tensor, rows: Sequence[int], encoded: Encoded) -> list[Any]:
    """The rows whose own loss is not finite, by their names in the table."""
    finite = torch.isfinite(losses.detach()).cpu().numpy()
    owner = np.repeat(np.asarray(rows), [len(encoded.scored[row]) for row in rows])
    return [encoded.index[row] for row in dict.fromkeys(owner[~finite].tolist())]


def clip(model: nn.Module, largest: float, step: int, encoded: Encoded, rows: Sequence[int]) -> float:
    """Clip the gradient norm and return what it was before."""
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    total = nn.utils.get_total_norm(gradients)  # where torch has it, of all gradients at once
    norm = float(total)
    if not np.isfinite(norm):
        where = listing(encoded.index[row] for row in rows)
        raise _diverged(f"the gradient is {norm} at step {step} (rows {where}): {_ADVICE}")
    if 0 < largest < norm + 1e-6:  # else torch multiplies all of them by one, a thirtieth of a step of GPT-2 in bf16
        nn.utils.clip_grads_with_norm_(model.parameters(), largest, total)
    return norm
