"""Training steps recorded on a GPU (CUDA graphs) and launched again: else a step of GPT-2 is some 2,000 launches.

A step is its forward passes, each of one of a few fixed sizes (`static`), and one update. What comes for the first time
is computed as it is, the second time it is captured, and from then on replayed. Nothing within a step waits for the
GPU: whether the update may be made is decided there, and meanwhile the next step's rows are laid out here. What it
brings was not yet measured on a GPU.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from gpt_magic.engine.events import Emit, Phase, Warned
from gpt_magic.engine.graphs import Graphs, graphs_on
from gpt_magic.engine.job import Job
from gpt_magic.engine.memory import let_go
from gpt_magic.engine.packing import hidden_packed, is_gpt2
from gpt_magic.engine.static import Buffers, Size, filled_loss, lay_out
from gpt_magic.engine.step import Plain, Step, accumulate_gradients, step_passes, step_weight
from gpt_magic.errors import TrainingError, plural

LEAST_STEPS = 100  # of a run that captures: a size costs about as much as two plain passes before it is replayed
MOST_SIZES = 32  # that are captured: a graph of GPT-2 takes memory too

# By how much losses and gradients may differ from those of a plain step, as a share: rounding is all that differs.
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
_OF_ALL = 0.01  # of the norm of all gradients; some, as those of keys' biases, are rounding alone

_TWICE = "blocks are computed twice"
_SLOWER = "launched one operation after another, which takes a GPU longer"


def choose_steps(job: Job, optimizer: Optimizer, emit: Emit) -> Step:
    """How this run's steps are made: captured where that can be done and pays, else one operation after another."""
    graphs = graphs_on(job.machine.device)
    if graphs is None:
        return Plain(job, optimizer, emit)
    if why := why_plain(job, optimizer):
        return Plain(job, optimizer, emit, f"{_SLOWER}: {why}")
    return Captured(job, optimizer, emit, graphs)


def will_capture(job: Job, optimizer: Optimizer) -> bool:
    """Whether this run's steps would be captured."""
    return graphs_on(job.machine.device) is not None and not why_plain(job, optimizer)


def why_plain(job: Job, optimizer: Optimizer) -> str:
    """Why a run on a GPU is not captured; nothing where it is."""
    if not is_gpt2(job.model):
        return "only steps of GPT-2 are captured"
    if job.hidden is not hidden_packed:
        return "only packed rows are captured"
    if type(optimizer) is not AdamW:
        return f"optimizer = {job.settings.optimizer!r}"
    if job.passes.checkpointing:
        return _TWICE
    if job.settings.steps < LEAST_STEPS:
        return f"capturing pays from {LEAST_STEPS} steps on"
    return ""


