"""Cells read when asked for, hashes and numbers that stand for texts and labels."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_magic.data.cells import cells, groups, numbered, text_hashes, texts_of, told
from gpt_magic.data.read import read_data
from gpt_magic.options import Options

TEXTS = ["a", "苹果", "", "c" * 40, "NA", "e"]


@pytest.mark.parametrize("dtype", [object, "str", "string", "category"])
def test_texts_of_every_kind_of_column(dtype: Any) -> None:
    column = pd.Series(TEXTS, dtype=dtype, index=list("uvwxyz"))
    assert texts_of(column) == TEXTS
    for at in (np.array([4, 0, 0, 5]), np.array([], dtype=np.int64), range(2, 5), range(5, 0, -2)):
        assert texts_of(column, at) == [TEXTS[i] for i in at]
    assert {type(text) for text in texts_of(column)} == {str}


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(5, 17, 2),
        pd.Index([3, 3, 9, -1, 0, 2]),
        pd.Index(list("abcdef")),
        pd.MultiIndex.from_product([["x", "y"], [1, 2, 3]]),
        pd.date_range("2020-01-01", periods=6),
    ],
)
def test_names_of_every_kind_of_index(index: Any) -> None:
    assert cells(index) == list(index)
    assert cells(index, np.array([5, 1])) == [index[5], index[1]]
    assert list(map(str, cells(index))) == list(map(str, index))


@pytest.mark.parametrize("dtype", [object, "str"])
def test_what_the_user_changes_later_changes_nothing(dtype: Any) -> None:
    frame = pd.DataFrame({"text": pd.Series([f"text {i}" for i in range(20)], dtype=dtype), "label": ["a", "b"] * 10})
    options = Options()
    options.update({"data": frame, "valid_fraction": 0.0})
    train = read_data(options).train
    frame.loc[0, "text"] = "changed"
    frame.iloc[1, 1] = "changed"
    assert list(train.texts) == [f"text {i}" for i in range(20)]
    assert list(train.labels) == ["a", "b"] * 10


@given(st.lists(st.sampled_from(["a", "b", "A", "苹果", ""])))
def test_groups_are_those_of_a_dict(texts: list[str]) -> None:
    of, firsts = groups(text_hashes(texts))
    order = list(dict.fromkeys(texts))
    assert of.tolist() == [order.index(text) for text in texts]
    assert firsts.tolist() == [texts.index(text) for text in order]


@given(st.one_of(*(st.lists(st.sampled_from(kind)) for kind in (["b", "a", "ä"], [3, -1, 2], [True, False]))))
def test_labels_are_numbered_in_their_order(labels: list[Hashable]) -> None:
    order: list[Any] = sorted(set(labels))  # type: ignore[type-var]
    assert numbered(labels).tolist() == [order.index(label) for label in labels]
    assert numbered(["a", 1, "a"]).tolist() == [0, 1, 0]


def test_what_is_told_is_what_was_looked_at() -> None:
    said: list[str] = []
    items = told(range(2500), "counting", said.append)
    assert list(items) == list(range(2500))
    assert said == ["counting, 1,000 of 2,500 rows", "counting, 2,000 of 2,500 rows"]
    assert told(np.arange(5).tolist(), "counting", said.append).take(np.array([3, 1])) == [3, 1]

    def stop(_: str) -> None:
        raise InterruptedError

    assert list(told(range(1000), "counting", stop)) == list(range(1000))
    with pytest.raises(InterruptedError):
        list(told(range(1001), "counting", stop))


@pytest.mark.parametrize(
    ("frame", "doing"),
    [
        ({"messages": [[{"role": "assistant", "content": "a"}]] * 1001}, "checking conversations"),
        ({"tokens": [["Ada"]] * 1001, "tags": [["B-PER"]] * 1001}, "checking sentences"),
    ],
)
def test_a_check_of_many_rows_is_told_and_ended(frame: dict[str, Any], doing: str) -> None:
    options, said = Options(), list[str]()
    options.update({"data": pd.DataFrame(frame), "valid_fraction": 0.0})
    read_data(options, said.append)
    assert f"{doing}, 1,000 of 1,001 rows" in said

    def stop(what: str) -> None:
        if what.startswith(doing):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        read_data(options, stop)
