"""A step whose memory runs out: the same gradients from smaller passes, and what is said."""

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import OpenAIGPTConfig, OpenAIGPTForSequenceClassification

from gpt_magic.engine import step
from gpt_magic.engine.checkpointing import checkpointed
from gpt_magic.engine.events import Control, Event, Stepped, Warned
from gpt_magic.engine.job import Hidden, Job, Passes
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.step import accumulate_gradients, clip, pass_losses
from gpt_magic.errors import TrainingError
from gpt_magic.tasks.language import encode
from tests.tiny import job, lm_job, random_rows, random_sequences, tiny_gpt2, tiny_lm

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("could not create a primitive"),
    MemoryError(),
]


@pytest.fixture
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what is held does not matter: going through all of Python's objects takes most of a second."""
    monkeypatch.setattr(step, "let_go", lambda _: None)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def failing(real: Hidden, fails: Callable[[int, int], bool], backward: bool, failure: Exception) -> Hidden:
    """A forward that has no memory where ``fails(pass, its rows)``; or whose backward pass has none."""
    made = 0

    def hidden(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> Tensor:
        nonlocal made
        made += 1
        full = fails(made, len(ids))
        if full and not backward:
            raise failure
        out = real(model, ids, scored)
        if full:

            def fail(gradient: Tensor) -> None:
                raise failure

            out.register_hook(fail)  # in the backward pass, when the gradients of the head are there already
        return out

    return hidden


def works(seed: int, batch: int) -> Iterator[Callable[[], Job]]:
    """A classifier's job and a language model's, packed and padded."""
    for hidden in (hidden_packed, hidden_padded):

        def classify(hidden: Hidden = hidden) -> Job:
            work = job(tiny_gpt2(seed=seed), random_rows(40, seed=seed), batch_size=batch)
            work.hidden = hidden
            return work

        def language(hidden: Hidden = hidden) -> Job:
            work = lm_job(tiny_lm(seed=seed), encode(random_sequences(40, seed=seed), 64), batch_size=batch)
            work.hidden = hidden
            return work

        yield classify
        yield language


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("seed", range(4))
def test_gradients_are_the_same_whatever_pass_runs_out_of_memory(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for make in works(seed, batch=16):
        rows = rng.permutation(30)[:16].tolist()
        whole = make()
        loss = accumulate_gradients(whole, rows, whole.train.lengths(), 1)
        work, events = make(), []
        most = int(rng.choice([1, 2, 3, 5, 8, 15]))
        bad = set(rng.integers(1, 6, 2).tolist())
        work.hidden = failing(
            work.hidden,
            lambda number, size, most=most, bad=bad: size > most or (size > 1 and number in bad),
            bool(rng.integers(2)),
            FULL[seed % len(FULL)],
        )
        found = accumulate_gradients(work, rows, work.train.lengths(), 1, events.append)
        assert found == pytest.approx(loss, abs=1e-6)
        expected = gradients(whole.model)
        assert gradients(work.model).keys() == expected.keys()
        for name, value in gradients(work.model).items():
            torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5, msg=name)
        assert work.passes.rows <= most
        assert [type(event).__name__ for event in events] == ["Warned", "Phase"]


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("failure", FULL, ids=lambda failure: f"{type(failure).__name__} {failure}"[:40])
def test_the_run_goes_on_with_the_same_curve_and_says_so_once(failure: Exception) -> None:
    curves, said = [], []
    for most in (99, 3):
        work = job(tiny_gpt2(seed=5), random_rows(60, seed=5), steps=12, batch_size=8)
        work.hidden = failing(hidden_packed, lambda _, size, most=most: size > most, False, failure)
        events: list[Event] = []
        outcome = train(work, events.append, Control())
        assert outcome.reason == "done"
        curves.append([event.loss for event in events if isinstance(event, Stepped)])
        said.append([event.line for event in events if isinstance(event, Warned)])
    np.testing.assert_allclose(curves[1], curves[0], atol=1e-5)
    assert said == [
        [],
        ["memory ran out at step 1: since then 2 rows at a time; the gradients are the same"],
    ]


def test_dropout_draws_do_not_change_when_the_first_try_left_nothing() -> None:
    """A step that is made anew draws what it would have drawn in passes of that size from the start."""
    results = []
    for rows_a_pass, most in ((4, 99), (8, 7)):
        torch.manual_seed(3)
        work = job(tiny_gpt2(seed=1, dropout=0.3).train(), random_rows(40, seed=1), batch_size=8)
        work.passes.rows = rows_a_pass
        work.hidden = failing(hidden_packed, lambda _, size, most=most: size > most, True, FULL[0])
        accumulate_gradients(work, range(8), work.train.lengths(), 1)
        results.append((gradients(work.model), torch.get_rng_state()))
    assert torch.equal(results[0][1], results[1][1])
    assert all(torch.equal(value, results[1][0][name]) for name, value in results[0][0].items())


@pytest.mark.parametrize(
    "failure", [ValueError("out of memory"), RuntimeError("a shape"), TrainingError("out of memory")]
)
def test_other_failures_are_not_caught(failure: Exception) -> None:
    work = job(tiny_gpt2(), random_rows(40, seed=1))
    work.hidden = failing(hidden_packed, lambda *_: True, False, failure)
    with pytest.raises(type(failure), match=str(failure)):
        accumulate_gradients(work, range(8), work.train.lengths(), 1)


def test_nothing_of_a_failed_pass_is_held_when_it_is_tried_again() -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def hidden(model: nn.Module, ids: Any, scored: Any) -> Tensor:
        alive.extend(ref() is not None for ref in held)
        out = hidden_packed(model, ids, scored)
        if len(ids) > 2:
            held.append(weakref.ref(out))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return out

    work = job(tiny_gpt2(), random_rows(40, seed=1), batch_size=8)
    work.hidden = hidden
    gc.disable()  # so that reference counts alone are seen
    try:
        accumulate_gradients(work, range(8), work.train.lengths(), 1)
    finally:
        gc.enable()
    assert len(held) == 2
    assert not any(alive)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_checkpointed_blocks_give_the_same_gradients_and_draws(seed: int, dropout: float) -> None:
    for make in works(seed, batch=8):
        results = []
        for twice in (False, True):
            work = make()
            for module in work.model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = dropout
            work.passes = Passes(8, checkpointing=twice)
            torch.manual_seed(seed)
            work.model.train()
            loss = accumulate_gradients(work, range(8), work.train.lengths(), 1)
            results.append((loss, gradients(work.model), torch.get_rng_state()))
        assert results[0][0] == results[1][0]
        assert torch.equal(results[0][2], results[1][2])
        for name, value in results[0][1].items():
            torch.testing.assert_close(value, results[1][1][name], atol=1e-7, rtol=1e-5, msg=name)


def original_gpt() -> nn.Module:
    """A model of GPT-1, whose blocks transformers cannot compute twice."""
    torch.manual_seed(0)
    shape = {"n_layer": 6, "n_embd": 32, "n_head": 4, "n_positions": 64, "vocab_size": 100}
    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return OpenAIGPTForSequenceClassification(OpenAIGPTConfig(**shape, **drop, num_labels=3, pad_token_id=0))


@pytest.mark.parametrize(
    ("load", "hidden"), [(partial(tiny_gpt2, n_layer=6), hidden_packed), (original_gpt, hidden_padded)]
)
def test_checkpointed_blocks_keep_less_and_the_model_is_as_it_was(load: Callable[[], Any], hidden: Hidden) -> None:
    work = job(load(), random_rows(40, seed=1, longest=60), batch_size=16)
    work.hidden = hidden
    work.model.train()
    before, sizes, found = [dict(vars(module)) for module in work.model.modules()], [], []
    for twice in (False, True):
        work.passes.checkpointing = twice
        kept: dict[int, int] = {}

        def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = pass_losses(work, range(16))
        sizes.append(sum(kept.values()))
        losses.sum().backward()  # type: ignore[no-untyped-call]
        found.append(gradients(work.model))
        work.model.zero_grad()
    assert sizes[1] < sizes[0] / 3
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=1e-7, rtol=1e-5, msg=name)
    assert [vars(module) for module in work.model.modules()] == before


