"""Muon's update against the singular value decomposition, and what it is used for."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from gpt_magic.engine.events import Control, Stepped
from gpt_magic.engine.loop import train
from gpt_magic.engine.muon import Muon, orthogonal, split_matrices
from gpt_magic.engine.schedule import build_optimizer, build_scheduler
from gpt_magic.tasks.language import Learned, encode
from tests.tiny import lm_job, tiny_gpt2, tiny_lm

LOW, HIGH = 0.65, 1.25  # where five steps of the iteration take the singular values


def stack(rows: int, columns: int, seed: int, spread: float = 30.0) -> Tensor:
    """Matrices with known singular values, the largest ``spread`` times the smallest."""
    made = torch.Generator().manual_seed(seed)
    u, _, v = torch.linalg.svd(torch.randn(4, rows, columns, generator=made), full_matrices=False)
    values = torch.logspace(0, -np.log10(spread), rows)
    return 7.0 * u @ torch.diag(values) @ v


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (16, 64), (32, 96), (1, 5)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_orthogonal_keeps_the_directions_and_levels_the_singular_values(rows: int, columns: int, seed: int) -> None:
    given = stack(rows, columns, seed)
    made = orthogonal(given)
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    inside = u.mT @ made @ v.mT  # diagonal, when the directions are the same
    values = torch.diagonal(inside, dim1=1, dim2=2)
    assert float((inside - torch.diag_embed(values)).abs().max()) < 1e-3
    assert float(values.min()) > LOW
    assert float(values.max()) < HIGH
    torch.testing.assert_close(made, orthogonal(given * 1e-4), atol=1e-3, rtol=0)  # the scale does not matter
    alone = torch.stack([orthogonal(one[None])[0] for one in given])
    torch.testing.assert_close(made, alone, atol=1e-5, rtol=0)


def test_a_gradient_of_zeros_changes_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(2, 4, 8)), torch.zeros(2, 4, 8))


def one_update(model: nn.Module, learning_rate: float, seed: int = 0, **more: Any) -> dict[str, Tensor]:
    """What a first step with random gradients adds to each parameter."""
    optimizer = Muon(model, learning_rate, **more)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer.step()
    return {name: value.detach() - before[name] for name, value in model.named_parameters()}


def test_the_updates_are_as_large_as_those_of_adamw() -> None:
    model = tiny_lm()
    matrices = {id(weight) for weight in split_matrices(model)[0]}
    inside = {name for name, value in model.named_parameters() if id(value) in matrices}
    for name, change in one_update(model, 1e-3).items():
        size = float(change.square().mean().sqrt()) / 1e-3
        if name in inside:
            assert LOW * 0.2 < size < HIGH * 0.2, name
        else:
            assert size == pytest.approx(1.0, abs=0.01), name  # Adam's first step goes by the sign


def test_the_update_of_each_piece_is_orthogonal_and_goes_down() -> None:
    """Query, key and value apart; a tall matrix like its transpose."""
    model = tiny_lm()
    for name, change in one_update(model, 1.0).items():
        gradient = model.get_parameter(name).grad
        pieces = {"attn.c_attn.weight": [slice(i * 32, i * 32 + 32) for i in range(3)]}
        if not name.startswith("transformer.h.") or change.ndim != 2:
            continue
        for part in pieces.get(name.split(".", 3)[-1], [slice(None)]):
            found, asked = change[:, part], gradient[:, part]
            u, values, v = torch.linalg.svd(asked, full_matrices=False)
            along = torch.diagonal(u.mT @ (-found) @ v.mT) / (0.2 * max(found.shape) ** 0.5)
            clear = values > 0.1 * values.max()  # five steps do not lift what is hardly there
            assert float(along[clear].min()) > LOW, name
            assert float(along.max()) < HIGH, name


@pytest.mark.parametrize(
    "make",
    [
        tiny_lm,
        tiny_gpt2,
        lambda: LlamaForCausalLM(
            LlamaConfig(vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
        ),
    ],
)
def test_embeddings_heads_norms_and_biases_get_adamw(make: Any) -> None:
    model = make()
    matrices, others = ({id(weight) for weight in part} for part in split_matrices(model))
    assert len(matrices) + len(others) == len(list(model.parameters()))
    for name, value in model.named_parameters():
        inside = (".h." in name or ".layers." in name) and name.endswith(".weight") and "norm" not in name
        inside = inside and ".ln_" not in name
        assert (id(value) in matrices) is inside, name
    owned = [id(p) for group in Muon(model, 1e-3).param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())


def test_frozen_weights_stay_as_they_are() -> None:
    model = tiny_lm()
    for weight in (model.transformer.wte.weight, model.transformer.h[0].mlp.c_fc.weight):
        weight.requires_grad_(False)
    changes = one_update(model, 1e-2)
    still = {name for name, change in changes.items() if not change.any()}
    assert still == {"transformer.wte.weight", "transformer.h.0.mlp.c_fc.weight"}


def test_only_the_matrices_in_the_blocks_decay() -> None:
    free, decayed = one_update(tiny_lm(), 0.1), one_update(tiny_lm(), 0.1, weight_decay=0.5)
    start = dict(tiny_lm().named_parameters())
    for name, change in decayed.items():
        inside = name.startswith("transformer.h.") and change.ndim == 2
        expected = free[name] - (0.1 * 0.5 * start[name].detach() if inside else 0.0)
        torch.testing.assert_close(change, expected, atol=1e-6, rtol=1e-5)


def test_a_state_that_went_through_a_file_makes_the_same_next_step(tmp_path: Any) -> None:
    def steps(model: nn.Module, optimizer: Muon, scheduler: Any, numbers: range) -> None:
        for number in numbers:
            torch.manual_seed(number)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
            scheduler.step()

    def fresh() -> tuple[Any, Muon, Any]:
        model = tiny_lm()
        optimizer = build_optimizer("muon", model, 1e-2, 0.1)
        assert isinstance(optimizer, Muon)
        return model, optimizer, build_scheduler(optimizer, "linear", 0.2, 12)

    whole = fresh()
    steps(*whole, range(10))
    first, second = fresh(), fresh()
    steps(*first, range(6))
    torch.save([part.state_dict() for part in first], tmp_path / "state.pt")
    for part, state in zip(second, torch.load(tmp_path / "state.pt", weights_only=True), strict=True):
        part.load_state_dict(state)
    steps(*second, range(6, 10))
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, second[0].state_dict()[name]), name


@pytest.mark.parametrize("rate", [0.0, 1e-3, 4e-3])
def test_the_schedule_moves_both_parts(rate: float) -> None:
    model = tiny_lm()
    optimizer = build_optimizer("muon", model, 1e-2, 0.0)
    scheduler = build_scheduler(optimizer, "linear", 10, 20)
    for group in optimizer.param_groups:
        group["lr"] = rate  # as a scheduler sets it
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    expected = one_update(tiny_lm(), rate)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.detach() - before[name], expected[name], atol=1e-7, rtol=1e-4)
    for _ in range(10):
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 1e-2]


def test_it_learns() -> None:
    """Sequences of one rule, the next token twice the last, in forty steps."""
    starts = np.random.default_rng(0).integers(1, 97, 64)
    ids = [(start * 2 ** np.arange(12)) % 97 for start in starts.tolist()]
    learned = np.array([False, *[True] * 11])
    rows = encode([Learned(row.astype(np.int32), learned, i) for i, row in enumerate(ids)], 64)
    ends = {}
    for optimizer, rate in (("muon", 2e-2), ("muon", 1e-8)):
        losses: list[float] = []
        work = lm_job(tiny_lm(), rows, steps=40, batch_size=16, learning_rate=rate, optimizer=optimizer)
        train(work, lambda e, seen=losses: seen.append(e.loss) if isinstance(e, Stepped) else None, Control())
        ends[rate] = losses[-1]
    assert ends[2e-2] < 0.3 * ends[1e-8]
