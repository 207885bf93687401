"""The likeliest span against a plain loop over everything that is possible."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.inference.spans import Span, choose


def by_hand(
    windows: list[tuple[int, np.ndarray]], blank: np.ndarray, longest: int, rejects: str
) -> dict[object, float]:
    """The probability of every span, and of None, from the definition."""
    odds: dict[object, float] = {}
    for first, logits in windows:
        p = torch.from_numpy(logits).double().softmax(0).numpy()
        nothing = 1.0 if rejects == "nothing" else p[-1, 0] * p[-1, 1]
        for i in range(len(p) - 1):
            for j in range(i, min(i + longest, len(p) - 1)):
                if not (blank[first + i] or blank[first + j]):
                    span = (first + i, first + j)
                    odds[span] = max(odds.get(span, 0.0), p[i, 0] * p[j, 1] / nothing)
    if rejects == "questions":
        odds[None] = 1.0
    total = sum(odds.values())
    return {span: value / total for span, value in odds.items()}


@pytest.mark.parametrize("rejects", ["questions", "windows", "nothing"])
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), longest=st.integers(1, 9), several=st.booleans())
def test_choices_equal_a_loop_over_all_spans(rejects: str, seed: int, longest: int, several: bool) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 14))
    blank = rng.random(size) < 0.2
    edges = [(0, size)]
    if several and size > 4:
        edges = [(0, size - 3), (2, size - 1), (3, size)]
    windows = [(a, rng.normal(scale=2, size=(b - a + 1, 2)).astype(np.float32)) for a, b in edges]
    chances = by_hand(windows, blank, longest, rejects)
    found = choose(windows, blank, longest, rejects)
    none = chances.get(None, 0.0)
    spans = {span: chance for span, chance in chances.items() if span is not None}
    if not spans:
        assert found.tokens is None
        return
    best = max(spans, key=spans.__getitem__)
    assert found.no_answer == pytest.approx(none, abs=1e-9)
    if none >= spans[best]:
        assert (found.tokens, found.runner_up) == (None, best)
        assert found.score == pytest.approx(none, abs=1e-9)
        return
    assert found.tokens == best
    assert found.score == pytest.approx(spans[best], abs=1e-9)
    apart = {span: chance for span, chance in spans.items() if span[1] < best[0] or span[0] > best[1]}
    assert found.runner_up == (max(apart, key=apart.__getitem__) if apart else None)


def test_one_window_is_the_softmax_itself() -> None:
    logits = np.array([[0.0, 0.0], [2.0, -1.0], [0.0, 3.0], [1.0, 1.0]], dtype=np.float32)
    p = torch.from_numpy(logits).double().softmax(0).numpy()
    pairs = {(i, j): p[i, 0] * p[j, 1] for i in range(3) for j in range(i, 3)}
    none = p[3, 0] * p[3, 1]
    found = choose([(0, logits)], np.zeros(3, dtype=bool), 3)
    assert found.tokens == (1, 2)
    assert found.score == pytest.approx(pairs[1, 2] / (sum(pairs.values()) + none))
    assert found.no_answer == pytest.approx(none / (sum(pairs.values()) + none))


def test_a_window_that_is_sure_of_nothing_loses_to_one_that_is_not() -> None:
    """Both say one span with the same logits; only one of them says that there is nothing."""
    sure = np.array([[5.0, 5.0], [0.0, 0.0], [9.0, 9.0]], dtype=np.float32)
    open_ = np.array([[5.0, 5.0], [0.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    blank = np.zeros(4, dtype=bool)
    for order in ([(0, sure), (2, open_)], [(2, open_), (0, sure)]):
        assert choose(order, blank, 2, "windows").tokens == (2, 2)
    assert choose([(0, open_), (2, sure)], blank, 2, "windows").tokens == (0, 0)


def test_extreme_logits_stay_finite() -> None:
    logits = np.array([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], dtype=np.float32)
    found = choose([(0, logits)], np.zeros(2, dtype=bool), 2, "nothing")
    assert found == Span((0, 1), 1.0, None, 0.0)
    assert math.isfinite(choose([(0, -logits)], np.zeros(2, dtype=bool), 2).score)


def test_without_a_token_to_choose_there_is_no_answer() -> None:
    logits = np.zeros((3, 2), dtype=np.float32)
    for rejects, chance in (("questions", 1.0), ("windows", 0.0)):
        assert choose([(0, logits)], np.ones(2, dtype=bool), 2, rejects) == Span(None, chance, None, chance)
