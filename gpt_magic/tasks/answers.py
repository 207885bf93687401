"""How answers are compared with reference answers: exact match and F1 as the official SQuAD scripts compute them.

Version 1 (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250) where every question has an answer, version 2
(https://arxiv.org/abs/1806.03822) where some have none. They differ in answers of which nothing is left but articles
and punctuation, and in questions without an answer: those are right when nothing was answered.

Chinese, Japanese, Thai and other scripts without spaces have no words to split at. Where most reference answers are in
them, each of their characters counts as a word, and all punctuation is removed, not that of ASCII alone, as in the
scripts of CMRC 2018 and MLQA; articles are English and stay in.
"""

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from gpt_magic.tasks.baselines import UNSPACED

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)


@dataclass(frozen=True)
class AnswerScores:
    """Scores of answers.

    Attributes:
        exact: of each answer 1 or 0, ``(rows,)``.
        overlap: F1 of each answer, between 0 and 1, ``(rows,)``.
        answerable: which questions have an answer, ``(rows,)``.
        by_character: whether characters were counted as words.
    """

    exact: np.ndarray
    overlap: np.ndarray
    answerable: np.ndarray
    by_character: bool

    @property
    def exact_match(self) -> float:
        """Share of the answers that equal a reference."""
        return float(self.exact.mean())

    @property
    def f1(self) -> float:
        """Mean F1."""
        return float(self.overlap.mean())


def score_answers(answers: Sequence[str], references: Sequence[Sequence[str]]) -> AnswerScores:
    """Compare each answer with the best of its references.

    Args:
        answers: what was answered, empty for "no answer", one at least.
        references: the reference answers of each question; none where it has no answer.
    """
    known = [text for some in references for text in some]
    by_character = sum(bool(UNSPACED.search(text)) for text in known) * 2 > len(known)
    rejects = not all(references)  # the rules of version 2
    pairs = [
        _best(answer, _usable(some, by_character) if rejects else some, by_character, rejects)
        for answer, some in zip(answers, references, strict=True)
    ]
    exact, overlap = np.array(pairs, dtype=np.float64).T
    return AnswerScores(exact, overlap, np.array([bool(some) for some in references]), by_character)


def _usable(references: Sequence[str], by_character: bool) -> Sequence[str]:
    """The references of which something is left to compare, or that there is nothing to answer."""
    return [text for text in references if normalise(text, by_character)] or [""]


def _best(answer: str, references: Sequence[str], by_character: bool, rejects: bool) -> tuple[float, float]:
    said = normalise(answer, by_character)
    exact = max(float(said == normalise(text, by_character)) for text in references)
    return exact, max(token_f1(said, normalise(text, by_character), by_character, rejects) for text in references)


def normalise(text: str, by_character: bool = False) -> str:
    """Lower case, without punctuation and articles, white space collapsed."""
    removed = _punctuation() if by_character else frozenset(string.punctuation)
    said = "".join(c for c in text.lower() if c not in removed)
    return " ".join((said if by_character else _ARTICLES.sub(" ", said)).split())


def token_f1(answer: str, reference: str, by_character: bool = False, rejects: bool = False) -> float:
    """F1 of the words that two normalised texts share.

    Args:
        rejects: two texts without a word are alike (version 2); else they share nothing (version 1).
    """
    said, expected = _words(answer, by_character), _words(reference, by_character)
    if rejects and not (said and expected):
        return float(said == expected)
    shared = sum((Counter(said) & Counter(expected)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def _words(text: str, by_character: bool) -> list[str]:
    return (UNSPACED.sub(lambda sign: f" {sign[0]} ", text) if by_character else text).split()


@cache
def _punctuation() -> frozenset[str]:
    """All punctuation of Unicode, and that of ASCII, of which Unicode calls some symbols."""
    every = map(chr, range(sys.maxunicode + 1))
    return frozenset(string.punctuation).union(c for c in every if unicodedata.category(c).startswith("P"))
