"""What all tasks that label texts share: a text to a row that is scored at its last token, and a temperature."""

from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt_magic.data.checks import Examples, Text, rows
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine import ragged
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.collecting import TokenRow, collect
from gpt_magic.errors import DataError, OptionError, listing, plural
from gpt_magic.inference.calibration import LEAST_ROWS, Calibration, calibrate
from gpt_magic.lazy import take
from gpt_magic.models.tokenizer import close_texts, closing_tokens
from gpt_magic.tasks.keys import token_key
from gpt_magic.tasks.task import Check, Completed, Rows, Task

UNSETTLED = Completed([("calibration", "none: no validation rows to settle it on")])


@dataclass
class LabelledTask(Task):
    """A task whose head reads the label off at the text's last token."""

    data: LabelledData

    @abstractmethod
    def targets(self, labels: Sequence[Any]) -> np.ndarray:
        """What is expected of each row, ``(rows, ...)``."""

    @abstractmethod
    def label_fact(self) -> tuple[str, str]:
        """What the report says of the training labels."""

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Rows scored at their last token, the line break that closes each text."""
        data, truncate = self.data, self.options.truncate
        close_texts(tokenizer)
        self.tokenizer = tokenizer
        train = self._tokens(data.train, limit, check, 0)
        valid = self._tokens(data.valid, limit, check, len(data.train))
        lengths, valid_lengths = train.notes["lengths"], valid.notes["lengths"]
        return Rows(
            train=train,
            valid=valid,
            facts=[self.label_fact(), *length_facts(lengths, int(train.lengths().sum()))],
            warnings=[
                *long_texts(lengths, limit, truncate, "training", data.train.index),
                *long_texts(valid_lengths, limit, truncate, "validation", data.valid.index),
            ],
            lengths=length_picture(lengths, limit),
        )

    def _tokens(self, examples: Examples, limit: int, check: Check, before: int) -> Encoded:
        """Rows for the loop, made anew or found; ``before`` rows of others were made."""
        texts, truncate = examples.texts, self.options.truncate
        every: Any = (part for text in texts for part in text) if are_pairs(texts) else texts
        key, need = token_key(self.tokenizer, every, "last token", limit, truncate, are_pairs(texts))
        found = collect_tokens(
            texts,
            self.tokenizer,
            limit,
            truncate,
            examples.index,
            check,
            watch=lambda rows: self.watched(rows, before),
            key=key,
            need=need,
        )
        rows = encode(found.ids, self.targets(examples.labels), examples.index)
        return replace(rows, notes=found.notes, stored=found.stored)


def encode(ids: Sequence[np.ndarray], targets: np.ndarray, index: Sequence[Any]) -> Encoded:
    """Rows that are scored at their last token, where ``targets``, ``(rows, ...)``, is expected."""
    last = ragged.lengths(ids) - 1
    return Encoded(ids=ids, scored=ragged.one_a_row(last), targets=ragged.one_a_row(targets), index=index)


def logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """What the head gives in float32, ``(rows, outputs)``, from last hidden states ``(rows, hidden)``."""
    return model.score(hidden).float()  # type: ignore[operator, no-any-return]


class OnDevice:
    """Numbers that a loss reads, copied to a device once: a copy from the host's memory cannot be captured.

    Args:
        values: ``(outputs,)``.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """In float32, ``(outputs,)``."""
        if device in self._copies:
            return self._copies[device]
        made = torch.from_numpy(self._values).float().to(device)
        if type(made) is Tensor:  # a rehearsal's tensors have no numbers
            self._copies[device] = made
        return made


def settle_temperature(scores: np.ndarray, truth: np.ndarray, seed: int) -> tuple[Calibration | None, Completed]:
    """A temperature from the logits of the validation rows, or why there is none; see `calibration.calibrate`."""
    if len(scores) < LEAST_ROWS:
        why = f"none: {plural(len(scores), 'validation row')}, fewer than {LEAST_ROWS}, cannot say how sure to be"
        return None, Completed([("calibration", why)])
    found = calibrate(scores, truth, seed)
    if found is None:
        why = f"none: the {len(scores):,} validation rows have too few mistakes to say how sure to be"
        return None, Completed([("calibration", why)])
    said = (
        f"temperature {found.temperature:.3g}; expected calibration error {found.ece_before:.1%} without it, "
        f"{found.ece_after:.1%} with it ({found.rows:,} validation rows, each half by the other half's temperature)"
    )
    metrics = {name: getattr(found, name) for name in ("temperature", "ece_before", "ece_after")}
    return found, Completed([("calibration", said)], metrics=metrics)


def are_pairs(texts: Sequence[Text]) -> bool:
    """Whether texts stand in pairs."""
    return len(texts) > 0 and isinstance(texts[0], tuple)


