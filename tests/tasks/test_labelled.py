from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from gpt_magic.errors import DataError, OptionError
from gpt_magic.models.find import find_base
from gpt_magic.models.tokenizer import close_texts, load_tokenizer
from gpt_magic.tasks.labelled import tokenize

TEXTS = [
    "a plain text",
    "苹果是一种什么",
    "emoji 👩‍👩‍👧 and 𝒜",
    "<|endoftext|> is a text",
    "  spaces \n and\ttabs ",
    "x",
    "words " * 50,
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


def test_tokens_are_those_of_transformers(tokenizer: Any) -> None:
    ids, lengths = tokenize(TEXTS, tokenizer, 512, "head", range(len(TEXTS)))
    reference = AutoTokenizer.from_pretrained(find_base("scratch").source, split_special_tokens=True)
    for row, length, text in zip(ids, lengths, TEXTS, strict=True):
        assert row.tolist() == reference(text)["input_ids"]
        assert len(row) == length
        assert row.dtype == np.int32
        assert tokenizer.eos_token_id not in row.tolist()


@pytest.mark.parametrize(("truncate", "kept"), [("head", slice(None, 5)), ("tail", slice(-5, None))])
def test_long_texts_keep_their_head_or_tail(tokenizer: Any, truncate: str, kept: slice) -> None:
    whole, lengths = tokenize(TEXTS, tokenizer, 512, "error", range(len(TEXTS)))
    cut, lengths_again = tokenize(TEXTS, tokenizer, 5, truncate, range(len(TEXTS)))
    assert [row.tolist() for row in cut] == [row[kept].tolist() for row in whole]
    assert lengths_again.tolist() == lengths.tolist()


@pytest.mark.parametrize("truncate", ["head", "tail"])
@pytest.mark.parametrize("limit", [2, 5, 512])
def test_closed_texts_are_cut_before_the_line_break_as_transformers_does(truncate: str, limit: int) -> None:
    tokenizer = load_tokenizer(find_base("scratch"))
    close_texts(tokenizer)
    ids, lengths = tokenize(TEXTS, tokenizer, limit, truncate, range(len(TEXTS)))
    tokenizer.truncation_side = {"head": "right", "tail": "left"}[truncate]
    reference = tokenizer(TEXTS, truncation=True, max_length=limit)["input_ids"]
    assert [row.tolist() for row in ids] == reference
    (line_break,) = tokenizer.encode("\n", add_special_tokens=False)
    assert {row[-1] for row in reference} == {line_break}
    assert lengths.tolist() == [len(row) for row in tokenizer(TEXTS)["input_ids"]]


def test_a_closed_text_without_tokens_is_named_by_row() -> None:
    tokenizer = load_tokenizer(find_base("scratch"))
    close_texts(tokenizer)
    with pytest.raises(DataError, match="the tokenizer makes no tokens of row r1: remove them"):
        tokenize(["a", ""], tokenizer, 9, "head", ["r0", "r1"])


def test_a_length_equal_to_the_limit_is_kept(tokenizer: Any) -> None:
    (row,), (length,) = tokenize(["a plain text"], tokenizer, 512, "error", [0])
    assert len(tokenize(["a plain text"], tokenizer, int(length), "error", [0])[0][0]) == len(row)


def test_no_texts_make_no_tokens(tokenizer: Any) -> None:
    ids, lengths = tokenize([], tokenizer, 512, "error", [])
    assert ids == []
    assert lengths.tolist() == []


@pytest.mark.parametrize("rows", [999, 1000, 1001, 2500])
def test_more_rows_than_one_call_takes(tokenizer: Any, rows: int) -> None:
    calls: list[None] = []
    ids, lengths = tokenize(
        [f"text {i}" for i in range(rows)], tokenizer, 9, "head", range(rows), lambda: calls.append(None)
    )
    assert len(ids) == len(lengths) == rows
    assert tokenizer.decode(ids[-1]) == f"text {rows - 1}"
    assert len(calls) == -(-rows // 1000)


def test_a_stop_ends_the_work(tokenizer: Any) -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        tokenize(["a"], tokenizer, 9, "head", [0], stop)


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (
            ["short", "a longer text than that"],
            "1 row with a text longer than 3 tokens (row r1): shorten them, or say truncate = 'head' or 'tail'",
        ),
        (
            ["a longer text than that"] * 2,
            "2 rows with a text longer than 3 tokens (rows r0, r1): shorten them, or say truncate = 'head' or 'tail'",
        ),
        (
            ["fine", "half an emoji \ud83d"],
            "the text of row r1 is no valid Unicode (an emoji cut in two?): clean it with "
            "text.encode('utf-8', 'ignore').decode()",
        ),
    ],
)
def test_texts_that_cannot_be_read_are_named_by_row(tokenizer: Any, texts: list[str], line: str) -> None:
    with pytest.raises(DataError) as caught:
        tokenize(texts, tokenizer, 3, "error", ["r0", "r1"])
    assert str(caught.value) == line


def test_a_text_without_tokens_is_named_by_row() -> None:
    def mute(texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[] for _ in texts]}

    with pytest.raises(DataError, match="the tokenizer makes no tokens of rows r0, r1: remove them"):
        tokenize(["a", "b"], mute, 9, "head", ["r0", "r1"])


# --- pairs ----------------------------------------------------------------------------------------------

PAIRS = [
    ("a plain text", "another"),
    ("x", "words " * 50),
    ("words " * 40, "苹果 👩‍👩‍👧"),
    ("words " * 9, "words " * 9),
]


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("limit", [4, 7, 20, 512])
@pytest.mark.parametrize("truncate", ["head", "tail"])
def test_pairs_are_those_of_the_tokenizers_own_call(truncate: str, limit: int, closed: bool) -> None:
    tokenizer = load_tokenizer(find_base("scratch"))
    if closed:
        close_texts(tokenizer)
    ids, lengths = tokenize(PAIRS, tokenizer, limit, truncate, range(len(PAIRS)))
    assert tokenizer.truncation_side == "right"
    assert tokenizer.backend_tokenizer.truncation is None  # which its file would say to everybody
    assert lengths.tolist() == [len(tokenizer(*pair)["input_ids"]) for pair in PAIRS]
    tokenizer.truncation_side = {"head": "right", "tail": "left"}[truncate]
    one, other = zip(*PAIRS, strict=True)
    reference = tokenizer(list(one), list(other), truncation="longest_first", max_length=limit)["input_ids"]
    assert [row.tolist() for row in ids] == reference
    line_break = tokenizer.encode("\n", add_special_tokens=False)[0]
    if closed and limit == 512:
        bare = [[tokenizer(text, add_special_tokens=False)["input_ids"] for text in pair] for pair in PAIRS]
        assert reference == [[*first, line_break, *second, line_break] for first, second in bare]


def test_pairs_that_do_not_fit_say_so() -> None:
    tokenizer = load_tokenizer(find_base("scratch"))
    close_texts(tokenizer)
    with pytest.raises(DataError, match=r"3 rows with a text longer than 9 tokens \(rows 1, 2, 3\)"):
        tokenize(PAIRS, tokenizer, 9, "error", range(4))
    with pytest.raises(OptionError, match="max_length = 3: a pair of texts needs 4 tokens at least"):
        tokenize(PAIRS, tokenizer, 3, "head", range(4))
    with pytest.raises(DataError, match="the text of row r1 is no valid Unicode"):
        tokenize([("a", "b"), ("a", "cut \ud83d")], tokenizer, 9, "head", ["r0", "r1"])
