from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.data.checks import normalise
from gpt_magic.data.splits import set_aside

# Few letters, so that copies (but for case and space) are common.
ROWS = st.lists(
    st.tuples(st.text("aAbB ", min_size=1, max_size=4).filter(str.strip), st.sampled_from("xyz")),
    min_size=1,
    max_size=80,
)
FRACTIONS = st.floats(0, 0.5)
SEEDS = st.integers(0, 2**32 - 1)


def split(
    texts: Sequence[str], labels: Sequence[Hashable], fraction: float, seed: int
) -> tuple[list[int], list[int], str]:
    held, how = set_aside(texts, labels, fraction, seed)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist(), how


def labels_of(labels: Sequence[Hashable], positions: Sequence[int]) -> Counter[Hashable]:
    return Counter(labels[i] for i in positions)


@given(ROWS, FRACTIONS, SEEDS)
@settings(max_examples=100, deadline=None)
def test_every_row_on_one_side_copies_together_and_nothing_unlearned(
    rows: list[tuple[str, str]], fraction: float, seed: int
) -> None:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    train, valid, how = split(texts, labels, fraction, seed)
    assert sorted(train + valid) == list(range(len(rows)))
    assert (train, valid) == (sorted(train), sorted(valid))
    assert not {normalise(texts[i]) for i in train} & {normalise(texts[i]) for i in valid}
    assert set(labels_of(labels, valid)) <= set(labels_of(labels, train))
    assert train
    assert how.startswith("no validation") == (not valid)
    assert split(texts, labels, fraction, seed) == (train, valid, how)


@given(st.lists(st.integers(10, 60), min_size=2, max_size=5), st.floats(0.1, 0.5), SEEDS)
@settings(max_examples=40, deadline=None)
def test_classes_keep_their_shares(sizes: list[int], fraction: float, seed: int) -> None:
    labels = [number for number, size in enumerate(sizes) for _ in range(size)]
    texts = [f"text {position}" for position in range(len(labels))]
    train, valid, how = split(texts, labels, fraction, seed)
    if len(sizes) > round(fraction * len(labels)):
        return
    assert how == f"stratified split of {fraction:.0%}, seed {seed}"
    assert len(valid) == round(fraction * len(labels))
    kept, aside = labels_of(labels, train), labels_of(labels, valid)
    for number, size in enumerate(sizes):
        assert abs(aside[number] - fraction * size) <= 1.5
        assert kept[number] > 0


def test_a_class_of_one_row_trains() -> None:
    labels = ["common"] * 50 + ["rare"]
    for seed in range(20):
        train, valid, how = split([str(i) for i in range(51)], labels, 0.2, seed)
        assert 50 in train
        assert len(valid) == 10
        assert how.startswith("stratified")


def test_more_classes_than_seats_are_split_at_random_and_each_is_still_learned() -> None:
    labels = [number // 2 for number in range(200)]
    train, valid, how = split([str(i) for i in range(200)], labels, 0.1, 0)
    assert how == "random split of 10%, seed 0"
    assert 0 < len(valid) <= 20
    assert set(labels_of(labels, train)) == set(labels)


def test_a_label_that_stands_only_on_a_copy_is_not_lost_to_validation() -> None:
    texts = ["same", "SAME", *map(str, range(30))]
    labels = ["x", "only here", *["x", "y"] * 15]
    for seed in range(30):
        train, _, _ = split(texts, labels, 0.5, seed)
        assert {0, 1} <= set(train)


def test_the_seed_decides() -> None:
    texts, labels = [str(i) for i in range(100)], ["a", "b"] * 50
    chosen = [tuple(split(texts, labels, 0.2, seed)[1]) for seed in range(10)]
    assert len(set(chosen)) == 10


def test_copies_are_told() -> None:
    texts = ["One text", "one  TEXT ", *map(str, range(18))]
    _, _, how = split(texts, ["a", "b"] * 10, 0.2, 1)
    assert how == "stratified split of 20%, seed 1, copies kept on one side (1)"


@pytest.mark.parametrize(
    ("rows", "fraction", "how"),
    [
        (2, 0.1, "no validation: too few different texts (2) to set any aside"),
        (20, 0.0, "no validation (valid_fraction = 0)"),
        (1, 0.5, "no validation: too few different texts (1) to set any aside"),
    ],
)
def test_without_validation_everything_trains(rows: int, fraction: float, how: str) -> None:
    texts = [str(i) for i in range(rows)]
    assert split(texts, (["a", "b"] * rows)[:rows], fraction, 0) == (list(range(rows)), [], how)


def test_a_class_in_every_row_leaves_none_to_validate() -> None:
    train, valid, how = split(list("abcdef"), list("uvwxyz"), 0.5, 0)
    assert (len(train), valid) == (6, [])
    assert how == "no validation: too few rows of each class to set any aside"


def test_any_kind_of_label_splits() -> None:
    for labels in ([0, 1] * 10, [True, False] * 10, ["甲", "乙"] * 10):
        _, valid, _ = split([str(i) for i in range(20)], labels, 0.2, 0)
        assert Counter(type(labels[i]) for i in valid) == {type(labels[0]): 4}
