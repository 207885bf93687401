from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score, log_loss

from gpt_magic.inference.calibration import softmax
from gpt_magic.tasks.evaluation import evaluate_classes

CLASSES = {"str": ["ham", "spam", "食物", "动物"], "int": [0, 1, 7, -1], "bool": [False, True]}


@pytest.mark.parametrize("kind", CLASSES)
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_metrics_are_those_of_scikit_learn(kind: str, data: st.DataObject) -> None:
    """Labels are drawn from some of the classes only, so that classes are absent from truth or predictions."""
    classes: list[Hashable] = list(CLASSES[kind])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shown = data.draw(st.lists(st.sampled_from(classes), min_size=1, unique=True))
    labels = [shown[i] for i in rng.integers(0, len(shown), data.draw(st.integers(1, 30)))]
    scores = rng.normal(size=(len(labels), len(classes))).astype(np.float32)
    scores[:, rng.integers(0, len(classes))] -= 100  # never predicted

    found = evaluate_classes(scores, labels, classes, truncated=2)
    predicted = [classes[i] for i in scores.argmax(axis=1)]
    text, chosen = list(map(str, labels)), list(map(str, predicted))  # scikit-learn sorts; text keeps one kind
    names = list(map(str, classes))
    report = classification_report(text, chosen, labels=names, output_dict=True, zero_division=0)
    assert (found.rows, found.truncated) == (len(labels), 2)
    assert found.accuracy == accuracy_score(text, chosen)
    assert found.macro_f1 == pytest.approx(f1_score(text, chosen, average="macro", zero_division=0))
    assert found.weighted_f1 == pytest.approx(f1_score(text, chosen, average="weighted", zero_division=0))
    chances = softmax(scores.astype(np.float64))
    targets = [classes.index(label) for label in labels]
    # scikit-learn clips probabilities, so rows of the class that is never predicted would differ.
    if chances[np.arange(len(labels)), targets].min() > 1e-10:
        assert found.loss == pytest.approx(log_loss(targets, chances, labels=range(len(classes))), rel=1e-5)
    for label, name in zip(classes, names, strict=True):
        row = found.per_class.loc[label]
        for ours, theirs in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert row[ours] == pytest.approx(report[name][theirs])
    assert found.confusion.to_numpy().tolist() == confusion_matrix(text, chosen, labels=names).tolist()


@pytest.mark.parametrize("kind", CLASSES)
def test_tables_carry_the_labels_themselves(kind: str) -> None:
    classes: list[Hashable] = list(CLASSES[kind])
    found = evaluate_classes(np.eye(len(classes), dtype=np.float32), classes, classes)
    for index in (found.per_class.index, found.confusion.index, found.confusion.columns):
        assert [type(label) for label in index] == [type(label) for label in classes]
        assert list(index) == classes
    assert found.accuracy == found.macro_f1 == found.weighted_f1 == 1.0


def test_the_text_says_it_all() -> None:
    found = evaluate_classes(np.array([[2.0, 1.0], [2.0, 1.0]], dtype=np.float32), ["食物", "动物"], ["食物", "动物"])
    assert str(found).startswith("2 rows: accuracy 0.5000, macro F1 0.3333, weighted F1 0.3333, loss 0.8133")
    for part in ("precision", "食物", "predicted"):
        assert part in str(found)
    assert repr(found) == str(found)
