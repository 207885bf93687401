"""A run: options and data in, a worker thread, events, a tuned model out."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Union

from gpt_magic import runs
from gpt_magic.engine.events import Control, Phase, StopRequested
from gpt_magic.engine.threads import release_threads
from gpt_magic.errors import DataError, GptMagicError, RunAbandoned, in_one_line
from gpt_magic.options import Options
from gpt_magic.recorder import Progress, Recorder
from gpt_magic.run_folders import Place
from gpt_magic.summary import Preflight, Summary

if TYPE_CHECKING:
    import torch

    from gpt_magic.keeping import Keeping
    from gpt_magic.tuned import TunedModel

Taken = Union["TunedModel", GptMagicError]  # a snapshot, or why there is none
_PIECE = 0.2  # seconds of waiting
_IMPORTING = threading.Lock()  # transformers' lazy imports break when two threads race


class Run:
    """One fine-tuning run in a worker thread.

    The owner waits on ``done`` or with `wait` (never on the thread: an interrupt inside ``Thread.join`` loses it),
    looks at `progress`, `state` and `preflight`, and may call `stop`, `pause`, `resume` and `snapshot`, from any thread
    and as often as it likes. Afterwards ``result`` holds the tuned model, also when the run was stopped or failed with
    something learned, and ``error`` what went wrong.

    Args:
        options: what to do.
        name: how the user calls the data, for the report.
        output: the name that the result will get in the notebook, for the card; None when it gets none.
        place: the folder of a run that was cut, to go on from; see `resuming.resume`.

    Attributes:
        id: the run's name in `gpt_magic.runs`, unique among those that are live; there once it was started.
        started: when; None before.
        done: set when the worker has ended.
        preflight: what is about to happen; None until the data are checked.
        result: the tuned model, None when there is none.
        summary: the content of the final card, None when no step was made.
        error: what the cell should raise, None when all went well.
    """

    def __init__(
        self, options: Options, name: str | None = None, output: str | None = None, place: Place | None = None
    ) -> None:
        self.options = options
        self.name = name
        self.output = output
        self.id = output or ""
        self.started: datetime | None = None
        self.control = Control()
        self.recorder = Recorder(self.control.clock)
        self.done = threading.Event()
        self.preflight: Preflight | None = None
        self.result: TunedModel | None = None
        self.summary: Summary | None = None
        self.error: GptMagicError | None = None
        self._place = place
        self._cut: Path | None = None  # the folder to go on from
        self._keeping: Keeping | None = None
        self._device: torch.device | None = None
        self._waits_for: Run | None = None
        self._takers: list[Callable[[Taken], None]] = []  # who waits for a snapshot
        self._ends: list[Callable[[], None]] = []  # what is to be called at the end
        self._lists = threading.Lock()
        self._worker: threading.Thread | None = None
        self._imports: threading.Thread | None = None
        self._working = threading.Lock()

    def start(self) -> None:
        """Start the worker; returns at once. A second call changes nothing, unless the first was cut short."""
        if self._worker is not None:
            return
        # While the data are read and checked, the slow imports go on beside them.
        self._imports = threading.Thread(target=import_libraries, name="gpt_magic imports", daemon=True)
        self._imports.start()
        worker = threading.Thread(target=self._work, name="gpt_magic run", daemon=True)
        if self.started is None:
            self.started = datetime.now().astimezone()
            if not self.options.dry_run:
                self.id = runs.add(self, self.output)
        release_threads()
        worker.start()
        self._worker = worker

    @property
    def state(self) -> str:
        """``waiting`` (not begun, or for its turn), ``running``, ``paused``, ``done``, ``stopped`` or ``failed``."""
        if self.done.is_set():
            if isinstance(self.error, RunAbandoned):
                return "stopped"
            reason = self.result.progress.phase if self.result is not None else "done"
            return "failed" if self.error is not None else "stopped" if reason == "stopped" else "done"
        if self.paused:
            return "paused"
        return "running" if self.started is not None and self._waits_for is None else "waiting"

    @property
    def paused(self) -> bool:
        """Whether a pause was asked for and is not over; the worker may still be in its step."""
        return self.control.paused.is_set() and not self.control.stop.is_set() and not self.done.is_set()

    def pause(self) -> None:
        """Ask the worker to rest after the step or forward pass that it is in; its memory stays as it is."""
        self.control.paused.set()

    def stop(self, said: str = "stopping after this step") -> None:
        """Ask the worker to end after the step it is in; a paused one ends at once."""
        if not self.control.stop.is_set():
            self.recorder(Phase(said))
        self.control.stop.set()

    def resume(self) -> "Run":
        """Let a paused run go on, as if it had never rested; of one that was stopped or has failed, make its successor.

        Returns:
            This run while it is live; else a new one, not started yet, that goes on from the last checkpoint, and from
            the start where there was none.

        Raises:
            DataError: this run has ended well, or another kernel has taken it up.
        """
        self.control.paused.clear()
        if not self.done.is_set():
            return self
        if self.state == "done":  # also where a stop came too late to end anything
            raise DataError("the run has ended: there is nothing to resume")
        place = Place(self._cut) if self._cut is not None and self._cut.exists() else None
        return Run(self.options, self.name, self.output, place)

    def abandon(self) -> None:
        """Leave the run: the worker ends when it can, its result is dropped; what it has learned can be resumed."""
        self.control.left.set()
        self.control.stop.set()

    def snapshot(self, take: Callable[[Taken], None]) -> None:
        """Ask for the best weights so far as a tuned model of its own, while the training goes on.

        Args:
            take: called once, in the worker's thread, after the step in work (the first, when none was made yet), also
                while the run is paused between two steps; inside an evaluation after it. It is given the model, or the
                error that says why there is none. Of a run that has ended it is given the result, at once.
        """
        with self._lists:
            if not self.done.is_set():
                if not self._takers:  # else one is being made
                    self.control.wanted.set()
                self._takers.append(take)
                return
        take(self._ended())

    @property
    def snapshot_wanted(self) -> bool:
        """Whether a snapshot was asked for that is not there yet."""
        return bool(self._takers)

    def on_end(self, call: Callable[[], None]) -> None:
        """Have ``call`` called once ``done`` is set, in the worker's thread; at once when it is set already."""
        with self._lists:
            if not self.done.is_set():
                self._ends.append(call)
                return
        call()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run has ended, at most ``timeout`` seconds; returns whether it has."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        # In pieces: Python sees an interrupt that comes right before it waits for a lock only when that wait is over.
        while not (over := self.done.wait(max(min(_PIECE, end - time.monotonic()), 0))) and time.monotonic() < end:
            pass
        return over

    def progress(self) -> Progress:
        """The run as it stands now; safe from any thread."""
        now = self.recorder.progress()
        if not self.paused:
            return now
        return replace(now, phase="paused" if self.control.resting else "pausing")

    def _work(self) -> None:
        if not self._working.acquire(blocking=False):
            return  # an interrupt cut `start` short after it had started a worker, and it was called again
        try:
            self._train()
        except StopRequested:
            left = self.control.left.is_set()
            self.error = RunAbandoned("left" if left else "stopped before the first step: nothing was trained")
        except Exception as failure:
            self.error = in_one_line(failure, "the run failed")
        finally:
            if self.control.left.is_set():
                self.result, self.error = None, self.error or RunAbandoned("left")
            self._let_go()
            with self._lists:
                self.done.set()
                takers, ends = self._takers, self._ends
                self._takers, self._ends = [], []
            runs.end(self)
            for take in takers:
                take(self._ended())
            for call in ends:
                call()

    def _let_go(self) -> None:
        """Hold neither the rows nor the folder any longer, nor what a GPU keeps for later."""
        place = self._place if self._keeping is None else self._keeping.place
        if place is not None:
            self._cut = place.path
            place.release()
        self._keeping = None
        if self._device is not None and self._device.type != "cpu":  # whose heap `kept_heap` gives back
            from gpt_magic.engine.memory import let_go

            with suppress(RuntimeError):  # a GPU that failed fails at this too
                let_go(self._device)

    def _train(self) -> None:
        from gpt_magic.data.read import check_tables, read_tables

        options, check = self.options, self.control.check
        self.recorder(Phase("reading the data"))
        tables = read_tables(options, self._say)
        data = check_tables(options, tables, self._say)
        check()
        self.recorder(Phase("importing torch and transformers"))
        assert self._imports is not None
        self._imports.join()  # before the next import: transformers' lazy imports break when two threads race
        from gpt_magic.engine.heap import kept_heap
        from gpt_magic.fit import Fit
        from gpt_magic.keeping import Keeping, Origin
        from gpt_magic.prepare import prepare

        prepared = prepare(options, data, self.name, self.recorder, check)
        self.preflight, self._device = prepared.preflight, prepared.machine.device
        if options.dry_run:
            return
        origin = Origin(
            name=self.output or self.name or data.task,
            title=prepared.preflight.title,
            data_name=self.name,
            output=self.output,
            options=options,
            columns=data.roles.columns,
            task=data.task,
            classes=repr(getattr(data, "classes", "")),
            tables={
                name: table for name, table in tables.items() if not isinstance(getattr(options, name), str | Path)
            },
            train=prepared.train,
            valid=prepared.valid,
            keeps=prepared.learner.keeps,
        )
        self._keeping = Keeping(origin, self.recorder, self._place)
        del tables
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)  # holds for this thread alone
        check()
        devices = [prepared.machine.device] if prepared.machine.device.type == "cuda" else []
        # torch has one random generator for all threads: two runs at once, or the last step of an abandoned one, would
        # draw from each other's numbers.
        with runs.turn(self, self._wait_for), torch.random.fork_rng(devices), kept_heap():
            self._waits_for = None
            torch.manual_seed(options.seed)
            Fit(
                options, prepared, self.recorder, self.control, self._keep, self._hand_out, self.output, self._keeping
            )()

    def _keep(self, result: "TunedModel") -> None:
        self.result, self.summary = result, result.summary

    def _hand_out(self, taken: Taken) -> None:
        with self._lists:
            takers, self._takers = self._takers, []
        for take in takers:
            take(taken)

    def _ended(self) -> Taken:
        """What there is to take of a run that has ended."""
        if self.result is not None:
            return self.result
        return self.error or RunAbandoned("the run has ended without a result")

    def _wait_for(self, other: "Run") -> None:
        self.control.check()
        self._waits_for = other
        said = f"waiting for {other.id} to end" + (", which is paused" if other.paused else "")
        if self.recorder.progress().phase != said:
            self.recorder(Phase(said))

    def _say(self, what: str) -> None:
        self.control.check()
        self.recorder(Phase(what))


def import_libraries() -> None:
    """Import torch and transformers; of several threads one does it, and the others wait for it."""
    import importlib

    with _IMPORTING:
        for name in ("torch", "transformers.models.gpt2.modeling_gpt2"):
            importlib.import_module(name)
