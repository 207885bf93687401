"""Captured steps are the plain loop's, on graphs that are played on a CPU; what cannot be captured is made plainly."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt_magic.engine import capture, static
from gpt_magic.engine.adapters import Lora, add_adapter
from gpt_magic.engine.batching import plan
from gpt_magic.engine.checkpoint import Checkpoints
from gpt_magic.engine.events import Control, Event, Phase, Stepped, Warned
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import Outcome, train
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.parts import Part, freeze
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.schedule import build_optimizer
from gpt_magic.engine.vocabulary import leave_out_unused, used_rows
from gpt_magic.tasks.language import encode
from tests.engine.test_static import TASKS
from tests.graphs import CpuGraphs
from tests.tiny import job, lm_job, objective, random_rows, random_sequences, settings, tiny_gpt2, tiny_lm

STEPS = 50


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> CpuGraphs:
    """Steps on a CPU are captured, also of runs that are short."""
    made = CpuGraphs()
    monkeypatch.setattr(capture, "graphs_on", lambda device: made)
    monkeypatch.setattr(capture, "LEAST_STEPS", 1)
    return made


def run(work: Job, control: Control | None = None) -> tuple[Outcome, list[Event]]:
    torch.manual_seed(5)  # dropout
    events: list[Event] = []
    return train(work, events.append, control or Control()), events


def curve(events: list[Event]) -> np.ndarray:
    """Loss, norm, rate and tokens of each step."""
    return np.array([(e.loss, e.grad_norm, e.learning_rate, e.tokens) for e in events if isinstance(e, Stepped)])


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def states(work: Job) -> Tensor:
    """What the trunk makes of some rows; weights themselves differ where a gradient is rounding alone."""
    with torch.no_grad():
        return hidden_packed(work.model, work.train.ids[:8], work.train.scored[:8])


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(*pair) for pair in zip(weights(one).values(), weights(other).values(), strict=True))


def texts(**changes: Any) -> Job:
    how = {"steps": STEPS, "batch_size": 16, "warmup": 0.1, "weight_decay": 0.1, **changes}
    return job(tiny_gpt2(seed=7), random_rows(120, seed=7), **how)


def completions(**changes: Any) -> Job:
    rows = encode(random_sequences(120, seed=7, share=0.4), 64)
    return lm_job(tiny_lm(seed=7), rows, **{"steps": STEPS, "batch_size": 8, "accumulate": 2, **changes})


def top(**changes: Any) -> Job:
    work = job(tiny_gpt2(seed=7, n_layer=3), random_rows(120, seed=7), steps=STEPS, batch_size=8, learning_rate=2e-3)
    return replace(work, frozen=freeze(work.model, Part("top", 2)))


def lora(**changes: Any) -> Job:
    work = job(tiny_gpt2(seed=7), random_rows(120, seed=7), steps=STEPS, batch_size=8, learning_rate=2e-3)
    torch.manual_seed(1)
    add_adapter(work.model, Lora(4, 8, 0.0))
    return work


def few_words(**changes: Any) -> Job:
    rows = random_rows(120, seed=7)
    rows = replace(rows, ids=[20 + row % 40 for row in rows.ids])  # filler's token is not among them
    work = job(tiny_gpt2(seed=7), rows, steps=STEPS, batch_size=8, learning_rate=2e-3, weight_decay=0.1)
    used = used_rows(work.model, rows)
    assert used is not None
    leave_out_unused(work.model, used)
    return work


@pytest.mark.parametrize("make", [texts, completions, top, lora, few_words])
def test_fifty_captured_steps_are_those_of_the_plain_loop(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    _, plain = run(make())
    graphs = request.getfixturevalue("graphs")
    outcome, events = run(make())
    assert len(curve(events)) == STEPS
    np.testing.assert_allclose(curve(events)[:, 0], curve(plain)[:, 0], atol=1e-6, rtol=0)
    np.testing.assert_allclose(curve(events)[:, 1], curve(plain)[:, 1], atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(curve(events)[:, 2:], curve(plain)[:, 2:])
    assert curve(plain)[0, 0] - curve(plain)[-1, 0] > 0.01  # something was learned, so the comparison means something
    assert graphs.replayed > STEPS  # an update and most passes
    assert "captured in CUDA graphs" in outcome.how
    assert not [event for event in events if isinstance(event, Warned)]


def test_captured_steps_in_bf16_are_near_those_of_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    bf16 = Machine(torch.device("cpu"), "bf16", "")
    _, plain = run(replace(texts(), machine=bf16))
    request.getfixturevalue("graphs")
    outcome, events = run(replace(texts(), machine=bf16))
    assert outcome.how.startswith("captured in CUDA graphs")
    np.testing.assert_allclose(curve(events)[:, 0], curve(plain)[:, 0], atol=0.02, rtol=0)


@pytest.mark.parametrize("make", TASKS)
def test_steps_of_every_task_are_captured(make: Callable[[int], Job], graphs: CpuGraphs) -> None:
    """To wait for a number within a step would be an error."""
    work = make(2)
    work.settings = settings(steps=12, batch_size=8)
    outcome, events = run(work)
    assert outcome.reason == "done"
    assert graphs.replayed > 12
    assert not [event for event in events if isinstance(event, Warned)]


def test_a_step_waits_for_nothing_but_its_report(graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are laid out while what was launched is computed, and only then numbers are read."""
    said: list[str] = []
    laid_out, launch = capture.Captured._laid_out, capture.Captured._launch
    monkeypatch.setattr(capture.Captured, "_laid_out", lambda *args: said.append("laid out") or laid_out(*args))
    monkeypatch.setattr(capture.Captured, "_launch", lambda *args: said.append("launched") or launch(*args))
    read = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: said.append("read") or read(tensor))
    work = texts(steps=6)
    work.train = replace(work.train, ids=work.train.ids[:96])  # no smaller step at the end of an epoch
    train(work, lambda event: said.append("stepped") if isinstance(event, Stepped) else None, Control())
    steps = " ".join(said).split("stepped")
    assert steps[3].split() == ["launched", "launched", "laid", "out", "read"]
    assert steps[5].split() == ["launched", "launched", "read"]  # nothing follows


