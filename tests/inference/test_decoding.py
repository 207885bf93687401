"""Replayed passes write what plain ones do, on graphs that are played on a CPU; what cannot be replayed is plain."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from gpt_magic.inference import decoding
from gpt_magic.inference.decoding import LEAST_TOKENS, replayed_decoding
from gpt_magic.inference.generation import Continuation, generate
from gpt_magic.inference.sampling import Sampling
from tests.graphs import CpuGraphs
from tests.inference.test_generation import CONTEXT, END, byte_tokenizer, raising, random_prompts, tiny_lm

NEW = 20
TOKENIZER = byte_tokenizer()
MODEL = tiny_lm(n_positions=256)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> CpuGraphs:
    """Decoding on a CPU is replayed."""
    return use(CpuGraphs(), monkeypatch)


def use(graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch) -> CpuGraphs:
    monkeypatch.setattr(decoding, "graphs_on", lambda device: graphs)
    return graphs


def write(prompts: Any, *, model: Any = MODEL, batch_size: int = 4, **how: Any) -> list[Continuation]:
    more = {name: how.pop(name) for name in ("on_text", "check", "keep_partial") if name in how}
    sampling = Sampling(**{"temperature": 0, "max_new_tokens": NEW, **how})
    return generate(model, TOKENIZER, prompts, sampling, batch_size=batch_size, **more)


def prompts_of(count: int, longest: int = CONTEXT, seed: int = 0) -> list[np.ndarray]:
    return random_prompts(count, longest, END, END, seed)


def both(monkeypatch: pytest.MonkeyPatch, prompts: Any, **how: Any) -> tuple[list[Continuation], CpuGraphs]:
    """What is written plainly, after it was seen that replays write the same."""
    plain = write(prompts, **how)
    made = use(CpuGraphs(), monkeypatch)
    assert write(prompts, **how) == plain
    assert made.replayed > 0
    return plain, made


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"repetition_penalty": 1.5},
        {"batch_size": 1},
        {"batch_size": 32},
        {"temperature": 1.0, "seed": 5},
        {"temperature": 1.5, "seed": 5, "top_k": 9, "top_p": 0.9, "num_samples": 3, "repetition_penalty": 0.7},
        {"stop": ("e", "7", "ab"), "temperature": 1.0, "seed": 5},
    ],
)
def test_replayed_passes_write_the_same(how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = both(monkeypatch, prompts_of(14), **how)
    assert len({one.text for one in plain}) > 6
    assert max(one.tokens for one in plain) == NEW or "stop" in how
    if "stop" in how:
        assert "stop" in {one.ended for one in plain}


@pytest.mark.parametrize("prompts", [[[70]], [[70], [71], [END]], [[70, 71, 72]] * 3, [[70], list(range(40, 90))]])
def test_prompts_that_need_no_padding_and_those_of_one_token(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both(monkeypatch, prompts)


@pytest.mark.parametrize("seed", range(4))
def test_the_end_of_text_ends_rows_one_after_another(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_lm(seed, n_positions=256)
    with torch.no_grad():
        model.lm_head.bias[END] = 6.0
    plain, _ = both(monkeypatch, prompts_of(12, seed=seed), model=model, temperature=1.0, seed=seed, batch_size=6)
    assert len({one.tokens for one in plain if one.ended == "end of text"}) > 2


def test_eager_attention_is_replayed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_lm(3, n_positions=256, attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    both(monkeypatch, prompts_of(9), model=model)


def test_the_whole_context_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """And more than one size: 128 and 256 places."""
    _, made = both(monkeypatch, prompts_of(8, longest=256 - NEW), batch_size=2)
    assert made.captured == 2


def test_batches_of_a_size_share_what_was_recorded(graphs: CpuGraphs) -> None:
    """Padded or not; each has its first token computed plainly and replayed, and the others replayed."""
    ended = write([[70 + k] for k in range(4)] + [[80 + k] * (2 + 7 * k) for k in range(4)] + [[90] * 40])
    assert {one.ended for one in ended} == {"length"}
    assert graphs.captured == 2  # 4 rows, and the last one
    assert graphs.replayed == 3 * (NEW - 1)


def test_recordings_are_made_outside_of_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch keeps of one for its generator is written by others too."""

    class Watchful(CpuGraphs):
        def capture(self, function: Callable[[], None]) -> Callable[[], None]:
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_grad_enabled()
            return super().capture(function)

    graphs = use(Watchful(), monkeypatch)
    write([[70]])
    assert graphs.replayed == NEW - 1


