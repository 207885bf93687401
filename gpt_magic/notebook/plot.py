"""The loss plot: one matplotlib figure that is repainted cheaply while a run goes on.

What stands still (axes, ticks, words) is drawn once and kept as a bitmap; a repaint restores it, draws the curves
on top and writes the PNG itself, with a palette: a quarter of the bytes to compress. Limits move rarely: that of
the steps doubles a few times until it is the plan's. Neither pyplot nor the user's rcParams are touched.
"""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gpt_magic.engine.events import Evaluated
from gpt_magic.errors import plural
from gpt_magic.notebook import curves
from gpt_magic.notebook.curves import Curve, Limits
from gpt_magic.notebook.png import PaletteWriter
from gpt_magic.recorder import Progress

WIDTH, HEIGHT = 720, 290  # CSS pixels
_SCALE = 2  # PNG pixels in a CSS pixel
_DPI = 100  # CSS pixels in an inch

# Grey: the same contrast, 4.3:1, on white and on JupyterLab's dark #111. Curves: those of Okabe and Ito's colours
# (https://jfly.uni-koeln.de/color/) that have 3:1 on both.
GREY = "#7a7a7a"
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
COLOURS = (GREY, BLUE, VERMILION, GREEN, PURPLE)

_MOST_EPOCH_LINES = 12
_LEAST_OF_PLAN, _FEW = 16, 200  # the axis begins with this part of a long plan, but holds so many steps


@dataclass(frozen=True)
class _Frame:
    """All that the standing part of the picture depends on."""

    right: float  # last step on the x axis
    epochs: tuple[float, ...]
    stride: int  # epochs from one line to the next
    loss: Limits
    scores: Limits
    names: tuple[str, ...]
    validated: bool  # whether validation losses are there, or may still come
    panels: int
    note: str


def own_style() -> Any:
    """Matplotlib's own defaults for all that shapes the picture, so that the user's style does not."""
    kinds = ("axes.", "font.", "grid.", "legend.", "lines.", "markers.", "path.", "text.", "xtick.", "ytick.")
    return {key: value for key, value in mpl.rcParamsDefault.items() if key.startswith(kinds)}


class _Scene:
    """The artists in a figure: axes and words that stand still, and curves that get new data at each repaint."""

    def __init__(self, figure: Figure, panels: int) -> None:
        figure.patch.set_alpha(0)
        self.panels = panels
        self._loss = _panel(figure, 46, 404 if panels == 2 else WIDTH - 46 - 22, "loss")
        (self._raw,) = self._loss.plot([], [], color=BLUE, alpha=0.42, linewidth=0.8, label="each step")
        (self._smoothed,) = self._loss.plot([], [], color=BLUE, linewidth=1.9, label="smoothed")
        (self._valid,) = self._loss.plot([], [], color=VERMILION, marker="D", markersize=5, label="validation")
        self._valid.set(markerfacecolor="none", markeredgewidth=1.2, linewidth=1.0, dashes=(3, 2))
        (self._best,) = self._loss.plot([], [], color=VERMILION, linestyle="none", marker="D", label="best")
        self._best.set_markersize(5)
        for line in (self._valid, self._best):
            line.set_clip_on(False)
        self.curves = [(self._loss, line) for line in (self._raw, self._smoothed, self._valid, self._best)]
        self._epoch = Line2D([], [], color=GREY, linewidth=0.8, dashes=(1.5, 3), label="epoch")
        self._scores: list[Line2D] = []
        if panels == 2:
            self._second = _panel(figure, 506, WIDTH - 506 - 22, "validation scores")
            self._note = self._second.text(0.5, 0.5, "", color=GREY, fontsize=8.5, ha="center", va="center")
            self._note.set_transform(self._second.transAxes)
            for colour, marker, dash in ((GREEN, "o", "-"), (PURPLE, "^", "--")):
                (line,) = self._second.plot([], [], color=colour, marker=marker, markersize=5, linestyle=dash)
                line.set(linewidth=1.2, clip_on=False)
                self._scores.append(line)
            self.curves += [(self._second, line) for line in self._scores]

    def arrange(self, frame: _Frame) -> None:
        """Move limits, ticks, epoch lines and names to where the frame has them."""
        _fit(self._loss, frame, frame.loss, share=False)
        validation = [self._valid, self._best] if frame.validated else []
        epochs = [self._epoch] if frame.epochs else []
        self._epoch.set_label(plural(frame.stride, "epoch") if frame.stride > 1 else "epoch")
        _legend(self._loss, [self._raw, self._smoothed, *validation, *epochs])
        if self.panels == 2:
            _fit(self._second, frame, frame.scores, share=frame.scores.high == 1.0 and curves.are_shares(frame.names))
            self._note.set_text(frame.note)
            lower = bool(frame.names) and all(name in curves.LOWER_IS_BETTER for name in frame.names)
            self._second.yaxis.label.set_text("validation, lower is better" if lower else "validation scores")
            shown = self._scores[: len(frame.names)]
            for line, name in zip(shown, frame.names, strict=True):
                line.set_label(_label(name))
            _legend(self._second, shown)

    def fill(self, curve: Curve, evaluations: Sequence[Evaluated], names: Sequence[str]) -> None:
        """Give the curves the data of this moment."""
        steps = np.array(curve.steps)
        self._raw.set_data(*curves.thin(steps, np.array(curve.losses)))
        self._smoothed.set_data(*curves.thin(steps, np.array(curve.smoothed)))
        self._valid.set_data(*curves.finite(evaluations, "loss"))
        self._best.set_data(*curves.finite([e for e in evaluations if e.best][-1:], "loss"))
        for line, name in zip(self._scores, names, strict=False):
            line.set_data(*curves.finite(evaluations, name))


