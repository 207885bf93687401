"""The learning rates that were tried: a small picture, and the same in words."""

import base64
import io
import math
from functools import lru_cache

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gpt_magic.engine.events import Trial, Tried
from gpt_magic.notebook.look import BLUE, DPI, GREY, SCALE, VERMILION, own_style
from gpt_magic.notebook.markup import BORDER, WIDTH, esc, number, number_table, say, text_table

_PIXELS = (720, 190)  # CSS pixels
_HEAD = ("learning rate", "held-out loss", "behind the best")


def trials_html(tried: Tried) -> str:
    """The picture, with its words as text alternative, and a table to be opened."""
    picture = base64.b64encode(_png(tried)).decode("ascii")
    words = trials_words(tried)
    rows = [[say(cell) for cell in row] for row in _rows(tried)]
    table = number_table([say(name) for name in _HEAD], rows, "Trials of learning rates")
    return (
        f'<div class="gpt-magic tex2jax_ignore mathjax_ignore" style="{WIDTH};padding:4px 0;border-top:{BORDER}">'
        f"<div>{say(words, 400)}</div>"
        f'<img alt="{esc(words, 400)}" width="{_PIXELS[0]}" style="max-width:100%;height:auto" '
        f'src="data:image/png;base64,{picture}"/>'
        f'<details><summary style="cursor:pointer">The trials as a table</summary>{table}</details></div>'
    )


def trials_text(tried: Tried) -> str:
    """The same for a terminal."""
    return "\n".join([trials_words(tried), *text_table(_HEAD, _rows(tried))])


def trials_words(tried: Tried) -> str:
    """What came of it, in a sentence."""
    from gpt_magic.engine.trials import said_rate

    return f"Learning rate {said_rate(tried.chosen)}: {tried.why.removeprefix('auto: ')} ({tried.seconds:,.0f} s)."


def trials_figure(tried: Tried) -> Figure:
    """Left, the loss of each trial step by step; right, the held-out loss of each rate with its standard error."""
    with mpl.rc_context(own_style()):
        figure = Figure((_PIXELS[0] / DPI, _PIXELS[1] / DPI), dpi=DPI)
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        _draw_steps(_panel(figure, (0.064, 0.2, 0.56, 0.62), "loss of each trial", "step"), tried)
        _draw_rates(_panel(figure, (0.703, 0.2, 0.267, 0.62), "held-out loss", "learning rate"), tried)
    return figure


@lru_cache(maxsize=4)  # a card is shown again and again, and its picture is drawn once
def _png(tried: Tried) -> bytes:
    buffer = io.BytesIO()
    trials_figure(tried).savefig(buffer, format="png", dpi=DPI * SCALE)
    return buffer.getvalue()


def _rows(tried: Tried) -> list[list[str]]:
    from gpt_magic.engine.trials import said_rate

    return [
        [
            ("★ " if trial.learning_rate == tried.chosen else "") + said_rate(trial.learning_rate),
            number(trial.held_out) if math.isfinite(trial.held_out) else "diverged",
            f"{number(trial.behind)} ± {number(trial.error)}" if trial.behind else "–",
        ]
        for trial in tried.trials
    ]


def _panel(figure: Figure, place: tuple[float, float, float, float], title: str, below: str) -> Axes:
    axes = figure.add_axes(place)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
    axes.tick_params(colors=GREY, labelsize=8.5, width=0.7, length=3, pad=3)
    axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, color=GREY, fontsize=9, fontweight="bold", loc="left", pad=8)
    axes.set_xlabel(below, color=GREY, fontsize=8.5, labelpad=2)
    return axes


def _draw_steps(axes: Axes, tried: Tried) -> None:
    """Curves from thin and light, the lowest rate, to dark; the chosen one in its own colour."""
    top = max((max(trial.losses[:3], default=0.0) for trial in tried.trials), default=1.0) or 1.0
    for place, trial in enumerate(tried.trials):
        chosen = trial.learning_rate == tried.chosen
        shade = 0.35 + 0.5 * place / max(len(tried.trials) - 1, 1)
        steps, losses = range(1, len(trial.losses) + 1), _smoothed(trial.losses)
        axes.plot(
            steps,
            losses,
            color=VERMILION if chosen else BLUE,
            alpha=1 if chosen else shade,
            linewidth=2 if chosen else 1,
        )
        if losses:
            _name(axes, trial, len(losses), losses[-1], 1.3 * top, chosen=chosen)
    axes.set_ylim(0, 1.3 * top)
    axes.set_xlim(0, 1.16 * max(1, *(len(trial.losses) for trial in tried.trials)))


def _name(axes: Axes, trial: Trial, step: int, loss: float, top: float, *, chosen: bool) -> None:
    """The rate at the end of its curve."""
    from gpt_magic.engine.trials import said_rate

    colour = VERMILION if chosen else BLUE
    where = (step, min(loss, 0.97 * top))
    axes.annotate(
        said_rate(trial.learning_rate),
        where,
        xytext=(4, 0),
        textcoords="offset points",
        color=colour,
        fontsize=7.5,
        va="center",
    )


def _smoothed(losses: tuple[float, ...]) -> list[float]:
    """Mean of each loss with those around it."""
    half = max(len(losses) // 16, 1)
    around = [losses[max(i - half, 0) : i + half + 1] for i in range(len(losses))]
    return [sum(some) / len(some) for some in around]


def _draw_rates(axes: Axes, tried: Tried) -> None:
    from gpt_magic.engine.trials import said_rate

    finite = [trial for trial in tried.trials if math.isfinite(trial.held_out)]
    places = range(len(tried.trials))
    axes.set_xlim(-0.5, len(tried.trials) - 0.5)
    axes.set_xticks(list(places), [said_rate(trial.learning_rate) for trial in tried.trials])
    axes.xaxis.set_minor_locator(NullLocator())
    if finite:
        values, errors = [trial.held_out for trial in finite], [trial.error for trial in finite]
        axes.errorbar(places[: len(finite)], values, errors, color=BLUE, marker="o", markersize=4, linewidth=1.0)
        span = (max(values) - min(values)) or abs(values[0]) or 1.0
        axes.set_ylim(min(values) - 0.25 * span, max(values) + 0.35 * span)
    for place, trial in enumerate(tried.trials):
        if not math.isfinite(trial.held_out):
            axes.text(
                place,
                0.5,
                "diverged",
                transform=axes.get_xaxis_transform(),
                rotation=90,
                color=GREY,
                fontsize=8,
                ha="center",
                va="center",
            )
        elif trial.learning_rate == tried.chosen:
            axes.plot([place], [trial.held_out], color=VERMILION, marker="D", markersize=7, linestyle="none")
