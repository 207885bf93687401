"""What a training run is told: everything that the loop reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.checkpoint import Checkpoints
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.precision import Machine

Hidden = Callable[[nn.Module, Sequence[np.ndarray], Sequence[np.ndarray]], Tensor]


class Objective(Protocol):
    """What a task brings to the loop.

    Attributes:
        outputs: numbers that the head computes for a scored position, such as the size of the vocabulary.
    """

    @property
    def outputs(self) -> int: ...  # noqa: D102  # see the class

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """The share that each scored position has in the loss, ``(scored,)``."""

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Weighted loss of each scored position in nats, ``(scored,)``, from hidden states ``(scored, hidden)``."""


@dataclass(frozen=True)
class Settings:
    """The numbers that a training run needs, all settled.

    Attributes:
        rows_at_once: most rows in one forward pass; 0 for ``batch_size``.
        checkpointing: ``on``, ``off``, or ``auto``: where one row alone does not fit without.
    """

    steps: int
    batch_size: int
    accumulate: int
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    grad_clip: float
    early_stop: int
    eval_every: int
    seed: int
    optimizer: str = "adamw"
    open_end: bool = False  # ``steps`` is only the most: the run ends when the validation rows do no better
    rows_at_once: int = 0
    checkpointing: str = "auto"

    @property
    def rows_per_step(self) -> int:
        """The effective batch size."""
        return self.batch_size * self.accumulate


@dataclass
class Passes:
    """How a step's rows are cut into forward passes; made smaller where memory runs out.

    Attributes:
        rows: most rows in one forward pass.
        checkpointing: whether blocks keep their inputs alone and are computed again in the backward pass.
    """

    rows: int
    checkpointing: bool = False


@dataclass
class Job:
    """One training run: everything the loop reads.

    Attributes:
        model: the model, on its device; trained in place.
        objective: the task's loss.
        train: the rows to learn from.
        evaluate: scores the validation rows; None when there are none.
        snapshot: called when a copy of the best weights is wanted, with what makes one and the outcome so far.
        measure: the metric, lower is better, that tells which weights did best on them.
        sample: (prompt, continuation) pairs that show what was learned, drawn where an evaluation is due.
        hidden: packed or padded forward.
        frozen: modules of the model that are not trained and compute as in use, without dropout.
        passes: how its rows are cut; at first as the settings say.
        checkpoints: where the run is kept while it goes on, and goes on from when it was cut; None to keep nothing.
    """

    model: nn.Module
    objective: Objective
    train: Encoded
    settings: Settings
    machine: Machine
    evaluate: Callable[[], Mapping[str, Any]] | None = None
    sample: Callable[[], tuple[tuple[str, str], ...]] | None = None
    hidden: Hidden = hidden_packed
    checkpoints: Checkpoints | None = None
    snapshot: Callable[[Callable[[], nn.Module], Any], None] | None = None
    measure: str = "loss"
    frozen: Sequence[nn.Module] = ()
    passes: Passes = field(init=False)

    def __post_init__(self) -> None:
        self.passes = Passes(
            self.settings.rows_at_once or self.settings.batch_size, self.settings.checkpointing == "on"
        )

    def learn(self) -> None:
        """Put the model into training mode, but for what is frozen."""
        self.model.train()
        for module in self.frozen:
            module.eval()
