"""Words to tokens for tagging: what of a text is read in one row, and at which token each word is scored."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from gpt_magic.data.checks import rows
from gpt_magic.data.tokens import token_ids
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.collecting import TokenRow, collect
from gpt_magic.errors import DataError, OptionError
from gpt_magic.lazy import take
from gpt_magic.tasks.keys import token_key
from gpt_magic.tasks.task import Check

_TEXTS = 500  # whose words go through the tokenizer together
_BETWEEN = "\n"  # what stands between a text and its second reading


@dataclass(frozen=True)
class Spelled:
    """The tokens of a text.

    Attributes:
        ids: token ids, ``(tokens,)``.
        last: the last token of each word, ``(words,)``, ascending.
    """

    ids: np.ndarray
    last: np.ndarray


@dataclass(frozen=True)
class Window:
    """A part of a text that is read at once: tokens from ``start`` to ``end``, words from ``first`` to ``stop``."""

    start: int
    end: int
    first: int
    stop: int


@dataclass
class Tally:
    """What is known of the texts when their rows are made.

    Attributes:
        windows: rows of each text, ``(texts,)``.
        lengths: tokens of each text, ``(texts,)``.
        long: names of the rows with a word that is longer than what is read at once.
    """

    windows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    long: Sequence[Any] = ()


class Reader:
    """How a tagger reads: in windows of what fits, every text once or twice.

    Args:
        tokenizer: a transformers tokenizer.
        limit: most tokens of a row.
        repeat: every text is read twice, a line break between, and the words of the second reading are scored: in it
            a causal model knows what follows (arXiv 2601.17585).

    Attributes:
        limit: most tokens of a text in a row.

    Raises:
        OptionError: no two readings fit into ``limit``.
    """

    def __init__(self, tokenizer: Any, limit: int, repeat: bool) -> None:
        self._tokenizer, self._repeat = tokenizer, repeat
        between = tokenizer(_BETWEEN, add_special_tokens=False)["input_ids"] if repeat else []
        self._between = np.array(between, dtype=np.int32)
        self.limit = (limit - len(between)) // 2 if repeat else limit
        if self.limit < 1:
            raise OptionError(f"max_length = {limit}: with repeat = True a text is read twice, so {limit + 1} at least")

    def encode(
        self,
        texts: Sequence[str],
        words: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        index: Sequence[Any],
        tally: Tally,
        check: Check = lambda: None,
        watch: Callable[[Iterator[Spelled]], Iterator[Spelled]] = iter,
        cached: bool = False,
    ) -> Encoded:
        """Rows for the loop, those of one text one after another.

        Args:
            texts: what is read.
            words: start and end of each word of each text, ``(words, 2)``.
            targets: what is expected of each word of each text, ``(words,)``.
            index: the rows' names.
            tally: is filled.
            check: called now and then; may raise to end the work.
            watch: what the tokens go through, one text after the other.
            cached: whether to find, or keep, the tokens of a large table.
        """
        key, need = None, 0
        if cached:
            content = _content(texts, words, targets, index, check)
            key, need = token_key(self._tokenizer, content, "tags of words", self.limit, self._repeat)
        notes = {name: array("q") for name in ("windows", "lengths", "long")}
        spelled = watch(spell(texts, words, self._tokenizer, index, check))
        rows = self._rows(spelled, targets, index, notes)
        found = collect(rows, key, dtype=np.int32, notes=notes, need=need * (1 + self._repeat))
        tally.windows, tally.lengths = found.notes["windows"], found.notes["lengths"]
        tally.long = take(index, found.notes["long"])
        return found

    def _rows(
        self,
        spelled: Iterator[Spelled],
        targets: Sequence[np.ndarray],
        index: Sequence[Any],
        notes: Mapping[str, "array[int]"],
    ) -> Iterator[TokenRow]:
        for number, (one, expected, row) in enumerate(zip(spelled, targets, index, strict=True)):
            parts = windows(one.last, self.limit, both_sides=self._repeat)
            notes["windows"].append(len(parts))
            notes["lengths"].append(len(one.ids))
            if int(np.diff(one.last, prepend=-1).max()) > self.limit:
                notes["long"].append(number)
            for part in parts:
                ids, at = one.ids[part.start : part.end], one.last[part.first : part.stop] - part.start
                if self._repeat:
                    at = at + len(ids) + len(self._between)
                    ids = np.concatenate([ids, self._between, ids])
                yield ids, at, expected[part.first : part.stop], row


def spell(
    texts: Sequence[str],
    words: Sequence[np.ndarray],
    tokenizer: Any,
    index: Sequence[Any],
    check: Check = lambda: None,
) -> Iterator[Spelled]:
    """Token ids of each text, every word with the white space before it spelled by itself.

    So no token belongs to two words, and words with spaces between them have the tokens that the whole text has.

    Raises:
        DataError: a text is no valid Unicode, or a word has no tokens.
    """
    for begin in range(0, len(texts), _TEXTS):
        here = slice(begin, begin + _TEXTS)
        few, rows_here = list(zip(texts[here], words[here], strict=True)), index[here]
        parts = [text[start:end] for text, at in few for start, end in pairwise([0, *at[:, 1].tolist()])]
        names = [row for (_, at), row in zip(few, rows_here, strict=True) for _ in range(len(at))]
        ids = token_ids(parts, tokenizer, names, check, whole=False)
        for (_, at), row in zip(few, rows_here, strict=True):
            pieces = [next(ids) for _ in range(len(at))]
            if not all(pieces):
                raise DataError(f"the tokenizer makes no tokens of a word of {rows([row])}: remove it")
            yield Spelled(np.array([token for piece in pieces for token in piece], dtype=np.int32), scored(pieces))


def _content(
    texts: Sequence[str], words: Sequence[np.ndarray], targets: Sequence[np.ndarray], index: Sequence[Any], check: Check
) -> Iterator[str]:
    """All that differs from row to row, as texts."""
    for text, at, expected, row in zip(texts, words, targets, index, strict=True):
        check()
        yield from (text, at.tobytes().decode("latin-1"), expected.tobytes().decode("latin-1"), str(row))


def scored(pieces: Sequence[Sequence[int]]) -> np.ndarray:
    """Where each word is scored, ``(words,)``: at its last token, where a causal model has read all of it."""
    return np.cumsum([len(piece) for piece in pieces]) - 1


def windows(last: np.ndarray, limit: int, both_sides: bool) -> list[Window]:
    """Cut a text into windows of at most ``limit`` tokens that overlap by half, each word in exactly one.

    A word is scored where most stands before it; with ``both_sides`` where the smaller of its two sides is largest.

    Args:
        last: the last token of each word, ``(words,)``, ascending; one word at least.
        limit: most tokens of a window.
    """
    total = int(last[-1]) + 1
    if total <= limit:
        return [Window(0, total, 0, len(last))]
    ends = np.append(np.arange(limit, total, limit - limit // 2), total)
    starts = ends - limit
    borders = ends.copy()
    if both_sides:
        borders[:-1] = (starts[1:] + ends[:-1]) // 2
    stops = np.searchsorted(last, borders)
    firsts = np.concatenate([[0], stops[:-1]])
    found = []
    for start, end, first, stop in zip(*(a.tolist() for a in (starts, ends, firsts, stops)), strict=True):
        if first < stop:  # what stands after the last scored word is of use to a second reading only
            found.append(Window(start, end if both_sides else int(last[stop - 1]) + 1, first, stop))
    return found
