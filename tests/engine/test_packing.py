"""Packing must not change a number; a padded forward and one row at a time are the references."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BloomConfig, LlamaConfig

from gpt_magic.engine import packing
from gpt_magic.engine.packing import fits_packed, hidden_packed, hidden_padded
from tests.tiny import PAD, VOCABULARY, random_rows, tiny_gpt2


@pytest.mark.parametrize("seed", range(5))
def test_packed_equals_one_by_one_and_transformers_own_padding(seed: int) -> None:
    model, rows = tiny_gpt2(seed=seed), random_rows(12, seed)
    lengths = [len(row) for row in rows.ids]
    padded = torch.full((len(rows), max(lengths)), PAD)
    for i, row in enumerate(rows.ids):
        padded[i, : len(row)] = torch.from_numpy(row)
    with torch.no_grad():
        packed = model.score(hidden_packed(model, rows.ids, rows.scored))
        ours_padded = model.score(hidden_padded(model, rows.ids, rows.scored))
        alone = torch.cat([model(torch.from_numpy(row)[None].long()).logits for row in rows.ids])
        theirs = model(padded, attention_mask=(padded != PAD).long()).logits
    for other in (ours_padded, alone, theirs):
        torch.testing.assert_close(packed, other, atol=1e-5, rtol=0)


def test_the_reference_would_notice_examples_that_see_each_other() -> None:
    """An all-ones mask joins the packed examples: far from the right answer, so the test above can fail."""
    model, rows = tiny_gpt2(), random_rows(6, seed=1)
    tokens = torch.from_numpy(np.concatenate(rows.ids)).long()[None]
    positions = torch.from_numpy(np.concatenate([np.arange(len(row)) for row in rows.ids]))[None]
    ends = np.cumsum([len(row) for row in rows.ids]) - 1
    with torch.no_grad():
        joined = model.base_model(tokens, position_ids=positions, attention_mask=torch.ones_like(tokens))
        right = hidden_packed(model, rows.ids, rows.scored)
    assert (joined.last_hidden_state[0, ends] - right).abs().max() > 0.01


def test_gradients_of_packed_and_padded_forwards_agree() -> None:
    rows = random_rows(8, seed=3)
    gradients = []
    for hidden in (hidden_packed, hidden_padded):
        model = tiny_gpt2(seed=3)
        model.score(hidden(model, rows.ids, rows.scored)).logsumexp(1).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for packed, padded in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-4)


def test_several_scored_positions_a_row() -> None:
    model, rows = tiny_gpt2(), random_rows(5, seed=4, longest=20)
    scored = [np.arange(len(row)) for row in rows.ids]
    with torch.no_grad():
        packed, padded = hidden_packed(model, rows.ids, scored), hidden_padded(model, rows.ids, scored)
    assert packed.shape == (sum(map(len, scored)), 32)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=0)


def test_unknown_families_are_verified() -> None:
    small = {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "vocab_size": VOCABULARY,
        "pad_token_id": PAD,
        "num_labels": 2,
    }
    rows = random_rows(6, seed=5, longest=20)
    llama = AutoModelForSequenceClassification.from_config(
        LlamaConfig(num_hidden_layers=2, intermediate_size=64, num_key_value_heads=4, **small)
    )
    bloom = AutoModelForSequenceClassification.from_config(BloomConfig(n_layer=2, **small))  # takes no position_ids
    assert fits_packed(llama.train(), rows)
    assert llama.training
    assert not fits_packed(bloom, rows)


def test_a_family_whose_packing_is_wrong_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny_gpt2(), random_rows(6, seed=6)
    monkeypatch.setattr(packing, "KNOWN", frozenset())
    assert fits_packed(model, rows)
    monkeypatch.setattr(packing, "hidden_packed", lambda *args: hidden_packed(*args) + 0.01)
    assert not fits_packed(model, rows)
