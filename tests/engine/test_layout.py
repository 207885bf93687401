"""Groups of like lengths are the cheapest cut; laying rows side by side loses and mixes up nothing."""

from itertools import combinations

import numpy as np
import pytest
import torch

from gpt_magic.engine import layout
from gpt_magic.engine.layout import Layout, Queries, like_lengths, rounded

CPU = torch.device("cpu")


def _cost(groups: list[np.ndarray], lengths: np.ndarray, call: int) -> int:
    return sum(len(group) * int(lengths[group].max()) ** 2 + call for group in groups)


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("call", [0, 30, 300, 10**6])
@pytest.mark.parametrize("seed", range(5))
def test_like_lengths_finds_the_cheapest_cut(
    seed: int, call: int, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_GROUP_COSTS", call)
    lengths = np.random.default_rng(seed).integers(1, 30, 8)
    groups = like_lengths(lengths, CPU, multiple)
    lengths = np.array([next(n for n in range(length, 99) if n % multiple == 0) for length in lengths.tolist()])
    assert sorted(np.concatenate(groups).tolist()) == list(range(8))
    order = np.argsort(lengths)
    cuts = [cut for some in range(8) for cut in combinations(range(1, 8), some)]
    assert _cost(groups, lengths, call) == min(_cost(np.split(order, list(cut)), lengths, call) for cut in cuts)


def test_short_texts_stand_together_and_long_ones_apart() -> None:
    groups = like_lengths(np.array([500, 20, 490, 30, 25]), CPU)
    assert [group.tolist() for group in groups] == [[0, 2], [1, 3, 4]]
    assert len(like_lengths(np.array([50, 20, 49, 30, 25]), CPU)) == 1


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ([3, 1, 4, 2], [[0, 1, 2, 3]]),
        ([3, 1, 4, 2], [[0, 2], [1, 3]]),
        ([3, 3, 3], [[0, 1, 2]]),  # side by side as they are
        ([3, 0, 2], [[0, 2], [1]]),  # a row without queries
    ],
)
@pytest.mark.parametrize("multiple", [1, 3, 4])
def test_side_by_side_and_back(counts: list[int], groups: list[list[int]], multiple: int) -> None:
    where = Layout(np.array(counts), [np.array(group) for group in groups], CPU, multiple)
    assert all(longest % multiple == 0 for _, longest in where.shapes)
    packed = torch.randn(1, 2, sum(counts), 5)
    laid = where.side_by_side(packed)
    rows = packed.split(counts, dim=2)
    for part, group in zip(laid, groups, strict=True):
        for place, row in zip(part, group, strict=True):
            assert torch.equal(place[:, : counts[row]], rows[row][0])
    assert torch.equal(where.one_after_another(laid), packed.transpose(1, 2))


def test_the_cheapest_layout_is_that_of_like_lengths() -> None:
    lengths = np.array([500, 20, 490, 30, 25])
    found = Layout.cheapest(lengths, CPU, 16)
    assert [group.tolist() for group in found.groups] == [[0, 2], [1, 3, 4]]
    assert found.shapes == [(2, 512), (3, 32)]


def test_sizes_are_numbers_of_an_octave() -> None:
    assert [rounded(n, 1) for n in (0, 1, 2, 3, 4, 5, 8, 9, 1000)] == [1, 1, 2, 4, 4, 8, 8, 16, 1024]
    assert sorted({rounded(n, 2) for n in range(1, 65)}) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert sorted({rounded(n, 4) for n in range(33, 129)}) == [40, 48, 56, 64, 80, 96, 112, 128]
    for an_octave in (1, 2, 4):
        grown = [rounded(n, an_octave) / n for n in range(1, 5000)]
        assert min(grown) >= 1
        assert max(grown[8:]) <= 1 + 1 / an_octave


def test_queries_see_their_own_past_and_themselves() -> None:
    lengths, groups = np.array([4, 2, 3]), [np.array([0, 2]), np.array([1])]
    scored = [np.array([1, 3]), np.array([0]), np.array([2])]
    queries = Queries.of(scored, torch.tensor([1, 3, 4, 8]), Layout(lengths, groups, CPU))
    assert queries.seen[0][0, 0].sum(1).tolist() == [2, 4]
    assert queries.seen[0][1, 0, 0].tolist() == [True, True, True, False]
    assert queries.seen[1].flatten().tolist() == [True, False]
