"""The loss plot: one matplotlib figure that is repainted cheaply while a run goes on.

What stands still (axes, ticks, words) is drawn once and kept as bitmaps; a repaint restores them, draws the curves
on top and writes the PNG itself, with a palette: a quarter of the bytes to compress. Limits move rarely: that of
the steps doubles a few times until it is the plan's; then only the parts that change are drawn anew, since words take
most of the time. Neither pyplot nor the user's rcParams are touched.
"""

import io
import itertools
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gpt_magic.notebook import curves
from gpt_magic.notebook.curves import Curve, Limits
from gpt_magic.notebook.look import COLOURS, DPI, HEIGHT, SCALE, WIDTH, own_style
from gpt_magic.notebook.png import PaletteWriter
from gpt_magic.notebook.scene import Frame, Scene
from gpt_magic.recorder import Progress

_MOST_EPOCH_LINES = 12
_LEAST_OF_PLAN, _FEW = 16, 200  # the axis begins with this part of a long plan, but holds so many steps


class LossPlot:
    """The picture of one run; `update` repaints it."""

    def __init__(self) -> None:
        self._figure = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI * SCALE)
        self._canvas: Any = FigureCanvasAgg(self._figure)  # its drawing methods are untyped
        self._writer = PaletteWriter(COLOURS)
        self._curve: Curve | None = None
        self._frame: Frame | None = None
        self._drawn: dict[int, tuple[Any, list[Any]]] = {}  # of each part, what its bitmaps show, and these

    def update(self, progress: Progress, *, final: bool = False) -> bytes:
        """Draw the run as it stands now.

        Args:
            progress: this moment; of the same run at every call.
            final: the run is over; fit the picture to what was made of the plan, and spend time on a small file.

        Returns:
            A transparent PNG of twice `WIDTH` by `HEIGHT` pixels.
        """
        window = curves.smoothing_window(progress.steps)
        if self._curve is None or self._curve.window != window or len(progress.steps_log) < self._curve.seen:
            self._curve = Curve(window)
        self._curve.extend(progress.steps_log)
        frame = _next_frame(self._frame, progress, self._curve, final=final)
        if frame != self._frame:
            self._draw_standing(frame)
        self._canvas.restore_region(self._standing)
        self._scene.fill(self._curve, progress.evaluations, frame.names)
        for axes, line in self._scene.curves:
            axes.draw_artist(line)
        return self._writer.png(self._canvas.buffer_rgba(), level=9 if final else 1)

    def _draw_standing(self, frame: Frame) -> None:
        """Draw the parts that are not as they were, and put all together."""
        rebuild = self._frame is None or self._frame.panels != frame.panels
        self._frame = None  # an interrupt below must not leave half a picture that counts as drawn
        renderer = self._canvas.get_renderer()
        with mpl.rc_context(own_style()):
            if rebuild:
                self._figure.clear()
                self._scene, self._drawn = Scene(self._figure, frame.panels), {}
            for _, line in self._scene.curves:
                line.set_animated(True)
            for number, part in enumerate(self._scene.parts(frame)):
                if number not in self._drawn or self._drawn[number][0] != part.key:
                    part.arrange()
                    renderer.clear()
                    part.draw(renderer)
                    self._drawn[number] = part.key, [self._canvas.copy_from_bbox(box) for box in part.boxes]
        renderer.clear()
        for _, bitmaps in self._drawn.values():
            for bitmap in bitmaps:
                self._canvas.restore_region(bitmap)
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
        self.savefig(buffer, format="png", dpi=DPI * SCALE)
        width, height = (round(inches * DPI) for inches in self.get_size_inches())
        size = {"width": width, "height": height, "alt": self.words}
        return {"image/png": buffer.getvalue(), "text/plain": self.words}, {"image/png": size}


def figure(progress: Progress) -> Figure:
    """Draw a run that is over as a figure of its own, to show or to save."""
    curve = Curve(curves.smoothing_window(progress.steps))
    curve.extend(progress.steps_log)
    frame = _next_frame(None, progress, curve, final=True)
    picture = Picture((WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    FigureCanvasAgg(picture)
    with mpl.rc_context(own_style()):
        scene = Scene(picture, frame.panels)
        for part in scene.parts(frame):
            part.arrange()
        scene.fill(curve, progress.evaluations, frame.names)
    return picture


def _next_frame(last: Frame | None, progress: Progress, curve: Curve, *, final: bool) -> Frame:
    """The standing part for this moment: the last one, unless the data have outgrown it."""
    evaluations = progress.evaluations
    valid = curves.finite(evaluations, "loss")[1]
    loss = curves.loss_limits(curve, valid, last.loss if last else Limits())
    names = curves.score_names(evaluations)
    scores = curves.score_limits(evaluations, names, last.scores if last else Limits())
    right = _right(last, progress, final=final)
    epochs, stride = _epoch_ends(progress.steps_per_epoch, right)
    return Frame(
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


def _right(last: Frame | None, progress: Progress, *, final: bool) -> float:
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
