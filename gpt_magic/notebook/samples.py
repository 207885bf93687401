"""What the model writes while it learns: each prompt with its continuations, from before training to the last."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gpt_magic.engine.events import Sampled
from gpt_magic.notebook.markup import BORDER, WIDTH, note, one_line, passage
from gpt_magic.notebook.status import moment
from gpt_magic.recorder import Progress

_MOST = 8  # continuations of one prompt that stay after the run
_MOST_PROMPTS = 12
_LIVE_CHARACTERS, _LIVE_LINES = 480, 8  # of a continuation while the run goes on
_COLUMNS = 64  # characters of a line, about, to reserve room by
_PROMPT, _TEXT = 300, 2000  # characters shown


@dataclass(frozen=True)
class _Written:
    """One prompt's continuations, oldest first.

    Attributes:
        texts: what each is called, and the text.
        kept: number of the one that the kept weights wrote.
        lines: about how many the longest of the whole run takes.
    """

    prompt: str
    texts: Sequence[tuple[str, str]]
    kept: int
    lines: int


def samples_html(progress: Progress, *, final: bool = False) -> str:
    """Every prompt with its continuations; nothing where there are none.

    Args:
        progress: this moment of the run.
        final: the run is over: the first, the last and that of the kept weights, the others to be opened; while it
            goes on the first and the newest, with as much room as the longest so far took.
    """
    parts = [_prompt_html(one, final) for one in _by_prompt(progress, final)]
    if not parts:
        return ""
    more = len(progress.samples[-1].texts) - len(parts)
    head = '<div style="margin-bottom:2px"><strong>What it writes</strong> after each prompt</div>'
    rest = note(f"and {more:,} more in <code>.progress.samples</code>") if more > 0 else ""
    return (
        f'<div class="gpt-magic tex2jax_ignore mathjax_ignore" style="{WIDTH};padding:6px 0;line-height:1.35">'
        f"{head}{''.join(parts)}{rest}</div>"
    )


def samples_text(progress: Progress, *, final: bool = False) -> str:
    """The same for a terminal and for screen readers: a line a continuation."""
    return "\n".join(
        line
        for one in _by_prompt(progress, final)
        for line in (f"after {_named(one.prompt)}", *(f"  {when}: {one_line(text)}" for when, text in one.texts))
    )


def sampled_text(sampled: Sampled) -> str:
    """What was written at one moment, a line a prompt."""
    said = [f"  {_named(prompt)} {one_line(text)}" for prompt, text in sampled.texts[:_MOST_PROMPTS]]
    when = f"at {moment(sampled.step)}" if sampled.step else moment(0)
    return "\n".join([f"what it writes {when}:", *said])


def _named(prompt: str) -> str:
    return f'"{one_line(prompt, _PROMPT)}":' if prompt else "nothing:"


def _by_prompt(progress: Progress, final: bool) -> list[_Written]:
    taken = progress.samples
    if not taken:
        return []
    kept = max((e.step for e in progress.evaluations if e.best), default=taken[-1].step)
    chosen = _thinned(taken, kept) if final else taken[:1] + taken[1:][-1:]
    differ = final and kept != taken[-1].step
    return [
        _Written(
            prompt,
            [
                (moment(one.step) + (" (kept)" if differ and one.step == kept else ""), one.texts[number][1])
                for one in chosen
            ],
            next((i for i, one in enumerate(chosen) if one.step == kept), len(chosen) - 1),
            max(_lines(one.texts[number][1]) for one in taken),
        )
        for number, (prompt, _) in enumerate(taken[-1].texts[:_MOST_PROMPTS])
    ]


def _thinned(taken: Sequence[Sampled], kept: int) -> list[Sampled]:
    """The first, the last, the one of the kept weights, and of the others as many as there is room for."""
    last = len(taken) - 1
    must = {0, last, *(i for i, one in enumerate(taken) if one.step == kept)}
    room = _MOST - len(must)
    others = [i for i in range(len(taken)) if i not in must]
    stride = math.ceil(len(others) / room) or 1
    return [taken[i] for i in sorted({*must, *others[stride - 1 :: stride]})]


def _prompt_html(one: _Written, final: bool) -> str:
    """A prompt over its continuations."""
    prompt = passage(one.prompt, _PROMPT, 6) if one.prompt else '<span style="opacity:0.75">(no prompt)</span>'
    limit, lines = (_TEXT, 24) if final else (_LIVE_CHARACTERS, _LIVE_LINES)
    cells = [(when, passage(text.strip(" "), limit, lines)) for when, text in one.texts]
    last = len(cells) - 1
    others = [cell for i, cell in enumerate(cells) if i not in (0, one.kept, last)]
    if len(others) > 1:
        summary = f'<summary style="cursor:pointer;opacity:0.75">{len(others)} in between</summary>'
        shown = [cells[i] for i in sorted({one.kept, last} - {0})]
        body = f"{_table(cells[:1])}<details>{summary}{_table(others)}</details>{_table(shown)}"
    else:
        body = _table(cells, 0 if final else one.lines)
    return f'<div style="margin-top:6px;border-top:{BORDER};padding-top:4px"><strong>{prompt}</strong>{body}</div>'


def _table(cells: Sequence[tuple[str, str]], lines: int = 0) -> str:
    """A row a continuation; in the last one room is kept for ``lines``."""
    cell = "text-align:left;vertical-align:top;line-height:1.35;padding:2px 0"
    name = f"{cell};padding-right:10px;font-weight:normal;opacity:0.75;width:7.8em"
    rooms = [""] * (len(cells) - 1) + [f' style="min-height:{1.35 * lines:.4g}em"' if lines else ""]
    body = "".join(
        f'<tr style="background:transparent"><th scope="row" style="{name}">{when}</th>'
        f'<td style="{cell}"><div{room}>{text}</div></td></tr>'
        for (when, text), room in zip(cells, rooms, strict=True)
    )
    look = "margin:2px 0;border-collapse:collapse;font-size:inherit;color:inherit;table-layout:fixed;width:100%"
    return f'<table style="{look}"><tbody>{body}</tbody></table>'


def _lines(text: str) -> int:
    """Lines that a continuation takes, about, at most those shown while the run goes on."""
    lines = text[:_LIVE_CHARACTERS].strip(" ").split("\n")
    return min(sum(max(1, math.ceil(len(line) / _COLUMNS)) for line in lines), _LIVE_LINES)