def test_first_steps_are_as_many_launches_and_later_ones_replays(graphs: CpuGraphs) -> None:
    """Each size is captured when it comes again; with rows of one length that is one, and one before in the check."""
    work = texts(steps=9)
    ids = [np.resize(row, 16) for row in work.train.ids]
    work.train = replace(work.train, ids=ids[:96], scored=[np.array([15])] * 96)
    outcome, events = run(work)
    assert graphs.captured == 1 + 2
    assert graphs.replayed == 1 + 2 * 8
    assert outcome.how.startswith("captured in CUDA graphs, 1 size of a forward pass")
    phases = [event.name for event in events if isinstance(event, Phase)]
    assert phases[1:] == [
        "comparing a captured step with a plain one",
        "capturing a forward pass of 256 tokens",
        "training",
        "capturing a forward pass of 256 tokens",
        "capturing the update",
        "training, steps captured",
    ]


def test_sizes_above_the_most_are_computed_as_they_are(graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    _, all_of_them = run(texts())
    monkeypatch.setattr(capture, "MOST_SIZES", 2)
    before = graphs.captured
    outcome, events = run(texts())
    assert outcome.how.startswith("captured in CUDA graphs, 2 sizes")
    assert graphs.captured - before < 5
    np.testing.assert_allclose(curve(events)[:, 0], curve(all_of_them)[:, 0], atol=1e-6, rtol=0)


def test_an_update_that_is_not_finite_is_not_made(graphs: CpuGraphs) -> None:
    """Neither of weights nor of the optimizer's state: that is decided where the numbers are."""
    work = texts()
    optimizer = build_optimizer("adamw", work.model, 1e-3, 0.1)
    steps = capture.Captured(work, optimizer, lambda _: None, graphs)
    work.learn()
    for step in range(1, 4):
        steps(list(range(16)), step, None)
    before, state = weights(work.model), [value.clone() for value in _state(optimizer)]
    assert _state(optimizer)[0] == 3
    for number in (float("nan"), float("inf")):
        steps._loss.fill_(number)
        with graphs.stream():
            steps._launch(None)
        assert not torch.isfinite(steps._report[0])
        assert all(torch.equal(value, before[name]) for name, value in weights(work.model).items())
        assert all(torch.equal(*pair) for pair in zip(_state(optimizer), state, strict=True))
    assert optimizer.param_groups[0]["lr"] == 1e-3  # a number again
    assert not hasattr(optimizer, "found_inf")
    steps(list(range(16)), 4, None)
    assert not torch.equal(weights(work.model)["score.weight"], before["score.weight"])


def _state(optimizer: Any) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values()]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_ends_the_run_as_in_the_plain_loop(
    what: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """In the fifth step, when all is captured: the same error naming the rows, and the weights of the fourth step."""
    results = []
    for captured in (False, True):
        if captured:
            request.getfixturevalue("graphs")
        work = texts(batch_size=4)
        bad = torch.zeros(3)
        work.model.score.weight.register_hook(lambda gradient, bad=bad: gradient + bad[:, None])
        if what == "loss":  # the head's output
            work.model.score.register_forward_hook(lambda _, __, out, bad=bad: out + bad)
        control, events = Control(), []

        def emit(event: Event, events: list[Event] = events, bad: Tensor = bad) -> None:
            events.append(event)
            if isinstance(event, Stepped) and event.step == 4:
                bad.fill_(float("nan"))

        results.append((work, train(work, emit, control)))
    (one, plain), (other, captured_) = results
    assert plain.reason == captured_.reason == "failed"
    assert plain.step == captured_.step == 4
    assert f"the {what} is nan at step 5 (rows " in str(plain.error)
    assert str(plain.error) == str(captured_.error)
    torch.testing.assert_close(states(one), states(other), atol=1e-5, rtol=1e-5)
    assert (states(one) - states(texts())).abs().max() > 0.001


@pytest.mark.parametrize("stop_at", [1, 5, 9])
def test_a_stopped_run_goes_on_bit_for_bit(stop_at: int, tmp_path: Path, graphs: CpuGraphs) -> None:
    """In the middle of an epoch of 8 steps, with dropout; sizes are met and captured anew."""

    def part(folder: Path | None, stop_at: int = 0) -> tuple[np.ndarray, nn.Module]:
        work = job(tiny_gpt2(seed=7, dropout=0.1), random_rows(120, seed=7), steps=20, batch_size=16)
        work.checkpoints = None if folder is None else Checkpoints(folder, 1e9)
        control, events = Control(), []
        torch.manual_seed(3)

        assert train(work, partial(_hear, events, control, stop_at=stop_at), control).error is None
        return curve(events), work.model

    whole, model = part(None)
    first, _ = part(tmp_path, stop_at)
    second, resumed = part(tmp_path)
    assert len(first) == stop_at
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert same(model, resumed)


def test_a_run_that_was_captured_goes_on_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the other way round: a checkpoint knows nothing of it."""
    _, plain = run(texts(steps=20))
    for first in (True, False):
        events: list[Event] = []
        for captured in (first, not first):
            made = CpuGraphs() if captured else None
            monkeypatch.setattr(capture, "graphs_on", lambda device, made=made: made)
            monkeypatch.setattr(capture, "LEAST_STEPS", 1)
            work, control = texts(steps=20), Control()
            work.checkpoints = Checkpoints(tmp_path / str(first), 1e9)

            train(work, partial(_hear, events, control, stop_at=0 if events else 9), control)
        np.testing.assert_allclose(curve(events)[:, 0], curve(plain)[:, 0], atol=1e-6, rtol=0)


def evaluated(dropout: float, every: int) -> tuple[list[Event], list[float]]:
    """A run that is looked at between two steps, each time leaving the model as in use, and what was seen."""
    work = job(tiny_gpt2(seed=7, dropout=dropout), random_rows(120, seed=7), steps=20, batch_size=16, eval_every=every)
    seen: list[float] = []

    def evaluate() -> dict[str, float]:
        work.model.eval()
        seen.append(float(states(work).sum()))
        return {"loss": float(len(seen))}

    work.evaluate = evaluate if every else None
    outcome, events = run(work)
    assert outcome.reason == "done"
    assert not every or outcome.kept_step == every
    return events, seen


def test_an_evaluation_sees_the_weights_of_the_step_before(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    _, expected = evaluated(0.0, 3)
    request.getfixturevalue("graphs")
    _, seen = evaluated(0.0, 3)
    assert len(set(seen)) == len(seen) == 9  # every third step, and each end of an epoch
    np.testing.assert_allclose(seen, expected, atol=1e-3, rtol=0)


def test_evaluations_change_nothing_of_the_steps(graphs: CpuGraphs) -> None:
    """Dropout goes on, also in what is captured right after one."""
    (looked_at, _), (whole, _) = evaluated(0.3, 2), evaluated(0.3, 0)
    np.testing.assert_array_equal(curve(looked_at), curve(whole))


def _hear(events: list[Event], control: Control, event: Event, stop_at: int) -> None:
    events.append(event)
    if isinstance(event, Stepped) and event.step == stop_at:
        control.stop.set()


class Failing(CpuGraphs):
    """Its captures fail from the ``allowed``-th on."""

    def __init__(self, allowed: int) -> None:
        super().__init__()
        self.allowed = allowed

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        if self.captured == self.allowed:
            self.captured += 1
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        return super().capture(function)


class Forgetful(CpuGraphs):
    """Its replays do nothing."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        super().capture(function)
        return lambda: None


def test_a_replay_that_is_not_the_step_is_never_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, events = fallen_back(Forgetful(), monkeypatch)
    (line,) = [event.line for event in events if isinstance(event, Warned)]
    assert re.search(
        r"launched one operation after another.*: captured, the loss is 0 and not 4\.\d+, a gradient off", line
    )
    np.testing.assert_array_equal(curve(events), curve(plain))  # to the bit


@pytest.mark.parametrize("allowed", [0, 1, 2, 4])
def test_a_capture_that_fails_leaves_the_run_as_it_was(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the check, of a pass, of the update, late."""
    plain, events = fallen_back(Failing(allowed), monkeypatch)
    (line,) = [event.line for event in events if isinstance(event, Warned)]
    assert line.endswith("RuntimeError: CUDA error: operation failed due to a previous error during capture")
    np.testing.assert_allclose(curve(events)[:, 0], curve(plain)[:, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("at", [1, 2, 7])
def test_a_pass_that_fails_leaves_the_run_as_it_was(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that has no memory: what it has added to the gradients is not in the step."""
    real, made = static.hidden_filled, 0

    def hidden(*args: Any) -> Tensor:
        nonlocal made
        made += 1
        out = real(*args)
        if made == at:
            out.register_hook(_no_memory)
        return out

    monkeypatch.setattr(static, "hidden_filled", hidden)
    plain, events = fallen_back(CpuGraphs(), monkeypatch)
    assert made == at
    assert len([event for event in events if isinstance(event, Warned)]) == 1
    np.testing.assert_allclose(curve(events)[:, 0], curve(plain)[:, 0], atol=1e-6, rtol=0)


def _no_memory(gradient: Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def fallen_back(graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Event], list[Event]]:
    """The events of a plain run, and of one whose graphs do not do what they should."""
    monkeypatch.setattr(capture, "LEAST_STEPS", 1)
    _, plain = run(completions(steps=25))
    monkeypatch.setattr(capture, "graphs_on", lambda device: graphs)
    work = completions(steps=25)
    outcome, events = run(work)
    assert outcome.reason == "done"
    assert outcome.how.startswith("launched one operation after another, which takes a GPU longer: ")
    assert all(parameter.grad is None for parameter in work.model.parameters())
    return plain, events


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda work: replace(work, hidden=hidden_padded), "only packed rows are captured"),
        (lambda work: replace(work, settings=replace(work.settings, optimizer="muon")), "optimizer = 'muon'"),
        (lambda work: replace(work, settings=replace(work.settings, checkpointing="on")), "blocks are computed twice"),
        (lambda work: replace(work, settings=replace(work.settings, steps=5)), "capturing pays from 6 steps on"),
    ],
)
def test_what_is_not_captured_is_made_plainly_and_says_why(
    change: Callable[[Job], Job], why: str, graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "LEAST_STEPS", 6)
    outcome, _ = run(change(texts(steps=6)))
    assert outcome.reason == "done"
    assert outcome.how == f"launched one operation after another, which takes a GPU longer: {why}"
    assert graphs.captured == 0


