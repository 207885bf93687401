"""How long a run would take: at the pace of an earlier one from the same base, once there is one."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt_magic.engine.batching import steps_per_epoch
from gpt_magic.notebook.form.compare import Attempt
from gpt_magic.notebook.markup import clock
from gpt_magic.options import Options

if TYPE_CHECKING:
    from gpt_magic.prepare import Prepared

_ENOUGH = 5  # steps of an earlier run, below which its pace says little
_MATTERS = (
    "base",
    "train",
    "device",
    "precision",
    "threads",
    "optimizer",
    "checkpointing",
)  # to the pace, beside tokens


def time_words(options: Options, prepared: "Prepared", attempts: Sequence[Attempt]) -> str:
    """``about 0:41, at the 2,345 tokens a second of run 1``: training and evaluations, without the loading."""
    settings = prepared.settings
    tokens = float(prepared.train.lengths().mean()) * settings.rows_per_step * settings.steps
    for attempt in reversed(attempts):
        now, told = attempt.run.progress(), attempt.run.options
        if now.step < _ENOUGH or not now.tokens_per_second:
            continue
        if any(getattr(told, name) != getattr(options, name) for name in _MATTERS):
            continue
        # The first step pays for allocations and lazy imports that no later one repeats.
        timed = now.steps_log[1:]
        pace = sum(step.tokens for step in timed) / sum(step.seconds for step in timed)
        evaluations = settings.steps / steps_per_epoch(len(prepared.train), settings.rows_per_step)
        each = statistics.median(e.seconds for e in now.evaluations) if now.evaluations else 0.0
        most = "at most" if settings.open_end else "about"
        seconds = clock(tokens / pace + evaluations * each)
        return f"{most} {seconds}, at the {pace:,.0f} tokens a second of run {attempt.number}"
    return "known here once a run from this base has made a few steps"
