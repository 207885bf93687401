"""The line of ``%predict`` to texts: what is a flag, a name, a file, and what is the text itself."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_magic.data.names import is_file_name
from gpt_magic.errors import DataError, OptionError, a_kind, nearest, short
from gpt_magic.notebook.tables import find_data

SWITCHES = ("--probabilities", "--traceback", "--help", "-h")
# What the flags that say how to write take, by the names that `TunedGenerator.generate` has for them.
SETTINGS: dict[str, type] = {
    "--max-new-tokens": int,
    "--temperature": float,
    "--top-k": int,
    "--top-p": float,
    "--repetition-penalty": float,
    "--stop": str,
    "--num-samples": int,
    "--seed": int,
}
_VALUE = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"']\S*)"""
_NAME = r"--[A-Za-z][\w-]*"
_FIRST = re.compile(rf"({_NAME}|-h)(?:=({_VALUE}))?(?=\s|$)")
_FIRST_VALUE = re.compile(rf"\s+({_VALUE})(?=\s|$)")
_LAST = re.compile(rf"(?:^|\s)({_NAME})(?:=({_VALUE}))?$")
_LAST_VALUE = re.compile(rf"(?:^|\s)({_NAME})\s+({_VALUE})$")
_TAIL = re.compile(r"\s*(;|\s#[^\"']*)\s*$")  # a comment, or the semicolon that hides a cell's value
_TEXT = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_PAIR = re.compile(rf"\s*({_TEXT})\s*,?\s*({_TEXT})\s*")
_ASKED = re.compile(rf"({_TEXT})\s+(\S.*)", re.DOTALL)
_ASK = "question with a context"
_CONTEXT = "a context stands in quotes, or under a name"
_HOW = '%predict {model} "question" NAME, or %%predict {model} with question, empty line and context below'
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""")


def take_flags(line: str) -> tuple[str, dict[str, Any]]:
    """Take the flags off both ends of a line; within a text, ``--`` is a dash.

    Returns:
        The line without them, and by flag True or the flag's value, for ``--stop`` all its values.

    Raises:
        OptionError: there is no such flag, it is given twice, or its value is not of its kind.
    """
    flags: dict[str, Any] = {}
    line = line.strip()
    behind = _last(head := _TAIL.sub("", line))
    if behind and behind[1] in (*SETTINGS, *SWITCHES):
        line = head  # behind a flag, a # is a comment
    while match := _FIRST.match(line):
        flag, value = match[1], match[2]
        line = line[match.end() :]
        if value is None and flag in SETTINGS and (found := _FIRST_VALUE.match(line)):
            value, line = found[1], line[found.end() :]
        _put(flags, flag, value)
        line = line.lstrip()
    last: list[tuple[str, str | None]] = []
    while match := _last(line):
        last.insert(0, (match[1], match[2]))
        line = line[: match.start()].rstrip()
    for flag, value in last:
        _put(flags, flag, value)
    return line, flags


def merge_flags(first: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of two parts of a line.

    Raises:
        OptionError: one that takes a value is given in both.
    """
    flags = dict(first)
    for flag, value in more.items():
        for one in value if flag == "--stop" else [value]:
            _add(flags, flag, one)
    return flags


def _last(line: str) -> re.Match[str] | None:
    """A flag at the end of a line; with its value where the flag takes one, or seems to be meant for one that does."""
    if match := _LAST.search(line):
        return match
    match = _LAST_VALUE.search(line)
    if match is None or match[1] in SETTINGS:
        return match
    meant = bool(nearest(match[1], SETTINGS)) and re.fullmatch(r"-?[\d.]+|[\"'].*", match[2], re.DOTALL)
    return match if meant else None


def _put(flags: dict[str, Any], flag: str, value: str | None) -> None:
    if flag not in SWITCHES and flag not in SETTINGS:
        raise OptionError(
            f"no flag {flag!r}{nearest(flag, [*SETTINGS, *SWITCHES])}; a text that begins or ends so stands in quotes"
        )
    if flag in SWITCHES:
        if value is not None:
            raise OptionError(f"{flag} takes no value")
        _add(flags, flag, True)
        return
    kind = SETTINGS[flag]
    if kind is str:
        if value is None:
            raise OptionError(f'{flag} needs a text, such as {flag} "\\n"')
        _add(flags, flag, _unquoted(value))
        return
    try:
        number = kind(_unquoted(value or ""))
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise OptionError(f"{flag} needs {what}{f', not {short(value)}' if value else ''}") from None
    _add(flags, flag, number)


def _add(flags: dict[str, Any], flag: str, value: Any) -> None:
    if flag == "--stop":
        flags.setdefault(flag, []).append(value)
    elif flag in flags and flag in SETTINGS:
        raise OptionError(f"{flag} is given twice")
    else:
        flags[flag] = value


def _unquoted(value: str) -> str:
    """A flag's value without its quotes; in quotes, a backslash before n is a line break, before t a tab."""
    if not _QUOTED.fullmatch(value):
        return value
    signs = {"n": "\n", "t": "\t"}
    return re.sub(r"\\([\"'\\nt])", lambda sign: signs.get(sign[1], sign[1]), value[1:-1])


