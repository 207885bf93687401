"""The benchmarks of speed compare what is the same: losses, answers, and moments on the screen."""

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import predict, train
from benchmarks.startup import shown_after
from tests.kernel import Reply

CPU = torch.device("cpu")
TINY = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 256, "vocab_size": 300}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(train.SHAPES, "tiny", TINY)
    monkeypatch.setattr(train, "ROWS", 40)
    monkeypatch.setattr(train, "BLOCK", 24)


@pytest.mark.parametrize("kind", train.KINDS)
def test_losses_are_those_of_the_trainer(kind: str) -> None:
    assert train.same_losses("tiny", kind, CPU, steps=6) < 1e-5


@pytest.mark.parametrize("side", train.SIDES)
def test_every_side_counts_real_tokens(side: str) -> None:
    if side.endswith("compiled") and shutil.which("g++") is None:
        pytest.skip("torch compiles with g++, which is not here")
    work = train.make_work("tiny", "short", CPU)
    steps, losses = train.SIDES[side](work, 3)
    every = sum(len(row) for row in work.rows.ids)
    if side in ("Trainer, tuned", "Trainer, tuned, compiled"):  # in an order of its own
        assert 0 < sum(step[0] for step in steps) <= every
    else:
        assert [s[0] for s in steps] == [sum(len(work.rows.ids[r]) for r in rows) for rows in work.order(3)]
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    assert all(step[1] > 0 and step[2] > 0 for step in steps)


def test_operations_are_those_of_the_matrices() -> None:
    model = train.make_work("tiny", "stream", CPU).model
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "wpe" not in n]  # wte is the head
    assert train.operations_a_token("tiny", "stream") == 6 * sum(p.numel() for p in matrices)


def test_text_is_the_same_as_that_of_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 8192}
    monkeypatch.setattr(predict, "language_model", lambda _: _model(small))
    monkeypatch.setattr(predict, "NEW_TOKENS", 5)
    times, same = predict.text_against_generate("nano", 3, rounds=2)
    assert same
    assert {name: len(own["cpu"]) for name, own in times.items()} == {"generate": 2, "gpt_magic": 2}


def _model(shape: dict[str, int]) -> Any:
    torch.manual_seed(0)
    config = predict.GPT2Config(**shape, bos_token_id=None, eos_token_id=None, initializer_range=0.1)
    return predict.GPT2LMHeadModel(config).eval()


def test_the_first_loss_point_comes_after_the_first_step() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    shown: list[tuple[float, dict[str, str]]] = [
        (0.5, {"text/html": "training: step 0 of 10"}),
        (0.6, {"image/png": "empty axes"}),
        (1.5, {"text/html": "training: step 3 of 10"}),
        (1.75, {"image/png": "a point"}),
        (2.0, {"image/png": "more points"}),
    ]
    busy = {"msg_type": "status", "header": {"date": start}, "content": {"execution_state": "busy"}}
    messages = [
        {
            "msg_type": "update_display_data",
            "header": {"date": start + timedelta(seconds=at)},
            "content": {"data": data},
        }
        for at, data in shown
    ]
    found = shown_after(Reply("1", messages=[busy, *messages]))
    assert found == {"first output": 0.5, "first step in numbers": 1.5, "first loss point": 1.75}
