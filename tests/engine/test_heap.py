"""Freed memory is found again within a run, and given back after it; page faults and the resident size tell."""

import ctypes
import subprocess
import sys

import pytest

from gpt_magic.engine import heap
from gpt_magic.engine.heap import kept_heap

# A process of its own: what malloc does depends on all that was freed before.
_WATCHED = """
import resource, threading, torch
from gpt_magic.engine.heap import kept_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        blocks = [torch.zeros(megabytes, 2**18) for megabytes in (8, 20, 31)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 2**20

def work():
    faults()
    before = resident()
    outside = faults()
    with kept_heap():
        faults()
        within = faults()
    print(outside, within, resident() - before, faults() * 2 > outside)

worker = threading.Thread(target=work)
worker.start()
worker.join()
"""


@pytest.mark.skipif(heap._glibc() is None, reason="no glibc here")
def test_pages_are_kept_within_and_given_back_after() -> None:
    done = subprocess.run([sys.executable, "-c", _WATCHED], check=True, capture_output=True, text=True)
    outside, within, grown, again = done.stdout.split()
    assert int(within) * 10 < int(outside), done.stdout
    assert int(grown) < 8, done.stdout
    assert again == "True", done.stdout


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)
    heap._glibc.cache_clear()
    try:
        with kept_heap():
            pass
    finally:
        monkeypatch.undo()
        heap._glibc.cache_clear()
