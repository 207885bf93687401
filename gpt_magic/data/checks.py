"""What can be wrong with texts and rows, found before a single weight moves."""

import functools
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gpt_magic.data.cells import cells, groups, numbered, text_hashes, texts_of
from gpt_magic.errors import DataError, a_kind, listing, plural
from gpt_magic.lazy import At, mapped, take

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 8  # groups that a message can name at most
NOT_UNICODE = "is no valid Unicode (an emoji cut in two?): clean it with text.encode('utf-8', 'ignore').decode()"

Text = str | tuple[str, str]  # a text, or a pair of them


@dataclass(frozen=True)
class Examples:
    """Checked examples, in the order of the table; of a large table they are read when asked for.

    Attributes:
        texts: one a row, or a pair of them, never empty.
        labels: one a row: str, int or bool; of other tasks a tuple of these, or a float.
        index: the table's index values, for messages.
    """

    texts: Sequence[Text]
    labels: Sequence[Hashable]
    index: Sequence[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, positions: Iterable[int] | At) -> "Examples":
        """The examples at ``positions``."""
        at = positions if isinstance(positions, range | np.ndarray) else np.array(list(positions), dtype=np.int64)
        return Examples(take(self.texts, at), take(self.labels, at), take(self.index, at))


class Rows(Protocol):
    """What checks on texts alone need: `Examples`, or passages to write on from."""

    @property
    def texts(self) -> Sequence[Text]: ...  # noqa: D102

    @property
    def index(self) -> Sequence[Any]: ...  # noqa: D102

    def __len__(self) -> int: ...


@dataclass
class Findings:
    """What the checks had to say.

    Attributes:
        warnings: one sentence each.
        dropped: rows that were left out.
        facts: (name, value) pairs for the report: what was read where the data's name does not say it.
    """

    warnings: list[str] = field(default_factory=list)
    dropped: int = 0
    facts: list[tuple[str, str]] = field(default_factory=list)


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

    if isinstance(values.dtype, pd.ArrowDtype) and values.dtype.pyarrow_dtype.num_fields:
        return values.isna()  # lists and the like, none a text: no need to look into a file
    white = np.fromiter((isinstance(v, str) and not v.strip() for v in cells(values)), dtype=bool, count=len(values))
    return values.isna() | pd.Series(white, values.index)


def rows(index: Iterable[Any], count: int | None = None) -> str:
    """``row 3`` or ``rows 3, 8, 12 and 4 more``; of ``count`` rows the first in ``index`` will do."""
    if count is None:
        index = index if isinstance(index, Sequence) else list(index)
        count = len(index)
    return f"row{'s' if count != 1 else ''} {listing(index, count=count)}"


def check_rows(
    frame: "pd.DataFrame",
    text: str | Sequence[str],
    label: str,
    missing: str,
    findings: Findings,
    what: str,
    read: "Callable[[pd.Series[Any], str, str, Findings], Sequence[Any]]",
) -> Examples:
    """Take text and label from every row, or say which rows have none.

    Args:
        text: the column with the texts, or the two columns with pairs of them.
        read: makes labels of values, given their column, ``what`` and ``findings``, such as `plain_labels`.

    Raises:
        DataError: a text or label is missing or of a kind that cannot be used (with ``missing="drop"`` missing
            ones are left out and counted in ``findings``).
    """
    names = [text] if isinstance(text, str) else list(text)
    for name in names:
        check_texts(frame[name], f"column {name!r}", what)
    both = f"both a text in {' and '.join(map(repr, names))} and a label in {label!r}"
    at = whole_positions(frame, [*names, label], missing, findings, what, both, "without text or label")
    labels = frame[label] if isinstance(at, range) else frame[label].iloc[at]
    return Examples(
        as_texts([texts_of(frame[name], at) for name in names]),
        read(labels, label, what, findings),
        cells(frame.index, at),
    )


def as_texts(columns: Sequence[Sequence[str]]) -> Sequence[Text]:
    """One column of texts as it is, two as pairs."""
    return columns[0] if len(columns) == 1 else mapped(lambda *pair: pair, *columns)


def whole_rows(
    frame: "pd.DataFrame",
    columns: Iterable[str],
    missing: str,
    findings: Findings,
    what: str,
    wanted: str,
    lacking: str,
    hints: Mapping[str, str] | None = None,
) -> "pd.DataFrame":
    """The rows at `whole_positions`."""
    at = whole_positions(frame, columns, missing, findings, what, wanted, lacking, hints)
    return frame if isinstance(at, range) else frame.iloc[at]


