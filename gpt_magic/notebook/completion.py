"""Tab in a ``%finetune`` line or cell: options, values, tables, columns, bases. In ``%predict``: models, flags."""

import re
import shlex
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Bool

from gpt_magic.notebook.cell import ORDERS, is_tuned
from gpt_magic.notebook.tables import splits, tables
from gpt_magic.notebook.texts import SETTINGS, SWITCHES
from gpt_magic.options import table
from gpt_magic.values import choices

_LINE = re.compile(r"^\s*(?:\w+\s*=\s*)?%{1,2}finetune\s")
_PREDICT = re.compile(r"^\s*(?:\w+\s*=\s*)?%{1,2}predict\s")
_CELL = re.compile(r"^\s*%%finetune(?=\s|$)")
_DATA = re.compile(r"^\s*data\s*=(?!=)(.*)", re.MULTILINE)


def register(shell: InteractiveShell) -> None:
    """Add the matcher to the shell's completer."""
    matcher = _matcher(shell)
    shell.Completer.custom_matchers.append(matcher)


def unregister(shell: InteractiveShell) -> None:
    """Take the matcher out again."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != _NAME]


_NAME = "gpt_magic.finetune"


def _matcher(shell: InteractiveShell) -> Any:
    @context_matcher(identifier=_NAME)
    def finetune_matcher(context: CompletionContext) -> SimpleMatcherResult:
        return _complete(context, shell.user_ns)

    return finetune_matcher


def _complete(context: CompletionContext, namespace: dict[str, Any]) -> SimpleMatcherResult:
    before, cell = context.text_until_cursor, context.full_text
    magic = _LINE.match(before)
    if magic is not None:
        return _in_line(before[magic.end() :], context.line_with_cursor, namespace)
    magic = _PREDICT.match(before)
    if magic is not None and (context.cursor_line == 0 or "%%" not in magic[0]):
        return _in_predict(before[magic.end() :], namespace)
    if context.cursor_line > 0 and _CELL.match(cell):
        return _in_body(before, cell, namespace)
    return SimpleMatcherResult(completions=[])


def _in_line(before: str, line: str, namespace: dict[str, Any]) -> SimpleMatcherResult:
    """After ``%%finetune ``: a table, a flag, or a flag's value."""
    quote, word = _open_word(before)
    fragment = quote + word
    previous = before.removesuffix(fragment).rstrip(" =").rpartition(" ")[2]
    option = previous[2:].replace("-", "_") if previous.startswith("--") and not word.startswith("--") else ""
    values = [*_values(option, word, line, namespace), *_objects(option, namespace)]
    if previous == "-o":
        return _result(_models(namespace), fragment, word)
    if option in table() and not isinstance(table()[option], Bool):
        return _result(values, fragment, word, lambda text: _line_quoted(text, quote))
    flags = ["--" + name.replace("_", "-") for name in table() if name != "data"]
    first = before.removesuffix(fragment).split()
    if len(first) == 1 and first[0][2:] in ORDERS:
        return _result(_runs(first[0][2:]), fragment, word)
    if word.startswith("-"):
        orders = [] if first else ["--" + order for order in ORDERS]
        return _result([*flags, *orders, "--form", "--help", "--traceback"], fragment, word)
    parts = [f"{name}:{split}" for name in tables(namespace) for split in splits(namespace[name])]
    return _result([*values, *tables(namespace), *parts, *flags], fragment, word)  # a switch needs no value


def _runs(order: str) -> list[str]:
    """The runs that an order can be for: live ones; past ones can be shown, and ones that were cut resumed."""
    from gpt_magic import runs
    from gpt_magic.run_folders import resumable

    live = [run.id for run in runs.live()]
    match order:
        case "status":
            return []
        case "show":
            return [run.id for run in runs.every()]
        case "resume":
            return [*dict.fromkeys([*live, *(one.name for one in resumable())])]
    return live


def _in_predict(before: str, namespace: dict[str, Any]) -> SimpleMatcherResult:
    """After ``%predict ``: a model, then flags or a table; within a text nothing but flags."""
    quote, word = _open_word(before)
    if quote:
        return SimpleMatcherResult(completions=[])
    if word.startswith("-"):
        return _result([*SETTINGS, *SWITCHES], word, word)
    models = _models(namespace)
    words = before.removesuffix(word).split()
    if not any(name in words for name in models):
        return _result(models, word, word)
    return _result([*tables(namespace)] if words[-1] in models else [], word, word)


