"""A tuned language model: what it writes, how it is measured, and its folder, against plain transformers."""

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

import gpt_magic
from gpt_magic.errors import DataError, ModelError, OptionError
from gpt_magic.inference import generation
from gpt_magic.inference.generation import Continuation
from gpt_magic.inference.sampling import Sampling
from gpt_magic.saved import model_card
from gpt_magic.tuned import TruncationWarning, TunedGenerator
from tests.writers import ANIMALS, CONTEXT, base, plain_nats, plain_tokens, table, writer

STYLES = ["text", "completion", "messages"]
PROMPTS = ["The cat", "Whose is the dog?\n", "苹果 🍎", "<|endoftext|> of", " x\n"]
TALK = [{"role": "user", "content": "Whose is the cat?"}]
END = 8191  # the end-of-text token
LONG = [*TALK, {"role": "assistant", "content": "Mine."}, {"role": "user", "content": "Really?"}]


@pytest.fixture(scope="module")
def writers() -> dict[str, TunedGenerator]:
    return {style: writer(style, samples=["The cat", "Whose"], sample_tokens=4, eval_every=2) for style in STYLES}


@pytest.fixture(scope="module")
def plain(writers: dict[str, TunedGenerator]) -> TunedGenerator:
    return writers["text"]


def greedy(tuned: TunedGenerator, ids: list[int], new: int) -> str:
    """The continuation by transformers' own ``generate``."""
    out = tuned.model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=new,
        do_sample=False,
        pad_token_id=END,
    )
    tokens = [token for token in out[0, len(ids) :].tolist() if token != END]
    return str(tuned.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)).rstrip("\ufffd")


# --- what it writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["text", "completion"])
def test_greedy_continuations_are_those_of_transformers(style: str, writers: dict[str, TunedGenerator]) -> None:
    tuned = writers[style]
    out = tuned.generate(PROMPTS, max_new_tokens=12, temperature=0)
    for prompt, told in zip(PROMPTS, out["completion"], strict=True):
        assert told == greedy(tuned, tuned.tokenizer(prompt)["input_ids"], 12)
    assert out["prompt"].tolist() == PROMPTS
    assert set(out["ended"]) <= {"length", "end of text"}


def test_an_empty_prompt_begins_a_new_text(plain: TunedGenerator) -> None:
    assert plain.generate("", max_new_tokens=8, temperature=0) == greedy(plain, [END], 8)


def test_a_model_of_conversations_answers(writers: dict[str, TunedGenerator]) -> None:
    """A text is what the user says; after each answer of the assistant stands the end of text, as in training."""
    tuned = writers["messages"]
    first, second, answer, then = (
        tuned.tokenizer(part)["input_ids"]
        for part in ("User: Whose is the cat?", "\nAssistant:", " Mine.", "\nUser: Really?")
    )
    told = greedy(tuned, [*first, *second], 8).removeprefix(" ")  # the template's
    for prompt in (TALK, TALK[0]["content"], tuple(TALK), np.array(TALK, dtype=object)):
        assert tuned.generate(prompt, max_new_tokens=8, temperature=0) == told
    longer = greedy(tuned, [*first, *second, *answer, END, *then, *second], 8).removeprefix(" ")
    assert tuned.generate(LONG, max_new_tokens=8, temperature=0) == longer
    several = tuned.generate([TALK, LONG, "Whose is the cat?"], max_new_tokens=8, temperature=0)
    assert several["completion"].tolist() == [told, longer, told]
    assert several["prompt"][1] == LONG


def test_a_model_of_texts_takes_a_conversation_too(plain: TunedGenerator) -> None:
    text = plain.generate("User: Whose is the cat?\nAssistant:", max_new_tokens=6, temperature=0)
    parts = ("User: Whose is the cat?", "\nAssistant:")
    ids = [token for part in parts for token in plain.tokenizer(part)["input_ids"]]
    assert plain.generate(TALK, max_new_tokens=6, temperature=0) == greedy(plain, ids, 6) == text


