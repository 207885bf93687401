"""What a model that labels must beat to be worth its training: the usual label, and TF-IDF + a linear model."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from gpt_magic.data.checks import Examples, Text
from gpt_magic.tasks.metrics import indicators, label_metrics, number_metrics

Row = tuple[str, Sequence[float | None]]

MAX_ROWS = 20_000  # more would take longer than many a training run
MAX_FEATURES = 50_000  # likewise, with many classes
_WORD = r"(?u)\b\w+\b"
# Thai and Lao, Burmese, Khmer, Japanese, Chinese: no spaces between words.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def compare(train: Examples, valid: Examples, seed: int, stop: threading.Event) -> tuple[list[Row], list[str]]:
    """Majority class and TF-IDF + logistic regression as rows of accuracy and macro F1; what has to be said of them."""
    simple = ("majority class", majority(train, valid))
    return _beside(simple, "TF-IDF + logistic regression", lambda: tfidf(train, valid, seed), stop)


def compare_label_sets(
    train: Examples, valid: Examples, classes: Sequence[Hashable], seed: int, stop: threading.Event
) -> tuple[list[Row], list[str]]:
    """The most frequent labels and TF-IDF + logistic regression, as rows of micro F1, macro F1, average precision."""
    simple = ("most frequent labels", frequent_labels(train, valid, classes))
    model = "TF-IDF + logistic regression a label"
    return _beside(simple, model, lambda: tfidf_label_sets(train, valid, classes, seed), stop)


def compare_numbers(train: Examples, valid: Examples, seed: int, stop: threading.Event) -> tuple[list[Row], list[str]]:
    """The mean and TF-IDF + ridge regression, as rows of MAE, RMSE, R² and Spearman's correlation."""
    simple = ("mean of the training rows", mean_number(train, valid))
    return _beside(simple, "TF-IDF + ridge regression", lambda: tfidf_numbers(train, valid, seed), stop)


def _beside(
    simple: tuple[str, Sequence[float]], name: str, fit: Callable[[], Sequence[float]], stop: threading.Event
) -> tuple[list[Row], list[str]]:
    """A simple baseline's row and one that has to be fitted.

    scikit-learn cannot be interrupted: when ``stop`` is set the fit is left to itself and its row left out.
    """
    rows: list[Row] = [(simple[0], list(simple[1]))]
    found: list[Row | str] = []

    def work() -> None:
        try:
            found.append((name, list(fit())))
        except Exception as error:  # a comparison that fails must not cost the model
            found.append(f"no TF-IDF baseline: {type(error).__name__}: {' '.join(str(error).split())}")

    worker = threading.Thread(target=work, name="gpt_magic baseline", daemon=True)
    worker.start()
    while worker.is_alive() and not stop.is_set():
        worker.join(0.05)
    if not found:
        return rows, ["no TF-IDF baseline: stopped while it was fitted"]
    return ([*rows, found[0]], []) if isinstance(found[0], tuple) else (rows, [found[0]])


