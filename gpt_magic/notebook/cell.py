"""The text of a magic to option values: flags on the line, Python assignments in the body."""

import ast
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traitlets import Bool, Enum, Unicode, Union

from gpt_magic.errors import OptionError, nearest
from gpt_magic.notebook.tables import find_data, tables
from gpt_magic.options import find, table
from gpt_magic.values import expected

_SWITCHES = ("help", "traceback", "form")  # flags of the magic itself, not options of a run
ORDERS = ("stop", "pause", "resume", "status", "show")  # what is told a run that is there already, as flags
_FLAG = re.compile(r"-(?![\d.])")  # -o and --epochs, but not -1


@dataclass
class Request:
    """What a cell asks for.

    Attributes:
        values: option -> value.
        data_name: the data as the user calls them, None when they are an expression.
        switches: the magic's own flags that were given.
        order: one of `ORDERS` instead of a run to begin, for the run ``run_name`` or, when that is None, the latest.
    """

    values: dict[str, Any] = field(default_factory=dict)
    data_name: str | None = None
    switches: set[str] = field(default_factory=set)
    order: str = ""
    run_name: str | None = None


def read_cell(line: str, body: str | None, namespace: Mapping[str, Any]) -> Request:
    """Read a ``%%finetune`` cell.

    Args:
        line: what follows the magic's name: ``[DATA] [-o NAME] [--option value ...]``.
        body: the rest of the cell: assignments to options; None for a line magic.
        namespace: the notebook's names, for the data and the right-hand sides.

    Raises:
        OptionError: with the line or option that is wrong and what to write instead.
    """
    request = read_line(line, namespace)
    if request.order and (body or "").strip():
        raise OptionError(f"--{request.order} takes no body: write %finetune --{request.order} in a cell of its own")
    if "help" in request.switches or request.order:
        return request
    for name, (value, source) in read_body(body or "", namespace).items():
        if name in request.values:
            raise OptionError(f"{name} is given twice: on the line of the magic and in the cell's body")
        request.values[name] = value
        _check_no_quotes(name, value, namespace)
        if name == "data":
            request.data_name = source if all(part.isidentifier() for part in source.split(".")) else None
    return request


def read_line(line: str, namespace: Mapping[str, Any]) -> Request:
    """Read the line: DATA, then flags."""
    words = split_line(line)
    if "-h" in words or "--help" in words:
        return Request(switches={"help"})  # whatever else is right or wrong
    request = Request()
    if orders := [word for word in words if word.startswith("--") and word[2:] in ORDERS]:
        return _read_order(orders[0][2:], [word for word in words if word != "--traceback"])
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not _FLAG.match(word):
            _put(request, "data", find_data(word, namespace), word)
            continue
        name, has_value, text = _flag(word)
        if name in _SWITCHES:
            request.switches.add(name)
            continue
        following = words[position] if position < len(words) else None
        if not has_value and isinstance(find(name), Bool):
            # A bare switch may stand before the data: --dry-run reviews.
            text = "True"
            told = following is not None and following.title() in ("True", "False")
            if following is not None and (told or ("data" in request.values and not _FLAG.match(following))):
                text = following
                position += 1
        elif not has_value:
            if following is None or _FLAG.match(following):
                raise OptionError(f"{word} needs a value: {expected(find(name))}")
            text = following
            position += 1
        _put(request, name, parse_value(name, text, namespace), text)
    return request


def _read_order(order: str, words: list[str]) -> Request:
    """``--stop [NAME]``, which stands alone."""
    names = [word for word in words if word != f"--{order}"]
    if words[0] != f"--{order}" or any(_FLAG.match(word) for word in names):
        raise OptionError(f"--{order} stands alone, with the name of a run at most: %finetune --{order} [NAME]")
    if order == "status" and names:
        raise OptionError("--status lists all runs: write it without a name")
    if len(names) > 1:
        raise OptionError(f"--{order} takes the name of one run, or none for the last; not {' '.join(names)!r}")
    return Request(order=order, run_name=names[0] if names else None)


