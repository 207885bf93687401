"""Words, numbers and tables as HTML and as plain text; the one place where text from data is escaped.

The HTML is static and takes its colours from the page. Its tags and styles are among those that JupyterLab's
sanitiser lets through in a notebook that is not trusted; where styles are dropped, as on GitHub, plain tables stay.
"""

import html
import math
import re
import unicodedata
from collections.abc import Sequence

from gpt_magic.errors import JOINERS, clean

BORDER = "1px solid rgba(128,128,128,0.35)"
WIDTH = "max-width:720px;box-sizing:border-box;overflow-wrap:break-word"
_FRAME = f"border:{BORDER};border-radius:6px;padding:10px 14px;margin:2px 0;{WIDTH}"
_TABLE = "margin:6px 0;border-collapse:collapse;font-size:inherit;color:inherit"


def esc(text: object, limit: int = 200) -> str:
    """`clean` text for HTML, also inside quoted attributes."""
    return html.escape(clean(text, limit))


def say(text: object, limit: int = 200) -> str:
    """`clean` text for the inside of an element: not markup, and not a formula to MathJax either."""
    return _signs(esc(text, limit))


def narrow(text: object, limit: int = 200) -> str:
    """`say`, with places in long words where a line may break.

    A table that scrolls is lost on paper and, in a notebook that is not trusted, to the keyboard.
    """
    parts = re.sub(r"[!-~]{8}(?=[!-~]{4})", r"\g<0>\n", clean(text, limit)).split("\n")
    return "<wbr>".join(say(part, limit) for part in parts)


def _signs(markup: str) -> str:
    # MathJax reads $...$ and \(...\) in outputs; a delimiter in an element of its own is none.
    return re.sub(r"[$\\]", lambda sign: f"<span>{sign[0]}</span>", markup)


def passage(text: str, limit: int = 2000, lines: int = 24) -> str:
    """Text of several lines for the inside of an element: its line breaks stand, nothing else of it does.

    Its direction is its own. A long text is cut at its end to ``limit`` characters; from line ``lines`` on, line
    breaks are signs, and so are those after the second of a row.
    """
    text = re.sub(r"\n{3,}", lambda run: "\n\n" + "↵" * (len(run[0]) - 2), plain(text, limit))
    *head, rest = text.split("\n", lines - 1)
    said = broken("\n".join([*head, rest.replace("\n", " ↵ ")]))
    return f'<bdi dir="auto" style="white-space:pre-wrap">{said}</bdi>'


def broken(text: str) -> str:
    """Text of several lines for the inside of an element, all of it."""
    return "<br>".join(_signs(html.escape(line)) for line in plain(text).split("\n"))


def plain(text: str, limit: int = 100_000) -> str:
    """Text of several lines without control characters, cut at its end to ``limit`` characters."""
    said = "".join(_printable(c) for c in text[:limit].replace("\r\n", "\n"))
    return f"{said}…" if len(text) > limit else said


def one_line(text: str, limit: int = 400) -> str:
    """Text of several lines in one, line breaks as signs, cut at its end to ``limit`` characters."""
    said = " ".join(plain(text, 4 * limit).replace("\n", " ↵ ").split())
    return f"{said[:limit]}…" if len(said) > limit else said


def _printable(c: str) -> str:
    if c.isprintable() or c in JOINERS or c == "\n":
        return c
    return {"\t": "    ", "\r": "\n", "\u2028": "\n", "\u2029": "\n"}.get(c, " ")


def frame(*parts: str) -> str:
    """A card: the parts, one below the other, in a thin border."""
    return f'<div class="gpt-magic tex2jax_ignore mathjax_ignore" style="{_FRAME}">{"".join(parts)}</div>'


def title(text: str) -> str:
    """The first line of a card."""
    return f'<div style="font-size:1.1em"><strong>{say(text, 160)}</strong></div>'


def note(markup: str) -> str:
    """A line of lesser weight."""
    return f'<div style="opacity:0.75;margin:4px 0">{markup}</div>'


