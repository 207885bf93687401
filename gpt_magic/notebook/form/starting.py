"""Runs that a form starts: one after the other in the background, painted in the form's cell, kept to compare."""

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from gpt_magic.errors import GptMagicError
from gpt_magic.notebook.form.compare import Attempt, attempts_html, attempts_text, label, picture, settings_words
from gpt_magic.notebook.form.layout import row
from gpt_magic.notebook.live import PLACES, NotebookView
from gpt_magic.options import Options
from gpt_magic.run import Run

_TICK = 0.1  # seconds between two looks at a run
_EMPTY = {"text/html": "", "text/plain": ""}


class Runs:
    """The runs of one form, the buttons for them and the outputs below the form.

    Args:
        name: how the user calls the data, for the reports.
        defaults: the notebook's, for what is said of a run.
        namespace: the notebook's names, which results are put into.
    """

    def __init__(self, name: str, defaults: Options, namespace: dict[str, Any]) -> None:
        self.attempts: list[Attempt] = []
        self._name, self._defaults, self._namespace = name, defaults, namespace
        self._count = 0
        self._handles: dict[str, Any] = {}
        self._painter: threading.Thread | None = None
        self._lock = threading.Lock()
        self._pause = _button("Pause", "Rest after the step in work", self._turn)
        self._stop = _button("Stop", "End after the step in work; the best weights are kept", self._end)
        self._snapshot = _button("Snapshot", "Give the best weights so far their name now", self._take)
        self._said = widgets.HTML()
        self.buttons = [self._pause, self._stop, self._snapshot, self._said]
        self._list = widgets.Dropdown(description="run", options=[])
        self._list.layout.width = "auto"
        self._use = _button("Use this one", "Give the result of this run its name in the notebook", self._bind)
        self._show = _button("Show its card", "Show the card and the plot of this run", self._show_again)
        self._delete = _button("Delete", "Forget this run; a name it has in the notebook stays", self._forget)
        self._chosen = widgets.HTML()
        self.list = widgets.VBox([row(self._list, self._use, self._show, self._delete), self._chosen])
        self.list.add_class("gpt-magic-form")
        self._settle()

    def display(self) -> None:
        """Make the places below the form; what stands in them is static, and stays when the notebook is saved."""
        for place in (*PLACES, "table", "curves"):
            self._handles[place] = display(_EMPTY, raw=True, display_id=True)
        display(self.list)
        self._compare()

    def start(self, options: Options) -> Run:
        """Start a run; it waits where another one trains."""
        run = Run(options, self._name or None, options.output)
        self._count += 1
        self.attempts.append(Attempt(self._count, run, settings_words(options, self._defaults)))
        run.start()
        with self._lock:
            if self._painter is None:
                self._painter = threading.Thread(target=self._paint, name="gpt_magic form's runs", daemon=True)
                self._painter.start()
        self._settle()
        return run

    def live(self) -> Run | None:
        """The run that the buttons are for: the first that has not ended."""
        return next((a.run for a in self.attempts if not a.run.done.is_set()), None)

    # In the painter's thread

    def _paint(self) -> None:
        while True:
            with self._lock:
                run = self.live()
                if run is None:
                    self._painter = None
                    return
            self._follow(run)

    def _follow(self, run: Run) -> None:
        view = NotebookView(handles={place: self._handles[place] for place in PLACES})
        for place in PLACES:
            self._handles[place].update(_EMPTY, raw=True)
        view.open()
        told = False
        self._settle()
        while not run.done.wait(_TICK):
            if run.preflight is not None and not told:
                told = True
                view.preflight(run.preflight)
            view.paint(run.progress())
            self._settle()
        if run.result is not None:
            self._namespace[run.options.output] = run.result
        view.close(run.summary, run.progress())
        self._settle()
        self._compare()

    # The buttons

    def _settle(self) -> None:
        """Let the buttons be as the run is that they are for."""
        run = self.live()
        for button in (self._pause, self._stop, self._snapshot):
            _set(button, "disabled", run is None)
        _set(self._pause, "description", "Resume" if run is not None and run.paused else "Pause")
        listed = [(label(attempt), attempt.number) for attempt in self.attempts]
        if [*self._list.options] != listed:
            value = self._list.value
            self._list.options = listed
            self._list.value = value if value in [number for _, number in listed] else (listed or [(0, None)])[-1][1]
        self.list.layout.display = "" if listed else "none"

    def _turn(self) -> None:
        run = self.live()
        if run is not None:
            (run.resume if run.paused else run.pause)()
        self._settle()

    def _end(self) -> None:
        run = self.live()
        if run is not None:
            run.stop()

    def _take(self) -> None:
        run = self.live()
        if run is not None:
            self._said.value = "a snapshot is being made"
            run.snapshot(self._taken(run.options.output))

    def _taken(self, name: str) -> Callable[[Any], None]:
        def take(taken: Any) -> None:
            if isinstance(taken, GptMagicError):
                self._said.value = "no snapshot: nothing was learned yet"
                return
            self._namespace[name] = taken
            self._said.value = f"<code>{name}</code> is the best model so far"

        return take

    # The list

    def _attempt(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.number == self._list.value), None)

    def _bind(self) -> None:
        attempt = self._attempt()
        if attempt is None:
            return
        name, result = attempt.run.options.output, attempt.run.result
        if result is None:
            self._chosen.value = f"run {attempt.number} has no model" + ("" if attempt.run.error else " yet")
            return
        self._namespace[name] = result
        self._chosen.value = f"<code>{name}</code> is the model of run {attempt.number}"

    def _show_again(self) -> None:
        attempt = self._attempt()
        if attempt is None or not attempt.run.done.is_set() or self.live() is not None:
            self._chosen.value = "the card of a run that goes on is shown; of others when it has ended"
            return
        view = NotebookView(handles={place: self._handles[place] for place in PLACES})
        view.close(attempt.run.summary, attempt.run.progress())

    def _forget(self) -> None:
        attempt = self._attempt()
        if attempt is None:
            return
        if not attempt.run.done.is_set():
            self._chosen.value = "stop this run before it is deleted"
            return
        self.attempts.remove(attempt)
        self._chosen.value = f"run {attempt.number} is deleted"
        self._settle()
        self._compare()

    def _compare(self) -> None:
        """Show the runs side by side."""
        if not self._handles:
            return
        ended = [attempt for attempt in self.attempts if attempt.run.done.is_set()]
        self._handles["table"].update({"text/html": attempts_html(ended), "text/plain": attempts_text(ended)}, raw=True)
        data, metadata = picture(ended)
        self._handles["curves"].update(data, raw=True, metadata=metadata)


def _button(words: str, tooltip: str, clicked: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=words, tooltip=tooltip)
    button.on_click(lambda _: clicked())
    return button


def _set(widget: Any, trait: str, value: Any) -> None:
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)
