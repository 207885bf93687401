"""Which column plays which role: as given, or found by its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt_magic.errors import DataError, listing, nearest

if TYPE_CHECKING:
    import pandas as pd

SECOND_TEXT = "second text"  # the role of the other column of pairs of texts; it is never found by name

# Usual names of a role, the plainest first: a table with "text" and "title" means its "text".
NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (
        ("text", "texts", "input", "inputs", "文本"),
        ("review", "sentence", "content", "message", "tweet", "comment", "body", "document", "email", "mail", "内容"),
        ("prompt", "utterance", "question", "description", "headline", "title", "post", "query"),
    ),
    "label": (
        ("label", "labels", "标签"),
        ("target", "targets", "class", "category", "sentiment", "intent", "topic", "类别"),
        ("output", "outputs", "y", "rating", "stars", "score", "emotion"),
    ),
    "prompt": (("prompt", "prompts"), ("instruction", "question", "input", "source", "context")),
    "completion": (("completion", "completions"), ("response", "answer", "output", "target", "reply")),
    "tokens": (("tokens",), ("words", "token", "word")),
    "tags": (("tags", "ner_tags"), ("ner", "labels", "label", "slots", "slot_tags", "bio", "iob")),
    "entities": (("entities",), ("spans", "annotations", "ents")),
    "messages": (("messages",), ("conversation", "conversations", "dialogue", "chat")),
}


@dataclass(frozen=True)
class Roles:
    """The columns in use.

    Attributes:
        columns: role -> column name.
        found: the roles that were found by name rather than given.
    """

    columns: dict[str, str]
    found: tuple[str, ...]

    def describe(self) -> str:
        """``text = 'review' (found by name), label = 'sentiment'``."""
        return ", ".join(
            f"{role} = {column!r}" + (" (found by name)" if role in self.found else "")
            for role, column in self.columns.items()
        )


def find_roles(frame: "pd.DataFrame", given: dict[str, str | None]) -> Roles:
    """Settle a column for every role in ``given``; a value of None asks to find it by name.

    Raises:
        DataError: a given column is missing, or no column or more than one fits.
    """
    columns: dict[str, str] = {}
    for role, column in given.items():
        if column is not None:
            columns[role] = _given(frame, role, column)
    found = [role for role, column in given.items() if column is None]
    for role in found:
        columns[role] = _by_name(frame, role, taken=columns)
    doubled = {role: column for role, column in columns.items() if list(columns.values()).count(column) > 1}
    if doubled:
        same = next(iter(doubled.values()))
        raise DataError(f"{' and '.join(doubled)} are both the column {same!r}: name two different columns")
    return Roles({role: columns[role] for role in given}, tuple(found))


def find_roles_in_valid(frame: "pd.DataFrame", roles: Roles) -> None:
    """Raise `DataError` when the validation table lacks a column that the training table has."""
    for role, column in roles.columns.items():
        if column not in frame.columns:
            raise DataError(
                f"valid has no column {column!r} for the {role}; it has {listing(map(repr, frame.columns), 12)}"
            )


def _given(frame: "pd.DataFrame", role: str, column: str) -> str:
    if column not in frame.columns:
        hint = nearest(column, frame.columns) or f"; the columns are {listing(map(repr, frame.columns), 12)}"
        raise DataError(f"{role} = {column!r}: no such column{hint}")
    return column


def _by_name(frame: "pd.DataFrame", role: str, taken: dict[str, str]) -> str:
    free = [column for column in frame.columns if column not in taken.values()]
    for names in NAMES[role]:
        fits = [column for column in free if column.strip().casefold() in names]
        if len(fits) > 1:
            raise DataError(f"which column is the {role}: {_either(fits)}? Say {role} = {fits[0]!r}")
        if fits:
            return fits[0]
    if not free:
        raise DataError(f"no column is left for the {role}: the table has only {listing(map(repr, frame.columns))}")
    raise DataError(f"no column is plainly the {role}: say {role} = ... with one of {listing(map(repr, free), 12)}")


def _either(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