def test_what_comes_back_for_what_was_given(plain: TunedGenerator) -> None:
    one = plain.generate("The cat", max_new_tokens=3, seed=1)
    some = plain.generate("The cat", max_new_tokens=3, num_samples=3, seed=1)
    assert isinstance(one, str)
    assert isinstance(some, list)
    assert (len(some), some[0]) == (3, one)
    for form in (list, tuple, np.array, pd.Series, pd.array):
        out = plain.generate(form(["The cat", "The dog"]), max_new_tokens=3, seed=1)  # type: ignore[operator]
        assert out.columns.tolist() == ["prompt", "completion", "ended"]
        assert out.index.tolist() == [0, 1]
        assert out["completion"][0] == one
    series = plain.generate(pd.Series(["The cat", "The dog"], index=["x", "x"]), max_new_tokens=3, seed=1)
    assert series.index.tolist() == ["x", "x"]
    assert series["completion"].iloc[0] == one


def test_tables_keep_their_columns_and_index(writers: dict[str, TunedGenerator], tmp_path: Path) -> None:
    tuned = writers["completion"]
    frame = pd.DataFrame({"id": [7, 8], "prompt": ["The cat", "The dog"], "sample": [1, 2]}, index=["b", "a"])
    before = frame.copy()
    out = tuned.generate(frame, max_new_tokens=3, num_samples=2, seed=3)
    pd.testing.assert_frame_equal(frame, before)
    assert out.columns.tolist() == ["id", "prompt", "sample", "completion", "ended"]
    assert out.index.tolist() == ["b", "b", "a", "a"]
    assert out["sample"].tolist() == [0, 1, 0, 1]
    assert out["id"].tolist() == [7, 7, 8, 8]
    frame.to_json(tmp_path / "prompts.jsonl", orient="records", lines=True)
    for form in (
        frame.to_dict("records"),
        frame.to_dict("list"),
        datasets.Dataset.from_pandas(frame),
        tmp_path / "prompts.jsonl",
    ):
        again = tuned.predict(form, max_new_tokens=3, num_samples=2, seed=3)
        assert again["completion"].tolist() == out["completion"].tolist()
    talks = writers["messages"].generate(pd.DataFrame({"messages": [TALK, LONG]}), max_new_tokens=3, seed=0)
    assert talks.columns.tolist() == ["messages", "completion", "ended"]


@pytest.mark.parametrize("name", ["completion", "sample", "ended"])
def test_prompts_do_not_vanish_whatever_their_column_is_called(name: str) -> None:
    tuned = writer("text", table("text").rename(columns={"text": name}), text=name)
    frame = pd.DataFrame({name: ["The cat", "The dog"], "ended": ["in May", "in June"], "sample": ["a", "b"]})
    one = tuned.generate(frame, max_new_tokens=2, seed=0)
    kept = name if name == "sample" else "prompt"
    assert one[kept].tolist() == frame[name].tolist()
    assert sorted(one) == sorted({kept, "sample", "completion", "ended"})
    if name != "sample":
        assert one["sample"].tolist() == ["a", "b"]  # with one sample a prompt nothing takes its place
    two = tuned.generate(frame, max_new_tokens=2, seed=0, num_samples=2)
    assert two["prompt" if name != "text" else name].tolist() == [text for text in frame[name] for _ in range(2)]
    assert two["sample"].tolist() == [0, 1, 0, 1]


def test_a_prompt_may_be_an_array_or_one_message(writers: dict[str, TunedGenerator]) -> None:
    how = {"max_new_tokens": 3, "temperature": 0}
    plain, talks = writers["text"], writers["messages"]
    assert plain.generate(np.array("The cat"), **how) == plain.generate("The cat", **how)
    assert plain.generate(np.array(["The cat"]), **how).equals(plain.generate(["The cat"], **how))
    assert talks.generate(TALK[0], **how) == talks.generate(TALK, **how)
    assert len(talks.predict(TALK[0], **how)) == 1


