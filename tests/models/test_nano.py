"""The model that ships: plain transformers loads it, any text survives its tokenizer, and it was really pretrained."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoTokenizer, GPT2LMHeadModel, GPT2Tokenizer

from gpt_magic import samples
from gpt_magic.data.passages import Passages, document
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.models.find import find_base
from gpt_magic.models.load import load_language_model
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.tasks.generate import sequences_of
from gpt_magic.tasks.language import encode, metrics, total_nats

FOLDER = find_base("nano").source


def test_it_is_a_plain_gpt2_in_half_precision() -> None:
    model = GPT2LMHeadModel.from_pretrained(FOLDER)
    assert 6e6 < sum(weight.numel() for weight in model.parameters()) < 8e6
    assert model.lm_head.weight is model.transformer.wte.weight
    assert str(model.dtype) == "torch.float32"
    with safe_open(FOLDER / "model.safetensors", "pt") as file:
        assert {str(file.get_slice(name).get_dtype()) for name in file.keys()} == {"F16"}  # noqa: SIM118
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 30e6


def test_it_loads_in_under_a_second_beyond_imports() -> None:
    GPT2LMHeadModel.from_pretrained(FOLDER)
    began = time.process_time()
    GPT2LMHeadModel.from_pretrained(FOLDER)
    AutoTokenizer.from_pretrained(FOLDER)
    assert time.process_time() - began < 1


@settings(deadline=None)
@given(st.text())
def test_its_tokenizer_spells_anything(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert isinstance(tokenizer, GPT2Tokenizer)
    ids = tokenizer(text, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert all(0 <= token < 8192 for token in ids)


@pytest.mark.parametrize("text", ["苹果是一种食物", "👩‍👩‍👧 e\u0301 ‏שלום", "\r\n\t\u200b"])
def test_it_spells_what_it_was_not_trained_on(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert tokenizer.decode(tokenizer(text).input_ids, clean_up_tokenization_spaces=False) == text


def test_it_was_really_pretrained() -> None:
    texts = samples.load("sonnets")["text"][:10].tolist()

    def bits(name: str) -> float:
        base = find_base(name)
        rows = sequences_of(Passages([document(text) for text in texts], texts), load_tokenizer(base))
        nats, tokens = total_nats(load_language_model(base, None), encode(rows, 512), hidden_packed)
        return metrics(nats, tokens, sum(map(len, texts)))["bits_per_character"]

    assert bits("nano") < 2.8  # English of four hundred years ago
    assert bits("scratch") > 4
