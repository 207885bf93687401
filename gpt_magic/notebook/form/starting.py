"""Runs that a form starts: one after the other behind its cell, shown below it, and kept to compare."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from gpt_magic.background import BackgroundRun
from gpt_magic.notebook import names, painter
from gpt_magic.notebook.form.compare import Attempt, attempts_html, attempts_text, label, picture, settings_words
from gpt_magic.notebook.form.layout import button, close, row
from gpt_magic.notebook.live import PLACES, NotebookView
from gpt_magic.notebook.watch import controls_of
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.summary import Summary

_EMPTY = {"text/html": "", "text/plain": ""}


class Runs:
    """The runs of one form, and the outputs below it.

    Args:
        name: how the user calls the data, for the reports.
        defaults: the notebook's, for what is said of a run.
        namespace: the notebook's names, which results are put into.
        ended: called with each run that has ended, in the painter's thread.
    """

    def __init__(self, name: str, defaults: Options, namespace: dict[str, Any], ended: Callable[[Run], None]) -> None:
        self.attempts: list[Attempt] = []
        self._name, self._defaults, self._namespace = name, defaults, namespace
        self._count, self._told = 0, ended
        self._handles: dict[str, Any] = {}
        self._waiting: deque[Run] = deque()  # for the places below the form
        self._shown: Run | None = None
        self._turn = threading.Condition()  # runs are started in the main thread, and end in the painter's
        self._comparing = threading.Lock()
        self._list = widgets.Dropdown(description="run", options=[])
        self._list.layout.width, self._list.style.description_width = "auto", "auto"
        self._list.layout.max_width = "100%"
        self._said = widgets.HTML()
        self.box = widgets.VBox(
            [
                row(
                    self._list,
                    button("Use this one", "Give the model of this run its name in the notebook", self.use),
                    button("Show its card", "Show the card and the plot of this run again", self.show_again),
                    button("Delete", "Forget this run and its model; a name that it has stays", self.delete),
                ),
                self._said,
            ]
        )
        self.box.add_class("gpt-magic-form")
        self.box.layout.display = "none"

    def display(self) -> None:
        """Make the places below the form; what stands in them is static, and stays when the notebook is saved."""
        for place in (*PLACES, "table", "curves"):
            self._handles[place] = display(_EMPTY, raw=True, display_id=True)
        self._handles["list"] = display(self.box, display_id=True)
        self._compare()

    def start(self, options: Options) -> None:
        """Start a run; where another one trains it waits for its turn."""
        run = Run(options, self._name or None, options.output)
        self._count += 1
        self.attempts.append(Attempt(self._count, run, settings_words(options, self._defaults)))
        run.start()
        with self._turn:
            self._waiting.append(run)
            if self._shown is None:
                self._next()

    def idle(self, seconds: float) -> bool:
        """Wait until no run goes on and all are listed; whether it is so."""
        with self._turn:
            return self._turn.wait_for(lambda: self._shown is None, seconds)

    def close(self) -> None:
        """Close the widgets; runs go on, and their models keep their names."""
        if "list" in self._handles:
            self._handles["list"].update(_EMPTY, raw=True)
        for widget in (*self.box.children[0].children, *self.box.children, self.box):
            close(widget)

    def _next(self) -> None:
        """Show the run that is next; each has the places to itself."""
        with self._turn:
            self._shown = run = self._waiting.popleft() if self._waiting else None
            self._turn.notify_all()
        if run is None:
            return
        output = run.options.output
        # Until the model is there its name is the run's, unless it has a model of an earlier one.
        holder = self._namespace.setdefault(output, BackgroundRun(run))
        view: NotebookView | None = None
        if self._handles:  # else the form is not shown yet
            view = NotebookView(controls=controls_of(run, blocking=False))
            view.take_over({place: self._handles[place] for place in PLACES})

        def settle() -> Summary | None:
            if run.result is not None and run.summary is not None:
                run.summary = names.put_result(self._namespace, output, holder, run.result, run.summary)
            if isinstance(holder, BackgroundRun):
                holder.settled.set()
            self._offer()
            self._compare()
            self._told(run)
            return run.summary

        painter.paint(run, view, settle, self._next)

    # The list of runs

    def _offer(self) -> None:
        """List the runs to choose from, the latest chosen."""
        listed = [(label(attempt), attempt.number) for attempt in self._ended()]
        self._list.options = listed
        self._list.value = listed[-1][1] if listed else None
        self.box.layout.display = "" if listed else "none"
        self._said.value = ""

    def _compare(self) -> None:
        """Show the runs side by side; the last word is that of the last call, whichever thread's it is."""
        if not self._handles:
            return
        with self._comparing:
            ended = self._ended()
            words = {"text/html": attempts_html(ended), "text/plain": attempts_text(ended)}
            self._handles["table"].update(words, raw=True)
            data, metadata = picture(ended)
            self._handles["curves"].update(data, raw=True, metadata=metadata)

    def _ended(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.run.done.is_set()]

    def _chosen(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.number == self._list.value), None)

    def choose(self, number: int) -> None:
        """Choose the run that the buttons below the table are for."""
        self._list.value = number

    def use(self) -> None:
        """Give the model of the chosen run its name in the notebook."""
        if (attempt := self._chosen()) is None:
            return
        name, result = attempt.run.options.output, attempt.run.result
        if result is not None:
            self._namespace[name] = result
            self._said.value = f"<code>{name}</code> is the model of run {attempt.number}"
        else:
            self._said.value = f"run {attempt.number} has no model"

    def show_again(self) -> None:
        """Show the card and the plot of the chosen run again."""
        if (attempt := self._chosen()) is None:
            return
        if self._shown is not None:
            self._said.value = "the place is taken by the run that goes on; its card comes when it has ended"
            return
        if not self._handles:
            return
        view = NotebookView()
        view.take_over({place: self._handles[place] for place in PLACES})
        view.close(attempt.run.summary, attempt.run.progress(), attempt.run.error)

    def delete(self) -> None:
        """Forget the chosen run."""
        if (attempt := self._chosen()) is None:
            return
        self.attempts.remove(attempt)
        self._offer()
        self._said.value = f"run {attempt.number} is deleted"
        self._compare()
