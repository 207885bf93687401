"""The form's pictures: how the learning rate will move, and the losses of several runs over one another.

Transparent, with axes in a grey that can be read on white and on dark; curves differ by their dashes and by a number
at their end, not by colour alone. Neither pyplot nor the user's settings are touched.
"""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gpt_magic.engine.events import Tried
from gpt_magic.notebook import curves
from gpt_magic.notebook.curves import Curve
from gpt_magic.notebook.look import BLUE, DPI, GREEN, GREY, PURPLE, SCALE, VERMILION, own_style
from gpt_magic.notebook.markup import esc
from gpt_magic.recorder import Progress

RATES_WIDTH = 380  # CSS pixels of the slider that rates are shown behind, where there is room
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE)
_DASHES = ("-", (0, (6, 3)), (0, (2, 3)))  # three with four colours: twelve runs differ, and one under another is seen
_APART = 12  # points between two numbers at the ends of curves


def schedule_png(steps: Sequence[int], rates: Sequence[float]) -> bytes:
    """The learning rate of every step."""
    figure, axes = _axes(340, 130, left=62)
    with mpl.rc_context(own_style()):
        axes.plot(steps, rates, color=BLUE, linewidth=1.8)
        axes.fill_between(steps, rates, color=BLUE, alpha=0.15, linewidth=0)
        axes.set_xlim(0, max(steps[-1], 2))
        axes.set_ylim(0, max(rates) * 1.12 or 1)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.2g}"))
        axes.set_xlabel("step", color=GREY, fontsize=8.5, labelpad=2)
        return _png(figure)


def rates_png(tried: Tried, low: float, high: float) -> bytes:
    """The held-out loss of each learning rate that was tried, on the log scale of a slider and as wide as that.

    Args:
        low, high: powers of ten at the two ends.
    """
    with mpl.rc_context(own_style()):
        figure = Figure((RATES_WIDTH / DPI, 0.9), dpi=DPI)
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(low, high)
        ended = [trial for trial in tried.trials if math.isfinite(trial.held_out)]
        places, losses = [math.log10(t.learning_rate) for t in ended], [t.held_out for t in ended]
        axes.errorbar(places, losses, [t.error for t in ended], color=BLUE, marker="o", markersize=4, linewidth=1.2)
        if losses:
            span = (max(losses) - min(losses)) or abs(losses[0]) or 1.0
            axes.set_ylim(min(losses) - 0.3 * span, max(losses) + 0.6 * span)
        for trial, place in zip(ended, places, strict=True):
            chosen = trial.learning_rate == tried.chosen
            if chosen:
                axes.plot([place], [trial.held_out], color=VERMILION, marker="D", markersize=8)
            axes.annotate(
                f"{trial.held_out:.3g}", (place, trial.held_out), (0, 8), textcoords="offset points", color=GREY,
                fontsize=8, fontweight="bold" if chosen else "normal", ha="center", parse_math=False,
            )  # fmt: skip
        for trial in tried.trials:
            if trial not in ended:
                inside = 0.02 * (high - low)
                at = (min(max(math.log10(trial.learning_rate), low + inside), high - inside), 0.5)
                axes.text(*at, "diverged", transform=axes.get_xaxis_transform(), color=GREY, fontsize=8, rotation=90,
                          ha="center", va="center")  # fmt: skip
        return _png(figure)


def overlay_png(runs: Sequence[tuple[int, Progress]]) -> bytes:
    """Losses of several runs: of training, smoothed, as lines, on the validation rows as diamonds.

    Args:
        runs: the number of each and how it went, of those that made steps.
    """
    figure, axes = _axes(720, 260, left=54, right=34)
    with mpl.rc_context(own_style()):
        seen: list[float] = []
        ends = []
        for place, (number, progress) in enumerate(runs):
            colour, dashes = _COLOURS[place % len(_COLOURS)], _DASHES[place % len(_DASHES)]
            curve = Curve(curves.smoothing_window(progress.steps))
            curve.extend(progress.steps_log)
            x, y = curves.thin(np.array(curve.steps), np.array(curve.smoothed))
            axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.8)
            steps, losses = curves.finite(progress.evaluations, "loss")
            axes.plot(steps, losses, color=colour, linestyle="none", marker="D", markersize=5, markerfacecolor="none")
            seen += [*y[len(y) // 20 :], *losses]
            if len(y):
                ends.append((float(y[-1]), float(x[-1]), number, colour))
        low, top = (min(seen), float(np.quantile(seen, 0.98))) if seen else (0.0, 1.0)
        axes.set_ylim(max(0.0, low - 0.1 * (top - low)), top + 0.1 * (top - low) or 1)
        _number(axes, ends)
        axes.set_xlabel("step", color=GREY, fontsize=8.5, labelpad=2)
        axes.set_ylabel("loss", color=GREY, fontsize=9, fontweight="bold", rotation=0, ha="left", va="bottom")
        axes.yaxis.set_label_coords(0, 1.03)
        return _png(figure)


def _number(axes: Axes, ends: Sequence[tuple[float, float, int, str]]) -> None:
    """Write the number of each run at the end of its curve, none over another.

    Args:
        ends: loss and step of each end, its run's number and colour.
    """
    lowest = -math.inf
    for loss, step, number, colour in sorted(ends):
        at = float(axes.transData.transform((step, loss))[1]) * 72 / DPI
        lowest = max(at, lowest + _APART)
        axes.annotate(
            str(number), (step, loss), (7, lowest - at), textcoords="offset points", color=colour, fontsize=10,
            fontweight="bold", va="center", annotation_clip=False, parse_math=False,
        )  # fmt: skip


def image(png: bytes, words: str, width: int) -> str:
    """A picture for an HTML widget."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{esc(words, 600)}" style="width:{width}px;max-width:100%">'


def _axes(width: int, height: int, left: int, right: int = 12) -> tuple[Figure, Axes]:
    """A transparent figure with one panel; sizes in CSS pixels."""
    with mpl.rc_context(own_style()):
        figure = Figure((width / DPI, height / DPI), dpi=DPI)
        FigureCanvasAgg(figure)
        figure.patch.set_alpha(0)
        box = (left / width, 36 / height, (width - left - right) / width, (height - 36 - 20) / height)
        axes = figure.add_axes(box)
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
        axes.tick_params(colors=GREY, labelsize=8.5, width=0.7, length=3, pad=3)
        axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=SCALE * DPI)
    return buffer.getvalue()
