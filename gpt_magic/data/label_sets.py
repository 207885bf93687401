"""Labels that are several a row: read, checked and split."""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.checks import Examples, Findings, rows
from gpt_magic.data.classes import MANY_CLASSES, check_alike, plain_labels
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.splits import set_aside
from gpt_magic.errors import DataError, a_kind, listing, plural, short

if TYPE_CHECKING:
    import pandas as pd


class LabelSetData(LabelledData):
    """Checked examples, split; a label is a tuple of classes, each once and in their order, or an empty one."""

    task = "multilabel"

    @staticmethod
    def read_labels(values: "pd.Series[Any]", column: str, what: str, findings: Findings) -> Sequence[Any]:
        """The sets of labels of a column; see `read_label_sets`."""
        return read_label_sets(values, column, what, findings)

    @staticmethod
    def find_classes(
        values: "pd.Series[Any]",  # noqa: ARG004
        examples: Examples,
        column: str,
        findings: Findings,
    ) -> list[Hashable]:
        """All labels, sorted."""
        classes: list[Hashable] = sorted({one for labels in examples.labels for one in labels})  # type: ignore[attr-defined]
        check_label_sets(examples, classes, column, findings)
        return classes

    @staticmethod
    def check_valid(
        train: Examples,  # noqa: ARG004
        valid: Examples,
        classes: list[Hashable],
        column: str,  # noqa: ARG004
    ) -> None:
        """Raise `DataError` when validation has labels that training never shows."""
        check_known_labels(valid, classes, "valid, ")

    @staticmethod
    def set_aside(examples: Examples, fraction: float, seed: int) -> tuple[np.ndarray, str]:
        """Stratified by the rarest label of each row; a label that validates trains too."""
        return set_aside(examples.texts, rarest(examples.labels), fraction, seed, examples.labels)  # type: ignore[arg-type]  # tuples


def is_label_set(value: object) -> bool:
    """Whether a value is a list of labels: a list, tuple, set or array of one dimension."""
    return isinstance(value, list | tuple | set | frozenset) or getattr(value, "ndim", 0) == 1


def read_label_sets(values: "pd.Series[Any]", column: str, what: str, findings: Findings) -> list[tuple[Hashable, ...]]:
    """The labels of each row, sorted, each once; what order they came in means nothing.

    Raises:
        DataError: a value is no list, a label is no text, whole number or True/False, or the lists are rows of 0 and 1.
    """
    import pandas as pd

    items: list[Any] = []
    index: list[Any] = []
    for row, value in values.items():
        if not is_label_set(value):
            raise DataError(
                f"{what}, row {row}: {short(value)} in column {column!r} is {a_kind(value)}, not a list of labels; one "
                f"label stands in a list too, and a row without any has an empty one"
            )
        items.extend(value)
        index += [row] * len(value)
    blank = [row for row, item in zip(index, items, strict=True) if isinstance(item, str) and not item.strip()]
    if blank:
        raise DataError(
            f"{what}: an empty text among the labels of {rows(dict.fromkeys(blank))} in column {column!r}: leave it "
            "out; a row without labels has an empty list"
        )
    flat = iter(plain_labels(pd.Series(items, index=index, dtype=object), column, what) if items else [])
    given = [[next(flat) for _ in range(len(value))] for value in values]
    sets = [tuple(sorted(set(labels))) for labels in given]  # type: ignore[type-var]  # of one kind, see plain_labels
    twice = [row for row, labels, kept in zip(values.index, given, sets, strict=True) if len(kept) < len(labels)]
    if twice and _zeros_and_ones(given):
        raise DataError(
            f"{what}: column {column!r} holds rows of 0 and 1: give the names of the labels that hold, such as "
            "['fiction', 'short']"
        )
    if twice:
        findings.warnings.append(f"{what}: {plural(len(twice), 'row')} with a label twice, taken once: {rows(twice)}")
    return sets


def check_label_sets(examples: Examples, classes: list[Hashable], column: str, findings: Findings) -> None:
    """Warn about labels that cannot be learned or validated well.

    Raises:
        DataError: no row has a label.
    """
    if not classes:
        raise DataError(f"column {column!r} has no label in any row: nothing to learn")
    if len(classes) > MANY_CLASSES and len(classes) * 2 > len(examples):
        findings.warnings.append(
            f"column {column!r} has {len(classes):,} labels in {len(examples):,} rows: are they really labels?"
        )
    check_alike(classes, findings)
    counts = Counter(one for labels in examples.labels for one in labels)  # type: ignore[attr-defined]
    once = [label for label in classes if counts[label] == 1]
    if once:
        findings.warnings.append(
            f"{plural(len(once), 'label')} seen once only, so learned from one row and never validated: "
            f"{listing(map(short, once))}"
        )
    everywhere = [label for label in classes if counts[label] == len(examples)]
    if everywhere:
        findings.warnings.append(f"every row has the label {listing(map(short, everywhere))}: nothing to tell apart")
    if len(classes) > 1 and all(len(labels) == 1 for labels in examples.labels):  # type: ignore[arg-type]
        findings.warnings.append(
            "every row has exactly one label: task = 'classify' learns labels that exclude one another"
        )


def check_known_labels(examples: Examples, classes: Collection[Hashable], where: str = "") -> None:
    """Raise `DataError` when a row has a label that is not one of ``classes``."""
    known = set(classes)
    for labels, row in zip(examples.labels, examples.index, strict=True):
        for label in labels:  # type: ignore[attr-defined]
            if label not in known:
                raise DataError(
                    f"{where}row {row} has the label {short(label)}; the labels of the training data are "
                    f"{listing(map(short, classes))}"
                )


def rarest(labels: Sequence[Any]) -> list[Hashable]:
    """Of each row's labels the one that the fewest rows have, as its place among all from the rarest; -1 for none.

    A split that is stratified by it gives each label about its share of the rows on both sides, the rare ones, for
    which chance would do worst, first of all. It is not exact for labels that mostly stand beside rarer ones.
    """
    counts = Counter(one for row in labels for one in row)
    place = {label: i for i, label in enumerate(sorted(counts, key=lambda one: (counts[one], one)))}
    return [min((place[one] for one in row), default=-1) for row in labels]


def _zeros_and_ones(rows_of_labels: Sequence[Sequence[Hashable]]) -> bool:
    lengths = {len(labels) for labels in rows_of_labels}
    return len(lengths) == 1 and lengths != {1} and {one for labels in rows_of_labels for one in labels} <= {0, 1}
