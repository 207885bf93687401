"""Memory that is freed within a run stays with the process until its end.

A step frees and takes gradients and activations of hundreds of megabytes. glibc gives blocks of that size back to the
system, which then has to hand out and clear every page again: a sixth of a step at GPT-2's size (benchmarks/LOG.md).
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_MOST = 2**31 - 1
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _MOST, _TOP_PAD: 2**26}
# What glibc comes to by itself in a process that has freed large blocks.
_GIVE_BACK = {_MMAP_MAX: 2**16, _TRIM_THRESHOLD: 2**26, _TOP_PAD: 2**17, _MMAP_THRESHOLD: 2**25}


@contextmanager
def kept_heap() -> Iterator[None]:
    """Within it freed memory is kept for what is asked for next; afterwards it goes back to the system.

    It holds for the whole process, and on Linux with glibc alone; elsewhere nothing changes.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    for name, value in _KEEP.items():
        libc.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in _GIVE_BACK.items():
            libc.mallopt(name, value)
        give_back()


def give_back() -> None:
    """Return to the system what is freed and still kept, as far as it can be."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
