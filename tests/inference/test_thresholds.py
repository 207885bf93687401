import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from gpt_magic.inference.thresholds import LEAST, best_threshold, best_thresholds


@example(14, 14, True)  # best where all rows have the label
@given(st.integers(0, 2**32), st.integers(10, 80), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_threshold_has_a_higher_f1(seed: int, rows: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    chances = rng.random(rows).astype(np.float32)
    if coarse:  # many equal ones
        chances = np.round(chances, 1)
    truth = rng.random(rows) < chances
    found = best_threshold(chances, truth)
    assert 0 < found < 1
    if min(truth.sum(), (~truth).sum()) < LEAST:
        assert found == 0.5
        return
    best = f1_score(truth, chances >= found)
    said = chances >= np.linspace(0, 1, 401)[1:-1, None]
    assert best >= (2 * (said & truth).sum(axis=1) / (said.sum(axis=1) + truth.sum())).max() - 1e-12
    if f1_score(truth, chances >= 0.5, zero_division=0) >= best - 1e-12:
        assert found == 0.5  # of equal ones that nearest to it


@pytest.mark.parametrize("having", [0, 4, 96, 100])
def test_a_label_that_few_rows_have_or_lack_keeps_the_usual_threshold(having: int) -> None:
    truth = np.arange(100) < having
    chances = np.where(truth, 0.3, 0.1)
    assert best_threshold(chances, truth) == 0.5


def test_each_label_has_its_own() -> None:
    truth = np.zeros((40, 2), dtype=bool)
    truth[:10] = True
    chances = np.stack([np.where(truth[:, 0], 0.3, 0.1), np.where(truth[:, 1], 0.9, 0.7)], axis=1)
    assert best_thresholds(chances, truth) == pytest.approx([0.2, 0.8])
