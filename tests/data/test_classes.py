import time
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpt_magic.data.checks import (
    Examples,
    Findings,
    check_rows,
)
from gpt_magic.data.classes import check_classes, check_known_classes, class_order, plain_labels
from gpt_magic.data.labelled import LabelledData
from gpt_magic.errors import DataError

NA = pd.NA


def examples(texts: list[str], labels: list[Hashable], index: list[Any] | None = None) -> Examples:
    return Examples(texts, labels, list(range(len(texts))) if index is None else index)


def checked(frame: pd.DataFrame, missing: str = "error") -> tuple[Examples, Findings]:
    findings = Findings()
    return check_rows(frame, "text", "label", missing, findings, "data", LabelledData.read_labels), findings


def table(texts: Any, labels: Any, index: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "label": labels}, index=index)


def said(texts: list[str], labels: list[Hashable], index: list[Any] | None = None) -> list[str]:
    findings = Findings()
    check_classes(examples(texts, labels, index), sorted(set(labels), key=str), "label", findings)
    return findings.warnings


@pytest.mark.parametrize(
    ("labels", "plain", "classes"),
    [
        (["spam", "ham", "spam"], ["spam", "ham", "spam"], ["ham", "spam"]),
        (["食物", "动物", "食物"], ["食物", "动物", "食物"], ["动物", "食物"]),
        ([2, 10, 2], [2, 10, 2], [2, 10]),
        ([-1, 1, 0], [-1, 1, 0], [-1, 0, 1]),
        ([True, False, True], [True, False, True], [False, True]),
        (np.array([3, 1, 3], dtype=np.uint8), [3, 1, 3], [1, 3]),
        (np.array([True, False, True]), [True, False, True], [False, True]),
        ([2.0, 1.0, 2.0], [2, 1, 2], [1, 2]),
        (pd.array([2, 1, 2], dtype="Int64"), [2, 1, 2], [1, 2]),
        (pd.array([2.0, 1.0, 2.0], dtype="Float64"), [2, 1, 2], [1, 2]),
        (pd.array([True, False, True], dtype="boolean"), [True, False, True], [False, True]),
        (pd.array(["b", "a", "b"], dtype="string"), ["b", "a", "b"], ["a", "b"]),
        (pd.array(["b", "a", "b"], dtype="string[pyarrow]"), ["b", "a", "b"], ["a", "b"]),
        (pd.Categorical(["lo", "hi", "lo"], ["lo", "mid", "hi"]), ["lo", "hi", "lo"], ["lo", "hi"]),
        (pd.Categorical([5, 3, 5], [5, 4, 3]), [5, 3, 5], [5, 3]),
        (pd.Categorical([2.0, 1.0, 2.0], [2.0, 1.0]), [2, 1, 2], [2, 1]),
        (pd.Categorical([True, False, True], [True, False]), [True, False, True], [True, False]),
        (pd.Series([np.str_("b"), "a", "b"], dtype=object), ["b", "a", "b"], ["a", "b"]),
    ],
)
def test_labels_become_plain_and_classes_ordered(labels: Any, plain: list[Any], classes: list[Any]) -> None:
    frame = table(["a", "b", "c"], labels)
    found = checked(frame)[0].labels
    ordered = class_order(frame["label"], found)
    assert found == plain
    assert ordered == classes
    kinds = {type(item) for item in plain}
    assert {type(item) for item in [*found, *ordered]} <= kinds | {np.str_}


