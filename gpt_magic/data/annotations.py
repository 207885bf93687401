"""The cells of a table of sentences, checked one by one: lists of tokens, of tags, of entities."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpt_magic.data.checks import rows
from gpt_magic.data.schemes import TagCount, marked_otherwise
from gpt_magic.errors import DataError, a_kind, short

_KEYS = ("start", "end", "label")
_LIKE = "{'start': 0, 'end': 5, 'label': 'PER'}"

Span = tuple[int, int, str]


def plain_tokens(cell: Any, column: str, where: str) -> list[str]:
    """The tokens of a cell.

    Raises:
        DataError: it is no list, or holds something else than texts.
    """
    return _texts(cell, "token", column, where, "texts")


def plain_tags(cell: Any, column: str, where: str) -> list[str]:
    """The tags of a cell, in the scheme that they have.

    Raises:
        DataError: it is no list, or holds something else than names of tags.
    """
    tags = [tag.strip() for tag in _texts(cell, "tag", column, where, "names such as 'B-PER'")]
    if "" in tags:
        raise DataError(f"{where}: tag {tags.index('')} in {column!r} is empty; what is no entity has the tag 'O'")
    return tags


def check_tags(count: TagCount, row: Any, column: str, what: str) -> None:
    """Raise `DataError` when types stand with and without a prefix, hold one, or there is nothing but bare types.

    Args:
        count: of all tags of a table.
        row: the name of the first row with a bare type.
    """
    if not count.bare:
        return
    if count.prefixes != {""}:
        raise DataError(f"{what}, {rows([row])}: the tag {short(count.bare)} in {column!r} has no B- or I- before it")
    if otherwise := marked_otherwise(count.types):
        tag, written = map(short, otherwise)
        raise DataError(
            f"{what}: the tags in {column!r}, such as {tag}, are BIO written otherwise: write {written}, and 'O' for "
            "what is no entity"
        )
    if not count.outside:
        raise DataError(
            f"{what}: the tags in {column!r}, such as {short(count.bare)}, have no B- or I- before them, and none is "
            "'O': they do not mark entities"
        )


def read_entities(cell: Any, text: str, column: str, where: str) -> tuple[list[Span], int]:
    """The entities of a cell, ascending, without white space at their ends.

    Args:
        cell: a list of ``{"start", "end", "label"}``, in characters, or what Parquet and ``datasets`` make of one.
        text: what they stand in.

    Returns:
        (start, end, label) of each, and how many had white space at their ends.

    Raises:
        DataError: an entity has another form, is empty, reaches out of the text or into another.
    """
    spans: list[tuple[Span, int]] = []
    trimmed = 0
    for number, entity in enumerate(_entities(cell, column, where)):
        start, end, label = _span(entity, f"{where}: entity {number} in {column!r}")
        said = f"{where}: entity {number} in {column!r}, from {start} to {end},"
        if not 0 <= start <= len(text) or not 0 <= end <= len(text):
            raise DataError(f"{said} reaches out of the text, which has {len(text):,} characters")
        marked = text[start:end]
        if not marked.strip():
            raise DataError(f"{said} marks {'nothing' if end <= start else 'white space only'}")
        inner = start + len(marked) - len(marked.lstrip()), start + len(marked.rstrip())
        trimmed += inner != (start, end)
        spans.append(((*inner, label), number))
    spans.sort()
    for (before, first), (after, second) in pairwise(spans):
        if after[0] < before[1]:
            raise DataError(
                f"{where}: entities {first} and {second} in {column!r}, from {before[0]} to {before[1]} and from "
                f"{after[0]} to {after[1]}, overlap: keep one"
            )
    return [span for span, _ in spans], trimmed


def _texts(cell: Any, noun: str, column: str, where: str, wanted: str) -> list[str]:
    if hasattr(cell, "tolist"):
        cell = cell.tolist()  # Parquet and datasets give arrays
    if not isinstance(cell, list | tuple):
        hint = "; split it, as with .str.split(), or keep lists in JSONL or Parquet" if isinstance(cell, str) else ""
        raise DataError(f"{where}: column {column!r} holds {a_kind(cell)}, not a list of {noun}s{hint}")
    for number, item in enumerate(cell):
        if not isinstance(item, str):
            raise DataError(f"{where}: {noun} {number} in {column!r}, {short(item)}, is {a_kind(item)}; give {wanted}")
    return [str(item) for item in cell]


def _entities(cell: Any, column: str, where: str) -> Sequence[Any]:
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, Mapping) and {*_KEYS} <= {*cell}:  # as datasets keeps a list of dicts
        cell = [dict(zip(_KEYS, parts, strict=False)) for parts in zip(*(cell[key] for key in _KEYS), strict=True)]
    if not isinstance(cell, list | tuple):
        raise DataError(f"{where}: column {column!r} holds {a_kind(cell)}, not a list of entities such as {_LIKE}")
    return cell


def _span(entity: Any, said: str) -> Span:
    if not isinstance(entity, Mapping) or not {*_KEYS} <= {*entity}:
        raise DataError(f"{said} is {short(entity)}; write {_LIKE}")
    start, end, label = (entity[key] for key in _KEYS)
    for name, place in (("start", start), ("end", end)):
        if isinstance(place, bool) or not isinstance(place, int | np.integer):
            raise DataError(f"{said} has the {name} {short(place)}, not a whole number of characters")
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"{said} has the label {short(label)}, not a name such as 'PER'")
    return int(start), int(end), label.strip()
