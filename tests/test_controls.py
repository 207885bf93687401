"""Pause, resume, stop and snapshot of a run from Python: what they do, and that the training stays the same."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import torch

from gpt_magic import runs
from gpt_magic.engine import loop
from gpt_magic.engine import step as engine_step
from gpt_magic.errors import GptMagicError, OptionError, RunAbandoned, TrainingError
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.tasks.classify import ClassifyTask
from gpt_magic.tuned import TunedClassifier

SOON = 10.0  # seconds that a busy test machine may take for what takes none


@pytest.fixture
def films() -> pd.DataFrame:
    words = {"good": ["fine", "great", "lovely", "superb"], "bad": ["dull", "awful", "poor", "weak"]}
    rows = [(f"a {word} film, number {i}", label) for i in range(15) for label, some in words.items() for word in some]
    return pd.DataFrame(rows, columns=["text", "label"])


def made(data: Any, output: str | None = None, **options: Any) -> Run:
    settings = Options()
    settings.update({"data": data, "base": "scratch", "baselines": False, **options})
    return Run(settings, "films", output)


def started(data: Any, output: str | None = None, **options: Any) -> Run:
    run = made(data, output, **options)
    run.start()
    return run


def until(happened: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def resting(run: Run) -> None:
    until(lambda: run.control.resting or run.done.is_set())
    assert run.control.resting


class Gate:
    """Lets a run make steps one at a time: `step.clip` waits at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached, self.real = threading.Semaphore(0), threading.Semaphore(0), engine_step.clip
        monkeypatch.setattr(engine_step, "clip", self)

    def __call__(self, *args: Any) -> float:
        self.reached.release()
        self.open.acquire()
        return self.real(*args)

    def step(self, steps: int = 1) -> None:
        """Be inside the next step but so many."""
        for _ in range(steps):
            self.open.release()
            assert self.reached.acquire(timeout=60)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.release(10_000)
    for run in runs.live():
        run.stop()
        assert run.wait(60)


def taken(run: Run) -> list[Any]:
    """Where a snapshot will be."""
    models: list[Any] = []
    run.snapshot(models.append)
    return models


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_pauses_and_snapshots_leave_the_training_as_it_is_to_the_bit(
    films: pd.DataFrame, gate: Gate, dropout: float
) -> None:
    """Also with dropout, whose random numbers go on where they were."""
    how = {"epochs": 2, "dropout": dropout, "eval_every": 3}
    run = started(films, **how)
    assert gate.reached.acquire(timeout=60)
    snapshots = []
    for number in range(4):
        gate.step(2)
        run.pause()
        models = taken(run)
        gate.open.release()
        resting(run)
        until(lambda models=models: models)
        snapshots += models
        if number % 2:
            snapshots += (more := taken(run))  # another one, inside of the pause
            until(lambda more=more: more)
        time.sleep(0.02)
        run.resume()
        assert gate.reached.acquire(timeout=60)
    gate.open.release(10_000)
    assert run.wait(60)
    assert run.error is None
    plain = started(films, **how)
    assert plain.wait(60)
    assert run.result.history["loss"].tolist() == plain.result.history["loss"].tolist()
    assert run.result.history["valid_loss"].dropna().tolist() == plain.result.history["valid_loss"].dropna().tolist()
    for name, value in plain.result.model.state_dict().items():
        assert torch.equal(value, run.result.model.state_dict()[name]), name
    assert {type(one) for one in snapshots} == {TunedClassifier}


