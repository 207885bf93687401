"""What is said of a run's memory before it starts, against what torch's allocator counts when it runs."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.allocator import allocated
from gpt_magic.engine import capture
from gpt_magic.engine.adapters import Lora, add_adapter
from gpt_magic.engine.batching import Encoded, plan
from gpt_magic.engine.events import Control
from gpt_magic.engine.job import Hidden, Job, Passes
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.engine.parts import Part, freeze
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.rehearsal import Need, heavy_steps, largest_pass, rehearse
from gpt_magic.engine.step import step_passes
from gpt_magic.engine.trials import plan_trials, try_rates
from gpt_magic.engine.trunk import blank_states, hidden_from, keep_states, rehearse_states
from gpt_magic.tasks.extract import Ends
from gpt_magic.tasks.language import NextToken, encode
from tests.graphs import CpuGraphs
from tests.tiny import (
    job,
    objective,
    random_contexts,
    random_rows,
    random_sequences,
    settings,
    tiny_extractor,
    tiny_gpt2,
    tiny_lm,
)

CPU = torch.device("cpu")


def shape(rng: np.random.Generator) -> dict[str, Any]:
    heads = int(rng.choice([2, 4, 8]))
    return {
        "n_layer": int(rng.integers(2, 6)),
        "n_head": heads,
        "n_embd": heads * int(rng.choice([16, 32])),
        "n_positions": 512,
        "vocab_size": int(rng.integers(200, 4000)),
    }


def within_ten_percent(need: Need, weights: int, held: int) -> None:
    assert need.weights == pytest.approx(weights, rel=0.001)
    assert need.total == pytest.approx(weights + held, rel=0.1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded])
@pytest.mark.parametrize("kind", ["classify", "language"])
def test_within_ten_percent_of_what_the_allocator_counts(kind: str, hidden: Hidden, seed: int) -> None:
    """Random shapes, lengths, batches, optimizers; dropout, bf16 and checkpointing in about half of the cases each."""
    rng = np.random.default_rng((seed, hidden is hidden_packed, kind == "language"))
    config, dropout = shape(rng), float(rng.choice([0.0, 0.1]))
    longest, batch = int(rng.choice([20, 90, 300])), int(rng.integers(1, 20))
    rows: Encoded
    loss: Any
    if kind == "language":
        rows = encode(random_sequences(60, seed, longest=longest, share=rng.choice([0.1, 1.0])), 512)
        loss = NextToken(config["vocab_size"])
    else:
        rows, loss = random_rows(60, seed, longest=longest), objective()

    def load() -> nn.Module:
        return (tiny_lm if kind == "language" else tiny_gpt2)(dropout=dropout, **config)

    changes = settings(
        steps=4,
        batch_size=batch,
        accumulate=int(rng.integers(1, 3)),
        optimizer=str(rng.choice(["adamw", "muon"])),
        checkpointing=str(rng.choice(["on", "off"])),
    )
    machine = Machine(CPU, str(rng.choice(["fp32", "bf16"])), "")

    def work(model: nn.Module) -> Job:
        return Job(model, loss, rows, changes, machine, hidden=hidden)

    state = torch.get_rng_state()
    need = rehearse(lambda: load(), work, CPU)
    made: list[nn.Module] = []
    weights, _ = allocated(lambda: made.append(load()))
    _, held = allocated(lambda: train(work(made[0]), lambda _: None, Control()))
    within_ten_percent(need, weights, held)
    assert state.shape == torch.get_rng_state().shape


@pytest.mark.parametrize("kind", ["classify", "language"])
@pytest.mark.parametrize(("batch", "dropout"), [(4, 0.0), (16, 0.1)])
def test_small_matrices_beside_the_model_are_counted(batch: int, dropout: float, kind: str) -> None:
    config = {"n_layer": 3, "n_head": 4, "n_embd": 128, "n_positions": 512, "vocab_size": 3000}
    rows: Encoded
    loss: Any
    if kind == "language":
        rows, loss = encode(random_sequences(60, seed=1, longest=90), 512), NextToken(config["vocab_size"])
    else:
        rows, loss = random_rows(60, seed=1, longest=90), objective()
    how = settings(steps=4, batch_size=batch)

    def load() -> nn.Module:
        model: nn.Module = (tiny_lm if kind == "language" else tiny_gpt2)(**config)
        add_adapter(model, Lora(8, 16, dropout))
        return model

    def work(model: nn.Module) -> Job:
        return Job(model, loss, rows, how, Machine(CPU, "fp32", ""))

    need = rehearse(load, work, CPU)
    made: list[nn.Module] = []
    weights, _ = allocated(lambda: made.append(load()))
    _, held = allocated(lambda: train(work(made[0]), lambda _: None, Control()))
    within_ten_percent(need, weights, held)


@pytest.mark.parametrize("batch", [4, 40])
@pytest.mark.parametrize("part", [Part("top", 1), Part("top", 3), Part("head")])
@pytest.mark.parametrize("seed", range(2))
def test_what_the_frozen_blocks_make_of_the_rows_is_counted(seed: int, part: Part, batch: int) -> None:
    """Its passes come before the first step and are larger than those of small steps; then the blocks are not read."""
    config, rows = {**shape(np.random.default_rng(seed)), "n_layer": 4}, random_rows(120, seed, longest=300)
    blocks, onward = part.blocks, partial(hidden_from, blocks=part.blocks)

    def load() -> nn.Module:
        model = tiny_gpt2(dropout=0.1, **config)
        freeze(model, part)
        return model

    def work(some: Encoded, model: nn.Module) -> Job:
        how = settings(steps=6, batch_size=batch)
        return Job(model, objective(), some, how, Machine(CPU, "fp32", ""), hidden=onward)

    blank = blank_states(rows, blocks, config["n_embd"])
    need = rehearse(load, partial(work, blank), CPU, before=lambda model: rehearse_states(model, rows, blocks))
    made: list[nn.Module] = []
    weights, _ = allocated(lambda: made.append(load()))
    _, held = allocated(lambda: train(work(keep_states(made[0], rows, blocks), made[0]), lambda _: None, Control()))
    within_ten_percent(need, weights, held)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_marks_answers_is_counted(seed: int) -> None:
    """How many rows stand in a pass is in the numbers of its targets, which a rehearsal does not have."""
    config = shape(np.random.default_rng(seed))
    rows, changes = random_contexts(60, seed, longest=90), settings(steps=4, batch_size=5)

    def work(model: nn.Module) -> Job:
        return Job(model, Ends(), rows, changes, Machine(CPU, "fp32", ""))

    need = rehearse(lambda: tiny_extractor(**config), work, CPU)
    made: list[nn.Module] = []
    weights, _ = allocated(lambda: made.append(tiny_extractor(**config)))
    _, held = allocated(lambda: train(work(made[0]), lambda _: None, Control()))
    within_ten_percent(need, weights, held)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["classify", "language"])
def test_captured_steps_are_counted(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With filler, and what they hold between two steps beside an evaluation."""
    rng = np.random.default_rng((seed, kind == "language"))
    config, longest = shape(rng), int(rng.choice([40, 90, 300]))
    rows: Any = random_rows(60, seed, longest=longest)
    loss: Any = objective()
    if kind == "language":
        rows = encode(random_sequences(60, seed, longest=longest, share=rng.choice([0.1, 1.0])), 512)
        loss = NextToken(config["vocab_size"])

    def load() -> nn.Module:
        return (tiny_lm if kind == "language" else tiny_gpt2)(**config)

    how = settings(steps=4, batch_size=int(rng.integers(4, 20)), accumulate=2)

    def work(model: nn.Module) -> Job:
        return Job(model, loss, rows, how, Machine(CPU, "fp32", ""))

    monkeypatch.setattr(capture, "LEAST_STEPS", 1)
    monkeypatch.setattr(capture, "graphs_on", lambda device: CpuGraphs(plays=False))
    need = rehearse(lambda: load(), work, CPU)
    made: list[nn.Module] = []
    weights, _ = allocated(lambda: made.append(load()))
    _, held = allocated(lambda: train(work(made[0]), lambda _: None, Control()))
    within_ten_percent(need, weights, held)
    valid = random_rows(40, seed, longest=300)
    beside = rehearse(lambda: load(), work, CPU, valid).total - need.total
    monkeypatch.setattr(capture, "graphs_on", lambda device: None)
    plain = rehearse(lambda: load(), work, CPU).total
    assert beside > rehearse(lambda: load(), work, CPU, valid).total - plain  # of which a pass was larger


