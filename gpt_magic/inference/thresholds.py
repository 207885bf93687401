"""From which probability on a row has a label."""

import numpy as np

USUAL = 0.5
LEAST = 5  # rows with the label, and rows without it, that a threshold is tuned on


def best_thresholds(chances: np.ndarray, truth: np.ndarray) -> list[float]:
    """The threshold of each label, see `best_threshold`, from ``(rows, labels)``."""
    return [best_threshold(*columns) for columns in zip(chances.T, truth.T, strict=True)]


def best_threshold(chances: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the highest F1; of equal ones that nearest to 0.5.

    Where the label is rare in the rows (fewer than 5 have it, or fewer than 5 do not) it is 0.5: the best threshold of
    so few rows says nothing of others.

    Args:
        chances: probability that each row has the label, ``(rows,)``.
        truth: whether it has, ``(rows,)``.
    """
    have = truth.astype(bool)
    if min(have.sum(), (~have).sum()) < LEAST:
        return USUAL
    steps = np.unique(np.append(chances, 0))  # below the lowest, all rows have the label
    between = (steps[1:] + steps[:-1]) / 2
    candidates = np.array([USUAL, *between[(between > 0) & (between < 1)]])
    # Of the rows from a threshold on: how many there are, and how many of them have the label.
    order = np.argsort(chances)
    first = np.searchsorted(chances[order], candidates, side="left")
    having = np.concatenate([[0], np.cumsum(have[order])])
    said, right = len(chances) - first, having[-1] - having[first]
    f1 = 2 * right / (said + having[-1])
    best = candidates[np.isclose(f1, f1.max(), rtol=1e-12, atol=0)]
    return float(best[np.abs(best - USUAL).argmin()])
