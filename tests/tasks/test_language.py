"""Cutting sequences into blocks, and the loss of the next token against transformers' own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gpt_magic.engine import batching
from gpt_magic.engine.events import StopRequested
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.tasks.language import NextToken, blocks, encode, metrics, total_nats
from tests.tiny import PAD, VOCABULARY, random_sequences, tiny_lm, with_labels


@settings(max_examples=300, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 60))
def test_every_learned_token_is_predicted_once(flags: list[bool], limit: int) -> None:
    learned = np.array([False, *flags])
    ids = np.arange(1000, 1000 + len(learned), dtype=np.int32)  # a token tells its place
    predicted, lengths = [], []
    for inputs, scored, targets in blocks(ids, learned, limit):
        assert 1 <= len(inputs) <= limit
        assert (np.diff(inputs) == 1).all()  # a piece of the sequence as it stands
        assert (np.diff(scored) > 0).all()
        assert scored[-1] == len(inputs) - 1
        assert (targets == inputs[scored] + 1).all()
        assert targets.dtype == np.int64
        predicted += targets.tolist()
        lengths.append(len(inputs))
    assert predicted == ids[learned].tolist()


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 200))
def test_blocks_are_of_about_equal_length(inputs: int, limit: int) -> None:
    ids = np.zeros(inputs + 1, dtype=np.int32)
    lengths = [len(block) for block, *_ in blocks(ids, np.ones(len(ids), dtype=bool), limit)]
    assert sum(lengths) == inputs
    assert len(lengths) == math.ceil(inputs / limit)  # as few as can be
    assert max(lengths) <= limit
    assert max(lengths) - min(lengths) <= 1


def test_blocks_begin_where_the_last_one_ended() -> None:
    ids, learned = np.arange(8), np.array([0, 0, 0, 0, 0, 1, 0, 1], dtype=bool)
    cut = [(a.tolist(), b.tolist(), c.tolist()) for a, b, c in blocks(ids, learned, 3)]
    assert cut == [([2, 3, 4], [2], [5]), ([5, 6], [1], [7])]  # the first block teaches nothing


def test_encoded_blocks_name_their_rows() -> None:
    sequences = random_sequences(6, seed=1, longest=30, share=1.0)
    rows = encode(sequences, limit=8)
    assert rows.index == [s.row for s in sequences for _ in range(math.ceil((len(s.ids) - 1) / 8))]
    assert len(encode([], limit=8)) == 0


@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded])
@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_are_those_of_transformers(hidden: object, share: float, seed: int) -> None:
    """In one batch, packed, against one padded forward with ``labels``; documents never see each other."""
    model, sequences = tiny_lm(seed), random_sequences(12, seed, share=share)
    rows, batch = encode(sequences, limit=64), with_labels(sequences)
    with torch.no_grad():
        states = hidden(model, rows.ids, rows.scored)  # type: ignore[operator]
        ours = NextToken(VOCABULARY).losses(model, states, torch.from_numpy(np.concatenate(rows.targets)))
        theirs = model(**batch)
        assert float(ours.mean()) == pytest.approx(float(theirs.loss), abs=2e-6)
        parts = torch.split(ours, [len(some) for some in rows.scored])
        for sequence, part in zip(sequences, parts, strict=True):
            alone = model(**with_labels([sequence]))
            assert float(part.mean()) == pytest.approx(float(alone.loss), abs=2e-6)
            expected = nn.functional.cross_entropy(
                alone.logits[0, :-1], torch.from_numpy(sequence.ids[1:]).long(), reduction="none"
            )
            torch.testing.assert_close(part, expected[torch.from_numpy(sequence.learned[1:])], atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(0, 1000), st.integers(2, 40))
def test_gradients_are_those_of_transformers(rows: int, seed: int, longest: int) -> None:
    model, sequences = tiny_lm(3), random_sequences(rows, seed, longest)
    encoded = encode(sequences, limit=64)
    states = hidden_packed(model, encoded.ids, encoded.scored)
    NextToken(VOCABULARY).losses(model, states, torch.from_numpy(np.concatenate(encoded.targets))).mean().backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(**with_labels(sequences)).loss.backward()
    for parameter, gradient in zip(model.parameters(), ours, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("limit", [64, 7])
def test_total_nats_are_those_of_a_loop_over_blocks(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = tiny_lm(5).train(), random_sequences(20, seed=5)
    encoded = encode(sequences, limit)
    total, tokens = 0.0, 0
    with torch.no_grad():
        for ids, scored, targets in zip(encoded.ids, encoded.scored, encoded.targets, strict=True):
            chances = model.eval()(input_ids=torch.tensor(ids)[None].long()).logits[0].double().log_softmax(-1)
            total -= float(chances[torch.from_numpy(scored), torch.from_numpy(targets)].sum())
            tokens += len(scored)
    model.train()
    state = torch.get_rng_state()
    for outputs in (2**27, 30 * VOCABULARY, 1):
        monkeypatch.setattr(batching, "HEAD_OUTPUTS", outputs)
        nats, found = total_nats(model, encoded, hidden_packed)
        assert nats == pytest.approx(total, rel=1e-6)
        assert found == tokens == sum(int(s.learned.sum()) for s in sequences)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_a_stop_ends_it_between_two_passes_and_the_model_goes_on_training() -> None:
    model, calls = tiny_lm().train(), []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        total_nats(model, encode(random_sequences(200, seed=1), 64), hidden_packed, check)
    assert len(calls) == 2
    assert model.training


def test_nothing_to_score_is_no_failure() -> None:
    assert total_nats(tiny_lm(), encode([], 64), hidden_packed) == (0.0, 0)


def test_metrics() -> None:
    found = metrics(nats=math.log(2) * 30, tokens=10, characters=40)
    assert found == {
        "loss": pytest.approx(3 * math.log(2)),
        "perplexity": pytest.approx(8.0),
        "bits_per_character": pytest.approx(0.75),
        "tokens": 10,
    }
    uniform = metrics(nats=5 * math.log(VOCABULARY), tokens=5, characters=5)
    assert uniform["perplexity"] == pytest.approx(VOCABULARY)
    assert metrics(1e6, 1, 1)["perplexity"] == math.exp(700)
    assert metrics(0.0, 0, 0) == {"loss": 0.0, "perplexity": 1.0, "bits_per_character": 0.0, "tokens": 0}


def test_every_scored_position_weighs_alike() -> None:
    assert NextToken(VOCABULARY).weights(np.array([3, PAD, 0])).tolist() == [1, 1, 1]
