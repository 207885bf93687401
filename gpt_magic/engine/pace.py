"""How many rows at a time are not slower than fewer: measured on a step of the run itself, which is not made."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from gpt_magic.engine.batching import plan
from gpt_magic.engine.checkpoint import random_state, restore_random_state
from gpt_magic.engine.job import Job, Passes
from gpt_magic.engine.parts import trained
from gpt_magic.engine.step import accumulate_gradients

_SLOWER = 1.05  # so much longer a step may take before smaller passes are taken: timings differ by as much
_WORTH = 100  # steps of a run from which on five more for measuring are lost in it
_ROUNDS = 2

# What was measured in this process: the same run again is cut as it was, and so gives the same bits.
_KNOWN: dict[tuple[object, ...], Passes] = {}


def settle_rows_at_once(job: Job, check: Callable[[], None]) -> str:
    """Make ``job.passes.rows`` smaller while half as many rows at a time are faster; the reason in words.

    Gradients of the first step are computed a few times and dropped; weights and random numbers are as before. What
    memory runs out with is never chosen.

    Args:
        check: called before each; may raise to end the work.

    Raises:
        TrainingError: one row alone does not fit.
    """
    settings, lengths = job.settings, job.train.lengths()
    first = next(plan(len(job.train), settings.rows_per_step, 1, settings.seed))
    if settings.steps < _WORTH:
        return "as many as fit"
    key = _key(job, first)
    if key in _KNOWN:
        vars(job.passes).update(vars(_KNOWN[key]))
        return "as measured before"

    def seconds(rows: int) -> float:
        """Of the step, infinite where memory runs out with so many rows at a time."""
        check()
        job.passes.rows, job.passes.checkpointing = rows, twice
        began = time.perf_counter()
        accumulate_gradients(job, first, lengths, 1)  # waits for the device, as it reads the loss
        took = time.perf_counter() - began
        job.model.zero_grad(set_to_none=True)
        return took if job.passes == Passes(rows, twice) else math.inf

    random, training = random_state(), job.model.training
    most, twice = job.passes.rows, job.passes.checkpointing
    job.learn()
    why, full = "one at a time is all that fits", 0
    try:
        if math.isinf(seconds(most)):  # the first pays for what is set up once, and finds what fits
            full, most, twice = most, job.passes.rows, job.passes.checkpointing
        while most > 1:
            half = most // 2
            taken = [(seconds(most), seconds(half)) for _ in range(_ROUNDS)]
            large, small = (max(some) if math.inf in some else min(some) for some in zip(*taken, strict=True))
            if math.isinf(large):
                full, most = most, half
                continue
            why = "as many as fit" if math.isinf(small) else f"{half} at a time took {small / large:.2f} times as long"
            if large <= _SLOWER * small:
                break
            most, why = half, f"{most} at a time took {large / small:.2f} times as long"
    finally:
        job.passes.rows, job.passes.checkpointing = most, twice
        job.model.zero_grad(set_to_none=True)
        job.model.train(training)
        restore_random_state(random)
    _KNOWN[key] = replace(job.passes)
    return f"memory ran out with {full} at a time; {why}" if full else why


def _key(job: Job, first: Sequence[int]) -> tuple[object, ...]:
    """All that decides how long the step of the rows ``first`` takes."""
    model, rows = job.model, job.train
    return (
        type(model),
        str(model.config),
        tuple((name, weight.shape) for name, weight in trained(model)),
        str(job.machine),
        type(rows),  # tokens, or states of a frozen trunk
        tuple((int(length), len(rows.scored[row])) for row, length in zip(first, rows.lengths()[first], strict=True)),
        job.settings.checkpointing,
        job.passes.rows,
    )
