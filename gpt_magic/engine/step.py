"""One optimizer step's gradients: forward and backward through its rows, in as many passes as fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import Encoded, forward_passes
from gpt_magic.engine.job import Job
from gpt_magic.engine.kernels import fast_kernels
from gpt_magic.errors import TrainingError, listing


def accumulate_gradients(job: Job, rows: Sequence[int], lengths: np.ndarray, step: int) -> float:
    """Backward through one step's rows; returns their mean loss.

    The sum is divided by the weight of the whole step, so the gradient does not depend on how the rows
    are cut into forward passes (a mean of means would).
    """
    targets = {row: job.train.targets[row] for row in rows}
    # Rows that all weigh nothing teach nothing: their sum is 0 whatever it is divided by.
    total = float(sum(job.objective.weights(target).sum() for target in targets.values())) or 1.0
    device = job.machine.device
    loss = 0.0
    scored = np.fromiter((len(job.train.scored[row]) for row in rows), dtype=np.int64, count=len(rows))
    for some in forward_passes(rows, lengths, job.settings.batch_size, scored * job.objective.outputs):
        with job.machine.autocast(), fast_kernels(job.model):  # for the head too
            hidden = job.hidden(job.model, [job.train.ids[r] for r in some], [job.train.scored[r] for r in some])
            expected = torch.from_numpy(np.concatenate([targets[r] for r in some])).to(device)
            losses = job.objective.losses(job.model, hidden, expected)
        part = losses.sum() / total
        value = float(part.detach())
        if not np.isfinite(value):
            bad = _rows_not_finite(losses, some, job.train)
            raise TrainingError(f"the loss is {value} at step {step} (rows {listing(bad)}): {_ADVICE}")
        part.backward()  # type: ignore[no-untyped-call]
        loss += value
    return loss


_ADVICE = "the last good weights are kept; lower learning_rate, or look at these rows"


def _rows_not_finite(losses: Tensor, rows: Sequence[int], encoded: Encoded) -> list[Any]:
    """The rows whose own loss is not finite, by their names in the table."""
    finite = torch.isfinite(losses.detach()).cpu().numpy()
    owner = np.repeat(np.asarray(rows), [len(encoded.scored[row]) for row in rows])
    return [encoded.index[row] for row in dict.fromkeys(owner[~finite].tolist())]


def clip(model: nn.Module, largest: float, step: int, encoded: Encoded, rows: Sequence[int]) -> float:
    """Clip the gradient norm and return what it was before."""
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), largest or float("inf"), foreach=True))
    if not np.isfinite(norm):
        where = listing(encoded.index[row] for row in rows)
        raise TrainingError(f"the gradient is {norm} at step {step} (rows {where}): {_ADVICE}")
    return norm
