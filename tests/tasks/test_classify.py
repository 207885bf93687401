from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from transformers import AutoTokenizer

from gpt_magic.errors import DataError, OptionError
from gpt_magic.models.find import find_base
from gpt_magic.models.load import close_texts, load_tokenizer
from gpt_magic.tasks.classify import (
    Classify,
    class_weights,
    encode,
    logits,
    quick_metrics,
    softmax,
    tokenize,
)
from tests.tiny import tiny_gpt2

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


# --- class weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["a", "b", "b", "c"] * 3, [1, 0, 0, 0], [True, False, True, True]])
def test_balanced_weights_are_those_of_scikit_learn(labels: list[Hashable]) -> None:
    classes = sorted(set(labels))  # type: ignore[type-var]
    reference = compute_class_weight("balanced", classes=np.array(classes), y=np.array(labels))
    np.testing.assert_allclose(class_weights("balanced", labels, classes), reference)


def test_no_weights_are_ones() -> None:
    assert class_weights("none", ["a", "a", "b"], ["a", "b"]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("setting", "classes", "weights"),
    [
        ({"b": 2, "a": 0.5}, ["a", "b"], [0.5, 2.0]),
        ({0: 1, 1: 3}, [0, 1], [1.0, 3.0]),
        ({True: 1, False: 3}, [False, True], [3.0, 1.0]),
        ({"食物": np.float32(2), "动物": np.int64(1)}, ["动物", "食物"], [1.0, 2.0]),
        ({"a": 0, "b": 1}, ["a", "b"], [0.0, 1.0]),
    ],
)
def test_a_dict_gives_the_weights(setting: Any, classes: list[Hashable], weights: list[float]) -> None:
    before = dict(setting)
    assert class_weights(setting, classes, classes).tolist() == weights
    assert setting == before


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"a": 1}, "class_weights: 'b' not given; give a weight for each of 'a', 'b'"),
        ({"a": 1, "b": 1, "c": 1}, "class_weights: 'c' unknown; give a weight for each of 'a', 'b'"),
        ({}, "class_weights: 'a', 'b' not given; give a weight for each of 'a', 'b'"),
        ({"a": 1, "b": -1}, "class_weights = {'a': 1, 'b': -1}: weights must be numbers from 0 up, not all 0"),
        ({"a": 0, "b": 0}, "class_weights = {'a': 0, 'b': 0}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": "2"}, "class_weights = {'a': 1, 'b': '2'}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": True}, "class_weights = {'a': 1, 'b': True}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": None}, "class_weights = {'a': 1, 'b': None}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": np.nan}, "class_weights = {'a': 1, 'b': nan}: weights must be numbers from 0 up, not all 0"),
        ({"a": 1, "b": np.inf}, "class_weights = {'a': 1, 'b': inf}: weights must be numbers from 0 up, not all 0"),
    ],
)
def test_a_bad_dict_says_what_is_wrong(setting: Any, line: str) -> None:
    with pytest.raises(OptionError) as caught:
        class_weights(setting, ["a", "b"], ["a", "b"])
    assert str(caught.value) == line


def test_weights_for_labels_of_another_kind_are_unknown() -> None:
    with pytest.raises(OptionError, match="class_weights: '0', '1' unknown; give a weight for each of 0, 1"):
        class_weights({"0": 1, "1": 2}, [0, 1], [0, 1])


# --- tokens ---------------------------------------------------------------------------------------------


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


# --- targets, loss, metrics -----------------------------------------------------------------------------


def test_rows_are_scored_at_their_last_token() -> None:
    encoded = encode([np.arange(3), np.arange(1)], ["b", "a"], ["a", "b"], ["r0", "r1"])
    assert [positions.tolist() for positions in encoded.scored] == [[2], [0]]
    assert [targets.tolist() for targets in encoded.targets] == [[1], [0]]
    assert list(encoded.index) == ["r0", "r1"]


def test_the_loss_is_weighted_cross_entropy() -> None:
    model = tiny_gpt2(classes=3)
    hidden, targets = torch.randn(5, 32), torch.tensor([0, 1, 2, 1, 0])
    objective = Classify(["a", "b", "c"], np.array([1.0, 2.0, 0.5]))
    by_hand = torch.nn.functional.cross_entropy(model.score(hidden), targets, reduction="none")
    np.testing.assert_array_equal(objective.weights(targets.numpy()), [1.0, 2.0, 0.5, 2.0, 1.0])
    torch.testing.assert_close(
        objective.losses(model, hidden, targets), by_hand * torch.tensor([1.0, 2.0, 0.5, 2.0, 1.0])
    )
    assert logits(model.to(torch.bfloat16), hidden.to(torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("seed", range(5))
def test_quick_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(40, 4)).astype(np.float32)
    targets = rng.integers(0, 2 + seed % 3, 40)
    weights = rng.uniform(0.1, 3, 40)
    metrics = quick_metrics(scores, targets, weights)
    chosen = scores.argmax(axis=1)
    assert metrics["accuracy"] == accuracy_score(targets, chosen)
    assert metrics["macro_f1"] == f1_score(targets, chosen, average="macro", zero_division=0)
    expected = log_loss(targets, softmax(scores.astype(np.float64)), labels=range(4), sample_weight=weights)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_rows_without_any_weight_count_alike() -> None:
    scores, targets = np.array([[1.0, 0.0], [0.0, 3.0]], dtype=np.float32), np.array([1, 1])
    expected = quick_metrics(scores, targets, np.ones(2))
    assert quick_metrics(scores, targets, np.zeros(2)) == pytest.approx(expected)


def test_probabilities_sum_to_one() -> None:
    chances = softmax(np.array([[1e4, -1e4], [0.0, 0.0]], dtype=np.float32))
    assert chances.tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert softmax(np.zeros((0, 3), dtype=np.float32)).shape == (0, 3)
