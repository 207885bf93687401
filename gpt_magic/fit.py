"""Prepared rows to a tuned model and its card: what a run's worker does once everything is settled."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.events import Control, Evaluated, Phase, Sampled, StopRequested
from gpt_magic.engine.job import Hidden, Job
from gpt_magic.engine.loop import Outcome, train
from gpt_magic.engine.packing import fits_packed, hidden_packed, hidden_padded
from gpt_magic.engine.trunk import hidden_from, keep_states
from gpt_magic.errors import DataError, in_one_line, plural
from gpt_magic.options import Options
from gpt_magic.prepare import Prepared
from gpt_magic.recorder import Recorder
from gpt_magic.summary import Scores, Summary
from gpt_magic.tasks.task import Completed, Row, Task

if TYPE_CHECKING:
    from gpt_magic.tuned import TunedModel

Keep = Callable[["TunedModel", Summary], None]


@dataclass
class Fit:
    """One run's training, evaluation and result.

    Attributes:
        options: the run's.
        prepared: its rows and plan.
        recorder: told of all that happens.
        control: what the run's owner asks for.
        keep: given the result and its card as soon as there is one, and again when the baselines stand beside it.
        output: the name that the result will get in the notebook; None when it gets none.
    """

    options: Options
    prepared: Prepared
    recorder: Recorder
    control: Control
    keep: Keep
    output: str | None = None

    def __call__(self) -> None:
        """Train and hand the result to ``keep``.

        Raises:
            StopRequested: stopped before the first step.
            GptMagicError: the training failed; what was learned before was kept.
        """
        began = time.perf_counter()
        prepared, options = self.prepared, self.options
        base, task = prepared.base, prepared.task
        self.recorder(Phase(f"loading {base.name}"))
        model = task.load(base)
        model.to(prepared.machine.device)
        hidden = hidden_packed if fits_packed(model, prepared.train) else hidden_padded
        frozen = prepared.learner.begin(model)
        read = self._read(model, hidden)
        look = _Look(model, prepared, read, self.control.check)
        samples = bool(options.samples) and task.heeds("samples")
        before = self._look_at_base(look, samples) if task.compares_base else None
        job = Job(
            model,
            task.objective,
            read.train,
            prepared.settings,
            prepared.machine,
            look.evaluate if len(prepared.valid) else None,
            look.sample if samples else None,
            read.hidden,
            measure=task.measure,
            frozen=frozen,
        )
        outcome = train(job, self.recorder, self.control)
        error = None
        if outcome.error is not None:
            error = in_one_line(outcome.error, f"training failed at step {outcome.step + 1}")
        if outcome.step == 0:
            raise error or StopRequested
        prepared.learner.end(model)
        warnings = [*prepared.preflight.warnings, *read.warnings]
        if hidden is hidden_padded:
            warnings.append(f"packing is not exact for {model.config.model_type}, so texts were padded (slower)")
        if len(prepared.valid):
            self.recorder(Phase("looking at the validation rows once more"))
        completed = look.complete()
        warnings += completed.warnings
        others = [(f"{base.name} as it was", task_scores(task, before))] if before else []
        # The result first, so that nothing that goes wrong in the baselines can lose it.
        self._finish(model, hidden, outcome, completed, others, warnings, began)
        if options.baselines and outcome.metrics and not self.control.stop.is_set():
            self.recorder(Phase("fitting the baselines"))
            rows, said = task.compare(self.control.stop)
            self._finish(model, hidden, outcome, completed, [*others, *rows], [*warnings, *said], began)
        if error is not None:
            raise error

    def _read(self, model: Any, hidden: Hidden) -> "_Read":
        """How rows are read: as tokens, or as what the frozen trunk made of them, where that is kept."""
        prepared, blocks = self.prepared, self.prepared.learner.part.blocks
        read = _Read(prepared.train, hidden, prepared.valid, hidden)
        if not prepared.learner.keeps:
            return read
        total = len(prepared.train) + (len(prepared.valid) if prepared.task.reads_hidden else 0)
        done = 0

        def keep(rows: Encoded) -> Encoded:
            nonlocal done
            before = done

            def told(some: int) -> None:
                nonlocal done
                done = before + some
                self.recorder(Phase(f"reading the rows with the frozen blocks, {done:,} of {total:,}"))

            with prepared.machine.autocast():
                return keep_states(model, rows, blocks, self.control.check, told)

        onward = partial(hidden_from, blocks=blocks)
        try:
            train = keep(prepared.train)
            if not prepared.task.reads_hidden or not len(prepared.valid):
                return replace(read, train=train, hidden=onward)
            return _Read(train, onward, keep(prepared.valid), onward)
        except DataError as error:
            why = f"what the frozen blocks make of the rows was not kept, so they compute it each time: {error}"
            return replace(read, warnings=[why])

    def _look_at_base(self, look: "_Look", samples: bool) -> Mapping[str, Any] | None:
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
        model: Any,
        hidden: Hidden,
        outcome: Outcome,
        completed: Completed,
        others: Sequence[Row],
        warnings: list[str],
        began: float,
    ) -> None:
        """Hand over the result and its summary; ``others`` are the baselines' rows in the table of scores."""
        from gpt_magic.tuned import KINDS

        prepared = self.prepared
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
        summary = Summary(
            title=prepared.preflight.title,
            status=_status(outcome),
            ok=outcome.error is None,
            name=self.output,
            scores=scores,
            facts=facts,
            warnings=warnings,
            task=task.name,
        )
        result = KINDS[task.kind or task.name](
            **task.own(),
            model=model,
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
            summary=summary,
            progress=progress,
            hidden=hidden,
        )
        self.keep(result, summary)


@dataclass(frozen=True)
class _Read:
    """Rows and how they are read.

    Attributes:
        train, hidden: those to learn from.
        valid, valid_hidden: those to validate on.
        warnings: one sentence each.
    """

    train: Encoded
    hidden: Hidden
    valid: Encoded
    valid_hidden: Hidden
    warnings: Sequence[str] = ()


class _Look:
    """Looks at a model while it learns; a stop ends the look between two forward passes."""

    def __init__(self, model: Any, prepared: Prepared, read: _Read, check: Callable[[], None]) -> None:
        self.model, self.hidden, self.check = model, read.valid_hidden, check
        self.task, self.rows, self.machine = prepared.task, read.valid, prepared.machine

    def evaluate(self) -> Mapping[str, Any]:
        """The task's metrics of the validation rows."""
        with self.machine.autocast():
            return self.task.evaluate(self.model, self.rows, self.hidden, self.check)

    def sample(self) -> tuple[tuple[str, str], ...]:
        """What the model writes after the prompts to watch."""
        with self.machine.autocast():
            return self.task.sample(self.model, self.check)

    def complete(self) -> Completed:
        """What the task settles once the weights are; what goes wrong in it must not cost the model."""
        try:
            with self.machine.autocast():
                return self.task.complete(self.model, self.rows, self.hidden)
        except Exception as failure:
            why = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
            return Completed(warnings=[f"not settled after training, so left as it was: {why[:300]}"])


def task_scores(task: Task, metrics: Mapping[str, Any]) -> list[float]:
    """A row of the table of scores."""
    return [metrics[name] for name in task.scores]


def versions() -> str:
    """The versions that a result depends on, in one line."""
    import torch
    import transformers

    import gpt_magic

    modules = (gpt_magic, torch, transformers)
    return ", ".join(f"{module.__name__} {module.__version__}" for module in modules)


def _status(outcome: Outcome) -> str:
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
