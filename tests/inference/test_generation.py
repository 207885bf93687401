"""Generation against plain transformers row by row, and what it adds: samples, stop texts, streaming, interrupts."""

import itertools
import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from gpt_magic.errors import DataError, OptionError
from gpt_magic.inference.generation import Continuation, encode_prompts, generate
from gpt_magic.inference.sampling import Sampling, stop_texts
from gpt_magic.models.find import find_base
from gpt_magic.models.tokenizer import load_tokenizer

END = 256
CONTEXT = 64


def byte_tokenizer() -> Any:
    """One token a byte, and an end of text that is also the padding."""
    vocabulary = {character: byte for byte, character in bytes_to_unicode().items()}
    made = Tokenizer(BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, pad_token=end, split_special_tokens=True)


def tiny_lm(seed: int = 0, **config: Any) -> Any:
    """A GPT-2 of 2 layers x 32 with random weights over bytes."""
    torch.manual_seed(seed)
    shape = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": CONTEXT, "vocab_size": END + 1}
    ends = {"eos_token_id": END, "bos_token_id": END}
    model = GPT2LMHeadModel(GPT2Config(**{**shape, **ends, **config}, initializer_range=0.3)).eval()
    # Only readable tokens and the end of text, so that texts tell tokens apart.
    model.lm_head = torch.nn.Linear(32, END + 1, bias=True)
    model.lm_head.weight.data.normal_(0, 0.5)
    model.lm_head.bias.data[:] = -1000.0
    model.lm_head.bias.data[[*range(32, 127), END]] = 0.0
    return model


@pytest.fixture(scope="module")
def nano() -> tuple[Any, Any]:
    base = find_base("nano")
    return AutoModelForCausalLM.from_pretrained(base.source), load_tokenizer(base)


TINY = tiny_lm(), byte_tokenizer()


def random_prompts(count: int, longest: int, vocabulary: int, end: int, seed: int) -> list[np.ndarray]:
    """Of 1 to ``longest`` random tokens, the end of text among them."""
    rng = np.random.default_rng(seed)
    lengths = [1, longest, *rng.integers(1, longest + 1, count - 2)]
    prompts = [rng.integers(0, vocabulary, length) for length in lengths]
    for prompt in prompts[1::2]:
        prompt[rng.integers(len(prompt))] = end
    prompts[2][0], prompts[3][-1] = end, end
    return prompts


def alone(model: Any, end: int, prompt: Sequence[int] | np.ndarray, sampling: Sampling, **more: Any) -> list[int]:
    """The new tokens of plain transformers, greedy, for one prompt that nothing pads."""
    ids = torch.tensor([[int(i) for i in prompt]])
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        repetition_penalty=sampling.repetition_penalty,
        pad_token_id=end,
        **more,
    )
    return [int(i) for i in out[0, ids.shape[1] :]]


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    kept = [token for token in tokens if token != tokenizer.eos_token_id]
    return str(tokenizer.decode(kept, clean_up_tokenization_spaces=False)).rstrip("\ufffd")


def greedy(**changes: Any) -> Sampling:
    return Sampling(**{"temperature": 0, "max_new_tokens": 12, **changes})