def test_python_runs_for_the_first_tokens_only(graphs: CpuGraphs) -> None:
    calls: list[int] = []
    model = tiny_lm()
    model.transformer.register_forward_hook(lambda *_: calls.append(1))
    write([[70]], model=model)
    assert len(calls) == 1 + 1 + 2  # the prompt, a token, to warm up, to record


def test_a_stream_grows_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Any]] = []
    for graphs in (None, CpuGraphs()):
        if graphs is not None:
            use(graphs, monkeypatch)
        seen.append([])
        write(prompts_of(9), on_text=lambda *what: seen[-1].append(what), stop=("q", "zz"))
    assert len(seen[0]) > 50
    assert seen[0] == seen[1]


@pytest.mark.parametrize("at", [1, 2, 3, 9, 25, 30])
def test_an_interrupt_hands_back_what_is_there(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first token, in the first passes, later, in the second batch."""
    texts = []
    for graphs in (None, CpuGraphs()):
        if graphs is not None:
            use(graphs, monkeypatch)
        texts.append(write(prompts_of(7), keep_partial=True, check=raising(KeyboardInterrupt(), at=at)))
        assert "forward" not in vars(MODEL)
    assert texts[0] == texts[1]
    assert "interrupted" in {one.ended for one in texts[0]}


class Failing(CpuGraphs):
    """Its captures fail from the ``allowed``-th on."""

    def __init__(self, allowed: int = 0, error: BaseException | None = None) -> None:
        super().__init__()
        self.allowed, self.error = allowed, error or RuntimeError("operation not permitted when stream is capturing")

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        if self.captured == self.allowed:
            raise type(self.error)(*self.error.args)  # anew, as one that is kept keeps what its frames held
        return super().capture(function)


class Forgetful(CpuGraphs):
    """Its replays do nothing."""

    allowed = 0

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        super().capture(function)
        return lambda: None


class Doubling(CpuGraphs):
    """Its captures are carried out, so that a token is in the cache twice."""

    allowed = 0

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        function()
        return super().capture(function)


@pytest.mark.parametrize(
    ("graphs", "why"),
    [
        (Failing(), "RuntimeError: operation not permitted"),
        (Failing(1), "RuntimeError: operation not permitted"),
        (Failing(0, torch.OutOfMemoryError("CUDA out of memory.")), "OutOfMemoryError: CUDA out of memory."),
        (Forgetful(), "replayed, probabilities are .* apart from plain ones"),
        (Doubling(), "replayed, probabilities are .* apart from plain ones"),
    ],
)
def test_what_fails_or_differs_is_written_plainly(graphs: CpuGraphs, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From that token on, also in later batches, and to the bit."""
    model = tiny_lm(2, n_positions=256)
    prompts = prompts_of(7, longest=200)
    logits: list[list[torch.Tensor]] = []
    model.register_forward_hook(lambda _, __, out: logits[-1].append(out.logits.clone()))
    logits.append([])
    plain = write(prompts, model=model)
    use(graphs, monkeypatch)
    logits.append([])
    with pytest.warns(UserWarning, match=f"launched one operation after another, which takes a GPU longer: {why}") as w:
        assert write(prompts, model=model) == plain
    assert len(w) == 1
    assert "forward" not in vars(model)
    if not graphs.allowed:  # else a first batch was replayed
        assert len(logits[0]) == len(logits[1])
        assert all(torch.equal(*pair) for pair in zip(*logits, strict=True))


def test_without_memory_for_the_cache_tokens_are_written_plainly(
    graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(transformers.StaticCache, "early_initialization", none_left)
    with pytest.warns(UserWarning, match="OutOfMemoryError"):
        made = write(prompts_of(5))
    assert graphs.captured == 0
    monkeypatch.undo()
    assert made == write(prompts_of(5))


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """What was made of caches, with no cycles collected: nothing may wait for that on a GPU."""
    made: list[weakref.ref[Any]] = []
    real = transformers.StaticCache.early_initialization

    def noted(cache: Any, *args: Any) -> None:
        real(cache, *args)
        made.extend([weakref.ref(cache), weakref.ref(cache.layers[0].keys)])

    monkeypatch.setattr(transformers.StaticCache, "early_initialization", noted)
    gc.collect()
    gc.disable()
    yield made
    gc.enable()


def test_nothing_is_held_afterwards(graphs: CpuGraphs, caches: list[weakref.ref[Any]]) -> None:
    for _ in range(3):
        write(prompts_of(8, longest=200), batch_size=2)
    assert len(caches) >= 6
    assert not [cache for cache in caches if cache() is not None]


@pytest.mark.parametrize("error", [KeyError("enough"), KeyboardInterrupt()])
def test_nothing_is_held_after_an_error(
    error: BaseException, graphs: CpuGraphs, caches: list[weakref.ref[Any]]
) -> None:
    """Even while its traceback is kept, as notebooks do."""
    with pytest.raises(type(error)) as caught:
        write(prompts_of(5), check=raising(error, at=9))
    assert caches
    assert not [cache for cache in caches if cache() is not None]
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize("at", [2, 5])
def test_an_error_of_the_model_itself_passes(at: int, graphs: CpuGraphs, caches: list[weakref.ref[Any]]) -> None:
    """At the first token, and at the prompt of the second batch."""
    model = tiny_lm()
    model.transformer.register_forward_hook(raising(KeyError("enough"), at=at))
    with pytest.raises(KeyError) as caught:
        write([[70], [71, 72]], model=model, batch_size=1)
    assert "forward" not in vars(model)
    assert len(caches) == (2 if at == 5 else 0)
    assert not [cache for cache in caches if cache() is not None]
    assert caught.value.__traceback__ is not None


def test_what_prompts_have_left_is_held_once(graphs: CpuGraphs) -> None:
    lengths: list[int] = []
    model = tiny_lm()
    model.register_forward_hook(lambda _, __, out: lengths.append(out.past_key_values.get_seq_length()))
    write([[70] * 9], model=model)
    assert lengths == [9] + [0] * (NEW - 1)  # of the cache that transformers has made


@pytest.mark.parametrize("graphs", [Failing(), Forgetful(), Failing(0, KeyboardInterrupt())])
def test_nothing_is_held_after_a_failed_recording(
    graphs: CpuGraphs, caches: list[weakref.ref[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(graphs, monkeypatch)
    held: list[int] = []
    if isinstance(graphs, Failing) and isinstance(graphs.error, KeyboardInterrupt):
        made = write([[70]], keep_partial=True)
        assert [(one.tokens, one.ended) for one in made] == [(1, "interrupted")]
    else:
        with pytest.warns(UserWarning, match="launched one operation"):
            write([[70]], on_text=lambda *_: held.append(sum(cache() is not None for cache in caches)))
        assert held[-1] == 0  # while the rest is written
    assert not [cache for cache in caches if cache() is not None]
    assert "forward" not in vars(MODEL)


def test_a_model_can_be_trained_afterwards(graphs: CpuGraphs) -> None:
    model = tiny_lm().train()
    write([[70], [71, 72]], model=model)
    assert graphs.replayed
    assert model.training
    model(input_ids=torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]])).loss.backward()


class Own(GPT2LMHeadModel):
    """May compute anything."""


def llama() -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**shape, vocab_size=END + 1, eos_token_id=END, bos_token_id=END)).eval()


def swapped() -> Any:
    model = tiny_lm()
    model.forward = model.forward
    return model


@pytest.mark.parametrize("make", [llama, swapped, lambda: Own(tiny_lm().config).eval()])
def test_other_models_stay_plain(make: Callable[[], Any], graphs: CpuGraphs) -> None:
    model = make()
    own = vars(model).get("forward")
    assert write([[70], [71, 72]], model=model)[0].tokens > 0
    assert graphs.captured == 0
    assert vars(model).get("forward") is own


@pytest.mark.parametrize(("new", "captured"), [(LEAST_TOKENS - 1, 0), (LEAST_TOKENS, 1)])
def test_a_few_tokens_are_not_worth_a_recording(new: int, captured: int, graphs: CpuGraphs) -> None:
    write([[70], [71, 72]], max_new_tokens=new)
    assert graphs.captured == captured


def test_on_a_cpu_the_models_own_forward_stays() -> None:
    with replayed_decoding(MODEL, NEW):
        assert "forward" not in vars(MODEL)
