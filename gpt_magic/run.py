"""A run: options and data in, a worker thread, events, a tuned model out."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_magic.engine.events import Control, Phase, StopRequested
from gpt_magic.errors import DataError, GptMagicError, RunAbandoned, in_one_line
from gpt_magic.options import Options
from gpt_magic.recorder import Progress, Recorder
from gpt_magic.run_folders import Place
from gpt_magic.summary import Preflight, Summary

if TYPE_CHECKING:
    from gpt_magic.keeping import Keeping
    from gpt_magic.tuned import TunedModel


# torch has one random generator for all threads: two runs at once, or the last step of an abandoned one, would
# draw from each other's numbers.
_TRAINING = threading.Lock()


class Run:
    """One fine-tuning run in a worker thread.

    The owner waits on ``done`` (never on the thread: an interrupt inside ``Thread.join`` loses it), looks at
    `progress` and `preflight`, and may call `stop`. Afterwards ``result`` holds the tuned model, also when the
    run was stopped or failed with something learned, and ``error`` what went wrong.

    Args:
        options: what to do.
        name: how the user calls the data, for the report.
        output: the name that the result will get in the notebook, for the card; None when it gets none.
        place: the folder of a run that was cut, to go on from; see `resuming.resume`.

    Attributes:
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
        self.recorder = Recorder()
        self.control = Control()
        self.done = threading.Event()
        self.preflight: Preflight | None = None
        self.result: TunedModel | None = None
        self.summary: Summary | None = None
        self.error: GptMagicError | None = None
        self._place = place
        self._cut: Path | None = None  # the folder to go on from
        self._keeping: Keeping | None = None
        self._abandoned = False
        self._worker: threading.Thread | None = None
        self._imports: threading.Thread | None = None
        self._working = threading.Lock()

    def start(self) -> None:
        """Start the worker; returns at once. A second call changes nothing, unless the first was cut short."""
        if self._worker is not None:
            return
        # While the data are read and checked, the slow imports go on beside them.
        self._imports = threading.Thread(target=_import_libraries, name="gpt_magic imports", daemon=True)
        self._imports.start()
        worker = threading.Thread(target=self._work, name="gpt_magic run", daemon=True)
        worker.start()
        self._worker = worker

    def stop(self) -> None:
        """Ask the worker to end after the step it is in."""
        if not self.control.stop.is_set():
            self.recorder(Phase("stopping after this step; interrupt again to abandon"))
        self.control.stop.set()

    def resume(self) -> "Run":
        """A new run that goes on where this one was stopped or has failed, not started yet.

        It goes on from the last checkpoint, and from the start where there was none.

        Raises:
            DataError: this run is still going on, or has ended well; or another kernel has taken it up.
        """
        if not self.done.is_set():
            raise DataError("the run is still going on: stop it first")
        if self.error is None and not self.control.stop.is_set():
            raise DataError("the run has ended: there is nothing to resume")
        place = Place(self._cut) if self._cut is not None and self._cut.exists() else None
        return Run(self.options, self.name, self.output, place)

    def abandon(self) -> None:
        """Leave the run: the worker ends when it can, its result is dropped."""
        self._abandoned = True
        self.control.stop.set()

    def progress(self) -> Progress:
        """The run as it stands now; safe from any thread."""
        return self.recorder.progress()

    def _work(self) -> None:
        if not self._working.acquire(blocking=False):
            return  # an interrupt cut `start` short after it had started a worker, and it was called again
        try:
            self._train()
        except StopRequested:
            self.error = RunAbandoned("stopped before the first step: nothing was trained")
        except Exception as failure:
            self.error = in_one_line(failure, "the run failed")
        finally:
            if self._abandoned:
                self.result = None
            self._let_go()
            self.done.set()

    def _let_go(self) -> None:
        """Hold neither the rows nor the folder any longer."""
        place = self._place if self._keeping is None else self._keeping.place
        if place is not None:
            self._cut = place.path
            place.release()
        self._keeping = None

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
        from gpt_magic.fit import Fit
        from gpt_magic.keeping import Keeping, Origin
        from gpt_magic.prepare import prepare

        prepared = prepare(options, data, self.name, self.recorder, check)
        self.preflight = prepared.preflight
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
        )
        self._keeping = Keeping(origin, self.recorder, self._place)
        del tables
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)  # holds for this thread alone
        check()
        devices = [prepared.machine.device] if prepared.machine.device.type == "cuda" else []
        if _TRAINING.locked():
            self.recorder(Phase("waiting for another run to end"))
        with _TRAINING, torch.random.fork_rng(devices):
            torch.manual_seed(options.seed)
            Fit(options, prepared, self.recorder, self.control, self._keep, self.output, self._keeping)()
        if devices:
            torch.cuda.empty_cache()

    def _keep(self, result: "TunedModel", summary: Summary) -> None:
        self.result, self.summary = result, summary

    def _say(self, what: str) -> None:
        self.control.check()
        self.recorder(Phase(what))


def _import_libraries() -> None:
    import importlib

    for name in ("torch", "transformers.models.gpt2.modeling_gpt2"):
        importlib.import_module(name)