class Captured:
    """Makes a run's steps by replaying what was captured.

    The first rows are computed plainly too, without dropout, and compared. If that differs, or a capture fails, all
    steps are made plainly from then on, and that is said.

    Args:
        graphs: where ``job`` computes.
    """

    def __init__(self, job: Job, optimizer: Optimizer, emit: Emit, graphs: Graphs) -> None:
        self._job, self._optimizer, self._emit, self._graphs = job, optimizer, emit, graphs
        self._plain = Plain(job, optimizer, emit)
        self._lengths = job.train.lengths()
        self._why_not = ""  # once steps are made plainly
        self._seconds = 0.0
        self._next: tuple[Sequence[int], list[tuple[Size, Buffers]]] | None = None
        self._gradients: dict[nn.Parameter, Tensor] = {}
        self._buffers: dict[Size, Buffers] = {}
        self._seen: set[Size | None] = set()  # None is the update
        self._replays: dict[Size | None, Callable[[], None]] = {}
        device = job.machine.device
        self._loss, self._rate = torch.zeros((), device=device), torch.zeros((), device=device)
        self._report = torch.zeros(2, device=device)

    @property
    def how(self) -> str:
        """How the steps were made, for the report."""
        if why := self._why_not or (_TWICE if self._job.passes.checkpointing else ""):
            return f"{_SLOWER}: {why}"
        sizes = len(self._replays.keys() - {None})
        return f"captured in CUDA graphs, {plural(sizes, 'size')} of a forward pass; {self._seconds:.1f} s to capture"

    def __call__(self, rows: Sequence[int], step: int, upcoming: Sequence[int] | None) -> tuple[float, float]:
        """As `Step`."""
        if self._why_not or self._job.passes.checkpointing:
            return self._plain(rows, step, upcoming)
        try:
            with self._graphs.stream():
                self._gradients_of(rows, step)
            why = ""
        except TrainingError:
            raise
        except Exception as failure:
            kind = "" if isinstance(failure, _Differs) else f"{type(failure).__name__}: "
            why = f"{kind}{' '.join(str(failure).split())[:200]}"
        if why:  # only now are the failure's frames gone, which held tensors
            self._give_up(why)
            return self._plain(rows, step, upcoming)
        with self._graphs.stream():
            self._rate.fill_(self._optimizer.param_groups[0]["lr"])
            self._launch(None)
            if upcoming is not None:
                self._next = (upcoming, self._laid_out(upcoming))
            loss, norm = self._report.tolist()  # waits for the GPU, once a step
        if math.isfinite(loss) and math.isfinite(norm):
            return loss, norm
        return self._plain(rows, step, upcoming)  # nothing was updated; this says which rows they were

    def _gradients_of(self, rows: Sequence[int], step: int) -> None:
        """Launch forward and backward passes of a step, and capture what has come before."""
        if not self._gradients:
            self._check(rows, step)
        passes = self._next[1] if self._next is not None and self._next[0] == rows else self._laid_out(rows)
        if any(size not in self._replays for size, _ in passes):  # a replay knows how it was
            self._job.learn()
        new = [self._capture(key) for key in (*(size for size, _ in passes), None)]
        if any(new):
            self._emit(Phase("training, steps captured"))
        self._launch_passes(passes)

    def _laid_out(self, rows: Sequence[int]) -> list[tuple[Size, Buffers]]:
        """The forward passes of a step, in memory from which a GPU copies without waiting."""
        total, passes = step_weight(self._job, rows), []
        for some in step_passes(self._job, rows, self._lengths):
            size, laid_out = lay_out(self._job, some, total)
            if self._job.machine.device.type == "cuda":
                laid_out = Buffers(*(part.pin_memory() for part in vars(laid_out).values()))
            passes.append((size, laid_out))
        return passes

    def _launch_passes(self, passes: Sequence[tuple[Size, Buffers]]) -> None:
        for size, laid_out in passes:
            if size in self._buffers:
                self._buffers[size].take(laid_out)
            else:
                self._buffers[size] = laid_out.to(self._job.machine.device)
            self._launch(size)

    def _pass(self, size: Size) -> None:
        """Add one forward pass to the step's loss and gradients."""
        loss = filled_loss(self._job, size, self._buffers[size])
        loss.backward()  # type: ignore[no-untyped-call]
        self._loss += loss.detach()

    def _update(self) -> None:
        """Clip and update, unless something is not finite; report loss and norm, and begin anew."""
        norm = nn.utils.clip_grad_norm_(self._gradients, self._job.settings.grad_clip or float("inf"), foreach=True)
        broken = ~torch.isfinite(self._loss + norm)
        with _told_by_tensors(self._optimizer, self._rate, broken.float()):
            self._optimizer.step()
        self._report.copy_(torch.stack([self._loss, norm]))
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._loss.zero_()
        torch._foreach_zero_(list(self._gradients.values()))

    def _launch(self, key: Size | None) -> None:
        if key in self._replays:
            self._replays[key]()
        else:
            self._compute(key)
            self._seen.add(key)

    def _capture(self, key: Size | None) -> bool:
        """Capture what is about to be launched for the second time; whether it was."""
        if key not in self._seen or key in self._replays or len(self._replays) > MOST_SIZES:
            return False
        what = "the update" if key is None else f"a forward pass of {plural(key.tokens, 'token')}"
        self._emit(Phase(f"capturing {what}"))
        began = time.perf_counter()
        self._replays[key] = self._graphs.capture(partial(self._compute, key))
        self._seconds += time.perf_counter() - began
        return True

    def _compute(self, key: Size | None) -> None:
        """A forward pass and its gradients, or the update."""
        with self._bound():
            if key is None:
                self._update()
            else:
                self._pass(key)

    @contextmanager
    def _bound(self) -> Iterator[None]:
        """Gradients go where they always go; outside of it the parameters have none."""
        for parameter, gradient in self._gradients.items():
            parameter.grad = gradient
        try:
            yield
        finally:
            for parameter in self._gradients:
                parameter.grad = None

    def _check(self, rows: Sequence[int], step: int) -> None:
        """Compare the passes of a step, as they are and captured, with plain ones.

        Raises:
            _Differs: they are not the same up to rounding.
            TrainingError: of the plain ones.
        """
        self._emit(Phase("comparing a captured step with a plain one"))
        before, began, model = self._seconds, time.perf_counter(), self._job.model
        model.eval()
        loss = accumulate_gradients(self._job, rows, self._lengths, step, self._emit)
        expected = {weight: weight.grad for weight in model.parameters() if weight.grad is not None}
        model.zero_grad(set_to_none=True)
        self._gradients = {weight: torch.zeros_like(gradient) for weight, gradient in expected.items()}
        passes = self._laid_out(rows)
        for how in ("of fixed size", "captured"):
            for size, _ in passes:
                self._capture(size)
            self._launch_passes(passes)
            self._compare(loss, expected, how)
            self._begin_anew()
        for found in (self._replays, self._seen):
            found.clear()  # it was without dropout
        self._seconds = before + time.perf_counter() - began
        self._emit(Phase("training"))

    def _compare(self, loss: float, expected: dict[nn.Parameter, Tensor], how: str) -> None:
        tolerance, found = _TOLERANCE[self._job.machine.precision], float(self._loss)
        norms = torch.stack([gradient.norm() for gradient in expected.values()])
        off = torch.stack([(self._gradients[weight] - gradient).norm() for weight, gradient in expected.items()])
        allowed = norms + _OF_ALL * norms.norm()
        near = abs(found - loss) <= tolerance * max(abs(loss), 1.0) and bool((off <= tolerance * allowed).all())
        if not near:
            largest = float((off / allowed).max())
            raise _Differs(f"{how}, the loss is {found:.6g} and not {loss:.6g}, a gradient off by {largest:.2g} of it")

    def _give_up(self, why: str) -> None:
        self._why_not, self._next, self._gradients = why, None, {}
        for held in (self._replays, self._buffers, self._seen):
            held.clear()
        self._job.model.zero_grad(set_to_none=True)
        let_go(self._job.machine.device)
        self._emit(Warned(f"steps are {_SLOWER}: {why}"))
        self._emit(Phase("training"))


class _Differs(Exception):
    """Captured steps are not the same as plain ones."""


@contextmanager
def _told_by_tensors(optimizer: Any, rate: Tensor, skip: Tensor) -> Iterator[None]:
    """Let ``optimizer.step()`` read from tensors its rate, and whether to skip the update: it is recorded only once."""
    groups, recorded = optimizer.param_groups, rate.is_cuda and torch.cuda.is_current_stream_capturing()
    before = [{name: group[name] for name in ("lr", "capturable")} for group in groups]
    optimizer.found_inf = skip  # what torch's gradient scaler sets
    for group in groups:
        group.update(lr=rate, capturable=recorded)
    try:
        yield
    finally:
        del optimizer.found_inf
        for group, own in zip(groups, before, strict=True):
            group.update(own)
