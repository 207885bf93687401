"""Muon: momentum whose matrix is replaced by the nearest orthogonal one, for the matrices of the blocks.

After Keller Jordan's description. Newton-Schulz runs in float32: torch.optim.Muon's bfloat16 is many times
slower on a processor without bfloat16 arithmetic. GPT-2 keeps query, key and value in one matrix; each is
made orthogonal by itself. Matrices of one shape are stacked and go through the iteration together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch


def orthogonal(stack: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz on a stack of matrices that are not taller than wide: singular values go to about 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = stack / (torch.linalg.matrix_norm(stack, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def pieces(matrix: torch.Tensor) -> list[torch.Tensor]:
    """The matrix (inputs x outputs) as wide pieces: a threefold one is cut in three, a tall one transposed."""
    rows, columns = matrix.shape
    if columns == 3 * rows:
        return list(matrix.split(rows, dim=1))
    return [matrix if rows <= columns else matrix.T]


class Muon(torch.optim.Optimizer):
    """For parameters that are matrices laid out as inputs x outputs (GPT-2's Conv1D)."""

    def __init__(
        self, params: Iterable[torch.Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002, D102
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor, float]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                average = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(average, group["momentum"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                targets = pieces(weight)
                outputs = weight.shape[1] / len(targets)
                scale = group["lr"] * max(1.0, outputs / weight.shape[0]) ** 0.5
                for target, piece in zip(targets, pieces(update), strict=True):
                    by_shape[piece.shape].append((target, piece, scale))
            for found in by_shape.values():
                steps = orthogonal(torch.stack([piece for _, piece, _ in found]))
                for (target, _, scale), step in zip(found, steps, strict=True):
                    target.add_(step, alpha=-scale)
