"""What stands for a model while its run goes on behind a finished cell."""

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from gpt_magic.errors import DataError, GptMagicError, TrainingError
from gpt_magic.recorder import Progress
from gpt_magic.run import Run, Taken

if TYPE_CHECKING:
    from gpt_magic.tuned import TunedModel

_SETTLES = 10.0  # seconds within which the painter puts a result that is there into the notebook


class BackgroundRun:
    """A run that goes on while the notebook is free; `wait` gives its model.

    Attributes:
        run: the run itself.
        settled: set once the result stands in the notebook, where it goes there.
        shown_in_cell: execution count of the cell that shows it live; None outside notebooks.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.settled = threading.Event()
        self.shown_in_cell: int | None = None

    @property
    def state(self) -> str:
        """``waiting``, ``running``, ``paused``, ``done``, ``stopped`` or ``failed``."""
        return self.run.state

    def wait(self, timeout: float | None = None) -> "TunedModel":
        """Wait for the end and return the tuned model; an interrupt ends the waiting and not the run.

        Raises:
            TimeoutError: it takes more than ``timeout`` seconds.
            GptMagicError: what the run ended with; of a `TrainingError` the ``result`` is the best model so far.
        """
        if not self.run.wait(timeout):
            raise TimeoutError(f"{self.run.id} has not ended within {timeout:g} s: {_said(self.progress())}")
        self.settled.wait(_SETTLES)
        if self.run.error is not None:
            if isinstance(self.run.error, TrainingError):
                self.run.error.result = self.run.result
            raise self.run.error
        assert self.run.result is not None
        return self.run.result

    def stop(self) -> None:
        """End after the step in work; `wait` then gives the best weights so far."""
        self.run.stop()

    def pause(self) -> None:
        """Rest after the step in work, until `resume`; the memory stays in use."""
        self.run.pause()

    def resume(self) -> None:
        """Go on after `pause`.

        Raises:
            DataError: the run has ended.
        """
        if self.run.done.is_set():
            raise DataError(f"the run has ended ({self.state}): gpt_magic.resume() goes on with one that was cut")
        self.run.resume()

    def snapshot(self, timeout: float | None = None) -> "TunedModel":
        """The best weights so far as a tuned model of its own; the training goes on.

        Raises:
            TimeoutError: there was none within ``timeout`` seconds.
            GptMagicError: why there is none.
        """
        handed: SimpleQueue[Taken] = SimpleQueue()
        self.run.snapshot(handed.put)
        try:
            taken = handed.get(timeout=timeout)
        except Empty:
            said = f"no snapshot of {self.run.id} within {timeout:g} s: {_said(self.progress())}"
            raise TimeoutError(said) from None
        if isinstance(taken, GptMagicError):
            raise taken
        return taken

    def progress(self) -> Progress:
        """The run as it stands now."""
        return self.run.progress()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        known = self.run.output
        how = f"{known}.wait() gives its model" if known else "its wait() gives its model"
        raise AttributeError(f"{known or self.run.id} is a run in the background ({self.state}): {how}")

    def __repr__(self) -> str:
        said = str(self.run.error) if self.run.error is not None else _said(self.progress())
        return f"<BackgroundRun {self.run.id}, {self.state}: {said}>"

    def _repr_html_(self) -> str | None:
        from gpt_magic.notebook.cards import card_html, error_html
        from gpt_magic.notebook.live import current_cell
        from gpt_magic.notebook.status import progress_html

        if self.shown_in_cell is not None and self.shown_in_cell == current_cell():
            return None
        if self.run.summary is not None and self.run.done.is_set():
            return card_html(self.run.summary)
        if self.run.error is not None:
            return error_html(self.run.error)
        return progress_html(self.progress(), f"%finetune --show {self.run.id} shows it live")


def _said(progress: Progress) -> str:
    of = f" of {progress.steps:,}" if progress.steps else ""  # an open end has none
    steps = f", step {progress.step:,}{of}" if progress.steps or progress.step else ""
    left = f", {progress.left:,.0f} s left" if progress.left is not None else ""
    return f"{progress.phase}{steps}{left}"