def test_evaluations_and_the_best_weights_are_counted() -> None:
    rows, valid = random_rows(40, seed=1, longest=300), random_rows(600, seed=2, longest=300)
    config = {"n_layer": 2, "n_embd": 64, "n_positions": 512, "vocab_size": 300}

    def evaluation(model: nn.Module) -> Any:
        losses = iter([3.0, 2.0, 1.0, 0.5])

        def evaluate() -> dict[str, float]:
            model.eval()
            looked = job(model, valid, batch_size=256)
            with torch.no_grad():
                for some in step_passes(looked, range(600), valid.lengths()):
                    looked.hidden(model, [valid.ids[r] for r in some], [valid.scored[r] for r in some])
            return {"loss": next(losses)}

        return evaluate

    need = rehearse(lambda: tiny_gpt2(**config), lambda m: job(m, rows, batch_size=2), CPU, valid, 256)
    made: list[nn.Module] = []
    weights, _ = allocated(lambda: made.append(tiny_gpt2(**config)))
    _, held = allocated(
        lambda: train(job(made[0], rows, evaluation(made[0]), batch_size=2, steps=40), lambda _: None, Control())
    )
    assert need.best == pytest.approx(weights, rel=0.01)
    within_ten_percent(need, weights, held)


def test_the_weights_that_trials_go_back_to_are_counted() -> None:
    rows = random_rows(60, seed=1, longest=20)
    config = {"n_layer": 3, "n_embd": 128, "n_positions": 512, "vocab_size": 3000}
    need = rehearse(lambda: tiny_gpt2(**config), lambda m: job(m, rows, steps=60), CPU, trials=True)
    made: list[nn.Module] = []
    weights, _ = allocated(lambda: made.append(tiny_gpt2(**config)))

    def tried_and_trained() -> None:
        work = job(made[0], rows, steps=60)
        planned = plan_trials(work.settings, len(rows))
        assert planned is not None
        try_rates(work, replace(planned, steps=2), lambda _: None, Control())
        train(replace(work, settings=settings(steps=2)), lambda _: None, Control())

    _, held = allocated(tried_and_trained)
    within_ten_percent(need, weights, held)


