"""Learning to predict the next token: how token sequences are cut into rows, and the loss."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import Encoded, forward_passes, windows
from gpt_magic.engine.collecting import collect
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.splitting import in_passes

ROWS_A_PASS = 64
_WINDOW = 16_384  # rows among which those of like lengths are looked for


@dataclass(frozen=True)
class NextToken:
    """The objective of a generation run: cross-entropy of the next token at every scored position.

    Attributes:
        outputs: size of the vocabulary.
    """

    outputs: int

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """Every scored position counts alike, ``(scored,)``."""
        return np.ones(len(targets))

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each scored position in nats, ``(scored,)``, from hidden states ``(scored, hidden)``."""
        logits = model.get_output_embeddings()(hidden).float()  # type: ignore[operator]
        return nn.functional.cross_entropy(logits, targets, reduction="none")


@dataclass(frozen=True)
class Learned:
    """A sequence of tokens, and which of them are to be learned.

    Attributes:
        ids: token ids, ``(tokens,)``.
        learned: whether each is to be predicted, ``(tokens,)``; the first never is, as nothing stands before it.
        row: the row's name in the user's table.
    """

    ids: np.ndarray
    learned: np.ndarray
    row: Any


def encode(sequences: Iterable[Learned], limit: int, key: str | None = None, **how: Any) -> Encoded:
    """Rows for the loop: each sequence in blocks of at most ``limit`` tokens, see `blocks`; the rest as `collect`."""
    rows = ((*block, row.row) for row in sequences for block in blocks(row.ids, row.learned, limit))
    return collect(rows, key, dtype=np.int32, **how)


def blocks(ids: np.ndarray, learned: np.ndarray, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Cut a sequence into blocks of about equal length so that every learned token is predicted exactly once.

    Args:
        ids: token ids, ``(tokens,)``, two at least.
        learned: whether each token is to be predicted, ``(tokens,)``.
        limit: most tokens that a block may feed to the model.

    Yields:
        Input ids ``(inputs,)``, positions of it that are scored ``(scored,)``, and the tokens expected there. Inputs
        after the last scored position are left out, and so is a block without any.
    """
    inputs = len(ids) - 1
    edges = np.linspace(0, inputs, math.ceil(inputs / limit) + 1).round().astype(int)
    for start, end in pairwise(edges.tolist()):
        scored = np.flatnonzero(learned[start + 1 : end + 1])
        if len(scored):
            yield ids[start : start + scored[-1] + 1], scored, ids[start + 1 : end + 1][scored].astype(np.int64)


def total_nats(
    model: nn.Module, encoded: Encoded, hidden: Hidden, check: Callable[[], None] = lambda: None
) -> tuple[float, int]:
    """The summed cross-entropy in nats over all scored positions, and how many there are; see `row_nats`."""
    nats = float(row_nats(model, encoded, hidden, check).sum())
    return nats, int(encoded.scored_counts().sum())


def row_nats(
    model: nn.Module, encoded: Encoded, hidden: Hidden, check: Callable[[], None] = lambda: None
) -> np.ndarray:
    """The cross-entropy in nats of each row, summed over its scored positions, ``(rows,)``.

    Nothing but a number a row is kept from one forward pass to the next.

    Args:
        model: a causal language model; its training mode is put back afterwards.
        check: called before each forward pass; may raise to end the work.
    """
    device = next(model.parameters()).device
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    objective = NextToken(head.weight.shape[0])
    lengths, scored = encoded.lengths(), encoded.scored_counts()
    passes = (
        rows
        for window in windows(len(encoded), _WINDOW)
        for rows in forward_passes(window, lengths, ROWS_A_PASS, scored[window.start : window.stop] * objective.outputs)
    )

    def read(rows: list[int]) -> np.ndarray:
        states = hidden(model, [encoded.ids[r] for r in rows], [encoded.scored[r] for r in rows])
        expected = torch.from_numpy(np.concatenate([encoded.targets[r] for r in rows])).to(device)
        losses: np.ndarray = objective.losses(model, states, expected).cpu().double().numpy()
        return losses

    training, nats = model.training, np.zeros(len(encoded))
    model.eval()
    try:
        with torch.inference_mode():
            for rows, losses in in_passes(model, passes, lengths, read, check):
                nats[rows] = np.add.reduceat(losses, np.cumsum(scored[rows]) - scored[rows])
    finally:
        model.train(training)
    return nats


def metrics(nats: float, tokens: int, characters: int) -> dict[str, float]:
    """What is said of a text: mean loss in nats a token, perplexity, bits per character, tokens.

    Bits per character do not depend on the tokenizer, so models with different ones can be compared; the bits of the
    end-of-text tokens are counted, their characters are none. They do depend a little on how much is read at once: the
    first tokens of a block are foretold from little, so compare with the same ``max_length``.
    """
    loss = nats / max(tokens, 1)
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "bits_per_character": nats / math.log(2) / max(characters, 1),
        "tokens": tokens,
    }
