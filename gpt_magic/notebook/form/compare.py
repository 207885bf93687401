"""The runs of one form, side by side: what each was told, how it went, their curves over one another."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt_magic.errors import clean
from gpt_magic.notebook.cards import scores_html, scores_text
from gpt_magic.notebook.form.pictures import overlay_png
from gpt_magic.notebook.form.wording import given
from gpt_magic.notebook.markup import frame, say, title
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.summary import Scores
from gpt_magic.values import shown

_WIDTH = 720  # CSS pixels of the picture


@dataclass(frozen=True)
class Attempt:
    """One run of a form.

    Attributes:
        number: from 1, in the order in which they were started.
        settings: its options that are not the defaults, in words.
    """

    number: int
    run: Run
    settings: str

    @property
    def words(self) -> str:
        """What the lists call it: its number, its settings, and how it stands."""
        state = "" if self.run.state == "done" else f" ({self.run.state})"
        return f"{self.number}{state} · {self.settings}"


def settings_words(options: Options, defaults: Options) -> str:
    """The options that are not the defaults, but for the data and the name of the result."""
    values = {name: value for name, value in given(options, defaults).items() if name not in ("data", "output")}
    return ", ".join(f"{name} = {shown(value)}" for name, value in values.items()) or "the defaults"


def attempts_html(attempts: Sequence[Attempt]) -> str:
    """The runs as a table; nothing where there is none."""
    if not attempts:
        return ""
    failed = [f"<div>{a.number}: \u2717 {say(a.run.error, 300)}</div>" for a in attempts if a.run.error is not None]
    return frame(title("Runs of this form"), scores_html(_scores(attempts), 300), *failed)


def attempts_text(attempts: Sequence[Attempt]) -> str:
    """The same for a terminal and for screen readers."""
    if not attempts:
        return ""
    return "\n".join(["Runs of this form", *scores_text(_scores(attempts), 300)])


def picture(attempts: Sequence[Attempt]) -> tuple[dict[str, str], dict[str, Any]]:
    """The curves of the runs over one another as a MIME bundle with its metadata; nothing before there are two."""
    drawn = [(a.number, a.run.progress()) for a in attempts]
    drawn = [(number, progress) for number, progress in drawn if len(progress.steps_log) >= 2]
    if len(drawn) < 2:
        return {"text/html": "", "text/plain": ""}, {}
    png = base64.b64encode(overlay_png(drawn)).decode("ascii")
    said = f"losses of the runs {', '.join(str(number) for number, _ in drawn)}; the table above has their scores"
    return {"image/png": png, "text/plain": said}, {"image/png": {"width": _WIDTH, "alt": said}}


def _scores(attempts: Sequence[Attempt]) -> Scores:
    """All metrics of the runs, and what the baselines reached on the same rows."""
    summaries = [(a, a.run.summary) for a in attempts]
    columns = list(dict.fromkeys(c for _, s in summaries if s and s.scores for c in s.scores.columns))
    rows = [(a.words, _values(columns, s.scores if s else None, 0)) for a, s in summaries]
    # Baselines are of a split: those of the latest run stand for runs with the same rows.
    last = next((s.scores for _, s in reversed(summaries) if s and s.scores), None)
    others = [(who, _values(columns, last, at)) for at, (who, _) in enumerate(last.rows) if at] if last else []
    return Scores(columns, [*rows, *others])


def _values(columns: Sequence[str], scores: Scores | None, row: int) -> list[float | None]:
    known: Mapping[str, float | None] = dict(zip(scores.columns, scores.rows[row][1], strict=True)) if scores else {}
    return [known.get(column) for column in columns]


def label(attempt: Attempt) -> str:
    """An attempt in a list to choose from."""
    return clean(attempt.words, 90)
