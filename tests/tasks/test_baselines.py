import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from gpt_magic.data.checks import Examples
from gpt_magic.tasks import baselines

WORDS = {"good": ["fine plot", "fine actors", "a fine film"], "bad": ["dull plot", "dull actors", "a dull film"]}
CHINESE = {"食物": ["苹果好吃", "香蕉好吃", "米饭好吃"], "动物": ["小狗会跑", "小猫会跑", "大马会跑"]}
KOREAN = {"음식": ["사과 먹다", "쌀 먹다", "빵 먹다"], "동물": ["개 뛰다", "말 뛰다", "소 뛰다"]}


def examples(classes: dict[str, list[str]], kind: type = str) -> Examples:
    pairs = [(text, label) for label, texts in classes.items() for text in texts]
    number = {label: place for place, label in enumerate(classes)}
    labels = [label if kind is str else kind(number[label]) for _, label in pairs]
    return Examples([text for text, _ in pairs], labels, list(range(len(pairs))))


@pytest.mark.parametrize("kind", [str, int, bool])
@pytest.mark.parametrize("classes", [WORDS, CHINESE, KOREAN], ids=["words", "Chinese", "Korean"])
def test_tfidf_learns_a_plain_rule_without_a_warning(classes: dict[str, list[str]], kind: type) -> None:
    data = examples(classes, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert baselines.tfidf(data, data, seed=0) == (1.0, 1.0)


def test_chinese_texts_share_characters_not_words() -> None:
    new = Examples(["西瓜好吃", "小鸟会跑"], ["食物", "动物"], [0, 1])
    assert baselines.tfidf(examples(CHINESE), new, seed=0) == (1.0, 1.0)


def test_texts_without_words_say_so() -> None:
    data = Examples(["!", "?"], ["a", "b"], [0, 1])
    with pytest.raises(ValueError, match="empty vocabulary"):
        baselines.tfidf(data, data, seed=0)


def test_at_most_so_many_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_ROWS", 20)
    data = Examples(["fine", "dull"] * 100, ["good", "bad"] * 100, list(range(200)))
    assert baselines.tfidf(data, data, seed=1) == baselines.tfidf(data, data, seed=1) == (1.0, 1.0)


def test_the_majority_is_that_of_the_training_rows() -> None:
    train = Examples(list("abc"), ["x", "y", "x"], [0, 1, 2])
    valid = Examples(list("def"), ["y", "y", "x"], [0, 1, 2])
    accuracy, macro_f1 = baselines.majority(train, valid)
    truth, said = ["y", "y", "x"], ["x", "x", "x"]
    assert accuracy == accuracy_score(truth, said)
    assert macro_f1 == f1_score(truth, said, average="macro", zero_division=0)


def test_a_tie_goes_to_the_label_seen_first() -> None:
    train = Examples(list("ab"), ["y", "x"], [0, 1])
    assert baselines.majority(train, Examples(["c"], ["y"], [0])) == (1.0, 1.0)


# --- several labels, numbers, pairs ---------------------------------------------------------------------

SEVERAL = [("fine plot", ("good", "plot")), ("fine film", ("good",)), ("dull plot", ("plot",)), ("dull film", ())]


def several() -> Examples:
    return Examples([text for text, _ in SEVERAL * 5], [labels for _, labels in SEVERAL * 5], list(range(20)))


def test_most_frequent_labels_are_as_many_as_a_row_has() -> None:
    """One a row on average, and "good" comes first of the two that are equally frequent."""
    found = baselines.frequent_labels(several(), several(), ["good", "plot"])
    truth = [[1, 1], [1, 0], [0, 1], [0, 0]] * 5
    said = [[1, 0]] * 20
    assert found[:2] == pytest.approx(
        [f1_score(truth, said, average=kind, zero_division=0) for kind in ("micro", "macro")]
    )


def test_tfidf_learns_labels_one_by_one_those_of_all_rows_and_of_none_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert baselines.tfidf_label_sets(several(), several(), ["good", "plot"], seed=0) == [1.0, 1.0, 1.0]
        same = Examples(["a film"] * 4, [("all",)] * 4, list(range(4)))
        assert baselines.tfidf_label_sets(same, same, ["all", "none"], seed=0) == [1.0, 0.5, 1.0]


def test_numbers_are_compared_with_their_mean_and_a_ridge() -> None:
    rng = np.random.default_rng(0)
    count = rng.integers(1, 6, 80)
    data = Examples(["fine " * n + "film" for n in count], (count * 2.5).tolist(), list(range(80)))
    mean = baselines.mean_number(data, data)
    assert mean[0] == pytest.approx(np.abs(count * 2.5 - count.mean() * 2.5).mean())
    assert mean[2] == pytest.approx(0)
    assert np.isnan(mean[3])
    ridge = baselines.tfidf_numbers(data, data, seed=0)
    assert ridge[1] < mean[1] / 2
    assert ridge[3] > 0.9


def test_pairs_are_counted_together() -> None:
    data = Examples([("a plot", "fine"), ("a plot", "dull")] * 5, ["good", "bad"] * 5, list(range(10)))
    assert baselines.tfidf(data, data, seed=0) == (1.0, 1.0)