def _panel(figure: Figure, left: float, width: float, title: str) -> Axes:
    """Add a panel; ``left`` and ``width`` in CSS pixels."""
    bottom, top = 38, 48
    height = HEIGHT - bottom - top
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
    axes.tick_params(colors=GREY, labelsize=8.5, width=0.7, length=3, pad=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, round(width / 45)), integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("step", color=GREY, fontsize=8.5, labelpad=2)
    axes.set_ylabel(title, color=GREY, fontsize=9, fontweight="bold", rotation=0, ha="left", va="bottom")
    axes.yaxis.set_label_coords(0, 1 + 28 / height)
    axes.add_collection(LineCollection([], colors=GREY, alpha=0.55, linewidths=0.6, linestyles=[(0, (1.5, 3))]))
    return axes


def _fit(axes: Axes, frame: _Frame, limits: Limits, *, share: bool) -> None:
    axes.set(xlim=(0, frame.right * 1.015), ylim=(limits.low, limits.high))
    axes.set_yticks(limits.ticks())
    axes.yaxis.set_major_formatter(_formatter(limits, share=share))
    epochs = axes.collections[0]
    assert isinstance(epochs, LineCollection)
    epochs.set_segments([[(step, limits.low), (step, limits.high)] for step in frame.epochs])


def _formatter(limits: Limits, *, share: bool) -> FuncFormatter:
    step = curves.nice_step(limits.high - limits.low)
    if share:
        return FuncFormatter(lambda y, _: f"{y:.{_decimals(step * 100)}%}")
    if not 1e-4 <= step < 1e5:
        return FuncFormatter(lambda y, _: f"{y:.3g}")
    return FuncFormatter(lambda y, _: f"{y:,.{_decimals(step)}f}")


