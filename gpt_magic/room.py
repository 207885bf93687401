"""Whether a run fits in its device's memory, and in how many rows at a time; said before it starts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Hidden, Job, Settings
from gpt_magic.engine.memory import available
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.rehearsal import Need, rehearse
from gpt_magic.engine.trunk import blank_states, hidden_from, rehearse_states
from gpt_magic.errors import plural
from gpt_magic.models.find import Base
from gpt_magic.models.load import config_of
from gpt_magic.store import said_bytes
from gpt_magic.tasks.task import Rows, Task
from gpt_magic.trained import Learner

# A run is planned into so much of what is free; the rest is for the notebook, the baselines, and what has changed by
# the time it starts.
_SHARE = 0.9

_SEEN: dict[bytes, Need | None] = {}
_MOST_SEEN = 64


@dataclass(frozen=True)
class Room:
    """What a run will hold, and how it is cut so that it fits.

    Attributes:
        settings: the run's, with ``rows_at_once`` and ``checkpointing`` settled.
        fact: for the report.
        warnings: one sentence each.
    """

    settings: Settings
    fact: str
    warnings: list[str]


def plan_room(
    task: Task,
    base: Base,
    learner: Learner,
    rows: Rows,
    settings: Settings,
    machine: Machine,
    *,
    auto: bool,
    trials: bool,
) -> Room:
    """Cut a run's steps into passes that fit.

    Args:
        auto: whether passes may hold all rows of a step, else ``settings.batch_size``.
        trials: whether learning rates are tried before the run.
    """
    most = settings.rows_per_step if auto else settings.batch_size
    free = available(machine.device)
    count = partial(_counted, task, base, learner, rows, machine, trials)
    planned = replace(settings, rows_at_once=most)
    asked = count(planned)
    if asked is None:
        return Room(planned, "not known beforehand for this model", [])
    need, tried = asked, planned
    while free is not None and need.total > _SHARE * free and (smaller := _smaller(tried)) is not None:
        tried, less = smaller, count(smaller)
        if less is not None and less.total < need.total:  # small passes add to gradients that are there already
            planned, need = tried, less
    warnings = [] if free is None else _warnings(asked, need, planned, most, free, machine)
    copied = "best weights" if len(rows.valid) else "weights before the trials"
    return Room(planned, _fact(need, planned, free, copied), warnings)


def _smaller(settings: Settings) -> Settings | None:
    """What takes less memory; None where nothing does."""
    if settings.rows_at_once > 1:
        return replace(settings, rows_at_once=settings.rows_at_once // 2)
    return replace(settings, checkpointing="on") if settings.checkpointing == "auto" else None


def _counted(
    task: Task, base: Base, learner: Learner, rows: Rows, machine: Machine, trials: bool, settings: Settings
) -> Need | None:
    """What the run holds, from memory where the same was asked before: a cell is often run again."""
    shapes = [(part.lengths().tobytes(), part.scored_counts().tobytes()) for part in (rows.train, rows.valid)]
    used = None if learner.used is None else len(learner.used)
    kept = (used, learner.keeps)
    how = (type(task), config_of(base).to_dict(), task.options.plain(), machine, trials, settings, shapes, kept)
    key = hashlib.sha256(repr(how).encode()).digest()
    if key not in _SEEN:
        need = _rehearsed(task, base, learner, rows, machine, trials, settings)
        if len(_SEEN) == _MOST_SEEN:
            del _SEEN[next(iter(_SEEN))]
        _SEEN[key] = need
    return _SEEN[key]


def _rehearsed(
    task: Task, base: Base, learner: Learner, rows: Rows, machine: Machine, trials: bool, settings: Settings
) -> Need | None:
    """What the run holds; None where it cannot be rehearsed, as with a family whose code looks at numbers."""
    empty, blocks = replace(base, pretrained=False), learner.part.blocks
    frozen: Sequence[Any] = ()

    def load() -> Any:
        nonlocal frozen
        model = task.load(empty)
        frozen = learner.begin(model)
        return model

    def work(some: Encoded, hidden: Hidden, model: Any) -> Job:
        return Job(model, task.objective, some, settings, machine, hidden=hidden, frozen=frozen)

    valid = task.read_in_evaluations(rows.valid) if len(rows.valid) else None
    count = partial(rehearse, load, device=machine.device, read_together=task.read_together, trials=trials)
    ways = [partial(count, partial(work, rows.train, hidden), valid=valid) for hidden in (hidden_packed, hidden_padded)]
    if learner.keeps:
        onward = partial(hidden_from, blocks=blocks)

        def states(some: Encoded) -> Encoded:
            return blank_states(some, blocks, config_of(base).hidden_size)

        def read(model: Any) -> None:
            with machine.autocast(training=False):
                rehearse_states(model, rows.train, blocks)

        validated = states(valid) if valid is not None and task.reads_hidden else valid
        how = {"valid": validated, "valid_hidden": onward if task.reads_hidden else hidden_packed, "before": read}
        ways.insert(0, partial(count, partial(work, states(rows.train), onward), **how))
    for way in ways:
        try:
            return way()
        except Exception:  # noqa: S112  # whatever it is, it must not cost the run
            continue
    return None


def _fact(need: Need, settings: Settings, free: int | None, copied: str) -> str:
    at_once = plural(settings.rows_at_once, "row")
    if need.cut is not None:
        rows, longest = need.cut
        at_once = f"{plural(rows, 'row')} of {plural(longest, 'token')}"
    if settings.checkpointing == "on":
        at_once += ", blocks computed twice"
    parts = {
        "weights": need.weights,
        "gradients": need.gradients,
        "optimizer": need.optimizer,
        copied: need.best,
        f"passes of up to {at_once}": need.passes,
    }
    of = "" if free is None else f" of {said_bytes(free)} free"
    return f"{said_bytes(need.total)} at most{of}: " + ", ".join(
        f"{name} {said_bytes(size)}" for name, size in parts.items() if size
    )


def _warnings(asked: Need, need: Need, settings: Settings, most: int, free: int, machine: Machine) -> list[str]:
    has = f"{machine.device} has {said_bytes(free)} free"
    if need.total > _SHARE * free:
        return [
            f"training needs about {said_bytes(need.total)} and {has}: it will probably run out of memory; lower "
            "max_length, take a smaller base, or close other notebooks"
        ]
    if asked is need:
        return []
    twice = ", blocks computed twice (a third slower)" if settings.checkpointing == "on" else ""
    return [
        f"{plural(most, 'row')} at once would need about {said_bytes(asked.total)} and {has}, so "
        f"{settings.rows_at_once} at a time go through the model{twice}; the loss curve is the same"
    ]
