"""Labels that are classes: as plain values, in their order, and what can be wrong with them."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.checks import Examples, Findings, normalise, rows
from gpt_magic.errors import DataError, a_kind, listing, short
from gpt_magic.lazy import named

if TYPE_CHECKING:
    import pandas as pd

MANY_CLASSES = 50  # from here on, more than one class in two rows is likelier a free text than a label
_IMBALANCE = 0.9  # share of the largest class from which accuracy alone misleads


def plain_labels(labels: "pd.Series[Any]", column: str, what: str) -> Sequence[Hashable]:
    """Labels as str, int or bool; whole floats (1.0, as pandas makes of integers with gaps) become int.

    Raises:
        DataError: a label is a list, a fraction, or anything else that is not a class.
    """
    codes, different = _different(labels)
    plain: list[Hashable] = []
    for value, first in different:
        item = value.item() if isinstance(value, np.generic) else value
        if isinstance(item, float) and item.is_integer():
            item = int(item)
        if not isinstance(item, str | int | bool):
            kind = "a number that is not whole" if isinstance(item, float) else a_kind(item)
            raise DataError(
                f"{what}, row {labels.index[first]}: the label {short(item)} in column {column!r} is {kind}; classes "
                f"are texts, whole numbers or True/False{_other_task(item)}"
            )
        plain.append(item)
    kinds = {type(item) for item in plain}
    if len(kinds) > 1:
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(
            f"{what}: column {column!r} mixes labels of kind {names}: make them one kind, such as .astype(str)"
        )
    return named(codes, plain)


def _different(labels: "pd.Series[Any]") -> tuple[np.ndarray, list[tuple[Any, int]]]:
    """The number of each row's label, ``(rows,)``, and the different labels with their first rows, as they occur."""
    import pandas as pd

    if labels.dtype.kind != "O" or isinstance(labels.dtype, pd.StringDtype | pd.CategoricalDtype):
        codes, values = pd.factorize(labels, use_na_sentinel=False)
        _, firsts = np.unique(codes, return_index=True)
        return codes.astype(np.int32), list(zip(values, firsts.tolist(), strict=True))
    known: dict[Any, int] = {}  # by kind too: True and 1 are equal, but labels of two kinds
    different: list[tuple[Any, int]] = []
    numbers = np.empty(len(labels), dtype=np.int32)
    for place, value in enumerate(labels):
        key = (type(value), value if isinstance(value, str | int | float | np.generic) else place)
        numbers[place] = known.setdefault(key, len(known))
        if len(known) > len(different):
            different.append((value, place))
    return numbers, different


def _other_task(label: object) -> str:
    """The task that a label which is no class would be right for."""
    if isinstance(label, float) and label == label:
        return "; task = 'regress' learns numbers"
    return "; task = 'multilabel' learns several a row" if isinstance(label, list | tuple | set) else ""


def class_order(labels: "pd.Series[Any]", plain: Sequence[Hashable]) -> list[Hashable]:
    """The classes in the order of the categorical column, else sorted."""
    present = set(plain)
    if hasattr(labels, "cat"):
        place = {value: i for i, value in enumerate(labels.cat.categories)}
        return sorted(present, key=place.__getitem__)
    return sorted(present)  # type: ignore[type-var]  # one kind, see plain_labels


def check_classes(examples: Examples, classes: list[Hashable], column: str, findings: Findings) -> None:
    """Warn about classes that cannot be learned or validated well.

    Raises:
        DataError: there is only one class.
    """
    counts = Counter(examples.labels)
    (most, rows_of_most), *_ = counts.most_common(1)
    if len(counts) == 1:
        raise DataError(f"column {column!r} has one class only, {short(most)}: nothing to tell apart")
    if len(classes) > MANY_CLASSES and len(classes) * 2 > len(examples):
        findings.warnings.append(
            f"column {column!r} has {len(classes):,} classes in {len(examples):,} rows: is it really the label?"
        )
    check_alike(classes, findings)
    once = {value: None for value, count in counts.items() if count == 1}
    if once and len(examples) > len(classes):
        where = [row for row, value in zip(examples.index, examples.labels, strict=True) if value in once]
        findings.warnings.append(
            f"{len(once)} label{'s' if len(once) > 1 else ''} seen once only, so learned from one row and never "
            f"validated: {listing(map(short, once))} ({rows(where)})"
        )
    share = rows_of_most / len(examples)
    if share > _IMBALANCE:
        findings.warnings.append(
            f"{share:.0%} of the rows are {short(most)}: look at macro F1, not accuracy; "
            "class_weights = 'balanced' may help"
        )


def check_alike(classes: list[Hashable], findings: Findings) -> None:
    """Warn about classes whose names differ in case or white space only."""
    spellings: dict[str, list[Hashable]] = {}
    for label in classes:
        if isinstance(label, str):
            spellings.setdefault(normalise(label), []).append(label)
    for alike in spellings.values():
        if len(alike) > 1:
            findings.warnings.append(
                f"the classes {listing(map(short, alike))} differ in case or space only and are learned apart: "
                "if they are one, write them alike"
            )


def check_known_classes(valid: Examples, classes: list[Hashable]) -> None:
    """Raise `DataError` when validation has a label that training never shows."""
    known = set(classes)
    unknown = {label: row for label, row in zip(valid.labels, valid.index, strict=True) if label not in known}
    if unknown:
        label, row = next(iter(unknown.items()))
        raise DataError(
            f"valid, row {row}: no training row has the label {short(label)}; the classes are "
            f"{listing(map(short, classes))}"
        )
