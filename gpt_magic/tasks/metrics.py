"""How far what was said of labels and numbers is from the truth."""

from collections.abc import Hashable, Sequence

import numpy as np

from gpt_magic.inference.thresholds import USUAL


def indicators(labels: Sequence[Sequence[Hashable]], classes: Sequence[Hashable]) -> np.ndarray:
    """1 where a row has a label, else 0, in float32, ``(rows, labels)``."""
    number = {label: i for i, label in enumerate(classes)}
    made = np.zeros((len(labels), len(classes)), dtype=np.float32)
    for row, some in enumerate(labels):
        made[row, [number[label] for label in some]] = 1
    return made


def label_metrics(
    chances: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] | None = None
) -> dict[str, float]:
    """Micro and macro F1, and the mean average precision of the labels that some row has, as scikit-learn defines them.

    Args:
        chances: probabilities, ``(rows, labels)``.
        truth: whether each row has each label, ``(rows, labels)``.
        thresholds: from which probability on a row is said to have each label; 0.5 when None.
    """
    from sklearn.metrics import f1_score

    said = chances >= (USUAL if thresholds is None else np.asarray(thresholds))
    # As columns of 0 and 1 even where there is one label, of which scikit-learn would see two classes.
    micro = f1_score(truth.ravel(), said.ravel(), zero_division=0)
    each = [f1_score(true, told, zero_division=0) for true, told in zip(truth.T, said.T, strict=True)]
    return {
        "micro_f1": float(micro),
        "macro_f1": float(np.mean(each)),
        "average_precision": float(np.nanmean(average_precisions(chances, truth))) if truth.any() else float("nan"),
    }


def average_precisions(chances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Average precision of each label, ``(labels,)``; NaN for one that no row has."""
    from sklearn.metrics import average_precision_score

    return np.array(
        [
            average_precision_score(true, told) if true.any() else np.nan
            for true, told in zip(truth.T, chances.T, strict=True)
        ]
    )


def number_metrics(said: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """MAE, RMSE, R² and Spearman's rank correlation of numbers ``(rows,)``.

    R² is NaN where all true numbers are one, the correlation also where all that were said are.
    """
    import pandas as pd

    wrong = said - truth
    spread = float(np.square(truth - truth.mean()).sum())
    ranks = [pd.Series(values).rank().to_numpy() for values in (said, truth)]
    varied = all(np.ptp(rank) > 0 for rank in ranks)
    return {
        "mae": float(np.abs(wrong).mean()),
        "rmse": float(np.sqrt(np.square(wrong).mean())),
        "r2": 1 - float(np.square(wrong).sum()) / spread if spread else float("nan"),
        "spearman": float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if varied else float("nan"),
    }