@pytest.mark.parametrize("penalty", [1.0, 2.0, 0.4])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_each_row_is_as_transformers_makes_it_alone(batch_size: int, penalty: float) -> None:
    model, tokenizer = TINY
    prompts = random_prompts(24, CONTEXT - 12, END, END, seed=batch_size)
    sampling = greedy(repetition_penalty=penalty)
    made = generate(model, tokenizer, prompts, sampling, batch_size=batch_size)
    expected = [alone(model, END, prompt, sampling) for prompt in prompts]
    assert [(one.prompt, one.sample, one.tokens) for one in made] == [(k, 0, len(e)) for k, e in enumerate(expected)]
    assert [one.text for one in made] == [decoded(tokenizer, tokens) for tokens in expected]
    ends = ["end of text" if tokens[-1] == END else "length" for tokens in expected]
    assert [one.ended for one in made] == ends
    assert len({one.text for one in made}) > 12
    if penalty == 0.4:  # the end of text in some prompts is rewarded; as padding it would be everywhere
        assert {*ends} == {"end of text", "length"}


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_nano_goes_on_as_in_plain_transformers(nano: tuple[Any, Any], penalty: float) -> None:
    model, tokenizer = nano
    texts = ["Once upon a time", "", "The", "A long way to go. " * 40, "3.1415, 2.7182 and", "Über den Wolken 🎉", "\n"]
    ids, cut = encode_prompts(texts, tokenizer, 512, 12, range(len(texts)))
    assert cut.tolist() == [False] * len(texts)
    sampling = greedy(repetition_penalty=penalty)
    made = generate(model, tokenizer, ids, sampling)
    for text, one in zip(texts, made, strict=True):
        plain = tokenizer(text or tokenizer.eos_token, return_tensors="pt", split_special_tokens=bool(text))
        out = model.generate(**plain, max_new_tokens=12, do_sample=False, repetition_penalty=penalty)
        assert one.text == decoded(tokenizer, out[0, plain["input_ids"].shape[1] :].tolist())


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("most", [5, 1])
def test_where_memory_runs_out_fewer_texts_are_written_at_a_time(most: int, temperature: float) -> None:
    model, tokenizer = TINY
    prompts = random_prompts(24, CONTEXT - 12, END, END, seed=most)
    args = (model, tokenizer, prompts, greedy(temperature=temperature, seed=3))
    whole = generate(*args, batch_size=12)
    seen: dict[int, list[str]] = {}
    sizes: list[int] = []

    def full(_: Any, args: Any, kwargs: Any) -> None:
        rows, tokens = kwargs["input_ids"].shape
        sizes.append(rows)
        if rows > most and tokens == 1 and len(sizes) % 7 == 0:  # somewhere within a batch
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = model.register_forward_pre_hook(full, with_kwargs=True)
    try:
        with pytest.warns(UserWarning, match=r"memory ran out: \d+ texts? at a time from now on"):
            made = generate(
                *args, batch_size=12, on_text=lambda prompt, _, text: seen.setdefault(prompt, []).append(text)
            )
    finally:
        hook.remove()
    assert made == whole
    assert sizes[-1] <= most
    for one in made:
        texts = seen.get(one.prompt, [""])
        assert texts[-1] == one.text
        assert all(after.startswith(before) and after != before for before, after in itertools.pairwise(texts))


def test_a_text_that_does_not_fit_alone_is_an_error() -> None:
    model, tokenizer = TINY

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = model.register_forward_pre_hook(full)
    try:
        with pytest.warns(UserWarning, match="1 text at a time"), pytest.raises(torch.OutOfMemoryError):
            generate(model, tokenizer, [[70], [71]], greedy())
    finally:
        hook.remove()


def test_random_tokens_through_nano(nano: tuple[Any, Any]) -> None:
    model, tokenizer = nano
    prompts = random_prompts(10, 300, 8191, 8191, seed=3)
    sampling = greedy(max_new_tokens=8, repetition_penalty=1.2)
    made = generate(model, tokenizer, prompts, sampling, batch_size=5)
    assert [one.text for one in made] == [decoded(tokenizer, alone(model, 8191, p, sampling)) for p in prompts]


