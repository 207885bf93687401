"""What only a GPU can show; ``pytest -m gpu`` on a machine with CUDA. Not yet run on one."""

import pytest
import torch

from gpt_magic.engine.events import Control, Stepped
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.precision import choose_machine
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
