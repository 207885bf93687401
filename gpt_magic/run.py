"""A run: options and data in, a worker thread, events, a tuned model out."""

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpt_magic.engine.events import Control, Evaluated, Phase, Sampled, StopRequested
from gpt_magic.errors import GptMagicError, RunAbandoned, TrainingError, plural
from gpt_magic.options import Options
from gpt_magic.recorder import Progress, Recorder
from gpt_magic.summary import Preflight, Scores, Summary

if TYPE_CHECKING:
    from gpt_magic.engine.loop import Job, Outcome
    from gpt_magic.prepare import Prepared
    from gpt_magic.tasks.task import Completed, Row, Task
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

    Attributes:
        done: set when the worker has ended.
        preflight: what is about to happen; None until the data are checked.
        result: the tuned model, None when there is none.
        summary: the content of the final card, None when no step was made.
        error: what the cell should raise, None when all went well.
    """

    def __init__(self, options: Options, name: str | None = None, output: str | None = None) -> None:
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
            self.error = _one_line(failure, "the run failed")
        finally:
            if self._abandoned:
                self.result = None
            self.done.set()

    def _train(self) -> None:
        from gpt_magic.data.read import read_data

        options, check = self.options, self.control.check
        self.recorder(Phase("reading the data"))
        data = read_data(options, self._say)
        check()
        self.recorder(Phase("importing torch and transformers"))
        assert self._imports is not None
        self._imports.join()  # before the next import: transformers' lazy imports break when two threads race
        from gpt_magic.prepare import prepare

        prepared = prepare(options, data, self.name, self.recorder, check)
        self.preflight = prepared.preflight
        if options.dry_run:
            return
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)  # holds for this thread alone
        check()
        devices = [prepared.machine.device] if prepared.machine.device.type == "cuda" else []
        if _TRAINING.locked():
            self.recorder(Phase("waiting for another run to end"))
        with _TRAINING, torch.random.fork_rng(devices):
            torch.manual_seed(options.seed)
            self._fit(prepared)
        if devices:
            torch.cuda.empty_cache()

    def _say(self, what: str) -> None:
        self.control.check()
        self.recorder(Phase(what))

    def _fit(self, prepared: "Prepared") -> None:
        from gpt_magic.engine.loop import Job, train
        from gpt_magic.engine.packing import fits_packed, hidden_packed, hidden_padded

        began = time.perf_counter()
        base, task = prepared.base, prepared.task
        self.recorder(Phase(f"loading {base.name}"))
        model = task.load(base)
        model.to(prepared.machine.device)
        hidden = hidden_packed if fits_packed(model, prepared.train) else hidden_padded
        look = _Look(model, prepared, hidden, self.control.check)
        samples = bool(self.options.samples) and task.heeds("samples")
        before = self._look_at_base(look, samples) if task.compares_base else None
        job = Job(
            model,
            task.objective,
            prepared.train,
            prepared.settings,
            prepared.machine,
            look.evaluate if len(prepared.valid) else None,
            look.sample if samples else None,
            hidden,
            measure=task.measure,
        )
        outcome = train(job, self.recorder, self.control)
        if outcome.error is not None:
            self.error = _one_line(outcome.error, f"training failed at step {outcome.step + 1}")
        if outcome.step == 0:
            if self.error is None:
                raise StopRequested
            return
        warnings = list(prepared.preflight.warnings)
        if hidden is hidden_padded:
            warnings.append(f"packing is not exact for {model.config.model_type}, so texts were padded (slower)")
        if len(prepared.valid):
            self.recorder(Phase("looking at the validation rows once more"))
        completed = look.complete()
        warnings += completed.warnings
        others = [(f"{base.name} as it was", task_scores(task, before))] if before else []
        # The result first, so that nothing that goes wrong in the baselines can lose it.
        self._finish(job, prepared, outcome, completed, others, warnings, began)
        if self.options.baselines and outcome.metrics and not self.control.stop.is_set():
            self.recorder(Phase("fitting the baselines"))
            rows, said = task.compare(self.control.stop)
            self._finish(job, prepared, outcome, completed, [*others, *rows], [*warnings, *said], began)

    def _look_at_base(self, look: "_Look", samples: bool) -> "Mapping[str, Any] | None":
        """What the base makes of the validation rows before it has learned anything."""
        if samples:
            self.recorder(Phase("writing the first samples"))
            self.recorder(Sampled(0, look.sample()))
        if not (self.options.baselines and len(look.rows)):
            return None
        self.recorder(Phase("evaluating the base"))
        began = time.perf_counter()
        metrics = look.evaluate()
        self.recorder(Evaluated(0, 0.0, metrics, best=False, seconds=time.perf_counter() - began))
        return metrics

    def _finish(
        self,
        job: "Job",
        prepared: "Prepared",
        outcome: "Outcome",
        completed: "Completed",
        others: "Sequence[Row]",
        warnings: list[str],
        began: float,
    ) -> None:
        """Set the result and its summary; ``others`` are the baselines' rows in the table of scores."""
        from gpt_magic.tuned import KINDS

        metrics, task, scores = outcome.metrics, prepared.task, None
        if metrics:
            own = (f"{prepared.base.name} fine-tuned", task_scores(task, metrics))
            scores = Scores(list(task.scores.values()), [own, *others])
        progress = replace(self.recorder.progress(), phase=outcome.reason)
        tokens = sum(step.tokens for step in progress.steps_log)
        facts = [
            *(fact for fact in prepared.preflight.facts if fact[0] != "tokens an epoch"),
            *completed.facts,
            (
                "time",
                f"{outcome.seconds:,.1f} s of training steps ({tokens / outcome.seconds:,.0f} tokens/s), "
                f"{time.perf_counter() - began:,.1f} s with loading, evaluation and baselines",
            ),
            ("versions", versions()),
        ]
        self.summary = Summary(
            title=prepared.preflight.title,
            status=_status(outcome),
            ok=outcome.error is None,
            name=self.output,
            scores=scores,
            facts=facts,
            warnings=warnings,
            task=task.name,
        )
        self.result = KINDS[task.kind or task.name](
            **task.own(),
            model=job.model,
            tokenizer=prepared.tokenizer,
            options=self.options.plain(),
            columns=task.data.roles.columns,
            max_length=prepared.max_length,
            metrics={
                **outcome.metrics,
                **completed.metrics,
                "train_seconds": outcome.seconds,
                "steps": outcome.step,
                "kept_step": outcome.kept_step,
            },
            report=replace(prepared.preflight, warnings=warnings),
            summary=self.summary,
            progress=progress,
            hidden=job.hidden,
        )


