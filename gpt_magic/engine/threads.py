"""The threads that OpenMP keeps for each thread that has computed with it."""

import sys


def release_threads() -> None:
    """Let go of the threads that OpenMP keeps for the calling thread; they are back when it computes next.

    A run computes in a thread of its own and so with threads of its own. While the notebook's thread, which only waits,
    keeps some too, GNU's OpenMP counts more threads than processors and lets all of them sleep after each operation
    instead of waiting for the next: a third more time a step of ``nano`` (benchmarks/LOG.md). Elsewhere than on Linux,
    and where torch was not imported yet, nothing is done.
    """
    if sys.platform != "linux" or "torch" not in sys.modules:
        return
    from threadpoolctl import ThreadpoolController

    soft = 1  # omp_pause_soft of OpenMP 5.0, section 3.2.44
    for library in ThreadpoolController().select(prefix="libgomp").lib_controllers:
        pause = getattr(library.dynlib, "omp_pause_resource_all", None)
        if pause is not None:
            pause(soft)
