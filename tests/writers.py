"""Language models of each style, tuned in a moment: what generation runs, their results and files are tested with."""

from typing import Any

import pandas as pd
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

import gpt_magic
from gpt_magic.models.find import SHIPPED
from gpt_magic.tuned import TunedGenerator

CONTEXT = 64  # tokens that the base reads
ANIMALS = ["cat", "dog", "cow", "hen", "pig", "fox", "owl", "bat", "bee", "ant", "ape", "elk"]


def base(seed: int = 0, **config: Any) -> tuple[Any, Any]:
    """A GPT-2 of 1 layer x 32 without dropout, and the tokenizer that ships."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "nano")
    end = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_token_id)
    shape = {"n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": CONTEXT, "vocab_size": 8192}
    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = GPT2LMHeadModel(GPT2Config(**{**shape, **end, **drop, **config}, initializer_range=0.1)).eval()
    return model, tokenizer


def table(style: str, rows: int = 24) -> pd.DataFrame:
    """Riddles of animals; the row names are no positions."""
    animals = [f"{ANIMALS[i % 12]} number {i}" for i in range(rows)]
    index = pd.Index(range(100, 100 + rows))
    if style == "text":
        return pd.DataFrame({"text": [f"The {animal} is mine." for animal in animals]}, index=index)
    if style == "completion":
        asked = [f"Whose is the {animal}?\n" for animal in animals]
        told = [f"The {animal} is {'mine' if i % 3 else 'not mine, but yours'}." for i, animal in enumerate(animals)]
        return pd.DataFrame({"prompt": asked, "completion": told}, index=index)
    talks = [
        [
            {"role": "user", "content": f"Whose is the {animal}?"},
            {"role": "assistant", "content": "Mine."},
            {"role": "user", "content": "Really?"},
            {"role": "assistant", "content": "Yes, it is."},
        ][: 4 - 2 * (i % 2)]
        for i, animal in enumerate(animals)
    ]
    return pd.DataFrame({"messages": talks}, index=index)


def writer(style: str = "text", data: Any = None, **options: Any) -> TunedGenerator:
    """A tiny model tuned on `table`."""
    given = {"base": base(), "max_steps": 4, "learning_rate": 1e-2, "baselines": False, "quiet": True, **options}
    made = gpt_magic.finetune(table(style) if data is None else data, **given)
    assert isinstance(made, TunedGenerator)
    return made


def plain_tokens(style: str, frame: pd.DataFrame, tokenizer: Any) -> list[tuple[list[int], list[bool]]]:
    """Token ids and which are learned, row by row, written down by hand for plain transformers."""
    end, made = tokenizer.eos_token_id, []

    def ids(text: str) -> list[int]:
        return list(tokenizer(text)["input_ids"])

    for row in frame.itertuples():
        parts: list[tuple[list[int], bool]] = []
        if style == "text":
            parts = [([end], False), ([*ids(row.text), end], True)]
        elif style == "completion":
            parts = [(ids(row.prompt), False), ([*ids(row.completion), end], True)]
        else:
            for number, message in enumerate(row.messages):
                gap = "\n" if number else ""
                if message["role"] == "assistant":
                    parts += [(ids(f"{gap}Assistant:"), False), ([*ids(f" {message['content']}"), end], True)]
                else:
                    parts.append((ids(f"{gap}User: {message['content']}"), False))
        made.append(([i for some, _ in parts for i in some], [flag for some, flag in parts for _ in some]))
    return made


def plain_nats(model: Any, rows: list[tuple[list[int], list[bool]]]) -> tuple[float, int]:
    """The summed cross-entropy of the learned tokens and their number, by ``transformers`` with ``labels``."""
    total, tokens = 0.0, 0
    for ids, learned in rows:
        labels = [token if flag else -100 for token, flag in zip(ids, learned, strict=True)]
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
        total, tokens = total + float(loss) * sum(learned), tokens + sum(learned)
    return total, tokens
