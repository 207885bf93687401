"""Views: how a run is shown while the main thread waits for it.

A view is opened once, painted many times a second (it decides itself what is due), and closed once. Nothing that
goes wrong in painting may end a run: the first such error is kept and said in one line at the end.
"""

import base64
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from gpt_magic.notebook.budget import Budget
from gpt_magic.notebook.markup import esc
from gpt_magic.notebook.outputs import put
from gpt_magic.options import Options
from gpt_magic.recorder import Progress
from gpt_magic.summary import Preflight, Summary

if TYPE_CHECKING:
    from gpt_magic.notebook.controls import Controls
    from gpt_magic.notebook.plot import LossPlot

LINE_SECONDS = 0.25  # between two progress lines
PLACES = ("card", "line", "controls", "plot", "samples")  # of a run in a notebook, from top to bottom
PLOT_SECONDS = 0.9  # between two pictures, so that there is one in every second
_LOG_SECONDS = 30.0  # between two progress lines where lines cannot be rewritten


class View(Protocol):
    """Shows one run; all calls come from one thread."""

    def open(self) -> None:
        """The run begins."""

    def preflight(self, p: Preflight) -> None:
        """The data are checked; show what is about to happen."""

    def paint(self, progress: Progress) -> None:
        """Called many times a second; paint what is due."""

    def close(self, summary: Summary | None, progress: Progress) -> None:
        """The run is over; leave what should stay. Without a summary there was no result."""

    def leave(self) -> None:
        """The run is over or left: take away what can still be clicked. Harmless when repeated."""


class QuietView:
    """Shows nothing."""

    def open(self) -> None:
        """Nothing."""

    def preflight(self, p: Preflight) -> None:
        """Nothing."""

    def paint(self, progress: Progress) -> None:
        """Nothing."""

    def close(self, summary: Summary | None, progress: Progress) -> None:
        """Nothing."""

    def leave(self) -> None:
        """Nothing."""


class _Safely:
    """Runs painters; remembers the first error, and leaves out for good what has failed."""

    def __init__(self) -> None:
        self.failed: dict[str, Exception] = {}

    def __call__(self, what: str, paint: Callable[[], object]) -> None:
        if what in self.failed:
            return
        try:
            paint()
        except Exception as error:
            self.failed[what] = error

    def line(self) -> str:
        """What failed, in a line; empty when nothing did."""
        if not self.failed:
            return ""
        from gpt_magic.errors import clean

        what, error = next(iter(self.failed.items()))
        return f"gpt_magic could not show {what} ({type(error).__name__}: {clean(error)}); the run went on without it\n"


