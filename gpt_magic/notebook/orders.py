"""``%finetune --stop | --pause | --resume | --status | --show [NAME]``: what is told a run that is there already."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpt_magic import runs
from gpt_magic.errors import OptionError, clean
from gpt_magic.notebook.markup import clock, frame, note, number_table, say, text_table
from gpt_magic.notebook.status import loss
from gpt_magic.notebook.watch import show
from gpt_magic.run import Run

_HEAD = ("run", "state", "step", "loss", "elapsed", "left")


@dataclass(frozen=True)
class RunTable:
    """The runs of this notebook, oldest first.

    Attributes:
        rows: name, state, step, loss, time so far and time left of each, as they are read.
    """

    rows: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        if not self.rows:
            return "no run in this notebook yet"
        return "\n".join(text_table(_HEAD, [[clean(cell, 80) for cell in row] for row in self.rows]))

    def _repr_html_(self) -> str:
        if not self.rows:
            return frame(note("no run in this notebook yet"))
        return frame(number_table(_HEAD, [[say(cell, 80) for cell in row] for row in self.rows]))


def live_run(name: str | None) -> Run | None:
    """The live run of this name, without one a paused one; None where there is none: it may be one that was cut."""
    found = [run for run in runs.live() if run.id == name or (name is None and run.paused)]
    return found[-1] if found else None


def obey(order: str, name: str | None) -> RunTable | None:
    """Do what was asked for with the run ``name``, by default the latest.

    Raises:
        OptionError: there is no such run, or it has ended.
    """
    if order == "status":
        return table()
    run = (live_run(name) if order == "resume" else None) or _find(name)
    if order == "show":
        show(run)
        return None
    if not isinstance(run, Run):
        raise OptionError(f"{run.id} has ended ({run.state}): there is nothing to {order}")
    if order == "resume" and not run.paused:
        raise OptionError(f"{run.id} is not paused: {run.progress().phase}")
    {"stop": run.stop, "pause": run.pause, "resume": run.resume}[order]()
    print(f"{run.id}: {_answers[order]}")  # noqa: T201  # the answer to a command
    return None


def _find(name: str | None) -> "Run | runs.Past":
    """A run of this kernel; of one that an earlier kernel left behind, the line says how it goes on."""
    try:
        return runs.find(name)
    except OptionError:
        from gpt_magic.run_folders import resumable

        left = next((one for one in resumable() if name in (one.name, None)), None)
        if left is None:
            raise
        of = f" of {left.steps:,}" if left.steps else ""
        raise OptionError(
            f"{left.name} does not run in this kernel; it was cut at step {left.step:,}{of}: "
            f"%finetune --resume {left.name} goes on with it"
        ) from None


_answers = {
    "stop": "ends after this step, with the best weights",
    "pause": "rests after this step; %finetune --resume lets it go on",
    "resume": "goes on",
}


def table() -> RunTable:
    """All runs that are remembered."""
    return RunTable([_row(run) for run in runs.every()])


def _row(run: "Run | runs.Past") -> list[str]:
    now = run.progress()
    step = f"{now.step:,} / {now.steps:,}" if now.steps else f"{now.step:,}" if now.step else "–"
    left = clock(now.left) if isinstance(run, Run) else "–"
    state = run.state if run.state != "waiting" else now.phase
    return [run.id, state, step, loss(now.loss), clock(now.elapsed), left]
