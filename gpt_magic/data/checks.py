"""What can be wrong with labelled texts, found before a single weight moves."""

import functools
import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gpt_magic.errors import DataError, a_kind, listing, plural, short

if TYPE_CHECKING:
    import pandas as pd

MANY_CLASSES = 50  # from here on, more than one class in two rows is likelier a free text than a label
NOT_UNICODE = "is no valid Unicode (an emoji cut in two?): clean it with text.encode('utf-8', 'ignore').decode()"
_IMBALANCE = 0.9  # share of the largest class from which accuracy alone misleads

Text = str | tuple[str, str]  # a text, or a pair of them


@dataclass(frozen=True)
class Examples:
    """Checked examples, in the order of the table.

    Attributes:
        texts: one a row, or a pair of them, never empty.
        labels: one a row: str, int or bool; of other tasks a tuple of these, or a float.
        index: the table's index values, for messages.
    """

    texts: list[Text]
    labels: list[Hashable]
    index: list[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, positions: Iterable[int]) -> "Examples":
        """The examples at ``positions``."""
        chosen = list(positions)
        return Examples(
            [self.texts[i] for i in chosen], [self.labels[i] for i in chosen], [self.index[i] for i in chosen]
        )


class Rows(Protocol):
    """What checks on texts alone need: `Examples`, or passages to write on from."""

    @property
    def texts(self) -> Sequence[Text]: ...  # noqa: D102

    @property
    def index(self) -> list[Any]: ...  # noqa: D102

    def __len__(self) -> int: ...


@dataclass
class Findings:
    """What the checks had to say: one sentence each."""

    warnings: list[str] = field(default_factory=list)
    dropped: int = 0


def normalise(text: Text) -> str:
    """Fold case and white space, so that near-copies compare equal."""
    if isinstance(text, tuple):
        return "\0".join(map(normalise, text))
    return " ".join(text.casefold().split())


def is_unicode(text: str) -> bool:
    """Whether a text can be written down; half of a surrogate pair, as of an emoji cut in two, cannot."""
    return text.encode(errors="ignore").decode() == text


def blank(values: "pd.Series[Any]") -> "pd.Series[bool]":
    """Which values are missing, or texts without anything but white space."""
    import pandas as pd

    return values.isna() | pd.Series([isinstance(v, str) and not v.strip() for v in values], values.index, dtype=bool)


def rows(index: Iterable[Any]) -> str:
    """``row 3`` or ``rows 3, 8, 12 and 4 more``."""
    numbers = list(index)
    return f"row{'s' if len(numbers) != 1 else ''} {listing(numbers)}"


def check_rows(
    frame: "pd.DataFrame",
    text: str | Sequence[str],
    label: str,
    missing: str,
    findings: Findings,
    what: str,
    read: "Callable[[pd.Series[Any], str, str, Findings], list[Any]] | None" = None,
) -> Examples:
    """Take text and label from every row, or say which rows have none.

    Args:
        text: the column with the texts, or the two columns with pairs of them.
        read: makes labels of values, given their column, ``what`` and ``findings``; `plain_labels` when None.

    Raises:
        DataError: a text or label is missing or of a kind that cannot be used (with ``missing="drop"`` missing
            ones are left out and counted in ``findings``).
    """
    names = [text] if isinstance(text, str) else list(text)
    for name in names:
        check_texts(frame[name], f"column {name!r}", what)
    both = f"both a text in {' and '.join(map(repr, names))} and a label in {label!r}"
    kept = whole_rows(frame, [*names, label], missing, findings, what, both, "without text or label")
    labels = kept[label]
    return Examples(
        as_texts([[str(value) for value in kept[name]] for name in names]),
        plain_labels(labels, label, what) if read is None else read(labels, label, what, findings),
        list(kept.index),
    )


def as_texts(columns: Sequence[Sequence[str]]) -> list[Text]:
    """One column of texts as it is, two as pairs."""
    if len(columns) == 1:
        return list(columns[0])
    return list(zip(columns[0], columns[1], strict=True))


def whole_rows(
    frame: "pd.DataFrame",
    columns: Iterable[str],
    missing: str,
    findings: Findings,
    what: str,
    wanted: str,
    lacking: str,
) -> "pd.DataFrame":
    """The rows with something in each of ``columns``.

    Args:
        wanted, lacking: for the messages, such as ``a text in 'review'`` and ``without text``.

    Raises:
        DataError: a row lacks something (with ``missing="drop"`` such rows are left out and counted in ``findings``,
            and it is one only when none is left).
    """
    empty = {column: blank(frame[column]) for column in columns}
    bad = functools.reduce(operator.or_, empty.values())
    if bad.any() and missing == "error":
        raise DataError(missing_message(frame, empty, what))
    if bad.all():
        raise DataError(f"{what}: no row has {wanted}")
    if bad.any():
        findings.dropped += int(bad.sum())
        findings.warnings.append(
            f"{what}: {plural(int(bad.sum()), 'row')} {lacking} left out: {rows(frame.index[bad])}"
        )
    return frame[~bad]


