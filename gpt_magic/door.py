"""The Python door: the same run as the magic's, as a function."""

from typing import TYPE_CHECKING, Any

from gpt_magic.options import Options, signature

if TYPE_CHECKING:
    from gpt_magic.background import BackgroundRun
    from gpt_magic.run import Run
    from gpt_magic.summary import Preflight
    from gpt_magic.tuned import TunedModel


def finetune(data: Any = None, **options: Any) -> "TunedModel | Preflight | BackgroundRun":
    """Fine-tune a GPT-2 to label texts, to find entities in them, to answer questions about them, or to write them.

    Args:
        data: DataFrame, list of dicts, a list of texts, ``datasets.Dataset``, ``IterableDataset`` or
            ``DatasetDict``, a CSV, TSV, JSONL, TXT or Parquet path, a pattern such as ``data/*.csv``, a folder of .txt
            files, or a data set of the hub such as ``imdb:train``.
        **options: the options of ``%%finetune``, by the same names; ``%finetune -h`` lists them.

    Returns:
        The tuned model, such as a `TunedClassifier` or `TunedGenerator`; with ``dry_run=True`` the pre-flight; with
        ``background=True`` at once a `BackgroundRun`, whose ``wait()`` gives the model.

    Raises:
        OptionError, DataError, ModelError: something is wrong with the input; nothing was trained.
        TrainingError: training failed; the error's ``result`` holds the best model so far, or None.
        RunAbandoned: stopped before the first step, or interrupted twice.
    """
    from gpt_magic.notebook.live import defaults

    settings = defaults().copy_with(data=data, **options)
    if settings.dry_run:
        settings.quiet = True  # the pre-flight shows itself as the cell's value
    elif settings.background:
        from gpt_magic.run import Run

        return run_behind(Run(settings))
    return run_and_watch(settings)


finetune.__signature__ = signature()  # type: ignore[attr-defined]


def resume(name: str | None = None) -> "TunedModel":
    """Go on with a run that was stopped, has failed, or whose kernel was killed; what ``%finetune --resume NAME`` does.

    Args:
        name: as the card of the run has it; ``gpt_magic.resumable()`` lists them. None takes the last.

    Returns:
        The tuned model: on a CPU, bit for bit the one of a run that was never cut.

    Raises:
        DataError: there is no such run, it is still going on, or its data have changed.
        TrainingError, RunAbandoned: as `finetune`.
    """
    from gpt_magic import resuming

    run = resuming.resume(name)
    run.output = None  # that the notebook's cell had: nothing of this name comes of it here
    watch_run(run)
    assert run.result is not None
    return run.result


def run_and_watch(options: Options, name: str | None = None, output: str | None = None) -> "TunedModel | Preflight":
    """Run with a live display; what both the magic and `finetune` call. See `Run` for the arguments."""
    from gpt_magic.run import Run

    return watch_run(Run(options, name, output))


def watch_run(run: "Run") -> "TunedModel | Preflight":
    """Start a run and show it until it is done."""
    from gpt_magic.errors import TrainingError
    from gpt_magic.notebook.live import current_cell, view_for
    from gpt_magic.notebook.watch import controls_of, watch

    options = run.options
    try:
        watch(run, view_for(options.quiet, None if options.dry_run else lambda: controls_of(run, blocking=True)))
    except TrainingError as error:
        error.result = run.result
        raise
    if run.result is not None:
        run.result.shown_in_cell = current_cell() if not options.quiet else None
        return run.result
    assert run.preflight is not None
    return run.preflight


def run_behind(run: "Run") -> "BackgroundRun":
    """Start a run that goes on behind the cell, which goes on showing it.

    With an output, that name of the notebook is the run until it has ended, then the tuned model.
    """
    from gpt_magic.background import BackgroundRun
    from gpt_magic.notebook import watch

    holder = BackgroundRun(run)
    watch.behind(holder)
    return holder
