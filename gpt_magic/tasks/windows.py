"""Questions with their contexts as rows of tokens, and the way from characters to tokens and back.

A row is the question, a line break, the context or a window of it, and a line break. The question comes first because a
causal model knows, at a token, only what stands before it. For the same reason the place that means "no answer here"
is the line break behind the context, where all of it was read, and not a first token, which knows nothing.
"""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from gpt_magic.data.questions import Question, Questions
from gpt_magic.data.tokens import token_offsets
from gpt_magic.errors import OptionError
from gpt_magic.lazy import take
from gpt_magic.tasks.task import Check

_ROWS = 1000  # tokenised at once
_LEAST = 8  # tokens: a question, a context and two line breaks

NOTES = ("lengths", "windows", "first", "cut", "lost", "widened", "answers", "absent")
Notes = Mapping[str, "array[int]"]


@dataclass(frozen=True)
class Reading:
    """A question and its context as tokens.

    Attributes:
        number: of the row, from 0.
        row: the question.
        name: the row's name.
        question: ids with those of the line break behind them, ``(question tokens,)``.
        context: ids, ``(context tokens,)``.
        offsets: the characters of the context that each of its tokens spells, ``(context tokens, 2)``.
        close: ids of the line break behind the context.
        asked: tokens of the question before it was cut.
    """

    number: int
    row: Question
    name: Any
    question: np.ndarray
    context: np.ndarray
    offsets: np.ndarray
    close: np.ndarray
    asked: int

    @property
    def length(self) -> int:
        """Tokens of a row with all of it."""
        return len(self.question) + len(self.context) + len(self.close)


@dataclass(frozen=True)
class Window:
    """A row of tokens with a part of a context.

    Attributes:
        number: of the question, from 0.
        first: token of the context that the window begins with.
        ids: token ids, ``(tokens,)``.
        scored: the positions that can be chosen: those of the context, and the last one for "no answer here",
            ``(scored,)``.
        targets: at each of them 1 or 0 for whether a row begins, the answer starts, the answer ends, ``(scored, 3)``.
            No start and no end: the window holds a part of the answer, so that neither is true.
    """

    number: int
    first: int
    ids: np.ndarray
    scored: np.ndarray
    targets: np.ndarray

    @property
    def taught(self) -> bool:
        """Whether there is something to learn from it."""
        return bool(self.targets[:, 1].any())

    @property
    def answers(self) -> bool:
        """Whether all of the answer stands in it."""
        return bool(self.targets[:-1, 1].any())


@dataclass(frozen=True)
class Tally:
    """What was seen of the rows while windows were made of them; rows by their names.

    Attributes:
        lengths: tokens of each row with its whole context, ``(rows,)``.
        cut: rows of which the question was cut.
        lost: rows whose answer stands whole in no window.
        widened: rows whose answer begins or ends inside of a token, so that the whole token is learned.
        longest: tokens of the longest answer; 0 where no row has one.
        absent: windows without the answer that their context has.
    """

    lengths: np.ndarray
    cut: Sequence[Any]
    lost: Sequence[Any]
    widened: Sequence[Any]
    longest: int
    absent: int

    @classmethod
    def of(cls, notes: "Mapping[str, np.ndarray | array[int]]", index: Sequence[Any]) -> Self:
        """What `taught_windows` noted, of the rows with these names."""
        found = {name: np.array(notes[name], dtype=np.int64) for name in NOTES}
        cut, lost, widened = (take(index, found[name]) for name in ("cut", "lost", "widened"))
        longest, absent = int(found["answers"].max(initial=0)), int(found["absent"].sum())
        return cls(found["lengths"], cut, lost, widened, longest, absent)


def blank_notes() -> "dict[str, array[int]]":
    """Where `taught_windows` notes what it sees: numbers, so that they can be kept with the tokens."""
    return {name: array("q") for name in NOTES}


def readings(
    questions: Questions, tokenizer: Any, limit: int, truncate: str, check: Check = lambda: None
) -> Iterator[Reading]:
    """Tokenise every row; a context that several questions share is tokenised once.

    Args:
        limit: most tokens of a row; a question may take half of them.
        truncate: a longer question keeps its head, or with ``tail`` its tail.

    Raises:
        OptionError: the limit is too low.
        ModelError, DataError: see `token_offsets`.
    """
    if limit < _LEAST:
        raise OptionError(f"max_length = {limit}: must be {_LEAST} at least for task = 'answer'")
    ((close, _),) = token_offsets(["\n"], tokenizer, [None])
    most = limit // 2 - len(close)
    for start in range(0, len(questions), _ROWS):
        rows, index = questions.rows[start : start + _ROWS], questions.index[start : start + _ROWS]
        contexts = context_tokens(rows, index, tokenizer, check)
        asked = token_offsets([row.question for row in rows], tokenizer, index, check)
        for number, (row, (ids, _)) in enumerate(zip(rows, asked, strict=True), start):
            kept = ids[-most:] if truncate == "tail" else ids[:most]
            name = index[number - start]
            yield Reading(number, row, name, np.concatenate([kept, close]), *contexts[row.context], close, len(ids))


