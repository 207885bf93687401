"""A training step rehearsed with tensors that have no data: what it will hold is counted, nothing is computed.

The rehearsal runs the code of the run itself, so whatever changes a run's memory (packing, the task's head, dropout,
autocast, frozen parameters, another optimizer) is counted without being known here.
"""

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gpt_magic.engine.batching import Encoded, epoch_order, steps_per_epoch
from gpt_magic.engine.capture import will_capture
from gpt_magic.engine.job import Hidden, Job, Passes
from gpt_magic.engine.parts import trained
from gpt_magic.engine.schedule import build_optimizer
from gpt_magic.engine.static import filled_loss, lay_out
from gpt_magic.engine.step import pass_losses, step_passes

_KEPT = 18  # numbers that a block keeps of a token for its backward pass, in units of its width; roughly
_EPOCHS = 20  # whose steps are looked at; every one is shuffled anew
_WINDOW = 16_384  # rows of an evaluation that are looked at


@dataclass(frozen=True)
class Need:
    """Bytes that a run holds on its device when it holds most.

    Attributes:
        weights: parameters and buffers.
        gradients: of the parameters that are trained.
        optimizer: its state.
        best: the copy of the best weights, or before the first step of those that trials go back to; 0 where it is
            kept elsewhere.
        passes: what forward and backward passes, evaluations and the optimizer hold beside these at the worst moment.
        cut: rows of the largest pass of a step and tokens of its longest row, where limits keep it below the rows that
            were asked for; else None.
    """

    weights: int
    gradients: int
    optimizer: int
    best: int
    passes: int
    cut: tuple[int, int] | None = None

    @property
    def total(self) -> int:
        """At the worst moment."""
        return self.weights + self.gradients + self.optimizer + self.best + self.passes


def rehearse(
    load: Callable[[], nn.Module],
    work: Callable[[nn.Module], Job],
    device: torch.device,
    valid: Encoded | None = None,
    read_together: int = 1,
    trials: bool = False,
    *,
    valid_hidden: Hidden | None = None,
    before: Callable[[nn.Module], object] | None = None,
) -> Need:
    """Count what a run holds.

    Args:
        load: makes the model, its weights unread; on the meta device, as peft makes no layers of fake tensors.
        work: the job of that model.
        device: where it trains.
        valid: what it is evaluated on, ``read_together`` rows in a forward pass; None where it is not, and so keeps no
            best weights.
        trials: whether learning rates are tried before the run.
        valid_hidden: how ``valid`` goes through the model, where that is not how the job's rows do.
        before: passes that come before the first step and keep nothing on the device, as of a frozen trunk.

    Raises:
        Exception: the model or the task does something that only works on numbers; nothing is known then.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.device("meta"):
        model = load()
    with _unlogged("torch._subclasses.fake_tensor"), FakeTensorMode(allow_non_fake_inputs=True), _Counted() as held:
        _put_on(model, device)
        weights = held.now
        job = work(model)
        first = 0
        if before is not None:
            model.eval()
            with torch.no_grad(), held.most() as during:
                before(model)
            first = during.bytes - weights
        job.learn()
        rows, several, ended = largest_pass(job)
        learned = [weight for _, weight in trained(model)]
        gradients = sum(weight.numel() * weight.element_size() for weight in learned)
        optimizer = build_optimizer(job.settings.optimizer, model, job.settings.learning_rate, 0.0)
        captured = will_capture(job, optimizer)
        if several or captured:  # the passes before it have left theirs
            for weight in learned:
                weight.grad = torch.zeros_like(weight)
        with held.most() as during:
            _mean_loss(job, rows, captured).backward()  # type: ignore[no-untyped-call]
        step = during.bytes - weights  # gradients among it, as far as they are there at the worst moment
        with held.most() as during:
            optimizer.step()
        state = held.now - weights - gradients
        update = during.bytes - held.now
        optimizer.zero_grad(set_to_none=True)
        look, copied = 0, _copy_of(model) if device.type == "cpu" else 0
        if valid is not None:
            reading = replace(job, train=valid)
            reading.hidden, reading.passes = valid_hidden or job.hidden, Passes(read_together)
            model.eval()
            before = held.now
            with torch.no_grad(), held.most() as during:
                largest, _ = _largest(reading, [range(min(len(valid), _WINDOW))], limited=True)
                pass_losses(reading, largest)
            look = max(during.bytes - before, copied)
    # The worst of these moments: what comes first of all, a pass, the optimizer's update, an evaluation, and right
    # after it, when a new copy of the best weights is made and the old one is still there. What is captured keeps its
    # memory between two steps.
    making = max(step, gradients + update)
    beside = making + look if captured else max(making, look)
    best = copied if trials or valid is not None else 0
    cut = (len(rows), int(job.train.lengths()[rows].max())) if ended else None
    return Need(weights, gradients, state, best, max(beside, first - state - best, gradients) - gradients, cut)


@contextmanager
def _unlogged(name: str) -> Iterator[None]:
    """Without what a logger says: torch writes pages on standard error of each operation that does not work."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _put_on(model: nn.Module, device: torch.device) -> None:
    """Give the model tensors of the same shapes on ``device``; what was shared stays shared."""
    made: dict[Tensor, Any] = {}
    for own in (some for module in model.modules() for some in (module._parameters, module._buffers)):
        for name, old in own.items():
            if old is None:
                continue
            if old not in made:
                new = torch.empty(old.shape, dtype=old.dtype, device=device)
                made[old] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
            own[name] = made[old]