def test_a_run_taken_up_with_blocks_computed_twice_says_that_it_is_plain(
    graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(capture, "LEAST_STEPS", 6)
    for taken_up in (False, True):
        work, control = texts(steps=12), Control()
        work.checkpoints = Checkpoints(tmp_path, 1e6)
        if not taken_up:
            work.passes.checkpointing = True  # as after memory ran out
            work.evaluate = lambda control=control: control.stop.set() or {"loss": 1.0}
            work.settings = replace(work.settings, eval_every=3)
        outcome, _ = run(work, control)
        assert (
            outcome.how == "launched one operation after another, which takes a GPU longer: blocks are computed twice"
        )
    assert (outcome.reason, outcome.step) == ("done", 12)
    assert graphs.captured == 0


def test_first_rows_that_teach_nothing_are_compared_too(graphs: CpuGraphs) -> None:
    """Their classes weigh nothing, so loss and gradients are 0."""
    work = texts(steps=8)
    work.objective = objective(weights=[0.0, 1.0, 1.0])
    first = next(plan(len(work.train), 16, 1, 0))
    targets = [np.array([0]) if row in first else target for row, target in enumerate(work.train.targets)]
    work.train = replace(work.train, targets=targets)
    outcome, events = run(work)
    assert outcome.how.startswith("captured in CUDA graphs")
    assert [loss > 0 for loss in curve(events)[:, 0]] == [False] + [True] * 7


def test_another_family_is_made_plainly(graphs: CpuGraphs) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=100,
        pad_token_id=99,
    )
    shape.num_labels = 3
    outcome, _ = run(job(LlamaForSequenceClassification(shape), random_rows(40, seed=1)))
    assert outcome.how.endswith("only steps of GPT-2 are captured")


