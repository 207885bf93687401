"""Packing must not change a number; a padded forward and one row at a time are the references."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BloomConfig, LlamaConfig
from transformers.utils import logging

from gpt_magic.engine import attention, layout, packing
from gpt_magic.engine.kernels import FEWEST, bf16_products
from gpt_magic.engine.packing import arranged, fits_packed, hidden_packed, hidden_padded
from tests.tiny import PAD, VOCABULARY, random_rows, tiny_gpt2, tiny_lm


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


def test_a_text_that_begins_like_padding_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """As every text to write on from does where the end-of-text token is the pad token too; a worker never prints."""
    logging.warning_once.cache_clear()  # it says a thing once a process
    model = tiny_lm()
    ids = [np.array([PAD, 3, 4], dtype=np.int32), np.array([PAD, 5], dtype=np.int32)]
    with torch.no_grad():
        hidden_packed(model, ids, [np.arange(3), np.arange(2)])
        assert "padded" not in caplog.text
        model(torch.tensor([[PAD, 3, 4]]))
    assert "may be padded" in caplog.text  # else the test could not fail
    assert model.config.pad_token_id == PAD


def test_gradients_of_packed_and_padded_forwards_agree() -> None:
    rows = random_rows(8, seed=3)
    gradients = []
    for hidden in (hidden_packed, hidden_padded):
        model = tiny_gpt2(seed=3)
        model.score(hidden(model, rows.ids, rows.scored)).logsumexp(1).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for packed, padded in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-4)


def test_in_bf16_the_places_of_attention_are_multiples() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 40)
    assert {shape[1] % FEWEST for shape in arranged(lengths, torch.device("cpu")).shapes} != {0}
    with bf16_products():
        few = {shape[1] for shape in arranged(lengths, torch.device("cpu")).shapes}
    assert {longest % FEWEST for longest in few} == {0}


@pytest.mark.parametrize("kept", [attention.KEPT, 5])
@pytest.mark.parametrize("several", [True, False], ids=["several scored", "one scored"])
def test_in_bf16_it_is_near(kept: int, several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "KEPT", kept)
    model, rows = tiny_gpt2(seed=2), random_rows(12, seed=6)
    scored = [np.arange(len(row)) for row in rows.ids] if several else rows.scored
    exact = hidden_packed(model, rows.ids, scored).detach()
    for way in (hidden_packed, hidden_padded):
        with bf16_products():
            near = way(model, rows.ids, scored)
        assert near.dtype == torch.float32
        assert 1e-5 < float((near - exact).detach().norm() / exact.norm()) < 0.02


def test_another_family_is_near_in_bf16_too() -> None:
    shape = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "num_labels": 3}
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, pad_token_id=PAD, **shape)
    torch.manual_seed(0)
    model, rows = AutoModelForSequenceClassification.from_config(config).eval(), random_rows(9, seed=2)
    exact = hidden_packed(model, rows.ids, rows.scored)
    for way in (hidden_packed, hidden_padded):
        with bf16_products():
            near = way(model, rows.ids, rows.scored)
        assert 1e-5 < float((near - exact).detach().norm() / exact.norm()) < 0.02


def test_several_scored_positions_a_row() -> None:
    model, rows = tiny_gpt2(), random_rows(5, seed=4, longest=20)
    scored = [np.arange(len(row)) for row in rows.ids]
    with torch.no_grad():
        packed, padded = hidden_packed(model, rows.ids, scored), hidden_padded(model, rows.ids, scored)
    assert packed.shape == (sum(map(len, scored)), 32)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=0)


def _hidden_and_gradients(seed: int, scored: list[np.ndarray], **config: Any) -> list[Tensor]:
    model, rows = tiny_gpt2(seed=seed, **config).train(), random_rows(len(scored), seed)
    torch.manual_seed(seed)
    hidden = hidden_packed(model, rows.ids, scored)
    torch.manual_seed(seed)
    (hidden * torch.randn_like(hidden)).sum().backward()  # not its squares: layer norm keeps their sum constant
    return [hidden.detach(), *(p.grad for p in model.base_model.parameters())]


def _few(seed: int, rows: int = 10) -> list[np.ndarray]:
    """Some positions of each row, of one row none and of one all, less than all those the last block is skipped for."""
    rng = np.random.default_rng(seed)
    lengths = random_rows(rows, seed).lengths()
    some = [np.sort(rng.choice(length, max(length // 3, 1), replace=False)) for length in lengths]
    some[-1], some[-2] = np.arange(0), np.arange(lengths[-2])
    return some


_CONFIGS: list[dict[str, Any]] = [
    {},
    {"n_layer": 1},
    {"n_layer": 3, "n_head": 2, "activation_function": "gelu_pytorch_tanh"},
    {"n_inner": 40, "scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False},
]


@pytest.mark.parametrize("config", _CONFIGS)
@pytest.mark.parametrize("several", [False, True])
def test_the_last_block_at_the_scored_positions_alone(
    config: dict[str, Any], several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = _few(7) if several else list(random_rows(10, 7).scored)
    alone = _hidden_and_gradients(7, scored, **config)
    monkeypatch.setattr(packing, "FEW", -1.0)
    whole = _hidden_and_gradients(7, scored, **config)
    for ours, theirs in zip(alone, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_how_much_of_the_last_block_is_computed() -> None:
    model, rows = tiny_gpt2(), random_rows(6, seed=8)
    seen: list[int] = []
    model.transformer.h[-1].mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].numel() // 32))
    tokens = int(rows.lengths().sum())
    for scored, computed in (
        (rows.scored, 6),
        ([np.arange(len(row)) for row in rows.ids], tokens),  # as in language modelling: by the model itself
        ([np.arange(0) for _ in rows.ids], tokens),
    ):
        hidden_packed(model, rows.ids, scored)
        assert seen.pop() == computed


def test_dropout_is_repeatable() -> None:
    once, again = (_hidden_and_gradients(9, _few(9), dropout=0.2) for _ in range(2))
    assert all(map(torch.equal, once, again))
    assert not torch.equal(once[0], _hidden_and_gradients(9, _few(9))[0])


@pytest.mark.parametrize("several", [False, True])
def test_groups_of_like_lengths_change_nothing(several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = _few(11) if several else list(random_rows(10, 11).scored)
    results = []
    for costs in (1, 2**40):
        monkeypatch.setattr(layout, "_GROUP_COSTS", costs)
        results.append(_hidden_and_gradients(11, scored))
    for many, one in zip(*results, strict=True):
        torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-5 * float(one.abs().max()))


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
