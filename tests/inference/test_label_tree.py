"""Labels of several tokens, scored as a tree, against one plain forward pass a prompt and label."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gpt_magic.engine import batching
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.inference.label_tree import label_tree, score_labels
from tests.tiny import PAD, VOCABULARY, tiny_lm

END = PAD


def one_by_one(model: Any, prompts: Sequence[np.ndarray], labels: Sequence[Sequence[int]]) -> np.ndarray:
    """Summed log-probabilities of the labels' tokens, by transformers alone."""
    rows = []
    with torch.no_grad():
        for prompt in prompts:
            row = []
            for label in labels:
                ids = torch.tensor([[*prompt.tolist(), *label]])
                chances = model(input_ids=ids).logits[0].double().log_softmax(dim=1)
                row.append(sum(chances[len(prompt) - 1 + i, token].item() for i, token in enumerate(label)))
            rows.append(row)
    return np.array(rows)


def random_labels(rng: np.random.Generator, count: int, closed: bool) -> list[list[int]]:
    """Different labels of few different tokens, so that many begin alike and some go on where others end."""
    found = {tuple(rng.integers(0, 3, rng.integers(1, 5)).tolist()) for _ in range(count)}
    return [[*label, END] for label in sorted(found)] if closed else [list(label) for label in sorted(found)]


def prompts(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    return [rng.integers(0, PAD, length).astype(np.int32) for length in [1, *rng.integers(1, 30, count - 1)]]


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, initializer_range=0.2)).eval()


@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded], ids=["tree", "one by one"])
@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_one_sequence_a_label(seed: int, hidden: Any) -> None:
    rng = np.random.default_rng(seed)
    model = tiny_lm(seed)
    labels, texts = random_labels(rng, 12, closed=seed % 2 == 0), prompts(rng, 7)
    found = score_labels(model, texts, label_tree(labels), hidden)
    assert np.abs(found - one_by_one(model, texts, labels)).max() < 1e-5
    assert found.dtype == np.float32


def test_models_with_rotary_positions_and_grouped_heads_too() -> None:
    rng = np.random.default_rng(0)
    labels, texts = random_labels(rng, 12, closed=True), prompts(rng, 5)
    model = tiny_llama()
    assert np.abs(score_labels(model, texts, label_tree(labels)) - one_by_one(model, texts, labels)).max() < 1e-5


def test_a_label_that_goes_on_where_another_ends_is_told_from_it_by_the_end() -> None:
    labels = [[5, END], [5, 6, END], [5, 6, 7, END], [8, END]]
    tree = label_tree(labels)
    assert tree.tokens.tolist() == [5, 6, 7, 8]  # every beginning once, the ends nowhere
    assert tree.depths.tolist() == [1, 2, 3, 1]
    model, texts = tiny_lm(1), prompts(np.random.default_rng(1), 4)
    found = score_labels(model, texts, tree)
    assert np.abs(found - one_by_one(model, texts, labels)).max() < 1e-5
    with torch.no_grad():  # all that may follow the first token of the first three is in their ends and in what follows
        chances = model(input_ids=torch.tensor([[*texts[1].tolist(), 5]])).logits[0, -2:].log_softmax(dim=1)
    assert found[1, 0] == pytest.approx(float(chances[0, 5] + chances[1, END]), abs=1e-5)


def test_labels_of_one_token_need_no_node() -> None:
    tree = label_tree([[1], [2]])
    assert (len(tree.tokens), tree.places.tolist()) == (0, [0, 0])
    model, texts = tiny_lm(2), prompts(np.random.default_rng(2), 3)
    for hidden in (hidden_packed, hidden_padded):
        assert np.abs(score_labels(model, texts, tree, hidden) - one_by_one(model, texts, [[1], [2]])).max() < 1e-5


def test_many_passes_give_the_same_and_leave_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    labels, texts = random_labels(rng, 8, closed=True), prompts(rng, 9)
    tree, model = label_tree(labels), tiny_lm(3).train()
    whole = score_labels(model, texts, tree)
    monkeypatch.setattr(batching, "HEAD_OUTPUTS", (1 + len(tree.tokens)) * VOCABULARY * 2)
    calls: list[None] = []
    cut = score_labels(model, texts, tree, check=lambda: calls.append(None))
    assert len(calls) == 5
    np.testing.assert_allclose(cut, whole, atol=1e-5)
    assert model.training
    assert model.config._attn_implementation != "gpt_magic_packed"
