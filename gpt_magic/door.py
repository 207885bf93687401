"""The Python door: the same run as the magic's, as a function."""

from typing import TYPE_CHECKING, Any

from gpt_magic.options import Options, signature

if TYPE_CHECKING:
    from gpt_magic.background import BackgroundRun
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
        return run_behind(settings)
    return run_and_watch(settings)


finetune.__signature__ = signature()  # type: ignore[attr-defined]


def run_and_watch(options: Options, name: str | None = None, output: str | None = None) -> "TunedModel | Preflight":
    """Run with a live display; what both the magic and `finetune` call. See `Run` for the arguments."""
    from gpt_magic.errors import TrainingError
    from gpt_magic.notebook.live import current_cell, view_for
    from gpt_magic.notebook.watch import controls_of, watch
    from gpt_magic.run import Run

    run = Run(options, name, output)
    try:
        watch(run, view_for(options.quiet, lambda: controls_of(run, blocking=True)))
    except TrainingError as error:
        error.result = run.result
        raise
    if run.result is not None:
        run.result.shown_in_cell = current_cell() if not options.quiet else None
        return run.result
    assert run.preflight is not None
    return run.preflight


def run_behind(options: Options, name: str | None = None, output: str | None = None) -> "BackgroundRun":
    """Start a run that goes on behind the cell, which goes on showing it.

    With ``output``, that name of the notebook is the run until it has ended, then the tuned model.
    """
    from gpt_magic.background import BackgroundRun
    from gpt_magic.notebook import watch
    from gpt_magic.run import Run

    holder = BackgroundRun(Run(options, name, output))
    watch.behind(holder)
    return holder