def find_texts(
    model: str, rest: str, cell: str | None, names: Mapping[str, Any], *, whole: bool = False, pairs: bool = False
) -> Any:
    """What a tuned model is to label or to continue.

    Args:
        model: the model's name, for messages.
        rest: the line without flags and the model's name, as it was typed.
        cell: the cell's body, one text a line; None for a line magic.
        names: what the notebook holds.
        whole: the cell's body is one text, for a model that writes.
        pairs: texts come in pairs, on the line two in quotes, in the cell's body two in quotes a line.

    Returns:
        The object that ``rest`` names, the table of the file that it names, else the text without its quotes.

    Raises:
        DataError: there are no texts, or the file cannot be read.
        OptionError: it is an expression, or texts stand in both places.
    """
    if cell is not None:
        if rest:
            raise OptionError("give the texts in the cell's body or on the line, not both")
        return _in_cell(model, cell, whole, pairs)
    if not rest:
        raise DataError("nothing to predict: give a text or the name of a DataFrame after the model's name")
    head = _TAIL.sub("", rest)
    if _QUOTED.fullmatch(head) or (pairs and _PAIR.fullmatch(head)) or _is_name(head, names):
        rest = head  # within any other text a # is a part of it
    from gpt_magic.data.sources import read_table

    quoted = _QUOTED.fullmatch(rest)
    text = _bare(rest) if quoted else rest
    if is_file_name(text) and _is_file(text):
        return read_table(text)
    if quoted or (pairs and _PAIR.fullmatch(rest)):
        return _pair(rest, model) if pairs else text
    if _is_name(text, names) or (is_file_name(text) and len(text.split()) == 1):
        value = find_data(text, names)
        return read_table(value) if isinstance(value, str) and is_file_name(value) else value
    if _is_expression(text, names):
        raise OptionError(f"{short(text)} is an expression: write {model}.predict({text}); a text stands in quotes")
    return _pair(text, model) if pairs else text


def _pair(text: str, model: str) -> tuple[str, str]:
    """Two texts in quotes."""
    found = _PAIR.fullmatch(text)
    if found is None:
        raise OptionError(f'{model} labels pairs of texts, and {short(text)} is none: write "one" "other", in quotes')
    return _bare(found[1]), _bare(found[2])


def _bare(quoted: str) -> str:
    """A text without its quotes."""
    return re.sub(r"\\([\"'\\])", r"\1", quoted[1:-1])


def _in_cell(model: str, cell: str, whole: bool, pairs: bool) -> Any:
    """The texts in a cell's body."""
    if pairs:
        return [_pair(line, model) for line in _lines(cell)]
    return _body(model, cell) if whole else _lines(cell)


def find_question(model: str, rest: str, cell: str | None, names: Mapping[str, Any]) -> Any:
    """What a model that answers is asked.

    Args:
        model: the model's name, for messages.
        rest: the line without flags and the model's name: ``"question" CONTEXT``, with the context in quotes or under
            a name; a table; or, before a cell, the question.
        cell: the context, or the question, an empty line and the context; None for a line magic.
        names: what the notebook holds.

    Returns:
        A pair of question and context, or a table.

    Raises:
        DataError: question or context are missing, or no texts.
        OptionError: it is an expression.
    """
    if cell is not None:
        question, context = rest, cell
        if not rest:
            question, context = [*re.split(r"\n[^\S\n]*\n", cell.strip("\n"), maxsplit=1), ""][:2]
        if not question.strip() or not context.strip():
            raise DataError(f"the cell has no {_ASK}: {_HOW.format(model=model)}")
        return _unquoted(question.strip()), context.strip("\n")
    pair = _ASKED.fullmatch(_TAIL.sub("", rest))
    if pair is None:
        found = find_texts(model, rest, None, names) if rest else ""
        if isinstance(found, str):
            raise DataError(f"there is no {_ASK}: {_HOW.format(model=model)}")
        return found
    question, given = pair[1], pair[2]
    if _is_expression(given, names):
        raise OptionError(f"{short(given)} is an expression: write {model}.ask({question}, {given}); {_CONTEXT}")
    if not (_QUOTED.fullmatch(given) or _is_name(given, names) or is_file_name(given)):
        raise OptionError(f"there is no {short(given)} in this notebook{nearest(given, names)}; {_CONTEXT}")
    context = find_texts(model, given, None, names)
    if not isinstance(context, str):
        raise DataError(f"{short(given)} is {a_kind(context)}, not a text with the answer in it")
    return _unquoted(question), context


def _lines(cell: str) -> list[str]:
    lines = [text for text in cell.split("\n") if text.strip()]
    if not lines:
        raise DataError("the cell has no texts: write one a line below %%predict")
    return lines


def _body(model: str, cell: str) -> str:
    if not cell.strip():
        raise DataError(
            f'the cell has no text: write the beginning of one below %%predict; %predict {model} "" begins from nothing'
        )
    return cell.removesuffix("\n")


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
