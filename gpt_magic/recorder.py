"""The memory of a run: takes the worker's events, gives painters a consistent picture at their own pace."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from gpt_magic.engine.events import Evaluated, Event, Phase, Planned, Sampled, Stepped, Trial, Tried, Warned

_ESTIMATE_AFTER = 3  # real steps before a remaining time is said
_STEPPED = [one.name for one in fields(Stepped)]
_RECENT = 50  # steps that rate and remaining time are taken from


@dataclass(frozen=True)
class Progress:
    """One moment of a run, safe to paint from any thread.

    Attributes:
        phase: what is being done now: ``training``, ``loading gpt2``...
        steps, step: optimizer steps planned and made; 0 before training starts, and planned while the end is open.
        steps_per_epoch: steps in one epoch.
        epoch: passes over the data so far.
        loss, learning_rate: of the last step; None before the first.
        tokens_per_second: over the last steps; None before the first.
        elapsed: seconds since the run began, pauses left out.
        left: estimated seconds to the end of training; None before three real steps were made.
        steps_log: all steps made, oldest first (a tuple; do not keep it longer than a repaint).
        evaluations: all evaluations, oldest first.
        samples: what the model wrote at each of them, oldest first; empty for most tasks.
        tried: the learning rates that were tried before; None where none were.
        warnings: what went wrong on the way and was put right, a sentence each.
    """

    phase: str = "starting"
    steps: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    epoch: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    elapsed: float = 0.0
    left: float | None = None
    steps_log: tuple[Stepped, ...] = ()
    evaluations: tuple[Evaluated, ...] = ()
    samples: tuple[Sampled, ...] = ()
    tried: Tried | None = None
    warnings: tuple[str, ...] = ()


@dataclass
class Recorder:
    """Collects events from the worker's thread; `progress` may be called from any other.

    Attributes:
        clock: seconds, of any beginning; a run's own stands still while it is paused.
        started: when the run began, by that clock.
    """

    clock: Callable[[], float] = time.perf_counter
    started: float = field(init=False)
    _now: Progress = field(default_factory=Progress)
    _steps: list[Stepped] = field(default_factory=list)
    _evaluations: list[Evaluated] = field(default_factory=list)
    _samples: list[Sampled] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def __call__(self, event: Event) -> None:
        """Take one event; this is the ``emit`` that a worker is given."""
        with self._lock:
            match event:
                case Phase(name=name):
                    self._now = replace(self._now, phase=name)
                case Planned():
                    self._now = replace(self._now, steps=event.steps, steps_per_epoch=event.steps_per_epoch)
                case Stepped():
                    self._steps.append(event)
                case Evaluated():
                    self._evaluations.append(event)
                case Sampled():
                    if self._samples and self._samples[-1].step == event.step:
                        self._samples.pop()  # of a look that was cut and is made again
                    self._samples.append(event)
                case Tried():
                    self._now = replace(self._now, tried=event)
                case Warned(line=line):
                    self._now = replace(self._now, warnings=(*self._now.warnings, line))

    def log(self) -> dict[str, Any]:
        """All that was recorded, as plain values, for a run that may have to go on elsewhere."""
        with self._lock:
            return {
                "elapsed": self.clock() - self.started,
                "steps": [tuple(vars(step).values()) for step in self._steps],
                "evaluations": [vars(evaluation) for evaluation in self._evaluations],
                "samples": [(one.step, one.texts) for one in self._samples],
                "tried": self._now.tried and asdict(self._now.tried),
                "warnings": self._now.warnings,
            }

    def restore(self, log: Mapping[str, Any]) -> None:
        """Take what `log` gave."""
        with self._lock:
            self.started = self.clock() - log["elapsed"]
            self._steps = [_stepped(dict(zip(_STEPPED, numbers, strict=True))) for numbers in log["steps"]]
            self._evaluations = [Evaluated(**one) for one in log["evaluations"]]
            self._samples = [Sampled(step, tuple(map(tuple, texts))) for step, texts in log["samples"]]
            self._now = replace(
                self._now,
                tried=log["tried"] and tried_from(log["tried"]),
                warnings=tuple(log.get("warnings", ())),
            )

    def progress(self) -> Progress:
        """The run as it stands now."""
        with self._lock:
            now = replace(
                self._now,
                elapsed=self.clock() - self.started,
                evaluations=tuple(self._evaluations),
                steps_log=tuple(self._steps),
                samples=tuple(self._samples),
            )
        if not now.steps_log:
            return now
        last = now.steps_log[-1]
        recent = now.steps_log[-_RECENT:]
        return replace(
            now,
            step=last.step,
            epoch=last.epoch,
            loss=last.loss,
            learning_rate=last.learning_rate,
            tokens_per_second=sum(s.tokens for s in recent) / max(sum(s.seconds for s in recent), 1e-9),
            left=_left(now),
        )


def history(progress: Progress, log_every: int = 1) -> list[dict[str, Any]]:
    """One record a logged step; evaluations stand in the row of their step as ``valid_*``."""
    valid = {e.step: {f"valid_{k}": v for k, v in e.metrics.items()} for e in progress.evaluations}
    return [
        {**vars(step), **valid.get(step.step, {})}
        for step in progress.steps_log
        if step.step % log_every == 0 or step.step in valid or step is progress.steps_log[-1]
    ]


def _stepped(numbers: dict[str, Any]) -> Stepped:
    return Stepped(**{**numbers, "step": int(numbers["step"]), "tokens": int(numbers["tokens"])})


def tried_from(record: Mapping[str, Any]) -> Tried:
    """What ``asdict`` made of a `Tried`, and JSON may have changed."""
    trials = tuple(Trial(**{**trial, "losses": tuple(trial["losses"])}) for trial in record["trials"])
    return Tried(**{**record, "trials": trials})


def _left(now: Progress) -> float | None:
    """Seconds left: the remaining steps at the recent median, plus the evaluations still to come."""
    if len(now.steps_log) < _ESTIMATE_AFTER or not now.steps:
        return None
    remaining = now.steps - now.steps_log[-1].step
    # The first step pays for allocations and lazy imports that no later one repeats.
    seconds = remaining * statistics.median(s.seconds for s in now.steps_log[1:][-_RECENT:])
    if now.evaluations and now.steps:
        done = sum(e.step > 0 for e in now.evaluations)
        made = now.steps_log[-1].step
        seconds += statistics.median(e.seconds for e in now.evaluations) * remaining * done / made
    return seconds