def test_a_snapshot_is_a_usable_model_that_shares_nothing_with_the_one_in_training(
    films: pd.DataFrame, gate: Gate
) -> None:
    run = started(films, epochs=2)
    assert gate.reached.acquire(timeout=60)
    early = taken(run)  # before the first step is done
    gate.step(2)
    (first,) = early
    assert first.summary.status == "snapshot at step 1 of 14; not evaluated yet"
    assert first.metrics["steps"] == first.metrics["kept_step"] == 1
    assert len(first.history) == 1
    before = {name: value.clone() for name, value in first.model.state_dict().items()}
    gate.step(6)  # past the end of the first epoch
    late = taken(run)
    gate.step(2)
    (second,) = late
    assert second.summary.status == (
        "snapshot at step 9 of 14; weights of step 7, which did best on the validation rows"
    )
    assert second.metrics["accuracy"] == run.progress().evaluations[0].metrics["accuracy"]
    gate.open.release(10_000)
    assert run.wait(60)
    result = run.result
    memory = [
        {tensor.untyped_storage().data_ptr() for tensor in one.model.state_dict().values()}
        for one in (first, second, result)
    ]
    assert not memory[0] & memory[1] | memory[1] & memory[2] | memory[0] & memory[2]
    assert all(torch.equal(value, before[name]) for name, value in first.model.state_dict().items())
    assert len({id(one.tokenizer) for one in (first, second, result)}) == 3
    assert len({id(one.model.config) for one in (first, second, result)}) == 3
    assert not first.model.training
    assert first.model.config._attn_implementation != "gpt_magic_packed"
    assert second.predict("a fine film")["prediction"][0] in ("good", "bad")
    assert result.metrics["steps"] == 14


def test_a_snapshot_of_numbers_speaks_in_their_unit(gate: Gate) -> None:
    """Mean and scale go into the head of the copy alone."""
    rows = [{"text": f"room {i}", "label": 1000.5 + 10 * (i % 7)} for i in range(60)]
    run = started(rows, epochs=2, base="scratch", task="regress")
    assert gate.reached.acquire(timeout=60)
    models = taken(run)
    gate.open.release(10_000)
    assert run.wait(60)
    (early,) = models
    said = early.predict(["room 3"])["prediction"][0]
    assert 500 < said < 1600
    plain = started(rows, epochs=2, base="scratch", task="regress")
    assert plain.wait(60)
    for name, value in plain.result.model.state_dict().items():
        assert torch.equal(value, run.result.model.state_dict()[name]), name