def context_tokens(
    rows: Sequence[Question], index: Sequence[Any], tokenizer: Any, check: Check = lambda: None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ids and offsets of each different context, see `Reading`."""
    names = {row.context: name for row, name in zip(rows, index, strict=True)}
    return dict(zip(names, token_offsets(list(names), tokenizer, list(names.values()), check), strict=True))


def windows(reading: Reading, limit: int, answer: tuple[int, int] | None) -> Iterator[Window]:
    """The rows of a question: one where all of its context fits, else windows of which each shares half with the next.

    So an answer of up to half a window stands whole in one at least.

    Args:
        limit: most tokens of a row.
        answer: its first and last token in the context; None where there is none.
    """
    size, front = len(reading.context), len(reading.question)
    for first, end in spans_of(size, limit - front - len(reading.close)):
        ids = np.concatenate([reading.question, reading.context[first:end], reading.close])
        scored = np.append(np.arange(front, front + end - first), len(ids) - 1)
        targets = np.zeros((len(scored), 3), dtype=np.int8)
        targets[0, 0] = 1
        if answer is None or answer[1] < first or answer[0] >= end:
            targets[-1, 1:] = 1
        elif first <= answer[0] and answer[1] < end:
            targets[answer[0] - first, 1] = targets[answer[1] - first, 2] = 1
        yield Window(reading.number, first, ids, scored, targets)


def spans_of(size: int, room: int) -> list[tuple[int, int]]:
    """First and end of each window over ``size`` tokens, ``room`` at most in one, evenly spaced."""
    if size <= room:
        return [(0, size)]
    shared = room // 2
    count = math.ceil((size - shared) / (room - shared))
    starts = np.linspace(0, size - room, count).round().astype(int).tolist()
    return [(start, start + room) for start in starts]


def taught_windows(
    questions: Questions, tokenizer: Any, limit: int, truncate: str, check: Check, notes: Notes, *, all_of_them: bool
) -> Iterator[tuple[Reading, list[Window]]]:
    """Every row with its windows, those to learn from, or with ``all_of_them`` also those that say nothing.

    A row whose answer stands whole in no window has nothing to teach. What is seen on the way goes to ``notes``:
    ``lengths`` and ``windows`` of each row; ``first`` of each window; the numbers of the rows that are ``cut``,
    ``lost`` and ``widened``; the tokens of the ``answers``, and the windows from which they are ``absent``.
    """
    for reading in readings(questions, tokenizer, limit, truncate, check):
        row = reading.row
        answer = None if row.start is None else tokens_at(reading.offsets, row.start, row.start + len(row.answer))
        notes["lengths"].append(reading.length)
        if reading.asked > len(reading.question) - len(reading.close):
            notes["cut"].append(reading.number)
        made = list(windows(reading, limit, answer))
        if answer is not None:
            notes["answers"].append(answer[1] - answer[0] + 1)
            if characters_of(row.context, reading.offsets, *answer) != _stripped(row.start, row.answer):
                notes["widened"].append(reading.number)
        if row.start is not None and not any(window.answers for window in made):
            notes["lost"].append(reading.number)
            for window in made:
                window.targets[:, 1:] = 0
        elif answer is not None:
            notes["absent"].append(sum(window.taught and not window.answers for window in made))
        some = [window for window in made if all_of_them or window.taught]
        notes["windows"].append(len(some))
        notes["first"].extend(window.first for window in some)
        yield reading, some


def tokens_at(offsets: np.ndarray, start: int, end: int) -> tuple[int, int] | None:
    """First and last token of the characters from ``start`` to before ``end``; None where no token spells them.

    Args:
        offsets: as in `Reading`, ascending.
    """
    first = int(np.searchsorted(offsets[:, 1], start, side="right"))
    last = int(np.searchsorted(offsets[:, 0], end, side="left")) - 1
    return (first, last) if first <= last else None


def characters_of(context: str, offsets: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """First character and end of what the tokens from ``first`` to ``last`` spell, without white space around it."""
    start, end = int(offsets[first, 0]), int(offsets[last, 1])
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def blank_tokens(context: str, offsets: np.ndarray) -> np.ndarray:
    """Which tokens spell nothing but white space, ``(context tokens,)``; an answer neither begins nor ends there."""
    return np.array([not context[start:end].strip() for start, end in offsets.tolist()], dtype=bool)


def _stripped(start: int | None, answer: str) -> tuple[int, int]:
    begin = (start or 0) + len(answer) - len(answer.lstrip())
    return begin, begin + len(answer.strip())
