"""A run in a process of its own, that may be killed on its way: ``python -m tests.cut FOLDER new|resume [KIND N]``.

With ``step N`` SIGKILL comes at the end of step N, with ``evaluation N`` inside the Nth evaluation of this process.
What came of a run that ended is written to FOLDER: weights, history, metrics and the card.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from gpt_magic import keeping
from gpt_magic.engine.events import Event, Stepped
from gpt_magic.options import Options
from gpt_magic.recorder import Recorder
from gpt_magic.resuming import resume
from gpt_magic.run import Run
from gpt_magic.tasks.classify import ClassifyTask
from tests.films import base, films

# Dropout draws random numbers, evaluations in mid-epoch find the best weights, the class weights' keys are no texts.
OPTIONS: dict[str, Any] = {
    "dropout": 0.2,
    "epochs": 4,
    "batch_size": 8,
    "eval_every": 4,
    "learning_rate": 1e-2,
    "early_stop": 3,
    "schedule": "cosine",
    "class_weights": {1: 2.0, 0: 1.0},
    "baselines": False,
}


def new_run(**changes: Any) -> Run:
    options = Options()
    data = films([1, 0]).assign(unused=[object()] * 80)
    options.update({"data": data, "base": base(n_layer=2), **OPTIONS, **changes})
    return Run(options, "films", "clf")


def keep_every_third_step() -> None:
    """Checkpoints at once, whatever they cost."""
    asked = []

    def due(_: keeping.Keeping) -> bool:
        asked.append(1)
        return len(asked) % 3 == 0

    keeping.Keeping.due = due  # type: ignore[method-assign]


def die_at(kind: str, number: int) -> None:
    record, evaluate = Recorder.__call__, ClassifyTask.evaluate
    calls = []

    def recorded(self: Recorder, event: Event) -> None:
        record(self, event)
        if kind == "step" and isinstance(event, Stepped) and event.step == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def evaluated(*given: Any) -> Any:
        calls.append(1)
        found = evaluate(*given)
        if kind == "evaluation" and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    Recorder.__call__ = recorded  # type: ignore[method-assign]
    ClassifyTask.evaluate = evaluated  # type: ignore[method-assign]


def main(folder: Path, start: str, *how: str) -> None:
    keep_every_third_step()
    if how:
        die_at(how[0], int(how[1]))
    run = resume() if start == "resume" else new_run(**json.loads(os.environ["CUT_OPTIONS"]))
    run.start()
    run.done.wait()
    assert run.error is None, run.error
    assert run.result is not None
    assert run.summary is not None
    torch.save(run.result.model.state_dict(), folder / "weights.pt")
    said = {
        "history": run.result.history.drop(columns="seconds").to_numpy().astype("float64").tobytes().hex(),
        "facts": dict(run.summary.facts),
        "status": run.summary.status,
        "metrics": {name: value for name, value in run.result.metrics.items() if name != "train_seconds"},
        "classes": run.result.classes,  # type: ignore[attr-defined]
        "best": [e.step for e in run.result.progress.evaluations if e.best],
        "output": run.output,
    }
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
