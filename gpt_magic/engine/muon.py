"""Muon: momentum whose matrix is replaced by the nearest orthogonal one, for the matrices of the blocks.

After Keller Jordan's description (2024), with the update scaled to AdamW's so that both take one learning rate
(Liu et al. 2025, arXiv 2502.16982). Newton-Schulz runs in float32: ``torch.optim.Muon`` iterates in bfloat16, which is
many times slower than the rest of the step on a processor without bfloat16 arithmetic.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_RMS = 0.2  # root mean square of AdamW's usual update, in units of the learning rate


class Muon(torch.optim.Optimizer):
    """Muon for the matrices inside a transformer's blocks, AdamW for everything else.

    Args:
        model: embeddings, the head, norms and biases of it get AdamW; a fused query-key-value matrix is made
            orthogonal part by part.
        lr: peak learning rate of both.
        weight_decay: pull to zero of the matrices in the blocks, decoupled as in AdamW; nothing else decays.
        momentum: of the matrices in the blocks.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        matrices, others = split_matrices(model)
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": weight_decay, "momentum": momentum},
            {"params": others, "weight_decay": 0.0, "momentum": None},
        ]
        super().__init__(groups, {"lr": lr})
        self._adam = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one update from the gradients."""
        assert closure is None
        matrices, others = self.param_groups
        self._adam.param_groups[0]["lr"] = others["lr"]
        self._adam.step()
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight in matrices["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            average = state["momentum"]
            average.lerp_(weight.grad, 1 - matrices["momentum"])
            update = weight.grad.lerp(average, matrices["momentum"])
            weight.mul_(1 - matrices["lr"] * matrices["weight_decay"])
            for target, piece in zip(_pieces(weight), _pieces(update), strict=True):
                alike[piece.shape].append((target, piece))
        for shape, found in alike.items():  # matrices of one shape go through the iteration together
            scale = matrices["lr"] * _RMS * max(shape) ** 0.5
            for (target, _), change in zip(found, orthogonal(torch.stack([p for _, p in found])), strict=True):
                target.add_(change, alpha=-scale)

    def state_dict(self) -> dict[str, Any]:
        """Momenta of both parts."""
        return {"muon": super().state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        super().load_state_dict(state_dict["muon"])
        self._adam.load_state_dict(state_dict["adam"])


def orthogonal(stack: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz on matrices ``(matrices, rows, columns)``, rows <= columns: singular values go to about 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x: Tensor = stack / (torch.linalg.matrix_norm(stack, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def split_matrices(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Trainable matrices inside the blocks (of any ``nn.ModuleList``), and all other trainable parameters."""
    blocks = {
        id(weight)
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        for weight in module.parameters()
        if weight.ndim == 2
    }
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    return [w for w in trainable if id(w) in blocks], [w for w in trainable if id(w) not in blocks]


def _pieces(matrix: Tensor) -> list[Tensor]:
    """A matrix as wide pieces (views): query, key and value in one are cut in three, a tall one is transposed."""
    rows, columns = matrix.shape
    if columns == 3 * rows:
        return list(torch.split(matrix, rows, dim=1))
    if rows == 3 * columns:
        return list(torch.split(matrix, columns, dim=0))
    return [matrix if rows <= columns else matrix.mT]
