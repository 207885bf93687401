"""Tables to checked and split examples. Needs neither torch nor a tokenizer."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.checks import Examples, Findings, check_conflicts, check_leaks, check_rows
from gpt_magic.data.classes import check_classes, check_known_classes, class_order, plain_labels
from gpt_magic.data.columns import SECOND_TEXT, Roles, find_roles, find_roles_in_valid
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import set_aside, warn_unvalidated
from gpt_magic.data.streams import Say
from gpt_magic.errors import DataError
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class LabelledData:
    """Checked examples, split; a label is one class. Other kinds of labels are subclasses.

    Attributes:
        classes: the labels that there are, in the order of the model's outputs; empty for numbers.
    """

    task: ClassVar[str] = "classify"

    roles: Roles
    classes: list[Hashable]
    train: Examples
    valid: Examples
    split: str
    rows: int
    findings: Findings = field(default_factory=Findings)

    @staticmethod
    def read_labels(values: "pd.Series[Any]", column: str, what: str, findings: Findings) -> Sequence[Any]:  # noqa: ARG004
        """The labels of a column.

        Raises:
            DataError: one cannot be used.
        """
        return plain_labels(values, column, what)

    @staticmethod
    def find_classes(values: "pd.Series[Any]", examples: Examples, column: str, findings: Findings) -> list[Hashable]:
        """The classes of the examples, which come from ``values``; warns about those that cannot be learned well.

        Raises:
            DataError: there is nothing to tell apart.
        """
        classes = class_order(values, examples.labels)
        check_classes(examples, classes, column, findings)
        return classes

    @staticmethod
    def check_valid(train: Examples, valid: Examples, classes: list[Hashable], column: str) -> None:
        """Raise `DataError` when validation has labels that training never shows."""
        if type(valid.labels[0]) is not type(train.labels[0]):
            raise DataError(
                f"valid: column {column!r} holds {type(valid.labels[0]).__name__} labels, data holds "
                f"{type(train.labels[0]).__name__}: make them one kind"
            )
        check_known_classes(valid, classes)

    @staticmethod
    def set_aside(examples: Examples, fraction: float, seed: int) -> tuple[np.ndarray, str]:
        """Which examples validate; see `splits.set_aside`."""
        return set_aside(examples.texts, examples.labels, fraction, seed)


def read_labelled(
    options: Options,
    frame: "pd.DataFrame",
    say: Say = lambda _: None,
    kind: type[LabelledData] = LabelledData,
) -> LabelledData:
    """Check the tables and settle who trains and who validates."""
    findings = Findings()
    roles = labelled_roles(options, frame)
    texts, label = text_columns(roles.columns), roles.columns["label"]
    examples = check_rows(frame, texts, label, options.missing, findings, "data", kind.read_labels)
    classes = kind.find_classes(frame[label], examples, label, findings)
    if options.valid is None:
        held, how = kind.set_aside(examples, options.valid_fraction, options.seed)
        train, valid = examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))
        check_conflicts(examples, findings)
    else:
        valid_frame = read_table(options.valid, "valid", say)
        find_roles_in_valid(valid_frame, roles)
        train = examples
        valid = check_rows(valid_frame, texts, label, options.missing, findings, "valid", kind.read_labels)
        kind.check_valid(train, valid, classes, label)
        check_conflicts(train, findings, valid)
        check_leaks(train, valid, findings)
        how = "given"
    if not len(valid):
        warn_unvalidated(options, how, findings)
    return kind(roles, classes, train, valid, how, len(frame), findings)


def labelled_roles(options: Options, frame: "pd.DataFrame") -> Roles:
    """The columns with the texts, or pairs of them, and with the labels.

    Raises:
        DataError: a given column is missing, or no column or more than one fits.
    """
    if isinstance(options.text, list):
        first, second = options.text
        return find_roles(frame, {"text": first, SECOND_TEXT: second, "label": options.label})
    return find_roles(frame, {"text": options.text, "label": options.label})


def text_columns(columns: Mapping[str, str]) -> Sequence[str]:
    """The one column with texts, or the two with pairs of them, by their roles."""
    return [columns[role] for role in ("text", SECOND_TEXT) if role in columns]