class NotebookView:
    """Outputs that are updated in place: pre-flight, then card; progress, then its words; buttons; plot; samples.

    The pre-flight stands apart from the progress line so that it is not redrawn four times a second: a reader
    can select its text. Where the buttons were stands a table at the end.
    """

    def __init__(self, budget: Budget | None = None, controls: "Controls | None" = None) -> None:
        self._budget = budget or Budget()
        self._controls = controls
        self._safely = _Safely()
        self._handles: dict[str, Any] = {}
        self._shown: dict[str, str] = {}
        self._plot: LossPlot | None = None
        self._plotted = (0, 0)  # steps and evaluations in the last picture
        self._sampled = 0  # how often the model had written when its samples were last shown
        self._preflight: Preflight | None = None
        self._tried = False  # whether the trials of learning rates are shown

    def open(self) -> None:
        """Start the clock; outputs appear when there is something to show."""
        self._budget.open()

    def reserve(self, progress: Progress, *, samples: bool) -> None:
        """Display all places in the cell that runs now, so that any thread can paint later."""
        self.open()
        self._safely("the progress line", lambda: self._line(progress))
        for place in ["controls", "plot", *(["samples"] if samples else [])]:
            if place not in self._handles:
                self._html(place, "", "")

    def take_over(self, handles: Mapping[str, Any]) -> None:
        """Paint into displays that stand already, one for each of `PLACES`, and empty them of an earlier run."""
        self.open()
        self._handles = dict(handles)
        for place in PLACES:
            self._html(place, "", "")
        if self._controls is not None and (bundle := self._controls.bundle()) is not None:
            self._put("controls", bundle, {})

    def preflight(self, p: Preflight) -> None:
        """Show what is about to happen."""
        from gpt_magic.notebook import cards

        self._preflight = p
        self._safely("the pre-flight", lambda: self._html("card", cards.preflight_html(p), cards.preflight_text(p)))

    def paint(self, progress: Progress) -> None:
        """Repaint the progress line and the picture where they are due."""
        if self._controls is not None:
            self._safely("the buttons", self._controls.look)
            if self._controls.in_vain:
                self.leave()
        if self._budget.due("line", LINE_SECONDS):
            self._safely("the progress line", lambda: self._budget.pay("line", lambda: self._line(progress)))
        if self._plot is None and self._shown.get("card"):
            # While the worker loads the model: matplotlib's import and the first drawing take most of a second.
            self._safely("the loss plot", lambda: self._prepare(progress))
        news = (len(progress.steps_log), len(progress.evaluations))
        if len(progress.steps_log) >= 2 and news != self._plotted and self._budget.due("plot", PLOT_SECONDS):
            self._plotted = news
            self._safely("the loss plot", lambda: self._budget.pay("plot", lambda: self._picture(progress)))
        if len(progress.samples) != self._sampled:
            self._sampled = len(progress.samples)
            self._safely("the samples", lambda: self._samples(progress))
        if progress.tried is not None and not self._tried:
            self._tried = True
            self._safely("the trials", lambda: self._trials(progress))

    def close(self, summary: Summary | None, progress: Progress, error: Exception | None = None) -> None:
        """Leave the card, what the plot says in words, and the final picture; ``error`` where no cell raises it."""
        if summary is not None or error is not None:
            self._safely("the card", lambda: self._card(summary, error, progress))
        if "line" in self._handles or progress.steps_log:
            self._safely("the evaluations", lambda: self._curves(progress))
        if len(progress.steps_log) >= 2:
            self._safely("the loss plot", lambda: self._picture(progress, final=True))
        if progress.samples:
            self._safely("the samples", lambda: self._samples(progress, final=True))
        if said := self._safely.line():
            self._complain(said)
        self.leave()

    def _complain(self, said: str) -> None:
        if threading.current_thread() is threading.main_thread():
            sys.stderr.write(said)
        else:  # from another, it would land in a cell that has nothing to do with the run
            self._safely("what could not be shown", lambda: self._html("line", esc(said), said))

    def leave(self) -> None:
        """Take the buttons away."""
        if self._controls is None:
            return
        if "controls" in self._handles:
            self._safely("the buttons", lambda: self._html("controls", self._shown.get("controls", ""), ""))
        self._safely("the buttons", self._controls.close)

    def _card(self, summary: Summary | None, error: Exception | None, progress: Progress) -> None:
        from gpt_magic.notebook import cards, trials

        parts = []
        if error is not None:
            parts.append((cards.error_html(error), f"{type(error).__name__}: {error}"))
        if summary is not None:
            parts.append((cards.card_html(summary), cards.card_text(summary)))
            if progress.tried is not None:
                parts.append((trials.trials_html(progress.tried), f"\n{trials.trials_text(progress.tried)}"))
        self._html("card", "".join(markup for markup, _ in parts), "\n".join(text for _, text in parts))

    def _curves(self, progress: Progress) -> None:
        from gpt_magic.notebook import status

        text = status.curves_text(progress)
        if "controls" not in self._handles:
            self._html("line", status.curves_html(progress), text)
            return
        words, table = status.curves_apart(progress)
        self._html("line", words, text)
        self._html("controls", table, "")

    def _line(self, progress: Progress) -> None:
        from gpt_magic.notebook import status

        if "card" not in self._handles:
            self._html("card", "", "")  # takes its place above the progress line
        hint = self._controls.hint() if self._controls is not None else ""
        self._html("line", status.progress_html(progress, hint), status.progress_text(progress))
        if self._controls is not None and "controls" not in self._handles:
            bundle = self._controls.bundle()
            if bundle is not None:
                self._put("controls", bundle, {})

    def _trials(self, progress: Progress) -> None:
        """Below the pre-flight."""
        if progress.tried is None or self._preflight is None:
            return
        from gpt_magic.notebook import cards, trials

        shown, tried = self._preflight, progress.tried
        text = f"{cards.preflight_text(shown)}\n\n{trials.trials_text(tried)}"
        self._html("card", cards.preflight_html(shown) + trials.trials_html(tried), text)

    def _samples(self, progress: Progress, *, final: bool = False) -> None:
        """Below the plot, so that nothing moves when they grow."""
        from gpt_magic.notebook import samples

        if "plot" not in self._handles and not final:
            self._html("plot", "", "")  # takes its place above them
        self._html("samples", samples.samples_html(progress, final=final), samples.samples_text(progress, final=final))

    def _html(self, place: str, markup: str, text: str) -> None:
        if self._shown.get(place) != markup:
            self._put(place, {"text/html": markup, "text/plain": text}, {})
            self._shown[place] = markup

    def _prepare(self, progress: Progress) -> "LossPlot":
        if self._plot is None:
            from gpt_magic.notebook.plot import LossPlot

            plot = LossPlot()
            plot.update(progress)
            self._plot = plot
        return self._plot

    def _picture(self, progress: Progress, *, final: bool = False) -> None:
        from gpt_magic.notebook.look import HEIGHT, WIDTH

        png = base64.b64encode(self._prepare(progress).update(progress, final=final)).decode("ascii")
        size = {"width": WIDTH, "height": HEIGHT, "alt": "Loss plot; the text above it says what it shows"}
        self._put("plot", {"image/png": png, "text/plain": "loss plot"}, {"image/png": size})

    def _put(self, place: str, data: dict[str, str], metadata: dict[str, Any]) -> None:
        self._shown.pop(place, None)
        put(self._handles, place, data, metadata)


