from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight

from gpt_magic.errors import OptionError
from gpt_magic.inference.calibration import softmax
from gpt_magic.tasks.classify import Classify, class_weights, quick_metrics
from gpt_magic.tasks.labelled import logits
from tests.tiny import tiny_gpt2

# --- class weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["a", "b", "b", "c"] * 3, [1, 0, 0, 0], [True, False, True, True]])
def test_balanced_weights_are_those_of_scikit_learn(labels: list[Hashable]) -> None:
    classes = sorted(set(labels))  # type: ignore[type-var]
    reference = compute_class_weight("balanced", classes=np.array(classes), y=np.array(labels))
    np.testing.assert_allclose(class_weights("balanced", labels, classes), reference)


def test_no_weights_are_ones() -> None:
    assert class_weights("none", ["a", "a", "b"], ["a", "b"]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("setting", "classes", "weights"),
    [
        ({"b": 2, "a": 0.5}, ["a", "b"], [0.5, 2.0]),
        ({0: 1, 1: 3}, [0, 1], [1.0, 3.0]),
        ({True: 1, False: 3}, [False, True], [3.0, 1.0]),
        ({"食物": np.float32(2), "动物": np.int64(1)}, ["动物", "食物"], [1.0, 2.0]),
        ({"a": 0, "b": 1}, ["a", "b"], [0.0, 1.0]),
    ],
)
def test_a_dict_gives_the_weights(setting: Any, classes: list[Hashable], weights: list[float]) -> None:
    before = dict(setting)
    assert class_weights(setting, classes, classes).tolist() == weights
    assert setting == before


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"a": 1}, "class_weights: 'b' not given; give a weight for each of 'a', 'b'"),
        ({"a": 1, "b": 1, "c": 1}, "class_weights: 'c' unknown; give a weight for each of 'a', 'b'"),
        ({}, "class_weights: 'a', 'b' not given; give a weight for each of 'a', 'b'"),
        ({"a": 1, "b": -1}, "class_weights = {'a': 1, 'b': -1}: weights must be numbers from 0 up, not all 0"),
        ({"a": 0, "b": 0}, "class_weights = {'a': 0, 'b': 0}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": "2"}, "class_weights = {'a': 1, 'b': '2'}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": True}, "class_weights = {'a': 1, 'b': True}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": None}, "class_weights = {'a': 1, 'b': None}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": np.nan}, "class_weights = {'a': 1, 'b': nan}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": np.inf}, "class_weights = {'a': 1, 'b': inf}: weights must be numbers from 0 up, not all 0"),
    ],
)
def test_a_bad_dict_says_what_is_wrong(setting: Any, line: str) -> None:
    with pytest.raises(OptionError) as caught:
        class_weights(setting, ["a", "b"], ["a", "b"])
    assert str(caught.value) == line


def test_weights_for_labels_of_another_kind_are_unknown() -> None:
    with pytest.raises(OptionError, match="class_weights: '0', '1' unknown; give a weight for each of 0, 1"):
        class_weights({"0": 1, "1": 2}, [0, 1], [0, 1])


# --- targets, loss, metrics -----------------------------------------------------------------------------


def test_the_loss_is_weighted_cross_entropy() -> None:
    model = tiny_gpt2(classes=3)
    hidden, targets = torch.randn(5, 32), torch.tensor([0, 1, 2, 1, 0])
    objective = Classify(["a", "b", "c"], np.array([1.0, 2.0, 0.5]))
    by_hand = torch.nn.functional.cross_entropy(model.score(hidden), targets, reduction="none")
    np.testing.assert_array_equal(objective.weights(targets.numpy()), [1.0, 2.0, 0.5, 2.0, 1.0])
    torch.testing.assert_close(
        objective.losses(model, hidden, targets), by_hand * torch.tensor([1.0, 2.0, 0.5, 2.0, 1.0])
    )
    assert logits(model.to(torch.bfloat16), hidden.to(torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("seed", range(5))
def test_quick_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(40, 4)).astype(np.float32)
    targets = rng.integers(0, 2 + seed % 3, 40)
    weights = rng.uniform(0.1, 3, 40)
    metrics = quick_metrics(scores, targets, weights)
    chosen = scores.argmax(axis=1)
    assert metrics["accuracy"] == accuracy_score(targets, chosen)
    assert metrics["macro_f1"] == f1_score(targets, chosen, average="macro", zero_division=0)
    expected = log_loss(targets, softmax(scores.astype(np.float64)), labels=range(4), sample_weight=weights)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_rows_without_any_weight_count_alike() -> None:
    scores, targets = np.array([[1.0, 0.0], [0.0, 3.0]], dtype=np.float32), np.array([1, 1])
    expected = quick_metrics(scores, targets, np.ones(2))
    assert quick_metrics(scores, targets, np.zeros(2)) == pytest.approx(expected)
