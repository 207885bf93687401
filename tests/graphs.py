"""CUDA graphs played on a CPU, to test what is captured: operations are recorded once and computed again as recorded.

As on a GPU nothing of Python runs in a replay, so a number or a tensor that was not meant to stay is seen to stay; what
is recorded has no effect yet; and to read a number within a capture is an error.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "equal"}  # for the numbers themselves


class CpuGraphs:
    """`gpt_magic.engine.graphs.Graphs` on a CPU.

    Args:
        plays: else what was captured is computed anew, and nothing of it is kept.

    Attributes:
        captured, replayed: how often.
        inside: whether something is computed in its stream.
    """

    def __init__(self, *, plays: bool = True) -> None:
        self.plays = plays
        self.captured = self.replayed = 0
        self.inside = False

    @contextmanager
    def stream(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        assert self.inside
        self.captured += 1
        if not self.plays:
            return function
        graph = _Recorded()
        try:
            with graph:
                function()
        finally:
            graph.undo()

        def replay() -> None:
            assert self.inside
            self.replayed += 1
            graph.replay()

        return replay


class _Recorded(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []
        self._made: dict[int, Any] = {}  # storages of its own, by their addresses
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # of others, what was in them
        self._random = torch.get_rng_state()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if operation._overloadpacket.__name__ in WAITS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {operation}")
        for number, argument in enumerate(operation._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(args[number] if number < len(args) else kwargs.get(argument.name))
        out = operation(*args, **kwargs)
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}  # a view makes nothing
        for made in _tensors(out):
            if made.untyped_storage().data_ptr() not in {*self._before, *given}:
                self._made[made.untyped_storage().data_ptr()] = made.untyped_storage()
        self._operations.append((operation, args, kwargs, out))
        return out

    def _keep(self, written: Any) -> None:
        for tensor in _tensors(written):
            place = tensor.untyped_storage().data_ptr()
            if place not in self._made and place not in self._before:
                whole = tensor.new_empty(0).set_(tensor.untyped_storage())
                self._before[place] = (whole, whole.clone())

    def undo(self) -> None:
        """Take back what was done while it was recorded."""
        for whole, before in self._before.values():
            whole.copy_(before)
        torch.set_rng_state(self._random)

    @torch.no_grad()
    def replay(self) -> None:
        for operation, args, kwargs, out in self._operations:
            new = operation(*args, **kwargs)
            for recorded, made in zip(_tensors(out), _tensors(new), strict=True):
                if recorded.data_ptr() != made.data_ptr():
                    recorded.detach().copy_(made)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]
