"""The artists of the loss plot: axes and words that stand still, in parts that can be drawn apart, and curves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from gpt_magic.engine.events import Evaluated
from gpt_magic.errors import plural
from gpt_magic.notebook import curves
from gpt_magic.notebook.curves import Curve, Limits
from gpt_magic.notebook.look import BLUE, GREEN, GREY, HEIGHT, PURPLE, SCALE, VERMILION, WIDTH

_BELOW, _ABOVE = 38, 48  # CSS pixels below and above the axes
_OVER = 5  # of those, what the labels of the highest and the lowest tick take
_HEADS, _AXES, _STEPS = 500, 452, 485  # where heads, axes and the ticks below them of two panels meet


@dataclass(frozen=True)
class Frame:
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


class _Panel:
    """Axes of which the head (title and legend) and the body (all else that stands still) are drawn apart.

    Args:
        left, width: of the axes, in CSS pixels.
        alone: whether there is no other panel.
    """

    def __init__(self, figure: Figure, left: float, width: float, *, alone: bool = False) -> None:
        height = HEIGHT - _BELOW - _ABOVE
        self.axes = axes = figure.add_axes((left / WIDTH, _BELOW / HEIGHT, width / WIDTH, height / HEIGHT))
        self._alone, self._first = alone, left < WIDTH / 2
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
        axes.tick_params(colors=GREY, labelsize=8.5, width=0.7, length=3, pad=3)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, round(width / 45)), integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("step", color=GREY, fontsize=8.5, labelpad=2)
        axes.set_ylabel("", color=GREY, fontsize=9, fontweight="bold", rotation=0, ha="left", va="bottom")
        axes.yaxis.set_label_coords(0, 1 + 28 / height)
        axes.add_collection(LineCollection([], colors=GREY, alpha=0.55, linewidths=0.6, linestyles=[(0, (1.5, 3))]))

    def fit(self, frame: Frame, limits: Limits, *, share: bool) -> None:
        """Move the body's limits, ticks and epoch lines."""
        self.axes.set(xlim=(0, frame.right * 1.015), ylim=(limits.low, limits.high))
        self.axes.set_yticks(limits.ticks())
        self.axes.yaxis.set_major_formatter(_formatter(limits, share=share))
        epochs = self.axes.collections[0]
        assert isinstance(epochs, LineCollection)
        epochs.set_segments([[(step, limits.low), (step, limits.high)] for step in frame.epochs])

    def name(self, title: str, lines: Sequence[Line2D]) -> None:
        """Write the head."""
        self.axes.yaxis.label.set_text(title)
        _legend(self.axes, lines)

    def draw_body(self, renderer: Any) -> None:
        """Draw all that stands still but the head."""
        for artist in self._head():
            artist.set_visible(False)
        self.axes.draw(renderer)
        for artist in self._head():
            artist.set_visible(True)

    def draw_head(self, renderer: Any) -> None:
        """Draw title and legend."""
        for artist in self._head():
            artist.draw(renderer)

    def _head(self) -> list[Artist]:
        legend = self.axes.get_legend()
        return [self.axes.yaxis.label, *([legend] if legend else [])]

    def body(self) -> list[Bbox]:
        """Where the body is, in pixels of the picture."""
        return [self._box(_STEPS, 0, _BELOW - _OVER), self._box(_AXES, _BELOW - _OVER, HEIGHT - _ABOVE + _OVER)]

    def head(self) -> list[Bbox]:
        """Where the head is."""
        return [self._box(_HEADS, HEIGHT - _ABOVE + _OVER, HEIGHT)]

    def _box(self, between: float, bottom: float, top: float) -> Bbox:
        left, right = (0, WIDTH) if self._alone else (0, between) if self._first else (between, WIDTH)
        return Bbox.from_extents(left * SCALE, bottom * SCALE, right * SCALE, top * SCALE)


@dataclass(frozen=True)
class Part:
    """A part of the standing picture: where it is, and how to arrange and to draw it when its ``key`` is another."""

    key: tuple[Any, ...]
    boxes: list[Bbox]
    arrange: Callable[[], None]
    draw: Callable[[Any], None]


