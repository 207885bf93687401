"""A run that was cut and goes on is the run that was never cut, bit for bit; a cut never costs the last checkpoint."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gpt_magic.engine import checkpoint
from gpt_magic.engine.checkpoint import Checkpoints, random_state, restore_random_state
from gpt_magic.engine.events import Control, Evaluated, Event, Sampled, Stepped
from gpt_magic.engine.loop import Outcome, train
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.errors import ModelError
from gpt_magic.tasks.language import encode, total_nats
from tests.tiny import lm_job, random_sequences, tiny_lm

STEPS = 14  # of 5 an epoch

Weights = dict[str, torch.Tensor]
Evaluate = Callable[[Control, Any], dict[str, float]]


class Cut(Exception):
    """What a lost power supply is to the loop here."""


def run(
    folder: Path | None = None,
    stop_at: int = 0,
    evaluate: Evaluate | None = None,
    every: float = 1e9,
    **changes: Any,
) -> tuple[Outcome, list[Event], Weights]:
    """A run with dropout; ``stop_at`` is the step in which a stop is asked for."""
    model = tiny_lm(seed=1, dropout=0.2)
    rows = encode(random_sequences(40, seed=1), 64)
    work = lm_job(model, rows, None, steps=STEPS, batch_size=4, accumulate=2, **changes)
    control, events = Control(), []
    work.evaluate = None if evaluate is None else lambda: evaluate(control, model)  # type: ignore[misc]
    work.sample = lambda: (("a", "b"),)
    work.checkpoints = None if folder is None else Checkpoints(folder, every)
    torch.manual_seed(77)

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Stepped) and event.step == stop_at:
            control.stop.set()

    outcome = train(work, emit, control)
    return outcome, events, {name: value.clone() for name, value in model.state_dict().items()}


def measured() -> Evaluate:
    """A real evaluation, of which the best is not the last: the second is by far the lowest."""
    rows, calls = encode(random_sequences(10, seed=9), 64), []

    def evaluate(control: Control, model: Any) -> dict[str, float]:
        control.check()
        calls.append(1)
        nats, tokens = total_nats(model, rows, hidden_packed)
        return {"loss": nats / tokens - (5.0 if len(calls) == 2 else 0.0), "tokens": tokens}

    return evaluate


def steps(events: list[Event]) -> list[tuple[int, float, float, float]]:
    return [(e.step, e.loss, e.learning_rate, e.grad_norm) for e in events if isinstance(e, Stepped)]


def evaluations(events: list[Event]) -> list[tuple[int, float, bool]]:
    return [(e.step, e.metrics["loss"], e.best) for e in events if isinstance(e, Evaluated)]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("cuts", [[3], [7, 9], [5], [10], [14]], ids=str)
def test_a_run_that_was_cut_goes_on_bit_for_bit(optimizer: str, cuts: list[int], tmp_path: Path) -> None:
    """Cuts inside an epoch, and inside the evaluation at its end (5, 10 and the last step)."""
    whole, events, weights = run(evaluate=measured(), optimizer=optimizer, schedule="cosine", warmup=3)
    evaluate, said = measured(), []
    for stop_at in cuts:
        outcome, some, _ = run(tmp_path, stop_at, evaluate, optimizer=optimizer, schedule="cosine", warmup=3)
        assert (outcome.reason, outcome.step) == ("stopped", stop_at)
        said += some
    last, some, again = run(tmp_path, 0, evaluate, optimizer=optimizer, schedule="cosine", warmup=3)
    said += some
    assert steps(said) == steps(events)
    assert evaluations(said) == evaluations(events)
    assert (last.reason, last.step, last.kept_step, last.metrics) == ("done", STEPS, 10, whole.metrics)
    assert whole.kept_step == 10  # best weights from before, or after, the cut
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name


def test_the_best_weights_survive_a_cut(tmp_path: Path) -> None:
    _, _, weights = run(evaluate=measured())
    evaluate = measured()
    run(tmp_path, stop_at=12, evaluate=evaluate)  # the best are those of step 10
    outcome, events, again = run(tmp_path, evaluate=evaluate)
    assert evaluations(events)[0][0] == 14
    assert outcome.kept_step == 10
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_early_stop_is_found_by_the_evaluation_that_was_cut(tmp_path: Path) -> None:
    losses = {5: 0.4, 10: 0.5}

    def evaluate(control: Control, model: Any) -> dict[str, float]:
        control.check()
        return {"loss": losses[5 if not seen else 10]}

    seen: list[int] = []
    run(tmp_path, 7, evaluate, early_stop=1)
    seen.append(1)
    assert run(tmp_path, 10, evaluate, early_stop=1)[0].reason == "stopped"
    outcome, events, _ = run(tmp_path, 0, evaluate, early_stop=1)
    assert (outcome.reason, outcome.step, outcome.kept_step) == ("early_stop", 10, 5)
    assert steps(events) == []


def test_a_stop_before_the_next_step_asks_for_no_second_evaluation(tmp_path: Path) -> None:
    evaluate = measured()
    run(tmp_path, 5, evaluate)
    control = Control()
    work = lm_job(tiny_lm(seed=1, dropout=0.2), encode(random_sequences(40, seed=1), 64), None)
    work.settings = type(work.settings)(**{**vars(work.settings), "steps": STEPS, "accumulate": 2})
    seen: list[int] = []

    def look() -> dict[str, float]:
        seen.append(1)
        control.stop.set()
        return {"loss": 1.0}

    work.evaluate, work.checkpoints = look, Checkpoints(tmp_path)
    assert train(work, lambda _: None, control).reason == "stopped"
    _, events, _ = run(tmp_path, 0, evaluate)
    assert seen == [1]
    assert [step for step, *_ in evaluations(events)] == [10, 14]


def test_checkpoints_are_written_now_and_then_and_after_a_crash_the_last_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    written = []
    real = Checkpoints.save

    def save(self: Checkpoints, state: dict[str, Any]) -> None:
        if state["step"] > 8:
            raise Cut
        written.append(state["step"])
        real(self, state)

    monkeypatch.setattr(Checkpoints, "save", save)
    crashed, _, _ = run(tmp_path, every=3)
    assert isinstance(crashed.error, Cut)
    assert written[0] > 1
    assert 2 <= len(written) < 8
    monkeypatch.setattr(Checkpoints, "save", real)
    whole, events, weights = run()
    last, some, again = run(tmp_path)
    assert steps(some) == steps(events)[written[-1] :]
    assert (last.reason, whole.reason) == ("done", "done")
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_samples_are_drawn_where_an_evaluation_is_due_with_or_without_rows_to_validate() -> None:
    for evaluate in (None, measured()):
        _, events, _ = run(evaluate=evaluate, eval_every=4)
        assert [event.step for event in events if isinstance(event, Sampled)] == [4, 5, 8, 10, 12, 14]


@pytest.mark.parametrize("moment", ["while it is written", "before it is moved"])
def test_a_cut_while_a_checkpoint_is_written_leaves_the_last_one(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path)
    kept.save({"step": 1, "weights": torch.arange(4)})
    real = torch.save

    def cut(state: Any, path: Path) -> None:
        real(state, path)
        if moment == "while it is written":
            path.write_bytes(path.read_bytes()[:100])
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(Cut):
            kept.save({"step": 2, "weights": torch.arange(5)})
    state = Checkpoints(tmp_path).load()
    assert state is not None
    assert (state["step"], state["weights"].tolist()) == (1, [0, 1, 2, 3])
    kept.save({"step": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert kept.load() == {"step": 3}


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"cut",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: b'{"step": 3}',
    ],
    ids=["empty", "text", "header", "half", "json"],
)
def test_a_damaged_file_is_one_clear_line(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    run(tmp_path, stop_at=2)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError) as caught:
        run(tmp_path)
    assert str(caught.value) == f"cannot resume from '{path}': the file is damaged; delete it to begin anew"


@pytest.mark.parametrize("state", [{"step": 3}, [1, 2], {"random": 3}], ids=repr)
def test_a_file_of_something_else_is_one_clear_line(state: Any, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="the file is damaged; delete it to begin anew"):
        Checkpoints(tmp_path).load()


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "run",))

    torch.save({"step": Evil(), "random": random_state()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="damaged"):
        Checkpoints(tmp_path).load()
    assert not (tmp_path / "run").exists()


def test_clear_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "new" / "folder")
    assert kept.load() is None
    kept.clear()
    kept.save({"step": 1})
    assert kept.load() == {"step": 1}
    kept.clear()
    kept.clear()
    assert kept.load() is None


def test_a_finished_run_whose_checkpoint_is_cleared_begins_anew(tmp_path: Path) -> None:
    run(tmp_path, stop_at=4)
    Checkpoints(tmp_path).clear()
    _, events, _ = run(tmp_path)
    assert steps(events)[0][0] == 1


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    torch.manual_seed(5)
    torch.rand(3)
    kept.save({"step": 1})
    expected = torch.rand(4)
    torch.manual_seed(6)
    kept.load()
    assert torch.equal(torch.rand(4), expected)
    state = random_state()
    first = torch.rand(2)
    restore_random_state(state)
    assert torch.equal(torch.rand(2), first)


def test_when_one_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    kept = Checkpoints(tmp_path, every=60)
    for later, due in ((0, False), (59, False), (60, True), (61, True)):
        now[0] = 100.0 + later
        assert kept.due() is due
    kept.save({"step": 1})
    assert not kept.due()
