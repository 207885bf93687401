"""Answering by writing the answer: a prompt of question and context, and the answer as its completion.

The prompt is ``Question: ...``, ``Context: ...`` and ``Answer:`` on three lines; the completion is a space, the answer
and the end-of-text token, or that token alone where there is no answer.

At least half of ``max_length`` is for question and context. An answer that is too long for the rest is cut, which is
said with its row, or an error with ``truncate = "error"``; its beginning is learned, and no end-of-text token where it
was cut, so that it is not learned as an answer's end.
"""

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import numpy as np

from gpt_magic.data.checks import rows
from gpt_magic.data.questions import AnswerData, Questions
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.errors import DataError, ModelError, OptionError, plural
from gpt_magic.inference.generation import generate
from gpt_magic.inference.sampling import Sampling
from gpt_magic.lazy import mapped, take
from gpt_magic.models.find import Base
from gpt_magic.models.load import load_language_model
from gpt_magic.tasks import overlap
from gpt_magic.tasks.answers import score_answers
from gpt_magic.tasks.keys import token_key
from gpt_magic.tasks.language import ROWS_A_PASS, Learned, NextToken, encode, row_nats, total_nats
from gpt_magic.tasks.reading import Answered
from gpt_magic.tasks.task import Check, Row, Rows, Task

_ANSWERED = 256  # validation rows that are answered at each evaluation: writing is slow
_LEAST = 16  # tokens: a prompt of few words, and an answer


