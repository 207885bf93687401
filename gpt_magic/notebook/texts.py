"""The line of ``%predict`` to texts: what is a flag, a name, a file, and what is the text itself."""

import ast
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gpt_magic.data.sources import is_file_name, read_table
from gpt_magic.errors import DataError, OptionError, nearest, short
from gpt_magic.notebook.cell import find_data

_FIRST_FLAG = re.compile(r"(--[A-Za-z][^\s\"']*|-h)(?:\s+|$)")
_LAST_FLAG = re.compile(r"(?:^|\s)(--[A-Za-z][^\s\"']*)$")
_TAIL = re.compile(r"\s*(;|\s#[^\"']*)\s*$")  # a comment, or the semicolon that hides a cell's value
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""")


def take_flags(line: str, known: Collection[str]) -> tuple[str, set[str]]:
    """Take the flags off both ends of a line; within a text, ``--`` is a dash.

    Raises:
        OptionError: a flag is not in ``known``; the line names the nearest.
    """
    flags = set()
    line = line.strip()
    while match := _FIRST_FLAG.match(line) or _LAST_FLAG.search(line):
        flag = match[1]
        if flag not in known:
            raise OptionError(f"no flag {flag!r}{nearest(flag, known)}; a text that begins or ends so stands in quotes")
        flags.add(flag)
        line = (line[: match.start()] + line[match.end() :]).strip()
    return line, flags


def find_texts(model: str, rest: str, cell: str | None, names: Mapping[str, Any]) -> Any:
    """What `TunedModel.predict` is to label.

    Args:
        model: the model's name, for messages.
        rest: the line without flags and the model's name, as it was typed.
        cell: the cell's body, one text a line; None for a line magic.
        names: what the notebook holds.

    Returns:
        The object that ``rest`` names, the table of the file that it names, else the text without its quotes.

    Raises:
        DataError: there are no texts, or the file cannot be read.
        OptionError: it is an expression, or texts stand in both places.
    """
    if cell is not None:
        if rest:
            raise OptionError("give the texts in the cell's body or on the line, not both")
        lines = [text for text in cell.split("\n") if text.strip()]
        if not lines:
            raise DataError("the cell has no texts: write one a line below %%predict")
        return lines
    if not rest:
        raise DataError("nothing to predict: give a text or the name of a DataFrame after the model's name")
    head = _TAIL.sub("", rest)
    if _QUOTED.fullmatch(head) or _is_name(head, names):
        rest = head  # within any other text a # is a part of it
    quoted = _QUOTED.fullmatch(rest)
    text = re.sub(r"\\([\"'\\])", r"\1", quoted[2]) if quoted else rest
    if is_file_name(text) and _is_file(text):
        return read_table(text)
    if quoted:
        return text
    if _is_name(text, names) or (is_file_name(text) and len(text.split()) == 1):
        value = find_data(text, names)
        return read_table(value) if isinstance(value, str) and is_file_name(value) else value
    if _is_expression(text, names):
        raise OptionError(f"{short(text)} is an expression: write {model}.predict({text}); a text stands in quotes")
    return text


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError):  # too long for a name, no such home
        return False


def _is_name(text: str, names: Mapping[str, Any]) -> bool:
    parts = text.split(".")
    return parts[0] in names and all(part.isidentifier() for part in parts)


def _is_expression(text: str, names: Mapping[str, Any]) -> bool:
    """Whether a text is Python that takes a part of something in the notebook, or calls it."""
    try:
        node: ast.AST = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return False
    if not isinstance(node, ast.Subscript | ast.Call):
        return False
    while isinstance(node, ast.Subscript | ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(node, ast.Name) and node.id in names
