"""Checked examples to everything that a run needs: tokens, the plan, and the pre-flight that says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpt_magic.data.read import Data
from gpt_magic.data.sources import describe
from gpt_magic.engine.batching import Encoded, steps_per_epoch
from gpt_magic.engine.events import Emit, Phase, Tried
from gpt_magic.engine.job import Settings
from gpt_magic.engine.precision import Machine, choose_machine
from gpt_magic.engine.schedule import USUAL_EPOCHS, default_learning_rate, warmup_steps
from gpt_magic.engine.trials import LEAST_ROWS, LEAST_RUN, TrialPlan, plan_trials
from gpt_magic.errors import OptionError, plural
from gpt_magic.models.find import Base, find_base
from gpt_magic.models.load import context_length, count_parameters
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.options import Options, find, table
from gpt_magic.room import plan_room
from gpt_magic.store import folder, said_bytes
from gpt_magic.summary import Preflight
from gpt_magic.tasks.task import Rows, Task, make_task
from gpt_magic.trained import Learner, idle, plan_learner, settle_learner, skeleton

_MOST_EPOCHS = 30  # where the end is open
_PATIENCE = 2  # epochs, likewise
_RATE = "learning rate"  # the fact that the trials settle


@dataclass
class Prepared:
    """All that training needs; `run.Run` loads the weights and starts.

    Attributes:
        trials: what finds the learning rate, where it is still to be found.
    """

    base: Base
    tokenizer: Any
    task: Task
    train: Encoded
    valid: Encoded
    settings: Settings
    machine: Machine
    max_length: int
    preflight: Preflight
    learner: Learner
    trials: TrialPlan | None = None

    def settle_rate(self, tried: Tried) -> None:
        """Take the rate that did best."""
        self.settings = replace(self.settings, learning_rate=tried.chosen)
        said = _rate_fact(self.settings, len(self.train), tried.why)
        facts = [(name, said if name == _RATE else value) for name, value in self.preflight.facts]
        self.preflight = replace(self.preflight, facts=facts)


def encode(
    options: Options, data: Data, tokenizer: Any, limit: int, emit: Emit, check: Callable[[], None]
) -> tuple[Task, Rows]:
    """The task that the data are for, and its rows as tokens."""
    task = make_task(options, data)
    task.emit = emit
    return task, task.encode(tokenizer, limit, check)


def prepare(
    options: Options,
    data: Data,
    name: str | None,
    emit: Emit,
    check: Callable[[], None],
    encoding: Callable[..., tuple[Task, Rows]] = encode,
) -> Prepared:
    """Find the base model, tokenise and plan.

    Args:
        data: checked examples, see `read_data`.
        name: how the user calls the data, for the report; None when unknown.
        check: called between the parts; may raise to end the work.
        encoding: makes the tokens, or finds those of an earlier call; see `encode`.

    Raises:
        DataError, ModelError, OptionError: with one line that says what to change.
    """
    machine = choose_machine(options.device, options.precision)
    emit(Phase("looking for the base model"))
    base = find_base(options.base, lambda what: emit(Phase(what)), weights=not options.dry_run)
    learner = settle_learner(options, base)
    check()
    emit(Phase("reading the tokenizer"))
    tokenizer = load_tokenizer(base)
    limit = longest(options, base)
    emit(Phase("making tokens"))
    task, rows = encoding(options, data, tokenizer, limit, emit, check)
    foreseen = task.foresee(context_length(base))
    rate, rate_why, trials, warnings = options.learning_rate, "given", None, []
    if rate is None or rate == "auto":
        rate, rate_why = default_learning_rate(count_parameters(base), base.pretrained, learner.part)
    settings = settle(options, len(rows.train), float(rate))
    repeated = settings.steps > steps_per_epoch(len(rows.train), settings.rows_per_step)
    learner, learner_facts = plan_learner(learner, skeleton(task, base), rows.train, rows.valid, repeated)
    if options.learning_rate == "auto":
        trials = plan_trials(settings, len(rows.train))
        if trials is not None:
            rate_why = trials.said(settings)
        else:
            warnings = [
                f"learning_rate = 'auto' needs {LEAST_ROWS} training rows and a run of {LEAST_RUN} steps: the default "
                "is used"
            ]
    emit(Phase("counting memory"))
    auto = options.batch_size == "auto"
    room = plan_room(task, base, learner, rows, settings, machine, auto=auto, trials=trials is not None)
    settings = room.settings
    preflight = Preflight(
        title=f"{task.name} · {base.name} · {name or describe(options.data)}",
        facts=[
            *_data_facts(data),
            *rows.facts,
            *_cache_facts([rows.train, rows.valid]),
            *learner_facts,
            *_plan_facts(settings, len(rows.train), rows.noun, rate_why, base, machine),
            ("memory", room.fact),
        ],
        warnings=[
            *data.findings.warnings,
            *_ignored(options, task),
            *idle(options),
            *rows.warnings,
            *foreseen,
            *room.warnings,
            *warnings,
        ],
        lengths=rows.lengths,
    )
    return Prepared(base, tokenizer, task, rows.train, rows.valid, settings, machine, limit, preflight, learner, trials)


def settle(options: Options, rows: int, learning_rate: float) -> Settings:
    """The numbers of the training run."""
    # auto asks how rows are computed and not how they are learned from: a step has as many as by default.
    batch_size = find("batch_size").default_value if options.batch_size == "auto" else options.batch_size
    per_epoch = steps_per_epoch(rows, batch_size * options.accumulate)
    open_end = options.epochs == "auto" and not options.max_steps
    epochs = _MOST_EPOCHS if options.epochs == "auto" else options.epochs
    return Settings(
        steps=options.max_steps or epochs * per_epoch,
        batch_size=batch_size,
        accumulate=options.accumulate,
        learning_rate=learning_rate,
        schedule=options.schedule,
        warmup=options.warmup,
        weight_decay=options.weight_decay,
        grad_clip=options.grad_clip,
        early_stop=options.early_stop or (_PATIENCE if open_end else 0),
        eval_every=options.eval_every,
        seed=options.seed,
        optimizer=options.optimizer,
        checkpointing=options.checkpointing,
        open_end=open_end,
    )


def _ignored(options: Options, task: Task) -> list[str]:
    idle = [name for name in table() if not task.heeds(name)]
    given = [name for name in idle if getattr(options, name) not in (find(name).default_value, [])]
    style = f"style = {task.kind or 'head'!r}"
    return [f"{name} does nothing for {style if name in task.ignores else f'task = {task.name!r}'}" for name in given]


def longest(options: Options, base: Base) -> int:
    """Tokens of a text that are read.

    Raises:
        OptionError: more are asked for than the base can read.
    """
    context = context_length(base)
    if options.max_length is not None and options.max_length > context:
        raise OptionError(f"max_length = {options.max_length:,}: {base.name} reads at most {context:,} tokens")
    return options.max_length or context


def _data_facts(data: Data) -> list[tuple[str, str]]:
    rows = f"{len(data.train):,} to train, {len(data.valid):,} to validate"
    if data.findings.dropped:
        rows += f", {data.findings.dropped:,} left out"
    return [*data.findings.facts, ("columns", data.roles.describe()), ("rows", rows), ("validation", data.split)]


def _cache_facts(parts: Sequence[Encoded]) -> list[tuple[str, str]]:
    """Where the tokens of a large table are, and whether they had to be made."""
    files = [part.stored for part in parts if part.stored is not None and part.stored.path is not None]
    if not files:
        return []
    kept = "kept for the next run" if any(file.made for file in files) else "found from an earlier run"
    size = said_bytes(sum(file.size for file in files))
    return [("cache", f"{size} of tokens in {folder()}, {kept}; gpt_magic.cache() shows and clears it")]


def _plan_facts(
    settings: Settings, rows: int, noun: str, rate_why: str, base: Base, machine: Machine
) -> list[tuple[str, str]]:
    per_epoch = steps_per_epoch(rows, settings.rows_per_step)
    batch = plural(settings.rows_per_step, noun)
    if settings.rows_at_once not in (0, settings.batch_size):
        batch += f" (at most {settings.rows_at_once} at a time)"
    elif settings.accumulate > 1:
        batch += f" ({settings.accumulate} batches of {settings.batch_size})"
    passes = settings.steps / per_epoch
    epochs = plural(int(passes), "epoch") if passes.is_integer() else f"{passes:.2f} epochs"
    plan = f"{plural(settings.steps, 'step')} of {batch}; {epochs} of {plural(per_epoch, 'step')}"
    if settings.open_end:
        last = "" if settings.schedule == "constant" else ", then one in which the rate falls"
        plan = (
            f"until {plural(settings.early_stop, 'epoch')} of {plural(per_epoch, 'step')} of {batch} bring nothing "
            f"better on the validation rows{last}; {epochs} at most"
        )
    start = "" if base.pretrained else " with random weights"
    return [
        ("base", f"{base.name}{start}"),
        ("plan", plan),
        (_RATE, _rate_fact(settings, rows, rate_why)),
        ("machine", f"{machine.device}, {machine.precision} ({machine.why})"),
    ]


def _rate_fact(settings: Settings, rows: int, why: str) -> str:
    """``9e-4 (default for 7 M parameters), linear, 58 steps of warm-up``; without the rate while it is to be tried."""
    usual = USUAL_EPOCHS * steps_per_epoch(rows, settings.rows_per_step)
    warm = plural(warmup_steps(settings.warmup, usual if settings.open_end else settings.steps), "step")
    optimizer = "" if settings.optimizer == "adamw" else f", {settings.optimizer}"
    return f"{settings.learning_rate:g} ({why}), {settings.schedule}, {warm} of warm-up{optimizer}"