def test_a_prompt_may_fill_the_context_but_not_more() -> None:
    model, tokenizer = TINY
    full = np.full(CONTEXT - 12, 70)
    assert [one.tokens for one in generate(model, tokenizer, [full, full[:1]], greedy())] == [12, 12]
    for bad in (np.full(CONTEXT - 11, 70), []):
        with pytest.raises(ValueError, match=rf"prompt 1 has {len(bad)} tokens; .* must have 1 to {CONTEXT - 12}"):
            generate(model, tokenizer, [full, bad], greedy())
    assert generate(model, tokenizer, [], greedy()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 1.0},
        {"temperature": 0.5},
        {"temperature": 1.5, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.6},
        {"temperature": 2.0, "top_k": 40, "top_p": 0.8, "repetition_penalty": 1.5},
    ],
)
def test_tokens_come_as_often_as_transformers_says(changes: dict[str, Any]) -> None:
    model, tokenizer = TINY
    prompt, samples = [72, 101, 108, 108, 111], 1500
    sampling = Sampling(max_new_tokens=1, num_samples=samples, seed=5, **changes)
    made = generate(model, tokenizer, [prompt], sampling, batch_size=512)
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
            TemperatureLogitsWarper(sampling.temperature),
            TopKLogitsWarper(sampling.top_k or END + 1),
            TopPLogitsWarper(sampling.top_p),
        ]
    )
    ids = torch.tensor([prompt])
    with torch.no_grad():
        expected = processors(ids, model(input_ids=ids).logits[:, -1]).softmax(-1)[0].numpy()
    texts = [one.text if one.tokens and one.ended == "length" else "" for one in made]
    counts = np.array([texts.count(chr(token)) for token in range(END)] + [texts.count("")])
    assert counts.sum() == samples
    assert not counts[expected < 1e-9].any()
    deviation = np.sqrt(samples * expected * (1 - expected))
    assert (np.abs(counts - samples * expected) <= 4.5 * deviation + 1).all()


def test_a_seed_fixes_the_texts_whatever_else_is_in_the_call() -> None:
    model, tokenizer = TINY
    prompts = random_prompts(7, 40, END, END, seed=1)
    sampling = Sampling(max_new_tokens=12, temperature=1.0, num_samples=3, seed=11)
    before = torch.random.get_rng_state()
    made = generate(model, tokenizer, prompts, sampling)
    assert torch.equal(before, torch.random.get_rng_state())
    assert [(one.prompt, one.sample) for one in made] == [(k, s) for k in range(7) for s in range(3)]
    assert generate(model, tokenizer, prompts, sampling, batch_size=5) == made
    assert generate(model, tokenizer, prompts[:2], sampling, batch_size=1) == made[:6]
    assert len({one.text for one in made}) == 21
    twice = generate(model, tokenizer, [prompts[0]] * 2, sampling)
    assert [one.text for one in twice[:3]] != [one.text for one in twice[3:]]
    again = generate(model, tokenizer, prompts, Sampling(max_new_tokens=12, temperature=1.0, num_samples=3, seed=12))
    assert not {one.text for one in made} & {one.text for one in again}


def test_without_a_seed_the_global_generator_decides() -> None:
    model, tokenizer = TINY

    def texts() -> list[str]:
        sampling = Sampling(max_new_tokens=12, temperature=1.0, num_samples=3)
        return [one.text for one in generate(model, tokenizer, [[70], [71, 72]], sampling)]

    torch.manual_seed(3)
    first, second = texts(), texts()
    torch.manual_seed(3)
    assert texts() == first != second


def test_the_models_own_settings_do_not_leak_in(capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = byte_tokenizer()
    prompts = random_prompts(6, 40, END, END, seed=2)
    expected = generate(tiny_lm(), tokenizer, prompts, greedy())
    model = tiny_lm(use_cache=False).train()
    model.generation_config = GenerationConfig(
        eos_token_id=END,
        max_length=3,
        do_sample=True,
        temperature=0.1,
        repetition_penalty=3.0,
        no_repeat_ngram_size=1,
        bad_words_ids=[[token] for token in range(60, 127)],
        suppress_tokens=[50],
        num_return_sequences=2,
        use_cache=False,
        stop_strings=["e"],
        max_time=1e-9,
        return_dict_in_generate=True,
    )
    own, values = model.generation_config, json.dumps(model.generation_config.to_dict())
    lengths: list[int] = []
    model.transformer.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert generate(model, tokenizer, prompts, greedy()) == expected
    assert lengths[1:] == [1] * 11  # the cache is used
    assert model.generation_config is own
    assert json.dumps(own.to_dict()) == values
    assert model.training
    assert not any(capfd.readouterr())
    model(input_ids=torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]])).loss.backward()  # no inference tensors stay


