"""What only a GPU can show; ``pytest -m gpu`` on a machine with CUDA. Not yet run on one."""

from typing import Any

import pytest
import torch

from gpt_magic.engine import capture, static
from gpt_magic.engine.events import Control, Event, Stepped, Warned
from gpt_magic.engine.graphs import graphs_on
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import train
from gpt_magic.engine.memory import available, let_go
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.precision import choose_machine
from gpt_magic.engine.rehearsal import rehearse
from gpt_magic.engine.schedule import build_optimizer
from gpt_magic.engine.step import accumulate_gradients
from gpt_magic.tasks.language import NextToken, encode
from tests.tiny import VOCABULARY, objective, random_rows, random_sequences, settings, tiny_gpt2, tiny_lm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]


@pytest.mark.parametrize("seed", range(3))
def test_packed_equals_padded_on_the_gpu(seed: int) -> None:
    model, rows = tiny_gpt2(seed=seed).cuda(), random_rows(12, seed)
    with torch.no_grad():
        packed = hidden_packed(model, rows.ids, rows.scored)
        padded = hidden_padded(model, rows.ids, rows.scored)
    torch.testing.assert_close(packed, padded, atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_on_the_gpu_follows_the_cpu(precision: str) -> None:
    curves = []
    for device, how in (("cpu", "fp32"), ("cuda", precision)):
        machine = choose_machine(device, how)
        losses: list[float] = []
        work = Job(
            tiny_gpt2(seed=1).to(machine.device), objective(), random_rows(64, seed=1), settings(steps=30), machine
        )
        train(work, lambda e, into=losses: into.append(e.loss) if isinstance(e, Stepped) else None, Control())
        curves.append(losses)
    assert curves[1] == pytest.approx(curves[0], abs=1e-3 if precision == "fp32" else 5e-2)


def test_auto_takes_the_gpu_and_bf16_where_it_is_native() -> None:
    machine = choose_machine("auto", "auto")
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert (machine.device.type, machine.precision) == ("cuda", "bf16" if native else "fp32")


def test_memory_is_given_back() -> None:
    before = torch.cuda.memory_allocated()
    machine = choose_machine("cuda", "fp32")
    work = Job(tiny_gpt2().to(machine.device), objective(), random_rows(32, seed=1), settings(), machine)
    train(work, lambda _: None, Control())
    del work
    assert torch.cuda.memory_allocated() <= before + 1_000_000


def test_what_is_said_of_memory_is_what_the_allocator_counts() -> None:
    machine = choose_machine("cuda", "auto")
    rows = random_rows(60, seed=1, longest=60)
    shape = {"n_layer": 6, "n_embd": 256, "vocab_size": 8192}
    warm = Job(tiny_gpt2(**shape).cuda(), objective(), rows, settings(steps=2), machine)
    train(warm, lambda _: None, Control())  # cuBLAS takes its workspace
    del warm
    let_go(machine.device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work = Job(tiny_gpt2(**shape).cuda(), objective(), rows, settings(steps=4, batch_size=16), machine)
    train(work, lambda _: None, Control())
    measured = torch.cuda.max_memory_allocated() - before
    need = rehearse(
        lambda: tiny_gpt2(**shape),
        lambda model: Job(model, objective(), rows, settings(steps=4, batch_size=16), machine),
        machine.device,
    )
    assert need.total == pytest.approx(measured, rel=0.1)


def test_what_is_free_counts_torchs_cache() -> None:
    device = torch.device("cuda")
    let_go(device)
    before = available(device)
    kept = torch.empty(2**28, dtype=torch.uint8, device=device)
    assert before - available(device) == pytest.approx(2**28, rel=0.05)
    del kept  # torch keeps it in its cache
    assert available(device) == pytest.approx(before, rel=0.01)


def test_a_gpu_that_is_full_is_survived() -> None:
    """A limit on the share that torch may take makes its allocator fail for real."""
    machine = choose_machine("cuda", "fp32")
    rows = random_rows(65, seed=1, longest=500)
    shape = {"n_layer": 6, "n_embd": 256, "n_positions": 512}
    order, lengths = range(1, 65), rows.lengths()
    whole = Job(tiny_gpt2(**shape).cuda(), objective(), rows, settings(batch_size=4, accumulate=16), machine)
    loss = accumulate_gradients(whole, order, lengths, 1)
    work = Job(tiny_gpt2(**shape).cuda(), objective(), rows, settings(batch_size=64), machine)
    let_go(machine.device)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 300_000_000) / total)
    try:
        found = accumulate_gradients(work, order, lengths, 1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found == pytest.approx(loss, abs=1e-5)
    assert 1 <= work.passes.rows < 64
    for mine, other in zip(work.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_twenty_runs_with_failures_among_them_leave_nothing_on_the_gpu() -> None:
    machine, left = choose_machine("cuda", "auto"), []
    for number in range(20):
        work = Job(tiny_gpt2().to(machine.device), objective(), random_rows(32, seed=1), settings(), machine)
        control = Control()
        if number % 3 == 1:
            work.model.score.weight.register_hook(lambda gradient: gradient * float("inf"))
        if number % 3 == 2:
            control.stop.set()
        outcome = train(work, lambda _: None, control)
        assert outcome.reason == ("done", "failed", "stopped")[number % 3]
        del work, outcome
        let_go(machine.device)
        left.append(torch.cuda.memory_allocated())
    assert max(left[3:]) == left[2]


# --- captured steps ------------------------------------------------------------------------------------------------


def captured_or_not(captured: bool, precision: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    """The outcome, losses and warnings of a run on the GPU."""
    monkeypatch.setattr(capture, "LEAST_STEPS", 1 if captured else 10**9)
    machine, rows = choose_machine("cuda", precision), random_rows(120, seed=1)
    how = {"steps": 30, "batch_size": 16, "warmup": 0.1, **changes}
    model = tiny_gpt2(seed=1, dropout=how.pop("dropout", 0.0))
    events: list[Event] = []
    outcome = train(Job(model.cuda(), objective(), rows, settings(**how), machine), events.append, Control())
    losses = [event.loss for event in events if isinstance(event, Stepped)]
    return outcome, losses, [event.line for event in events if isinstance(event, Warned)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_captured_steps_are_those_of_the_plain_loop(
    precision: str, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain, _ = captured_or_not(False, precision, monkeypatch, accumulate=accumulate)
    outcome, captured, warned = captured_or_not(True, precision, monkeypatch, accumulate=accumulate)
    assert outcome.reason == "done"
    assert outcome.how.startswith("captured in CUDA graphs"), warned
    assert captured == pytest.approx(plain, abs=1e-4 if precision == "fp32" else 5e-2)
    assert plain[0] - plain[-1] > 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_language_models_steps_are_captured(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "LEAST_STEPS", 1)
    rows = encode(random_sequences(120, seed=7, share=0.4), 64)
    events: list[Event] = []
    machine = choose_machine("cuda", precision)
    work = Job(tiny_lm(seed=7).cuda(), NextToken(VOCABULARY), rows, settings(steps=30, batch_size=8), machine)
    outcome = train(work, events.append, Control())
    assert outcome.how.startswith("captured in CUDA graphs"), [e.line for e in events if isinstance(e, Warned)]


def test_nothing_in_a_replayed_step_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says where the host waits; laying out the next rows is among it, reading the report is not."""
    machine, rows = choose_machine("cuda", "auto"), random_rows(16, seed=1)
    work = Job(tiny_gpt2().cuda(), objective(), rows, settings(steps=100, batch_size=16), machine)
    optimizer = build_optimizer("adamw", work.model, 1e-3, 0.1)
    graphs = graphs_on(machine.device)
    assert graphs is not None
    steps, order = capture.Captured(work, optimizer, lambda _: None, graphs), list(range(16))
    work.learn()
    for number in range(1, 4):
        steps(order, number, order)
    assert steps.how.startswith("captured in CUDA graphs, 1 size")
    read = torch.Tensor.tolist

    def at_the_end(tensor: torch.Tensor) -> Any:
        torch.cuda.set_sync_debug_mode("default")
        return read(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", at_the_end)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss, norm = steps(order, 4, order)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss > 0
    assert norm > 0


def test_a_capture_that_waits_for_the_gpu_fails_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, as torch's generator takes part in a capture."""
    real = static.hidden_filled

    def waits(*args: Any) -> torch.Tensor:
        hidden = real(*args)
        float(hidden.sum())
        return hidden

    monkeypatch.setattr(static, "hidden_filled", waits)
    outcome, losses, warned = captured_or_not(True, "fp32", monkeypatch, dropout=0.1)
    assert outcome.reason == "done"
    assert len(losses) == 30
    assert len(warned) == 1
    assert outcome.how.startswith("launched one operation after another")


def test_dropout_draws_anew_in_every_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    _, losses, warned = captured_or_not(True, "fp32", monkeypatch, dropout=0.5, learning_rate=1e-12, batch_size=120)
    assert not warned
    assert len(set(losses)) == 30


def test_a_loss_that_is_not_finite_is_found_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "LEAST_STEPS", 1)
    machine, bad = choose_machine("cuda", "fp32"), torch.zeros(3, device="cuda")
    work = Job(tiny_gpt2().cuda(), objective(), random_rows(64, seed=1), settings(steps=30), machine)
    work.model.score.register_forward_hook(lambda _, __, out: out + bad)

    def emit(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 12:
            bad.fill_(float("nan"))

    outcome = train(work, emit, Control())
    assert outcome.step == 12
    assert str(outcome.error).startswith("the loss is nan at step 13 (rows ")
    assert all(torch.isfinite(weight).all() for weight in work.model.parameters())


def test_graphs_give_their_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    device, kept = torch.device("cuda"), []
    for _ in range(4):
        captured_or_not(True, "fp32", monkeypatch)
        let_go(device)
        kept.append(torch.cuda.memory_reserved())
    assert kept[3] == kept[1]
