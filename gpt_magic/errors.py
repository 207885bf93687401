"""The errors a user can meet. Each message is one line: what is wrong, where, what to write instead."""

import difflib
import html
import re
import traceback
from collections.abc import Iterable
from itertools import islice
from typing import Any

JOINERS = "\u200c\u200d"  # not printable, but Persian, Hindi and emoji are misspelt without them
_LONGEST = 2000  # characters of a message


class GptMagicError(Exception):
    """Base of all errors that gpt_magic raises on purpose.

    IPython shows such an error as its one line, as a real error (a Run All stops, nbval and nbclient
    fail); with ``show_traceback`` set, which ``--traceback`` does, the whole traceback is shown.
    """

    show_traceback = False

    def __init__(self, message: str) -> None:
        # A label, a file name or another library's message may hold line breaks, terminal codes, ten thousand letters.
        super().__init__(clean(message, _LONGEST))

    def _render_traceback_(self) -> list[str]:
        # IPython's protocol for errors that render themselves (InteractiveShell.showtraceback).
        if self.show_traceback:
            return traceback.format_exception(self)
        return [f"{type(self).__name__}: {self}"]


class OptionError(GptMagicError, ValueError):
    """An option is unknown, given twice, or has a value it cannot have."""


class DataError(GptMagicError, ValueError):
    """The data cannot be read or cannot be trained on as they are."""


class ModelError(GptMagicError):
    """A base model or a saved model cannot be loaded."""


class TrainingError(GptMagicError, RuntimeError):
    """Training had to end early.

    Attributes:
        result: the best model so far, None when nothing was learned.
        diverged: whether a loss or a gradient was not finite.
    """

    result: Any = None
    diverged: bool = False


class RunAbandoned(GptMagicError):
    """The run was interrupted twice within two seconds and left without a result."""


def clean(text: object, limit: int = 200) -> str:
    """One line of printable text, shortened in the middle to ``limit`` characters."""
    said = str(text)[: 20 * limit]  # a text of megabytes need not be read to its end
    said = " ".join("".join(c if c.isprintable() or c in JOINERS else " " for c in said).split())
    if len(said) <= limit:
        return said
    head = (limit - 1) * 2 // 3
    return f"{said[:head].rstrip()}…{said[head + 1 - limit :].lstrip()}"


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return `` (did you mean X?)`` for the candidate closest to ``name``, or an empty string."""
    folded = {candidate.casefold(): candidate for candidate in map(str, candidates)}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def listing(items: Iterable[object], limit: int = 8, count: int | None = None) -> str:
    """Join items with commas, cutting a long list: ``a, b, c and 7 more``.

    Args:
        count: how many there are, where that is known; then only those that are shown need be in ``items``.
    """
    if count is None:
        items = list(items)
        count = len(items)
    shown = ", ".join(clean(item) for item in islice(items, limit))
    return shown if count <= limit else f"{shown} and {count - limit:,} more"


def short(value: object, limit: int = 60) -> str:
    """The ``repr`` of a value, cut to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def a_kind(value: object) -> str:
    """What a value is, in words: ``an int``, ``a DataFrame``, ``None``."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def plural(count: int, noun: str) -> str:
    """``1 step``, ``2,000 steps``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def markdown(text: object) -> str:
    """Text from data for a line of Markdown, in which nothing of it is markup."""
    said = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", said)


# What torch and its libraries say when memory ran out; its own kind of error is raised for GPUs alone. oneDNN has no
# memory for what it would compute with, and says so.
_FULL = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "ALLOC_FAILED",
    "could not create a primitive",
    "could not create a memory",
)


def out_of_memory(failure: BaseException) -> bool:
    """Whether memory ran out, on whatever device."""
    if isinstance(failure, GptMagicError) or not isinstance(failure, RuntimeError):
        return isinstance(failure, MemoryError)
    return any(said in str(failure) for said in _FULL)


def in_one_line(failure: Exception, what: str) -> GptMagicError:
    """The error that the cell raises: ours as it is, any other in one line with its cause attached."""
    # The frames of a failed step hold its tensors; a traceback does not need them.
    traceback.clear_frames(failure.__traceback__)
    if isinstance(failure, GptMagicError):
        return failure
    reason = " ".join(str(failure).split()) or "no message"
    if out_of_memory(failure):
        what = f"{what}, as memory ran out; lower max_length or batch_size, or take a smaller base"
    error = TrainingError(f"{what}: {type(failure).__name__}: {reason[:300]} (--traceback shows more)")
    error.__cause__ = failure
    return error