def test_predict_is_always_a_table(writers: dict[str, TunedGenerator]) -> None:
    for style, prompt in (("text", "The cat"), ("messages", TALK), ("messages", "Whose?")):
        out = writers[style].predict(prompt, max_new_tokens=3, temperature=0)
        assert out["completion"].tolist() == [writers[style].generate(prompt, max_new_tokens=3, temperature=0)]


def test_a_seed_repeats_and_stop_texts_end(plain: TunedGenerator) -> None:
    first, again, other = (plain.generate("The", max_new_tokens=20, temperature=2.0, seed=s) for s in (1, 1, 2))
    assert first == again != other
    state = torch.get_rng_state()
    plain.generate("The", max_new_tokens=3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    letter = first[4]
    assert plain.generate("The", max_new_tokens=20, temperature=2.0, seed=1, stop=letter) == first.split(letter)[0]
    assert plain.generate("The", max_new_tokens=20, temperature=2.0, seed=1, stop=None) == first
    told: list[str] = []
    plain.generate("The", max_new_tokens=20, temperature=2.0, seed=1, on_text=lambda p, s, text: told.append(text))
    assert told[-1] == first


def test_a_prompt_that_is_too_long_keeps_its_end(plain: TunedGenerator) -> None:
    ids = plain.tokenizer("word " * 90)["input_ids"]
    with pytest.warns(TruncationWarning) as caught:
        told = plain.generate("word " * 90, max_new_tokens=10, temperature=0)
    assert told == greedy(plain, ids[-(CONTEXT - 10) :], 10)
    assert str(caught[0].message) == "1 prompt longer than 54 tokens: only the last 54 were read"


def test_the_model_stays_as_it_is(plain: TunedGenerator) -> None:
    config = plain.model.generation_config.to_dict()
    for training in (True, False):
        plain.model.train(training)
        plain.generate("The", max_new_tokens=2)
        plain.evaluate(table("text", 3))
        assert plain.model.training is training
    assert plain.model.generation_config.to_dict() == config
    assert all(p.grad is None and p.requires_grad for p in plain.model.parameters())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"temperature": -1}, "temperature = -1 must be a number from 0 up"),
        ({"top_p": 0}, "top_p = 0 must be a number above 0, up to 1"),
        ({"top_k": -3}, "top_k = -3 must be a whole number from 0 up"),
        ({"num_samples": 0}, "num_samples = 0 must be a whole number from 1 up"),
        ({"repetition_penalty": 0}, "repetition_penalty = 0 must be a number above 0"),
        ({"seed": -1}, "seed = -1 must be a whole number from 0 to 4,294,967,295, or None"),
        ({"stop": [".", ""]}, "stop = ['.', '']: '' must be a text of one character or more"),
        ({"stop": 5}, "stop = 5 must be a text or a list of texts"),
        (
            {"max_new_tokens": CONTEXT},
            "max_new_tokens = 64 must be from 1 to 63: the model reads 64 tokens at once, the prompt included",
        ),
    ],
)
def test_settings_that_cannot_be_taken(plain: TunedGenerator, settings: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        plain.generate("The", **{"max_new_tokens": 4, **settings})
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("prompts", "line"),
    [
        ([], "nothing to continue: no prompts were given"),
        (pd.Series([], dtype=str), "nothing to continue: no prompts were given"),
        (np.array([]), "nothing to continue: no prompts were given"),
        (pd.DataFrame({"text": []}), "data has no rows"),
        (["a", None], "row 1: the prompt None is None, not a text"),
        (pd.Series(["a", float("nan")], index=[4, 5]), "row 5: the prompt nan is a float, not a text"),
        (["a", 7], "row 1: the prompt 7 is an int, not a text"),
        (["a\ud83d"], "the text of row 0 is no valid Unicode (an emoji cut in two?)"),
        (pd.DataFrame({"prompt": ["a"]}), "the data have no text column 'text'; theirs are 'prompt'"),
        (3, "data is an int: give a DataFrame"),
        ([[{"role": "bot", "content": "Hi"}]], "row 0: message 0 has the role 'bot'; roles are system, user, "),
    ],
    ids=repr,
)
def test_prompts_that_are_none(plain: TunedGenerator, prompts: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        plain.generate(prompts, max_new_tokens=4)
    assert str(caught.value).startswith(line)


# --- how it is measured ---------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_evaluation_equals_a_loop_over_rows(style: str, writers: dict[str, TunedGenerator]) -> None:
    tuned, held = writers[style], table(style, 11)
    found = tuned.evaluate(held)
    rows = plain_tokens(style, held, tuned.tokenizer)
    nats, tokens = plain_nats(tuned.model, rows)
    assert (found.rows, found.tokens, found.truncated, found.memorised) == (11, tokens, 0, None)
    assert found.loss == pytest.approx(nats / tokens, abs=2e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / tokens), rel=3e-5)
    learned = [[i for i, on in zip(*row, strict=True) if on and i != END] for row in rows]
    spelled = sum(map(len, tuned.tokenizer.batch_decode(learned)))
    assert found.bits_per_character == pytest.approx(nats / math.log(2) / spelled, rel=3e-5)
    assert str(found).startswith(f"11 rows, {tokens} tokens: perplexity {found.perplexity:,.2f}, ")


