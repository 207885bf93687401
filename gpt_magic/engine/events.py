"""What a worker says while it works, and what it can be told: plain values, no callbacks.

A worker has the signature ``worker(job, emit, control)``: it calls ``emit(event)`` and looks at
``control`` once a step.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Phase:
    """What is being done now, for the time in which no steps are made: ``loading gpt2``."""

    name: str


@dataclass(frozen=True)
class Planned:
    """Training is about to start.

    Attributes:
        steps: optimizer steps in the whole run.
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
class Warned:
    """Something that the report has to say, in one sentence: memory ran out and the rows go in smaller passes."""

    line: str


Event = Phase | Planned | Stepped | Evaluated | Sampled | Warned
Emit = Callable[[Event], None]


class StopRequested(Exception):
    """Raised inside long work between two steps, such as an evaluation, when a stop was asked for."""


@dataclass
class Control:
    """What the owner of a run can ask of its worker; looked at once a step, so a step is never half done."""

    stop: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise `StopRequested` when a stop was asked for."""
        if self.stop.is_set():
            raise StopRequested
