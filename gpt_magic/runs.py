"""The runs of this process by name, and whose turn it is to train: one at a time."""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

from gpt_magic.errors import GptMagicError, OptionError, listing, nearest
from gpt_magic.recorder import Progress
from gpt_magic.summary import Preflight, Summary

if TYPE_CHECKING:
    from gpt_magic.run import Run

_PAST = 20  # runs that are remembered after their end
_LEAVING = 2.0  # seconds that the end of the process waits for the last step; Jupyter kills a kernel after 5
_LOOK = 0.05  # seconds between two looks of a run that waits for its turn


@dataclass(frozen=True)
class Past:
    """What is remembered of a run that has ended: no data and no model.

    Attributes:
        id: its name here.
        state: ``done``, ``stopped`` or ``failed``.
        started: when.
        preflight, summary: its cards, None where it did not come so far.
        error: what it ended with, None when all went well.
        last: the run as it ended.
    """

    id: str
    state: str
    started: datetime
    preflight: Preflight | None
    summary: Summary | None
    error: GptMagicError | None
    last: Progress = field(repr=False)

    def progress(self) -> Progress:
        """The run as it ended."""
        return self.last


_runs: "dict[str, Run | Past]" = {}  # oldest first
_changing = threading.Lock()
_queue: "deque[Run]" = deque()  # the first trains, the others wait
_moved = threading.Condition()


def add(run: "Run", name: str | None) -> str:
    """Remember a run that begins; returns its name here: ``name``, while another run of it is live ``name-2``."""
    with _changing:
        names = (f"{name or 'run'}-{number}" if number > 1 or name is None else name for number in count(1))
        known = next(one for one in names if one not in _runs or (name is not None and isinstance(_runs[one], Past)))
        _runs.pop(known, None)
        _runs[known] = run
    return known


def end(run: "Run") -> None:
    """Keep of a run that has ended what is small."""
    started, error, progress = run.started or datetime.now(), run.error, run.progress()
    with _changing:
        if _runs.get(run.id) is run:
            _runs[run.id] = Past(run.id, run.state, started, run.preflight, run.summary, error, progress)
        past = [name for name, one in _runs.items() if isinstance(one, Past)]
        for name in past[:-_PAST]:
            del _runs[name]


def every() -> "list[Run | Past]":
    """All runs that are remembered, oldest first."""
    with _changing:
        return list(_runs.values())


def live() -> "list[Run]":
    """The runs that have not ended, oldest first."""
    return [run for run in every() if not isinstance(run, Past)]


def find(name: str | None = None) -> "Run | Past":
    """A run by its name, by default the latest that is live, else the latest.

    Raises:
        OptionError: there is none; the line names those that there are.
    """
    known = {run.id: run for run in every()}
    if name is None:
        if not known:
            raise OptionError("there was no run in this notebook yet; begin one with %%finetune")
        return [*known.values(), *live()][-1]
    if name not in known:
        there = f"; runs here: {listing(known)}" if known else "; there was none in this notebook yet"
        raise OptionError(f"no run {name!r}{nearest(name, known) or there}")
    return known[name]


@atexit.register
def leave() -> None:
    """Let what is live write a checkpoint, as far as it comes to it, for the process ends."""
    leaving, until = live(), time.monotonic() + _LEAVING
    for run in leaving:
        run.abandon()
    for run in leaving:
        run.wait(max(until - time.monotonic(), 0))


@contextmanager
def turn(run: "Run", waiting: "Callable[[Run], None]") -> Iterator[None]:
    """Wait until no earlier run trains; ``waiting`` is called now and then with the run that does, and may raise."""
    _queue.append(run)
    try:
        while (first := _queue[0]) is not run:
            waiting(first)
            with _moved:
                _moved.wait(_LOOK)
        yield
    finally:
        with _moved:
            _queue.remove(run)
            _moved.notify_all()