def test_on_a_cpu_nothing_is_said() -> None:
    outcome, _ = run(texts(steps=3))
    assert outcome.how == ""


def test_dropout_draws_anew_in_every_replay(graphs: CpuGraphs) -> None:
    """Also where the weights stay: with a rate of 0."""
    work = job(tiny_gpt2(seed=7, dropout=0.5), random_rows(16, seed=2), steps=8, batch_size=16)
    work.settings = replace(work.settings, learning_rate=0.0)
    _, events = run(work)
    assert graphs.replayed > 8
    assert len(set(curve(events)[:, 0])) == 8
    _, again = run(work)
    np.testing.assert_array_equal(curve(again)[:, 0], curve(events)[:, 0])


def test_memory_that_ran_out_in_the_comparison_makes_smaller_passes(graphs: CpuGraphs) -> None:
    """The plain step finds what fits, and captured passes are cut as it says."""
    work = texts(steps=10)
    real = work.hidden

    def most(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> Tensor:
        if len(ids) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(model, ids, scored)

    steps = capture.Captured(work, build_optimizer("adamw", work.model, 1e-3, 0.0), lambda _: None, graphs)
    work.hidden = most
    steps(list(range(16)), 1, None)
    assert work.passes.rows == 4
    assert {size.rows for size in steps._buffers} == {4}
    assert steps.how.startswith("captured")
    work.passes.checkpointing = True  # from now on they are not
    assert steps.how == "launched one operation after another, which takes a GPU longer: blocks are computed twice"
