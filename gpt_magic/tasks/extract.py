"""Answering by marking the answer in the context: transformers' GPT2ForQuestionAnswering and the like."""

from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.data.checks import rows
from gpt_magic.data.questions import AnswerData
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
from gpt_magic.tasks.reading import Asked, ends
from gpt_magic.tasks.task import Check, Row, Rows, Task
from gpt_magic.tasks.windows import Tally, taught_windows


@dataclass
class ExtractTask(Task):
    """``task = "answer"``, ``style = "extract"``."""

    name = "answer"
    scores = {"exact_match": "exact match", "f1": "F1"}  # noqa: RUF012  # declared in Task

    data: AnswerData
    _valid: Asked = field(init=False)
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
        tally, valid_tally = Tally(), Tally()
        made = taught_windows(data.train, tokenizer, limit, truncate, check, tally, all_of_them=False)
        train = collect(
            (window.ids, window.scored, window.targets, data.train.index[reading.number])
            for reading, some in made
            for window in some
        )
        if not len(train):
            raise DataError(f"no answer fits in a window of {limit:,} tokens: raise max_length")
        self._valid = Asked(data.valid)
        made = taught_windows(data.valid, tokenizer, limit, truncate, check, valid_tally, all_of_them=True)
        valid = collect(
            (window.ids, window.scored, window.targets, data.valid.index[reading.number])
            for reading, some in made
            for window in self._valid.noted(reading.offsets, some)
        )
        self._longest = max(tally.longest, 1)
        self._rejects = "questions" if data.train.unanswerable else "windows" if tally.absent else "nothing"
        lengths = np.array(tally.lengths)
        several = len(train) != len(data.train) - len(tally.lost)
        used = int(train.lengths().sum())
        return Rows(
            train=train,
            valid=valid,
            facts=[*_facts(data, tally, len(train) if several else 0, limit), *length_facts(lengths, used)],
            warnings=[
                warning
                for what, seen in (("training", tally), ("validation", valid_tally))
                for warning in _warnings(seen, what, limit, truncate)
            ],
            lengths=length_picture(lengths, limit),
            noun="window" if several else "row",
        )

    def load(self, base: Base) -> Any:
        """The base with a head for start and end."""
        return load_extractor(base, self.options.dropout)

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, exact match and F1."""
        logits = score_at(model, rows.ids, rows.scored, ends, hidden, check)
        losses = [
            -float((log_softmax(scores) * target[:, 1:]).sum()) / 2
            for scores, target in zip(logits, rows.targets, strict=True)
            if target[:, 1].any()
        ]
        found = self._valid.choose(logits, self._longest, self._rejects)
        scored = score_answers([one.text for one in found], self.data.valid.references)
        loss = float(np.mean(losses)) if losses else float("nan")
        return {"loss": loss, "exact_match": scored.exact_match, "f1": scored.f1}

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The sliding window."""
        return overlap.compare(self.data.train, self.data.valid, stop)

    def own(self) -> dict[str, Any]:
        """The style, the longest answer, and what "no answer here" was learned from."""
        return {"style": "extract", "longest": self._longest, "rejects": self._rejects}


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
        rows = int(owner[-1]) + 1
        spread = owner[:, None].expand(-1, 2)
        highest = logits.detach().new_full((rows, 2), -torch.inf).scatter_reduce(0, spread, logits.detach(), "amax")
        shifted = logits - highest[owner]
        total = logits.new_zeros((rows, 2)).index_add(0, owner, shifted.exp())
        return -((shifted - total.log()[owner]) * targets[:, 1:]).sum(1) / 2


def _facts(data: AnswerData, tally: Tally, several: int, limit: int) -> list[tuple[str, str]]:
    """What the report says of the questions; ``several`` windows, 0 where each question has one."""
    train = data.train
    contexts = len({row.context for row in train.rows})
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
    if seen.cut and truncate == "error":
        raise DataError(
            f"{plural(len(seen.cut), 'question')} longer than half of {limit:,} tokens ({rows(seen.cut)}): shorten "
            "them, or say truncate = 'head' or 'tail'"
        )
    said = []
    if seen.cut:
        end = "beginning" if truncate == "tail" else "end"
        said.append(f"{len(seen.cut):,} {what} questions are too long and lost their {end} ({rows(seen.cut)})")
    if seen.lost:
        said.append(
            f"{len(seen.lost):,} {what} answers are too long for a window of {limit:,} tokens and teach nothing "
            f"({rows(seen.lost)})"
        )
    if seen.widened:
        said.append(
            f"{len(seen.widened):,} {what} answers begin or end inside of a token, which is taken whole "
            f"({rows(seen.widened)})"
        )
    return said
