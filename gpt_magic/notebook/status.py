"""Where a run stands, as HTML that can be repainted often and as one line for a terminal."""

import math
from collections.abc import Sequence

from gpt_magic.engine.events import Evaluated
from gpt_magic.errors import clean
from gpt_magic.notebook.curves import NAMES, SHARES, said_names
from gpt_magic.notebook.markup import BORDER, WIDTH, cells, clock, esc, number, number_table, say, share
from gpt_magic.recorder import Progress

_BAR = 20  # characters of the bar in a terminal
_MOST_ROWS = 30  # evaluations listed one by one


def progress_html(progress: Progress, hint: str = "after a reload of the page: %finetune --show") -> str:
    """A bar and the numbers of this moment, and how the run is told what to do; its size does not depend on them."""
    done = _done(progress)
    is_open = progress.step > 0 and not progress.steps  # a bar of which nobody knows the end says so
    of = "" if is_open else f" of {progress.steps:,}"
    label = f"{esc(progress.phase, 60)}: step {progress.step:,}{of}"
    share_done = "end open" if is_open else f"{done:.0%}"
    now = "" if is_open else f'aria-valuenow="{100 * done:.0f}" '
    bar = (
        f'<div role="progressbar" aria-label="{label}" title="{label}" aria-valuemin="0" aria-valuemax="100" {now}'
        f'style="height:8px;border-radius:4px;border:{BORDER};overflow:hidden;margin:4px 0 6px 0">'
        f'<div style="width:{100 * done:.2f}%;height:100%;background:#0072b2"></div></div>'
    )
    head = (
        '<div style="display:flex;justify-content:space-between">'
        f'<strong style="min-width:0">{say(progress.phase, 60)}</strong><span>{share_done}</span></div>'
    )
    shown = "".join(
        f'<div><div style="font-size:0.85em;opacity:0.75">{name}</div><div>{value}</div></div>'
        for name, value in _values(progress)
    )
    latest = say(evaluation_text(progress.evaluations[-1])) if progress.evaluations else "none yet"
    style = f"{WIDTH};padding:4px 0;line-height:1.35;font-variant-numeric:tabular-nums"
    return (
        f'<div class="gpt-magic tex2jax_ignore mathjax_ignore" style="{style}">{head}{bar}'
        f'<div style="display:grid;grid-template-columns:repeat(auto-fit,minmax(84px,1fr));gap:4px 8px">{shown}</div>'
        f'<div style="margin-top:6px"><span style="opacity:0.75">latest evaluation:</span> {latest}</div>'
        # A page that is reloaded, or a notebook saved now, keeps this moment and moves no more.
        f'<div style="margin-top:2px;font-size:0.85em;opacity:0.75">at {clock(progress.elapsed)}; {say(hint)}</div>'
        "</div>"
    )


def _values(progress: Progress) -> list[tuple[str, str]]:
    epochs = progress.steps / progress.steps_per_epoch if progress.steps_per_epoch else 0
    rate = progress.learning_rate
    tokens = progress.tokens_per_second
    return [
        (
            "step",
            f"{progress.step:,} / {progress.steps:,}"
            if progress.steps
            else f"{progress.step:,}"
            if progress.step
            else "–",
        ),
        (
            "epoch",
            f"{progress.epoch:.2f} / {epochs:.3g}" if epochs else f"{progress.epoch:.2f}" if progress.step else "–",
        ),
        ("loss", loss(progress.loss)),
        ("learning rate", "–" if rate is None else f"{rate:.1e}"),
        ("tokens/s", "–" if tokens is None else f"{tokens:,.0f}"),
        ("elapsed", clock(progress.elapsed)),
        ("left", clock(progress.left)),
    ]


