"""What a classifier must beat to be worth its training: the majority class, and TF-IDF + logistic regression."""

import re
import threading
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from gpt_magic.data.checks import Examples

Row = tuple[str, Sequence[float | None]]

MAX_ROWS = 20_000  # more would take longer than many a training run
MAX_FEATURES = 50_000  # likewise, with many classes
_WORD = r"(?u)\b\w+\b"
# Thai and Lao, Burmese, Khmer, Japanese, Chinese: no spaces between words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def compare(train: Examples, valid: Examples, seed: int, stop: threading.Event) -> tuple[list[Row], list[str]]:
    """Both baselines as rows of accuracy and macro F1, and what has to be said of them.

    scikit-learn cannot be interrupted: when ``stop`` is set the fit is left to itself and its row left out.
    """
    rows: list[Row] = [("majority class", list(majority(train, valid)))]
    found: list[Row | str] = []

    def fit() -> None:
        try:
            found.append(("TF-IDF + logistic regression", list(tfidf(train, valid, seed))))
        except Exception as error:  # a comparison that fails must not cost the model
            found.append(f"no TF-IDF baseline: {type(error).__name__}: {' '.join(str(error).split())}")

    worker = threading.Thread(target=fit, name="gpt_magic baseline", daemon=True)
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


def tfidf(train: Examples, valid: Examples, seed: int) -> tuple[float, float]:
    """Accuracy and macro F1 on ``valid`` of logistic regression on TF-IDF features.

    Words and word pairs; characters instead where the texts have no spaces between words.

    Raises:
        ValueError: the texts have no words to count.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if len(train) > MAX_ROWS:
        # In the order of the table, because rows of a file are read fastest so.
        train = train.take(np.sort(np.random.default_rng(seed).choice(len(train), MAX_ROWS, replace=False)))
    texts = list(train.texts)
    unspaced = sum(bool(_UNSPACED.search(text)) for text in texts) * 2 > len(texts)
    kind = {"analyzer": "char", "ngram_range": (1, 3)} if unspaced else {"token_pattern": _WORD, "ngram_range": (1, 2)}
    features = TfidfVectorizer(sublinear_tf=True, max_features=MAX_FEATURES, **kind)
    # C above 1: TF-IDF rows have unit length, which the default penalty keeps too close to the prior.
    model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=1000))
    model.fit(texts, [str(label) for label in train.labels])
    pieces = (valid.texts[start : start + MAX_ROWS] for start in range(0, len(valid), MAX_ROWS))
    said = [label for piece in pieces for label in model.predict(piece).tolist()]
    return accuracy_and_macro_f1([str(label) for label in valid.labels], said)
