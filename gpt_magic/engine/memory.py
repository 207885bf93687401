"""What memory a device has for a run, and giving back what is not in use."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from gpt_magic.engine.heap import give_back

_UNLIMITED = 2**60  # what cgroups of version 1 say where there is no limit is above this


def available(device: torch.device) -> int | None:
    """Bytes that a run may still take there; None where they are not known.

    On a GPU what torch keeps in its cache counts too. On the CPU the limits of the control groups and of the process
    (``ulimit -v``) count as well as the memory of the machine.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return min(_limits(), default=None)


def let_go(device: torch.device) -> None:
    """Free what nothing refers to any more, and what malloc and, on a GPU, torch's cache keep for later."""
    gc.collect()
    give_back()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _limits() -> Iterator[int]:
    """What each limit on this process leaves, in bytes."""
    machine = _of_machine()
    if machine is not None:
        yield machine
    if sys.platform == "linux":
        yield from _of_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    if os.name == "posix":
        yield from _of_process()


def _of_machine() -> int | None:
    table = _numbers(Path("/proc/meminfo"), ":")
    if "MemAvailable" in table:
        return table["MemAvailable"] * 1024
    try:
        import psutil  # comes with ipykernel
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _of_groups(membership: Path, root: Path) -> Iterator[int]:
    """What the control groups of this process and those around them leave, of both versions.

    Args:
        membership: lines ``number:controllers:group``.
        root: where the groups are mounted.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            top, limit, use, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, use = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        inside = top / group.lstrip("/")
        for folder in (inside, *inside.parents):
            most, used = _number(folder / limit), _number(folder / use)
            if most is not None and used is not None and most < _UNLIMITED:
                # Files that were read and are not in use go when memory is wanted.
                yield max(most - used + _numbers(folder / "memory.stat").get(cache, 0), 0)
            if folder == top:
                break


def _of_process() -> Iterator[int]:
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    taken = _numbers(Path("/proc/self/status"), ":").get("VmSize")
    if most != resource.RLIM_INFINITY and taken is not None:
        yield max(most - taken * 1024, 0)


def _number(file: Path) -> int | None:
    """The number in a file; None where there is none, as in ``max``."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _numbers(file: Path, after: str = "") -> dict[str, int]:
    """Lines ``name: number ...`` of a file; empty where there is none."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0].removesuffix(after): int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
