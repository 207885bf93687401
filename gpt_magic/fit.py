"""Prepared rows to a tuned model and its card: what a run's worker does once everything is settled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.events import Control, Emit, Evaluated, Phase, Sampled, StopRequested
from gpt_magic.engine.job import Hidden, Job, Passes, Settings
from gpt_magic.engine.loop import Outcome, train
from gpt_magic.engine.pace import settle_rows_at_once
from gpt_magic.engine.packing import fits_packed, hidden_packed, hidden_padded
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.splitting import told_of_splits
from gpt_magic.engine.trials import try_rates
from gpt_magic.engine.trunk import hidden_from, keep_states
from gpt_magic.errors import DataError, GptMagicError, in_one_line, plural
from gpt_magic.keeping import Keeping, checkpoint_bytes, versions
from gpt_magic.options import Options
from gpt_magic.prepare import Prepared
from gpt_magic.recorder import Recorder
from gpt_magic.summary import Scores, Summary
from gpt_magic.tasks.task import Completed, Row, Task

if TYPE_CHECKING:
    from gpt_magic.tuned import TunedModel


@dataclass
class Fit:
    """One run's training, evaluation and result.

    Attributes:
        options: the run's.
        prepared: its rows and plan.
        recorder: told of all that happens.
        control: what the run's owner asks for.
        keep: given the result and its card as soon as there is one, and again when the baselines stand beside it.
        hand_out: given a snapshot, or the error instead, when one is wanted.
        output: the name that the result will get in the notebook; None when it gets none.
        keeping: keeps the run while it goes on; None keeps nothing.
    """

    options: Options
    prepared: Prepared
    recorder: Recorder
    control: Control
    keep: Callable[["TunedModel"], None]
    hand_out: Callable[["TunedModel | GptMagicError"], None]
    output: str | None = None
    keeping: Keeping | None = None
    _began: float = field(init=False, default=0.0)
    _hidden: Hidden = field(init=False, default=hidden_packed)  # of the result

    def __call__(self) -> None:
        """Train and hand the result to ``keep``.

        Raises:
            StopRequested: stopped before the first step.
            GptMagicError: the training failed; what was learned before was kept.
        """
        self._began = self.control.clock()
        prepared, options = self.prepared, self.options
        base, task = prepared.base, prepared.task
        self.recorder(Phase(f"loading {base.name}"))
        model = task.load(base)
        model.to(prepared.machine.device)
        hidden = hidden_packed if fits_packed(model, prepared.train) else hidden_padded
        self._hidden = hidden
        frozen = prepared.learner.begin(model)
        read, machine = self._read(model, hidden), prepared.machine
        look = _Look(
            model, task, prepared.tokenizer, read.valid, machine, read.valid_hidden, self.control.check, self.recorder
        )
        samples = bool(options.samples) and task.heeds("samples")
        goes_on, spent = self._take_up(model)
        self._began -= spent
        before = self._look_at_base(look, samples, goes_on) if task.compares_base else None
        others = [(f"{base.name} as it was", task_scores(task, before))] if before else []
        warnings = [*prepared.preflight.warnings, *read.warnings]
        if hidden is hidden_padded:
            warnings.append(f"packing is not exact for {model.config.model_type}, so texts were padded (slower)")
        job = Job(
            model,
            task.objective,
            read.train,
            prepared.settings,
            prepared.machine,
            look.evaluate if len(prepared.valid) else None,
            look.sample if samples else None,
            read.hidden,
            checkpoints=self.keeping,
            measure=task.measure,
            snapshot=lambda make, outcome: self._hand_out(make, outcome, look, others, warnings),
            frozen=frozen,
        )
        chosen = self._settle_rows(job)
        job.settings = self._settled(job)
        outcome = train(job, self.recorder, self.control)
        error = None
        if outcome.error is not None:
            error = in_one_line(outcome.error, f"training failed at step {outcome.step + 1}")
        if outcome.step == 0:
            raise error or StopRequested
        if self.control.left.is_set():
            raise StopRequested
        prepared.learner.end(model)
        looked = self.recorder.progress().evaluations
        evaluated = bool(looked) and looked[-1].step == outcome.step == outcome.kept_step
        if len(prepared.valid) and not evaluated:
            self.recorder(Phase("looking at the validation rows once more"))
        completed = look.complete(evaluated=evaluated)
        completed = replace(completed, facts=[*chosen, *completed.facts])
        # The result first, so that nothing that goes wrong in the baselines can lose it.
        self.keep(self._result(look, outcome, completed, others, warnings))
        if options.baselines and outcome.metrics and not self.control.stop.is_set():
            self.recorder(Phase("fitting the baselines"))
            compared, said = task.compare(self.control.stop)
            self.keep(self._result(look, outcome, completed, [*others, *compared], [*warnings, *said]))
        self._keep_no_longer(outcome)
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

            with _reading(prepared.machine, model, self.recorder):
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

    def _take_up(self, model: Any) -> tuple[bool, float]:
        """Whether the run goes on from where it was cut, and the seconds that it had taken until then."""
        if self.keeping is None:
            return False, 0.0
        self.keeping.size = checkpoint_bytes(model)
        started = self.recorder.started
        return self.keeping.restore_log(), started - self.recorder.started

    def _settled(self, job: Job) -> Settings:
        """The run's numbers, with the learning rate that does best in trials where that was asked for."""
        prepared = self.prepared
        if prepared.trials is not None:
            tried = self.recorder.progress().tried  # before the run was cut
            if tried is None:
                tried = try_rates(job, prepared.trials, self.recorder, self.control)
                self.recorder(tried)
            prepared.settle_rate(tried)
        return prepared.settings

    def _settle_rows(self, job: Job) -> list[tuple[str, str]]:
        """How ``batch_size = "auto"`` cuts the steps, for the report; nothing otherwise."""
        if self.options.batch_size != "auto":
            return []
        if self.keeping is not None and self.keeping.passes:
            job.passes, why = Passes(**self.keeping.passes), "as before it was cut"
        else:
            self.recorder(Phase("measuring how many rows at a time are fastest"))
            why = settle_rows_at_once(job, self.control.check)
        rows, at_once = job.settings.rows_per_step, job.passes.rows
        said = f"auto: {plural(rows, 'row')} a step, at most {at_once} at a time ({why})"
        if rows % at_once == 0:
            said += f"; batch_size = {at_once}, accumulate = {rows // at_once} makes the same run"
        return [("batch", said)]

    def _look_at_base(self, look: "_Look", samples: bool, goes_on: bool) -> Mapping[str, Any] | None:
        """What the base makes of the validation rows before it has learned anything."""
        if goes_on:
            return next((e.metrics for e in self.recorder.progress().evaluations if e.step == 0), None)
        if samples:
            self.recorder(Phase("writing the first samples"))
            self.recorder(Sampled(0, look.sample()))
        if not (self.options.baselines and len(look.rows)):
            return None
        self.recorder(Phase("evaluating the base"))
        began = self.control.clock()
        metrics = look.evaluate()
        self.recorder(Evaluated(0, 0.0, metrics, best=False, seconds=self.control.clock() - began))
        return metrics

    def _hand_out(
        self,
        make: Callable[[], Any],
        outcome: Outcome,
        look: "_Look",
        others: Sequence[Row],
        warnings: Sequence[str],
    ) -> None:
        """Hand out a tuned model that shares nothing with the one in training; what goes wrong must not end the run."""
        doing = self.recorder.progress().phase
        self.recorder(Phase("taking a snapshot"))
        try:
            other = replace(look, model=make(), task=copy(look.task), tokenizer=deepcopy(look.tokenizer))
            self.prepared.learner.end(other.model)
            self.hand_out(self._result(other, outcome, other.complete(), others, warnings))
        except Exception as failure:
            self.hand_out(in_one_line(failure, "no snapshot"))
        self.recorder(Phase(doing))

    def _result(
        self, look: "_Look", outcome: Outcome, completed: Completed, others: Sequence[Row], warnings: Sequence[str]
    ) -> "TunedModel":
        """The tuned model; ``others`` are the baselines' rows in the table of scores."""
        from gpt_magic.tuned import KINDS

        prepared = self.prepared
        metrics, task, scores = outcome.metrics, look.task, None
        warnings = [*warnings, *self.recorder.progress().warnings, *completed.warnings]
        if metrics:
            own = (f"{prepared.base.name} fine-tuned", task_scores(task, metrics))
            scores = Scores(list(task.scores.values()), [own, *others])
        progress = replace(self.recorder.progress(), phase=outcome.reason)
        tokens = sum(step.tokens for step in progress.steps_log)
        facts = [
            *(fact for fact in prepared.preflight.facts if fact[0] != "tokens an epoch"),
            *completed.facts,
            *self._kept_facts(outcome),
            *([("steps", outcome.how)] if outcome.how else []),
            (
                "time",
                f"{outcome.seconds:,.1f} s of training steps ({tokens / outcome.seconds:,.0f} tokens/s), "
                f"{self.control.clock() - self._began:,.1f} s with loading, evaluation and baselines",
            ),
            ("versions", versions()),
        ]
        summary = Summary(
            title=prepared.preflight.title,
            status=_status(outcome, prepared.settings),
            ok=outcome.error is None,
            name=self.output,
            scores=scores,
            facts=facts,
            warnings=warnings,
            task=task.name,
        )
        return KINDS[task.kind or task.name](
            **task.own(),
            model=look.model,
            tokenizer=look.tokenizer,
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
            hidden=self._hidden,
        )

    def _keep_no_longer(self, outcome: Outcome) -> None:
        """Leave nothing on the disk of a run that has ended well.

        Raises:
            StopRequested: nobody waits for its result any longer; what it has learned can still be resumed.
        """
        if self.control.left.is_set():
            raise StopRequested
        if self.keeping is not None and outcome.reason in ("done", "early_stop"):
            self.keeping.end()

    def _kept_facts(self, outcome: Outcome) -> list[tuple[str, str]]:
        """Where the run was taken up, and how it can be taken up again."""
        if self.keeping is None:
            return []
        said = self.keeping.said() if outcome.reason in ("stopped", "failed") else ""
        return [fact for fact in (("resumed", self.keeping.resumed), ("to go on", said)) if fact[1]]


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


