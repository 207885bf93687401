"""Options as the text that gives them: a ``%%finetune`` cell, and the call of ``gpt_magic.finetune``."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_magic.errors import GptMagicError, OptionError
from gpt_magic.notebook.cell import parse_value, split_line
from gpt_magic.notebook.form.names import name_of
from gpt_magic.options import Options, table

_WIDTH = 100  # columns of a call on one line


def given(options: Options, defaults: Options) -> dict[str, Any]:
    """What must be said to get these options: all that differs from the package's or from this notebook's defaults."""
    plain = Options()
    values = options.values()
    return {
        name: value
        for name, value in values.items()
        if not _same(value, getattr(plain, name)) or not _same(value, getattr(defaults, name))
    }


def as_cell(options: Options, defaults: Options, namespace: Mapping[str, Any]) -> str:
    """The ``%%finetune`` cell that gives the same options in this notebook.

    Raises:
        OptionError: an option is an object that has no name in the notebook.
    """
    values = given(options, defaults)
    sources = {name: source(name, value, namespace) for name, value in values.items()}
    line = ["%%finetune"]
    if "data" in values and (word := _word(values["data"], sources["data"], namespace)):
        line.append(word)
        del sources["data"]
    if "output" in sources:
        line.append(f"-o {sources.pop('output').strip(chr(34))}")
    # A line of the body hides a name of the notebook that is also an option's from the lines below it.
    hidden = [name for name, text in sources.items() if text != name and text in sources]
    line += [f"--{name.replace('_', '-')} {sources.pop(name)}" for name in hidden]
    return "\n".join([" ".join(line), *(f"{name} = {text}" for name, text in sources.items())]) + "\n"


def as_python(options: Options, defaults: Options, namespace: Mapping[str, Any]) -> str:
    """The call that gives the same options in this notebook.

    Raises:
        OptionError: an option is an object that has no name in the notebook.
    """
    values = given(options, defaults)
    values.pop("output", None)
    data = [source("data", values.pop("data"), namespace)] if "data" in values else []
    arguments = [*data, *(f"{name}={source(name, value, namespace)}" for name, value in values.items())]
    call = f"{options.output} = gpt_magic.finetune({', '.join(arguments)})"
    if len(call) > _WIDTH and arguments:
        inside = "".join(f"    {argument},\n" for argument in arguments)
        call = f"{options.output} = gpt_magic.finetune(\n{inside})"
    return f"import gpt_magic\n\n{call}\n"


def source(name: str, value: Any, namespace: Mapping[str, Any]) -> str:
    """A value as Python: a literal, or what it is called in the notebook.

    Raises:
        OptionError: it is neither; the line says to give it a name.
    """
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return quoted(str(value))
    if known := name_of(value, namespace):
        return known
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return source(name, value.item(), namespace)
    # What the notebook has no name for is written out, where all parts of it can be.
    if type(value) is list:
        return f"[{', '.join(source(name, item, namespace) for item in value)}]"
    if type(value) is tuple:
        return f"({', '.join(source(name, item, namespace) for item in value)}{',' * (len(value) == 1)})"
    if type(value) is dict:
        pairs = (f"{source(name, k, namespace)}: {source(name, v, namespace)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    kind = type(value).__name__
    raise OptionError(f"{name} is a {kind} without a name in this notebook: give it one in a cell, then copy again")


def quoted(text: str) -> str:
    """A text as Python, in the quotes that this project's examples have."""
    return f'"{text}"' if text.isprintable() and not {*'"\\'} & {*text} else repr(text)


def _word(value: Any, text: str, namespace: Mapping[str, Any]) -> str:
    """The data as the line of the magic has them; empty where they are better said in the body."""
    word = str(value) if isinstance(value, str | Path) else text
    written = shlex.quote(word)
    try:
        found = parse_value("data", word, namespace) if split_line(written) == [word] else None
    except GptMagicError:
        return ""
    same = found == str(value) if isinstance(value, str | Path) and isinstance(found, str) else found is value
    return written if same and not word.startswith("-") else ""


def _same(one: Any, other: Any) -> bool:
    plain = one is None or isinstance(one, str | int | float | list | dict)
    return one is other or (plain and type(one) is type(other) and one == other)


def option_of(message: str) -> str:
    """The option that an error's line begins with; empty where it begins with none."""
    first = message.partition(" ")[0].rstrip(":,")
    return first if first in table() else ""
