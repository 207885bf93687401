from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpt_magic.data.checks import (
    Examples,
    Findings,
    blank,
    check_conflicts,
    check_leaks,
    check_rows,
    check_texts,
    normalise,
    rows,
)
from gpt_magic.data.classes import check_classes, class_order
from gpt_magic.data.columns import find_roles
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError

NA = pd.NA


def examples(texts: list[str], labels: list[Hashable], index: list[Any] | None = None) -> Examples:
    return Examples(texts, labels, list(range(len(texts))) if index is None else index)


def checked(frame: pd.DataFrame, missing: str = "error") -> tuple[Examples, Findings]:
    findings = Findings()
    return check_rows(frame, "text", "label", missing, findings, "data", LabelledData.read_labels), findings


def table(texts: Any, labels: Any, index: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "label": labels}, index=index)


def test_the_toy_set_is_recognised_without_being_told() -> None:
    frame = read_table([{"input": "苹果是一种什么", "labels": "食物"}, {"input": "狗是一种什么", "labels": "动物"}])
    roles = find_roles(frame, {"text": None, "label": None})
    assert roles.columns == {"text": "input", "label": "labels"}
    findings = Findings()
    found = check_rows(frame, "input", "labels", "error", findings, "data", LabelledData.read_labels)
    classes = class_order(frame["labels"], found.labels)
    check_classes(found, classes, "labels", findings)
    assert found == Examples(["苹果是一种什么", "狗是一种什么"], ["食物", "动物"], [0, 1])
    assert classes == ["动物", "食物"]
    assert findings == Findings()


# --- missing values -------------------------------------------------------------------------------------

MISSING_TEXTS = [None, np.nan, NA, "", " ", "\n\t", "\u3000", "\x1f"]


@pytest.mark.parametrize("nothing", MISSING_TEXTS, ids=repr)
@pytest.mark.parametrize("dtype", [object, "string", "category"])
def test_missing_texts_are_named_or_dropped(nothing: Any, dtype: Any) -> None:
    frame = table(pd.Series(["a", nothing, "c"], dtype=dtype), ["x", "y", "x"])
    with pytest.raises(DataError) as caught:
        checked(frame)
    assert str(caught.value) == (
        "data: column 'text' is empty in row 1. Fill them, or say missing = 'drop' to leave such rows out"
    )
    found, findings = checked(frame, "drop")
    assert found == Examples(["a", "c"], ["x", "x"], [0, 2])
    assert findings == Findings(["data: 1 row without text or label left out: row 1"], dropped=1)


@pytest.mark.parametrize("nothing", MISSING_TEXTS, ids=repr)
@pytest.mark.parametrize("dtype", [object, "string", "category"])
def test_missing_labels_are_named_or_dropped(nothing: Any, dtype: Any) -> None:
    frame = table(["a", "b", "c"], pd.Series(["x", nothing, "y"], dtype=dtype))
    with pytest.raises(DataError, match="column 'label' is empty in row 1"):
        checked(frame)
    assert checked(frame, "drop")[0].labels == ["x", "y"]


@pytest.mark.parametrize("text", ["NA", "null", "None", "nan", "0", "\u200b"])
def test_texts_that_look_like_nothing_are_texts(text: str) -> None:
    assert checked(table([text], [text]))[0] == Examples([text], [text], [0])


@pytest.mark.parametrize(
    ("index", "bad", "good"),
    [
        (["a", "b", "c"], "row b", ["a", "c"]),
        (["same", "same", "same"], "row same", ["same", "same"]),
        ([7, 7, "z"], "row 7", [7, "z"]),
        (pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")]), "row (1, 'b')", [(1, "a"), (2, "a")]),
        (pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]), "row 2020-01-02 00:00:00", None),
    ],
)
def test_rows_have_the_names_of_the_index(index: Any, bad: str, good: list[Any] | None) -> None:
    frame = table(["one", "", "three"], ["x", "y", "z"], index)
    with pytest.raises(DataError, match="column 'text' is empty in " + bad.replace("(", r"\(").replace(")", r"\)")):
        checked(frame)
    found, findings = checked(frame, "drop")
    assert found.texts == ["one", "three"]
    assert found.labels == ["x", "z"]
    assert findings.warnings[0].endswith(bad)
    if good:
        assert found.index == good


def test_both_columns_are_named_and_long_lists_cut() -> None:
    frame = table(["", *["a"] * 30], ["x", *[None] * 30])
    with pytest.raises(DataError) as caught:
        checked(frame)
    assert str(caught.value).startswith(
        "data: column 'text' is empty in row 0; column 'label' is empty in rows 1, 2, 3, 4, 5, 6, 7, 8 and 22 more."
    )


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="data: no row has both a text in 'text' and a label in 'label'"):
        checked(table(["a", None], [None, "x"]), "drop")