@pytest.mark.parametrize("own_end", [None, 50256, [70, 50256]])
def test_the_end_of_text_is_the_tokenizers_and_the_models(own_end: Any) -> None:
    model = tiny_lm()
    model.generation_config.eos_token_id = own_end
    with torch.no_grad():
        model.lm_head.bias[END] = 50.0
    made = generate(model, byte_tokenizer(), [[70], [71] * 20], greedy())
    assert made == [Continuation(0, 0, "", 1, "end of text"), Continuation(1, 0, "", 1, "end of text")]
    with torch.no_grad():
        model.lm_head.bias[70] = 90.0
    ended = generate(model, byte_tokenizer(), [[71]], greedy())[0]
    assert ended == (
        Continuation(0, 0, "", 1, "end of text")
        if own_end == [70, 50256]
        else Continuation(0, 0, "F" * 12, 12, "length")
    )


class Scripted(GPT2LMHeadModel):
    """Writes the script of the row whose first token is its number, and then the end of text."""

    scripts: Sequence[bytes]
    rows: Sequence[bytes]
    step: int

    def forward(self, input_ids: Any, **more: Any) -> Any:
        out = super().forward(input_ids=input_ids, **more)
        if out.past_key_values.get_seq_length() == input_ids.shape[1]:
            self.rows, self.step = [self.scripts[first] for first in input_ids[:, 0].tolist()], 0
        for row, script in enumerate(self.rows):
            out.logits[row, -1, script[self.step] if self.step < len(script) else END] += 1e4
        self.step += 1
        return out


SCRIPTED = Scripted(
    GPT2Config(n_layer=1, n_embd=8, n_head=1, n_positions=CONTEXT, vocab_size=END + 1, eos_token_id=END)
)


def scripted(scripts: Sequence[bytes]) -> Any:
    SCRIPTED.scripts = scripts
    return SCRIPTED


class Stream:
    """Collects what is streamed, and checks that it only grows and holds no half characters."""

    def __init__(self) -> None:
        self.last: dict[int, str] = {}
        self.calls = 0

    def __call__(self, prompt: int, sample: int, text: str) -> None:
        before = self.last.get(prompt, "")
        assert sample == 0
        assert text.startswith(before)
        assert text != before
        assert not text.endswith("\ufffd")
        self.last[prompt] = text
        self.calls += 1


def test_streams_hold_back_half_characters_and_half_stop_texts() -> None:
    scripts = ["añ🎉b".encode(), b"x\nQ\nQ: more", b"ab\xf0\x9f"]
    seen: list[tuple[int, str]] = []
    made = generate(
        scripted(scripts),
        byte_tokenizer(),
        [[0], [1] * 9, [2] * 3],
        greedy(max_new_tokens=30, stop="\nQ:"),
        on_text=lambda prompt, _, text: seen.append((prompt, text)),
    )
    assert [text for prompt, text in seen if prompt == 0] == ["a", "añ", "añ🎉", "añ🎉b"]
    assert [text for prompt, text in seen if prompt == 1] == ["x", "x\nQ"]
    assert [text for prompt, text in seen if prompt == 2] == ["a", "ab"]
    assert made == [
        Continuation(0, 0, "añ🎉b", 9, "end of text"),
        Continuation(1, 0, "x\nQ", 6, "stop"),
        Continuation(2, 0, "ab", 5, "end of text"),
    ]


PIECES = st.sampled_from([b"a", b"b", "é".encode(), "🎉".encode(), b"\x9f", b"\xf0", b"\xc3", "�".encode()])
SCRIPTS = st.lists(st.lists(PIECES, max_size=8).map(b"".join), min_size=1, max_size=4)
STOPS = st.lists(st.text("abé🎉", min_size=1, max_size=3), max_size=2)


