"""Passages to token sequences: what is learned, what is cut, what the pre-flight says; and the loss of a real run."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import gpt_magic
from gpt_magic.data.passages import (
    Part,
    Passage,
    Passages,
    conversation,
    conversation_prompt,
    document,
    prompt_and_completion,
)
from gpt_magic.data.read import read_data
from gpt_magic.errors import DataError, ModelError
from gpt_magic.models.find import SHIPPED, find_base
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.options import Options
from gpt_magic.tasks.generate import GenerateTask, encode_prompt_passages, fit, prompt_passage, sequences_of
from gpt_magic.tasks.language import Learned, encode
from gpt_magic.tasks.task import Rows, make_task
from tests.writers import base, plain_nats, plain_tokens, table

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda text: text.strip())
STYLES = ["text", "completion", "messages"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


def sequence(passage: Passage, tokenizer: Any) -> tuple[list[int], list[bool]]:
    (made,) = sequences_of(Passages([passage], ["row"]), tokenizer)
    assert made.row == "row"
    return made.ids.tolist(), made.learned.tolist()


def encoded(data: Any, tokenizer: Any, limit: int = 512, **options: Any) -> tuple[GenerateTask, Rows]:
    told = Options()
    told.update({"data": data, **options})
    task = make_task(told, read_data(told))
    assert isinstance(task, GenerateTask)
    return task, task.encode(tokenizer, limit, lambda: None)


# --- token sequences ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(UNICODE, UNICODE)
def test_the_sequences_of_texts_and_completions(tokenizer: Any, prompt: str, text: str) -> None:
    """A prompt has the tokens that it has alone, as a user will give it."""
    end, ids = tokenizer.eos_token_id, tokenizer(text)["input_ids"]
    assert sequence(document(text), tokenizer) == ([end, *ids, end], [False] + [True] * (len(ids) + 1))
    asked = tokenizer(prompt)["input_ids"]
    assert sequence(prompt_and_completion(prompt, text), tokenizer) == (
        [*asked, *ids, end],
        [False] * len(asked) + [True] * (len(ids) + 1),
    )


@pytest.mark.parametrize("style", STYLES)
def test_the_sequences_of_tables(style: str, tokenizer: Any) -> None:
    told = Options()
    told.update({"data": table(style), "valid_fraction": 0.0})
    made = list(sequences_of(read_data(told).train, tokenizer))
    assert [(s.ids.tolist(), s.learned.tolist()) for s in made] == plain_tokens(style, table(style), tokenizer)
    assert [s.row for s in made] == list(range(100, 124))


def test_the_two_ends_of_a_text_that_was_cut(tokenizer: Any) -> None:
    end = tokenizer.eos_token_id
    head, tail = Passage((Part("It was", True),), begins=True), Passage((Part("the end.", True, ends=True),))
    ids, more = tokenizer("It was")["input_ids"], tokenizer("the end.")["input_ids"]
    assert sequence(head, tokenizer) == ([end, *ids], [False] + [True] * len(ids))
    assert sequence(tail, tokenizer) == ([*more, end], [False] + [True] * len(more))  # nothing stands before its first


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), UNICODE), max_size=5), UNICODE)
def test_a_conversation_is_asked_with_the_tokens_it_was_learned_with(
    tokenizer: Any, before: list[tuple[str, str]], answer: str
) -> None:
    asked = [*({"role": role, "content": said} for role, said in before), {"role": "user", "content": "Why?"}]
    ids, learned = sequence(conversation([*asked, {"role": "assistant", "content": answer}], "row"), tokenizer)
    (prompt,), cut = encode_prompt_passages([conversation_prompt(asked, "row")], tokenizer, 10_000, 1, ["row"])
    assert prompt.tolist() == ids[: len(prompt)]
    assert ids[len(prompt) :] == [*tokenizer(f" {answer}")["input_ids"], tokenizer.eos_token_id]
    assert all(learned[len(prompt) :])
    assert not learned[len(prompt) - 1]
    assert not cut[0]


def test_prompts_of_several_parts_keep_their_end(tokenizer: Any) -> None:
    talk = conversation_prompt([{"role": "user", "content": "word " * 40}], "row")
    whole = encode_prompt_passages([talk], tokenizer, 1000, 8, ["row"])[0][0].tolist()
    prompts = [Passage((Part("short", False),)), talk, Passage((Part("", False),))]
    ids, cut = encode_prompt_passages(prompts, tokenizer, 30, 8, ["a", "b", "c"])
    assert [row.tolist() for row in ids] == [
        tokenizer("short")["input_ids"],
        whole[-22:],
        [tokenizer.eos_token_id],
    ]
    assert cut.tolist() == [False, True, False]


def test_what_a_model_of_each_style_is_prompted_with() -> None:
    assert prompt_passage("Hi", "text", "x").text == prompt_passage("Hi", "completion", "x").text == "Hi"
    assert prompt_passage("Hi", "messages", "x").text == "User: Hi\nAssistant:"
    assert prompt_passage("", "messages", "x").text == ""


def test_a_tokenizer_that_marks_texts_marks_each_once() -> None:
    """As of OPT or Llama: one mark at the beginning of a row, none inside."""
    from tokenizers.processors import TemplateProcessing

    marking = AutoTokenizer.from_pretrained(SHIPPED / "nano")
    end, mark = marking.eos_token_id, marking.convert_tokens_to_ids("Q")
    text, more = marking("A film.")["input_ids"], marking(" More.")["input_ids"]
    for symbol, number in (("<|endoftext|>", end), ("Q", mark)):
        marking.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{symbol} $A", special_tokens=[(symbol, number)]
        )
        marking.bos_token = symbol
        assert sequence(document("A film."), marking)[0] == [number, *text, end]
        assert sequence(document("A film."), marking)[1] == [False] + [True] * (len(text) + 1)
        assert sequence(prompt_and_completion("A film.", " More."), marking) == (
            [number, *text, *more, end],
            [False] * (len(text) + 1) + [True] * (len(more) + 1),
        )


def test_a_tokenizer_without_an_end_of_text_is_one_line() -> None:
    without = AutoTokenizer.from_pretrained(SHIPPED / "nano")
    without.eos_token = None
    with pytest.raises(ModelError) as caught:
        encoded(table("text"), without)
    assert str(caught.value) == (
        "the base's tokenizer has no end-of-text token to learn where a text ends: set its eos_token"
    )


def test_a_text_that_the_tokenizer_does_not_know_names_its_row() -> None:
    class Deaf:
        eos_token_id, bos_token_id = 0, 0

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[] if text == "?" else [5] for text in texts]}

    tail = Passage((Part("?", learned=True, ends=True),))
    with pytest.raises(DataError) as caught:
        list(sequences_of(Passages([document("a"), tail], ["x", "y"]), Deaf()))
    assert str(caught.value) == "the tokenizer makes no tokens of row y: remove them"


# --- what is too long -----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=8), st.integers(2, 40))
def test_long_prompts_lose_their_beginning_and_long_completions_are_cut_into_blocks(
    shapes: list[tuple[int, int]], limit: int
) -> None:
    rows = [
        Learned(np.arange(prompt + more) + 1000 * i, np.arange(prompt + more) >= prompt, i)
        for i, (prompt, more) in enumerate(shapes)
    ]
    fitted = [fit(row, limit) for row in rows]
    cut = [before.row for before, after in zip(rows, fitted, strict=True) if after is not before]
    assert [row.row for row in fitted] == list(range(len(rows)))
    for (prompt, more), before, after in zip(shapes, rows, fitted, strict=True):
        assert after.ids[after.learned].tolist() == before.ids[before.learned].tolist()  # nothing learned is lost
        assert (before.row in cut) is (prompt + more - 1 > limit and more <= limit)
        if before.row in cut:
            assert len(after.ids) == limit + 1  # as much of the prompt as fits
            assert after.ids.tolist() == before.ids[-(limit + 1) :].tolist()
            assert not after.learned[0]
        else:
            assert after is before
    blocks = encode(fitted, limit)
    assert max(blocks.lengths()) <= limit
    assert sorted(int(t) for some in blocks.targets for t in some) == sorted(
        int(t) for row in rows for t in row.ids[row.learned]
    )
    for row in cut:
        assert list(blocks.index).count(row) == 1  # a completion that fits stays whole


# --- the pre-flight -------------------------------------------------------------------------------------


def test_what_is_said_of_rows_that_fit(tokenizer: Any) -> None:
    data = table("completion")
    task, rows = encoded(data, tokenizer, valid_fraction=0.0)
    made = plain_tokens("completion", data, tokenizer)
    tokens, scored = sum(len(ids) - 1 for ids, _ in made), sum(sum(learned) for _, learned in made)
    facts = dict(rows.facts)
    assert list(facts) == ["tokens a text", "tokens an epoch", "learned"]
    assert facts["tokens an epoch"] == f"{tokens:,}"
    assert facts["learned"] == f"{scored:,} of {tokens:,} tokens: the completions"
    assert (rows.noun, list(rows.warnings), len(rows.train), len(rows.valid)) == ("row", [], 24, 0)
    assert rows.lengths is not None
    assert (rows.lengths.limit, rows.lengths.over) == (512, 0)
    assert rows.lengths.longest == max(len(ids) - 1 for ids, _ in made)
    assert task.own() == {"style": "completion", "training": task.data.train}
    assert "what the assistant says" in dict(encoded(table("messages"), tokenizer)[1].facts)["learned"]
    assert "learned" not in dict(encoded(table("text"), tokenizer)[1].facts)


def test_what_is_said_of_rows_that_do_not_fit(tokenizer: Any) -> None:
    rows = [{"prompt": "word " * 30, "completion": f"end {i}"} for i in range(2)]
    rows += [{"prompt": f"Q{i} ", "completion": "a"} for i in range(3)]
    rows += [{"prompt": "Q ", "completion": "word " * 50}]
    held = [{"prompt": "word " * 31, "completion": "end"}]
    _, made = encoded(rows, tokenizer, limit=20, valid=held)
    assert list(made.warnings) == [
        "2 of 6 training prompts are too long for 20 tokens with their completions; they lose their beginning "
        "(rows 0, 1)",
        "1 of 1 validation prompts are too long for 20 tokens with their completions; they lose their beginning "
        "(rows 0)",
        "1 of 6 training completions are too long for 20 tokens; what comes in a later block is read without the "
        "prompt (rows 5)",
    ]
    blocks = len(made.train)
    assert blocks == 5 + math.ceil((len(tokenizer("Q ")["input_ids"]) + len(tokenizer("word " * 50)["input_ids"])) / 20)
    assert dict(made.facts)["blocks"] == f"{blocks} of at most 20 tokens"
    assert made.noun == "block"
    assert list(made.train.index).count(5) == blocks - 5
    with pytest.raises(DataError) as caught:
        encoded(rows, tokenizer, limit=20, truncate="error")
    assert str(caught.value) == (
        "3 prompts with their completions longer than 20 tokens (rows 0, 1, 5): shorten them, or say truncate = 'tail' "
        "to learn them without their beginning"
    )
    encoded(["word " * 400] * 2, tokenizer, limit=20, truncate="error")  # texts are cut into blocks: nothing is lost


def test_a_dry_run_counts_blocks() -> None:
    report = gpt_magic.finetune(
        ["word " * 3000], base="scratch", max_length=100, epochs=2, dry_run=True, quiet=True, optimizer="muon"
    )
    facts = dict(report.facts)
    assert facts["columns"] == "text = 'text' (found by name)"
    assert facts["rows"] == "1 to train, 1 to validate"
    assert facts["validation"] == "the last 10% of each text"
    count = int(facts["blocks"].split()[0])
    tokens = int(facts["tokens an epoch"].replace(",", ""))
    assert count == math.ceil(tokens / 100)
    assert facts["plan"] == (
        f"{2 * math.ceil(count / 16)} steps of 16 blocks; 2 epochs of {math.ceil(count / 16)} steps"
    )
    assert facts["learning rate"].endswith("of warm-up, muon")


# --- the loss of a run ----------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_the_losses_of_a_run_are_those_of_transformers(style: str) -> None:
    """The first step's loss is the mean over the learned tokens of all rows; the validation is that of both models."""
    model, tokenizer = base()
    train, valid = table(style), table(style, rows=9).iloc[3:]
    run = gpt_magic.finetune(
        train,
        valid=valid,
        base=(model, tokenizer),
        max_steps=2,
        batch_size=8,
        accumulate=3,
        warmup=0,
        quiet=True,
        precision="fp32",
    )
    nats, tokens = plain_nats(model, plain_tokens(style, train, tokenizer))
    assert run.history["loss"][0] == pytest.approx(nats / tokens, abs=2e-5)
    characters = {
        "text": lambda: int(valid["text"].str.len().sum()),
        "completion": lambda: int(valid["completion"].str.len().sum()),
        "messages": lambda: sum(
            1 + len(m["content"]) for talk in valid["messages"] for m in talk if m["role"] == "assistant"
        ),
    }[style]()
    before, after = (plain_nats(m, plain_tokens(style, valid, tokenizer)) for m in (model, run.model))
    assert run.metrics["tokens"] == after[1]
    named = dict(run.summary.scores.rows)
    assert list(named) == ["GPT2LMHeadModel fine-tuned", "GPT2LMHeadModel as it was"]
    for (nats, tokens), (perplexity, bits) in zip((after, before), named.values(), strict=True):
        assert perplexity == pytest.approx(math.exp(nats / tokens), rel=2e-5)
        assert bits == pytest.approx(nats / math.log(2) / characters, rel=2e-5)
    assert run.metrics["loss"] == pytest.approx(after[0] / after[1], abs=2e-5)


