"""Of the embedding, only the rows that the training texts use are trained; the others have no gradient anyway.

A text has gradients for the rows of its own tokens, so a row that no training text uses moves by weight decay alone.
Left out of the parameters, these rows cost neither gradients nor the optimizer's state nor its time, and the result is
the same. Of GPT-2's 124 million parameters 39 million are in the embedding, and a small data set uses few of its rows.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine import ragged
from gpt_magic.engine.batching import Encoded

_WORTH = 0.75  # the share of rows in use up to which it is worth its looks


def used_rows(model: Any, rows: Encoded) -> np.ndarray | None:
    """Numbers of the embedding's rows that ``rows`` use, ``(used,)``; None where leaving out the others does not work.

    That is where another module has the same matrix, as language models' heads do, where it is no plain embedding, and
    where it would save little.
    """
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:  # transformers finds it in most families
        return None
    if type(embedding) is not nn.Embedding or embedding.padding_idx is not None or embedding.max_norm is not None:
        return None
    owners = [m for m in model.modules() if any(w is embedding.weight for w in m.parameters(recurse=False))]
    if owners != [embedding] or not embedding.weight.requires_grad:
        return None
    seen = np.zeros(embedding.num_embeddings, dtype=bool)
    for tokens in ragged.pieces(rows.ids):
        seen[tokens] = True
    used = np.flatnonzero(seen)
    return used if len(used) <= _WORTH * len(seen) else None


def leave_out_unused(model: Any, used: np.ndarray) -> None:
    """Train of the embedding the rows ``used`` alone, ``(used,)``; `put_unused_back` undoes it."""
    model.set_input_embeddings(RowsInUse(model.get_input_embeddings(), used))


def put_unused_back(model: Any) -> None:
    """Make the embedding whole again; harmless where it is."""
    embedding = model.get_input_embeddings()
    if isinstance(embedding, RowsInUse):
        model.set_input_embeddings(embedding.whole())


class RowsInUse(nn.Module):
    """An embedding of which only some rows are parameters.

    In training all tokens must be among these. In use the others are read too.

    Attributes:
        weight: the rows in use, ``(used, hidden)``.
        decay: what weight decay has left of the others, ``(1, 1)``. A parameter with a gradient of 0, so that the
            optimizer, which decays matrices, does to it what it would have done to them.
    """

    def __init__(self, embedding: nn.Embedding, used: np.ndarray) -> None:
        super().__init__()
        weight = embedding.weight.detach()
        place = torch.zeros(len(weight), dtype=torch.long)
        place[torch.from_numpy(used)] = torch.arange(len(used))
        is_used = torch.zeros(len(weight), 1, dtype=torch.bool)
        is_used[torch.from_numpy(used)] = True
        self.weight = nn.Parameter(weight[torch.from_numpy(used).to(weight.device)])
        self.decay = nn.Parameter(weight.new_ones(1, 1))
        self.register_buffer("before", weight, persistent=False)
        self.register_buffer("place", place.to(weight.device), persistent=False)
        self.register_buffer("is_used", is_used.to(weight.device), persistent=False)
        self.before: Tensor
        self.place: Tensor
        self.is_used: Tensor

    def forward(self, tokens: Tensor) -> Tensor:
        """``(...)`` token ids to ``(..., hidden)``."""
        found = nn.functional.embedding(self.place[tokens], self.weight)
        if self.training:
            return found + 0.0 * self.decay
        return torch.where(self.is_used[tokens], found, self.decay * nn.functional.embedding(tokens, self.before))

    def whole(self) -> nn.Embedding:
        """The embedding with all rows; this one must not be used any more."""
        with torch.no_grad():
            rows = torch.where(self.is_used, self.weight[self.place], self.decay * self.before)
        made = nn.Embedding(rows.shape[0], rows.shape[1], _weight=rows)
        return made.train(self.training)
