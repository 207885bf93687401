"""What a worker says while it works, and what it can be told: plain values, no callbacks.

A worker has the signature ``worker(job, emit, control)``: it calls ``emit(event)`` and looks at
``control`` once a step.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Phase:
    """What is being done now, for the time in which no steps are made: ``loading gpt2``."""

    name: str


@dataclass(frozen=True)
class Planned:
    """Training is about to start, or its end has become known.

    Attributes:
        steps: optimizer steps in the whole run; 0 while its end is open.
        steps_per_epoch: optimizer steps in one pass over the rows.
        rows: training rows.
    """

    steps: int
    steps_per_epoch: int
    rows: int


@dataclass(frozen=True)
class Stepped:
    """One optimizer step was made.

    Attributes:
        step: its number, from 1.
        epoch: passes over the data so far, as a fraction.
        loss: mean loss of the step's scored positions, in nats.
        learning_rate: the rate that the step used.
        grad_norm: gradient norm before clipping.
        tokens: real tokens in the step.
        seconds: time the step took.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """The validation rows were scored after ``step``.

    Attributes:
        step: optimizer steps made; 0 is the base as it was.
        metrics: the task's metrics, ``loss`` among them.
        best: whether no earlier evaluation did better, by the task's measure.
        seconds: time the evaluation took.
    """

    step: int
    epoch: float
    metrics: Mapping[str, Any]
    best: bool
    seconds: float


@dataclass(frozen=True)
class Sampled:
    """What the model writes after ``step``.

    Attributes:
        texts: (prompt, continuation) pairs.
    """

    step: int
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Trial:
    """A short run with one learning rate.

    Attributes:
        learning_rate: the peak of its schedule.
        losses: mean loss of each of its steps, in nats.
        held_out: mean loss of the held-out rows after it, in nats; infinite where it diverged.
        behind: how far that is above the best trial's, in nats.
        error: standard error of that difference, from the rows' own losses.
    """

    learning_rate: float
    losses: tuple[float, ...]
    held_out: float
    behind: float = 0.0
    error: float = 0.0


@dataclass(frozen=True)
class Tried:
    """Learning rates were tried.

    Attributes:
        trials: from the lowest rate to the highest.
        chosen: the rate that the run will use.
        why: the reason, in words.
        seconds: time that they took together.
    """

    trials: tuple[Trial, ...]
    chosen: float
    why: str
    seconds: float


@dataclass(frozen=True)
class Warned:
    """Something that the report has to say, in one sentence: memory ran out and the rows go in smaller passes."""

    line: str


Event = Phase | Planned | Stepped | Evaluated | Sampled | Tried | Warned
Emit = Callable[[Event], None]


class StopRequested(Exception):
    """Raised inside long work between two steps, such as an evaluation, when a stop was asked for."""


_LOOK = 0.02  # seconds between two looks of a paused worker


@dataclass
class Control:
    """What the owner of a run can ask of its worker, from any thread.

    The worker looks between two steps (`rest`) and, in long work such as an evaluation, between two forward passes
    (`check`), so a step is never half done.

    Attributes:
        stop: end after the step in work; a paused worker wakes up for it.
        paused: do nothing for as long as it is set.
        left: nobody waits for a result any longer; a checkpoint is all that may still be made.
        wanted: hand out a copy of the best weights when the step in work is done.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    paused: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    wanted: threading.Event = field(default_factory=threading.Event)
    _rests: tuple[float, float | None] = (0.0, None)  # seconds of the pauses that are over, and when this one began

    def check(self) -> None:
        """Wait while paused.

        Raises:
            StopRequested: a stop was asked for.
        """
        self.rest()
        if self.stop.is_set():
            raise StopRequested

    def rest(self, hand_out: Callable[[], object] | None = None) -> None:
        """Wait while paused, unless a stop is asked for; ``hand_out`` is called when a copy of the weights is wanted.

        Without it a copy that is wanted has to wait.
        """
        while not self.stop.is_set():
            if hand_out is not None and self.wanted.is_set():
                self.wanted.clear()
                hand_out()
            if not self.paused.is_set():
                break
            if not self.resting:
                self._rests = (self._rests[0], time.perf_counter())
            self.stop.wait(_LOOK)
        before, since = self._rests
        if since is not None:
            self._rests = (before + time.perf_counter() - since, None)

    @property
    def resting(self) -> bool:
        """Whether the worker has come to the pause that was asked for."""
        return self._rests[1] is not None

    def clock(self) -> float:
        """Seconds that go on while the worker works, and stand still while it rests."""
        rested, since = self._rests
        return (time.perf_counter() if since is None else since) - rested
