"""Answering by marking the answer in the context: transformers' GPT2ForQuestionAnswering and the like."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.data.checks import rows
from gpt_magic.data.questions import AnswerData, Questions
from gpt_magic.data.tokens import length_facts, length_picture
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.collecting import collect
from gpt_magic.engine.job import Hidden
from gpt_magic.errors import DataError, plural
from gpt_magic.inference.scoring import score_at
from gpt_magic.inference.spans import log_softmax
from gpt_magic.models.find import Base
from gpt_magic.models.load import load_extractor
from gpt_magic.tasks import overlap
from gpt_magic.tasks.answers import score_answers
from gpt_magic.tasks.keys import token_key
from gpt_magic.tasks.reading import choose_answers, ends, pieces
from gpt_magic.tasks.task import Check, Row, Rows, Task
from gpt_magic.tasks.windows import Reading, Tally, Window, blank_notes, context_tokens, taught_windows


@dataclass
class ExtractTask(Task):
    """``task = "answer"``, ``style = "extract"``."""

    name = "answer"
    scores = {"exact_match": "exact match", "f1": "F1"}  # noqa: RUF012  # declared in Task

    data: AnswerData
    _valid: Encoded = field(init=False)
    _longest: int = field(init=False, default=1)
    _rejects: str = field(init=False, default="nothing")

    @property
    def objective(self) -> "Ends":
        """Cross-entropy of the start and of the end."""
        return Ends()

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Rows of question and context, windows of long contexts."""
        data, truncate = self.data, self.options.truncate
        self.tokenizer = tokenizer
        given = {"tokenizer": tokenizer, "limit": limit, "truncate": truncate, "check": check}
        train = encode_questions(data.train, **given, watch=self.watched, all_of_them=False)
        if not len(train):
            raise DataError(f"no answer fits in a window of {limit:,} tokens: raise max_length")
        done = len(data.train)
        self._valid = valid = encode_questions(
            data.valid, **given, watch=lambda rows: self.watched(rows, done), all_of_them=True
        )
        tally, valid_tally = Tally.of(train.notes, data.train.index), Tally.of(valid.notes, data.valid.index)
        self._longest = max(tally.longest, 1)
        self._rejects = "questions" if data.train.unanswerable else "windows" if tally.absent else "nothing"
        several = len(train) != len(data.train) - len(tally.lost)
        used = int(train.lengths().sum())
        return Rows(
            train=train,
            valid=valid,
            facts=[*_facts(data, tally, len(train) if several else 0, limit), *length_facts(tally.lengths, used)],
            warnings=[
                warning
                for what, seen in (("training", tally), ("validation", valid_tally))
                for warning in _warnings(seen, what, limit, truncate)
            ],
            lengths=length_picture(tally.lengths, limit),
            noun="window" if several else "row",
        )

    def load(self, base: Base) -> Any:
        """The base with a head for start and end."""
        return load_extractor(base, self.options.dropout)

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, exact match and F1."""
        valid, first = self.data.valid, self._valid.notes["first"].tolist()
        at = np.append(0, np.cumsum(self._valid.notes["windows"]))
        answers: list[str] = []
        nats, taught = 0.0, 0
        for piece in pieces(len(valid)):
            some, begin, end = valid.take(piece), int(at[piece.start]), int(at[piece.stop])
            logits = score_at(model, rows.ids[begin:end], rows.scored[begin:end], ends, hidden, check)
            for scores, target in zip(logits, rows.targets[begin:end], strict=True):
                if target[:, 1].any():
                    nats, taught = nats - float((log_softmax(scores) * target[:, 1:]).sum()) / 2, taught + 1
            listed = some.rows[:]
            tokens = context_tokens(listed, some.index[:], self.tokenizer, check)  # cheaper than to keep where they are
            scored = zip(first[begin:end], logits, strict=True)
            windows = [[next(scored) for _ in range(count)] for count in np.diff(at[piece.start : piece.stop + 1])]
            offsets = [tokens[row.context][1] for row in listed]
            found = choose_answers(some, offsets, windows, self._longest, self._rejects)
            answers += [one.text for one in found]
        compared = score_answers(answers, valid.references)
        loss = nats / taught if taught else float("nan")
        return {"loss": loss, "exact_match": compared.exact_match, "f1": compared.f1}

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The sliding window."""
        return overlap.compare(self.data.train, self.data.valid, stop)

    def own(self) -> dict[str, Any]:
        """The style, the longest answer, and what "no answer here" was learned from."""
        return {"style": "extract", "longest": self._longest, "rejects": self._rejects}