class Scene:
    """The artists in a figure: axes and words that stand still, and curves that get new data at each repaint."""

    def __init__(self, figure: Figure, panels: int) -> None:
        figure.patch.set_alpha(0)
        self.panels = panels
        self._loss = _Panel(figure, 46, 404 if panels == 2 else WIDTH - 46 - 22, alone=panels == 1)
        axes = self._loss.axes
        (self._raw,) = axes.plot([], [], color=BLUE, alpha=0.42, linewidth=0.8, label="each step")
        (self._smoothed,) = axes.plot([], [], color=BLUE, linewidth=1.9, label="smoothed")
        (self._valid,) = axes.plot([], [], color=VERMILION, marker="D", markersize=5, label="validation")
        self._valid.set(markerfacecolor="none", markeredgewidth=1.2, linewidth=1.0, dashes=(3, 2))
        (self._best,) = axes.plot([], [], color=VERMILION, linestyle="none", marker="D", label="best")
        self._best.set_markersize(5)
        for line in (self._valid, self._best):
            line.set_clip_on(False)
        self.curves = [(axes, line) for line in (self._raw, self._smoothed, self._valid, self._best)]
        self._epoch = Line2D([], [], color=GREY, linewidth=0.8, dashes=(1.5, 3), label="epoch")
        self._scores: list[Line2D] = []
        if panels == 2:
            self._second = _Panel(figure, 506, WIDTH - 506 - 22)
            axes = self._second.axes
            self._note = axes.text(0.5, 0.5, "", color=GREY, fontsize=8.5, ha="center", va="center")
            self._note.set_transform(axes.transAxes)
            for colour, marker, dash in ((GREEN, "o", "-"), (PURPLE, "^", "--")):
                (line,) = axes.plot([], [], color=colour, marker=marker, markersize=5, linestyle=dash)
                line.set(linewidth=1.2, clip_on=False)
                self._scores.append(line)
            self.curves += [(axes, line) for line in self._scores]

    def parts(self, frame: Frame) -> list[Part]:
        """The parts of the standing picture as the frame has them."""
        steps, panel = (frame.right, frame.epochs), self._loss
        named = (frame.validated, bool(frame.epochs), frame.stride)
        body = partial(panel.fit, frame, frame.loss, share=False)
        found = [
            Part((*steps, frame.loss), panel.body(), body, panel.draw_body),
            Part(named, panel.head(), partial(self._name_losses, *named), panel.draw_head),
        ]
        if self.panels == 2:
            panel, scores = self._second, (frame.scores, frame.names, frame.note)
            found.append(Part((*steps, *scores), panel.body(), partial(self._fit_scores, frame), panel.draw_body))
            found.append(Part(frame.names, panel.head(), partial(self._name_scores, frame.names), panel.draw_head))
        return found

    def _name_losses(self, validated: bool, epochs: bool, stride: int) -> None:
        validation = [self._valid, self._best] if validated else []
        self._epoch.set_label(plural(stride, "epoch") if stride > 1 else "epoch")
        self._loss.name("loss", [self._raw, self._smoothed, *validation, *([self._epoch] if epochs else [])])

    def _fit_scores(self, frame: Frame) -> None:
        share = frame.scores.high == 1.0 and curves.are_shares(frame.names)
        self._second.fit(frame, frame.scores, share=share)
        self._note.set_text(frame.note)

    def _name_scores(self, names: Sequence[str]) -> None:
        lower = bool(names) and all(name in curves.LOWER_IS_BETTER for name in names)
        shown = self._scores[: len(names)]
        for line, name in zip(shown, names, strict=True):
            line.set_label(_label(name))
        self._second.name("validation, lower is better" if lower else "validation scores", shown)

    def fill(self, curve: Curve, evaluations: Sequence[Evaluated], names: Sequence[str]) -> None:
        """Give the curves the data of this moment."""
        steps = np.array(curve.steps)
        self._raw.set_data(*curves.thin(steps, np.array(curve.losses)))
        self._smoothed.set_data(*curves.thin(steps, np.array(curve.smoothed)))
        self._valid.set_data(*curves.finite(evaluations, "loss"))
        self._best.set_data(*curves.finite([e for e in evaluations if e.best][-1:], "loss"))
        for line, name in zip(self._scores, names, strict=False):
            line.set_data(*curves.finite(evaluations, name))


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
