"""Labels that are numbers: read, checked and split."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.checks import Examples, Findings, rows
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.splits import set_aside
from gpt_magic.errors import DataError, a_kind, short

if TYPE_CHECKING:
    import pandas as pd

_STRATA = 5
_NUMBERS = ("floating", "mixed-integer-float")  # that pandas keeps as objects, such as of records with gaps
_LARGEST = 1e30  # float32, in which models compute, ends at 3e38, and errors are squared


class NumberData(LabelledData):
    """Checked examples, split; a label is a float."""

    task = "regress"

    @staticmethod
    def read_labels(values: "pd.Series[Any]", column: str, what: str, findings: Findings) -> Sequence[Any]:  # noqa: ARG004
        """The numbers of a column; see `read_numbers`."""
        return read_numbers(values, column, what)

    @staticmethod
    def find_classes(
        values: "pd.Series[Any]",  # noqa: ARG004
        examples: Examples,
        column: str,
        findings: Findings,  # noqa: ARG004
    ) -> list[Hashable]:
        """There are none; but the numbers must differ."""
        if len(set(examples.labels)) == 1:
            raise DataError(f"column {column!r} has one value only, {examples.labels[0]:g}: nothing to learn")
        return []

    @staticmethod
    def check_valid(train: Examples, valid: Examples, classes: list[Hashable], column: str) -> None:
        """Any number will do."""

    @staticmethod
    def set_aside(examples: Examples, fraction: float, seed: int) -> tuple[np.ndarray, str]:
        """Stratified by the fifth of the numbers that a row's is in."""
        return set_aside(examples.texts, fifths(examples.labels), fraction, seed)


def is_numbers(values: "pd.Series[Any]") -> bool:
    """Whether a column holds numbers of which some are not whole."""
    import pandas as pd

    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) in _NUMBERS:
        values = values.dropna().astype(float)
    if values.dtype.kind != "f":
        return False
    known = values[np.isfinite(values)]
    return bool((known != known.round()).any())


def read_numbers(values: "pd.Series[Any]", column: str, what: str) -> list[float]:
    """The numbers of a column as floats.

    Raises:
        DataError: a value is no number, not finite, or beyond what a model can compute with.
    """
    numbers = []
    for row, value in values.items():
        item = value.item() if isinstance(value, np.generic) else value
        if isinstance(item, bool) or not isinstance(item, int | float):
            hint = "; make numbers of texts with .astype(float)" if isinstance(item, str) else ""
            raise DataError(
                f"{what}, row {row}: the label {short(item)} in column {column!r} is {a_kind(item)}, not a number{hint}"
            )
        numbers.append(float(item))
    beyond = [row for row, number in zip(values.index, numbers, strict=True) if not abs(number) < _LARGEST]
    if beyond:
        raise DataError(f"{what}: column {column!r} is infinite or too large in {rows(beyond)}: remove these rows")
    return numbers


def fifths(labels: Sequence[Any]) -> list[Hashable]:
    """The fifth of all numbers, from the lowest, that each is in."""
    numbers = np.asarray(labels, dtype=float)
    inner = np.quantile(numbers, np.linspace(0, 1, _STRATA + 1)[1:-1])
    found: list[Hashable] = np.searchsorted(inner, numbers, side="left").tolist()
    return found
