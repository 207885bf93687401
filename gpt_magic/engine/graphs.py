"""Recording what is launched on a GPU, to launch it again at once: CUDA graphs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

_CAPTURING = threading.Lock()  # torch captures one graph at a time in a process
_OF_THREAD = threading.local()


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


def _stream_of_thread(device: torch.device) -> torch.cuda.Stream:
    """One for all graphs of a thread: each stream on which something is multiplied keeps a workspace of cuBLAS."""
    streams: dict[torch.device, torch.cuda.Stream] = vars(_OF_THREAD).setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]