def check_texts(texts: "pd.Series[Any]", name: str, what: str) -> None:
    """Raise `DataError` when a value is neither a text nor missing.

    Args:
        name: what the values are, such as ``column 'review'``.
    """
    import pandas as pd

    kind = texts.dtype
    if not (kind.kind == "O" or isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_string_dtype(kind)):
        raise DataError(f"{what}: {name} holds {texts.dtype} values, not texts: is it the right one?")
    for row, value in texts.items():
        if not isinstance(value, str) and not (pd.api.types.is_scalar(value) and pd.isna(value)):
            raise DataError(f"{what}, row {row}: {name} holds {a_kind(value)}, not a text")


def check_classes(examples: Examples, classes: list[Hashable], column: str, findings: Findings) -> None:
    """Warn about classes that cannot be learned or validated well.

    Raises:
        DataError: there is only one class.
    """
    import pandas as pd

    counts = pd.Series(examples.labels, dtype=object).value_counts()
    if len(counts) == 1:
        raise DataError(f"column {column!r} has one class only, {short(counts.index[0])}: nothing to tell apart")
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
    share = counts.iloc[0] / len(examples)
    if share > _IMBALANCE:
        findings.warnings.append(
            f"{share:.0%} of the rows are {short(counts.index[0])}: look at macro F1, not accuracy; "
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


def check_conflicts(examples: Examples, findings: Findings) -> None:
    """Warn about one text that stands with different labels."""
    seen: dict[str, tuple[Hashable, Any]] = {}
    conflicts: dict[str, list[Any]] = {}
    for text, label, row in zip(map(normalise, examples.texts), examples.labels, examples.index, strict=True):
        first_label, first_row = seen.setdefault(text, (label, row))
        if first_label != label:
            conflicts.setdefault(text, [first_row]).append(row)
    if conflicts:
        findings.warnings.append(
            f"{len(conflicts):,} text{'s' if len(conflicts) > 1 else ''} with different labels: "
            f"{rows(row for group in conflicts.values() for row in group)}"
        )


def check_leaks(train: Rows, valid: Rows, findings: Findings) -> None:
    """Warn about validation rows whose text the model also trains on."""
    exact = set(train.texts)
    folded = {normalise(text) for text in exact}
    same = [row for text, row in zip(valid.texts, valid.index, strict=True) if text in exact]
    near = [
        row
        for text, row in zip(valid.texts, valid.index, strict=True)
        if text not in exact and normalise(text) in folded
    ]
    if not same and not near:
        return
    parts = [f"{len(same):,} exactly"] if same else []
    parts += [f"{len(near):,} but for case and space"] if near else []
    findings.warnings.append(
        f"{len(same) + len(near):,} of {plural(len(valid), 'row')} to validate also in the training data "
        f"({', '.join(parts)}), so validation looks better than it is: {rows([*same, *near])}"
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


def plain_labels(labels: "pd.Series[Any]", column: str, what: str) -> list[Hashable]:
    """Labels as str, int or bool; whole floats (1.0, as pandas makes of integers with gaps) become int.

    Raises:
        DataError: a label is a list, a fraction, or anything else that is not a class.
    """
    import numpy as np

    plain: list[Hashable] = []
    for row, value in labels.items():
        item = value.item() if isinstance(value, np.generic) else value
        if isinstance(item, float) and item.is_integer():
            item = int(item)
        if not isinstance(item, str | int | bool):
            kind = "a number that is not whole" if isinstance(item, float) else a_kind(item)
            raise DataError(
                f"{what}, row {row}: the label {short(item)} in column {column!r} is {kind}; classes are texts, whole "
                f"numbers or True/False{_other_task(item)}"
            )
        plain.append(item)
    kinds = {type(item) for item in plain}
    if len(kinds) > 1:
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(
            f"{what}: column {column!r} mixes labels of kind {names}: make them one kind, such as .astype(str)"
        )
    return plain


def _other_task(label: object) -> str:
    """The task that a label which is no class would be right for."""
    if isinstance(label, float) and label == label:
        return "; task = 'regress' learns numbers"
    return "; task = 'multilabel' learns several a row" if isinstance(label, list | tuple | set) else ""


def class_order(labels: "pd.Series[Any]", plain: list[Hashable]) -> list[Hashable]:
    """The classes in the order of the categorical column, else sorted."""
    present = set(plain)
    if hasattr(labels, "cat"):
        place = {value: i for i, value in enumerate(labels.cat.categories)}
        return sorted(present, key=place.__getitem__)
    return sorted(present)  # type: ignore[type-var]  # one kind, see plain_labels


def missing_message(frame: "pd.DataFrame", bad: "dict[str, pd.Series[Any]]", what: str) -> str:
    """Which columns are empty in which rows, and what to do."""
    parts = [f"column {column!r} is empty in {rows(frame.index[mask])}" for column, mask in bad.items() if mask.any()]
    return f"{what}: {'; '.join(parts)}. Fill them, or say missing = 'drop' to leave such rows out"