def _mean_loss(job: Job, rows: Sequence[int], captured: bool) -> Tensor:
    if not captured:
        return pass_losses(job, rows).sum() / len(rows)
    size, read = lay_out(job, rows, len(rows))
    return filled_loss(job, size, read.to(job.machine.device))


def largest_pass(job: Job) -> tuple[list[int], bool, bool]:
    """The rows of the run's largest forward pass, as far as one can say.

    Returns:
        The rows; whether its step, or another that is as heavy, has others; whether limits keep it from taking more.
    """
    steps = heavy_steps(job)
    rows, followed = _largest(job, steps)
    return rows, any(len(step) > len(rows) for step in steps), followed and len(rows) < job.passes.rows


def heavy_steps(job: Job, most: int = 200) -> list[list[int]]:
    """The rows of the steps with the most to hold, at most so many of them."""
    settings, costs = job.settings, _row_costs(job)
    per_step = settings.rows_per_step
    found: list[tuple[float, list[int]]] = []
    for epoch in range(min(-(-settings.steps // steps_per_epoch(len(costs), per_step)), _EPOCHS)):
        left = settings.steps - epoch * steps_per_epoch(len(costs), per_step)
        order = epoch_order(len(costs), settings.seed, epoch)[: left * per_step]
        sums = np.add.reduceat(costs[order], np.arange(0, len(order), per_step))
        found += [(sums[at], order[at * per_step : (at + 1) * per_step].tolist()) for at in np.argsort(-sums)[:most]]
    found.sort(key=lambda entry: -entry[0])
    return [rows for _, rows in found[:most]]


def _largest(job: Job, steps: Sequence[Sequence[int]], *, limited: bool = False) -> tuple[list[int], bool]:
    """The rows of the largest pass of some steps, and whether others follow it in its step."""
    lengths, costs = job.train.lengths(), _row_costs(job)
    cuts = (step_passes(job, step, lengths, limited=limited) for step in steps)
    passes = ((rows, number < len(cut)) for cut in cuts for number, rows in enumerate(cut, 1))
    return max(passes, key=lambda found: float(costs[found[0]].sum()))


def _row_costs(job: Job) -> np.ndarray:
    """About how many numbers each row has a forward pass hold, ``(rows,)``: in the blocks, and in the head."""
    config: Any = job.model.config
    a_token = _KEPT * config.num_hidden_layers * config.hidden_size
    a_scored = 3 * job.objective.outputs  # logits, their logarithms, their gradients
    costs: np.ndarray = job.train.lengths() * a_token + job.train.scored_counts() * a_scored
    return costs


def _copy_of(model: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for _, weight in trained(model))


@dataclass
class _Most:
    bytes: int = 0


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors made within it that are still alive.

    Attributes:
        now: bytes alive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self._peak = 0
        self._alive: set[int] = set()

    @contextmanager
    def most(self) -> Iterator["_Most"]:
        """What is alive at the worst moment within it, said when it ends."""
        self._peak, said = self.now, _Most()
        yield said
        said.bytes = self._peak

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Any,  # torch's protocol
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = operation(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, Tensor):
                self._take(made.untyped_storage())
        return out

    def _take(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive:
            return
        size = storage.nbytes()
        self._alive.add(key)
        self.now += size
        self._peak = max(self._peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size