def encode_questions(
    questions: Questions,
    tokenizer: Any,
    limit: int,
    truncate: str,
    check: Check,
    watch: Callable[[Iterator[tuple[Reading, list[Window]]]], Iterator[tuple[Reading, list[Window]]]],
    *,
    all_of_them: bool,
) -> Encoded:
    """Windows as rows for the loop, with what `taught_windows` notes; tokens of a large table are kept, or found."""
    notes = blank_notes()
    key, need = token_key(tokenizer, _content(questions, check), "windows of contexts", limit, truncate, all_of_them)
    made = watch(taught_windows(questions, tokenizer, limit, truncate, check, notes, all_of_them=all_of_them))
    rows = ((window.ids, window.scored, window.targets, reading.name) for reading, some in made for window in some)
    return collect(rows, key, dtype=np.int8, notes=notes, need=3 * need)


def _content(questions: Questions, check: Check) -> Iterator[str]:
    """All that differs from row to row, as texts."""
    for row, name in zip(questions.rows, questions.index, strict=True):
        check()
        yield from (row.question, row.context, row.answer, str(row.start), str(name))


@dataclass(frozen=True)
class Ends:
    """The objective: cross-entropies of the start and the end among a row's positions, averaged.

    As in transformers' GPT2ForQuestionAnswering, but that only the context and the place behind it can be chosen.
    """

    outputs: int = 2

    def weights(self, targets: np.ndarray) -> np.ndarray:
        """A row counts 1, at the start of its answer, ``(scored,)``; a row without one does not count."""
        return targets[:, 1].astype(np.float64)

    def losses(self, model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        """Loss in nats at the starts and ends, ``(scored,)``, from hidden states ``(scored, hidden)``.

        Args:
            targets: whether a row begins, the answer starts, the answer ends, ``(scored, 3)``.
        """
        logits = ends(model, hidden)
        owner = targets[:, 0].long().cumsum(0) - 1
        rows = len(owner)  # at most; to read the number would wait for a GPU
        spread = owner[:, None].expand(-1, 2)
        highest = logits.detach().new_full((rows, 2), -torch.inf).scatter_reduce(0, spread, logits.detach(), "amax")
        shifted = logits - highest[owner]
        total = logits.new_zeros((rows, 2)).index_add(0, owner, shifted.exp())
        return -((shifted - total.log()[owner]) * targets[:, 1:]).sum(1) / 2


def _facts(data: AnswerData, tally: Tally, several: int, limit: int) -> list[tuple[str, str]]:
    """What the report says of the questions; ``several`` windows, 0 where each question has one."""
    train = data.train
    contexts = len(train.different_contexts)
    said = f"{len(train):,} about {plural(contexts, 'context')}, answers marked in the context (style = 'extract')"
    if train.unanswerable:
        said += f"; {train.unanswerable:,} without an answer ({train.unanswerable / len(train):.0%})"
    facts = [("questions", said), ("longest answer", plural(tally.longest, "token"))]
    if several:
        facts.append(("windows", f"{several:,} of at most {limit:,} tokens; those of one context share half"))
    return facts


def _warnings(seen: Tally, what: str, limit: int, truncate: str) -> list[str]:
    """What has to be said of the training or the validation rows.

    Raises:
        DataError: a question is too long and ``truncate="error"``.
    """
    if len(seen.cut) and truncate == "error":
        raise DataError(
            f"{plural(len(seen.cut), 'question')} longer than half of {limit:,} tokens ({rows(seen.cut)}): shorten "
            "them, or say truncate = 'head' or 'tail'"
        )
    said = []
    if len(seen.cut):
        end = "beginning" if truncate == "tail" else "end"
        said.append(f"{len(seen.cut):,} {what} questions are too long and lost their {end} ({rows(seen.cut)})")
    if len(seen.lost):
        said.append(
            f"{len(seen.lost):,} {what} answers are too long for a window of {limit:,} tokens and teach nothing "
            f"({rows(seen.lost)})"
        )
    if len(seen.widened):
        said.append(
            f"{len(seen.widened):,} {what} answers begin or end inside of a token, which is taken whole "
            f"({rows(seen.widened)})"
        )
    return said
