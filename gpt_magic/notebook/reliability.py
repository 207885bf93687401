"""The reliability picture: how sure a model was, and how often it was right."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gpt_magic.notebook.look import BLUE, GREY, VERMILION, own_style
from gpt_magic.notebook.plot import Picture

_SIZE = (6.4, 3.6)  # inches


def reliability_figure(calibration: Mapping[str, Any]) -> Figure:
    """Share of right predictions over confidence, before and after, above how many predictions there are.

    Args:
        calibration: the fields of a `Calibration`.
    """
    with mpl.rc_context(own_style()):
        figure = Picture(figsize=_SIZE, dpi=100)
        figure.words = (
            f"reliability of {calibration['rows']:,} predictions: calibration error {calibration['ece_before']:.1%} "
            f"before, {calibration['ece_after']:.1%} after"
        )
        figure.patch.set_alpha(0)
        above = _axes(figure, (0.1, 0.36, 0.58, 0.56))
        below = _axes(figure, (0.1, 0.14, 0.58, 0.16))
        above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, dashes=(3, 3), label="as sure as right")
        _curve(above, calibration["before"], f"before, error {calibration['ece_before']:.1%}", VERMILION, "D", "none")
        _curve(above, calibration["after"], f"after, error {calibration['ece_after']:.1%}", BLUE, "o", BLUE)
        counts = [count for count, _, _ in calibration["after"]]
        places = (np.arange(len(counts)) + 0.5) / len(counts)
        below.bar(places, counts, 0.9 / len(counts), color=BLUE, alpha=0.6)
        above.set(ylim=(0, 1.02), xticklabels=[])
        above.yaxis.set_major_formatter(PercentFormatter(1, 0))
        below.xaxis.set_major_formatter(PercentFormatter(1, 0))
        below.set_xlabel("confidence", color=GREY, fontsize=8.5)
        for axes, what in ((above, "right"), (below, "how many")):
            axes.set_title(what, color=GREY, fontsize=9, fontweight="bold", loc="left", pad=4)
        above.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=8.5, labelcolor=GREY)
        note = f"temperature {calibration['temperature']:.3g}\n{calibration['rows']:,} validation rows"
        figure.text(0.71, 0.14, note, color=GREY, fontsize=8.5, va="bottom")
    return figure


def _axes(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(place)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
    axes.tick_params(colors=GREY, labelsize=8.5, width=0.7, length=3)
    axes.set_xlim(0, 1.01)
    return axes


def _curve(axes: Axes, bins: Sequence[Sequence[float]], label: str, colour: str, marker: str, face: str) -> None:
    """One model's bins; the empty ones are left out."""
    points = [(said, came) for count, said, came in bins if count]
    axes.plot(
        *zip(*points, strict=True),
        color=colour,
        marker=marker,
        markersize=5,
        markerfacecolor=face,
        linewidth=1.2,
        linestyle="--" if face == "none" else "-",
        label=label,
    )
