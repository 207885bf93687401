import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_fscore_support,
    r2_score,
)

from gpt_magic.tasks.label_evaluation import evaluate_label_sets, evaluate_numbers
from gpt_magic.tasks.metrics import indicators, label_metrics, number_metrics

CLASSES = ["fine", "食物", "dull", "<b>"]


def random_labels(rng: np.random.Generator, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and truth, some labels of which no row has, or all have."""
    share = rng.choice([0.0, 0.2, 0.6, 1.0], classes)
    return rng.normal(size=(rows, classes)).astype(np.float32), rng.random((rows, classes)) < share


@given(st.integers(0, 2**32), st.integers(2, 30), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_label_metrics_are_those_of_scikit_learn(seed: int, rows: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = random_labels(rng, rows, classes)
    chances, thresholds = 1 / (1 + np.exp(-scores.astype(float))), rng.random(classes)
    found, said = label_metrics(chances, truth, thresholds.tolist()), chances >= thresholds
    assert found["micro_f1"] == pytest.approx(f1_score(truth, said, average="micro", zero_division=0))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    some = truth.any(axis=0)
    if some.any():
        expected = average_precision_score(truth[:, some], chances[:, some], average="macro")
        assert found["average_precision"] == pytest.approx(expected)
    else:
        assert np.isnan(found["average_precision"])
    half = label_metrics(chances, truth)
    assert half["micro_f1"] == pytest.approx(f1_score(truth, chances >= 0.5, average="micro", zero_division=0))


@pytest.mark.parametrize("seed", range(3))
def test_one_label_is_yes_or_no(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances, truth = rng.random((20, 1)), rng.random((20, 1)) < 0.5
    expected = f1_score(truth[:, 0], chances[:, 0] >= 0.5)
    found = label_metrics(chances, truth)
    assert found["micro_f1"] == found["macro_f1"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_evaluations_of_labels_have_a_row_a_label_and_their_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = random_labels(rng, 25, 4)
    labels = [tuple(name for name, has in zip(CLASSES, row, strict=True) if has) for row in truth]
    found = evaluate_label_sets(scores, labels, CLASSES, [0.5, 0.4, 0.6, 0.5], truncated=2)
    said = 1 / (1 + np.exp(-scores.astype(float))) >= [0.5, 0.4, 0.6, 0.5]
    columns = precision_recall_fscore_support(truth, said, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        np.testing.assert_allclose(found.per_label[name], values)
    assert list(found.per_label.index) == CLASSES
    assert found.exact_match == pytest.approx((truth == said).all(axis=1).mean())
    chances = 1 / (1 + np.exp(-scores.astype(float)))
    nll = -np.where(truth, np.log(chances), np.log1p(-chances)).mean()
    assert found.loss == pytest.approx(nll, rel=1e-5)
    assert (found.rows, found.truncated) == (25, 2)
    assert str(found).startswith("25 rows: micro F1 ")
    assert "2 of them cut" in repr(found)


def test_indicators_are_in_the_order_of_the_classes() -> None:
    assert indicators([("b",), (), ("a", "b")], ["b", "a"]).tolist() == [[1, 0], [0, 0], [1, 1]]


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.sampled_from([-2.5, 0.0, 1.0, 7.25])), min_size=2, max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_number_metrics_are_those_of_scikit_learn_and_scipy(pairs: list[tuple[float, float]]) -> None:
    said, truth = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    found = number_metrics(said, truth)
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, said))
    assert found["rmse"] == pytest.approx(mean_squared_error(truth, said) ** 0.5)
    if len(set(truth.tolist())) > 1:
        assert found["r2"] == pytest.approx(r2_score(truth, said))
    else:
        assert np.isnan(found["r2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = spearmanr(said, truth).statistic
    assert found["spearman"] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_text_of_numbers_says_it_all() -> None:
    found = evaluate_numbers(np.array([1.0, 2.0], dtype=np.float32), [1.0, 3.0], truncated=1)
    said = "2 rows: MAE 0.5, RMSE 0.7071, R² 0.5000, Spearman 1.0000; 1 of them cut to what the model reads"
    assert str(found) == repr(found) == said
