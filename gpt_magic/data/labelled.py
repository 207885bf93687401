"""Tables to checked and split examples. Needs neither torch nor a tokenizer."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gpt_magic.data.checks import (
    Examples,
    Findings,
    check_classes,
    check_conflicts,
    check_known_classes,
    check_leaks,
    check_rows,
    class_order,
)
from gpt_magic.data.columns import Roles, find_roles, find_roles_in_valid
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import set_aside, warn_unvalidated
from gpt_magic.errors import DataError
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class LabelledData:
    """Checked examples, split."""

    task: ClassVar[str] = "classify"

    roles: Roles
    classes: list[Hashable]
    train: Examples
    valid: Examples
    split: str
    rows: int
    findings: Findings = field(default_factory=Findings)


def read_labelled(options: Options, frame: "pd.DataFrame") -> LabelledData:
    """Check the tables and settle who trains and who validates."""
    findings = Findings()
    roles = find_roles(frame, {"text": options.text, "label": options.label})
    text, label = roles.columns["text"], roles.columns["label"]
    examples = check_rows(frame, text, label, options.missing, findings, "data")
    if options.valid is None:
        classes = class_order(frame[label], examples.labels)
        check_classes(examples, classes, label, findings)
        held, how = set_aside(examples.texts, examples.labels, options.valid_fraction, options.seed)
        train, valid = examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))
        check_conflicts(examples, findings)
    else:
        valid_frame = read_table(options.valid, "valid")
        find_roles_in_valid(valid_frame, roles)
        train, valid = examples, check_rows(valid_frame, text, label, options.missing, findings, "valid")
        classes = class_order(frame[label], examples.labels)
        check_classes(train, classes, label, findings)
        if type(valid.labels[0]) is not type(train.labels[0]):
            raise DataError(
                f"valid: column {label!r} holds {type(valid.labels[0]).__name__} labels, data holds "
                f"{type(train.labels[0]).__name__}: make them one kind"
            )
        check_known_classes(valid, classes)
        check_conflicts(train, findings, valid)
        check_leaks(train, valid, findings)
        how = "given"
    if not len(valid):
        warn_unvalidated(options, how, findings)
    return LabelledData(roles, classes, train, valid, how, len(frame), findings)
