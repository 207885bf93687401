"""Tokens of texts in many calls, and what the report says of their number."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gpt_magic.data import tokens
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine.events import StopRequested
from gpt_magic.errors import DataError
from gpt_magic.models.find import SHIPPED, find_base
from gpt_magic.models.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=12), st.integers(1, 5))
def test_every_text_is_tokenised_by_itself_and_spelled_by_its_tokens(
    tokenizer: Any, texts: list[str], rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "_ROWS", rows)
        made = list(token_ids(texts, tokenizer, range(len(texts))))
    assert made == [tokenizer(text)["input_ids"] for text in texts]
    assert [tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in made] == texts


def test_a_spelled_end_of_text_is_text(tokenizer: Any) -> None:
    (ids,) = token_ids(["a<|endoftext|>b"], tokenizer, [0])
    assert tokenizer.eos_token_id not in ids


def test_marks_around_a_text_stand_around_whole_texts_only() -> None:
    from tokenizers.processors import TemplateProcessing

    marking = AutoTokenizer.from_pretrained(SHIPPED / "nano")
    end = marking.eos_token_id
    marking.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", end)]
    )
    (whole,) = token_ids(["a film"], marking, [0])
    (part,) = token_ids(["a film"], marking, [0], whole=False)
    assert whole == [end, *part]


@pytest.mark.parametrize("texts", [["fine", "so \ud83d"], ["fine", "\udc00 so"]])
def test_half_an_emoji_names_its_row(tokenizer: Any, texts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        list(token_ids(texts, tokenizer, ["x", "y"]))
    assert str(caught.value).startswith("the text of row y is no valid Unicode (an emoji cut in two?): clean it with")


def test_a_stop_ends_the_work_between_calls(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_ROWS", 2)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise StopRequested

    made = []
    with pytest.raises(StopRequested):
        made.extend(token_ids(["a"] * 9, tokenizer, range(9), check))
    assert len(calls) == 3


def test_what_is_said_of_lengths() -> None:
    lengths = np.array([1] * 51 + [10] * 39 + [2000] * 10)
    assert length_facts(lengths, 12345) == [
        ("tokens a text", "median 1, 95 % up to 2,000, longest 2,000"),
        ("tokens an epoch", "12,345"),
    ]
    picture = length_picture(lengths, limit=10)
    assert (picture.longest, picture.limit, picture.over) == (2000, 10, 10)
    assert sum(picture.counts) == 100
    assert len(picture.edges) == len(picture.counts) + 1
    assert picture.counts[0] == 90
