"""What all tasks that label texts share: a text to a row that is scored at its last token, and a temperature."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from gpt_magic.data.checks import Text, rows
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine.batching import collect
from gpt_magic.errors import DataError, OptionError, listing, plural
from gpt_magic.inference.calibration import LEAST_ROWS, Calibration, calibrate
from gpt_magic.models.load import close_texts, closing_tokens
from gpt_magic.tasks.task import Check, Completed, Rows, Task

UNSETTLED = Completed([("calibration", "none: no validation rows to settle it on")])


@dataclass
class LabelledTask(Task):
    """A task whose head reads the label off at the text's last token."""

    ignores: ClassVar[Sequence[str]] = ("template",)

    data: LabelledData

    @abstractmethod
    def targets(self, labels: Sequence[Any]) -> Sequence[np.ndarray]:
        """What is expected of each row, ``(1, ...)``."""

    @abstractmethod
    def label_fact(self) -> tuple[str, str]:
        """What the report says of the training labels."""

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Rows scored at their last token, the line break that closes each text."""
        data, truncate = self.data, self.options.truncate
        close_texts(tokenizer)
        self.tokenizer = tokenizer
        made, lengths, warnings = [], [], []
        for what, examples in (("training", data.train), ("validation", data.valid)):
            ids, found = tokenize(examples.texts, tokenizer, limit, truncate, examples.index, check)
            scored = (np.array([len(row) - 1]) for row in ids)
            made.append(collect(zip(ids, scored, self.targets(examples.labels), examples.index, strict=True)))
            lengths.append(found)
            warnings += long_texts(found, limit, truncate, what, examples.index)
        return Rows(
            train=made[0],
            valid=made[1],
            facts=[self.label_fact(), *length_facts(lengths[0], int(made[0].lengths().sum()))],
            warnings=warnings,
            lengths=length_picture(lengths[0], limit),
        )


def logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """What the head gives in float32, ``(rows, outputs)``, from last hidden states ``(rows, hidden)``."""
    return model.score(hidden).float()  # type: ignore[operator, no-any-return]


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


def tokenize(
    texts: Sequence[Text],
    tokenizer: Any,
    max_length: int,
    truncate: str,
    index: Sequence[Any],
    check: Callable[[], None] = lambda: None,
) -> tuple[list[np.ndarray], np.ndarray]:
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
    pairs = len(texts) > 0 and isinstance(texts[0], tuple)
    ids: list[np.ndarray] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    closing = tokenizer.num_special_tokens_to_add(pair=True) if pairs else closing_tokens(tokenizer)
    if pairs and max_length < closing + 2:
        raise OptionError(f"max_length = {max_length}: a pair of texts needs {closing + 2} tokens at least")
    for text, row in zip(texts, token_ids(texts, tokenizer, index, check), strict=True):
        lengths[len(ids)] = length = len(row)
        surplus = max(length - max_length, 0)
        if surplus and pairs:
            row[:] = _cut_pair(text, tokenizer, max_length, truncate)
        else:
            start = 0 if truncate == "tail" else length - closing - surplus
            del row[start : start + surplus]
        ids.append(np.asarray(row, dtype=np.int32))
    if truncate == "error":
        refuse_long(lengths, max_length, index)
    empty: list[int] = np.flatnonzero(lengths <= closing).tolist()
    if empty:
        raise DataError(f"the tokenizer makes no tokens of {rows(index[i] for i in empty)}: remove them")
    return ids, lengths


def _cut_pair(pair: Any, tokenizer: Any, max_length: int, truncate: str) -> list[int]:
    """Token ids of a pair that is too long, cut by the tokenizer."""
    side = tokenizer.truncation_side
    tokenizer.truncation_side = "left" if truncate == "tail" else "right"
    try:
        ids: list[int] = tokenizer(*pair, truncation="longest_first", max_length=max_length)["input_ids"]
    finally:
        tokenizer.truncation_side = side
    return ids


def refuse_long(lengths: np.ndarray, limit: int, index: Sequence[Any]) -> None:
    """Raise `DataError` where texts are longer than ``limit`` tokens.

    Args:
        lengths: tokens of each text, ``(texts,)``.
        index: the rows' names.
    """
    over: list[int] = np.flatnonzero(lengths > limit).tolist()
    if over:
        raise DataError(
            f"{plural(len(over), 'row')} with a text longer than {limit:,} tokens "
            f"({rows(index[i] for i in over)}): shorten them, or say truncate = 'head' or 'tail'"
        )


def long_texts(lengths: np.ndarray, limit: int, truncate: str, what: str, index: Sequence[Any]) -> list[str]:
    """A warning where texts are longer than ``limit`` tokens and were cut; arguments as for `refuse_long`."""
    over: list[int] = np.flatnonzero(lengths > limit).tolist()
    if not over:
        return []
    part = "first" if truncate == "head" else "last"
    return [
        f"{len(over):,} of {len(lengths):,} {what} texts are longer than {limit:,} tokens; the {part} {limit:,} are "
        f"read (rows {listing(index[i] for i in over)})"
    ]
