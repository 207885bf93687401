import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from gpt_magic.inference.calibration import (
    BINS,
    calibrate,
    calibrated_loss,
    calibration_error,
    certainty,
    fit_temperature,
    reliability,
    softmax,
)


def rows_of_classes(seed: int, rows: int = 200, classes: int = 4, sure: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``sure`` times as large as the truth, which is drawn from them, warrants."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * 2
    truth = np.array([rng.choice(classes, p=chances) for chances in softmax(logits)])
    return (logits * sure).astype(np.float32), truth


def rows_of_labels(seed: int, rows: int = 200, labels: int = 3, sure: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, labels)) * 2
    return (logits * sure).astype(np.float32), rng.random((rows, labels)) < 1 / (1 + np.exp(-logits))


def test_probabilities_sum_to_one() -> None:
    chances = softmax(np.array([[1e4, -1e4], [0.0, 0.0]], dtype=np.float32))
    assert chances.tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert softmax(np.zeros((0, 3), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize("sure", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_has_the_lowest_loss_of_all(seed: int, sure: float) -> None:
    logits, truth = rows_of_classes(seed, sure=sure)
    reference = minimize_scalar(
        lambda log: log_loss(truth, softmax(logits.astype(float) / np.exp(log)), labels=range(4)),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert fit_temperature(logits, truth) == pytest.approx(np.exp(reference.x), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_of_labels_has_the_lowest_loss_of_all(seed: int) -> None:
    logits, truth = rows_of_labels(seed)
    reference = minimize_scalar(
        lambda log: log_loss(truth.ravel(), 1 / (1 + np.exp(-logits.astype(float).ravel() / np.exp(log)))),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert fit_temperature(logits, truth) == pytest.approx(np.exp(reference.x), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_calibrated_loss_is_that_with_the_best_temperature(seed: int) -> None:
    logits, truth = rows_of_classes(seed)
    cooled = softmax(logits.astype(float) / fit_temperature(logits, truth))
    weights = np.random.default_rng(seed).random(len(truth))
    assert calibrated_loss(logits, truth) == pytest.approx(log_loss(truth, cooled, labels=range(4)), rel=1e-6)
    expected = log_loss(truth, cooled, labels=range(4), sample_weight=weights)
    assert calibrated_loss(logits, truth, weights) == pytest.approx(expected, rel=1e-6)
    assert calibrated_loss(logits * 5, truth) == pytest.approx(calibrated_loss(logits, truth), rel=1e-6)
    logits, labels = rows_of_labels(seed)
    chances = 1 / (1 + np.exp(-logits.astype(float).ravel() / fit_temperature(logits, labels)))
    assert calibrated_loss(logits, labels) == pytest.approx(log_loss(labels.ravel(), chances), rel=1e-6)


def test_the_calibrated_loss_of_many_rows_and_of_rows_without_mistakes() -> None:
    logits, truth = rows_of_classes(0, rows=400)
    few = calibrated_loss(logits, truth)
    assert calibrated_loss(np.tile(logits, (200, 1)), np.tile(truth, 200)) == pytest.approx(few, rel=1e-3)
    right = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    assert 0 <= calibrated_loss(right, np.arange(60) % 3) < 1e-6


def test_without_mistakes_there_is_no_best_temperature() -> None:
    logits = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    assert fit_temperature(logits, np.arange(60) % 3) is None
    assert calibrate(logits, np.arange(60) % 3, seed=0) is None
    assert fit_temperature(logits * 2 - 1, logits > 0.5) is None


def test_logits_that_say_the_opposite_are_made_as_flat_as_can_be() -> None:
    logits = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    assert fit_temperature(logits, (np.arange(60) + 1) % 3) == 20.0


def by_hand(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error as Guo et al. 2017 write it, bin by bin."""
    total = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = [(c, r) for c, r in zip(confidence, right, strict=True) if low < c <= high or (number == 0 and c == 0)]
        if inside:
            said, came = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            total += len(inside) / len(confidence) * abs(said - came)
    return float(total)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_calibration_error_is_that_of_its_definition(pairs: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([c for c, _ in pairs]), np.array([r for _, r in pairs])
    edges = np.linspace(0, 1, BINS + 1)
    if np.abs(confidence[:, None] - edges[1:-1]).min() < 1e-12:  # the two spell the edges with other roundings
        return
    bins = reliability(confidence, right)
    assert calibration_error(bins) == pytest.approx(by_hand(confidence, right), abs=1e-12)
    assert sum(count for count, _, _ in bins) == len(pairs)


def test_certainty_is_of_the_likeliest_class_and_of_every_label() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    sure, right = certainty(logits, np.array([0, 0]))
    assert sure == pytest.approx(softmax(logits).max(axis=1))
    assert right.tolist() == [True, False]
    sure, right = certainty(logits, np.array([[1, 0], [0, 1]]))
    assert sure == pytest.approx(1 / (1 + np.exp(-logits.ravel())))
    assert right.tolist() == [True, False, False, True]


@pytest.mark.parametrize("make", [rows_of_classes, rows_of_labels])
def test_too_sure_a_model_is_cooled_and_unseen_rows_are_better_for_it(make: object) -> None:
    logits, truth = make(0, rows=1000)  # type: ignore[operator]
    unseen, unseen_truth = make(1, rows=1000)  # type: ignore[operator]
    found = calibrate(logits, truth, seed=0)
    assert found is not None
    assert found.temperature == pytest.approx(3, rel=0.15)
    assert found.ece_after < found.ece_before / 2
    before, after = (
        calibration_error(reliability(*certainty(some, unseen_truth))) for some in (unseen, unseen / found.temperature)
    )
    assert after < before / 2
    assert found.ece_before == calibration_error(reliability(*certainty(logits, truth)))


def test_figures_with_the_temperature_are_of_halves_that_did_not_fit_it() -> None:
    logits, truth = rows_of_classes(0, rows=101)
    found = calibrate(logits, truth, seed=3)
    assert found is not None
    order = np.random.default_rng(3).permutation(101)
    scaled = logits.astype(float)
    for here, other in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        scaled[here] /= fit_temperature(logits[other], truth[other])
    assert found.ece_after == pytest.approx(by_hand(*certainty(scaled, truth)))
    assert calibrate(logits, truth, seed=3) == found
