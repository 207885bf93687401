"""Questions through a trained extractor: from the scores of their windows to answers with their places."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from gpt_magic.data.questions import Questions
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.inference.scoring import score_at
from gpt_magic.inference.spans import choose
from gpt_magic.tasks.windows import Tally, blank_notes, blank_tokens, characters_of, taught_windows

_QUESTIONS = 256  # answered at once: the scores at each of their tokens are in memory


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        text: the answer, empty for none.
        place: its first character in the context and its end; None for no answer, or where it does not stand there.
        score: its probability.
        runner_up: the likeliest answer beside it, None where there is none.
        no_answer: the probability that there is none; None where that was not learned.
    """

    text: str
    place: tuple[int, int] | None
    score: float
    runner_up: str | None = None
    no_answer: float | None = None


def choose_answers(
    questions: Questions,
    offsets: Sequence[np.ndarray],
    windows: Sequence[Sequence[tuple[int, np.ndarray]]],
    longest: int,
    rejects: str,
) -> list[Answered]:
    """The likeliest answer of each question.

    Args:
        offsets: characters of the tokens of each context, ``(context tokens, 2)``.
        windows: of each question; of each the token of the context that it begins with, and its start and end scores,
            see `spans.choose`, as are the others.
    """
    found = []
    for row, places, some in zip(questions.rows, offsets, windows, strict=True):
        span = choose(some, blank_tokens(row.context, places), longest, rejects)
        place = None if span.tokens is None else characters_of(row.context, places, *span.tokens)
        other = None if span.runner_up is None else characters_of(row.context, places, *span.runner_up)
        found.append(
            Answered(
                "" if place is None else row.context[slice(*place)],
                place,
                span.score,
                None if other is None else row.context[slice(*other)],
                span.no_answer if rejects == "questions" else None,
            )
        )
    return found


def pieces(rows: int) -> Iterator[range]:
    """The rows that are answered at once."""
    return (range(start, min(start + _QUESTIONS, rows)) for start in range(0, rows, _QUESTIONS))


def read_answers(
    model: nn.Module,
    questions: Questions,
    tokenizer: Any,
    limit: int,
    truncate: str,
    longest: int,
    rejects: str,
    hidden: Hidden = hidden_packed,
) -> tuple[list[Answered], list[Any]]:
    """Answer questions.

    Args:
        limit, truncate: see `windows.readings`.
        longest, rejects: see `spans.choose`.

    Returns:
        The answers, and the rows whose question was cut.
    """
    found: list[Answered] = []
    cut: list[Any] = []
    for piece in pieces(len(questions)):
        some, notes = questions.take(piece), blank_notes()
        made = [*taught_windows(some, tokenizer, limit, truncate, lambda: None, notes, all_of_them=True)]
        flat = [window for _, windows in made for window in windows]
        scores = iter(score_at(model, [w.ids for w in flat], [w.scored for w in flat], ends, hidden))
        scored = [[(window.first, next(scores)) for window in windows] for _, windows in made]
        found += choose_answers(some, [reading.offsets for reading, _ in made], scored, longest, rejects)
        cut += Tally.of(notes, some.index).cut
    return found, cut


def ends(model: nn.Module, hidden: Tensor) -> Tensor:
    """Start and end logits in float32, ``(scored, 2)``, from hidden states ``(scored, hidden)``."""
    return model.qa_outputs(hidden).float()  # type: ignore[operator, no-any-return]