def test_a_failed_snapshot_is_an_error_of_its_own_and_the_run_goes_on(
    films: pd.DataFrame, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise MemoryError("no room for\ntwo")

    run = started(films, max_steps=3)
    assert gate.reached.acquire(timeout=60)
    monkeypatch.setattr(loop, "deepcopy", full)
    models = taken(run)
    gate.open.release(10_000)
    assert run.wait(60)
    (error,) = models
    assert isinstance(error, TrainingError)
    assert str(error).startswith("no snapshot, as memory ran out")
    assert "MemoryError: no room for two" in str(error)
    assert run.error is None
    assert run.result.metrics["steps"] == 3


def test_whoever_asks_late_is_given_the_result_or_the_error(films: pd.DataFrame, gate: Gate) -> None:
    run = started(films, max_steps=1)
    assert gate.reached.acquire(timeout=60)
    asked = [taken(run), taken(run)]
    gate.open.release()
    assert run.wait(60)
    until(lambda: all(asked))
    assert asked[0] == asked[1]  # one copy for both
    assert asked[0][0].summary.status == "snapshot at step 1 of 1; not evaluated yet"
    assert taken(run) == [run.result]
    broken = started(films.assign(label="one"))
    assert broken.wait(60)
    (error,) = taken(broken)
    assert isinstance(error, GptMagicError)


def test_paused_time_is_no_time_of_the_run(films: pd.DataFrame, gate: Gate) -> None:
    run = started(films, epochs=20)
    assert gate.reached.acquire(timeout=60)
    gate.step(5)
    run.pause()
    assert run.state == "paused"
    assert run.progress().phase == "pausing"
    gate.open.release()
    resting(run)
    assert run.progress().phase == "paused"
    before, began = run.progress(), time.perf_counter()
    time.sleep(0.4)
    after = run.progress()
    assert after.elapsed == before.elapsed
    assert after.left == before.left
    assert after.step == before.step == 6
    run.resume()
    assert run.state == "running"
    assert gate.reached.acquire(timeout=60)
    assert run.progress().elapsed - before.elapsed < time.perf_counter() - began - 0.35
    run.stop()
    gate.open.release(10_000)
    assert run.wait(60)
    assert sum(step.seconds for step in run.progress().steps_log) < run.progress().elapsed


def test_a_stop_while_paused_works_at_once(films: pd.DataFrame) -> None:
    run = started(films, epochs=500)
    until(lambda: run.progress().step >= 2)
    run.pause()
    resting(run)
    made = run.progress().step
    began = time.perf_counter()
    run.stop()
    assert not run.paused
    assert run.wait(SOON)
    print(f"stop of a paused run: {time.perf_counter() - began:.3f} s")
    assert run.state == "stopped"
    assert run.error is None
    assert run.result.metrics["steps"] == made
    run.pause()  # whatever is asked afterwards changes nothing
    run.resume()
    run.stop()
    assert run.state == "stopped"


def test_a_pause_rests_inside_of_an_evaluation_and_a_stop_ends_it(
    films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, inside = ClassifyTask.evaluate, threading.Event()

    def slow(self: Any, model: Any, rows: Any, hidden: Any, check: Any) -> Any:
        inside.set()
        for _ in range(1000):
            check()
            time.sleep(0.01)
        return real(self, model, rows, hidden, check)

    monkeypatch.setattr(ClassifyTask, "evaluate", slow)
    run = started(films, epochs=2)
    assert inside.wait(60)
    run.pause()
    resting(run)
    run.resume()
    until(lambda: not run.control.resting)
    run.stop()
    assert run.wait(SOON)
    assert run.summary.status.startswith("stopped at step 7 of 14")


def test_a_pause_before_the_first_step_rests_there(films: pd.DataFrame) -> None:
    run = made(films, max_steps=2)
    assert run.state == "waiting"
    run.pause()
    run.start()
    resting(run)
    assert run.progress().step == 0
    run.resume()
    assert run.wait(60)
    assert run.state == "done"
    assert run.result.metrics["steps"] == 2


def test_a_second_run_waits_says_for_whom_and_heeds_a_stop(films: pd.DataFrame, gate: Gate) -> None:
    first = started(films, "first", max_steps=2)
    assert gate.reached.acquire(timeout=60)
    second, third = started(films, "second", max_steps=1), started(films, "third", max_steps=1)
    until(lambda: "waiting" == second.state == third.state)
    until(lambda: second.progress().phase == third.progress().phase == "waiting for first to end")
    assert [run.id for run in runs.live()] == ["first", "second", "third"]
    third.stop()
    assert third.wait(SOON)
    assert isinstance(third.error, RunAbandoned)
    assert third.state == "stopped"
    first.pause()  # it keeps its turn
    gate.open.release()
    resting(first)
    until(lambda: second.progress().phase == "waiting for first to end, which is paused")
    assert second.state == "waiting"
    first.resume()
    gate.open.release(10_000)
    assert first.wait(60)
    assert second.wait(60)
    assert second.state == first.state == "done"
    assert runs.live() == []


def test_runs_are_found_by_name_and_the_past_holds_neither_data_nor_model(films: pd.DataFrame, gate: Gate) -> None:
    first = started(films, "clf", max_steps=1)
    again = started(films, "clf", max_steps=1)
    nameless = started(films, max_steps=1)
    assert (first.id, again.id) == ("clf", "clf-2")
    assert nameless.id.startswith("run-")
    assert runs.find("clf") is first
    assert runs.find() is nameless
    gate.open.release(10_000)
    for run in (first, again, nameless):
        assert run.wait(60)
        until(lambda run=run: isinstance(runs.find(run.id), runs.Past))
    past = runs.find("clf")
    assert (past.state, past.progress().step, past.summary.name) == ("done", 1, "clf")
    assert not {Run, Options, TunedClassifier, pd.DataFrame} & {type(value) for value in vars(past).values()}
    with pytest.raises(OptionError, match=r"no run 'clg' \(did you mean 'clf'\?\)"):
        runs.find("clg")
    newer = started(films, "clf", max_steps=1)
    assert newer.id == "clf"
    assert newer.wait(60)


def test_what_is_to_be_called_at_the_end_is_called_once(films: pd.DataFrame) -> None:
    run, called = made(films, max_steps=1), []
    run.on_end(lambda: called.append(run.state))
    run.start()
    assert run.wait(60)
    until(lambda: called)
    run.on_end(lambda: called.append("late"))
    assert called == ["done", "late"]


def test_only_so_many_past_runs_are_remembered(films: pd.DataFrame) -> None:
    for _ in range(runs._PAST + 3):
        assert started(films.assign(label="one")).wait(60)
    until(lambda: not runs.live())
    assert len(runs.every()) == runs._PAST
