"""What torch's own allocator says of some work: independent of how `engine.rehearsal` counts."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def allocated(work: Callable[[], object]) -> tuple[int, int]:
    """Bytes on the CPU that ``work`` left and bytes that it held at its worst moment, beside what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        kept = work()
    assert profiled.profiler is not None
    events = profiled.profiler.kineto_results.events()
    changes = sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns())
    now = most = 0
    for change in changes:
        now += change.nbytes()
        most = max(most, now)
    del kept
    return now, most