def _decimals(step: float) -> int:
    """Digits after the point that multiples of ``step`` need."""
    exponent = Decimal(f"{step:.2g}").normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _legend(axes: Axes, lines: Sequence[Line2D]) -> None:
    legend = axes.legend(
        handles=lines,
        loc="lower left",
        bbox_to_anchor=(0, 1.035),
        ncols=max(len(lines), 1),
        frameon=False,
        fontsize=8.5,
        labelcolor=GREY,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=1.1,
        borderpad=0,
        borderaxespad=0,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(name: str) -> str:
    """A metric's name in the legend; the font has no glyphs for every script."""
    plain = name.replace("_", " ").encode("ascii", "replace").decode()
    return curves.NAMES.get(name) or " ".join(plain.split())[:20] or "score"


class LossPlot:
    """The picture of one run; `update` repaints it."""

    def __init__(self) -> None:
        self._figure = Figure((WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI * _SCALE)
        self._canvas: Any = FigureCanvasAgg(self._figure)  # its drawing methods are untyped
        self._writer = PaletteWriter(COLOURS)
        self._curve: Curve | None = None
        self._frame: _Frame | None = None

    def update(self, progress: Progress, *, final: bool = False) -> bytes:
        """Draw the run as it stands now.

        Args:
            progress: this moment; of the same run at every call.
            final: the run is over; fit the picture to what was made of the plan, and spend time on a small file.

        Returns:
            A transparent PNG of twice `WIDTH` by `HEIGHT` pixels.
        """
        if self._curve is None or len(progress.steps_log) < self._curve.seen:
            self._curve = Curve(curves.smoothing_window(progress.steps))
        self._curve.extend(progress.steps_log)
        frame = _next_frame(self._frame, progress, self._curve, final=final)
        if frame != self._frame:
            self._draw_standing(frame)
        self._canvas.restore_region(self._standing)
        self._scene.fill(self._curve, progress.evaluations, frame.names)
        for axes, line in self._scene.curves:
            axes.draw_artist(line)
        return self._writer.png(self._canvas.buffer_rgba(), level=9 if final else 1)

    def _draw_standing(self, frame: _Frame) -> None:
        rebuild = self._frame is None or self._frame.panels != frame.panels
        self._frame = None  # an interrupt below must not leave half a picture that counts as drawn
        with mpl.rc_context(own_style()):
            if rebuild:
                self._figure.clear()
                self._scene = _Scene(self._figure, frame.panels)
            for _, line in self._scene.curves:
                line.set_animated(True)
            self._scene.arrange(frame)
            self._canvas.draw()
        self._writer.keep(self._canvas.buffer_rgba())
        self._standing = self._canvas.copy_from_bbox(self._figure.bbox)
        self._frame = frame


class Picture(Figure):
    """A plain matplotlib figure that notebooks show even where pyplot was never imported.

    Attributes:
        words: what stands for it where there are no pictures.
    """

    words = "loss plot"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_DPI * _SCALE)
        width, height = (round(inches * _DPI) for inches in self.get_size_inches())
        size = {"width": width, "height": height, "alt": self.words}
        return {"image/png": buffer.getvalue(), "text/plain": self.words}, {"image/png": size}


def figure(progress: Progress) -> Figure:
    """Draw a run that is over as a figure of its own, to show or to save."""
    curve = Curve(curves.smoothing_window(progress.steps))
    curve.extend(progress.steps_log)
    frame = _next_frame(None, progress, curve, final=True)
    picture = Picture((WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI)
    FigureCanvasAgg(picture)
    with mpl.rc_context(own_style()):
        scene = _Scene(picture, frame.panels)
        scene.arrange(frame)
        scene.fill(curve, progress.evaluations, frame.names)
    return picture


def _next_frame(last: _Frame | None, progress: Progress, curve: Curve, *, final: bool) -> _Frame:
    """The standing part for this moment: the last one, unless the data have outgrown it."""
    evaluations = progress.evaluations
    valid = curves.finite(evaluations, "loss")[1]
    loss = curves.loss_limits(curve, valid, last.loss if last else Limits())
    names = curves.score_names(evaluations)
    scores = curves.score_limits(evaluations, names, last.scores if last else Limits())
    right = _right(last, progress, final=final)
    epochs, stride = _epoch_ends(progress.steps_per_epoch, right)
    return _Frame(
        right=right,
        epochs=epochs,
        stride=stride,
        loss=loss,
        scores=scores,
        names=names,
        validated=bool(len(valid)) or not final,
        panels=1 if final and not names else 2,
        note="" if names else "no other scores" if evaluations else "after the first evaluation",
    )


def _right(last: _Frame | None, progress: Progress, *, final: bool) -> float:
    """Last step on the x axis: as much of the plan as is being made, at the end what was made of it."""
    made = max([progress.step, *(e.step for e in progress.evaluations[-1:])])
    if final and made:
        return made
    right = float(progress.steps or (last.right if last else 100))
    while right < made:
        right *= 2
    while progress.steps and right > progress.steps / _LEAST_OF_PLAN and right / 2 >= max(made, _FEW):
        right /= 2
    return right


def _epoch_ends(steps_per_epoch: int, right: float) -> tuple[tuple[float, ...], int]:
    """Where lines stand, and how many epochs lie between two of them."""
    if steps_per_epoch < 1:
        return (), 1
    count = int(right // steps_per_epoch)
    stride = _stride(count)
    return tuple(float(steps_per_epoch * epoch) for epoch in range(stride, count + 1, stride)), stride


def _stride(count: int) -> int:
    """Epochs from one line to the next, for at most so many lines."""
    stride, factors = 1, itertools.cycle((2, 2.5, 2))  # 1, 2, 5, 10, 20, 50 and so on
    while count > stride * _MOST_EPOCH_LINES:
        stride = round(stride * next(factors))
    return stride
