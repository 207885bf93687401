"""Labels that are numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpt_magic.data.label_numbers import NumberData, fifths, is_numbers, read_numbers
from gpt_magic.data.read import read_data
from gpt_magic.errors import DataError
from gpt_magic.options import Options


def data(numbers: Any, **given: Any) -> NumberData:
    options = Options()
    texts = [f"text {i}" for i in range(len(numbers))]
    options.update({"data": {"text": texts, "score": numbers}, "label": "score", **given})
    found = read_data(options)
    assert isinstance(found, NumberData)
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 1.0], True),
        ([1.0, 2.0], False),
        ([1.0, np.nan, 3.0], False),
        ([1.5, np.nan], True),
        ([1.5, pd.NA, 2], True),
        ([np.inf, 1.0], False),
        ([1, 2], False),
        (["0.5", "1"], False),
        ([True, False], False),
        ([np.nan, np.nan], False),
    ],
)
def test_numbers_with_a_fraction_are_learned_as_numbers(values: list[Any], expected: bool) -> None:
    assert is_numbers(pd.Series(values)) is expected


def test_whole_numbers_are_learned_as_numbers_when_asked() -> None:
    found = data(list(range(20)), task="regress")
    assert sorted([*found.train.labels, *found.valid.labels]) == list(map(float, range(20)))  # type: ignore[type-var]
    assert all(type(label) is float for label in found.train.labels)
    assert found.classes == []


@pytest.mark.parametrize("kind", [np.float32, np.float64, "Float64", object])
def test_columns_of_all_kinds_of_numbers(kind: Any) -> None:
    assert read_numbers(pd.Series([1.5, 2.0], dtype=kind), "score", "data") == [1.5, 2.0]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([1.5, "2.5"], "data, row 1: the label '2.5' in column 'score' is a str, not a number; make numbers of texts "),
        ([1.5, True], "data, row 1: the label True in column 'score' is a bool, not a number"),
        ([1.5, [2.5]], "data, row 1: the label [2.5] in column 'score' is a list, not a number"),
        ([1.5, np.inf, -np.inf], "data: column 'score' is infinite or too large in rows 1, 2: remove these rows"),
        ([1.5, 1e35], "data: column 'score' is infinite or too large in row 1: remove these rows"),
        ([1.5, np.nan], "data: column 'score' is empty in row 1. Fill them, or say missing = 'drop'"),
        ([1.5, pd.NA], "data: column 'score' is empty in row 1. Fill them, or say missing = 'drop'"),
        ([2.5, 2.5], "column 'score' has one value only, 2.5: nothing to learn"),
    ],
)
def test_what_cannot_be_learned_as_numbers_says_where(values: list[Any], line: str) -> None:
    with pytest.raises(DataError) as caught:
        data(values, task="regress")
    assert str(caught.value).startswith(line)


def test_the_split_has_low_and_high_numbers_on_both_sides() -> None:
    numbers = np.random.default_rng(0).lognormal(size=200)
    found = data(numbers, valid_fraction=0.2)
    fifth = pd.qcut(pd.Series(numbers), 5, labels=False)
    assert fifth[found.valid.index].value_counts().to_dict() == dict.fromkeys(range(5), 8)
    assert found.split == "stratified split of 20%, seed 42"


def test_fifths_of_few_different_numbers() -> None:
    assert fifths([1.0, 1.0, 1.0, 1.0, 5.0]) == [0, 0, 0, 0, 4]


def test_validation_may_have_any_number() -> None:
    found = data([0.5, 1.5] * 4, valid={"text": ["x"], "score": [77.0]})
    assert found.valid.labels == [77.0]
