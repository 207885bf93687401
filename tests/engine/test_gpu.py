"""What only a GPU can show; ``pytest -m gpu`` on a machine with CUDA. Not yet run on one."""

import pytest
import torch

from gpt_magic.engine.events import Control, Stepped
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import train
from gpt_magic.engine.memory import available, let_go
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.precision import choose_machine
from gpt_magic.engine.rehearsal import rehearse
from gpt_magic.engine.step import accumulate_gradients
from tests.tiny import objective, random_rows, settings, tiny_gpt2

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