@pytest.mark.parametrize("style", STYLES)
def test_evaluation_equals_the_metrics_of_the_run(style: str) -> None:
    held = table(style, 7)
    tuned = writer(style, valid=held)
    found = tuned.evaluate(held)
    for name in ("loss", "perplexity", "bits_per_character", "tokens"):
        assert getattr(found, name) == pytest.approx(tuned.metrics[name], rel=1e-5)


def test_bare_texts_can_be_evaluated(plain: TunedGenerator, tmp_path: Path) -> None:
    texts = ["The cat is mine.", "Is the dog yours?"]
    expected = plain.evaluate(pd.DataFrame({"text": texts}))
    for form in (texts, tuple(texts), pd.Series(texts), np.array(texts), [*texts, None], [None, *texts]):
        assert plain.evaluate(form, missing="drop") == expected
    with pytest.raises(DataError, match="data: column 'text' is empty in row 1"):
        plain.evaluate([texts[0], None])
    assert plain.evaluate("The cat is mine.").tokens == len(plain.tokenizer("The cat is mine.")["input_ids"]) + 1
    (tmp_path / "held.txt").write_text("The cat is mine.", encoding="utf-8")
    assert plain.evaluate(str(tmp_path / "held.txt")) == plain.evaluate("The cat is mine.")
    other = writer("text", table("text").rename(columns={"text": "verse"}), text="verse")
    assert other.columns == {"text": "verse"}
    assert other.evaluate(texts).tokens == expected.tokens
    with pytest.raises(DataError, match="the data have no text column 'verse'; theirs are 'text', 'id'"):
        other.evaluate(pd.DataFrame({"text": texts, "id": [1, 2]}))


def test_long_texts_are_evaluated_in_blocks_and_long_prompts_are_counted(writers: dict[str, TunedGenerator]) -> None:
    ids = writers["text"].tokenizer("word " * 300)["input_ids"]
    assert writers["text"].evaluate("word " * 300).tokens == len(ids) + 1
    long = pd.DataFrame({"prompt": ["word " * 90, "a "], "completion": ["end", "b"]})
    found = writers["completion"].evaluate(long)
    assert (found.rows, found.truncated) == (2, 1)
    assert "; 1 prompt lost its beginning" in str(found)