def loss(value: float | None) -> str:
    """A loss, as wide from one step to the next."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 or value == 0 else f"{value:.1e}"


def _done(progress: Progress) -> float:
    return min(progress.step / progress.steps, 1.0) if progress.steps else 0.0


def progress_text(progress: Progress, width: int | None = None) -> str:
    """One line: ``training  [######----] 312/672  epoch 1.4/3  loss 0.213 ...``.

    Args:
        progress: this moment.
        width: columns there are; the least important parts are left out until the line fits.
    """
    parts = [(9, clean(progress.phase, 60))]
    if progress.steps:
        filled = round(_BAR * _done(progress))
        parts.append((5, f"[{'#' * filled}{'-' * (_BAR - filled)}]"))
        parts.append((8, f"{progress.step:,}/{progress.steps:,}"))
    if progress.step:
        if not progress.steps:
            parts.append((8, f"step {progress.step:,}"))
        epochs = progress.steps / progress.steps_per_epoch if progress.steps_per_epoch else 0
        parts.append((3, f"epoch {progress.epoch:.1f}" + (f"/{epochs:.3g}" if epochs else "")))
        parts.append((7, f"loss {loss(progress.loss)}"))
        parts.append((1, f"lr {progress.learning_rate or 0:.1e}"))
        parts.append((2, f"{progress.tokens_per_second or 0:,.0f} tokens/s"))
    parts.append((4, f"{clock(progress.elapsed)} elapsed"))
    if progress.left is not None:
        parts.append((6, f"{clock(progress.left)} left"))
    while width is not None and len(parts) > 1 and cells(_joined(parts)) > width:
        parts.remove(min(parts))
    line = _joined(parts)
    while width is not None and cells(line) > width:
        line = line[:-1]
    return line


def _joined(parts: Sequence[tuple[int, str]]) -> str:
    return "  ".join(text for _, text in parts)


def evaluation_text(evaluation: Evaluated) -> str:
    """``step 448: loss 0.210, accuracy 91.6%, macro F1 90.4%, the best so far``."""
    said = [f"loss {loss(evaluation.metrics['loss'])}"] if "loss" in evaluation.metrics else []
    said += [f"{_name(name)} {_score(evaluation, name)}" for name in said_names([evaluation])]
    return f"{moment(evaluation.step)}: " + ", ".join([*said, *(["the best so far"] if evaluation.best else [])])


def moment(step: int) -> str:
    """``step 448``; of the base as it was, ``before training``."""
    return f"step {step:,}" if step else "before training"


def _name(name: str) -> str:
    return NAMES.get(name) or clean(name.replace("_", " "), 24)


def _score(evaluation: Evaluated, name: str) -> str:
    value = float(evaluation.metrics[name]) if name in evaluation.metrics else None
    return share(value) if name in SHARES else number(value)


def curves_html(progress: Progress) -> str:
    """What the loss plot shows, in words and, to be opened, as a table; nothing before the first step."""
    return _standing(_words(progress) + _table(progress)) if progress.steps_log else ""


def curves_apart(progress: Progress) -> tuple[str, str]:
    """The same in two pieces: the words, and the table."""
    pieces = (_words(progress), _table(progress)) if progress.steps_log else ("", "")
    words, table = (_standing(piece) if piece else "" for piece in pieces)
    return words, table


def _standing(markup: str) -> str:
    return f'<div class="gpt-magic tex2jax_ignore mathjax_ignore" style="{WIDTH};padding:4px 0">{markup}</div>'


def _words(progress: Progress) -> str:
    return say(curves_text(progress), 400)


def _table(progress: Progress) -> str:
    if not progress.evaluations:
        return ""
    head, rows = _evaluation_table(progress.evaluations)
    markup = number_table([say(name, 24) for name in head], [[say(cell) for cell in row] for row in rows])
    return f'<details><summary style="cursor:pointer">The evaluations as a table</summary>{markup}</details>'


def curves_text(progress: Progress) -> str:
    """What the loss plot shows, in a sentence or two; empty before the first step."""
    losses = [step.loss for step in progress.steps_log if math.isfinite(step.loss)]
    if not losses:
        return ""
    some = max(1, min(len(losses) // 10, 50))
    first, last = sum(losses[:some]) / some, sum(losses[-some:]) / some
    steps = (
        f"step {progress.step:,} of {progress.steps:,}"
        if progress.step < progress.steps
        else f"{progress.step:,} steps"
    )
    said = f"Training loss {loss(first)} at first, {loss(last)} at the end ({steps})."
    for e in [e for e in progress.evaluations if e.best][-1:]:
        before = next((first for first in progress.evaluations[:1] if not first.step), None)
        scores = ", ".join(
            f"{_name(name)} {_score(e, name)}{f' ({_score(before, name)} before training)' if before else ''}"
            for name in said_names([e])
        )
        lowest = loss(e.metrics.get("loss"))
        said += f" Best on the validation rows at step {e.step:,}: loss {lowest}{', ' if scores else ''}{scores}."
    return said


def _evaluation_table(evaluations: Sequence[Evaluated]) -> tuple[list[str], list[list[str]]]:
    names = said_names(evaluations)
    stride = math.ceil(len(evaluations) / _MOST_ROWS)
    best = max((i for i, e in enumerate(evaluations) if e.best), default=-1)
    kept = [(i, e) for i, e in enumerate(evaluations) if i % stride == 0 or i in (best, len(evaluations) - 1)]
    rows = [
        [
            f"{e.step:,}" if e.step else "before",
            f"{e.epoch:.2f}",
            ("★ " if i == best else "") + loss(e.metrics.get("loss")),
            *(_score(e, name) for name in names),
        ]
        for i, e in kept
    ]
    return ["step", "epoch", "validation loss", *map(_name, names)], rows
