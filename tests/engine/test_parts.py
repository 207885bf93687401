"""What is trained and what is frozen, in several families."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BloomConfig,
    BloomForSequenceClassification,
    GPT2ForQuestionAnswering,
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForSequenceClassification,
)

from gpt_magic.engine.parts import Part, blocks_of, count, freeze, head_of, parse, put_back, thaw, trained
from gpt_magic.errors import ModelError, OptionError
from tests.tiny import tiny_gpt2, tiny_lm, tiny_tagger

SMALL: dict[str, Any] = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}


def names(model: nn.Module) -> set[str]:
    return {name for name, _ in trained(model)}


@pytest.mark.parametrize(
    ("said", "part"),
    [("all", Part("all")), ("lora", Part("lora")), ("head", Part("head")), ("top:12", Part("top", 12))],
)
def test_what_the_option_says(said: str, part: Part) -> None:
    assert parse(said) == part


@pytest.mark.parametrize(
    ("make", "part", "learned"),
    [
        (
            lambda: tiny_gpt2(n_layer=3),
            Part("top", 2),
            ["transformer.h.1.", "transformer.h.2.", "transformer.ln_f.", "score."],
        ),
        (lambda: tiny_gpt2(n_layer=3), Part("head"), ["transformer.ln_f.", "score."]),
        (lambda: tiny_tagger(n_layer=3), Part("top", 1), ["transformer.h.2.", "transformer.ln_f.", "classifier."]),
        (lambda: tiny_lm(n_layer=3), Part("top", 1), ["transformer.h.2.", "transformer.ln_f."]),
        (lambda: tiny_lm(n_layer=3), Part("top", 3), ["transformer.h.", "transformer.ln_f."]),
        (lambda: GPT2ForQuestionAnswering(tiny_lm().config), Part("head"), ["transformer.ln_f.", "qa_outputs."]),
        (
            lambda: GPTNeoXForSequenceClassification(GPTNeoXConfig(**SMALL, intermediate_size=32)),
            Part("top", 1),
            ["gpt_neox.layers.2.", "gpt_neox.final_layer_norm.", "score."],
        ),
        (
            lambda: BloomForSequenceClassification(BloomConfig(vocab_size=50, hidden_size=16, n_layer=2, n_head=2)),
            Part("top", 1),
            ["transformer.h.1.", "transformer.ln_f.", "score."],
        ),
        (
            lambda: LlamaForCausalLM(LlamaConfig(**SMALL, intermediate_size=32, tie_word_embeddings=False)),
            Part("head"),
            ["model.norm.", "lm_head."],
        ),
    ],
)
def test_only_the_part_is_trained(make: Callable[[], nn.Module], part: Part, learned: list[str]) -> None:
    model = make()
    every = {name for name, _ in model.named_parameters()}
    frozen = freeze(model, part)
    assert names(model) == {name for name in every if name.startswith(tuple(learned))}
    inside = {id(weight) for module in frozen for weight in module.parameters()}
    assert inside == {id(weight) for weight in model.parameters() if not weight.requires_grad}
    some, total = count(model)
    assert 0 < some < total == sum(weight.numel() for weight in model.parameters())
    thaw(model)
    assert names(model) == every


def test_dropout_rests_in_the_frozen_modules_alone() -> None:
    model = tiny_gpt2(n_layer=3, dropout=0.5)
    frozen = freeze(model, Part("top", 1))
    model.train()
    for module in frozen:
        module.eval()
    resting = {name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and not module.training}
    inside = ("attn.attn_dropout", "attn.resid_dropout", "mlp.dropout")
    assert resting == {"transformer.drop", *(f"transformer.h.{block}.{name}" for block in (0, 1) for name in inside)}


def test_more_blocks_than_there_are() -> None:
    with pytest.raises(OptionError, match=r"^train = 'top:3': the model has 2 blocks; say top:1 to top:2$"):
        freeze(tiny_gpt2(), Part("top", 3))


def test_a_head_that_is_the_embedding_is_not_trained_alone() -> None:
    assert head_of(tiny_lm()) == []
    with pytest.raises(OptionError, match=r"^train = 'head': this head shares its matrix with the embedding"):
        freeze(tiny_lm(), Part("head"))


def test_a_family_whose_blocks_are_elsewhere() -> None:
    model = OPTForSequenceClassification(OPTConfig(**SMALL, ffn_dim=32, word_embed_proj_dim=16))
    with pytest.raises(ModelError, match=r"^the blocks of the family opt are not known here: say train = 'all'"):
        blocks_of(model)


def test_what_is_put_back_is_another_models() -> None:
    model, other = tiny_gpt2(seed=1), tiny_gpt2(seed=2)
    freeze(model, Part("top", 1))
    freeze(other, Part("top", 1))
    put_back(model, dict(trained(other)))
    for name, weight in trained(other):
        assert torch.equal(dict(trained(model))[name], weight)
    assert not torch.equal(model.transformer.wte.weight, other.transformer.wte.weight)
    freeze(other, Part("head"))
    with pytest.raises(KeyError):
        put_back(model, dict(trained(other)))
