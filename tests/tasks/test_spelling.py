"""Words to tokens: each spelled whole, scored where it ends, in exactly one window."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt_magic.data.words import join_words, split_words
from gpt_magic.errors import DataError, OptionError
from gpt_magic.models.find import find_base
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.tasks.spelling import Reader, Spelled, Tally, scored, spell, windows
from tests.data.test_words import WILD


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


def spelled(texts: list[str], tokenizer: Any) -> list[Spelled]:
    return list(spell(texts, [split_words(text) for text in texts], tokenizer, range(len(texts))))


# --- spelling -------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(tokens=st.lists(st.text("abcXYZ019'.,!?-#@é", min_size=1, max_size=8), min_size=1, max_size=8))
@example(["I", "can't", "...", "@me", "#2026!!"])
def test_words_with_spaces_between_have_the_tokens_of_the_text(tokenizer: Any, tokens: list[str]) -> None:
    text, words = join_words(tokens)
    (found,) = spell([text], [words], tokenizer, [0])
    whole = tokenizer(text, return_offsets_mapping=True)
    assert found.ids.tolist() == whole["input_ids"]
    # The last token of a word by transformers' offsets, which leave out the space before it.
    ends = [max(i for i, (a, b) in enumerate(whole["offset_mapping"]) if a < end <= b) for _, end in words.tolist()]
    assert found.last.tolist() == ends


@settings(max_examples=200, deadline=None)
@given(text=WILD.filter(lambda text: len(split_words(text))))
def test_every_word_is_spelled_whole_up_to_its_last_token(tokenizer: Any, text: str) -> None:
    (found,) = spelled([text], tokenizer)
    words = split_words(text)
    assert len(found.last) == len(words)
    assert (np.diff(found.last) > 0).all()
    assert found.last[-1] == len(found.ids) - 1
    for last, (_, end) in zip(found.last.tolist(), words.tolist(), strict=True):
        assert tokenizer.decode(found.ids[: last + 1], clean_up_tokenization_spaces=False) == text[:end]


def test_the_first_word_and_one_after_a_space_are_spelled_apart(tokenizer: Any) -> None:
    (found,) = spelled(["the the\n\nthe"], tokenizer)
    pieces = np.split(found.ids, found.last[:-1] + 1)
    assert [tokenizer.decode(piece) for piece in pieces] == ["the", " the", "\n\nthe"]


def test_chinese_is_scored_by_characters(tokenizer: Any) -> None:
    (found,) = spelled(["我爱北京。"], tokenizer)
    assert len(found.last) == 5
    assert tokenizer.decode(found.ids[: found.last[3] + 1]) == "我爱北京"


def test_more_texts_than_one_call_takes(tokenizer: Any) -> None:
    texts = [f"text number {i}" for i in range(1203)]
    found = spelled(texts, tokenizer)
    assert [tokenizer.decode(one.ids) for one in found] == texts


def test_a_word_that_is_no_unicode_or_has_no_tokens_is_named_by_row(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="the text of row r1 is no valid Unicode"):
        list(spell(["a", "b \ud83d"], [split_words("a"), split_words("b x")], tokenizer, ["r0", "r1"]))

    def mute(texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[1] if "a" in text else [] for text in texts]}

    with pytest.raises(DataError, match="the tokenizer makes no tokens of a word of row r0: remove it"):
        list(spell(["a b"], [split_words("a b")], mute, ["r0"]))


def test_words_are_scored_at_their_last_tokens() -> None:
    assert scored([[7], [8, 9, 10], [11, 12]]).tolist() == [0, 3, 5]


# --- windows --------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=60), limit=st.integers(1, 20), both_sides=st.booleans())
def test_windows_lose_no_word(sizes: list[int], limit: int, both_sides: bool) -> None:
    last = np.cumsum(sizes) - 1
    found = windows(last, limit, both_sides)
    assert [word for part in found for word in range(part.first, part.stop)] == list(range(len(sizes)))
    for part in found:
        assert 0 < part.end - part.start <= limit
        assert part.start <= last[part.first]
        assert last[part.stop - 1] < part.end <= last[-1] + 1


@settings(max_examples=300, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=60), limit=st.integers(2, 20))
def test_a_word_is_scored_where_most_stands_before_it(sizes: list[int], limit: int) -> None:
    """No window that ends a stride earlier or later would give a word more to its left."""
    last = np.cumsum(sizes) - 1
    total = int(last[-1]) + 1
    for part in windows(last, limit, both_sides=False):
        for place in last[part.first : part.stop].tolist():
            assert place - part.start >= min(place, limit // 2 - 1)
            assert part.start == 0 or part.start <= total - limit


@settings(max_examples=300, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=60), limit=st.integers(4, 20))
def test_with_both_sides_a_word_stands_away_from_both_ends(sizes: list[int], limit: int) -> None:
    last = np.cumsum(sizes) - 1
    total = int(last[-1]) + 1
    for part in windows(last, limit, both_sides=True):
        for place in last[part.first : part.stop].tolist():
            quarter = (limit // 2) // 2
            assert place - part.start >= min(place, quarter) - 1
            assert part.end - 1 - place >= min(total - 1 - place, quarter) - 1


def test_a_text_that_fits_is_one_window() -> None:
    (part,) = windows(np.array([0, 3, 7]), 8, both_sides=False)
    assert (part.start, part.end, part.first, part.stop) == (0, 8, 0, 3)


# --- rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [5, 8, 512])
@pytest.mark.parametrize("repeat", [False, True])
def test_rows_hold_every_word_once_with_its_target(tokenizer: Any, limit: int, repeat: bool) -> None:
    texts = ["Ada lives in New York, they say, and has a dog", "yes", "a" * 400 + " b"]
    words = [split_words(text) for text in texts]
    targets = [np.arange(len(places)) for places in words]
    tally = Tally()
    rows = Reader(tokenizer, limit, repeat).encode(texts, words, targets, ["r0", "r1", "r2"], tally)
    assert len(rows) == sum(tally.windows)
    assert max(rows.lengths()) <= limit
    owners = np.repeat(np.arange(3), tally.windows)
    for text, (whole, expected) in enumerate(zip(spelled(texts, tokenizer), targets, strict=True)):
        mine = np.flatnonzero(owners == text).tolist()
        assert np.concatenate([rows.targets[r] for r in mine]).tolist() == expected.tolist()
        assert tally.lengths[text] == len(whole.ids)
        ends = np.concatenate([rows.ids[r][rows.scored[r]] for r in mine])
        assert ends.tolist() == whole.ids[whole.last].tolist()
        assert {rows.index[r] for r in mine} == {f"r{text}"}
    assert tally.long == (["r2"] if limit < 100 else [])


def test_a_text_that_is_read_twice(tokenizer: Any) -> None:
    text = "Ada lives here"
    once, twice = (
        Reader(tokenizer, 512, repeat).encode([text], [split_words(text)], [np.zeros(3)], [0], Tally())
        for repeat in (False, True)
    )
    assert tokenizer.decode(once.ids[0]) == text
    assert tokenizer.decode(twice.ids[0]) == f"{text}\n{text}"
    assert (twice.scored[0] - once.scored[0]).tolist() == [len(once.ids[0]) + 1] * 3


def test_two_readings_need_room(tokenizer: Any) -> None:
    with pytest.raises(OptionError) as caught:
        Reader(tokenizer, 2, repeat=True)
    assert str(caught.value) == "max_length = 2: with repeat = True a text is read twice, so 3 at least"
    Reader(tokenizer, 3, repeat=True)


def test_a_stop_ends_the_work(tokenizer: Any) -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Reader(tokenizer, 9, repeat=False).encode(["a"], [split_words("a")], [np.zeros(1)], [0], Tally(), stop)
