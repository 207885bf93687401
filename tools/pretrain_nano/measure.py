"""Bits per character of texts: a figure that does not depend on the tokenizer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase


@torch.no_grad()
def nats(model: GPT2LMHeadModel, ids: torch.Tensor, window: int, stride: int) -> float:
    """The total for one text: each token but the first is scored once, in a window that moves by `stride`."""
    total, done, last = 0.0, 0, len(ids) - 1
    while done < last:
        end = min(last, window if done == 0 else done + stride)
        rows = ids[max(0, end - window) : end + 1]
        hidden = model.transformer(rows[None, :-1], use_cache=False).last_hidden_state[0, done - end :]
        logits = functional.linear(hidden, model.transformer.wte.weight).float()
        total += functional.cross_entropy(logits, rows[done - end :], reduction="sum").item()
        done = end
    return total


def bits_per_character(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    window: int,
    stride: int,
    limit: int = 0,
) -> float:
    """Over the texts, or their first `limit` characters; each text starts after end-of-text."""
    was_training = model.training
    model.eval()
    total, characters = 0.0, 0
    for whole in texts:
        text = whole[: limit - characters] if limit else whole
        if text:
            ids = torch.tensor([tokenizer.eos_token_id, *tokenizer(text, verbose=False).input_ids])
            total += nats(model, ids, window, stride)
            characters += len(text)
    model.train(was_training)
    return total / math.log(2) / characters
