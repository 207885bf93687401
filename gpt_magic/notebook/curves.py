"""The numbers behind the loss plot: smoothing, thinning, and limits that move rarely."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpt_magic.engine.events import Evaluated, Stepped

# The scores shown by preference, and what they are called.
NAMES = {
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "exact_match": "exact match",
    "f1": "F1",
    "token_accuracy": "token accuracy",
    "average_precision": "average precision",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "spearman": "Spearman",
    "perplexity": "perplexity",
    "bits_per_character": "bits per character",
}
SHARES = (
    "accuracy",
    "micro_f1",
    "macro_f1",
    "exact_match",
    "f1",
    "token_accuracy",
    "average_precision",
)  # said as percentages
_PLOTTED = (
    "accuracy",
    "micro_f1",
    "macro_f1",
    "exact_match",
    "f1",
    "token_accuracy",
    "r2",
    "spearman",
    "bits_per_character",
)  # a perplexity that begins at 700 would hide that it went from 5 to 4
LOWER_IS_BETTER = ("perplexity", "bits_per_character", "mae", "rmse")
_COUNTS = ("tokens", "rows", "words")  # numbers that are no scores
_MOST_POINTS = 500  # a curve is thinned to about so many

Floats = NDArray[np.float64]


@dataclass
class Curve:
    """Training loss, raw and smoothed, grown step by step.

    The smoothed curve is an exponential moving average, corrected for its start as in Adam (Kingma and Ba 2015,
    section 3) and for gaps in the steps. A loss that is not finite is left out.
    """

    window: int  # steps
    seen: int = 0
    steps: "array[float]" = field(default_factory=lambda: array("d"))
    losses: "array[float]" = field(default_factory=lambda: array("d"))
    smoothed: "array[float]" = field(default_factory=lambda: array("d"))
    _mean: float = 0.0
    _weight: float = 0.0

    def extend(self, log: Sequence[Stepped]) -> None:
        """Take the steps that are new since the last call."""
        for step in log[self.seen :]:
            if not math.isfinite(step.loss):
                continue
            gap = step.step - self.steps[-1] if self.steps else 1.0
            keep = (1 - 2 / (self.window + 1)) ** max(gap, 0.0)
            self._mean = keep * self._mean + (1 - keep) * step.loss
            self._weight = keep * self._weight + (1 - keep)
            self.steps.append(step.step)
            self.losses.append(step.loss)
            self.smoothed.append(self._mean / self._weight if self._weight else step.loss)
        self.seen = len(log)


def smoothing_window(steps: int) -> int:
    """Window of the moving average, in steps, for a run of so many."""
    of_short = min(steps // 10, 20)  # in which a thirtieth would leave the noise of single steps
    return min(max(steps // 30, of_short, 5), 500) if steps else 20


def thin(x: Floats, y: Floats, most: int = _MOST_POINTS) -> tuple[Floats, Floats]:
    """Leave at most about ``most`` points of a curve, the lowest and highest of each stretch among them."""
    if len(x) <= most:
        return x, y
    size = math.ceil(2 * len(x) / most)
    whole = len(x) // size * size
    blocks = y[:whole].reshape(-1, size)
    ends = np.sort(np.stack([blocks.argmin(1), blocks.argmax(1)], axis=1), axis=1)
    kept = np.concatenate([(ends + np.arange(0, whole, size)[:, None]).ravel(), np.arange(whole, len(x))])
    return x[kept], y[kept]


def nice_step(span: float, parts: int = 4) -> float:
    """Distance between round values that cut ``span`` into about so many parts."""
    rough = span / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9)) * power


@dataclass(frozen=True)
class Limits:
    """Limits of an axis that move rarely: outwards when data leave them, inwards when data need less than half."""

    low: float = 0.0
    high: float = 1.0
    empty: bool = True

    def around(self, low: float, high: float, *, early: bool = False) -> "Limits":
        """Return limits that show ``low`` to ``high``: these very ones while they still do.

        Args:
            low, high: the range to show.
            early: little is known yet; leave room, so that the limits need not move soon.
        """
        if low >= 0 and (early or low < 0.4 * high or high == 0):
            low = 0.0
        span = (high - low) or abs(high) or 1.0
        inside = self.low <= low and high <= self.high
        if inside and span > 0.45 * (self.high - self.low) and not self.empty:
            return self
        step = nice_step(span * 1.1)
        # A loss that does not reach down to zero is expected to fall on.
        bottom = math.floor((low - 0.25 * span) / step) if low else 0
        top = math.ceil((high + (0.4 if early else 0.04) * span) / step)
        return Limits(bottom * step, top * step, empty=False)

    def ticks(self) -> Floats:
        """Round values between the limits; none while there is nothing to show."""
        if self.empty:
            return np.array([])
        step = nice_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        return np.arange(first, math.floor(self.high / step + 1e-9) + 1, dtype=np.float64) * step


def loss_limits(curve: Curve, valid: Floats, now: Limits) -> Limits:
    """Limits of the loss; once there are twenty steps, the few wildest do not count."""
    raw = np.array(curve.losses)
    early = len(raw) < 20
    if not early:
        raw = np.quantile(raw, [0.01, 0.98], method="nearest")
    seen = np.concatenate([raw, valid, curve.smoothed[-1:]])
    return now.around(float(seen.min()), float(seen.max()), early=early) if len(seen) else now


def finite(evaluations: Sequence[Evaluated], name: str) -> tuple[Floats, Floats]:
    """Steps and values of one metric, where it is a finite number."""
    points = [(e.step, _number(e.metrics, name)) for e in evaluations]
    kept = [(step, value) for step, value in points if math.isfinite(value)]
    return np.array([step for step, _ in kept], float), np.array([value for _, value in kept], float)


def _number(metrics: Mapping[str, Any], name: str) -> float:
    value = metrics.get(name)
    return float(value) if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) else math.nan


def score_names(evaluations: Sequence[Evaluated]) -> tuple[str, ...]:
    """The metrics shown in the second panel: those known to say most, else the first two numbers beside the loss."""
    return _chosen(evaluations, _PLOTTED)


def said_names(evaluations: Sequence[Evaluated]) -> tuple[str, ...]:
    """The metrics said in words and tables, perplexity among them."""
    return _chosen(evaluations, tuple(NAMES))


def _chosen(evaluations: Sequence[Evaluated], preferred: Sequence[str]) -> tuple[str, ...]:
    if not evaluations:
        return ()
    metrics = evaluations[-1].metrics
    numbers = [name for name in metrics if name not in ("loss", *_COUNTS) and not math.isnan(_number(metrics, name))]
    return tuple([name for name in preferred if name in numbers] or numbers[:2])


def score_limits(evaluations: Sequence[Evaluated], names: Sequence[str], now: Limits) -> Limits:
    """Limits of the second panel."""
    values = np.concatenate([finite(evaluations, name)[1] for name in names] or [np.array([])])
    if not len(values):
        return Limits()
    if not are_shares(names) or values.min() < 0 or values.max() > 1:
        return now.around(float(values.min()), float(values.max()))
    # Shares: the top is always 100 %, the bottom only ever moves down.
    low = next(low for low in (0.95, 0.9, 0.8, 0.5, 0.0) if low < values.min() or low == 0)
    return Limits(low, 1.0, empty=False)


def are_shares(names: Sequence[str]) -> bool:
    """Whether values between 0 and 1 are parts of a whole; of most metrics they are."""
    return not any(name in NAMES and name not in SHARES for name in names)