def test_the_callers_table_is_not_changed() -> None:
    frame = table(["a", "", "c"], pd.array([1, 2, None], dtype="Int64"), ["r", "s", "t"])
    before = frame.copy(deep=True)
    checked(frame, "drop")
    pd.testing.assert_frame_equal(frame, before)


# --- kinds of texts and labels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ([1, 2], "data: column 'text' holds int64 values, not texts: is it the right one?"),
        ([1.5, None], "data: column 'text' holds float64 values, not texts: is it the right one?"),
        ([True, False], "data: column 'text' holds bool values, not texts: is it the right one?"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "data: column 'text' holds datetime64"),
        (["a", 5], "data, row 1: column 'text' holds an int, not a text"),
        (["a", 1.5], "data, row 1: column 'text' holds a float, not a text"),
        ([b"a", "b"], "data, row 0: column 'text' holds a bytes, not a text"),
        ([["a", "b"], "c"], "data, row 0: column 'text' holds a list, not a text"),
        ([{"a": 1}, "c"], "data, row 0: column 'text' holds a dict, not a text"),
        ([np.array(["a", "b"]), "c"], "data, row 0: column 'text' holds a ndarray, not a text"),
        ([np.array([]), "c"], "data, row 0: column 'text' holds a ndarray, not a text"),
        (pd.Categorical([1, 2]), "data, row 0: column 'text' holds an int, not a text"),
    ],
)
def test_what_is_no_text_is_refused(texts: Any, line: str) -> None:
    series = texts if isinstance(texts, pd.Categorical | pd.DatetimeIndex) else pd.Series(texts)
    with pytest.raises(DataError) as caught:
        checked(table(series, ["x", "y"]))
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("dtype", [object, "str", "string", "category"])
def test_every_kind_of_text_column_is_taken(dtype: Any) -> None:
    check_texts(pd.Series(["a", None, "b"], dtype=dtype), "column 'text'", "data")
    found, _ = checked(table(pd.Series(["文本", "b"], dtype=dtype), ["x", "y"]))
    assert found.texts == ["文本", "b"]
    assert {type(text) for text in found.texts} == {str}


# --- what is said once ----------------------------------------------------------------------------------


def said(texts: list[str], labels: list[Hashable], index: list[Any] | None = None) -> list[str]:
    findings = Findings()
    check_classes(examples(texts, labels, index), sorted(set(labels), key=str), "label", findings)
    return findings.warnings


def test_conflicting_labels_are_named() -> None:
    findings = Findings()
    check_conflicts(
        examples(["One", "two", " one ", "ONE", "three"], ["x", "y", "y", "x", "z"], list("abcde")), findings
    )
    assert findings.warnings == ["1 text with different labels: rows a, c"]
    findings = Findings()
    check_conflicts(examples(["One", "one"], ["x", "x"]), findings)
    assert findings.warnings == []


def test_leaks_are_told_exact_and_near() -> None:
    findings = Findings()
    train = examples(["One text", "two", "three"], ["x", "y", "x"])
    check_leaks(train, examples(["two", "ONE  text", "four"], ["y", "x", "x"], ["v0", "v1", "v2"]), findings)
    assert findings.warnings == [
        "2 of 3 rows to validate also in the training data (1 exactly, 1 but for case and space), so validation looks "
        "better than it is: rows v0, v1"
    ]
    findings = Findings()
    check_leaks(train, examples(["four"], ["x"]), findings)
    assert findings.warnings == []


@pytest.mark.parametrize(
    ("text", "same"),
    [("a  b", "A B"), (" straße\n", "STRASSE"), ("İ", "i̇"), ("x\u3000y", "x y"), ("Σίσυφος", "ΣΊΣΥΦΟΣ")],
)
def test_near_copies_are_equal_when_normalised(text: str, same: str) -> None:
    assert normalise(text) == normalise(same)


def test_rows() -> None:
    assert rows([3]) == "row 3"
    assert rows(range(12)) == "rows 0, 1, 2, 3, 4, 5, 6, 7 and 4 more"
    assert rows(i for i in (1, 2)) == "rows 1, 2"


def test_examples_can_be_taken_in_any_order() -> None:
    some = examples(["a", "b", "c"], [1, 2, 3], ["r", "s", "t"])
    assert some.take([2, 0]) == Examples(["c", "a"], [3, 1], ["t", "r"])
    assert len(some) == 3
    assert len(some.take([])) == 0


def test_blank_keeps_the_index() -> None:
    found = blank(pd.Series(["a", None, ""], index=[5, 5, 6]))
    assert list(found.index) == [5, 5, 6]
    assert found.tolist() == [False, True, True]
    assert blank(pd.Series([], dtype=object)).tolist() == []


def test_arrow_backed_texts_are_texts() -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}).convert_dtypes(dtype_backend="pyarrow")
    assert check_rows(frame, "text", "label", "error", Findings(), "data", LabelledData.read_labels).texts == ["a", "b"]