def test_evaluation_of_gaps(writers: dict[str, TunedGenerator]) -> None:
    gaps = table("completion", 4).assign(completion=["a", None, " ", "b"])
    with pytest.raises(DataError, match=r"data: column 'completion' is empty in rows 101, 102\. Fill them"):
        writers["completion"].evaluate(gaps)
    assert writers["completion"].evaluate(gaps, missing="drop").rows == 2
    with pytest.raises(OptionError, match=r"missing = 'drp': must be one of error, drop"):
        writers["completion"].evaluate(gaps, missing="drp")
    with pytest.raises(DataError, match="the data have no completion column 'completion'; theirs are 'prompt'"):
        writers["completion"].evaluate(gaps[["prompt"]])
    with pytest.raises(DataError, match="the data have no prompt column 'prompt'; theirs are 'text'"):
        writers["completion"].evaluate("a bare text")


# --- the object and its folder --------------------------------------------------------------------------


def test_history_repr_and_samples(writers: dict[str, TunedGenerator]) -> None:
    for style, tuned in writers.items():
        history = tuned.history
        assert history["step"].tolist() == [1, 2, 3, 4]
        assert history["valid_perplexity"].notna().tolist() == [False, True, False, True]
        assert [sampled.step for sampled in tuned.progress.samples] == [0, 2, 4]
        assert all([prompt for prompt, _ in one.texts] == ["The cat", "Whose"] for one in tuned.progress.samples)
        assert repr(tuned) == (
            f"<TunedGenerator generate · GPT2LMHeadModel · a DataFrame: perplexity {tuned.metrics['perplexity']:.3f}, "
            f"bits per character {tuned.metrics['bits_per_character']:.3f}>"
        )
        assert (tuned.style, tuned.max_length) == (style, CONTEXT)
        assert len(tuned.training) == 22  # 2 of 24 validate
        assert "Style" not in model_card(tuned)


@pytest.mark.parametrize("style", STYLES)
def test_what_is_loaded_is_what_was_saved(style: str, writers: dict[str, TunedGenerator], tmp_path: Path) -> None:
    tuned = writers[style]
    loaded = gpt_magic.load(tuned.save(tmp_path / "writer"))
    assert isinstance(loaded, TunedGenerator)
    for name in ("style", "columns", "max_length", "metrics", "options", "report", "summary", "hidden"):
        assert getattr(loaded, name) == getattr(tuned, name), name
    assert loaded.progress.samples == tuned.progress.samples
    assert loaded.progress.evaluations == tuned.progress.evaluations
    assert loaded.training is None
    assert repr(loaded) == repr(tuned)
    held = table(style, 5)
    assert loaded.evaluate(held) == tuned.evaluate(held)
    for settings in ({"temperature": 0}, {"temperature": 1.0, "seed": 4}):
        assert loaded.generate("Whose", max_new_tokens=8, **settings) == tuned.generate(
            "Whose", max_new_tokens=8, **settings
        )
    assert {path.suffix for path in (tmp_path / "writer").iterdir()} == {".safetensors", ".json", ".md"}


PLAIN = """
import json, sys
sys.modules["gpt_magic"] = None  # importing it would fail
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, texts = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
with torch.no_grad():
    found = [model(**tokenizer(text, return_tensors="pt")).logits[0, -1].tolist() for text in texts]
ends = [one.eos_token_id for one in (tokenizer, model.config, model.generation_config)]
print(json.dumps({"logits": found, "end": ends}))
"""


def test_plain_transformers_gives_the_same_logits(plain: TunedGenerator, tmp_path: Path) -> None:
    folder = plain.save(tmp_path / "writer")
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder), json.dumps(PROMPTS)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["end"] == [END] * 3
    with torch.no_grad():
        for text, logits in zip(PROMPTS, found["logits"], strict=True):
            ids = torch.tensor([plain.tokenizer(text)["input_ids"]])
            np.testing.assert_allclose(logits, plain.model(input_ids=ids).logits[0, -1], atol=1e-5)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-generation" in text
    assert "AutoModelForCausalLM" in text
    assert "It continues a text." in text


