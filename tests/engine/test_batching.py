"""Which rows meet: every epoch sees all, every pass stays within its limits."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gpt_magic.engine import batching
from gpt_magic.engine.batching import ATTENTION_AREA, epoch_order, forward_passes, plan
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.step import step_passes
from tests.tiny import job, random_rows, tiny_gpt2


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_every_epoch_sees_every_row_once(rows: int, rows_per_step: int, steps: int, seed: int) -> None:
    made = list(plan(rows, rows_per_step, steps, seed))
    assert len(made) == steps
    flat = [row for step in made for row in step]
    for start in range(0, len(flat), rows):
        epoch = flat[start : start + rows]
        assert len(set(epoch)) == len(epoch)
    assert set(flat) <= set(range(rows))
    assert max(map(len, made)) <= rows_per_step


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=50), st.integers(1, 20))
@hypothesis_settings(max_examples=50)
def test_forward_passes_hold_every_row_and_keep_limits(lengths: list[int], batch_size: int) -> None:
    order = epoch_order(len(lengths), seed=1, epoch=0)
    passes = forward_passes(order, np.array(lengths), batch_size)
    assert sorted(row for rows in passes for row in rows) == sorted(order)
    for rows in passes:
        assert 1 <= len(rows) <= batch_size
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or len(rows) * longest**2 <= ATTENTION_AREA


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 1200)), min_size=1, max_size=40),
    st.integers(1, 20),
    st.integers(0, 99),
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_forward_passes_keep_the_limit_of_the_head(rows: list[tuple[int, int]], batch_size: int, seed: int) -> None:
    """``outputs`` are those of the rows of this step, ``lengths`` of all that there are."""
    lengths, outputs = np.array(rows).T
    some = epoch_order(len(rows), seed, epoch=0)[: len(rows) // 2 + 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "HEAD_OUTPUTS", 1000)
        passes = forward_passes(some, lengths, batch_size, outputs[some])
        free = forward_passes(some, lengths, batch_size, 0 * outputs[some])
    assert sorted(row for part in passes for row in part) == sorted(some)
    for part in passes:
        assert 1 <= len(part) <= batch_size
        assert len(part) == 1 or outputs[part].sum() <= 1000
        assert len(part) == 1 or len(part) * lengths[part].max() ** 2 <= ATTENTION_AREA
    assert free == forward_passes(some, lengths, batch_size)


def test_the_head_limit_takes_as_many_rows_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "HEAD_OUTPUTS", 100)
    passes = forward_passes(range(5), np.full(5, 8), 16, np.array([50, 50, 10, 300, 20]))
    assert passes == [[0, 1], [2], [3], [4]]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=50), st.integers(1, 20))
@hypothesis_settings(max_examples=50)
def test_without_limits_passes_are_cut_only_where_rows_are_half_as_long(lengths: list[int], batch_size: int) -> None:
    own, order = np.array(lengths), range(len(lengths))
    passes = forward_passes(order, own, batch_size, 10**6 * own, limited=False)
    assert sorted(row for rows in passes for row in rows) == list(order)
    assert len(passes) <= len(forward_passes(order, own, batch_size, 10**6 * own))
    for rows, after in pairwise(passes):
        assert len(rows) == batch_size or 2 * own[after[0]] < own[rows[0]] or own[[*rows, after[0]]].sum() > 2147
    for rows in passes:
        assert 1 <= len(rows) <= batch_size
        shortest, longest = own[rows].min(), own[rows].max()
        assert 2 * shortest >= longest or len(rows) * longest**2 <= ATTENTION_AREA


def test_long_rows_of_a_step_go_together_on_a_gpu_alone() -> None:
    rows = random_rows(16, seed=1)
    rows = replace(rows, ids=[np.zeros(512, dtype=np.int32)] * 16)
    sizes = {}
    for device in ("cpu", "mps", "cuda"):
        work = replace(job(tiny_gpt2(), rows, batch_size=16), machine=Machine(torch.device(device), "fp32", ""))
        sizes[device] = [len(some) for some in step_passes(work, range(16), rows.lengths())]
    assert sizes == {"cpu": [4] * 4, "mps": [4] * 4, "cuda": [16]}


def test_order_differs_between_epochs_and_seeds() -> None:
    orders = [tuple(epoch_order(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