def test_blocks_are_as_they_were_when_the_forward_pass_fails() -> None:
    model = tiny_gpt2()
    model.base_model.h[0].gradient_checkpointing = True  # as its user may have it
    before = [dict(vars(module)) for module in model.modules()]
    with pytest.raises(ZeroDivisionError), checkpointed(model):
        raise ZeroDivisionError
    assert [vars(module) for module in model.modules()] == before


def test_one_row_that_does_not_fit_is_computed_with_checkpointing() -> None:
    whole = job(tiny_gpt2(seed=2), random_rows(40, seed=2), batch_size=8)
    accumulate_gradients(whole, range(8), whole.train.lengths(), 1)
    work, events = job(tiny_gpt2(seed=2), random_rows(40, seed=2), batch_size=8), []
    work.model.train()
    work.hidden = failing(hidden_packed, lambda *_: not work.passes.checkpointing, True, MemoryError())
    accumulate_gradients(work, range(8), work.train.lengths(), 1, events.append)
    assert work.passes == Passes(1, checkpointing=True)
    assert "1 row at a time, blocks computed twice" in events[0].line
    for name, value in gradients(work.model).items():
        torch.testing.assert_close(value, gradients(whole.model)[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize(("checkpointing", "advice"), [("auto", ""), ("off", ", say checkpointing = 'on'")])
def test_a_row_that_never_fits_is_one_line_that_says_what_to_lower(checkpointing: str, advice: str) -> None:
    rows = random_rows(40, seed=2)
    work = job(tiny_gpt2(seed=2), rows, batch_size=8, checkpointing=checkpointing)
    work.hidden = failing(hidden_packed, lambda *_: True, False, FULL[0])
    outcome = train(work, lambda _: None, Control())
    assert outcome.reason == "failed"
    line = str(outcome.error)
    assert line.startswith("memory ran out at step 1 with one row of ")
    assert f"at a time: lower max_length, take a smaller base{advice} (CUDA out of memory." in line
    assert outcome.error.__context__ is None
    assert all(p.grad is None for p in work.model.parameters())


@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded])
def test_checkpointed_blocks_are_computed_again_in_bf16_where_they_were(hidden: Hidden) -> None:
    results = []
    for twice in (False, True):
        work = job(tiny_gpt2(seed=1).train(), random_rows(40, seed=1), batch_size=8)
        work.machine, work.hidden, work.passes = Machine(torch.device("cpu"), "bf16", ""), hidden, Passes(8, twice)
        results.append((accumulate_gradients(work, range(8), work.train.lengths(), 1), gradients(work.model)))
    assert results[0][0] == results[1][0]
    for name, value in results[0][1].items():
        torch.testing.assert_close(value, results[1][1][name], msg=name)


@pytest.mark.parametrize("largest", [0.0, 0.01, 1.0, 1e6])
def test_gradients_are_clipped_as_torch_does(largest: float) -> None:
    rows = random_rows(4, seed=1)
    ours, theirs = (tiny_gpt2(seed=1) for _ in range(2))
    for model in (ours, theirs):
        model.score(model.base_model(torch.arange(9)[None]).last_hidden_state).square().sum().backward()
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), largest or float("inf"))
    assert clip(ours, largest, 1, rows, range(4)) == pytest.approx(float(expected), rel=1e-6)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)