class _Look:
    """Looks at a model while it learns; a stop ends the look between two forward passes."""

    def __init__(self, model: Any, prepared: "Prepared", hidden: Any, check: Callable[[], None]) -> None:
        self.model, self.hidden, self.check = model, hidden, check
        self.task, self.rows, self.machine = prepared.task, prepared.valid, prepared.machine

    def evaluate(self) -> "Mapping[str, Any]":
        """The task's metrics of the validation rows."""
        with self.machine.autocast():
            return self.task.evaluate(self.model, self.rows, self.hidden, self.check)

    def sample(self) -> tuple[tuple[str, str], ...]:
        """What the model writes after the prompts to watch."""
        with self.machine.autocast():
            return self.task.sample(self.model, self.check)

    def complete(self) -> "Completed":
        """What the task settles once the weights are; what goes wrong in it must not cost the model."""
        from gpt_magic.tasks.task import Completed

        try:
            with self.machine.autocast():
                return self.task.complete(self.model, self.rows, self.hidden)
        except Exception as failure:
            why = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
            return Completed(warnings=[f"not settled after training, so left as it was: {why[:300]}"])


def task_scores(task: "Task", metrics: "Mapping[str, Any]") -> list[float]:
    """A row of the table of scores."""
    return [metrics[name] for name in task.scores]


def versions() -> str:
    """The versions that a result depends on, in one line."""
    import torch
    import transformers

    import gpt_magic

    modules = (gpt_magic, torch, transformers)
    return ", ".join(f"{module.__name__} {module.__version__}" for module in modules)


def _status(outcome: "Outcome") -> str:
    steps = f"step {outcome.step:,} of {outcome.steps:,}"
    said = {
        "done": f"done: {plural(outcome.steps, 'step')}",
        "stopped": f"stopped at {steps}",
        "early_stop": f"stopped early at {steps}: no better on the validation rows for long enough",
        "failed": f"failed after {steps}",
    }[outcome.reason]
    if outcome.kept_step != outcome.step:
        said += f"; weights of step {outcome.kept_step:,}, which did best on the validation rows"
    if outcome.reason in ("stopped", "failed") and not outcome.metrics:
        said += "; not evaluated yet"
    return said


def _one_line(failure: Exception, what: str) -> GptMagicError:
    """The error that the cell raises: ours as it is, any other in one line with its cause attached."""
    # The frames of a failed step hold its tensors; a traceback does not need them.
    traceback.clear_frames(failure.__traceback__)
    if isinstance(failure, GptMagicError):
        return failure
    reason = " ".join(str(failure).split()) or "no message"
    error = TrainingError(f"{what}: {type(failure).__name__}: {reason[:300]} (--traceback shows more)")
    error.__cause__ = failure
    return error


def _import_libraries() -> None:
    import importlib

    for name in ("torch", "transformers.models.gpt2.modeling_gpt2"):
        importlib.import_module(name)
