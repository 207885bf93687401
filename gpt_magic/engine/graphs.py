"""Recording what is launched on a GPU, to launch it again at once: CUDA graphs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

_CAPTURING = threading.Lock()  # torch captures one graph at a time in a process
_OF_THREAD = threading.local()
_FREE: dict[torch.device, list[torch.cuda.Stream]] = {}


class Graphs(Protocol):
    """What can record launches and launch them again."""

    def stream(self) -> AbstractContextManager[object]:
        """Where all that will be recorded has to be computed."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what ``function`` would launch, and launch nothing of it; returns what does."""


def graphs_on(device: torch.device) -> Graphs | None:
    """What records on ``device``; None where nothing can."""
    return CudaGraphs(device) if device.type == "cuda" else None


class CudaGraphs:
    """Graphs on a GPU; they share their memory, as they are replayed one after another and leave nothing in it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _stream_of_thread(device)
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """A stream of its own, after what was launched before and before what comes after."""
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            usual.wait_stream(self._stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """As in `Graphs`; within `stream`."""
        graph = torch.cuda.CUDAGraph()
        try:
            # What a notebook's other threads do on a GPU is none of this thread's capture.
            with _CAPTURING, torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                function()
        except BaseException:
            # A capture that failed or was cut has not let go of torch's generator; of a copy it knows nothing.
            generator = torch.cuda.default_generators[self._stream.device_index]
            generator.graphsafe_set_state(generator.clone_state())
            raise
        return graph.replay


class _Borrowed:
    """A stream of one thread, which the next may have when that has ended.

    Each stream on which something is multiplied keeps a workspace of cuBLAS, and every run is a thread of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._free = _FREE.setdefault(device, [])
        self.stream: torch.cuda.Stream = self._free.pop() if self._free else torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __del__(self) -> None:
        self._free.append(self.stream)


def _stream_of_thread(device: torch.device) -> torch.cuda.Stream:
    """One for all graphs of a thread."""
    borrowed: dict[torch.device, _Borrowed] = vars(_OF_THREAD).setdefault("streams", {})
    if device not in borrowed:
        borrowed[device] = _Borrowed(device)
    return borrowed[device].stream
