from typing import Any

import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from gpt_magic.models.heads import can_shift, scale_output, shift_output
from tests.tiny import PAD, tiny_gpt2


def neo() -> Any:
    torch.manual_seed(0)
    config = GPTNeoConfig(hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]])
    config.vocab_size, config.num_labels, config.pad_token_id = 100, 1, PAD
    return GPTNeoForSequenceClassification(config).eval()


@pytest.mark.parametrize("make", [lambda: tiny_gpt2(classes=1), neo], ids=["GPT-2", "GPT-Neo"])
@pytest.mark.parametrize(("scale", "shift"), [(2.5, -7.0), (0.01, 1000.0), (1e6, 3e6)])
def test_what_is_folded_in_comes_out_of_plain_transformers(make: Any, scale: float, shift: float) -> None:
    model = make()
    ids = torch.randint(0, PAD, (5, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(input_ids=ids).logits
        scale_output(model, scale)
        shift_output(model, shift)
        after = model(input_ids=ids).logits
    assert can_shift(model)
    torch.testing.assert_close(after, before * scale + shift, rtol=1e-5, atol=1e-5 * scale)


def test_a_norm_without_bias_has_no_place_for_a_shift() -> None:
    config = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, vocab_size=9)
    assert not can_shift(LlamaForSequenceClassification(config))
