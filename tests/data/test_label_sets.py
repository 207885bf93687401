"""Labels that are several a row."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.data.checks import Findings
from gpt_magic.data.label_sets import LabelSetData, rarest, read_label_sets
from gpt_magic.data.read import read_data
from gpt_magic.errors import DataError
from gpt_magic.options import Options


def read(values: list[Any]) -> tuple[list[tuple[Any, ...]], list[str]]:
    findings = Findings()
    series = pd.Series(values, index=[f"r{i}" for i in range(len(values))], dtype=object)
    return read_label_sets(series, "tags", "data", findings), findings.warnings


def data(labels: list[Any], **given: Any) -> LabelSetData:
    options = Options()
    options.update(
        {"data": {"text": [f"text {i}" for i in range(len(labels))], "tags": labels}, "label": "tags", **given}
    )
    found = read_data(options)
    assert isinstance(found, LabelSetData)
    return found


def test_lists_tuples_arrays_and_sets_are_sets_of_labels() -> None:
    found, warnings = read([["b", "a"], ("a",), np.array(["c", "a"]), {"b", "a"}, frozenset({"c"}), [], np.array([])])
    assert found == [("a", "b"), ("a",), ("a", "c"), ("a", "b"), ("c",), (), ()]
    assert all(type(one) is str for row in found for one in row)
    assert warnings == []


@pytest.mark.parametrize(
    ("values", "expected"), [([[2, 1], [1.0]], [(1, 2), (1,)]), ([[True], [False, True]], [(True,), (False, True)])]
)
def test_labels_keep_their_kind(values: list[Any], expected: list[Any]) -> None:
    found, _ = read(values)
    assert found == expected
    assert {type(one) for row in found for one in row} == {type(expected[0][0])}


def test_a_label_twice_in_a_row_is_taken_once_and_said() -> None:
    assert read([["a", "b", "a"], ["b"]]) == (
        [("a", "b"), ("b",)],
        ["data: 1 row with a label twice, taken once: row r0"],
    )


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            [["a"], "b"],
            "data, row r1: 'b' in column 'tags' is a str, not a list of labels; one label stands in a list ",
        ),
        ([["a"], {"a": 1}], "data, row r1: {'a': 1} in column 'tags' is a dict, not a list of labels; one label "),
        ([["a"], ["b", None]], "data, row r1: the label None in column 'tags' is None; classes are texts, whole "),
        ([["a"], [["b"]]], "data, row r1: the label ['b'] in column 'tags' is a list; classes are texts, whole "),
        (
            [["a"], [1]],
            "data: column 'tags' mixes labels of kind int and str: make them one kind, such as .astype(str)",
        ),
        (
            [["a"], [" "], [""]],
            "data: an empty text among the labels of rows r1, r2 in column 'tags': leave it out; a ",
        ),
        ([[0, 1, 1], [1, 0, 0]], "data: column 'tags' holds rows of 0 and 1: give the names of the labels that hold"),
    ],
)
def test_what_is_no_set_of_labels_says_where(values: list[Any], line: str) -> None:
    with pytest.raises(DataError) as caught:
        read(values)
    assert str(caught.value).startswith(line)


def test_rows_of_two_different_numbers_are_labels() -> None:
    assert read([[0, 1], [1, 0]])[0] == [(0, 1), (0, 1)]


def test_labels_that_cannot_be_learned_well_are_warned_about() -> None:
    found = data([["all", "a"], ["all", "A"], ["all"], ["all", "once"]] + [["all", "a"]] * 6, valid_fraction=0)
    assert found.classes == ["A", "a", "all", "once"]
    said = "\n".join(found.findings.warnings)
    assert "the classes 'A', 'a' differ in case or space only" in said
    assert "2 labels seen once only, so learned from one row and never validated: 'A', 'once'" in said
    assert "every row has the label 'all': nothing to tell apart" in said
    one = data([["a"], ["b"]] * 10)
    assert "every row has exactly one label: task = 'classify' learns" in "\n".join(one.findings.warnings)


def test_no_labels_at_all_are_an_error() -> None:
    with pytest.raises(DataError, match="column 'tags' has no label in any row: nothing to learn"):
        data([[]] * 8)


def test_an_empty_list_is_no_missing_label_and_none_is() -> None:
    labels = [["a"], [], None, ["b"]] * 5
    with pytest.raises(DataError, match=r"column 'tags' is empty in rows 2, 6, 10, 14, 18\."):
        data(labels)
    found = data(labels, missing="drop")
    assert len(found.train) + len(found.valid) == 15
    assert found.findings.dropped == 5


def test_validation_data_may_not_bring_labels_of_their_own() -> None:
    valid = {"text": ["x", "y"], "tags": [["a"], ["a", "new"]]}
    with pytest.raises(DataError) as caught:
        data([["a"], ["b"]] * 5, valid=valid)
    assert str(caught.value) == "valid, row 1 has the label 'new'; the labels of the training data are 'a', 'b'"


@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=4), min_size=1, max_size=60).filter(any),
    st.sampled_from([0.1, 0.3, 0.5]),
    st.integers(0, 5),
)
@settings(max_examples=80, deadline=None)
def test_what_validates_is_learned_too_and_no_row_is_lost(labels: list[list[str]], share: float, seed: int) -> None:
    found = data(labels, valid_fraction=share, seed=seed)
    assert sorted(found.train.index + found.valid.index) == list(range(len(labels)))
    assert found.classes == sorted({one for row in labels for one in row})
    learned = {one for row in found.train.labels for one in row}  # type: ignore[attr-defined]
    assert learned == set(found.classes)


def test_rare_labels_keep_their_share_on_both_sides() -> None:
    labels = [["usual", "rare"] if i % 10 == 0 else ["usual"] if i % 2 else ["usual", "half"] for i in range(200)]
    found = data(labels, valid_fraction=0.2)
    for label, count in (("rare", 4), ("half", 16), ("usual", 40)):
        assert sum(label in row for row in found.valid.labels) == count  # type: ignore[operator]


def test_the_rarest_label_stands_for_a_row() -> None:
    assert rarest([("a", "b"), ("a",), ("a", "b"), (), ("a", "c")]) == [1, 2, 1, -1, 0]
