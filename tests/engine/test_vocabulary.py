"""Training only those rows of the embedding that have gradients, against training all."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2ForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.events import Control, Stepped
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.parts import trained
from gpt_magic.engine.precision import choose_machine
from gpt_magic.engine.rehearsal import rehearse
from gpt_magic.engine.vocabulary import RowsInUse, leave_out_unused, put_unused_back, used_rows
from tests.tiny import VOCABULARY, job, objective, random_rows, settings, tiny_gpt2, tiny_lm

FIRST = 40  # tokens that the training rows draw from


def rows_of_few_tokens(count: int, seed: int) -> Encoded:
    rows = random_rows(count, seed)
    return replace(rows, ids=[row % FIRST for row in rows.ids])


def losses(model: Any, rows: Encoded, **changes: Any) -> list[float]:
    found: list[float] = []
    work = job(model, rows, **changes)
    outcome = train(work, lambda e: found.append(e.loss) if isinstance(e, Stepped) else None, Control())
    assert outcome.error is None
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(2))
def test_the_same_run_as_with_all_rows(optimizer: str, decay: float, seed: int) -> None:
    rows, model = rows_of_few_tokens(40, seed), tiny_gpt2(seed=seed)
    other, how = deepcopy(model), {"weight_decay": decay, "optimizer": optimizer, "steps": 30, "learning_rate": 3e-3}
    used = used_rows(other, rows)
    assert used is not None
    assert used.tolist() == sorted({int(token) for row in rows.ids for token in row})
    leave_out_unused(other, used)
    assert losses(other, rows, **how) == pytest.approx(losses(model, rows, **how), abs=1e-6)
    put_unused_back(other)
    assert other.state_dict().keys() == model.state_dict().keys()
    for (name, mine), theirs in zip(other.state_dict().items(), model.state_dict().values(), strict=True):
        if not name.endswith("c_attn.bias"):  # the keys' bias has no gradient but rounding
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5, msg=name)
    unused = np.setdiff1d(np.arange(VOCABULARY), used)
    torch.testing.assert_close(  # these have no gradients that rounding could part
        other.transformer.wte.weight[unused], model.transformer.wte.weight[unused], atol=0, rtol=1e-6
    )
    assert type(other.transformer.wte) is torch.nn.Embedding
    assert other.transformer.wte.weight.requires_grad


def test_in_use_every_token_is_read() -> None:
    """In mid-run too, where weight decay has moved what no training row uses."""
    rows, unseen, model = rows_of_few_tokens(40, 0), random_rows(9, 1), tiny_gpt2()
    other = deepcopy(model)
    leave_out_unused(other, used_rows(other, rows))
    how = {"weight_decay": 2.0, "steps": 20, "learning_rate": 1e-2}
    losses(other, rows, **how)
    losses(model, rows, **how)
    assert float(other.transformer.wte.decay.detach()) < 0.9
    whole = deepcopy(other)
    put_unused_back(whole)
    for forward in (hidden_packed, hidden_padded):
        with torch.no_grad():
            found, same, expected = (forward(m, unseen.ids, unseen.scored) for m in (other, whole, model))
        torch.testing.assert_close(found, same, atol=1e-6, rtol=0)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_only_where_it_is_exact_and_worth_it() -> None:
    few, many = rows_of_few_tokens(40, 0), random_rows(200, 0)
    assert used_rows(tiny_gpt2(), many) is None  # nearly all rows are used
    assert used_rows(tiny_lm(), few) is None  # the head has the same matrix
    assert used_rows(tiny_lm(tie_word_embeddings=False), few) is not None
    frozen = tiny_gpt2()
    frozen.transformer.wte.requires_grad_(False)
    assert used_rows(frozen, few) is None
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForSequenceClassification(LlamaConfig(**shape, intermediate_size=32, pad_token_id=99))
    assert used_rows(llama, few) is None  # the row of the pad token has no gradient there
    llama = LlamaForSequenceClassification(LlamaConfig(**shape, intermediate_size=32))
    assert used_rows(llama, few) is not None


def test_gradients_state_and_memory_are_those_of_the_rows_in_use() -> None:
    shape = {"vocab_size": 5000, "n_layer": 1}
    rows, machine = rows_of_few_tokens(16, 0), choose_machine("cpu", "fp32")
    needs = []
    for part in (False, True):

        def load(part: bool = part) -> GPT2ForSequenceClassification:
            model = tiny_gpt2(**shape)
            if part:
                leave_out_unused(model, used_rows(model, rows))
            return model

        needs.append(
            rehearse(load, lambda m: Job(m, objective(), rows, settings(batch_size=16), machine), machine.device)
        )
    whole, part = needs
    model = tiny_gpt2(**shape)
    used = used_rows(model, rows)
    assert used is not None
    left_out = 4 * 32 * (5000 - len(used))
    assert whole.gradients - part.gradients == pytest.approx(left_out, abs=100)
    assert whole.optimizer - part.optimizer == pytest.approx(2 * left_out, abs=100)
    # At the worst moment of all rows it is the optimizer's update; of few, the first step's own passes.
    assert part.weights + part.gradients + part.optimizer < whole.weights + whole.gradients + whole.optimizer
    assert part.total < whole.total - 2 * left_out
    leave_out_unused(model, used)
    assert {tuple(w.shape) for n, w in trained(model) if "wte" in n} == {(len(used), 32), (1, 1)}
    assert isinstance(model.transformer.wte, RowsInUse)