@dataclass
class WriteTask(Task):
    """``task = "answer"``, ``style = "write"``."""

    name = "answer"
    read_together = ROWS_A_PASS
    scores = {"exact_match": "exact match", "f1": "F1"}  # noqa: RUF012  # declared in Task

    data: AnswerData
    _vocabulary: int = field(init=False, default=0)
    _limit: int = field(init=False, default=0)
    _longest: int = field(init=False, default=1)

    @property
    def objective(self) -> NextToken:
        """Cross-entropy of the next token."""
        return NextToken(self._vocabulary)

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Prompts with their completions."""
        data, truncate = self.data, self.options.truncate
        self.tokenizer, self._limit = tokenizer, limit
        if limit < _LEAST:
            raise OptionError(f"max_length = {limit}: must be {_LEAST} at least for task = 'answer'")
        train = encode_answers(data.train, tokenizer, limit, None, truncate, check, self.watched)
        longest = int(train.notes["answers"].max())
        self._longest = room = min(longest, limit // 2)
        done = len(data.train)
        valid = encode_answers(
            data.valid, tokenizer, limit, room, truncate, check, lambda rows: self.watched(rows, done)
        )
        parts = (("training", data.train, train.notes), ("validation", data.valid, valid.notes))
        cut, long = (
            [(what, len(of), take(of.index, notes[which])) for what, of, notes in parts if len(notes[which])]
            for which in ("cut", "long")
        )
        for noun, over, said in (("answer", long, _too_long(limit)), ("context", cut, _longer(limit))):
            if over and truncate == "error":
                names = [name for _, _, some in over for name in some]
                raise DataError(
                    f"{plural(len(names), noun)} {said} ({rows(names)}): shorten them, or say truncate = 'head' or "
                    "'tail'"
                )
        lengths = train.notes["lengths"] + train.notes["answers"]
        part = "beginning" if truncate == "tail" else "end"
        return Rows(
            train=train,
            valid=valid,
            facts=[*self._facts(longest), *length_facts(lengths, int(train.lengths().sum()))],
            warnings=[
                *(
                    f"{len(over):,} of {of:,} {what} contexts do not fit into {limit:,} tokens and lose their "
                    f"{part} ({rows(over)}); style = 'extract' reads all of them"
                    for what, of, over in cut
                ),
                *(
                    f"{len(over):,} of {of:,} {what} answers {_too_long(limit)}, lose their end ({rows(over)})"
                    for what, of, over in long
                ),
            ],
            lengths=length_picture(lengths, limit),
        )

    def load(self, base: Base) -> Any:
        """The base with its language-model head."""
        model = load_language_model(base, self.options.dropout, self.tokenizer.eos_token_id)
        self._vocabulary = int(model.get_output_embeddings().weight.shape[0])
        return model

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss of all rows, exact match and F1 of those that are answered."""
        nats, tokens = total_nats(model, rows, hidden, check)
        asked = self._asked()
        ids, _ = prompts(asked, self.tokenizer, self._limit, self._longest, self.options.truncate)
        told = generate(model, self.tokenizer, ids, Sampling(self._longest, temperature=0), check=check)
        scored = score_answers([one.text.strip() for one in told], asked.references)
        return {"loss": nats / max(tokens, 1), "exact_match": scored.exact_match, "f1": scored.f1}

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The sliding window, on the rows that the model answered."""
        return overlap.compare(self.data.train, self._asked(), stop)

    def own(self) -> dict[str, Any]:
        """The style, and the tokens of the longest answer with its end."""
        rejects = "questions" if self.data.train.unanswerable else "nothing"
        return {"style": "write", "longest": self._longest, "rejects": rejects}

    def _asked(self) -> Questions:
        valid = self.data.valid
        return valid.take(range(0, len(valid), math.ceil(len(valid) / _ANSWERED) or 1))

    def _facts(self, longest: int) -> list[tuple[str, str]]:
        train, asked = self.data.train, len(self._asked())
        contexts = len(train.different_contexts)
        said = f"{len(train):,} about {plural(contexts, 'context')}, answers written (style = 'write')"
        if train.unanswerable:
            said += f"; {train.unanswerable:,} without an answer ({train.unanswerable / len(train):.0%})"
        facts = [("questions", said), ("longest answer", plural(longest - 1, "token"))]
        if asked < len(self.data.valid):
            facts.append(("answered", f"{asked:,} of the rows to validate at each evaluation, evenly spread"))
        return facts


def encode_answers(
    questions: Questions,
    tokenizer: Any,
    limit: int,
    room: int | None,
    truncate: str,
    check: Check,
    watch: Callable[[Iterator[Learned]], Iterator[Learned]],
) -> Encoded:
    """Prompts with their completions as rows for the loop. Tokens of a large table are kept, or found.

    As notes the tokens of each prompt (``lengths``) and of each completion (``answers``) before anything is cut, and
    the numbers of the rows whose prompt was ``cut`` or whose answer is too ``long``.

    Args:
        room: tokens that are left for an answer; None for those of the longest, half of ``limit`` at most. Where it is
            given, an answer may take what its prompt leaves.
    """
    notes = {name: array("q") for name in ("lengths", "answers", "cut", "long")}
    key, need = token_key(tokenizer, _content(questions, check), "written answers", limit, room, truncate)

    def made() -> Iterator[Learned]:
        most = room or min(max(map(len, completions(questions, tokenizer, check))), limit // 2)
        asked = made_prompts(questions, tokenizer, limit, most, truncate, check)
        ends = completions(questions, tokenizer, check)
        for number, ((ids, length), end, name) in enumerate(zip(asked, ends, questions.index, strict=True)):
            kept = end[: most if room is None else limit - len(ids)]
            notes["lengths"].append(length)
            notes["answers"].append(len(end))
            if len(ids) < length:
                notes["cut"].append(number)
            if len(kept) < len(end):
                notes["long"].append(number)
            yield _learned(ids, kept, name)

    return encode(watch(made()), limit, key, notes=notes, need=3 * need)


def _content(questions: Questions, check: Check) -> Iterator[str]:
    """All that differs from row to row, as texts."""
    for row, name in zip(questions.rows, questions.index, strict=True):
        check()
        yield from (row.question, row.context, row.answer, str(bool(row.answers)), str(name))


def completions(questions: Questions, tokenizer: Any, check: Check = lambda: None) -> Iterator[list[int]]:
    """Token ids of each answer with the space before it and the end-of-text token behind it.

    Raises:
        ModelError: the tokenizer has no end-of-text token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("the base's tokenizer has no end-of-text token to learn where an answer ends: set eos_token")
    texts = mapped(lambda row: f" {row.answer.strip()}" if row.answers else "", questions.rows)
    return ([*ids, end] for ids in token_ids(texts, tokenizer, questions.index, check, whole=False))


