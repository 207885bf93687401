"""Interrupts while the main thread paints, with a run and a view that are played."""

import threading
from typing import Any

import pytest

from gpt_magic.errors import RunAbandoned
from gpt_magic.notebook import live, painter
from gpt_magic.notebook import watch as watching
from gpt_magic.notebook.live import NotebookView, QuietView
from gpt_magic.notebook.watch import show, watch
from gpt_magic.options import Options
from gpt_magic.run import Run


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


def test_an_interrupt_while_outputs_are_made_leaves_no_run_that_nobody_hears_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    heard: list[Any] = []
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr(watching, "controls_of", lambda *_, **__: None)
    monkeypatch.setattr(NotebookView, "reserve", interrupted)
    monkeypatch.setattr(painter, "paint", lambda *given: heard.append(given))
    run = Run(Options())
    with pytest.raises(KeyboardInterrupt):
        show(run)
    ((painted, view, _),) = heard
    assert painted is run
    assert view is None


@pytest.mark.parametrize("notebook", [True, False])
def test_a_run_that_is_asked_for_is_shown_also_where_it_is_quiet_and_in_a_terminal(
    notebook: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(live, "in_notebook", lambda: notebook)
    monkeypatch.setattr(watching, "controls_of", lambda *_, **__: None)
    monkeypatch.setattr(NotebookView, "reserve", lambda *_, **__: None)
    monkeypatch.setattr(painter, "paint", lambda *given: heard.append(given))
    options = Options()
    options.quiet = True
    show(Run(options))
    show(Run(options), lambda: None)  # the cell that began it
    assert [view is not None for _, view, _ in heard] == [notebook, False]
    assert bool(capsys.readouterr().out) != notebook
