"""Checked examples to everything that a run needs: tokens, the plan, and the pre-flight that says so."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.sources import describe
from gpt_magic.engine.batching import Encoded, steps_per_epoch
from gpt_magic.engine.events import Emit, Phase
from gpt_magic.engine.loop import Settings
from gpt_magic.engine.precision import Machine, choose_machine
from gpt_magic.engine.schedule import default_learning_rate, warmup_steps
from gpt_magic.errors import OptionError, listing, plural
from gpt_magic.models.find import Base, find_base
from gpt_magic.models.load import context_length, count_parameters, load_tokenizer
from gpt_magic.options import Options
from gpt_magic.summary import Lengths, Preflight
from gpt_magic.tasks.classify import Classify, class_weights, encode, tokenize


@dataclass
class Prepared:
    """All that training needs, settled; `run.Run` loads the weights and starts."""

    base: Base
    tokenizer: Any
    data: LabelledData
    objective: Classify
    train: Encoded
    valid: Encoded
    settings: Settings
    machine: Machine
    max_length: int
    preflight: Preflight


def prepare(options: Options, data: LabelledData, name: str | None, emit: Emit, check: Callable[[], None]) -> Prepared:
    """Find the base model, tokenise and plan.

    Args:
        data: checked examples, see `read_labelled`.
        name: how the user calls the data, for the report; None when unknown.
        check: called between the parts; may raise to end the work.

    Raises:
        DataError, ModelError, OptionError: with one line that says what to change.
    """
    machine = choose_machine(options.device, options.precision)
    task = "classify" if options.task == "auto" else options.task  # the columns allow no other task yet
    emit(Phase("looking for the base model"))
    base = find_base(options.base, lambda what: emit(Phase(what)), weights=not options.dry_run)
    check()
    emit(Phase("reading the tokenizer"))
    tokenizer = load_tokenizer(base)
    limit = _max_length(options, base)
    emit(Phase("making tokens"))
    ids, lengths = tokenize(data.train.texts, tokenizer, limit, options.truncate, data.train.index, check)
    valid_ids, valid_lengths = tokenize(data.valid.texts, tokenizer, limit, options.truncate, data.valid.index, check)
    objective = Classify(data.classes, class_weights(options.class_weights, data.train.labels, data.classes))
    rate, rate_why = float(options.learning_rate or 0), "given"
    if options.learning_rate is None:
        rate, rate_why = default_learning_rate(count_parameters(base), base.pretrained)
    settings = settle(options, len(ids), rate)
    preflight = Preflight(
        title=f"{task} · {base.name} · {name or describe(options.data)}",
        facts=[
            *_data_facts(data),
            *_token_facts(lengths, ids),
            *_plan_facts(settings, len(ids), rate_why, base, machine),
        ],
        warnings=[*data.findings.warnings, *_cut_warnings(lengths, valid_lengths, limit, options.truncate, data)],
        lengths=_length_picture(lengths, limit),
    )
    return Prepared(
        base,
        tokenizer,
        data,
        objective,
        encode(ids, data.train.labels, data.classes, data.train.index),
        encode(valid_ids, data.valid.labels, data.classes, data.valid.index),
        settings,
        machine,
        limit,
        preflight,
    )


def settle(options: Options, rows: int, learning_rate: float) -> Settings:
    """The numbers of the training run."""
    per_epoch = steps_per_epoch(rows, options.batch_size * options.accumulate)
    steps = options.epochs * per_epoch
    return Settings(
        steps=options.max_steps or steps,
        batch_size=options.batch_size,
        accumulate=options.accumulate,
        learning_rate=learning_rate,
        schedule=options.schedule,
        warmup=options.warmup,
        weight_decay=options.weight_decay,
        grad_clip=options.grad_clip,
        early_stop=options.early_stop,
        eval_every=options.eval_every,
        seed=options.seed,
    )


def _max_length(options: Options, base: Base) -> int:
    context = context_length(base)
    if options.max_length is not None and options.max_length > context:
        raise OptionError(f"max_length = {options.max_length:,}: {base.name} reads at most {context:,} tokens")
    return options.max_length or context


def _data_facts(data: LabelledData) -> list[tuple[str, str]]:
    counts = Counter(data.train.labels)
    shares = [f"{label} {counts[label]:,} ({counts[label] / len(data.train):.0%})" for label in data.classes]
    rows = f"{len(data.train):,} to train, {len(data.valid):,} to validate"
    if data.findings.dropped:
        rows += f", {data.findings.dropped:,} left out"
    return [
        ("columns", data.roles.describe()),
        ("rows", rows),
        ("validation", data.split),
        ("classes", f"{len(data.classes)}: {listing(shares)}"),
    ]


def _token_facts(lengths: np.ndarray, ids: Sequence[np.ndarray]) -> list[tuple[str, str]]:
    used = sum(map(len, ids))
    picture = f"median {int(np.median(lengths)):,}, 95 % up to {_p95(lengths):,}"
    return [("tokens a text", f"{picture}, longest {int(lengths.max()):,}"), ("tokens an epoch", f"{used:,}")]


def _p95(lengths: np.ndarray) -> int:
    return int(np.quantile(lengths, 0.95, method="higher"))


def _plan_facts(settings: Settings, rows: int, rate_why: str, base: Base, machine: Machine) -> list[tuple[str, str]]:
    per_epoch = steps_per_epoch(rows, settings.rows_per_step)
    batch = plural(settings.rows_per_step, "row")
    if settings.accumulate > 1:
        batch += f" ({settings.accumulate} batches of {settings.batch_size})"
    passes = settings.steps / per_epoch
    epochs = plural(int(passes), "epoch") if passes.is_integer() else f"{passes:.2f} epochs"
    warm = plural(warmup_steps(settings.warmup, settings.steps), "step")
    start = "" if base.pretrained else " with random weights"
    return [
        ("base", f"{base.name}{start}"),
        ("plan", f"{plural(settings.steps, 'step')} of {batch}; {epochs} of {plural(per_epoch, 'step')}"),
        ("learning rate", f"{settings.learning_rate:g} ({rate_why}), {settings.schedule}, {warm} of warm-up"),
        ("machine", f"{machine.device}, {machine.precision} ({machine.why})"),
    ]


def _cut_warnings(
    lengths: np.ndarray, valid_lengths: np.ndarray, limit: int, truncate: str, data: LabelledData
) -> list[str]:
    warnings = []
    for what, found, examples in (("training", lengths, data.train), ("validation", valid_lengths, data.valid)):
        over = np.flatnonzero(found > limit)
        if len(over):
            part = "first" if truncate == "head" else "last"
            warnings.append(
                f"{len(over):,} of {len(found):,} {what} texts are longer than {limit:,} tokens; the {part} {limit:,} "
                f"are read (rows {listing(examples.index[i] for i in over)})"
            )
    return warnings


def _length_picture(lengths: np.ndarray, limit: int) -> Lengths:
    counts, edges = np.histogram(lengths, bins=24, range=(0, max(int(lengths.max()), 1)))
    return Lengths(
        median=int(np.median(lengths)),
        p95=_p95(lengths),
        longest=int(lengths.max()),
        edges=tuple(int(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
        limit=limit,
        over=int((lengths > limit).sum()),
    )
