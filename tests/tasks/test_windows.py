"""Characters to tokens and back on wild Unicode, and the windows over long contexts."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.data.questions import Question, Questions
from gpt_magic.errors import DataError, ModelError, OptionError
from gpt_magic.models.find import find_base
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.tasks.windows import (
    Tally,
    blank_notes,
    blank_tokens,
    characters_of,
    readings,
    spans_of,
    taught_windows,
    tokens_at,
    windows,
)
from tests.quiz import checked, quiz

# Emoji of several code points, combining marks, right to left with marks of direction, zero width, all line breaks.
PIECES = [
    "a",
    "the",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\u2028",
    "e\u0301",
    "é",
    "\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea",
]
PIECES += ["שָׁלוֹם", "\u200fعربي\u200e", "\u200b", "\ufeff", "中文", "½", "ﬁ", "𝒳", "0", ".", "don't", "\x00"]
WILD = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=25).map(
    "".join
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


def reading(question: str, context: str, tokenizer: Any, limit: int = 512) -> Any:
    (made,) = readings(Questions([Question(question, context, (), "", None)], ["row"]), tokenizer, limit, "head")
    return made


# --- characters and tokens ------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(WILD, st.data())
def test_an_answer_comes_back_from_its_tokens(tokenizer: Any, context: str, data: Any) -> None:
    """The whole tokens of a span hold it; they hold no token more than it touches."""
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    offsets = reading("q", context, tokenizer).offsets
    found = tokens_at(offsets, start, end)
    assert found is not None
    first, last = found
    begin, stop = characters_of(context, offsets, first, last)
    answer = context[start:end]
    assert answer.strip() in context[begin:stop]
    if answer.strip():
        assert begin <= start + len(answer) - len(answer.lstrip())
        assert stop >= start + len(answer.rstrip())
    touched = [i for i, (left, right) in enumerate(offsets.tolist()) if left < end and right > start]
    assert (first, last) == (touched[0], touched[-1])
    assert context[begin:stop] == context[offsets[first, 0] : offsets[last, 1]].strip()


@settings(max_examples=100, deadline=None)
@given(WILD)
def test_tokens_spell_the_context_and_blank_ones_nothing(tokenizer: Any, context: str) -> None:
    made = reading("q", context, tokenizer)
    assert made.context.tolist() == tokenizer(context)["input_ids"]
    assert tokenizer.decode(made.context, clean_up_tokenization_spaces=False) == context
    covered = {i for left, right in made.offsets.tolist() for i in range(left, right)}
    assert covered == set(range(len(context)))
    blank = blank_tokens(context, made.offsets)
    assert [not context[a:b].strip() for a, b in made.offsets.tolist()] == blank.tolist()


def test_words_with_a_space_before_them_are_exact(tokenizer: Any) -> None:
    context = "The fox, the owl and the hen live in the red house."
    for answer in ("The fox", "owl", "the red house", "hen"):
        start = context.index(answer)
        offsets = reading("q", context, tokenizer).offsets
        assert characters_of(context, offsets, *tokens_at(offsets, start, start + len(answer))) == (
            start,
            start + len(answer),
        )


def test_a_row_is_question_line_break_context_line_break(tokenizer: Any) -> None:
    (window,) = windows(reading("Who?", "The owl.", tokenizer), 512, (1, 2))
    ids = [tokenizer(text)["input_ids"] for text in ("Who?", "\n", "The owl.", "\n")]
    front = len(ids[0] + ids[1])
    assert window.ids.tolist() == [*chain(*ids)]
    assert window.scored.tolist() == [*range(front, front + len(ids[2])), len(window.ids) - 1]
    expected = np.zeros((len(ids[2]) + 1, 3))
    expected[0, 0] = expected[1, 1] = expected[2, 2] = 1
    assert window.targets.tolist() == expected.tolist()


def test_contexts_that_are_shared_are_tokenised_once(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.tasks import windows as module

    seen: list[str] = []
    real = module.token_offsets

    def counted(texts: Any, *more: Any) -> Any:
        seen.extend(texts)
        return real(texts, *more)

    monkeypatch.setattr(module, "token_offsets", counted)
    questions = checked(quiz(40))
    made = list(readings(questions, tokenizer, 512, "head"))
    assert [one.number for one in made] == list(range(40))
    assert sum("Number" in text for text in seen) == 20
    for one, row in zip(made, questions.rows, strict=True):
        assert one.context.tolist() == tokenizer(row.context)["input_ids"]
        assert one.question.tolist() == tokenizer(row.question)["input_ids"] + tokenizer("\n")["input_ids"]


# --- windows --------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(2, 90))
def test_windows_cover_everything_and_short_answers_whole(size: int, room: int) -> None:
    edges = spans_of(size, room)
    assert edges[0][0] == 0
    assert edges[-1][1] == size
    assert all(end - start == min(size, room) for start, end in edges)
    for answer in range(1, room // 2 + 1):
        for first in range(size - answer + 1):
            assert any(start <= first and first + answer <= end for start, end in edges)
    if len(edges) > 1:  # no more than needed
        assert len(edges) - 1 < (size - room // 2) / (room - room // 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(9, 40), st.integers(1, 120), st.data())
def test_targets_of_windows(tokenizer: Any, limit: int, words: int, data: Any) -> None:
    made = reading("Who?", " ".join(["owl"] * words), tokenizer, limit)
    size = len(made.context)
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, min(size - 1, first + 12)))
    front = len(made.question)
    for window in windows(made, limit, (first, last)):
        held = range(window.first, window.first + len(window.scored) - 1)
        assert len(window.ids) <= limit
        assert window.ids[window.scored[:-1]].tolist() == made.context[held.start : held.stop].tolist()
        assert window.ids[:front].tolist() == made.question.tolist()
        starts, ends = (np.flatnonzero(window.targets[:, column]).tolist() for column in (1, 2))
        inside = [token in held for token in range(first, last + 1)]
        if all(inside):
            assert (starts, ends) == ([first - window.first], [last - window.first])
            assert window.answers
        elif any(inside):
            assert (starts, ends, window.taught, window.answers) == ([], [], False, False)
        else:
            assert starts == ends == [len(held)]
            assert window.taught
            assert not window.answers
        assert np.flatnonzero(window.targets[:, 0]).tolist() == [0]
    for window in windows(made, limit, None):
        assert window.targets[-1].tolist() == [int(len(window.targets) == 1), 1, 1]


def test_what_is_seen_of_rows_is_counted(tokenizer: Any) -> None:
    """A long context, an answer that fits in no window, one inside of a token, a long question."""
    long = " ".join(f"owl {i}" for i in range(40))
    rows = [
        Question("Who?", long, ("owl 39",), "owl 39", long.index("owl 39")),
        Question("Who?", long, (long,), long, 0),
        Question("Who?", "The owl.", ("h",), "h", 1),
        Question("Who? " * 30, "An owl.", ("owl",), "owl", 3),
        Question("Who?", "An owl.", (), "", None),
    ]
    notes = blank_notes()
    questions = Questions(rows, list("abcde"))
    made = list(taught_windows(questions, tokenizer, 40, "head", lambda: None, notes, all_of_them=False))
    tally = Tally.of(notes, questions.index)
    assert [reading.number for reading, _ in made] == [0, 1, 2, 3, 4]
    assert [bool(some) for _, some in made] == [True, False, True, True, True]
    assert (tally.cut, tally.lost, tally.widened) == (["d"], ["b"], ["c"])
    assert tally.lengths.tolist() == [reading.length for reading, _ in made]
    assert notes["windows"].tolist() == [len(some) for _, some in made]
    assert notes["first"].tolist() == [window.first for _, some in made for window in some]
    assert tally.absent == sum(not window.answers for window in made[0][1])
    assert tally.absent > 0
    everything = list(taught_windows(questions, tokenizer, 40, "head", lambda: None, blank_notes(), all_of_them=True))
    assert [len(some) for _, some in everything] == [
        len(spans_of(len(reading.context), 40 - len(reading.question) - 1)) for reading, _ in everything
    ]
    assert not any(window.taught for window in everything[1][1])


@pytest.mark.parametrize(("truncate", "part"), [("head", slice(None, 19)), ("tail", slice(-19, None))])
def test_a_question_takes_half_of_a_row_at_most(truncate: str, part: slice, tokenizer: Any) -> None:
    asked = "Who is the owl that lives in the red house and hunts the fox at night in the rain? Who is it?"
    row = Question(asked, "An owl.", (), "", None)
    (made,) = readings(Questions([row], [0]), tokenizer, 40, truncate)
    assert made.question[:-1].tolist() == tokenizer(asked)["input_ids"][part]
    assert made.asked == len(tokenizer(asked)["input_ids"])


def test_what_cannot_be_read(tokenizer: Any) -> None:
    with pytest.raises(OptionError, match="max_length = 7: must be 8 at least for task = 'answer'"):
        reading("q", "c", tokenizer, 7)
    with pytest.raises(DataError, match=r"the text of row row is no valid Unicode \(an emoji cut in two\?\)"):
        reading("q", "so \ud83d", tokenizer)
    with pytest.raises(ModelError, match="the base's tokenizer does not tell which characters a token spells"):
        reading("q", "c", object())