class TerminalView:
    """One progress line, rewritten in place; where that is not possible, a line for every evaluation."""

    def __init__(self, stream: TextIO | None = None, out: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._out = out or sys.stdout
        self._rewritable = self._stream.isatty()
        self._budget = Budget()
        self._safely = _Safely()
        self._width = 0  # columns of the line that stands
        self._evaluations = 0
        self._sampled = 0
        self._tried = False

    def open(self) -> None:
        """Start the clock."""
        self._budget.open()

    def preflight(self, p: Preflight) -> None:
        """Print what is about to happen."""
        from gpt_magic.notebook.cards import preflight_text

        self._safely("the pre-flight", lambda: self._print(preflight_text(p)))

    def paint(self, progress: Progress) -> None:
        """Rewrite the progress line, or add to the log, where it is due."""
        if not self._rewritable:
            self._safely("the progress", lambda: self._log(progress))
        elif self._budget.due("line", LINE_SECONDS):
            self._safely("the progress line", lambda: self._budget.pay("line", lambda: self._rewrite(progress)))
        self._safely("the samples", lambda: self._samples(progress, progress.step))
        self._safely("the trials", lambda: self._trials(progress))

    def close(self, summary: Summary | None, progress: Progress) -> None:
        """Take the progress line away, print the card and what a plot would show."""
        from gpt_magic.notebook import status
        from gpt_magic.notebook.cards import card_text

        self._safely("the progress line", self._erase)
        self._safely("the samples", lambda: self._samples(progress, progress.step + 1))
        if summary is not None:
            self._safely("the card", lambda: self._print(card_text(summary)))
        if said := status.curves_text(progress):
            self._safely("the curves in words", lambda: self._print(said))
        if said := self._safely.line():
            write_to(self._stream, said)

    def leave(self) -> None:
        """Nothing: there are no buttons."""

    def _rewrite(self, progress: Progress) -> None:
        from gpt_magic.notebook.markup import cells
        from gpt_magic.notebook.status import progress_text

        columns = shutil.get_terminal_size((80, 24)).columns - 1  # a full line would wrap
        line = progress_text(progress, columns)
        width = cells(line)
        write_to(self._stream, "\r" + line + " " * (self._width - width))
        self._width = width

    def _erase(self) -> None:
        if self._width:
            write_to(self._stream, "\r" + " " * self._width + "\r")
            self._width = 0

    def _log(self, progress: Progress) -> None:
        from gpt_magic.notebook.status import evaluation_text, progress_text

        for evaluation in progress.evaluations[self._evaluations :]:
            write_to(self._stream, evaluation_text(evaluation) + "\n")
        self._evaluations = len(progress.evaluations)
        if progress.step and self._budget.due("log", _LOG_SECONDS):
            self._budget.pay("log", lambda: write_to(self._stream, progress_text(progress) + "\n"))

    def _samples(self, progress: Progress, before: int) -> None:
        """Print what was written since the last look, above the progress line: of steps that are over."""
        from gpt_magic.notebook.samples import sampled_text

        new = [one for one in progress.samples[self._sampled :] if one.step < before]
        for sampled in new:
            self._erase()
            write_to(self._stream, sampled_text(sampled) + "\n")
        self._sampled += len(new)

    def _trials(self, progress: Progress) -> None:
        """Print what came of the trials of learning rates, once."""
        from gpt_magic.notebook.trials import trials_text

        if progress.tried is not None and not self._tried:
            self._tried = True
            self._print(trials_text(progress.tried))

    def _print(self, text: str) -> None:
        self._erase()
        write_to(self._out, text + "\n\n")


def write_to(stream: TextIO, text: str) -> None:
    """Write at once, with ``?`` for what the stream's encoding lacks."""
    encoding = stream.encoding or "utf-8"  # a Windows console may lack the bars and the stars
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def view_for(quiet: bool, controls: "Callable[[], Controls] | None" = None) -> View:
    """The view that fits: nothing, a notebook's outputs with buttons, or a terminal's line."""
    if quiet:
        return QuietView()
    if not in_notebook():
        return TerminalView()
    return NotebookView(controls=controls() if controls is not None else None)


def in_notebook() -> bool:
    """Whether there is a kernel, whose outputs can be updated."""
    return getattr(_shell(), "kernel", None) is not None


def names() -> dict[str, Any]:
    """The notebook's names; those of nobody outside IPython."""
    return getattr(_shell(), "user_ns", {})


def current_cell() -> int | None:
    """Execution count of the notebook cell that runs now; None outside notebooks."""
    shell = _shell()
    return int(shell.execution_count) if getattr(shell, "kernel", None) is not None else None


def cell_id() -> str:
    """What the frontend calls the cell that runs now; empty where it does not say."""
    parent: Any = getattr(getattr(_shell(), "kernel", None), "get_parent", dict)()
    return str((parent or {}).get("metadata", {}).get("cellId", ""))


def defaults() -> Options:
    """The defaults that ``%config GptMagic`` has set in this notebook; those of the table elsewhere."""
    configurables = getattr(_shell(), "configurables", [])
    return next((item for item in configurables if isinstance(item, Options)), Options())


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None
