"""Paints runs that go on behind finished cells: one thread for all of them, each into outputs that stand already."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gpt_magic.notebook.live import NotebookView
from gpt_magic.run import Run
from gpt_magic.summary import Summary

_TICK = 0.1  # seconds between two looks; the view decides what is due


@dataclass
class _Painted:
    run: Run
    view: NotebookView | None
    settle: Callable[[], Summary | None]
    then: Callable[[], None]
    told: bool = False

    def paint(self) -> bool:
        """One look; whether it was the last."""
        over = self.run.done.is_set()  # before the look, so that the last one sees the end
        if self.view is not None:
            if self.run.preflight is not None and not self.told:
                self.told = True
                self.view.preflight(self.run.preflight)
            if not over:
                self.view.paint(self.run.progress())
        if over:
            try:
                summary = self.settle()
                if self.view is not None:
                    self.view.close(summary, self.run.progress(), self.run.error)
            finally:
                self.then()
        return over


_painted: list[_Painted] = []
_changing = threading.Lock()
_thread: threading.Thread | None = None


def paint(
    run: Run, view: NotebookView | None, settle: Callable[[], Summary | None], then: Callable[[], None] = lambda: None
) -> None:
    """Paint a run that was started until it has ended.

    Args:
        run: the run.
        view: where, its places displayed already (`NotebookView.reserve`); None to show nothing.
        settle: called at the end, in the painter's thread; gives the content of the final card.
        then: called when that stands.
    """
    global _thread  # one painter a process
    with _changing:
        _painted.append(_Painted(run, view, settle, then))
        if _thread is None:
            _thread = threading.Thread(target=_paint_all, name="gpt_magic painter", daemon=True)
            _thread.start()


def _over(one: _Painted) -> bool:
    """Paint once; whether that was the last time."""
    try:
        return one.paint()
    except Exception:  # views keep their errors to themselves; whatever else fails, the other runs are painted on
        return True


def _paint_all() -> None:
    global _thread
    while True:
        for one in list(_painted):
            if _over(one):
                with _changing:
                    _painted.remove(one)
        with _changing:
            if not _painted:
                _thread = None
                return
        time.sleep(_TICK)