@pytest.mark.parametrize("labels", [pd.array([1, None, 2], dtype="Int64"), [1, None, 2], [1.0, np.nan, 2.0]])
def test_integers_with_gaps_stay_integers(labels: Any) -> None:
    found = checked(table(["a", "b", "c"], labels), "drop")[0]
    assert found.labels == [1, 2]
    assert {type(label) for label in found.labels} == {int}


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ([0.5, 1.0], "data, row 0: the label 0.5 in column 'label' is a number that is not whole; classes are texts, "),
        ([1.0, np.inf], "data, row 1: the label inf in column 'label' is a number that is not whole; classes are "),
        ([["a"], "b"], "data, row 0: the label ['a'] in column 'label' is a list; classes are texts, whole numbers "),
        ([{"a": 1}, "b"], "data, row 0: the label {'a': 1} in column 'label' is a dict;"),
        ([np.array([1, 2]), "b"], "data, row 0: the label array([1, 2]) in column 'label' is a ndarray;"),
        ([list(range(999)), "b"], "data, row 0: the label [0, 1, 2, 3, 4,"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "data, row 0: the label Timestamp('2020-01-01 00:00:00') in "),
        (pd.cut([1, 9], 2), "data, row 0: the label Interval("),
        ([1, "1"], "data: column 'label' mixes labels of kind int and str: make them one kind, such as .astype(str)"),
        ([True, 2], "data: column 'label' mixes labels of kind bool and int: make them one kind"),
    ],
)
def test_what_is_no_label_is_refused(labels: Any, line: str) -> None:
    series = pd.Series(labels, dtype=object) if isinstance(labels, list) else labels
    with pytest.raises(DataError) as caught:
        checked(table(["a", "b"], series))
    assert str(caught.value).startswith(line)
    assert len(str(caught.value)) < 300


def test_one_class_is_nothing_to_tell_apart() -> None:
    with pytest.raises(DataError, match="column 'label' has one class only, 'x': nothing to tell apart"):
        said(["a", "b"], ["x", "x"])


def test_a_label_seen_once_is_named_with_its_row() -> None:
    warnings = said(list("abcd"), ["x", "x", "y", "x"], ["r0", "r1", "r2", "r3"])
    assert warnings == ["1 label seen once only, so learned from one row and never validated: 'y' (row r2)"]


def test_imbalance_is_said() -> None:
    warnings = said([str(i) for i in range(100)], ["x"] * 95 + ["y"] * 5)
    assert warnings == ["95% of the rows are 'x': look at macro F1, not accuracy; class_weights = 'balanced' may help"]
    assert said([str(i) for i in range(100)], ["x"] * 90 + ["y"] * 10) == []


def test_free_text_as_label_is_said_shortly() -> None:
    labels: list[Hashable] = [
        f"a long free text, number {number}, that is no label at all {'.' * 500}" for number in range(60)
    ]
    warnings = said([str(i) for i in range(61)], [*labels, labels[0]])
    assert warnings[0] == "column 'label' has 60 classes in 61 rows: is it really the label?"
    assert all(len(warning) < 800 for warning in warnings)


def test_many_labels_seen_once_take_no_time() -> None:
    labels: list[Hashable] = [f"label {number}" for number in range(30_000)]
    began = time.perf_counter()
    said([str(i) for i in range(30_001)], [*labels, labels[0]])
    assert time.perf_counter() - began < 5


def test_a_label_that_training_lacks_is_named_with_its_row() -> None:
    with pytest.raises(DataError) as caught:
        check_known_classes(examples(["a", "b"], ["x", "new"], ["v0", "v1"]), ["x", "y"])
    assert str(caught.value) == "valid, row v1: no training row has the label 'new'; the classes are 'x', 'y'"
    check_known_classes(examples(["a"], ["y"]), ["x", "y"])


def test_plain_labels_of_a_bare_series() -> None:
    assert plain_labels(pd.Series([np.float32(1.0), np.int8(2)], dtype=object), "label", "data") == [1, 2]


def test_classes_that_differ_in_case_or_space_only_are_said() -> None:
    findings = Findings()
    examples = Examples(["a", "b", "c", "d"] * 2, ["pos", "pos ", "Pos", "neg"] * 2, list(range(8)))
    check_classes(examples, ["Pos", "neg", "pos", "pos "], "label", findings)
    assert findings.warnings == [
        "the classes 'Pos', 'pos', 'pos ' differ in case or space only and are learned apart: if they are one, write "
        "them alike"
    ]
