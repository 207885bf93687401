"""LoRA: training equals that of plain peft on padded rows, and merging leaves a plain model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from gpt_magic.engine.adapters import Lora, adapted, add_adapter, base_of, large_layers, merge_adapter
from gpt_magic.engine.events import Control, Event, Stepped
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import fits_packed
from gpt_magic.engine.parts import count, trained
from gpt_magic.errors import ModelError, OptionError
from gpt_magic.tasks.language import encode
from tests.engine.test_trunk import STEPS, padded_losses
from tests.tiny import job, lm_job, random_rows, random_sequences, tiny_gpt2, tiny_lm, tiny_tagger

LORA = Lora(rank=4, alpha=8, dropout=0.0)
SMALL: dict[str, Any] = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def losses(work: Any) -> list[float]:
    events: list[Event] = []
    assert train(work, events.append, Control()).error is None
    return [event.loss for event in events if isinstance(event, Stepped)]


@pytest.mark.parametrize("targets", [None, ["c_attn"]])
def test_training_equals_plain_peft(targets: list[str] | None) -> None:
    """Packed rows through layers that were put into the model; peft's own wrapper over padded rows."""
    from peft import LoraConfig, get_peft_model

    rows = random_rows(60, seed=3)
    ours, theirs = tiny_gpt2(seed=3), tiny_gpt2(seed=3)
    torch.manual_seed(9)
    add_adapter(ours, Lora(4, 8, 0.0, targets))
    found = losses(job(ours, rows, steps=STEPS, batch_size=8, learning_rate=1e-2))
    torch.manual_seed(9)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=targets or ["c_attn", "c_proj", "c_fc"],
        modules_to_save=["score", "ln_f"],
        fan_in_fan_out=True,
    )
    np.testing.assert_allclose(found, padded_losses(get_peft_model(theirs, config), rows), atol=1e-4, rtol=0)
    assert max(found) - min(found) > 0.1  # something was learned, so the comparison means something


def neox() -> Any:
    return GPTNeoXForSequenceClassification(GPTNeoXConfig(**SMALL, intermediate_size=64, num_labels=3, pad_token_id=99))


def llama() -> Any:
    config = LlamaConfig(**SMALL, intermediate_size=64, num_labels=3, pad_token_id=99)
    return LlamaForSequenceClassification(config)


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_lm, tiny_tagger, neox, llama])
def test_merging_leaves_a_plain_model_with_the_same_outputs(make: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    model, plain = make().eval(), make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    add_adapter(model, LORA)
    model.eval()
    with torch.no_grad():
        for _, weight in trained(model):
            weight.add_(torch.randn_like(weight) * 0.1)
    ids = torch.randint(0, 90, (3, 11), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        apart = model(input_ids=ids).logits
        assert adapted(model)
        merge_adapter(model)
        merged = model(input_ids=ids).logits
    torch.testing.assert_close(merged, apart, atol=1e-5, rtol=1e-5)
    assert not adapted(model)
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert list(model.state_dict()) == list(before)
    assert vars(model).keys() == vars(plain).keys()
    assert all(weight.requires_grad for weight in model.parameters())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any("embed" in name or "wte" in name or "wpe" in name or "ln_1" in name for name in changed)
    assert sum("bias" in name for name in changed) <= 2  # the last norm's, a head's


def test_only_small_matrices_and_a_head_of_its_own_are_trained() -> None:
    model = tiny_gpt2()
    add_adapter(model, LORA, "somewhere")
    assert {name.rpartition("lora_")[1] or name.split(".")[-4:-3][0] for name, _ in trained(model)} >= {"lora_"}
    others = [name for name, _ in trained(model) if "lora_" not in name]
    assert others == [f"transformer.ln_f.modules_to_save.default.{name}" for name in ("weight", "bias")] + [
        "score.modules_to_save.default.weight"
    ]
    # A and B of four layers in each of two blocks of width 32: c_attn, c_proj, c_fc and c_proj.
    assert count(model)[0] == 2 * 4 * (32 + 96 + 32 + 32 + 32 + 128 + 128 + 32) + 2 * 32 + 3 * 32
    assert base_of(model) == "somewhere"
    writer = tiny_lm()
    add_adapter(writer, LORA)
    assert all("lora_" in name for name, _ in trained(writer))


def test_a_language_model_learns_with_dropout_of_its_own_and_of_the_adapter() -> None:
    model, rows = tiny_lm(seed=3, dropout=0.1), encode(random_sequences(60, seed=4), 64)
    before = model.transformer.h[0].attn.c_attn.weight.clone()
    add_adapter(model, Lora(4, 8, 0.2))
    assert fits_packed(model, rows)
    found = losses(lm_job(model, rows, steps=STEPS, batch_size=8, learning_rate=1e-2))
    assert np.mean(found[-5:]) < np.mean(found[:5]) - 0.1
    assert torch.equal(model.transformer.h[0].attn.c_attn.base_layer.weight, before)


def test_layers_that_can_have_small_matrices() -> None:
    assert large_layers(tiny_gpt2()) == {"c_attn": True, "c_proj": True, "c_fc": True}
    assert large_layers(llama()) == dict.fromkeys(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), False
    )


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            ["c_atn"],
            r"^lora_targets = \['c_atn'\]: no layer 'c_atn' in the blocks \(did you mean 'c_attn'\?\); there are",
        ),
        (["wte"], r"^lora_targets = \['wte'\]: no layer 'wte' in the blocks; there are c_attn, c_proj, c_fc$"),
        ([], r"^lora_targets = \[\]: no layer is named; there are c_attn, c_proj, c_fc$"),
    ],
)
def test_layers_that_are_not_there(targets: list[str], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        add_adapter(tiny_gpt2(), Lora(4, 8, 0.0, targets))


def test_without_peft_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs the package peft, which is not installed: pip install peft$"):
        add_adapter(tiny_gpt2(), LORA)
