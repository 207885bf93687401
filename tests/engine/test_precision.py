"""Which device and format is taken, with the GPU's answers faked where there is none."""

import pytest
import torch

from gpt_magic.engine.kernels import in_bf16
from gpt_magic.engine.precision import Machine, choose_machine
from gpt_magic.errors import OptionError


def fake_cuda(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], count: int = 1) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Pretend 100")


@pytest.mark.parametrize(("capability", "precision"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp32")])
def test_auto_on_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str) -> None:
    fake_cuda(monkeypatch, capability)
    machine = choose_machine("auto", "auto")
    assert (machine.device.type, machine.precision) == ("cuda", precision)


@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("amx", [True, False])
def test_auto_on_a_cpu_is_bf16_where_it_is_native(monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_machine("cpu", "auto").precision == ("bf16" if avx512 or amx else "fp32")
    assert choose_machine("cpu", "fp32").precision == "fp32"


def test_on_a_cpu_only_the_products_of_fast_kernels_are_in_bf16() -> None:
    cpu = torch.device("cpu")
    with Machine(cpu, "bf16", "").autocast():
        assert in_bf16(cpu)
        assert not in_bf16(torch.device("meta"))
        assert not torch.is_autocast_enabled("cpu")
    assert not in_bf16(cpu)
    with Machine(cpu, "bf16", "").autocast(training=False):
        assert not in_bf16(cpu)
    with Machine(cpu, "fp32", "").autocast():
        assert not in_bf16(cpu)


@pytest.mark.parametrize(
    ("device", "says"),
    [("cuda", "no CUDA GPU"), ("mps", "no Apple GPU"), ("gpu", "must be auto, cpu"), ("meta", "must be auto, cpu")],
)
def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch, device: str, says: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError, match=says):
        choose_machine(device, "auto")


def test_a_gpu_number_too_high(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda(monkeypatch, (9, 0), count=2)
    with pytest.raises(OptionError, match="only 2 GPUs"):
        choose_machine("cuda:2", "auto")


def test_bf16_where_it_would_crawl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.raises(OptionError, match="precision = 'bf16': this CPU has no native bf16"):
        choose_machine("cpu", "bf16")
