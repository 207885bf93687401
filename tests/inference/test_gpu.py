"""Decoding where only a GPU can show it; ``pytest -m gpu`` on a machine with CUDA. Not yet run on one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gpt_magic.engine import capture
from gpt_magic.engine.events import Control, Event, Warned
from gpt_magic.engine.graphs import CudaGraphs
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import train
from gpt_magic.engine.memory import let_go
from gpt_magic.engine.precision import choose_machine
from gpt_magic.inference import decoding
from gpt_magic.inference.generation import Continuation, generate
from gpt_magic.inference.sampling import Sampling
from gpt_magic.models.find import find_base
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.tasks.language import NextToken, encode
from tests.inference.test_generation import END, byte_tokenizer, raising, random_prompts, tiny_lm
from tests.tiny import random_sequences, settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]
NEW, LONGEST = 24, 100


def write(model: Any, prompts: Any, *, tokenizer: Any = None, **how: Any) -> list[Continuation]:
    more = {name: how.pop(name) for name in ("batch_size", "check", "keep_partial") if name in how}
    sampling = Sampling(**{"temperature": 0, "max_new_tokens": NEW, **how})
    return generate(model, tokenizer or byte_tokenizer(), prompts, sampling, **more)


def plainly(monkeypatch: pytest.MonkeyPatch, *args: Any, **how: Any) -> list[Continuation]:
    with monkeypatch.context() as inside:
        inside.setattr(decoding, "LEAST_TOKENS", 10**9)
        return write(*args, **how)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often something was captured, each time a 1."""
    real, made = CudaGraphs.capture, []

    def counted(graphs: CudaGraphs, function: Callable[[], None]) -> Callable[[], None]:
        replay = real(graphs, function)
        made.append(1)
        return replay

    monkeypatch.setattr(CudaGraphs, "capture", counted)
    return made


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"batch_size": 1},
        {"repetition_penalty": 1.5, "batch_size": 32},
        {"temperature": 1.0, "seed": 5, "num_samples": 2},
        {"temperature": 1.0, "seed": 6, "stop": ("e", "ab")},
        {"keep_partial": True},
    ],
)
def test_replayed_passes_write_the_same(
    how: dict[str, Any], captured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompts = tiny_lm(n_positions=256).cuda(), random_prompts(12, LONGEST, END, END, seed=1)
    texts = []
    for side in (plainly, lambda _, *args, **more: write(*args, **more)):
        check = {"check": raising(KeyboardInterrupt(), at=20)} if "keep_partial" in how else {}
        texts.append(side(monkeypatch, model, prompts, **how, **check))
    assert texts[0] == texts[1]
    assert captured
    assert "forward" not in vars(model)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_nano_is_replayed(kind: torch.dtype, captured: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    base = find_base("nano")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base.source, dtype=kind).cuda(), load_tokenizer(base)
    prompts = random_prompts(9, 300, 8191, 8191, seed=3)
    made = write(model, prompts, tokenizer=tokenizer)
    assert captured
    if kind == torch.float32:  # bfloat16 has ties that rounding decides
        assert made == plainly(monkeypatch, model, prompts, tokenizer=tokenizer)


def test_a_capture_that_waits_for_the_gpu_fails_and_the_text_is_the_same(captured: list[int]) -> None:
    model, prompts = tiny_lm(n_positions=256).cuda(), random_prompts(6, LONGEST, END, END, seed=1)
    expected = write(model, prompts)
    before = len(captured)
    hook = model.transformer.register_forward_hook(lambda _, __, out: print(end="" if float(out[0].sum()) else " "))
    with pytest.warns(UserWarning, match="launched one operation after another"):
        assert write(model, prompts) == expected
    assert len(captured) == before
    hook.remove()
    assert write(model, prompts) == expected
    assert len(captured) > before


@pytest.mark.parametrize("at", [None, 10])
def test_caches_and_graphs_give_their_memory_back(at: int | None, captured: list[int]) -> None:
    """Also after errors."""
    model, prompts = tiny_lm(n_positions=256).cuda(), random_prompts(12, LONGEST, END, END, seed=1)
    allocated, reserved = [], []
    for _ in range(5):
        if at is None:
            write(model, prompts, batch_size=4)
        else:
            with pytest.raises(KeyError):
                write(model, prompts, check=raising(KeyError("enough"), at=at))
        allocated.append(torch.cuda.memory_allocated())
        let_go(torch.device("cuda"))
        reserved.append(torch.cuda.memory_reserved())
    assert len(captured) >= 5
    assert allocated[4] == allocated[1]
    assert reserved[4] == reserved[1]


def test_it_writes_between_captured_steps(captured: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, so that torch's generator takes part in the steps' graphs."""
    monkeypatch.setattr(capture, "LEAST_STEPS", 1)
    model = tiny_lm(n_positions=256, resid_pdrop=0.1, vocab_size=END + 1).cuda()
    rows = encode(random_sequences(60, seed=7, share=0.4), 64)
    work = Job(
        model, NextToken(END + 1), rows, settings(steps=24, batch_size=8, eval_every=6), choose_machine("cuda", "fp32")
    )
    texts: list[str] = []

    def evaluate() -> dict[str, float]:
        texts.append(write(model, [[70], [71] * 9])[0].text)
        return {"loss": 1.0}

    work.evaluate = evaluate
    events: list[Event] = []
    outcome = train(work, events.append, Control())
    assert outcome.reason == "done"
    assert outcome.how.startswith("captured in CUDA graphs"), [e.line for e in events if isinstance(e, Warned)]
    assert texts