def facts_table(facts: Sequence[tuple[str, str]]) -> str:
    """Two columns, names and values, both already markup."""
    cell = "text-align:left;vertical-align:top;line-height:1.35;padding:2px 0"
    name = f"{cell};padding-right:12px;font-weight:normal;opacity:0.75;width:8.5em"
    rows = "".join(
        f'<tr style="background:transparent"><th scope="row" style="{name}">{what}</th>'
        f'<td style="{cell}">{said}</td></tr>'
        for what, said in facts
    )
    # A fixed layout, for only then do long words break instead of widening the table.
    return f'<table style="{_TABLE};table-layout:fixed;width:100%"><tbody>{rows}</tbody></table>' if rows else ""


def number_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Columns of numbers behind a column of names; head and cells are already markup.

    The caption is text and names the table to a screen reader; sighted readers see it as well.
    """
    cell = "padding:3px 0 3px 18px;text-align:right;font-variant-numeric:tabular-nums"
    first = "padding:3px 0;text-align:left;font-weight:normal"
    top = ""
    for i, name in enumerate(head):
        tag = 'th scope="col"' if name else "td"  # a heading that says nothing is none
        # On paper nothing scrolls: where there is no room, a heading has several lines.
        style = f"{first if i == 0 else cell};vertical-align:bottom;font-weight:normal;opacity:0.75"
        style += f";border-bottom:{BORDER}"
        top += f'<{tag} style="{style}">{name}</{tag[:2]}>'
    body = "".join(
        f'<tr style="background:transparent"><th scope="row" style="{first}">{row[0]}</th>'
        + "".join(f'<td style="{cell};white-space:nowrap">{value}</td>' for value in row[1:])
        + "</tr>"
        for row in rows
    )
    says = (
        f'<caption style="caption-side:top;text-align:left;padding:0;white-space:nowrap">{say(caption)}</caption>'
        if caption
        else ""
    )
    return (
        f'<div style="overflow-x:auto" tabindex="0"><table style="{_TABLE};table-layout:auto">{says}'
        f'<thead style="border-bottom:none"><tr style="background:transparent">{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def warnings_list(warnings: Sequence[str], most: int = 20) -> str:
    """The warnings under a heading; nothing when there are none."""
    if not warnings:
        return ""
    shown = [*(say(warning, 400) for warning in warnings[:most]), *_more(warnings, most)]
    items = "".join(f'<li style="margin:1px 0">{warning}</li>' for warning in shown)
    return (
        '<div style="border-left:3px solid #d55e00;padding-left:10px;margin:8px 0 4px 0">'
        "<strong>\u26a0\ufe0e Warnings</strong>"
        f'<ul style="margin:2px 0 0 0;padding-left:18px">{items}</ul></div>'
    )


def warnings_text(warnings: Sequence[str], most: int = 20) -> list[str]:
    """The same as lines."""
    if not warnings:
        return []
    return [
        "",
        "Warnings",
        *(f"  ! {line}" for line in [*(clean(w, 400) for w in warnings[:most]), *_more(warnings, most)]),
    ]


def _more(warnings: Sequence[str], most: int) -> list[str]:
    return [f"and {len(warnings) - most:,} more"] if len(warnings) > most else []


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines: the first column to the left, the others to the right."""
    table = [list(head), *map(list, rows)]
    widths = [max(cells(row[i]) for row in table) for i in range(len(head))]
    return [
        (row[0] + " " * (widths[0] - cells(row[0])))
        + "".join(" " * (2 + width - cells(value)) + value for value, width in zip(row[1:], widths[1:], strict=True))
        for row in table
    ]


def text_facts(facts: Sequence[tuple[str, str]]) -> list[str]:
    """Aligned lines of names and values."""
    names = [clean(name, 40) for name, _ in facts]
    width = max(map(cells, names), default=0)
    return [
        f"{name}{' ' * (width - cells(name))}  {clean(value, 400)}"
        for name, (_, value) in zip(names, facts, strict=True)
    ]


def cells(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def number(value: float | None) -> str:
    """Four significant digits, thousands separated; a dash for what was not measured."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        decimals = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 1
        return f"{value:,.{min(decimals, 4)}f}"
    return f"{value:.2e}"


def share(value: float | None) -> str:
    """A percentage with one decimal."""
    return number(value) if value is None or not math.isfinite(value) else f"{value:.1%}"


def clock(seconds: float | None) -> str:
    """``0:41``, ``12:05``, ``1:02:03``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