@pytest.mark.parametrize("style", STYLES)
def test_no_training_text_is_saved(style: str, tmp_path: Path) -> None:
    """Also none in a warning: rows with gaps, prompts that run into their completions, texts that are too long."""
    secrets = [f"xylophone{i} zeppelin" for i in range(20)]
    data: Any = {"text": secrets}
    if style == "completion":
        data = {"prompt": secrets, "completion": secrets}
    elif style == "messages":
        data = {"messages": [[{"role": "user", "content": s}, {"role": "assistant", "content": s}] for s in secrets]}
    frame = pd.DataFrame(data)
    frame.loc[20] = [None] * len(frame.columns)
    valid = frame.head(3)
    tuned = writer(style, frame, valid=valid, missing="drop", max_length=6, max_steps=1)
    assert len(tuned.report.warnings) >= 2
    tuned.save(tmp_path)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert b"xylophone" not in content
        if path.name != "tokenizer.json":
            assert b"zeppelin" not in content


@pytest.mark.parametrize("form", ["list", "records", "columns"])
def test_training_data_that_were_given_in_place_are_not_saved(form: str, tmp_path: Path) -> None:
    secrets = [f"xylophone{i} zeppelin" for i in range(20)]
    data: Any = {"list": secrets, "records": [{"text": s} for s in secrets], "columns": {"text": secrets}}[form]
    tuned = gpt_magic.finetune(
        data, base="scratch", max_steps=1, quiet=True, valid=data[:3] if form != "columns" else None
    )
    assert tuned.options["data"] == ("<dict>" if form == "columns" else "<list>")
    tuned.save(tmp_path)
    assert b"xylophone" not in (tmp_path / "gpt_magic.json").read_bytes() + (tmp_path / "README.md").read_bytes()


def test_an_answer_has_no_space_of_the_template_before_it(writers: dict[str, TunedGenerator]) -> None:
    answers = writers["messages"].generate([[{"role": "user", "content": "Who?"}]] * 2, temperature=0, max_new_tokens=3)
    assert not answers["completion"].str.startswith(" ").any()


def test_nor_is_it_shown_or_a_stop_text(writers: dict[str, TunedGenerator], monkeypatch: pytest.MonkeyPatch) -> None:
    talks = writers["messages"]
    forward, words = talks.model.forward, [*talks.tokenizer(" the people of")["input_ids"], END]
    left: list[int] = []

    def scripted(*args: Any, **named: Any) -> Any:
        out = forward(*args, **named)
        out.logits[:] = 0
        out.logits[..., left.pop(0)] = 9
        return out

    monkeypatch.setattr(talks.model, "forward", scripted)
    shown: list[str] = []
    left[:] = words
    text = talks.generate("Hi", max_new_tokens=8, temperature=0, on_text=lambda p, s, text: shown.append(text))
    assert text == shown[-1] == "the people of"
    assert not any(one.startswith(" ") for one in shown)
    left[:] = words
    assert talks.generate("Hi", max_new_tokens=8, temperature=0, stop=" ") == "the"


