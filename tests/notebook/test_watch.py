"""Interrupts while the main thread paints, with a run and a view that are played."""

import threading
from typing import Any

import pytest

from gpt_magic.errors import RunAbandoned
from gpt_magic.notebook.live import QuietView
from gpt_magic.notebook.watch import watch


class PlayedRun:
    """A run whose worker is done after some looks."""

    def __init__(self, looks: int) -> None:
        self.done = threading.Event()
        self.preflight = self.summary = self.error = None
        self.looks, self.stops, self.abandoned = looks, 0, False

    def start(self) -> None:
        pass

    def progress(self) -> Any:
        self.looks -= 1
        if self.looks <= 0:
            self.done.set()

    def stop(self, said: str) -> None:
        self.stops += 1

    def abandon(self) -> None:
        self.abandoned = True


class InterruptedView(QuietView):
    """Where the user presses: ``paint`` so many times, then ``close`` so many."""

    def __init__(self, in_paint: int, in_close: int) -> None:
        self.in_paint, self.in_close, self.closed = in_paint, in_close, 0

    def paint(self, progress: Any) -> None:
        if self.in_paint:
            self.in_paint -= 1
            raise KeyboardInterrupt

    def close(self, summary: Any, progress: Any) -> None:
        if self.in_close:
            self.in_close -= 1
            raise KeyboardInterrupt
        self.closed += 1


def test_one_interrupt_stops_and_waits_for_the_card() -> None:
    run, view = PlayedRun(looks=5), InterruptedView(in_paint=1, in_close=0)
    watch(run, view)  # type: ignore[arg-type]
    assert (run.stops, run.abandoned, view.closed) == (1, False, 1)


def test_two_interrupts_abandon() -> None:
    run, view = PlayedRun(looks=50), InterruptedView(in_paint=2, in_close=0)
    with pytest.raises(RunAbandoned):
        watch(run, view)  # type: ignore[arg-type]
    assert run.abandoned


@pytest.mark.parametrize("presses", [1, 2, 3])
def test_interrupts_after_the_run_is_done_lose_nothing(presses: int) -> None:
    run, view = PlayedRun(looks=1), InterruptedView(in_paint=0, in_close=presses)
    watch(run, view)  # type: ignore[arg-type]
    assert (run.abandoned, view.closed) == (False, 1)
