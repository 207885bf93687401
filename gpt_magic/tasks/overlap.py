"""What an answerer must beat: the sliding window, which looks for words of the question and knows nothing else.

After Richardson et al. 2013 (MCTest, https://aclanthology.org/D13-1020, algorithm 1) and the baseline of SQuAD
(https://arxiv.org/abs/1606.05250, section 5.1). MCTest has answers to choose from and SQuAD takes constituents of parse
trees; here the candidates are runs of words within a sentence that are neither in the question nor common, which are
those that stand in more than a fifth of the training contexts.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from threading import Event

from gpt_magic.data.questions import Questions
from gpt_magic.lazy import take
from gpt_magic.tasks.answers import score_answers
from gpt_magic.tasks.baselines import UNSPACED
from gpt_magic.tasks.task import Row

NAME = "sliding window of question words"
_COMMON = 0.2
_LETTER = rf"(?:(?!{UNSPACED.pattern})\w)"
_WORD = re.compile(rf"{UNSPACED.pattern}|{_LETTER}+(?:[.,'’-]{_LETTER}+)*")
_BREAK = re.compile(r"[.,;:!?]\s|[()\[\]\"“”\n。，；：！？（）「」、]")  # in it, a run of words ends
_STOP = re.compile(r"[.!?][\"”')\]]*\s|[\n。！？]")  # and in it a sentence


def compare(train: Questions, valid: Questions, stop: Event) -> tuple[list[Row], list[str]]:
    """The baseline as a row of exact match and F1, and what has to be said of it."""
    common = common_words(take(train.contexts, train.different_contexts))
    answers = []
    for row in valid.rows:
        if stop.is_set():
            return [], ["no sliding-window baseline: stopped while it was computed"]
        answers.append(slide(row.question, row.context, common))
    scored = score_answers(answers, valid.references)
    return [(NAME, [scored.exact_match, scored.f1])], []


def common_words(contexts: Sequence[str]) -> frozenset[str]:
    """Words that stand in more than a fifth of the contexts, all different; none where they are fewer than five."""
    counts = Counter(word for context in contexts for word in {*_words(context)})
    most = _COMMON * len(contexts)
    return frozenset(word for word, count in counts.items() if count > max(most, 1))


def slide(question: str, context: str, common: Collection[str]) -> str:
    """The candidate around which the rare words of the question stand closest together.

    A window lies within the candidate's sentence and has as many words as question and candidate have different ones;
    each word of the question in it that is not common counts log(1 + 1 / its count in the context); the best window
    with the candidate in it is the candidate's score. Of equal ones the first is taken, and the whole context where
    there is no candidate.
    """
    found = list(_WORD.finditer(context))
    words = [match[0].casefold() for match in found]
    gaps = [context[one.end() : other.start()] for one, other in pairwise(found)]
    asked, counts = {*_words(question)}, Counter(words)
    sums = [0.0]
    for word in words:
        counted = word in asked and word not in common
        sums.append(sums[-1] + (math.log(1 + 1 / counts[word]) if counted else 0.0))
    best, chosen = -1.0, (0, len(context))
    for begin, stop in _runs(words, gaps, _STOP, ()):
        for first, end in _runs(words[begin:stop], gaps[begin : stop - 1], _BREAK, {*asked, *common}):
            first, end = begin + first, begin + end
            size = min(max(len({*words[first:end]} | asked), end - first), stop - begin)
            starts = range(max(begin, end - size), min(first, stop - size) + 1)
            score = max(sums[start + size] - sums[start] for start in starts)
            if score > best + 1e-9:
                best, chosen = score, (found[first].start(), found[end - 1].end())
    return context[slice(*chosen)]


def _runs(
    words: Sequence[str], gaps: Sequence[str], ends: re.Pattern[str], never: Collection[str]
) -> Iterator[tuple[int, int]]:
    """First word and end of each run of words with nothing of ``never`` in it, and no end between them."""
    first = None
    for number, word in enumerate(words):
        if first is not None and (word in never or ends.search(gaps[number - 1] + " ")):
            yield first, number
            first = None
        if first is None and word not in never:
            first = number
    if first is not None:
        yield first, len(words)


def _words(text: str) -> list[str]:
    return [match[0].casefold() for match in _WORD.finditer(text)]
