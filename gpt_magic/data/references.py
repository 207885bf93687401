"""The reference answers that a cell of a table holds, and where they stand in their context."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt_magic.errors import DataError, a_kind, plural, short


def read_references(value: Any, start: Any, where: str) -> list[tuple[str, int | None]]:
    """The reference answers of a row and the characters they begin at, None where it is not said.

    Args:
        value: a text; a list of texts or of ``{"text", "answer_start"}``; or ``{"text": [...], "answer_start":
            [...]}`` as the Hub's SQuAD has it. An empty list, or as a CSV file has it the text ``[]``: no answer.
        start: what the column of places holds: a number, a list of them, or nothing.
        where: the row, for the message.

    Raises:
        DataError: it is none of these, or there are more or fewer places than answers.
    """
    if isinstance(value, str) and value.strip() == "[]":
        value = []
    if isinstance(value, Mapping) and "text" in value:
        value, start = value["text"], value.get("answer_start", start)
    texts, starts = _as_list(value), _as_list(start)
    if texts and all(isinstance(one, Mapping) and "text" in one for one in texts):
        texts, starts = [one["text"] for one in texts], [one.get("answer_start") for one in texts]
    bad = [one for one in texts if not isinstance(one, str)]
    if bad:
        raise DataError(
            f"{where}: the answer {short(bad[0])} is {a_kind(bad[0])}; write a text, a list of texts, or "
            "{'text': [...], 'answer_start': [...]}; an empty list says that there is none"
        )
    if starts and all(_is_nothing(one) for one in starts):
        starts = []
    if starts and len(starts) != len(texts):
        raise DataError(f"{where}: {plural(len(texts), 'answer')}, but {len(starts)} of answer_start")
    numbers = [_whole(one, where) for one in starts] or [None] * len(texts)
    return [(text, number) for text, number in zip(texts, numbers, strict=True) if text.strip()]


def locate(context: str, references: Sequence[tuple[str, int | None]]) -> tuple[str, int | None, str]:
    """The first reference that stands in the context, where, and what is to be said: see `place`."""
    for text, given in references:
        start, how = place(context, text, given)
        if how != "absent":
            return text, start, how
    return "", None, "absent" if references else ""


def place(context: str, answer: str, given: int | None) -> tuple[int | None, str]:
    """The character at which an answer begins.

    Args:
        given: where it is said to begin; None when that is not known.

    Returns:
        The place, and ``""`` where it is certain; ``moved``: it is not where it was said to be, so the nearest place
        was taken; ``ambiguous``: it stands there several times and the first was taken; None and ``absent``.
    """
    if given is not None:
        if context.startswith(answer, given) and given >= 0:
            return given, ""
        before = context.rfind(answer, 0, max(given, 0) + len(answer))
        around = [start for start in (before, context.find(answer, max(given, 0))) if start >= 0]
        return (min(around, key=lambda start: abs(start - given)), "moved") if around else (None, "absent")
    first = context.find(answer)
    if first < 0:
        return None, "absent"
    return first, "ambiguous" if context.find(answer, first + 1) >= 0 else ""


def _as_list(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()  # Parquet and datasets give arrays
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None else [value]


def _is_nothing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or value != value


def _whole(value: Any, where: str) -> int | None:
    if _is_nothing(value):
        return None
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value != int(value):
        raise DataError(f"{where}: answer_start is {short(value)}, not a whole number")
    return int(value)
