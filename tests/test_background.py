"""Runs in the background from Python, outside of notebooks."""

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import gpt_magic
from gpt_magic import runs
from gpt_magic.background import BackgroundRun
from gpt_magic.errors import DataError, OptionError, TrainingError
from gpt_magic.notebook import magics
from gpt_magic.tuned import TunedClassifier

FILMS = [{"text": f"a {word} film, number {i}", "label": word} for i in range(40) for word in ("fine", "dull")]


def begun(data: Any = FILMS, **options: Any) -> BackgroundRun:
    run = gpt_magic.finetune(data, base="scratch", baselines=False, background=True, **options)
    assert isinstance(run, BackgroundRun)
    return run


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    yield
    for run in runs.live():
        run.stop()
        run.wait(60)


def test_a_run_in_the_background_ends_with_its_model() -> None:
    run = begun(max_steps=3)
    assert run.state in ("running", "waiting")
    model = run.wait(120)
    assert type(model) is TunedClassifier
    assert (run.state, model.metrics["steps"], run.progress().step) == ("done", 3, 3)
    assert run.wait() is model
    with pytest.raises(DataError, match=r"the run has ended \(done\)"):
        run.resume()
    with pytest.raises(OptionError, match=r"clf is a run that has ended: clf = clf\.wait\(\) takes its model"):
        magics._model("clf", {"clf": run})
    assert repr(run).startswith("<BackgroundRun run-")
    assert "done: 3 steps" in run._repr_html_()


def test_it_is_paused_asked_for_a_snapshot_resumed_and_stopped() -> None:
    run = begun(epochs=500)
    early = run.snapshot(120)
    assert early.metrics["steps"] >= 1
    run.pause()
    while not run.run.control.resting:
        assert run.state == "paused"
        time.sleep(0.01)
    made = run.progress().step
    assert "paused" in repr(run)
    assert "paused" in run._repr_html_()
    assert run.snapshot(60).metrics["steps"] == made
    with pytest.raises(TimeoutError, match=rf"has not ended within 0.1 s: paused, step {made} of"):
        run.wait(0.1)
    with pytest.raises(AttributeError, match=r"is a run in the background \(paused\): its wait\(\) gives its model"):
        run.predict("a fine film")
    run.resume()
    while run.progress().step == made:
        time.sleep(0.01)
    run.stop()
    assert run.wait(60).summary.status.startswith("stopped at step")


def test_what_it_fails_with_is_raised_by_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    one = begun([{**row, "label": "one"} for row in FILMS])
    with pytest.raises(DataError):
        one.wait(120)
    assert one.state == "failed"
    assert "DataError" in one._repr_html_()
    assert "DataError" not in repr(one)  # its message says all
    from gpt_magic.engine import step as engine_step

    real, calls = engine_step.clip, []

    def fail(*args: Any) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the disk is on fire")
        return real(*args)

    monkeypatch.setattr(engine_step, "clip", fail)
    late = begun(epochs=5)
    with pytest.raises(TrainingError) as caught:
        late.wait(120)
    assert caught.value.result.metrics["steps"] == 2
    assert late.state == "failed"


def test_nothing_of_it_outlives_it() -> None:
    def tensors() -> int:
        gc.collect()
        return sum(1 for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter))

    begun(max_steps=1).wait(120)
    before = tensors()
    for _ in range(3):
        run = begun(max_steps=2)
        run.snapshot(120)
        run.wait(120)
        del run
    assert tensors() <= before + 5
    names = [thread.name for thread in threading.enumerate()]
    deadline = time.monotonic() + 5
    while "gpt_magic painter" in names and time.monotonic() < deadline:
        names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("gpt_magic")]
