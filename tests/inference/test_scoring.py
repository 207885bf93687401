"""Packed scoring: the order of the rows, the numbers of a one-by-one forward, and the model left as it was."""

from typing import Any

import numpy as np
import pytest
import torch

from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.inference import scoring
from gpt_magic.inference.scoring import score_last
from gpt_magic.tasks.labelled import logits
from tests.tiny import random_rows, tiny_gpt2


def one_by_one(model: Any, ids: list[np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        rows = [model(input_ids=torch.from_numpy(row.astype(np.int64))[None]).logits[0] for row in ids]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded])
@pytest.mark.parametrize(("rows", "seed"), [(1, 0), (2, 1), (90, 2)])
def test_rows_of_any_length_keep_their_order(rows: int, seed: int, hidden: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(scoring, "ROWS_A_PASS", 7)
    model, ids = tiny_gpt2(seed=seed), random_rows(rows, seed).ids
    scores = score_last(model, ids, logits, hidden)
    assert (scores.dtype, scores.shape) == (np.float32, (rows, 3))
    np.testing.assert_allclose(scores, one_by_one(model, list(ids)), atol=1e-5)


def test_rows_of_full_length_and_of_one_token() -> None:
    model = tiny_gpt2()
    ids = [np.full(64, 3, dtype=np.int32), np.array([5], dtype=np.int32), np.full(64, 7, dtype=np.int32)]
    np.testing.assert_allclose(score_last(model, ids, logits), one_by_one(model, ids), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_put_back(training: bool) -> None:
    model = tiny_gpt2(dropout=0.5).train(training)
    ids = random_rows(9, 0).ids
    first, second = score_last(model, ids, logits), score_last(model, ids, logits)
    assert np.array_equal(first, second)
    assert model.training is training


def test_any_head_and_half_precision_weights_give_float32() -> None:
    model = tiny_gpt2().to(torch.bfloat16)
    out = score_last(model, random_rows(5, 0).ids, lambda _, hidden: hidden[:, :4])
    assert (out.dtype, out.shape) == (np.float32, (5, 4))


def test_a_check_ends_the_work_between_two_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "ROWS_A_PASS", 2)
    model, seen = tiny_gpt2().train(), []

    def check() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        score_last(model, random_rows(20, 0).ids, logits, check=check)
    assert len(seen) == 3
    assert model.training
    assert model.config._attn_implementation != "gpt_magic_packed"


def test_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        score_last(tiny_gpt2(), [], logits)