def accuracy_and_macro_f1(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> tuple[float, float]:
    """Accuracy and macro F1 of predicted labels, as scikit-learn defines them."""
    from sklearn.metrics import accuracy_score, f1_score

    return float(accuracy_score(truth, predicted)), float(f1_score(truth, predicted, average="macro", zero_division=0))


def majority(train: Examples, valid: Examples) -> tuple[float, float]:
    """Accuracy and macro F1 on ``valid`` of always saying the most frequent training label."""
    label = Counter(train.labels).most_common(1)[0][0]
    return accuracy_and_macro_f1(list(valid.labels), [label] * len(valid))


def frequent_labels(train: Examples, valid: Examples, classes: Sequence[Hashable]) -> list[float]:
    """Label metrics on ``valid`` of the most frequent labels, as many as a training row has on average."""
    have = indicators(train.labels, classes)  # type: ignore[arg-type]  # tuples
    shares = have.mean(axis=0)
    usual = max(round(float(have.sum(axis=1).mean())), 1)
    said = np.zeros((len(valid), len(classes)))
    said[:, np.argsort(-shares, kind="stable")[:usual]] = 1
    return list(label_metrics(said, indicators(valid.labels, classes) > 0).values())  # type: ignore[arg-type]


def mean_number(train: Examples, valid: Examples) -> list[float]:
    """Number metrics on ``valid`` of always saying the mean."""
    truth = np.asarray(valid.labels, dtype=float)
    said = np.full(len(truth), np.asarray(train.labels, dtype=float).mean())
    return list(number_metrics(said, truth).values())


def tfidf(train: Examples, valid: Examples, seed: int) -> tuple[float, float]:
    """Accuracy and macro F1 on ``valid`` of logistic regression on TF-IDF features.

    Raises:
        ValueError: the texts have no words to count.
    """
    train = some(train, seed)
    features, rows = _features(train)
    model = _logistic().fit(rows, [str(label) for label in train.labels])
    said = [label for piece in _pieces(valid) for label in model.predict(features.transform(piece)).tolist()]
    return accuracy_and_macro_f1([str(label) for label in valid.labels], said)


def tfidf_label_sets(train: Examples, valid: Examples, classes: Sequence[Hashable], seed: int) -> list[float]:
    """Label metrics on ``valid`` of one logistic regression a label on TF-IDF features.

    Raises:
        ValueError: the texts have no words to count.
    """
    train = some(train, seed)
    features, rows = _features(train)
    pieces = [features.transform(piece) for piece in _pieces(valid)]
    have = indicators(train.labels, classes)  # type: ignore[arg-type]  # tuples
    chances = np.zeros((len(valid), len(classes)))
    for number, column in enumerate(have.T):
        # Of a label that all rows have, or none, there is nothing to fit.
        several = 0 < column.sum() < len(column)
        if several:
            model = _logistic().fit(rows, column)
            chances[:, number] = np.concatenate([model.predict_proba(piece)[:, 1] for piece in pieces])
        else:
            chances[:, number] = column[0]
    return list(label_metrics(chances, indicators(valid.labels, classes) > 0).values())  # type: ignore[arg-type]


def tfidf_numbers(train: Examples, valid: Examples, seed: int) -> list[float]:
    """Number metrics on ``valid`` of ridge regression on TF-IDF features.

    Raises:
        ValueError: the texts have no words to count.
    """
    from sklearn.linear_model import Ridge

    train = some(train, seed)
    features, rows = _features(train)
    model = Ridge().fit(rows, np.asarray(train.labels, dtype=float))
    said = np.concatenate([model.predict(features.transform(piece)) for piece in _pieces(valid)])
    return list(number_metrics(said, np.asarray(valid.labels, dtype=float)).values())


def some(train: Examples, seed: int) -> Examples:
    """At most `MAX_ROWS` of the examples."""
    if len(train) <= MAX_ROWS:
        return train
    # In the order of the table, because rows of a file are read fastest so.
    return train.take(np.sort(np.random.default_rng(seed).choice(len(train), MAX_ROWS, replace=False)))


def _features(train: Examples) -> tuple[Any, Any]:
    """TF-IDF of words and word pairs, of characters where texts have no spaces between words; and that of ``train``."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = _joined(train.texts)
    unspaced = sum(bool(UNSPACED.search(text)) for text in texts) * 2 > len(texts)
    kind = {"analyzer": "char", "ngram_range": (1, 3)} if unspaced else {"token_pattern": _WORD, "ngram_range": (1, 2)}
    features = TfidfVectorizer(sublinear_tf=True, max_features=MAX_FEATURES, **kind)
    return features, features.fit_transform(texts)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    # C above 1: TF-IDF rows have unit length, which the default penalty keeps too close to the prior.
    return LogisticRegression(C=10.0, max_iter=1000)


def _joined(texts: Sequence[Text]) -> list[str]:
    """The texts; of a pair both in one."""
    return [text if isinstance(text, str) else "\n".join(text) for text in texts]


def _pieces(examples: Examples) -> Iterator[list[str]]:
    """The texts, so many at once that their features fit in memory."""
    return (_joined(examples.texts[start : start + MAX_ROWS]) for start in range(0, len(examples), MAX_ROWS))
