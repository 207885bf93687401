"""The main thread's part of a run: wait, paint, turn interrupts into stops."""

import time
from collections.abc import Iterator

from gpt_magic.errors import RunAbandoned
from gpt_magic.notebook.live import View
from gpt_magic.run import Run
from gpt_magic.summary import Preflight

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
