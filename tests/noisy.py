"""A run that looks like a real one, without a model: noisy falling losses, and an evaluation now and then."""

import math
import random
from collections.abc import Iterator

from gpt_magic.engine.events import Evaluated, Event, Phase, Planned, Stepped
from gpt_magic.recorder import Progress, Recorder
from gpt_magic.summary import Lengths, Preflight, Scores, Summary


def noisy_events(
    steps: int = 672, epochs: int = 3, every: int | None = None, start: float = 0.7, end: float = 0.1, wild: int = 0
) -> Iterator[Event]:
    """The events of a run; the first ``wild`` losses are outliers, ``every=0`` is a run without validation."""
    rng = random.Random(0)
    per_epoch = max(steps // epochs, 1)
    every = per_epoch // 2 or 1 if every is None else every
    lowest = math.inf
    yield Phase("training")
    yield Planned(steps, per_epoch, per_epoch * 16)
    for step in range(1, steps + 1):
        done = step / steps
        mean = end + (start - end) * math.exp(-3.2 * done)
        loss = 9.0 if step <= wild else mean * math.exp(rng.gauss(0, 0.25))
        yield Stepped(step, step / per_epoch, loss, 5e-4 * (1 - done), 1.0, rng.randint(500, 700), 0.12)
        if every and step % every == 0:
            valid = mean + 0.06 + 0.12 * max(0.0, done - 0.6)
            accuracy = 0.94 - 0.34 * math.exp(-4 * done)
            metrics = {"loss": valid, "accuracy": accuracy, "macro_f1": accuracy - 0.015, "per_class": {}}
            yield Evaluated(step, step / per_epoch, metrics, valid < lowest, 1.2)
            lowest = min(valid, lowest)


def noisy_run(at: int | None = None, **how: float) -> Progress:
    """The run as it stands after step ``at``, by default at its end."""
    recorder = Recorder()
    for event in noisy_events(**how):  # type: ignore[arg-type]
        if at is not None and isinstance(event, Stepped) and event.step > at:
            break
        recorder(event)
    return recorder.progress()


LENGTHS = Lengths(61, 200, 490, (0, 100, 200, 300, 400, 500), (1200, 2100, 280, 0, 20), 256, 31)
PREFLIGHT = Preflight(
    "classify · nano · reviews",
    [("rows", "3,600 to train, 400 to validate"), ("tokens a text", "median 61"), ("base", "nano")],
    ["31 of 3,600 training texts are longer than 256 tokens; the first 256 are read"],
    LENGTHS,
)
SUMMARY = Summary(
    title="classify · nano · reviews",
    status="done: 672 steps",
    ok=True,
    name="clf",
    scores=Scores(
        ["accuracy", "macro F1", "loss"],
        [
            ("nano fine-tuned", [0.9314, 0.9203, 0.2087]),
            ("majority class", [0.3361, 0.1677, None]),
            ("TF-IDF + logistic regression", [0.9012, 0.9301, 0.2561]),
        ],
    ),
    facts=[("rows", "3,600 to train, 400 to validate"), ("time", "81.2 s")],
    warnings=["a warning"],
)