@given(scripts=SCRIPTS, stops=STOPS, new=st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_any_bytes_stream_to_the_text_that_is_returned(scripts: list[bytes], stops: list[str], new: int) -> None:
    stream = Stream()
    prompts = [[number] * (1 + number * 3) for number in range(len(scripts))]
    sampling = greedy(max_new_tokens=new, stop=tuple(stops))
    args = (scripted(scripts), byte_tokenizer(), prompts, sampling)
    made = generate(*args, on_text=stream)
    assert generate(*args) == made
    for one, script in zip(made, scripts, strict=True):
        assert (one.text, one.tokens, one.ended) == expected_of(script, stops, new)
        assert stream.last.get(one.prompt, "") == one.text


def expected_of(script: bytes, stops: Sequence[str], new: int) -> tuple[str, int, str]:
    for step in range(1, min(len(script), new) + 1):
        text = script[:step].decode(errors="replace")
        found = [text.find(stop) for stop in stops if stop in text]
        if found:
            return text[: min(found)].rstrip("\ufffd"), step, "stop"
    text = script[:new].decode(errors="replace").rstrip("\ufffd")
    return (text, len(script) + 1, "end of text") if len(script) < new else (text, new, "length")


@pytest.mark.parametrize("stops", [(" time, and",), ("ti", "Q"), ("zzz",), (" of the", "e of")])
def test_stop_texts_end_where_transformers_would(nano: tuple[Any, Any], stops: tuple[str, ...]) -> None:
    model, tokenizer = nano
    prompts = [tokenizer(text)["input_ids"] for text in ("Once upon a", "The meeting is", "1 2 3 4 5 6 7 8 9")]
    free = greedy(max_new_tokens=24)
    made = generate(model, tokenizer, prompts, greedy(max_new_tokens=24, stop=stops))
    for one, prompt in zip(made, prompts, strict=True):
        text = decoded(tokenizer, alone(model, tokenizer.eos_token_id, prompt, free))
        starts = [text.find(stop) for stop in stops if stop in text]
        assert one.text == (text[: min(starts)] if starts else text)
        assert one.ended == ("stop" if starts else "length")
        own = alone(model, tokenizer.eos_token_id, prompt, free, stop_strings=list(stops), tokenizer=tokenizer)
        assert one.tokens == len(own)


def test_a_stop_text_that_begins_in_the_prompt_or_its_padding_is_none() -> None:
    prompts = [list(b"\0"), list(b"\1") * 20]
    made = generate(scripted([b"\0bc", b"\1b"]), byte_tokenizer(), prompts, greedy(stop=("\0\0", "\1\1", "\0b\0")))
    assert [(one.text, one.ended) for one in made] == [("\0bc", "end of text"), ("\1b", "end of text")]


def raising(error: BaseException, at: int) -> Callable[..., None]:
    calls = []

    def call(*_: Any) -> None:
        calls.append(1)
        if len(calls) == at:
            raise error

    return call


def test_an_interrupt_hands_back_what_is_there() -> None:
    model = scripted([b"a", b"bbbbbbbb", b"cccccccc", b"dddd"]).train()
    own, prompts = model.generation_config, [[0], [1], [2] * 9, [3] * 9]
    stream = Stream()
    made = generate(
        model,
        byte_tokenizer(),
        prompts,
        greedy(),
        batch_size=2,
        on_text=stream,
        keep_partial=True,
        check=raising(KeyboardInterrupt(), at=14),  # 1 + 9 of the first batch, 1 + 3 of the second
    )
    assert made == [
        Continuation(0, 0, "a", 2, "end of text"),
        Continuation(1, 0, "bbbbbbbb", 9, "end of text"),
        Continuation(2, 0, "ccc", 3, "interrupted"),
        Continuation(3, 0, "ddd", 3, "interrupted"),
    ]
    assert stream.last == {0: "a", 1: "bbbbbbbb", 2: "ccc", 3: "ddd"}
    assert model.training
    assert model.generation_config is own


def test_an_interrupt_ends_the_work_unless_told_otherwise() -> None:
    model = scripted([b"abcdef"])
    with pytest.raises(KeyboardInterrupt):
        generate(model, byte_tokenizer(), [[0]], greedy(), check=raising(KeyboardInterrupt(), at=3))


def test_an_interrupt_while_painting_loses_no_token() -> None:
    painted: list[str] = []
    stop = raising(KeyboardInterrupt(), at=3)

    def paint(prompt: int, sample: int, text: str) -> None:
        stop()
        painted.append(text)

    made = generate(
        scripted([b"abcdef", b""]),
        byte_tokenizer(),
        [[0], [1] * 5],
        greedy(),
        batch_size=1,
        on_text=paint,
        keep_partial=True,
    )
    assert made == [Continuation(0, 0, "abc", 3, "interrupted"), Continuation(1, 0, "", 0, "interrupted")]
    assert painted == ["a", "ab", "abc"]


@pytest.mark.parametrize("where", ["check", "on_text"])
def test_other_errors_pass_and_leave_the_model_as_it_was(where: str) -> None:
    model = tiny_lm().train()
    own = model.generation_config
    more: dict[str, Any] = {where: raising(KeyError("enough"), at=3)}
    with pytest.raises(KeyError):
        generate(model, byte_tokenizer(), [[70], [71]], greedy(), **more)
    assert model.training
    assert model.generation_config is own


def test_prompts_are_cut_at_the_front_and_empty_ones_begin_a_text() -> None:
    tokenizer = byte_tokenizer()
    ids, cut = encode_prompts(["abc", "", "<|endoftext|>", "x" * 10 + "é"], tokenizer, 20, 10, range(4))
    assert [row.tolist() for row in ids] == [
        [97, 98, 99],
        [END],
        list(b"ndoftext|>"),
        [*b"x" * 8, *"é".encode()],
    ]
    assert cut.tolist() == [False, False, True, True]
    ids, cut = encode_prompts([], tokenizer, 20, 10, [])
    assert (ids, cut.shape) == ([], (0,))


def test_prompts_that_cannot_be() -> None:
    tokenizer = byte_tokenizer()
    for new in (20, 21):
        with pytest.raises(
            OptionError, match=rf"max_new_tokens = {new} must be from 1 to 19: the model reads 20 tokens"
        ):
            encode_prompts(["a"], tokenizer, 20, new, [0])
    with pytest.raises(DataError, match="the text of row third is no valid Unicode"):
        encode_prompts(["a", "", "\ud83d"], tokenizer, 20, 4, ["first", "second", "third"])
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="end-of-text"):
        encode_prompts(["a", ""], tokenizer, 20, 4, [0, 1])


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("max_new_tokens", 0, "a whole number from 1 up"),
        ("max_new_tokens", 1.5, "a whole number from 1 up"),
        ("max_new_tokens", True, "a whole number from 1 up"),
        ("temperature", -0.1, "a number from 0 up"),
        ("temperature", float("nan"), "a number from 0 up"),
        ("temperature", "hot", "a number from 0 up"),
        ("top_k", -1, "a whole number from 0 up"),
        ("top_p", 0, "a number above 0, up to 1"),
        ("top_p", 1.01, "a number above 0, up to 1"),
        ("repetition_penalty", 0, "a number above 0"),
        ("repetition_penalty", float("inf"), "a number above 0"),
        ("num_samples", 0, "a whole number from 1 up"),
        ("seed", -1, "a whole number from 0 to 4,294,967,295, or None"),
        ("seed", 2**32, "a whole number from 0 to 4,294,967,295, or None"),
        ("stop", "", "a text of one character or more"),
        ("stop", ("a", ""), "a text of one character or more"),
        ("stop", ["a", 3], "a text of one character or more"),
        ("stop", 3, "a text or a list of texts"),
    ],
)
def test_settings_that_cannot_be(name: str, value: Any, what: str) -> None:
    with pytest.raises(OptionError) as caught:
        Sampling(**{name: value})
    assert str(caught.value).startswith(f"{name} = {value!r}")
    assert str(caught.value).endswith(f"must be {what}")


def test_settings_take_what_users_write() -> None:
    assert stop_texts(None) == ()
    assert stop_texts("a") == ("a",)
    assert Sampling(stop=["a", "b"]).stop == ("a", "b")  # type: ignore[arg-type]
    made = Sampling(max_new_tokens=np.int64(3), temperature=1, top_p=np.float32(1), seed=np.int64(4))
    assert (type(made.max_new_tokens), type(made.temperature), type(made.top_p)) == (int, float, float)
    assert generate(*TINY, [[70]], made)[0].tokens == 3
    assert Sampling(temperature=1e-30).greedy