def tokenize(
    texts: Sequence[Text],
    tokenizer: Any,
    max_length: int,
    truncate: str,
    index: Sequence[Any],
    check: Callable[[], None] = lambda: None,
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Token ids of each text, cut to ``max_length`` but for the tokens that close it.

    Pairs are joined and cut by the tokenizer's own call for pairs: the longer of the two loses tokens first.

    Args:
        truncate: ``head`` keeps the beginning, ``tail`` the end, ``error`` refuses.
        index: the rows' names, for the message.
        check: called now and then; may raise to end the work.

    Returns:
        The ids, ``(tokens,)`` each, and the lengths before cutting, ``(texts,)``.

    Raises:
        DataError: with ``truncate="error"``, some texts are longer than ``max_length``; or a text has no tokens.
        OptionError: ``max_length`` has no room for a pair.
    """
    found = collect_tokens(texts, tokenizer, max_length, truncate, index, check)
    return found.ids, found.notes["lengths"]


def collect_tokens(
    texts: Sequence[Text],
    tokenizer: Any,
    max_length: int,
    truncate: str,
    index: Sequence[Any],
    check: Callable[[], None],
    watch: Callable[[Iterator[list[int]]], Iterator[list[int]]] = iter,
    key: str | None = None,
    need: int = 0,
) -> Encoded:
    """What `tokenize` gives, in the tokens and the notes of rows that nothing is scored of yet.

    Args:
        watch: what the token ids go through, one text after the other.
        key, need: see `collect`.
    """
    pairs = are_pairs(texts)
    closing = tokenizer.num_special_tokens_to_add(pair=True) if pairs else closing_tokens(tokenizer)
    if pairs and max_length < closing + 2:
        raise OptionError(f"max_length = {max_length}: a pair of texts needs {closing + 2} tokens at least")
    lengths: array[int] = array("q")

    def cut(row: list[int]) -> list[int]:
        body = row[: len(row) - closing]
        room = max_length - closing
        return [*(body[-room:] if truncate == "tail" else body[:room]), *row[len(body) :]]

    def made() -> Iterator[TokenRow]:
        over: array[int] = array("q")
        empty: array[int] = array("q")
        every = watch(token_ids(texts, tokenizer, index, check))
        for number, (text, row) in enumerate(zip(texts, every, strict=True)):
            length = len(row)
            lengths.append(length)
            if length <= closing:
                empty.append(number)
            if length > max_length:
                over.append(number)
                row = _cut_pair(text, tokenizer, max_length, truncate) if pairs else cut(row)
            yield np.asarray(row, dtype=np.int32), _NOTHING, _NOTHING, number
        if truncate == "error":
            refuse_long(np.array(lengths), max_length, index)
        if empty:
            raise DataError(f"the tokenizer makes no tokens of {rows(index[i] for i in empty)}: remove them")

    return collect(made(), key, notes={"lengths": lengths}, need=need)


_NOTHING = np.empty(0, dtype=np.int64)


def _cut_pair(pair: Any, tokenizer: Any, max_length: int, truncate: str) -> list[int]:
    """Token ids of a pair that is too long, cut by the tokenizer."""
    side = tokenizer.truncation_side
    tokenizer.truncation_side = "left" if truncate == "tail" else "right"
    try:
        ids: list[int] = tokenizer(*pair, truncation="longest_first", max_length=max_length)["input_ids"]
    finally:
        tokenizer.truncation_side = side
        if backend := getattr(tokenizer, "backend_tokenizer", None):
            backend.no_truncation()  # else it stays so, in the tokenizer's file too
    return ids


def refuse_long(lengths: np.ndarray, limit: int, index: Sequence[Any]) -> None:
    """Raise `DataError` where texts are longer than ``limit`` tokens.

    Args:
        lengths: tokens of each text, ``(texts,)``.
        index: the rows' names.
    """
    over = np.flatnonzero(lengths > limit)
    if len(over):
        raise DataError(
            f"{plural(len(over), 'row')} with a text longer than {limit:,} tokens "
            f"({rows(take(index, over))}): shorten them, or say truncate = 'head' or 'tail'"
        )


def long_texts(lengths: np.ndarray, limit: int, truncate: str, what: str, index: Sequence[Any]) -> list[str]:
    """A warning where texts are longer than ``limit`` tokens and were cut; arguments as for `refuse_long`."""
    over = np.flatnonzero(lengths > limit)
    if not len(over):
        return []
    part = "first" if truncate == "head" else "last"
    return [
        f"{len(over):,} of {len(lengths):,} {what} texts are longer than {limit:,} tokens; the {part} {limit:,} are "
        f"read (rows {listing(take(index, over), count=len(over))})"
    ]