def test_nothing_is_computed_and_nothing_drawn() -> None:
    model = tiny_gpt2(dropout=0.5)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    need = rehearse(
        lambda: type(model)(model.config), lambda m: job(m, random_rows(20, seed=1)), CPU, random_rows(9, seed=2), 4
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert need.total > 0
    assert all(p.grad is None for p in model.parameters())


def test_frozen_weights_need_neither_gradients_nor_state() -> None:
    def head_alone() -> nn.Module:
        model = tiny_gpt2()
        model.base_model.requires_grad_(False)
        return model

    need = rehearse(head_alone, lambda m: job(m, random_rows(20, seed=1)), CPU)
    assert need.gradients == 3 * 32 * 4
    assert need.optimizer == pytest.approx(2 * need.gradients, abs=64)


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_pass_of_the_whole_plan_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(int(rng.integers(30, 400)), seed, longest=60)
    work = job(tiny_gpt2(), rows, batch_size=int(rng.integers(1, 9)), accumulate=int(rng.integers(1, 4)), steps=150)
    lengths = rows.lengths()
    steps = list(plan(len(rows), work.settings.rows_per_step, 150, work.settings.seed))
    passes = [some for step in steps for some in step_passes(work, step, lengths)]
    found, several, ended = largest_pass(work)
    most = max(lengths[some].sum() for some in passes)
    assert lengths[found].sum() == pytest.approx(most, rel=0.05)
    assert several == (work.settings.accumulate > 1)
    assert not ended
    assert {tuple(sorted(step)) for step in heavy_steps(work)} <= {tuple(sorted(step)) for step in steps}


def test_a_million_rows_are_looked_through_in_a_moment() -> None:
    class Many(Encoded):
        def __len__(self) -> int:
            return 1_000_000

        def lengths(self) -> np.ndarray:
            return np.random.default_rng(0).integers(1, 60, 1_000_000)

        def scored_counts(self) -> np.ndarray:
            return np.ones(1_000_000, dtype=np.int64)

    work = job(tiny_gpt2(), Many([], [], [], []), batch_size=16, steps=200_000)
    assert len(heavy_steps(work)) == 200
    assert Passes(16) == work.passes
