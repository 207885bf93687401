"""Pause, Resume, Snapshot and Stop as buttons below the progress line of a run, where clicks reach it."""

import os
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from gpt_magic.errors import GptMagicError
from gpt_magic.run import Run, Taken

_PATIENCE = 3.0  # seconds within which a frontend that has subshells makes one for its widgets
_WIDTH = "8.5em"  # of a button: Pause and Resume are as wide
# What a button says, does and looks like; Pause and Resume are one button.
_LOOKS = {
    "pause": ("Pause", "pause", "Rest after this step; the memory stays in use"),
    "resume": ("Resume", "play", "Go on where the training rests"),
    "snapshot": ("Snapshot", "camera", "Put the best weights so far into the notebook; the training goes on"),
    "stop": ("Stop", "stop", "End after this step and keep the best weights"),
}


class Controls:
    """The buttons of one run.

    A click only sets events of the run: it may come on the main thread, on a subshell's, or on the one that reads the
    shell's messages. All else is done in `look`, which the thread that paints calls.

    Args:
        run: what is told.
        take: given a snapshot, in the painting thread; says in a few words where it is now.
        blocking: whether the cell goes on until the run has ended.
    """

    def __init__(self, run: Run, take: Callable[[Any], str], *, blocking: bool) -> None:
        self.said = ""
        self._run, self._take, self._blocking = run, take, blocking
        self._taken: SimpleQueue[Taken] = SimpleQueue()
        self._reached = clicks_arrive(blocking)
        self._row: Any = None
        self._buttons: dict[str, Any] = {}
        self._shown: tuple[bool, ...] = ()
        self._made = 0.0

    def bundle(self) -> dict[str, Any] | None:
        """The buttons as a display shows them; None where no click would reach the run."""
        if self._reached is False:
            return None
        if self._row is None:
            self._make()
        made: dict[str, Any] = self._row._repr_mimebundle_()
        return {**made, "text/plain": f"buttons of the run; after a reload of the page: {self._command('show')}"}

    def look(self) -> None:
        """Take what snapshots there are, and let the buttons say how the run stands."""
        while True:
            try:
                taken = self._taken.get_nowait()
            except Empty:
                break
            self.said = str(taken) if isinstance(taken, GptMagicError) else self._take(taken)
        if self._row is None:
            return
        if self._reached is None:
            self._find_out()
        run = self._run
        over = run.control.stop.is_set() or run.done.is_set()
        shown = (bool(self._reached), over, run.paused, run.snapshot_wanted)
        if shown != self._shown:
            self._shown = shown
            self._row.layout.visibility = "visible" if self._reached else "hidden"
            pause = self._buttons["pause"]
            pause.description, pause.icon, pause.tooltip = _LOOKS["resume" if run.paused else "pause"]
            for name, button in self._buttons.items():
                button.disabled = over or (name == "snapshot" and run.snapshot_wanted)

    @property
    def in_vain(self) -> bool:
        """Whether there are buttons, and it has shown that no click reaches the run."""
        return self._reached is False and self._row is not None

    def hint(self) -> str:
        """What the progress line says of them, and how the run is found again: a kept notebook holds this line."""
        again = f"after a reload of the page: {self._command('show')}"
        if self.said:
            return f"{self.said}; {again}"
        if self._reached is False:
            how = "the kernel's interrupt" if self._blocking else self._command("stop")
            return f"to stop: {how}; {again}"
        return again

    def close(self) -> None:
        """Take the buttons away, in the kernel and in every page; harmless when repeated."""
        self._reached = False
        row, self._row = self._row, None
        if row is not None:
            for widget in (row, *self._buttons.values()):
                for part in (widget.layout, getattr(widget, "style", None), widget):
                    if part is not None:
                        part.close()
        self._buttons = {}

    def _command(self, what: str) -> str:
        return f"%finetune --{what} {self._run.id}"

    def _make(self) -> None:
        import ipywidgets

        for name in ("pause", "snapshot", "stop"):
            description, icon, tooltip = _LOOKS[name]
            layout = ipywidgets.Layout(width=_WIDTH)
            button = ipywidgets.Button(description=description, icon=icon, tooltip=tooltip, layout=layout)
            self._listen(button, name)
            self._buttons[name] = button
        layout = ipywidgets.Layout(flex_flow="row wrap", visibility="visible" if self._reached else "hidden")
        self._row = ipywidgets.HBox([*self._buttons.values()], layout=layout)
        self._made = time.monotonic()

    def _listen(self, button: Any, name: str) -> None:
        """Have a click acted upon once, as early as the kernel can tell of it."""
        if not hasattr(button.comm, "_reply_subshell_for"):
            button.on_click(lambda _: self._act(name))
            return

        # ipykernel from 7.4 on asks the comm which shell a message is for, and would send it to the busy one. It asks
        # while a cell runs, so this is the place to act; a callback, which may come after the cell, would do it twice.
        def route(data: Any, default: str | None) -> str | None:
            if isinstance(data, dict) and data.get("content", {}).get("event") == "click":
                self._act(name)
            return default

        button.comm._reply_subshell_for = route

    def _act(self, name: str) -> None:
        run = self._run
        if name == "stop":
            run.stop()
        elif name == "snapshot":
            if not run.snapshot_wanted:
                run.snapshot(self._taken.put)
        elif run.paused:
            run.resume()
        else:
            run.pause()

    def _find_out(self) -> None:
        """A frontend that clicks through a subshell makes one as soon as it knows of the buttons."""
        if _subshells():
            self._reached = True
        elif time.monotonic() - self._made > _PATIENCE:
            self._reached = False


def clicks_arrive(blocking: bool) -> bool | None:
    """Whether a click reaches Python, while a cell runs (``blocking``); None where that depends on the frontend."""
    # Set by the Jupyter server. Where it is not, as in nbclient and papermill, nobody clicks, and what they save would
    # hold the state of the buttons.
    if "JPY_SESSION_NAME" not in os.environ or _kernel() is None:
        return False
    if not blocking:
        return True
    try:
        from ipykernel.comm import Comm
    except ImportError:  # another kernel than ipykernel
        return False
    if hasattr(Comm, "_reply_subshell_for"):
        return True
    return None if hasattr(_kernel(), "shell_channel_thread") else False


def _subshells() -> list[str]:
    thread = getattr(_kernel(), "shell_channel_thread", None)
    return list(thread.manager.list_subshell()) if thread is not None else []


def _kernel() -> Any:
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None)
