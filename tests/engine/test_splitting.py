"""Passes that nothing is learned from, where memory runs out: the same numbers from fewer rows at a time."""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt_magic import store
from gpt_magic.engine import trunk
from gpt_magic.engine.events import Event, Warned
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.splitting import in_passes, told_of_splits
from gpt_magic.engine.trunk import keep_states
from gpt_magic.inference import label_tree as trees
from gpt_magic.inference.label_tree import label_tree, score_labels
from gpt_magic.inference.scoring import score_at, score_last
from gpt_magic.tasks.labelled import logits
from gpt_magic.tasks.language import encode, row_nats
from tests.tiny import random_rows, random_sequences, tiny_gpt2, tiny_lm

FULL = torch.OutOfMemoryError("CUDA out of memory.")


class Narrow:
    """A forward pass that has no memory for more tokens, filled-up ones among them."""

    def __init__(self, most: int, real: Callable[..., Any] = hidden_packed, failure: Exception = FULL) -> None:
        self.most, self.real, self.failure = most, real, failure
        self.calls: list[int] = []

    def __call__(self, model: nn.Module, ids: Sequence[np.ndarray], *how: Any) -> Any:
        self.calls.append(len(ids) * max(map(len, ids)))
        if self.calls[-1] > self.most:
            raise self.failure
        return self.real(model, ids, *how)

    @property
    def failures(self) -> int:
        return sum(size > self.most for size in self.calls)


@pytest.mark.parametrize("most", [64, 200, 1000])
def test_scores_are_the_same_in_smaller_passes(most: int) -> None:
    rows, narrow = random_rows(90, seed=1), Narrow(most)
    model = tiny_gpt2().train()
    whole = score_last(tiny_gpt2(), rows.ids, logits)
    np.testing.assert_allclose(score_last(model, rows.ids, logits, narrow), whole, atol=1e-5)
    assert model.training
    assert narrow.failures
    narrow.calls.clear()
    for mine, other in zip(score_at(model, rows.ids, rows.scored, logits, narrow), whole, strict=True):
        np.testing.assert_allclose(mine[0], other, atol=1e-5)
    assert not narrow.failures  # what fitted is known of this model
    assert len(narrow.calls) < 90 or most == 64  # short rows still go together


def test_losses_of_a_language_model_are_the_same() -> None:
    rows, narrow = encode(random_sequences(60, seed=1), 64), Narrow(100)
    expected = row_nats(tiny_lm(), rows, hidden_packed)
    np.testing.assert_allclose(row_nats(tiny_lm(), rows, narrow), expected, rtol=1e-5)
    assert narrow.failures


def test_chances_of_labels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, tree = random_rows(30, seed=1).ids, label_tree([[1, 2], [1, 3, 4], [5]])
    expected = score_labels(tiny_lm(), prompts, tree)
    narrow = Narrow(100, trees.hidden_tree)
    monkeypatch.setattr(trees, "hidden_tree", narrow)
    np.testing.assert_allclose(score_labels(tiny_lm(), prompts, tree), expected, atol=1e-5)
    assert narrow.failures


def test_states_of_a_frozen_trunk_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(store.FOLDER, str(tmp_path))
    rows = random_rows(30, seed=1)
    expected = keep_states(tiny_gpt2(), rows, 1)
    narrow = Narrow(100, trunk._below)
    monkeypatch.setattr(trunk, "_below", narrow)
    for mine, other in zip(keep_states(tiny_gpt2(), rows, 1).ids, expected.ids, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    assert narrow.failures


@pytest.mark.parametrize("failure", [FULL, ValueError("a fault of the model"), RuntimeError("shapes do not match")])
def test_what_is_no_use_to_try_again_is_raised(failure: Exception) -> None:
    narrow = Narrow(0, failure=failure)
    with pytest.raises(type(failure)):
        score_last(tiny_gpt2(), random_rows(8, seed=1).ids, logits, narrow)
    tries = len(narrow.calls)
    assert tries == (4 if failure is FULL else 1)  # 8, 4, 2 and 1 row


def test_it_is_said_once() -> None:
    model, said = tiny_gpt2(), list[Event]()

    def read(rows: list[int]) -> list[int]:
        if len(rows) > 3:
            raise FULL
        return rows

    for _ in range(2):
        with told_of_splits(model, said.append):
            made = list(in_passes(model, [list(range(10)), [10]], np.full(11, 7), read))
        assert [row for rows, again in made for row in rows if rows == again] == list(range(11))
    assert said == [
        Warned(
            "memory ran out in an evaluation: since then it reads at most 14 tokens at a time; its numbers are the same"
        )
    ]


def test_nothing_is_held_when_a_pass_is_tried_again() -> None:
    model, alive = tiny_gpt2(), []

    def read(rows: list[int]) -> Tensor:
        large = torch.zeros(12_345)
        gc.collect()
        alive.append(sum(type(x) is Tensor and x.numel() == 12_345 for x in gc.get_objects()))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return large[:1].clone()

    assert len(list(in_passes(model, [[0, 1, 2, 3]], np.ones(4, dtype=int), read))) == 4
    assert set(alive) == {1}
