"""The benchmarks of speed compare what is the same: losses, answers, and moments on the screen."""

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import predict, train
from benchmarks.startup import shown_after
from gpt_magic.engine import kernels
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Job, Settings
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.step import pass_losses
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
    work = train.make_work("tiny", "stream", CPU)
    matrices = [p for n, p in work.model.named_parameters() if p.ndim == 2 and "wpe" not in n]  # wte is the head
    found = train.operations_a_token(work.rows, train.SHAPES["tiny"], head=True)
    assert found == 6 * sum(p.numel() for p in matrices)


@pytest.mark.parametrize("kind", ["short", "completion"])
def test_operations_are_those_that_torch_counts_in_our_pass(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the last block's queries of positions that are not scored, which ours makes with keys and values."""
    for when in ("onednn_is_faster", "onednn_is_faster_for_few"):  # torch does not count those
        monkeypatch.setattr(kernels, when, lambda: False)
    work, width = train.make_work("tiny", kind, CPU), TINY["n_embd"]
    settings = Settings(1, 4, 1, 1e-3, "linear", 0, 0, 1, 0, 0, 0)
    job = Job(work.model, work.objective, work.rows, settings, Machine(CPU, "fp32", ""))
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        pass_losses(job, range(4))
    products = counted.get_flop_counts()["Global"]
    made = sum(products.get(op, 0) for op in (torch.ops.aten.mm, torch.ops.aten.addmm))
    rows = Encoded(*(part[:4] for part in (work.rows.ids, work.rows.scored, work.rows.targets, work.rows.index)))
    tokens, scored = rows.lengths().sum(), rows.scored_counts().sum()
    told = train.operations_a_token(rows, TINY, head=kind != "short") * tokens
    told += 6 * width**2 * (tokens - scored)
    told += 6 * width * train.CLASSES * scored if kind == "short" else 0  # the classifier's own head
    assert 3 * made == pytest.approx(told)  # a backward pass has two products for each


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