def _in_body(before: str, cell: str, namespace: dict[str, Any]) -> SimpleMatcherResult:
    """In the body: an option's name, or after its ``=`` a value; ``text, label = "a", "b"`` as well."""
    left, equals, right = before.partition("=")
    names = [name.strip() for name in left.split(",")]
    if not equals:
        ending = " = " if len(names) == 1 else ""
        return _result([name + ending for name in table()], names[-1], names[-1])
    commas, item = _open_item(right)
    name = names[min(commas if len(names) > 1 else 0, len(names) - 1)]
    is_column = name in table() and table()[name].metadata.get("kind") == "column"
    fragment = item if len(names) > 1 or is_column else right.lstrip()
    quote = fragment[:1] if fragment[:1] in ("'", '"') else ""
    typed = fragment.removeprefix(quote)
    candidates = _values(name, typed, cell, namespace)
    if name in table() and (table()[name].metadata.get("kind") == "table" or isinstance(table()[name], Bool)):
        return _result(candidates, fragment, fragment)
    objects = [] if quote else _objects(name, namespace)
    return _result(
        [*candidates, *objects], fragment, typed, lambda text: text if text in objects else _quoted(text, quote)
    )


def _open_item(values: str) -> tuple[int, str]:
    """How many commas outside of brackets and quotes there are, and what stands after the last comma or bracket."""
    commas, depth, start, quote = 0, 0, 0, ""
    for place, sign in enumerate(values):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[(,":
            start = place + 1
            commas += sign == "," and depth == 0
            depth += sign in "[("
        elif sign in "])":
            depth -= 1
    return commas, values[start:].lstrip()


def _models(namespace: dict[str, Any]) -> list[str]:
    """Names of tuned models."""
    return [name for name, value in namespace.items() if not name.startswith("_") and is_tuned(value)]


def _objects(name: str, namespace: dict[str, Any]) -> list[str]:
    """Names of the notebook that an option takes as what they hold."""
    return _models(namespace) if name in table() and table()[name].metadata.get("kind") == "base" else []


def _values(name: str, typed: str, cell: str, namespace: dict[str, Any]) -> list[str]:
    """Values that an option can be completed with; ``typed`` is what stands there, without its quote."""
    if name not in table():
        return []
    trait = table()[name]
    kind = trait.metadata.get("kind")
    if kind == "table":
        return tables(namespace)
    if kind == "column":
        return _columns(cell, namespace)
    if kind == "base":
        from gpt_magic.models.find import folders, known_bases

        return [*(known.name for known in known_bases()), *folders(typed)]
    return list(choices(trait))


def _columns(cell: str, namespace: dict[str, Any]) -> list[str]:
    """Columns of the first table that is named as ``data`` in the cell's body, or on its first line."""
    known = tables(namespace)
    named = [word for expression in _DATA.findall(cell) for word in re.findall(r"\w+", expression)]
    line = re.sub(r"(-o|--(output|valid))[ =]+\S+", "", cell.partition("\n")[0])
    for word in [*named, *line.split()]:
        name, _, split = word.partition(":")
        if name in known:
            value = namespace[name]
            if parts := splits(value):
                value = value[split if split in parts else parts[0]]
            if isinstance(value, list):
                return [str(name) for name in value[0]]
            names: Any = getattr(value, "column_names", None)  # unknown to some that stream
            return [str(name) for name in names or getattr(value, "columns", ())]
    return []


def _open_word(before: str) -> tuple[str, str]:
    """The open quote, if any, and the word at the cursor."""
    for quote in "\"'":
        if before.count(quote) % 2:
            return quote, before.rpartition(quote)[2]
    return "", re.split(r"[\s=]", before)[-1]


def _line_quoted(text: str, quote: str) -> str:
    if quote and quote not in text:
        return f"{quote}{text}{quote}"
    return shlex.quote(text) if re.search(r"[\s'\"\\]", text) else text


def _quoted(text: str, quote: str) -> str:
    quote = quote or '"'
    return repr(text) if quote in text or not text.isprintable() or "\\" in text else f"{quote}{text}{quote}"


def _result(
    candidates: Iterable[str], fragment: str, word: str, write: Callable[[str], str] = str
) -> SimpleMatcherResult:
    """Candidates that begin with ``word``; each, as ``write`` spells it, takes the place of ``fragment``."""
    found = [SimpleCompletion(write(text), type="param") for text in candidates if text.startswith(word)]
    return SimpleMatcherResult(completions=found, suppress=bool(found), matched_fragment=fragment, ordered=True)