def test_samples_are_asked_as_in_training_and_repeat_themselves() -> None:
    model, _ = base()
    tokenizer = load_tokenizer(find_base("scratch"))
    task, _ = encoded(table("messages"), tokenizer, limit=64, samples=["Whose is the cat?", ""], sample_tokens=5)
    first, again = (task.sample(model, lambda: None) for _ in range(2))
    assert first == again
    assert [prompt for prompt, _ in first] == ["Whose is the cat?", ""]
    plain, _ = encoded(table("text"), tokenizer, limit=64, sample_tokens=5)
    plain.options.put("samples", ["User: Whose is the cat?\nAssistant:"])
    assert plain.sample(model, lambda: None)[0][1] == f" {first[0][1]}"  # without the space of the template
    plain.options.put("samples", None)
    assert plain.sample(model, lambda: None) == ()


def test_samples_read_their_prompt_however_short_the_blocks() -> None:
    tokenizer = load_tokenizer(find_base("scratch"))
    frame = pd.DataFrame({"text": ["word"] * 3})
    task, _ = encoded(frame, tokenizer, limit=2, samples=["a long prompt that does not fit"], sample_tokens=5)
    whole, _ = encoded(frame, tokenizer, limit=60, samples=["a long prompt that does not fit"], sample_tokens=5)
    model = base()[0]
    assert task.sample(model, lambda: None) == whole.sample(model, lambda: None)
    other, _ = encoded(frame, tokenizer, limit=2, samples=["not fit"], sample_tokens=5)
    assert task.sample(model, lambda: None)[0][1] != other.sample(model, lambda: None)[0][1]
