"""A classifier of films by one word, tuned in a moment: what a result, its file and the magics are tested with."""

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

import gpt_magic
from gpt_magic.models.find import SHIPPED
from gpt_magic.tuned import TunedModel

CONTEXT = 32  # tokens that the base reads
WORDS = ["fine great lovely superb", "dull awful poor weak", "odd strange weird queer"]


def base(seed: int = 0, **changes: int) -> tuple[Any, Any]:
    """A GPT-2 of 1 layer x 32 where ``changes`` say no other shape, and the tokenizer that ships.

    Its weights are random and larger than GPT-2's own.
    """
    torch.manual_seed(seed)
    end = {"bos_token_id": 0, "eos_token_id": 0}
    shape = {"n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": CONTEXT, "vocab_size": 8192}
    model = GPT2LMHeadModel(GPT2Config(**{**shape, **changes}, **end, initializer_range=0.1))
    return model, AutoTokenizer.from_pretrained(SHIPPED / "nano")


def films(labels: Sequence[Hashable] = ("good", "bad")) -> pd.DataFrame:
    """40 rows a label; the row names are no positions."""
    rows = [
        (f"a {word} film, number {i}", label)
        for i in range(10)
        for label, words in zip(labels, WORDS, strict=False)
        for word in words.split()
    ]
    return pd.DataFrame(rows, columns=["review", "sentiment"], index=range(100, 100 + len(rows)))


def tuned(labels: Sequence[Hashable] = ("good", "bad"), **options: Any) -> TunedModel:
    """A model that tells the films apart."""
    given = {"base": base(), "max_steps": 20, "learning_rate": 1e-2, "baselines": False, "quiet": True, **options}
    made = gpt_magic.finetune(films(labels), **given)
    assert isinstance(made, TunedModel)
    return made
