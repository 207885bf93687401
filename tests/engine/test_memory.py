"""What a device has left, by the limits of the machine, its control groups and the process."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gpt_magic.engine import memory
from gpt_magic.engine.memory import available, let_go

GIB = 2**30


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_the_tightest_of_the_groups_around_a_process_counts_in_version_2(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root)  # the root has no limits
    group(root / "user", memory__max=8 * GIB, memory__current=3 * GIB, memory__stat=f"anon 5\ninactive_file {GIB}")
    group(root / "user" / "job", memory__max="max", memory__current=2 * GIB, memory__stat="inactive_file 7")
    membership = tmp_path / "self"
    membership.write_text("0::/user/job\n")
    assert list(memory._of_groups(membership, root)) == [6 * GIB]


def test_groups_of_version_1(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    unlimited = 9223372036854771712
    group(root / "memory", memory__limit_in_bytes=unlimited, memory__usage_in_bytes=5, memory__stat="")
    group(
        root / "memory" / "docker" / "ab",
        memory__limit_in_bytes=2 * GIB,
        memory__usage_in_bytes=GIB,
        memory__stat="total_inactive_file 10\ninactive_file 99",
    )
    membership = tmp_path / "self"
    membership.write_text("5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n")
    assert list(memory._of_groups(membership, root)) == [GIB + 10]


def test_inside_a_container_the_groups_own_folder_is_the_root(tmp_path: Path) -> None:
    """The path that /proc/self/cgroup names may be the host's and not be mounted."""
    root = tmp_path / "cgroup"
    group(root, memory__max=4 * GIB, memory__current=5 * GIB, memory__stat="inactive_file 0")
    membership = tmp_path / "self"
    membership.write_text("0::/system.slice/docker-ab.scope\n")
    assert list(memory._of_groups(membership, root)) == [0]


def test_no_groups_no_limit(tmp_path: Path) -> None:
    assert list(memory._of_groups(tmp_path / "none", tmp_path)) == []


def test_the_tightest_limit_is_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_limits", lambda: iter([5, 3, 9]))
    assert available(torch.device("cpu")) == 3
    monkeypatch.setattr(memory, "_limits", lambda: iter([]))
    assert available(torch.device("cpu")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is heeded on Linux")
def test_here_it_is_what_psutil_says_and_heeds_ulimit() -> None:
    code = f"""
import psutil, resource, torch
from gpt_magic.engine.memory import available
free = psutil.virtual_memory().available
assert 0 < available(torch.device("cpu")) <= free * 1.1
taken = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (taken + {GIB}, resource.RLIM_INFINITY))
found = available(torch.device("cpu"))
assert 0.9 * {GIB} < found <= {GIB}, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_on_a_gpu_what_torch_keeps_in_its_cache_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        mem_get_info=lambda device: (3 * GIB, 8 * GIB),
        memory_reserved=lambda device: 2 * GIB,
        memory_allocated=lambda device: GIB // 2,
    )
    monkeypatch.setattr(torch, "cuda", fake)
    assert available(torch.device("cuda")) == 3 * GIB + 2 * GIB - GIB // 2


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_letting_go_empties_the_cache_of_the_device(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied = []
    monkeypatch.setattr(torch, kind, SimpleNamespace(empty_cache=lambda: emptied.append(kind)))
    let_go(torch.device(kind))
    let_go(torch.device("cpu"))
    assert emptied == [kind]
