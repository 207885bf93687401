"""A run and the notebook: a cell that waits and paints, or a run behind a finished cell; and what they hand over."""

import sys
import time
from collections.abc import Callable, Iterator

from gpt_magic import runs
from gpt_magic.background import BackgroundRun
from gpt_magic.errors import RunAbandoned
from gpt_magic.notebook import live, names, painter, status
from gpt_magic.notebook.controls import Controls
from gpt_magic.notebook.live import NotebookView, View
from gpt_magic.run import Run
from gpt_magic.summary import Preflight, Summary

_TICK = 0.1  # seconds between two looks; the view decides what is due
_TWICE = 2.0  # seconds within which a second interrupt abandons the run


def watch(run: Run, view: View) -> None:
    """Start ``run`` and paint it until it is done.

    An interrupt is a stop: the step in work is finished and the best weights are handed back. A second one
    within two seconds leaves the run at once.

    Raises:
        RunAbandoned: interrupted twice.
        GptMagicError: what the run ended with; ``run.result`` may hold a model all the same.
    """
    interrupted: float | None = None
    tell = _Once(view)
    painting = _paint(run, view, tell)
    while True:
        try:
            next(painting)
        except StopIteration:
            break
        except KeyboardInterrupt:  # the generator ends where it was hit; a new one goes on
            now = time.monotonic()
            if run.done.is_set():  # the result is there: only the last picture was disturbed
                painting = _paint(run, view, tell)
                continue
            if interrupted is not None and now - interrupted < _TWICE:
                run.abandon()
                view.leave()
                raise RunAbandoned("interrupted twice: the run was left, and nothing is handed back") from None
            interrupted = now
            run.stop("stopping after this step; interrupt again to abandon")
            painting = _paint(run, view, tell)
    if run.error is not None:
        raise run.error


class _Once:
    """Shows the pre-flight the first time it is there."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.done = False

    def __call__(self, preflight: Preflight | None) -> None:
        if preflight is not None and not self.done:
            self.done = True
            self.view.preflight(preflight)


def _paint(run: Run, view: View, tell: _Once) -> Iterator[None]:
    """One look at the run each time; ends when the run is done and its card shown. May be begun again."""
    run.start()
    view.open()
    while not run.done.wait(_TICK):
        tell(run.preflight)
        view.paint(run.progress())
        yield
    tell(run.preflight)
    view.close(run.summary, run.progress())


def controls_of(run: Run, *, blocking: bool) -> Controls:
    """The buttons of a run, whose snapshots go beside the name of its result."""
    return Controls(
        run, lambda model: names.put_snapshot(live.names(), run.output or "tuned", model), blocking=blocking
    )


def behind(holder: BackgroundRun) -> None:
    """Start a run and let it go on behind the cell that runs now, which shows it to its end.

    With an ``output``, that name of the notebook is ``holder`` until the run has ended.
    """
    run = holder.run
    run.start()
    space = live.names()
    if run.output is not None:
        space[run.output] = holder
    holder.shown_in_cell = live.current_cell() if not run.options.quiet else None

    def settle() -> Summary | None:
        try:
            if run.output is not None and run.result is not None and run.summary is not None:
                run.summary = names.put_result(space, run.output, holder, run.result, run.summary)
        finally:
            holder.settled.set()
        return run.summary

    show(run, settle)


def show(run: "Run | runs.Past", settle: Callable[[], Summary | None] | None = None) -> None:
    """Show a run in the cell that runs now, to its end; ``settle`` is called then and gives its card."""
    if isinstance(run, runs.Past):
        ended = live.view_for(quiet=False)
        if isinstance(ended, NotebookView):
            ended.close(run.summary, run.progress(), run.error)
        else:
            ended.close(run.summary, run.progress())
            if run.error is not None:
                sys.stdout.write(f"{type(run.error).__name__}: {run.error}\n")
        return
    asked = settle is None  # by a command, and not by the cell that began it
    view: NotebookView | None = None
    try:
        if asked and not live.in_notebook():
            sys.stdout.write(f"{status.progress_text(run.progress())}\n")
        elif live.in_notebook() and (asked or not run.options.quiet):
            made = NotebookView(controls=controls_of(run, blocking=False))
            made.reserve(run.progress(), samples=bool(run.options.samples))
            view = made
    finally:  # whatever cut the display short: the run has started, and its end must be heard of
        painter.paint(run, view, settle or (lambda: run.summary))
