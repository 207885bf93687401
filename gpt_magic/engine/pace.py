"""How many rows at a time are not slower than fewer: measured on a step of the run itself, which is not made."""

import time
from collections.abc import Callable

from gpt_magic.engine.batching import plan
from gpt_magic.engine.checkpoint import random_state, restore_random_state
from gpt_magic.engine.job import Job
from gpt_magic.engine.step import accumulate_gradients

_SLOWER = 1.05  # so much longer a step may take before smaller passes are taken: timings differ by as much
_WORTH = 100  # steps of a run from which on five more for measuring are lost in it
_ROUNDS = 2

# What was measured in this process: the same run again is cut as it was, and so gives the same bits.
_KNOWN: dict[tuple[object, ...], int] = {}


def settle_rows_at_once(job: Job, check: Callable[[], None]) -> str:
    """Make ``job.passes.rows`` smaller while half as many rows at a time are faster; the reason in words.

    Gradients of the first step are computed a few times and dropped; weights and random numbers are as before.

    Args:
        check: called before each; may raise to end the work.
    """
    settings, lengths = job.settings, job.train.lengths()
    first = next(plan(len(job.train), settings.rows_per_step, 1, settings.seed))
    if settings.steps < _WORTH:
        return "as many as fit"
    key = (str(job.model.config), str(job.machine), settings.rows_per_step, job.passes.rows, tuple(lengths[first]))
    if key in _KNOWN:
        job.passes.rows = _KNOWN[key]
        return "as measured before"

    def seconds(rows: int) -> float:
        check()
        job.passes.rows = rows
        began = time.perf_counter()
        accumulate_gradients(job, first, lengths, 1)  # waits for the device, as it reads the loss
        took = time.perf_counter() - began
        job.model.zero_grad(set_to_none=True)
        return took if job.passes.rows == rows else float("inf")  # it did not fit

    random, training, most = random_state(), job.model.training, job.passes.rows
    job.learn()
    why = "one at a time is all that fits"
    try:
        seconds(most)  # the first pays for what is set up once
        while most > 1:
            half = most // 2
            taken = [(seconds(most), seconds(half)) for _ in range(_ROUNDS)]
            large, small = (min(some) for some in zip(*taken, strict=True))
            why = f"{half} at a time took {small / large:.2f} times as long"
            if large <= _SLOWER * small:
                break
            most, why = half, f"{most} at a time took {large / small:.2f} times as long"
    finally:
        job.passes.rows = most
        job.model.zero_grad(set_to_none=True)
        job.model.train(training)
        restore_random_state(random)
    _KNOWN[key] = most
    return why