def read_body(body: str, namespace: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Read the body: name -> (value, its source text).

    Later lines may use what earlier ones assigned. Nothing but assignments to options is run.
    """
    try:
        tree = ast.parse(body)
    except SyntaxError as error:
        raise OptionError(_not_python(error, body)) from None
    except ValueError as error:  # null bytes, and characters that are none
        raise OptionError(f"the cell is not Python: {error}") from None
    known = dict(namespace)
    values: dict[str, tuple[Any, str]] = {}
    for statement in tree.body:
        source = ast.get_source_segment(body, statement) or ""
        if not isinstance(statement, ast.Assign):
            raise OptionError(
                f"line {statement.lineno + 1} of the cell, {_cut(source)!r}, is not an assignment to an option: write "
                "lines such as epochs = 3, and other code in a cell of its own"
            )
        names = [_target_names(target, statement.lineno, source) for target in statement.targets]
        for name in (name for group in names for name in group):
            _check_name(name, statement.lineno)
        value = _evaluate(statement, known, source)
        text = ast.get_source_segment(body, statement.value) or ""
        for group in names:
            for name, item in _unpack(group, value, statement.lineno, source):
                if name in values:
                    raise OptionError(f"{name} is given twice, again on line {statement.lineno + 1} of the cell")
                values[name] = (item, text)
                known[name] = item
    return values


def is_tuned(value: Any) -> bool:
    """Whether a value is a `TunedModel`; its class is not imported for that, because torch comes with it."""
    return any(kind.__name__ == "TunedModel" for kind in type(value).__mro__)


def parse_value(name: str, text: str, namespace: Mapping[str, Any]) -> Any:
    """The value of a flag: a table by name, else a Python literal, else the text itself."""
    option = find(name)
    kind = option.metadata.get("kind")
    if kind == "table":
        return find_data(text, namespace)
    if kind == "base":
        return text if isinstance(namespace.get(text, ""), str) else namespace[text]
    if isinstance(option, Unicode) or (kind == "column" and not text.startswith(("[", "("))):
        return text
    try:
        return ast.literal_eval(text.title() if isinstance(option, Bool) else text)
    except (ValueError, SyntaxError):
        return text


def split_line(line: str) -> list[str]:
    """Words of a line as a shell splits them; quotes are taken off.

    Raises:
        OptionError: a quote is not closed.
    """
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    if os.name == "nt":
        lexer.escape = ""  # C:\data\reviews.csv
    try:
        return list(lexer)
    except ValueError as error:
        raise OptionError(
            f'cannot read the line of the magic: {str(error).lower()}; a text with \' in it stands between " and "'
        ) from None


def _check_no_quotes(name: str, value: Any, namespace: Mapping[str, Any]) -> None:
    """Refuse a table's name in quotes, before it is looked for on the hub."""
    quoted = find(name).metadata.get("kind") == "table" and isinstance(value, str) and value in tables(namespace)
    if quoted and not Path(value).exists():
        raise OptionError(f"{name} = {value!r}: the name of a DataFrame has no quotes: {name} = {value}")


def _flag(word: str) -> tuple[str, bool, str]:
    """``--learning-rate=5e-5`` to its name, whether a value came with it, and the value."""
    flag, has_value, text = word.partition("=")
    if flag in ("-h", "--help"):
        return "help", False, ""
    if flag == "-o":
        return "output", bool(has_value), text
    if not flag.startswith("--"):
        meant = f"-{flag}" if flag[1:].replace("-", "_") in table() else "--epochs 3"
        raise OptionError(f"no flag {flag!r}; flags are -o, -h and the options with two dashes, such as {meant}")
    name = flag[2:].replace("-", "_")
    negated = name.removeprefix("no_")
    if name not in table() and negated in table() and isinstance(find(negated), Bool):
        raise OptionError(f"no option {flag!r}: write --{negated.replace('_', '-')} False")
    return name, bool(has_value), text


def _put(request: Request, name: str, value: Any, text: str) -> None:
    if name in request.values:
        raise OptionError(f"{name} is given twice on the line of the magic, again as {text!r}")
    request.values[name] = value
    if name == "data":
        request.data_name = text


def _target_names(target: ast.expr, line: int, source: str) -> list[str]:
    elements: Iterable[ast.expr] = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    names = []
    for element in elements:
        if not isinstance(element, ast.Name):
            raise OptionError(f"line {line + 1} of the cell, {_cut(source)!r}: only option names can be assigned to")
        names.append(element.id)
    return names


def _check_name(name: str, line: int) -> None:
    try:
        find(name)
    except OptionError as error:
        raise OptionError(f"line {line + 1} of the cell: {error}") from None


def _evaluate(statement: ast.Assign, known: dict[str, Any], source: str) -> Any:
    try:
        code = compile(ast.Expression(statement.value), "<%%finetune>", "eval")
        return eval(code, known)  # noqa: S307  # the user's own cell, in the user's own notebook
    except Exception as error:
        hint = _name_hint(error, statement, known) if isinstance(error, NameError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise OptionError(
            f"line {statement.lineno + 1} of the cell, {_cut(source)!r}: {type(error).__name__}: {reason}{hint}"
        ) from error


def _name_hint(error: NameError, statement: ast.Assign, known: Mapping[str, Any]) -> str:
    target, value = statement.targets[0], statement.value
    if isinstance(target, ast.Name) and isinstance(value, ast.Name) and value.id == error.name:
        option = find(target.id)
        if isinstance(option, Unicode | Enum | Union) or option.metadata.get("kind") == "base":
            return f"; a text stands in quotes: {target.id} = {value.id!r}"
    return nearest(error.name, known) if error.name else ""


def _not_python(error: SyntaxError, body: str) -> str:
    lines = body.splitlines()
    number = min(error.lineno or 1, len(lines) or 1)
    line = lines[number - 1].strip() if lines else ""
    reason = error.msg.partition(" (detected at")[0]  # which counts the lines of the body alone
    hint = "; flags stand on the first line" if line.startswith("-") else ""
    return f"line {number + 1} of the cell is not Python: {_cut(line)!r} ({reason}){hint}"


def _unpack(names: list[str], value: Any, line: int, source: str) -> list[tuple[str, Any]]:
    if len(names) == 1:
        return [(names[0], value)]
    try:
        return list(zip(names, value, strict=True))
    except (TypeError, ValueError):
        raise OptionError(
            f"line {line + 1} of the cell, {_cut(source)!r}: {len(names)} names need {len(names)} values"
        ) from None


def _cut(source: str) -> str:
    first = source.splitlines()[0] if source else ""
    return first if len(first) <= 60 else first[:57] + "..."
