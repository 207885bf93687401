"""Texts to token ids, and their lengths for the report."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gpt_magic.data.checks import NOT_UNICODE, Text, is_unicode, rows
from gpt_magic.errors import DataError, ModelError
from gpt_magic.summary import Lengths

_ROWS = 1000  # a call: large enough for the tokenizer's own threads, small enough to stop


def token_ids(
    texts: Sequence[Text],
    tokenizer: Any,
    index: Sequence[Any],
    check: Callable[[], None] = lambda: None,
    whole: bool = True,
) -> Iterator[list[int]]:
    """Token ids of each text, or of each pair of texts as the tokenizer joins them.

    Args:
        index: the rows' names, for the message.
        check: called now and then; may raise to end the work.
        whole: whether the texts are whole, and get the marks that some tokenizers (not GPT-2's) put around a text.

    Raises:
        DataError: a text is no valid Unicode.
    """
    for start in range(0, len(texts), _ROWS):
        check()
        part = list(texts[start : start + _ROWS])
        given: Any = [part] if isinstance(part[0], str) else [list(column) for column in zip(*part, strict=True)]
        try:
            encoded = tokenizer(*given, add_special_tokens=whole, return_attention_mask=False, verbose=False)
        except TypeError:
            raise _not_unicode(given, index[start : start + _ROWS]) from None
        yield from encoded["input_ids"]


def token_offsets(
    texts: Sequence[str], tokenizer: Any, index: Sequence[Any], check: Callable[[], None] = lambda: None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token ids of each text, ``(tokens,)``, and the characters that each token spells, ``(tokens, 2)``.

    Bytes of one character have that character each; the space before a word belongs to its first token. No marks are
    put around a text.

    Raises:
        ModelError: the tokenizer does not tell.
        DataError: a text is no valid Unicode.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError("the base's tokenizer does not tell which characters a token spells: it needs a fast one")
    for start in range(0, len(texts), _ROWS):
        check()
        part = list(texts[start : start + _ROWS])
        try:
            encoded = tokenizer(
                part,
                add_special_tokens=False,
                return_attention_mask=False,
                return_offsets_mapping=True,
                verbose=False,
            )
        except TypeError:
            raise _not_unicode([part], index[start : start + _ROWS]) from None
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            yield np.array(ids, dtype=np.int32), np.array(offsets, dtype=np.int32).reshape(-1, 2)


def _not_unicode(columns: Sequence[Sequence[str]], index: Sequence[Any]) -> DataError:
    bad = {row: None for texts in columns for row, text in zip(index, texts, strict=True) if not is_unicode(text)}
    return DataError(f"the text of {rows(bad)} {NOT_UNICODE}")


def length_facts(lengths: np.ndarray, used: int) -> list[tuple[str, str]]:
    """What the report says of tokens.

    Args:
        lengths: tokens of each training text, before anything is cut, ``(texts,)``.
        used: tokens that an epoch reads.
    """
    picture = f"median {int(np.median(lengths)):,}, 95 % up to {_p95(lengths):,}"
    return [("tokens a text", f"{picture}, longest {int(lengths.max()):,}"), ("tokens an epoch", f"{used:,}")]


def length_picture(lengths: np.ndarray, limit: int) -> Lengths:
    """The histogram of the lengths, ``(texts,)``."""
    counts, edges = np.histogram(lengths, bins=24, range=(0, max(int(lengths.max()), 1)))
    return Lengths(
        median=int(np.median(lengths)),
        p95=_p95(lengths),
        longest=int(lengths.max()),
        edges=tuple(int(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
        limit=limit,
        over=int((lengths > limit).sum()),
    )


def _p95(lengths: np.ndarray) -> int:
    return int(np.quantile(lengths, 0.95, method="higher"))