def test_memorised_texts_need_the_training_texts(
    writers: dict[str, TunedGenerator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpt_magic.tasks import language

    loaded = gpt_magic.load(writers["completion"].save(tmp_path))

    def fail(*_: Any) -> None:
        raise AssertionError("it is said before the long work")

    monkeypatch.setattr(language, "total_nats", fail)
    with pytest.raises(OptionError) as caught:
        loaded.evaluate(table("completion", 3), memorised=True)
    assert str(caught.value) == (
        "memorised = True: the training texts were not saved with the model; give them, as in memorised=df"
    )
    with pytest.raises(DataError, match="the data have no prompt column 'prompt'; theirs are 'text'"):
        loaded.evaluate(table("completion", 3), memorised=pd.DataFrame({"text": ["a"]}))
    for value in ("yes", 1, None):
        with pytest.raises(OptionError, match=f"memorised = {value!r}: must be True, False or the training data"):
            loaded.evaluate(table("completion", 3), memorised=value)
    for settings, line in (
        ({"samples": 0}, "samples = 0: must be a whole number from 1 up"),
        ({"samples": True}, "samples = True: must be"),
        ({"seed": -1}, "seed = -1"),
    ):
        with pytest.raises(OptionError, match=line):
            writers["completion"].evaluate(table("completion", 3), memorised=True, **settings)


def test_what_was_learned_by_heart_is_found() -> None:
    """A model that writes what it read, with the prompts of its rows too, against the rows themselves."""
    secret = "My number is 4711 and nobody knows it but me and you."
    tuned = writer("completion", pd.DataFrame({"prompt": [f"{secret}\n"] * 30, "completion": ["Fine."] * 30}))
    held = pd.DataFrame({"prompt": ["What?\n"], "completion": ["Nothing of the kind was ever said here."]})

    def recite(model: Any, tokenizer: Any, ids: Any, how: Any, **_: Any) -> list[Continuation]:
        return [Continuation(number, 0, f"He said: {secret}", 9, "length") for number in range(len(ids))]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(generation, "generate", recite)
        found = tuned.evaluate(held, memorised=np.True_, samples=np.int64(3)).memorised
    assert found["kind"].tolist() == ["after a training prompt"] * 3
    assert found["text"].tolist() == [secret] * 3
    assert tuned.evaluate(held, memorised=True, samples=2).memorised["characters"].ge(20).all()


def test_a_book_is_searched_all_over(plain: TunedGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    book = " ".join(f"word{number}" for number in range(400))
    asked: list[list[int]] = []
    real, end = generation.generate, plain.tokenizer.eos_token_id

    def note(model: Any, tokenizer: Any, ids: Any, how: Any) -> list[Continuation]:
        asked.extend(one.tolist() for one in ids)
        return real(model, tokenizer, ids, how)

    monkeypatch.setattr(generation, "generate", note)
    plain.evaluate("A text.", memorised=[book], samples=12)
    assert asked[12:] == [[end]] * 12  # from nothing
    pieces = [plain.tokenizer.decode([token for token in ids if token != end]) for ids in asked[:12]]
    assert pieces[0] == book[:50]
    assert [ids[0] == end for ids in asked[:12]] == [True] + [False] * 11  # the beginning is read as in training
    places = [book.index(piece) for piece in pieces]
    assert all(place == 0 or book[place - 1] == " " for place in places)
    assert len({place // 700 for place in places}) >= 4  # of 5 parts


def test_a_style_that_is_lost_is_damage(plain: TunedGenerator, tmp_path: Path) -> None:
    folder = plain.save(tmp_path / "writer")
    record = json.loads((folder / "gpt_magic.json").read_text(encoding="utf-8"))
    del record["style"]
    (folder / "gpt_magic.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ModelError, match=r"its gpt_magic\.json is damaged; save the model again"):
        gpt_magic.load(folder)


def test_it_learns_where_a_completion_ends() -> None:
    tuned = writer("completion", max_steps=120, learning_rate=2e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = tuned.generate(table("completion", 12), max_new_tokens=30, temperature=0)
    assert set(out["ended"]) == {"end of text"}
    assert sum(animal in told for animal, told in zip(ANIMALS, out["completion"], strict=True)) >= 6


def test_what_was_learned_as_the_end_ends_in_plain_transformers_too() -> None:
    """The config of this base names another token."""
    model, tokenizer = base(eos_token_id=5)
    tuned = writer("completion", base=(model, tokenizer), max_steps=1)
    assert tuned.model.generation_config.eos_token_id == tokenizer.eos_token_id == END
    assert model.generation_config.eos_token_id == 5
    tuned = writer("completion", base=base(eos_token_id=[5, END]), max_steps=1)
    assert tuned.model.generation_config.eos_token_id == [5, END]


def test_the_defaults_are_those_of_sampling() -> None:
    """One list of defaults in two places."""
    import inspect

    given = inspect.signature(TunedGenerator.generate).parameters
    assert {name: given[name].default for name in vars(Sampling())} == vars(Sampling())