@dataclass(frozen=True)
class _Look:
    """Looks at a model while it learns; a stop ends the look between two forward passes, a pause stays it there."""

    model: Any
    task: Task
    tokenizer: Any
    rows: Encoded
    machine: Machine
    hidden: Hidden
    check: Callable[[], None]
    emit: Emit

    def evaluate(self) -> Mapping[str, Any]:
        """The task's metrics of the validation rows."""
        with _reading(self.machine, self.model, self.emit):
            return self.task.evaluate(self.model, self.rows, self.hidden, self.check)

    def sample(self) -> tuple[tuple[str, str], ...]:
        """What the model writes after the prompts to watch."""
        return self.task.sample(self.model, self.check)  # in fp32, as the result will write

    def complete(self, *, evaluated: bool = False) -> Completed:
        """What the task settles once the weights are; what goes wrong in it must not cost the model."""
        try:
            with _reading(self.machine, self.model, self.emit):
                return self.task.complete(self.model, self.rows, self.hidden, evaluated=evaluated)
        except Exception as failure:
            why = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
            return Completed(warnings=[f"not settled after training, so left as it was: {why[:300]}"])


@contextmanager
def _reading(machine: Machine, model: Any, emit: Emit) -> Iterator[None]:
    """Passes that nothing is learned from, which are told of where memory runs out."""
    with machine.autocast(training=False), told_of_splits(model, emit):
        yield


def task_scores(task: Task, metrics: Mapping[str, Any]) -> list[float]:
    """A row of the table of scores."""
    return [metrics[name] for name in task.scores]


def _status(outcome: Outcome, settings: Settings) -> str:
    """How the run ended, for the card."""
    at_the_bound = outcome.reason == "done" and settings.open_end and outcome.step == settings.steps
    steps = f"step {outcome.step:,}" + (f" of {outcome.steps:,}" if outcome.steps else "")
    said = {
        "snapshot": f"snapshot at {steps}",
        "done": f"done: {plural(outcome.step, 'step')}",
        "stopped": f"stopped at {steps}",
        "early_stop": f"stopped early at {steps}: no better on the validation rows for long enough",
        "failed": f"failed after {steps}",
    }[outcome.reason]
    if at_the_bound:
        said += ", as many as epochs = 'auto' makes at most; more epochs may still do better"
    if outcome.kept_step != outcome.step:
        said += f"; weights of step {outcome.kept_step:,}, which did best on the validation rows"
    if outcome.reason in ("stopped", "failed", "snapshot") and not outcome.metrics:
        said += "; not evaluated yet"
    return said
