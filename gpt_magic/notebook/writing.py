"""``%predict`` with a model that writes: the text appears while it comes, and is the cell's value."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from gpt_magic.errors import plural
from gpt_magic.notebook.budget import Budget
from gpt_magic.notebook.markup import WIDTH, broken, note, plain
from gpt_magic.notebook.outputs import put

if TYPE_CHECKING:
    from gpt_magic.tuned import TunedGenerator

_SECONDS = 0.1  # between two pictures of a text in the making
_PROMPT = 600  # characters of a prompt that are shown, its last ones


class Written(str):
    """A continuation. It is a text like any other, but the cell that it was shown in does not show it again."""

    __slots__ = ("cell",)
    cell: int | None

    def __new__(cls, text: str, cell: int | None = None) -> Self:
        """A text that the cell of this number shows already."""
        one = super().__new__(cls, text)
        one.cell = cell
        return one

    def _ipython_display_(self) -> None:
        _hide(self.cell)

    def _repr_pretty_(self, p: Any, cycle: bool) -> None:  # noqa: ARG002
        p.text(plain(self) if len(p.stack) == 1 else repr(str(self)))  # in a list and the like with its quotes

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # cells are numbered anew in the session that reads it


class Several(list[str]):
    """The samples of one prompt, a list of texts; the cell that they were shown in does not show them again."""

    def __init__(self, texts: Sequence[str], cell: int | None = None) -> None:
        super().__init__(texts)
        self.cell = cell

    def _ipython_display_(self) -> None:
        _hide(self.cell)

    def __reduce__(self) -> tuple[type[list[str]], tuple[list[str]]]:
        return list, ([*self],)


def _hide(cell: int | None) -> None:
    """Show nothing in this cell; elsewhere IPython takes the error for a request to show the value as usual."""
    if cell is None or cell != _cell():
        raise NotImplementedError


def _cell() -> int | None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return None if shell is None else int(shell.execution_count)


def write(model: "TunedGenerator", prompts: Any, settings: Mapping[str, Any], quiet: bool = False) -> Any:
    """Continue one prompt, which is shown as it grows, or several.

    An interrupt ends the writing: what was written so far is shown and returned.

    Args:
        model: the model.
        prompts: a text, a conversation, or anything with several that `TunedGenerator.predict` takes.
        settings: those of `TunedGenerator.generate`.
        quiet: show nothing.

    Returns:
        Of one prompt the text, with several samples a list of texts; of several prompts the table of `predict`.
    """
    from gpt_magic.tuned.generator import is_conversation

    if not isinstance(prompts, str) and not is_conversation(prompts):
        return _table(model, prompts, settings, quiet)
    samples = settings.get("num_samples", 1)
    page = _page(model, prompts, samples, quiet)
    told = model.predict(prompts, on_text=page.take, keep_partial=True, **settings)
    texts, ended = told["completion"].tolist(), told["ended"].tolist()
    page.close(texts, "interrupted" in ended)
    cell = None if quiet else _cell()
    return Several(texts, cell) if samples > 1 else Written(texts[0], cell)


def _table(model: "TunedGenerator", prompts: Any, settings: Mapping[str, Any], quiet: bool) -> Any:
    line = _Count(_count(prompts), _Handle() if _in_kernel() and not quiet else None)
    told = model.predict(prompts, on_text=line.take, keep_partial=True, **settings)
    line.close(int((told["ended"] == "interrupted").sum()), len(told))
    return told


def _count(prompts: Any) -> int:
    """How many prompts there are; 0 where that cannot be told."""
    return len(prompts) if hasattr(prompts, "__len__") and not isinstance(prompts, Mapping) else 0


class _Page:
    """Shows nothing."""

    def take(self, prompt: int, sample: int, text: str) -> None:
        """A sample has grown to ``text``."""

    def close(self, texts: Sequence[str], interrupted: bool) -> None:
        """All samples are there."""


class _NotebookPage(_Page):
    """One output, updated in place: the prompt, then each sample."""

    def __init__(self, prompt: str, apart: bool, budget: Budget | None = None) -> None:
        self._prompt, self._apart = prompt, apart
        self._texts: dict[int, str] = {}
        self._budget = budget or Budget()
        self._budget.open()
        self._handle = _Handle()

    def take(self, prompt: int, sample: int, text: str) -> None:  # noqa: ARG002
        self._texts[sample] = text
        if self._budget.due("text", _SECONDS):
            texts = [self._texts.get(number, "") for number in range(max(self._texts) + 1)]
            self._budget.pay("text", lambda: self._show(texts))

    def close(self, texts: Sequence[str], interrupted: bool) -> None:
        self._show(texts, interrupted)

    def _show(self, texts: Sequence[str], interrupted: bool = False) -> None:
        self._handle.show(
            written_html(self._prompt, texts, self._apart, interrupted),
            "\n\n".join(_joined(self._prompt, text, self._apart) for text in texts) + _interrupted(interrupted),
        )


class _TerminalPage(_Page):
    """Writes to standard output as the text comes; several samples one after the other when all are there."""

    def __init__(self, prompt: str, apart: bool, streams: bool = True) -> None:
        self._prompt, self._apart, self._streams = prompt, apart, streams
        self._written = 0

    def take(self, prompt: int, sample: int, text: str) -> None:  # noqa: ARG002
        if self._streams:
            self._write(text)

    def close(self, texts: Sequence[str], interrupted: bool) -> None:
        if self._streams:
            self._write(texts[0])
        else:
            _out("\n\n".join(_joined(self._prompt, text, self._apart) for text in texts))
        _out(_interrupted(interrupted) + "\n")

    def _write(self, text: str) -> None:
        """What is new of prompt and text."""
        whole = _joined(self._prompt, text, self._apart)
        _out(whole[self._written :])
        self._written = len(whole)


def written_html(prompt: str, texts: Sequence[str], apart: bool = False, interrupted: bool = False) -> str:
    """A prompt in bold and what was written after it, a block a sample.

    Args:
        prompt: what was to be continued; of a long one the end is shown.
        texts: the continuations.
        apart: what was written begins on a line of its own: an answer, not the rest of a sentence.
        interrupted: say that it was.
    """
    shown = "…" + prompt[-_PROMPT:] if len(prompt) > _PROMPT else prompt
    head = f"<strong>{broken(shown)}</strong>{'<br>' if apart else ''}" if shown else ""
    line = "margin:4px 0" if len(texts) == 1 else "margin:8px 0;border-left:3px solid rgba(128,128,128,0.35)"
    pad = "" if len(texts) == 1 else ";padding-left:10px"
    blocks = "".join(
        f'<div dir="auto" style="white-space:pre-wrap;{line}{pad}">{head}{broken(text)}</div>'
        for text in ([text.lstrip(" ") for text in texts] if apart else texts)
    )
    said = note("interrupted: this is what was there") if interrupted else ""
    return f'<div class="gpt-magic tex2jax_ignore mathjax_ignore" style="{WIDTH};line-height:1.45">{blocks}{said}</div>'


def _joined(prompt: str, text: str, apart: bool) -> str:
    return f"{plain(prompt)}\n{plain(text).lstrip(' ')}" if apart and prompt else plain(prompt) + plain(text)


def _interrupted(interrupted: bool) -> str:
    return "\n(interrupted: this is what was there)" if interrupted else ""


class _Count:
    """A line that counts the prompts that are being continued, where there are several."""

    def __init__(self, prompts: int, handle: "_Handle | None") -> None:
        self._prompts, self._handle = prompts, handle
        self._begun: set[int] = set()
        self._budget = Budget()
        self._budget.open()

    def take(self, prompt: int, sample: int, text: str) -> None:  # noqa: ARG002
        """A sample of a prompt has grown."""
        if self._handle is None or prompt in self._begun:
            return
        self._begun.add(prompt)
        if self._budget.due("line", _SECONDS):
            of = f" of {self._prompts:,}" if self._prompts else ""
            self._budget.pay("line", lambda: self._say(f"writing after {len(self._begun):,}{of} prompts"))

    def close(self, interrupted: int, rows: int) -> None:
        """Leave what the table does not say at a glance."""
        said = f"interrupted: {interrupted:,} of {plural(rows, 'text')} had not ended; see the column ended"
        if self._handle is None:
            if interrupted:
                _out(said + "\n")
        elif interrupted or self._begun:
            self._say(said if interrupted else plural(rows, "text") + " written")

    def _say(self, line: str) -> None:
        assert self._handle is not None
        self._handle.show(note(line), line)


class _Handle:
    """A display that is made when there is something to show."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    def show(self, markup: str, text: str) -> None:
        """Put ``markup`` in the place of what was shown."""
        put(self._handles, "text", {"text/html": markup, "text/plain": text})


def _page(model: "TunedGenerator", prompt: Any, samples: int, quiet: bool) -> _Page:
    said = prompt if isinstance(prompt, str) else _last_said(prompt)
    answers = model.style == "messages" or not isinstance(prompt, str)
    if quiet:
        return _Page()
    return _NotebookPage(said, answers) if _in_kernel() else _TerminalPage(said, answers, streams=samples == 1)


def _last_said(conversation: Any) -> str:
    """What was said last in a conversation."""
    last = [*conversation][-1]
    return f"{str(last.get('role', '')).capitalize()}: {last.get('content', '')}"


def _in_kernel() -> bool:
    from gpt_magic.notebook.live import current_cell

    return current_cell() is not None


def _out(text: str) -> None:
    from gpt_magic.notebook.live import write_to

    write_to(sys.stdout, text)
