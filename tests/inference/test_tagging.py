"""Tags of words: scores as transformers computes them, the best valid sequence, the entities in it."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from seqeval.metrics.sequence_labeling import get_entities

from gpt_magic.data.schemes import bio_labels
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.inference.tagging import allowed, best_tags, entities, score_words
from tests.tiny import PAD, tiny_tagger

NAMES = bio_labels(["LOC", "PER"])


def rows_of_words(count: int, seed: int) -> Encoded:
    """Rows of random tokens, some of them scored."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, PAD, length).astype(np.int32) for length in [1, *rng.integers(1, 41, count - 1)]]
    scored = [np.unique(np.append(rng.integers(0, len(row), len(row)), len(row) - 1)) for row in ids]
    return Encoded(ids, scored, [np.zeros(len(at), dtype=np.int64) for at in scored], list(range(count)))


@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded])
@pytest.mark.parametrize("model_type", ["gpt2", "classifier dropout"])
def test_scores_are_those_of_transformers(hidden: Any, model_type: str) -> None:
    model = tiny_tagger(dropout=0.0 if model_type == "gpt2" else 0.5)
    rows = rows_of_words(600, seed=1)  # more than are scored together
    windows = [1, 2, 3] * 100
    found = list(score_words(model, rows, windows, hidden))
    assert len(found) == 300
    pad = torch.nn.utils.rnn.pad_sequence
    tokens = pad([torch.from_numpy(row).long() for row in rows.ids], batch_first=True, padding_value=PAD)
    mask = pad([torch.ones(len(row)) for row in rows.ids], batch_first=True)
    with torch.no_grad():
        padded = model(input_ids=tokens, attention_mask=mask).logits.log_softmax(-1)
        plain = [model(input_ids=torch.from_numpy(row).long()[None]).logits[0].log_softmax(-1) for row in rows.ids[:20]]
    expected = np.concatenate([padded[row, at].numpy() for row, at in enumerate(map(torch.tensor, rows.scored))])
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
    alone = np.concatenate([some[at].numpy() for some, at in zip(plain, rows.scored[:20], strict=True)])
    np.testing.assert_allclose(expected[: len(alone)], alone, atol=1e-5)
    assert not model.training


def test_a_stop_ends_the_work_and_the_mode_is_put_back() -> None:
    model = tiny_tagger().train()

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        list(score_words(model, rows_of_words(3, 0), [3], check=stop))
    assert model.training


def is_valid(tags: tuple[int, ...]) -> bool:
    """BIO as it is defined: an I stands after a B or I of its type."""
    names = [NAMES[tag] for tag in tags]
    return all(name[0] != "I" or before[2:] == name[2:] for before, name in zip(["O", *names], names, strict=False))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_best_tags_are_the_best_of_all_valid_ones(data: st.DataObject) -> None:
    words = data.draw(st.integers(1, 4))
    numbers = st.floats(-20, 0, width=32)
    scores = data.draw(arrays(np.float32, (words, len(NAMES)), elements=numbers))
    best = best_tags(scores)
    assert is_valid(tuple(best.tolist()))
    totals = {
        tags: sum(float(scores[word, tag]) for word, tag in enumerate(tags))
        for tags in product(range(len(NAMES)), repeat=words)
        if is_valid(tags)
    }
    assert totals[tuple(best.tolist())] == pytest.approx(max(totals.values()), abs=1e-4)


def test_what_may_follow_what() -> None:
    may = allowed(len(NAMES))
    for a, b in product(range(len(NAMES)), repeat=2):
        expected = NAMES[b][0] != "I" or (NAMES[a] != "O" and NAMES[a][2:] == NAMES[b][2:])
        assert may[a, b] == expected


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 20), st.just(len(NAMES))), elements=st.floats(-9, 0)))
def test_entities_are_those_of_seqeval(scores: np.ndarray) -> None:
    best = best_tags(scores)
    theirs = get_entities([NAMES[tag] for tag in best])
    types = ["LOC", "PER"]
    assert [(types[kind], first, end - 1) for first, end, kind in entities(best)] == theirs
