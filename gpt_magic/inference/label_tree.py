"""How likely a language model finds each of some texts, such as the names of labels, after a prompt.

Texts that begin alike share those tokens: a prompt is followed by the tree of all texts, each token of which sees the
prompt, the tokens above it and itself, in one forward pass. The scores are those of one sequence a text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.engine.batching import forward_passes
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.kernels import fast_kernels
from gpt_magic.engine.packing import arranged, hidden_packed, packing
from gpt_magic.engine.splitting import in_passes

_ROWS_A_PASS = 256


@dataclass(frozen=True)
class LabelTree:
    """Token sequences, each beginning that some share once.

    Attributes:
        tokens: the token of every node, parents before children, ``(nodes,)``. Last tokens are no nodes: nothing is
            read after them.
        above: for every node, which nodes it sees, itself among them, ``(nodes, nodes)``.
        labels: for every step of every sequence, the sequence it belongs to, ``(steps,)``.
        places: where the step is foretold: 0 at the end of the prompt, else 1 + the number of a node, ``(steps,)``.
        foretold: the token that is foretold there, ``(steps,)``.
        sequences: the sequences themselves.
    """

    tokens: np.ndarray
    above: np.ndarray
    labels: np.ndarray
    places: np.ndarray
    foretold: np.ndarray
    sequences: Sequence[Sequence[int]]

    @property
    def depths(self) -> np.ndarray:
        """How many tokens stand between the prompt's end and each node, itself among them, ``(nodes,)``."""
        depths: np.ndarray = self.above.sum(axis=1)
        return depths


def label_tree(sequences: Sequence[Sequence[int]]) -> LabelTree:
    """The tree of token sequences, each of one token at least.

    A sequence that goes on where another ends has to be told from it by a closing token at the end of each.
    """
    nodes: dict[tuple[int, ...], int] = {}
    steps: list[tuple[int, int, int]] = []
    for number, sequence in enumerate(sequences):
        place = 0
        for length, token in enumerate(sequence, start=1):
            steps.append((number, place, token))
            if length < len(sequence):
                place = 1 + nodes.setdefault(tuple(sequence[:length]), len(nodes))
    above = np.zeros((len(nodes), len(nodes)), dtype=bool)
    for beginning, node in nodes.items():
        if len(beginning) > 1:
            above[node] = above[nodes[beginning[:-1]]]
        above[node, node] = True
    tokens = np.array([beginning[-1] for beginning in nodes], dtype=np.int64)
    labels, places, foretold = np.array(steps, dtype=np.int64).reshape(-1, 3).T
    return LabelTree(tokens, above, labels, places, foretold, sequences)


def score_labels(
    model: nn.Module,
    prompts: Sequence[np.ndarray],
    tree: LabelTree,
    hidden: Hidden = hidden_packed,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Log-probability in nats of every sequence after every prompt, the sum over its tokens.

    Args:
        model: a causal language model; its training mode is put back afterwards.
        prompts: token ids of each prompt, one at least, ``(tokens,)`` each; the longest sequence must fit behind it.
        hidden: packed or padded forward; a model that cannot be packed reads one sequence a prompt and label.
        check: called before each forward pass; may raise to end the work.

    Returns:
        ``(prompts, sequences)`` in float32.
    """
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    lengths = np.fromiter(map(len, prompts), dtype=np.int64, count=len(prompts)) + len(tree.tokens)
    outputs = np.full(len(prompts), (1 + len(tree.tokens)) * head.weight.shape[0])
    scores = np.zeros((len(prompts), len(tree.sequences)), dtype=np.float32)
    states = hidden_tree if hidden is hidden_packed else _one_by_one(hidden)

    def read(rows: list[int]) -> np.ndarray:
        return _sums(head(states(model, [prompts[row] for row in rows], tree)).float(), tree, len(rows))

    cut = forward_passes(range(len(prompts)), lengths, _ROWS_A_PASS, outputs)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for rows, sums in in_passes(model, cut, lengths, read, check):
                scores[rows] = sums
    finally:
        model.train(training)
    return scores


def _sums(logits: Tensor, tree: LabelTree, rows: int) -> np.ndarray:
    """Log-probabilities of the sequences from logits ``(rows * (1 + nodes), vocabulary)``."""
    places, foretold, labels = (
        torch.from_numpy(some).to(logits.device) for some in (tree.places, tree.foretold, tree.labels)
    )
    whole = logits.logsumexp(dim=1).view(rows, -1)
    known = logits.view(rows, 1 + len(tree.tokens), -1)[:, places, foretold] - whole[:, places]
    sums: np.ndarray = known.new_zeros(rows, len(tree.sequences)).index_add_(1, labels, known).cpu().numpy()
    return sums


def hidden_tree(model: nn.Module, prompts: Sequence[np.ndarray], tree: LabelTree) -> Tensor:
    """Hidden states at the end of each prompt and at each node behind it, all prompts in one packed row.

    Returns:
        ``(prompts * (1 + nodes), hidden)``, prompt by prompt.
    """
    device = next(model.parameters()).device
    ends, nodes = np.array([len(prompt) for prompt in prompts]), len(tree.tokens)
    lengths = ends + nodes
    layout = arranged(lengths, device)
    tokens = np.concatenate([part for prompt in prompts for part in (prompt.astype(np.int64), tree.tokens)])
    positions = np.concatenate([part for end in ends for part in (np.arange(end), end - 1 + tree.depths)])
    first = np.cumsum(lengths) - lengths + ends - 1
    at = torch.from_numpy((first[:, None] + np.arange(1 + nodes)).ravel()).to(device)
    with packing(model), fast_kernels(model):
        out = model.base_model(  # type: ignore[operator]
            input_ids=torch.from_numpy(tokens).to(device)[None],
            position_ids=torch.from_numpy(positions).to(device)[None],
            use_cache=False,
            packed_layout=layout,
            packed_seen=[
                _seen(ends[group], tree, longest, device)
                for group, (_, longest) in zip(layout.groups, layout.shapes, strict=True)
            ],
        )
    return out.last_hidden_state[0, at]  # type: ignore[no-any-return]


def _seen(ends: np.ndarray, tree: LabelTree, longest: int, device: torch.device) -> Tensor:
    """Which places each place sees, ``(rows, 1, longest, longest)``: all before it, but of the tree what is above."""
    seen = torch.ones(longest, longest, dtype=torch.bool, device=device).tril().repeat(len(ends), 1, 1)
    above = torch.from_numpy(tree.above).to(device)
    for row, end in zip(seen, ends.tolist(), strict=True):
        row[end : end + len(above), end : end + len(above)] = above
    return seen[:, None]


def _one_by_one(hidden: Hidden) -> Callable[[nn.Module, Sequence[np.ndarray], LabelTree], Tensor]:
    """The same states from one sequence a prompt and label, for models whose attention takes no mask of ours."""

    def read(model: nn.Module, prompts: Sequence[np.ndarray], tree: LabelTree) -> Tensor:
        # Each place is foretold by the same tokens in whichever sequence it is looked up.
        _, some = np.unique(tree.places, return_index=True)
        before = np.concatenate([[0], np.cumsum([len(sequence) for sequence in tree.sequences])])
        tails = [tree.sequences[tree.labels[step]][: step - before[tree.labels[step]]] for step in some]
        ids = [np.concatenate([prompt, np.array(tail, dtype=prompt.dtype)]) for prompt in prompts for tail in tails]
        return hidden(model, ids, [np.array([len(row) - 1]) for row in ids])

    return read
