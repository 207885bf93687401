"""Where the words of a text stand: words of a text, and a text of words."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import regex

# Scripts that put no space between words; in these every character is a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
# Letters and digits with the marks and joiners that belong to them, or else one character as readers see it (Unicode's
# grapheme cluster): a punctuation mark, a sign, an emoji with its joiners, a character of the scripts above.
_WORD = regex.compile(rf"(?V1)(?:[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][\p{{M}}\u200c\u200d]*)+|(?!\s)\X")
_NO_SPACE = regex.compile(rf"(?V1)[{_UNSPACED}]")
_NO_SPACE_BESIDE = regex.compile(r"[\u3001-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]")


def split_words(text: str) -> np.ndarray:
    """The words of a text.

    A run of letters and digits is one word, any other character that is no white space is one of its own; in scripts
    without spaces (Chinese, Japanese, Thai and the like) every character is. Accents stay with their letter, and the
    parts of an emoji together.

    Returns:
        Start and end of each word in characters, ``(words, 2)``, ascending.
    """
    found = [match.span() for match in _WORD.finditer(text)]
    return np.array(found, dtype=np.int32).reshape(-1, 2)


def join_words(tokens: Sequence[str]) -> tuple[str, np.ndarray]:
    """A text of given words, with single spaces between them.

    Between two words of scripts without spaces there is none, nor beside an East Asian punctuation mark.

    Args:
        tokens: the words; none is empty.

    Returns:
        The text, and start and end of each word in it, ``(words, 2)``.
    """
    gaps = [" " if _spaced(before[-1], after[0]) else "" for before, after in pairwise(tokens)]
    spaced = [gap + token for gap, token in zip(["", *gaps], tokens, strict=False)]
    ends = np.cumsum([len(part) for part in spaced], dtype=np.int32)
    starts = ends - np.array([len(token) for token in tokens], dtype=np.int32)
    return "".join(spaced), np.stack([starts, ends], axis=1)


def _spaced(before: str, after: str) -> bool:
    if _NO_SPACE_BESIDE.match(before) or _NO_SPACE_BESIDE.match(after):
        return False
    return not (_NO_SPACE.match(before) and _NO_SPACE.match(after))


def cut_words(words: np.ndarray, edges: Iterable[int]) -> tuple[np.ndarray, int]:
    """Cut words in two at the ``edges`` that lie within them.

    Args:
        words: start and end of each word, ``(words, 2)``, ascending.
        edges: places in the text, in characters.

    Returns:
        The words ``(words, 2)``, and the number of cuts.
    """
    places = np.unique(np.fromiter(edges, dtype=np.int32))
    if not len(words) or not len(places):
        return words, 0
    owner = np.searchsorted(words[:, 0], places, side="right") - 1
    inside = places[(owner >= 0) & (places > words[owner, 0]) & (places < words[owner, 1])]
    starts, ends = (np.sort(np.concatenate([words[:, side], inside])) for side in (0, 1))
    return np.stack([starts, ends], axis=1), len(inside)