def whole_positions(
    frame: "pd.DataFrame",
    columns: Iterable[str],
    missing: str,
    findings: Findings,
    what: str,
    wanted: str,
    lacking: str,
    hints: Mapping[str, str] | None = None,
) -> At:
    """Positions of the rows with something in each of ``columns``; a range where that is all.

    Args:
        wanted, lacking: for the messages, such as ``a text in 'review'`` and ``without text``.
        hints: column -> what else is to be said where it is empty.

    Raises:
        DataError: a row lacks something (with ``missing="drop"`` such rows are left out and counted in ``findings``,
            and it is one only when none is left).
    """
    empty = {column: blank(frame[column]) for column in columns}
    bad = functools.reduce(operator.or_, empty.values())
    if bad.any() and missing == "error":
        raise DataError(missing_message(frame, empty, what, hints))
    if bad.all():
        raise DataError(f"{what}: no row has {wanted}")
    if bad.any():
        findings.dropped += int(bad.sum())
        findings.warnings.append(
            f"{what}: {plural(int(bad.sum()), 'row')} {lacking} left out: {rows(frame.index[bad])}"
        )
    return np.flatnonzero(~bad.to_numpy()) if bad.any() else range(len(frame))


def check_texts(texts: "pd.Series[Any]", name: str, what: str) -> None:
    """Raise `DataError` when a value is neither a text nor missing.

    Args:
        name: what the values are, such as ``column 'review'``.
    """
    import pandas as pd

    kind = texts.dtype
    if not (kind.kind == "O" or isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_string_dtype(kind)):
        raise DataError(f"{what}: {name} holds {texts.dtype} values, not texts: is it the right one?")
    if isinstance(kind, pd.StringDtype) or pd.api.types.infer_dtype(texts, skipna=True) in ("string", "empty"):
        return  # known without a look at each
    for row, value in texts.items():
        if not isinstance(value, str) and not (pd.api.types.is_scalar(value) and pd.isna(value)):
            raise DataError(f"{what}, row {row}: {name} holds {a_kind(value)}, not a text")


def check_conflicts(examples: Examples, findings: Findings, valid: Examples | None = None) -> None:
    """Warn about one text that stands with different labels, in the examples or, where given, in ``valid``."""
    parts = [examples] if valid is None else [examples, valid]
    group, firsts = groups(np.concatenate([text_hashes(mapped(normalise, part.texts)) for part in parts]))
    labels = numbered([label for part in parts for label in part.labels] if len(parts) > 1 else examples.labels)
    differing = np.flatnonzero(labels != labels[firsts[group]])
    if not len(differing):
        return
    found, at_first = np.unique(group[differing], return_index=True)
    found = found[np.argsort(at_first)]  # as they are first seen to differ
    order = np.concatenate([[firsts[one], *differing[group[differing] == one]] for one in found[:_SHOWN].tolist()])

    def name(position: int) -> Any:
        place = position - len(examples)
        return examples.index[position] if place < 0 else f"{parts[1].index[place]} of valid"

    findings.warnings.append(
        f"{len(found):,} text{'s' if len(found) > 1 else ''} with different labels: "
        f"{rows(map(name, order.tolist()), len(found) + len(differing))}"
    )


def check_leaks(train: Rows, valid: Rows, findings: Findings) -> None:
    """Warn about validation rows whose text the model also trains on."""
    same = np.isin(text_hashes(valid.texts), text_hashes(train.texts))
    folded = text_hashes(mapped(normalise, train.texts))
    near = ~same & np.isin(text_hashes(mapped(normalise, valid.texts)), folded)
    if not same.any() and not near.any():
        return
    parts = [f"{same.sum():,} exactly"] if same.any() else []
    parts += [f"{near.sum():,} but for case and space"] if near.any() else []
    leaked = np.concatenate([np.flatnonzero(same), np.flatnonzero(near)])
    findings.warnings.append(
        f"{len(leaked):,} of {plural(len(valid), 'row')} to validate also in the training data "
        f"({', '.join(parts)}), so validation looks better than it is: {rows(take(valid.index, leaked))}"
    )


def missing_message(
    frame: "pd.DataFrame", bad: "dict[str, pd.Series[Any]]", what: str, hints: Mapping[str, str] | None
) -> str:
    """Which columns are empty in which rows, and what to do."""
    parts = [
        f"column {column!r} is empty in {rows(frame.index[mask])}{(hints or {}).get(column, '')}"
        for column, mask in bad.items()
        if mask.any()
    ]
    return f"{what}: {'; '.join(parts)}. Fill them, or say missing = 'drop' to leave such rows out"
