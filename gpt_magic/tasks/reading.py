"""Questions through a trained extractor: from the scores of their windows to answers with their places."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from gpt_magic.data.questions import Questions
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.inference.scoring import score_at
from gpt_magic.inference.spans import choose
from gpt_magic.tasks.windows import Tally, Window, blank_tokens, characters_of, taught_windows

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


@dataclass
class Asked:
    """Questions whose windows go through the model, and what leads from the windows back to them.

    Attributes:
        questions: the questions.
        offsets: characters of the tokens of each context, ``(context tokens, 2)``.
        owner: number of the question that each window belongs to.
        first: token of the context that each window begins with.
    """

    questions: Questions
    offsets: list[np.ndarray] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)

    def noted(self, offsets: np.ndarray, windows: Sequence[Window]) -> Sequence[Window]:
        """Keep what leads back from the windows of the next question; returns them."""
        self.offsets.append(offsets)
        self.owner += [window.number for window in windows]
        self.first += [window.first for window in windows]
        return windows

    def choose(self, logits: Sequence[np.ndarray], longest: int, rejects: str) -> list[Answered]:
        """The likeliest answer of each question.

        Args:
            logits: start and end scores of each window, see `spans.choose`, as are the others.
        """
        windows: list[list[tuple[int, np.ndarray]]] = [[] for _ in self.offsets]
        for owner, first, scores in zip(self.owner, self.first, logits, strict=True):
            windows[owner].append((first, scores))
        found = []
        for row, offsets, some in zip(self.questions.rows, self.offsets, windows, strict=True):
            span = choose(some, blank_tokens(row.context, offsets), longest, rejects)
            place = None if span.tokens is None else characters_of(row.context, offsets, *span.tokens)
            other = None if span.runner_up is None else characters_of(row.context, offsets, *span.runner_up)
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
    tally = Tally()
    for start in range(0, len(questions), _QUESTIONS):
        some = questions.take(range(start, min(start + _QUESTIONS, len(questions))))
        asked = Asked(some)
        made = taught_windows(some, tokenizer, limit, truncate, lambda: None, tally, all_of_them=True)
        windows = [window for reading, part in made for window in asked.noted(reading.offsets, part)]
        logits = score_at(model, [w.ids for w in windows], [w.scored for w in windows], ends, hidden)
        found += asked.choose(logits, longest, rejects)
    return found, tally.cut


def ends(model: nn.Module, hidden: Tensor) -> Tensor:
    """Start and end logits in float32, ``(scored, 2)``, from hidden states ``(scored, hidden)``."""
    return model.qa_outputs(hidden).float()  # type: ignore[operator, no-any-return]
