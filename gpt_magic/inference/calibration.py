"""How sure a model may be: one temperature that its logits are divided by, and how far its confidence is off.

Guo et al. 2017, On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599: the temperature that gives
held-out rows the lowest cross-entropy (section 4.2), and the expected calibration error (section 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 15
LEAST_ROWS = 50  # fewer say too little of how sure to be
_COLDEST, _HOTTEST = 0.05, 20.0
_FITTED = 20_000  # rows that a temperature for comparison is fitted on, about
_HALVINGS = 60  # of the interval in which the temperature is searched

Bin = tuple[int, float, float]


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it does.

    The figures with the temperature are by cross-validation: each half of the rows with the temperature of the other
    half, for on the rows that it was fitted on it would look better than it is.

    Attributes:
        temperature: fitted on all rows.
        rows: validation rows.
        ece_before, ece_after: expected calibration error without and with a temperature, between 0 and 1.
        before, after: the bins that these are made of, see `reliability`.
    """

    temperature: float
    rows: int
    ece_before: float
    ece_after: float
    before: Sequence[Bin]
    after: Sequence[Bin]


def calibrate(logits: np.ndarray, truth: np.ndarray, seed: int) -> Calibration | None:
    """Fit a temperature; None where the rows have no best one, as when every prediction is right.

    Args:
        logits: ``(rows, classes)``.
        truth: the number of each row's class, ``(rows,)``, or which labels it has, ``(rows, classes)`` of 0 and 1.
        seed: of the halves.
    """
    temperature = fit_temperature(logits, truth)
    if temperature is None:
        return None
    order = np.random.default_rng(seed).permutation(len(logits))
    halves = order[::2], order[1::2]
    scaled = np.array(logits, dtype=np.float64)
    for here, other in (halves, halves[::-1]):
        scaled[here] /= fit_temperature(logits[other], truth[other]) or 1.0
    before, after = reliability(*certainty(logits, truth)), reliability(*certainty(scaled, truth))
    return Calibration(temperature, len(logits), calibration_error(before), calibration_error(after), before, after)


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float | None:
    """The temperature with the lowest mean cross-entropy; arguments as for `calibrate`.

    The cross-entropy is convex in 1 / temperature, so its slope, which grows, is halved down to where it is 0.

    Returns:
        At most 20; None where the cross-entropy falls on to the coldest temperature, for then only certainty is best.
    """
    scores = np.asarray(logits, dtype=np.float64)
    low, high = np.log(1 / _HOTTEST), np.log(1 / _COLDEST)
    if _slope(scores, truth, np.exp(high)) <= 0:
        return None
    if _slope(scores, truth, np.exp(low)) >= 0:
        return _HOTTEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(scores, truth, np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def calibrated_loss(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean cross-entropy in nats with the temperature that suits these very rows; of labels, the mean over all.

    A model that goes on learning grows too sure, and its loss rises while it still gets better: with the temperature
    taken out, the loss says what the model tells apart. It is for comparing models on the same rows.

    Args:
        weights: share of each row in the mean, ``(rows,)``; alike when None.
    """
    some = slice(None, None, max(len(logits) // _FITTED, 1))
    scores = np.asarray(logits, dtype=np.float64) / (fit_temperature(logits[some], truth[some]) or _COLDEST)
    if truth.ndim == 2:
        losses = (np.logaddexp(0.0, scores) - truth * scores).mean(axis=1)
    else:
        shifted = scores - scores.max(axis=1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(scores)), truth]
    return float(np.average(losses, weights=weights))


def _slope(scores: np.ndarray, truth: np.ndarray, sharpness: float) -> float:
    """Derivative of the summed cross-entropy by the factor of the logits."""
    if truth.ndim == 2:
        return float((scores * (_sigmoid(sharpness * scores) - truth)).sum())
    chances = softmax(sharpness * scores)
    return float((chances * scores).sum() - scores[np.arange(len(scores)), truth].sum())


def certainty(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a model says of its chances, and what came.

    Returns:
        For classes the probability of each row's likeliest and whether that is right, ``(rows,)``; for labels the
        probability of every one and whether the row has it, ``(rows * classes,)``.
    """
    if truth.ndim == 2:
        return _sigmoid(np.asarray(logits, dtype=np.float64)).ravel(), truth.astype(bool).ravel()
    chances = softmax(np.asarray(logits, dtype=np.float64))
    return chances.max(axis=1), chances.argmax(axis=1) == truth


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Confidence and truth in `BINS` bins of equal width, each without its lower edge.

    Returns:
        For each bin how many there are in it, their mean confidence, and the share of those that are right; 0 and 0 of
        an empty one.
    """
    number = np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    counts = np.bincount(number, minlength=BINS)
    some = np.maximum(counts, 1)
    said = np.bincount(number, confidence, BINS) / some
    came = np.bincount(number, right, BINS) / some
    return list(zip(counts.tolist(), said.tolist(), came.tolist(), strict=True))


def calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance of confidence and share of those right, each bin by how many are in it."""
    total = sum(count for count, _, _ in bins)
    return sum(count * abs(said - came) for count, said, came in bins) / max(total, 1)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from logits, ``(rows, classes)``."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return chances


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    chances: np.ndarray = np.exp(-np.logaddexp(0.0, -scores))
    return chances
