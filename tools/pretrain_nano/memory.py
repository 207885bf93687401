"""Keep freed blocks in the process: glibc returns big ones to the system and faults them in anew every step."""

from __future__ import annotations

import ctypes
import sys


def keep_freed_memory() -> None:
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(-4, 0)  # M_MMAP_MAX: nothing by mmap
            library.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: give nothing back
            library.mallopt(-2, 2**26)  # M_TOP_PAD: grow in large pieces
