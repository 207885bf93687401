"""Words of a text and texts of words: places that fit, on whatever Unicode holds."""

from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt_magic.data.words import cut_words, join_words, split_words

WILD = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("ab1 é\u0301\u200d\u200c\ufe0f👩🧑🏽🌾🇫🇷שלוםمي北京ขาว\r\n\t\u200b\u202e.,@_'\u3000。"),
    ),
    max_size=40,
)


def told(text: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text).tolist()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I live in New York.", ["I", "live", "in", "New", "York", "."]),
        ("don't @my_user2", ["don", "'", "t", "@", "my", "_", "user2"]),
        ("U.S. 3.5%", ["U", ".", "S", ".", "3", ".", "5", "%"]),
        ("我爱北京。GPT2很大", ["我", "爱", "北", "京", "。", "GPT2", "很", "大"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("서울에 산다", ["서울에", "산다"]),
        ("ขาว ดำ", ["ข", "า", "ว", "ดำ"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("👩‍👩‍👧🇫🇷👍🏽!", ["👩‍👩‍👧", "🇫🇷", "👍🏽", "!"]),
        ("می\u200cخواهم שָׁלוֹם", ["می\u200cخواهم", "שָׁלוֹם"]),
        ("a\r\n\r\n  b\u3000c", ["a", "b", "c"]),
        (" \n", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert told(text) == words


@settings(max_examples=300, deadline=None)
@given(WILD)
def test_words_hold_all_that_is_no_white_space_and_cut_no_character(text: str) -> None:
    places = split_words(text)
    assert places.dtype == np.int32
    assert (places[:, 0] < places[:, 1]).all()
    assert (places[1:, 0] >= places[:-1, 1]).all()
    ends = [0, *places.ravel().tolist(), len(text)]
    assert all(not text[ends[i] : ends[i + 1]].strip() for i in range(0, len(ends), 2))
    # No word ends within what a reader takes for one character, unless that begins with a space.
    clusters = [match.span() for match in regex.finditer(r"\X", text)]
    inside = {place for start, end in clusters if not text[start].isspace() for place in range(start + 1, end)}
    assert not inside & {*places.ravel().tolist()}


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["I", "live", "in", "London", "."], "I live in London ."),
        (["我", "爱", "北", "京", "。"], "我爱北京。"),
        (["我", "爱", "GPT", "2", "。"], "我爱 GPT 2。"),
        (["北京", "很", "大"], "北京很大"),
        (["ขาว", "ดำ"], "ขาวดำ"),
        (["서울", "대전"], "서울 대전"),
        (["the", "寿司", "bar"], "the 寿司 bar"),
        (["New York", "!"], "New York !"),
        ([], ""),
    ],
)
def test_tokens_as_a_text(tokens: list[str], text: str) -> None:
    assert join_words(tokens)[0] == text


@settings(max_examples=200, deadline=None)
@given(st.lists(WILD.filter(bool), max_size=8))
@example([" ", " "])
def test_tokens_stand_in_their_text_where_it_is_said(tokens: list[str]) -> None:
    text, places = join_words(tokens)
    assert [text[start:end] for start, end in places.tolist()] == tokens
    gaps = [text[a:b] for a, b in zip([0, *places[:, 1]], [*places[:, 0], len(text)], strict=True)]
    assert {*gaps} <= {"", " "}


@pytest.mark.parametrize(
    ("edges", "words", "cuts"),
    [
        ([0, 5], [[0, 5], [6, 9]], 0),
        ([2], [[0, 2], [2, 5], [6, 9]], 1),
        ([2, 2, 4, 7, 5, 9], [[0, 2], [2, 4], [4, 5], [6, 7], [7, 9]], 3),
        ([], [[0, 5], [6, 9]], 0),
    ],
)
def test_words_are_cut_within(edges: list[int], words: Any, cuts: int) -> None:
    found, count = cut_words(split_words("Hello you"), edges)
    assert found.tolist() == words
    assert count == cuts


def test_no_words_are_not_cut() -> None:
    assert cut_words(split_words(" "), [0, 1])[1] == 0
