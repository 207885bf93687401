"""What a frozen trunk makes of rows: training from it equals training without it, and a plain padded training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from transformers import get_scheduler

from gpt_magic import store
from gpt_magic.engine.batching import Encoded, plan
from gpt_magic.engine.events import Control, Event, Stepped, StopRequested
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.parts import Part, freeze
from gpt_magic.engine.trunk import can_keep, hidden_from, keep_states, size
from gpt_magic.errors import DataError
from gpt_magic.inference.scoring import score_at, score_last
from gpt_magic.tasks.labelled import logits
from gpt_magic.tasks.language import encode, total_nats
from tests.full import FullDisk
from tests.tiny import PAD, job, lm_job, random_rows, random_sequences, tiny_gpt2, tiny_lm

STEPS = 30


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.FOLDER, str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(work: Job) -> list[float]:
    torch.manual_seed(5)  # dropout
    events: list[Event] = []
    outcome = train(work, events.append, Control())
    assert outcome.error is None
    return [event.loss for event in events if isinstance(event, Stepped)]


def frozen_job(model: Any, part: Part, make: Callable[..., Job], rows: Encoded, kept: bool, **how: Any) -> Job:
    """A job that trains ``part``, from kept states or through the whole model."""
    frozen = freeze(model, part)
    work = make(model, rows, steps=STEPS, batch_size=8, learning_rate=1e-2, **how)
    if kept:
        work = replace(
            work, train=keep_states(model, rows, part.blocks), hidden=partial(hidden_from, blocks=part.blocks)
        )
    return replace(work, frozen=frozen)


def texts(dropout: float) -> tuple[Callable[[], Any], Callable[..., Job], Encoded]:
    return lambda: tiny_gpt2(seed=3, n_layer=3, dropout=dropout), job, random_rows(60, seed=3)


def language(dropout: float) -> tuple[Callable[[], Any], Callable[..., Job], Encoded]:
    rows = encode(random_sequences(60, seed=4, share=0.5), 64)
    return lambda: tiny_lm(seed=3, n_layer=3, dropout=dropout), lm_job, rows


def stream(dropout: float) -> tuple[Callable[[], Any], Callable[..., Job], Encoded]:
    rows = encode(random_sequences(60, seed=4, share=1.0), 64)  # all scored: the last block is computed everywhere
    return lambda: tiny_lm(seed=3, n_layer=3, dropout=dropout), lm_job, rows


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (texts, Part("top", 1)),
        (texts, Part("top", 2)),
        (texts, Part("head")),
        (language, Part("top", 1)),
        (language, Part("top", 2)),
        (stream, Part("top", 2)),
    ],
)
def test_training_from_kept_states_equals_training_without(kind: Any, part: Part, dropout: float) -> None:
    """Losses within 1e-5 over all steps, with the same dropout in what is trained; the frozen weights not touched."""
    make, work, rows = kind(dropout)
    before, models, losses = make(), [make(), make()], []
    for model, kept in zip(models, (True, False), strict=True):
        losses.append(run(frozen_job(model, part, work, rows, kept)))
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5, rtol=0)
    assert abs(losses[1][0] - losses[1][-1]) > 0.01  # something was learned, so the comparison means something
    for model in models:
        for (name, weight), was in zip(model.named_parameters(), before.parameters(), strict=True):
            assert torch.equal(weight, was) == (not weight.requires_grad), name


@pytest.mark.parametrize("part", [Part("top", 1), Part("top", 2), Part("head")])
def test_training_from_kept_states_equals_a_plain_padded_training(part: Part) -> None:
    """transformers' own forward and loss on padded rows, torch's AdamW on what asks for gradients."""
    rows = random_rows(60, seed=3)
    ours = run(frozen_job(tiny_gpt2(seed=3, n_layer=3), part, job, rows, kept=True))
    theirs = tiny_gpt2(seed=3, n_layer=3)
    learned = (*(f"transformer.h.{2 - i}." for i in range(part.blocks)), "transformer.ln_f.", "score.")
    for name, weight in theirs.named_parameters():
        weight.requires_grad_(name.startswith(learned))
    np.testing.assert_allclose(ours, padded_losses(theirs, rows), atol=1e-4, rtol=0)


def padded_losses(model: Any, rows: Encoded) -> list[float]:
    some = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in some if weight.ndim > 1], "weight_decay": 0.01},
        {"params": [weight for weight in some if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    schedule = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=STEPS)
    losses = []
    for step in plan(len(rows), 8, STEPS, seed=0):
        ids = [torch.from_numpy(rows.ids[row]).long() for row in step]
        tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)
        labels = torch.tensor([int(rows.targets[row][0]) for row in step])
        loss = model(input_ids=tokens, attention_mask=(tokens != PAD).long(), labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(some, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_what_is_scored_is_the_same(blocks: int) -> None:
    model, rows = tiny_gpt2(seed=6, n_layer=3), random_rows(40, seed=6)
    states, onward = keep_states(model, rows, blocks), partial(hidden_from, blocks=blocks)
    np.testing.assert_allclose(
        score_last(model, states.ids, logits, onward), score_last(model, rows.ids, logits), atol=1e-5
    )
    assert np.array_equal(states.lengths(), rows.lengths())
    writer, passages = tiny_lm(seed=6, n_layer=3), encode(random_sequences(40, seed=6, share=0.3), 64)
    states = keep_states(writer, passages, blocks)
    kept, tokens = total_nats(writer, states, onward)
    nats, same = total_nats(writer, passages, hidden_packed)
    assert tokens == same
    assert kept == pytest.approx(nats, abs=1e-3)
    head = writer.get_output_embeddings()
    found = score_at(writer, states.ids, states.scored, lambda _, hidden: head(hidden), onward)
    for one, other in zip(
        found, score_at(writer, passages.ids, passages.scored, lambda _, hidden: head(hidden)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_many_states_are_in_a_file_that_goes_with_them(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny_gpt2(seed=6, n_layer=3), random_rows(200, seed=6)
    few = keep_states(model, rows, 1)
    assert not own_cache.exists()
    monkeypatch.setattr(store, "IN_MEMORY", 1000)
    monkeypatch.setattr("gpt_magic.engine.trunk._PIECE", 20_000)  # several pieces
    told: list[int] = []
    many = keep_states(model, rows, 1, watch=told.append)
    assert len(told) > 3
    assert told[-1] == len(rows)
    assert told == sorted(told)
    assert not list(own_cache.iterdir())  # nobody else can see it, and nothing is left when it is let go
    for one, other in zip(many.ids, few.ids, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert size(rows, 1, 32) == sum(len(ids) for ids in rows.ids) * 32 * 4
    assert size(rows, 0, 32) == 200 * 32 * 4


def test_a_stop_or_a_full_disk_leaves_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny_gpt2(seed=6, n_layer=3), random_rows(200, seed=6)
    monkeypatch.setattr(store, "IN_MEMORY", 1000)
    monkeypatch.setattr("gpt_magic.engine.trunk._PIECE", 20_000)
    control, seen = Control(), []

    def stop_soon(done: int) -> None:
        seen.append(done)
        control.stop.set()

    with pytest.raises(StopRequested):
        keep_states(model, rows, 1, control.check, stop_soon)
    assert seen
    assert not list(own_cache.iterdir())
    monkeypatch.setattr(store, "_free", lambda where: 10)
    with pytest.raises(DataError, match="in the cache folder"):
        keep_states(model, rows, 1)
    assert not list(own_cache.iterdir())


def test_a_disk_that_fills_up_leaves_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "IN_MEMORY", 1000)
    monkeypatch.setattr(pa.ipc, "new_file", lambda *_: FullDisk())
    with pytest.raises(DataError, match="its disk is full"):
        keep_states(tiny_gpt2(seed=6, n_layer=3), random_rows(200, seed=6), 1)
    assert not list(own_cache.iterdir())


def test_what_can_be_kept() -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    shape: dict[str, Sequence[int] | int] = {"vocab_size": 9, "hidden_size": 16, "intermediate_size": 16}
    other = LlamaForSequenceClassification(LlamaConfig(**shape, num_hidden_layers=2, num_attention_heads=2))
    assert can_keep(tiny_gpt2(), 1)
    assert can_keep(tiny_gpt2(), 0)
    assert not can_keep(tiny_gpt2(), 2)  # nothing is frozen but the embedding
    assert not can_keep(other, 1)


def test_room_is_asked_for_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.lacks_room(store.IN_MEMORY) is None
    assert store.lacks_room(10**8) is None
    monkeypatch.setenv(store.CAP, "0.1")
    assert store.lacks_room(2 * 10**8) == "200.0 MB are more than the cache may take, 100.0 MB (GPT_MAGIC_CACHE_GB)"
    monkeypatch.setattr(store, "_free", lambda where: 10**8)
    said = store.lacks_room(10**8)
    assert said is not None
    assert said.startswith("100.0 MB do not fit on the disk of '")