def prompts(
    questions: Questions, tokenizer: Any, limit: int, room: int, truncate: str, check: Check = lambda: None
) -> tuple[list[np.ndarray], list[Any]]:
    """`made_prompts` as a list, and the rows of which something was cut."""
    made = [*made_prompts(questions, tokenizer, limit, room, truncate, check)]
    cut = [name for (ids, length), name in zip(made, questions.index, strict=True) if len(ids) < length]
    return [ids for ids, _ in made], cut


def made_prompts(
    questions: Questions, tokenizer: Any, limit: int, room: int, truncate: str, check: Check = lambda: None
) -> Iterator[tuple[np.ndarray, int]]:
    """Token ids of each prompt, its parts tokenised apart, with ``room`` tokens left in ``limit`` for an answer.

    Of a context that is too long the head is read, or with ``truncate="tail"`` its tail; of a question that takes more
    than half of what there is, the head.

    Yields:
        The ids, ``(tokens,)``, and how many there were before anything was cut.
    """
    for front, context, back in _parts(questions, tokenizer, check):
        kept = front[: (limit - room - len(back)) // 2] if len(front) > (limit - room) // 2 else front
        free = limit - room - len(kept) - len(back)
        read = context[max(len(context) - free, 0) :] if truncate == "tail" else context[:free]
        yield np.array([*kept, *read, *back], dtype=np.int32), len(front) + len(context) + len(back)


def _too_long(limit: int) -> str:
    return f"too long for {limit:,} tokens, half of which are for question and context"


def _longer(limit: int) -> str:
    return f"longer than {limit:,} tokens with question and answer"


def _parts(questions: Questions, tokenizer: Any, check: Check) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Token ids of what stands before each context, of the context, and of what stands behind it."""
    asked = mapped(lambda row: f"Question: {row.question}\nContext:", questions.rows)
    about = mapped(lambda row: f" {row.context}", questions.rows)
    fronts = token_ids(asked, tokenizer, questions.index, check)
    contexts = token_ids(about, tokenizer, questions.index, check, whole=False)
    back = next(token_ids(["\nAnswer:"], tokenizer, [None], whole=False))
    return ((front, context, back) for front, context in zip(fronts, contexts, strict=True))


def _learned(prompt: np.ndarray, end: Sequence[int], row: Any) -> Learned:
    """A prompt that is only read and a completion that is learned, as one sequence."""
    ids = np.concatenate([prompt, np.array(end, dtype=np.int32)])
    return Learned(ids, np.arange(len(ids)) >= len(prompt), row)


def write_answers(
    model: Any,
    questions: Questions,
    tokenizer: Any,
    limit: int,
    truncate: str,
    longest: int,
    rejects: str,
    hidden: Hidden = hidden_packed,
) -> tuple[list[Answered], list[Any]]:
    """Answer questions, always with the likeliest token.

    Args:
        longest: most tokens of an answer, its end included.
        rejects: ``questions`` where the model learned that there may be no answer.

    Returns:
        The answers, each with the probability that the model gives to it and its end, and with its first place in the
        context where it stands there; and the rows of which something was cut.
    """
    ids, cut = prompts(questions, tokenizer, limit, longest, truncate)
    told = generate(model, tokenizer, ids, Sampling(longest, temperature=0))
    texts = [one.text.strip() for one in told]

    def chances(answers: Sequence[str]) -> list[float]:
        said = [
            replace(row, answer=text, answers=(text,) if text else ())
            for row, text in zip(questions.rows, answers, strict=True)
        ]
        # A text may have a token more when it is tokenised than when it was written; with it, it would not fit.
        ends = [end[: longest + 1] for end in completions(Questions(said, questions.index), tokenizer)]
        nats = row_nats(model, encode(map(_learned, ids, ends, questions.index), limit), hidden)
        return list(np.exp(-nats).tolist())

    nothing: Sequence[float | None] = chances([""] * len(texts)) if rejects == "questions" else [None] * len(texts)
    found = []
    for row, text, score, none in zip(questions.rows, texts, chances(texts), nothing, strict=True):
        at = row.context.find(text) if text else -1
        found.append(Answered(text, None if at < 0 else (at, at + len(text)), score, no_answer=none))
    return found, cut
