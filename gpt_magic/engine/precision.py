"""Which device, and which number format for its matrix products."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from gpt_magic.engine.kernels import bf16_products
from gpt_magic.errors import OptionError


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes.

    Attributes:
        device: the torch device.
        precision: ``fp32`` or ``bf16`` (matrix products of training steps; weights stay in fp32).
        why: the reason, for the report.
    """

    device: torch.device
    precision: str
    why: str

    def autocast(self, training: bool = True) -> AbstractContextManager[object]:
        """The context that forward passes run in.

        Args:
            training: whether a backward pass follows. On CPUs evaluations are in fp32 whatever the precision, so that a
                run's metrics are those of its result to the last digit.
        """
        if self.precision != "bf16":
            return nullcontext()
        if self.device.type == "cpu":
            return bf16_products() if training else nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def choose_machine(device: str, precision: str) -> Machine:
    """Settle ``auto`` and check what was asked for.

    Raises:
        OptionError: this machine has no such device, or the device cannot do the format at a useful speed.
    """
    chosen = _device(device)
    able, why = _bf16(chosen)
    if precision == "bf16" and not able:
        raise OptionError(f"precision = 'bf16': {why}; use fp32 or auto")
    if precision == "auto":
        precision = "bf16" if able else "fp32"
    return Machine(chosen, precision, why)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(f"device = {name!r}: must be auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device = {name!r}: torch sees no CUDA GPU here; use device = 'auto' or 'cpu'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"device = {name!r}: there are only {torch.cuda.device_count()} GPUs, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError("device = 'mps': torch sees no Apple GPU here; use device = 'auto' or 'cpu'")
    if device.type not in ("cpu", "cuda", "mps"):
        raise OptionError(f"device = {name!r}: must be auto, cpu, cuda, cuda:N or mps")
    return device


def _bf16(device: torch.device) -> tuple[bool, str]:
    """Whether bf16 products are native, and the reason in words."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        able = torch.cuda.get_device_capability(device) >= (8, 0)
        return able, f"{name} {'has' if able else 'has no'} native bf16"
    if device.type == "cpu":
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return able, "this CPU has native bf16" if able else "this CPU has no native bf16, which would be far slower"
    return False, "bf16 is not used on Apple GPUs"
