"""Start and end scores of the windows of a context to the likeliest answer.

A window gives every span from token i to token j the probability p(i starts) p(j ends), and the same to "no answer
here", the place behind the context. Windows are compared by odds against their own "no answer here": if exactly one
window's span is the answer, all other windows have none, so that the span's probability is in proportion to
p(span) / p(no answer here) of its window, and 1 stands for no answer anywhere. Where windows overlap, a span has the
better of their odds: two readings of one place are not two places. For a single window this is the softmax itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOWHERE = -np.inf


@dataclass(frozen=True)
class Span:
    """The answer that was chosen among all spans, and in what is not chosen.

    Attributes:
        tokens: first and last token in the context; None for no answer.
        score: its probability among all possible answers, between 0 and 1.
        runner_up: first and last token of the likeliest span that shares no token with it; None where there is none.
        no_answer: probability that there is no answer; 0 where that was not learned.
    """

    tokens: tuple[int, int] | None
    score: float
    runner_up: tuple[int, int] | None
    no_answer: float


def choose(
    windows: Sequence[tuple[int, np.ndarray]], blank: np.ndarray, longest: int, rejects: str = "questions"
) -> Span:
    """The likeliest answer over all windows of a context.

    Args:
        windows: of each the token of the context that it begins with, and its start and end logits at its tokens and
            at the place behind them, ``(tokens + 1, 2)``.
        blank: tokens of the context at which no answer begins or ends, ``(tokens,)``.
        longest: most tokens of an answer.
        rejects: what "no answer here" was learned from: ``questions`` without an answer, so that there may be none;
            ``windows`` alone, so that windows are compared by it; ``nothing``, so that it says nothing.
    """
    odds = np.full((len(blank), min(longest, len(blank))), NOWHERE)  # of the span from token i to token i + j
    for first, logits in windows:
        starts, ends = log_softmax(logits).T
        nothing = 0.0 if rejects == "nothing" else starts[-1] + ends[-1]
        size = len(starts) - 1
        for extra in range(min(odds.shape[1], size)):
            found = starts[: size - extra] + ends[extra:size] - nothing
            part = odds[first : first + size - extra, extra]
            np.maximum(part, found, out=part)
    odds[blank] = NOWHERE
    for extra in range(odds.shape[1]):
        odds[: len(blank) - extra, extra][blank[extra:]] = NOWHERE
    none = 0.0 if rejects == "questions" else NOWHERE
    total = np.logaddexp(_log_sum(odds), none)
    best = _best(odds)
    no_answer = float(np.exp(none - total)) if total > NOWHERE else 0.0
    if best is None:
        return Span(None, no_answer, None, no_answer)
    likeliest = odds[best[0], best[1] - best[0]]
    if none >= likeliest:
        return Span(None, no_answer, best, no_answer)
    odds[best[0] : best[1] + 1] = NOWHERE
    for start in range(max(best[0] - odds.shape[1] + 1, 0), best[0]):
        odds[start, best[0] - start :] = NOWHERE
    return Span(best, float(np.exp(likeliest - total)), _best(odds), no_answer)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities over the first axis, ``(positions, 2)``, in float64."""
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(axis=0)
    return shifted - np.log(np.exp(shifted).sum(axis=0))  # type: ignore[no-any-return]


def _log_sum(odds: np.ndarray) -> float:
    highest = odds.max(initial=NOWHERE)
    return float(highest + np.log(np.exp(odds - highest).sum())) if highest > NOWHERE else NOWHERE


def _best(odds: np.ndarray) -> tuple[int, int] | None:
    if not odds.size or odds.max() == NOWHERE:
        return None
    start, extra = np.unravel_index(int(odds.argmax()), odds.shape)
    return int(start), int(start + extra)
