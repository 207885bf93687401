"""Passes that are filled up give the losses and gradients of the passes that are not, whatever stands in the filler."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gpt_magic.engine.batching import Encoded, forward_passes, plan
from gpt_magic.engine.capture import MOST_SIZES
from gpt_magic.engine.job import Job
from gpt_magic.engine.precision import Machine
from gpt_magic.engine.static import Filled, Grid, _ways, fill_up, filled_loss, hidden_filled, lay_out
from gpt_magic.engine.step import accumulate_gradients, step_weight
from gpt_magic.tasks.extract import Ends
from gpt_magic.tasks.language import encode
from gpt_magic.tasks.multilabel import Multilabel
from gpt_magic.tasks.regress import Regress
from gpt_magic.tasks.tag import TagWords
from tests.tasks.test_extract import random_windows, tiny_extractor
from tests.tiny import PAD, job, lm_job, objective, random_rows, random_sequences, tiny_gpt2, tiny_lm, tiny_tagger

ROWS = 24


def classify(seed: int) -> Job:
    work = job(tiny_gpt2(seed=seed), random_rows(ROWS, seed))
    return replace(work, objective=objective(weights=[0.2, 1.0, 5.0]))


def several(seed: int) -> Job:
    rows, rng = random_rows(ROWS, seed), np.random.default_rng(seed)
    rows = replace(rows, targets=[(rng.random((1, 3)) < 0.4).astype(np.float32) for _ in range(ROWS)])
    return replace(job(tiny_gpt2(seed=seed), rows), objective=Multilabel(np.array([1.0, 2.0, 7.5])))


def number(seed: int) -> Job:
    rows, rng = random_rows(ROWS, seed), np.random.default_rng(seed)
    rows = replace(rows, targets=[rng.normal(size=1).astype(np.float32) for _ in range(ROWS)])
    return replace(job(tiny_gpt2(1, seed), rows), objective=Regress(0.3))


def tag(seed: int) -> Job:
    """Words here and there, some at every token."""
    rows, rng = random_rows(ROWS, seed), np.random.default_rng(seed)
    scored = [np.flatnonzero(np.append(rng.random(len(row) - 1) < rng.random(), True)) for row in rows.ids]
    targets = [rng.integers(0, 5, len(some)) for some in scored]
    return replace(job(tiny_tagger(seed=seed), replace(rows, scored=scored, targets=targets)), objective=TagWords(5))


def language(seed: int) -> Job:
    """Nearly all tokens are learned, so that the last block is computed at all."""
    return lm_job(tiny_lm(seed=seed), encode(random_sequences(ROWS, seed, share=0.95), 64))


def completion(seed: int) -> Job:
    return lm_job(tiny_lm(seed=seed), encode(random_sequences(ROWS, seed, share=0.3), 64))


def even(seed: int) -> Job:
    """Rows of one length, which need no filler."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, PAD, 16).astype(np.int32) for _ in range(ROWS)]
    work = job(tiny_gpt2(seed=seed), random_rows(ROWS, seed))
    return replace(work, train=replace(work.train, ids=ids, scored=[np.array([15])] * ROWS))


def extract(seed: int) -> Job:
    ids, scored, targets = (
        list(part) for part in zip(*random_windows(ROWS, seed, everywhere=seed % 2 == 0), strict=True)
    )
    return replace(job(tiny_extractor(seed), Encoded(ids, scored, targets, range(ROWS))), objective=Ends())


TASKS = [classify, several, number, tag, language, completion, even, extract]


def filled(work: Job, rows: list[int], total: float) -> Filled:
    train = work.train
    return fill_up(*([part[row] for row in rows] for part in (train.ids, train.scored, train.targets)), total)  # type: ignore[call-arg, arg-type]


def learned(work: Job, pass_: Filled) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of a pass that was filled up."""
    places, targets, shares = map(torch.from_numpy, (pass_.places, pass_.targets, pass_.shares))
    hidden = hidden_filled(work.model, pass_.size, places)
    loss = (work.objective.losses(work.model, hidden, targets) * shares).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in work.model.named_parameters() if p.grad is not None}
    work.model.zero_grad(set_to_none=True)
    return loss.detach(), gradients  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", TASKS)
def test_losses_and_gradients_are_those_of_a_pass_without_filler(make: Callable[[int], Job], seed: int) -> None:
    work = make(seed)
    rows = np.random.default_rng(seed).permutation(ROWS)[: [1, 2, 5, 8, 13, 16][seed]].tolist()
    work.passes.rows = len(rows)
    expected = accumulate_gradients(work, rows, work.train.lengths(), 1)
    reference = {name: p.grad.clone() for name, p in work.model.named_parameters() if p.grad is not None}
    work.model.zero_grad(set_to_none=True)
    loss, gradients = learned(work, filled(work, rows, step_weight(work, rows)))
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    assert gradients.keys() == reference.keys()
    assert max(gradient.abs().max() for gradient in reference.values()) > 0.01 or expected == 0
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, reference[name], atol=2e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [task for task in TASKS if task is not even])
def test_what_stands_in_the_filler_changes_nothing(make: Callable[[int], Job], seed: int) -> None:
    work, rng = make(seed), np.random.default_rng(seed)
    rows = rng.permutation(ROWS)[:5].tolist()
    pass_ = filled(work, rows, 3.0)
    real = int(work.train.lengths()[rows].sum())
    tokens, scored = pass_.size.tokens, sum(len(work.train.scored[row]) for row in rows)
    assert tokens > real
    places, targets = pass_.places.copy(), pass_.targets.copy()
    places[real:tokens] = rng.integers(0, PAD, tokens - real)  # their ids
    places[tokens + real : 2 * tokens] = rng.integers(0, 64, tokens - real)  # their positions
    if make is not extract:  # there a target says where rows begin
        targets[scored:] = rng.permutation(targets[:scored])[: len(targets) - scored]
    loss, gradients = learned(work, pass_)
    again, others = learned(work, replace(pass_, places=places, targets=targets))
    assert torch.equal(loss, again)
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


@pytest.mark.parametrize("make", TASKS)
def test_a_pass_stays_on_its_device_and_asks_for_no_number(make: Callable[[int], Job]) -> None:
    """On a device without numbers, where to read one or to mix it with the CPU's is an error."""
    work, nowhere = make(1), torch.device("meta")
    work.model.to(nowhere).train()
    work.machine = Machine(nowhere, "fp32", "")
    size, read = lay_out(work, list(range(8)), 8.0)
    loss = filled_loss(work, size, read.to(nowhere))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.device == nowhere
    assert all(weight.grad is not None for weight in work.model.parameters())


def test_filler_has_no_gradient() -> None:
    """Not even of the embedding of its token, which has no other."""
    work = classify(1)
    pass_ = filled(work, [1, 2, 3], 3.0)
    places = pass_.places.copy()
    real = int(work.train.lengths()[[1, 2, 3]].sum())
    places[real : pass_.size.tokens] = PAD
    _, gradients = learned(work, replace(pass_, places=places))
    assert gradients["transformer.wte.weight"][PAD].abs().max() == 0
    assert gradients["transformer.wte.weight"].abs().max() > 0


@pytest.mark.parametrize("counts", [[3, 1, 4], [1], [5, 0, 2, 6, 6]])
def test_both_ways_of_a_grid_have_the_gradients_of_what_they_move(counts: list[int]) -> None:
    """Against torch's own indexing, with empty places and filler left out of the loss, as the real ones do."""
    total, rows, longest, tokens = sum(counts), len(counts) + 1, 8, sum(counts) + 3
    ways = tuple(map(torch.from_numpy, _ways(np.array(counts), rows, longest, tokens)))
    grid = Grid(rows, longest, ways)  # type: ignore[arg-type]
    packed = torch.randn(1, 2, tokens, 5, dtype=torch.double, requires_grad=True)
    weights = torch.randn(total, 2, 5, dtype=torch.double)
    taken = torch.cat([torch.arange(count) + row * longest for row, count in enumerate(counts)])

    def there_and_back(x: Tensor) -> Tensor:
        (laid,) = grid.side_by_side(x)
        return (grid.one_after_another([laid.square()])[0, :total] * weights).sum()

    def by_indexing(x: Tensor) -> Tensor:
        laid = torch.zeros(rows * longest, 2, 5, dtype=torch.double).index_put(
            (taken,), x[0, :, :total].transpose(0, 1)
        )
        return (laid.square()[taken] * weights).sum()

    ours, theirs = there_and_back(packed), by_indexing(packed)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, packed)[0] for loss in (ours, theirs)))


@pytest.mark.parametrize("kind", ["texts", "completions", "blocks"])
def test_few_sizes_come_in_many_epochs(kind: str) -> None:
    """Lengths as those of short texts, and prompts with completions; blocks but for the last step of an epoch."""
    rng, rows = np.random.default_rng(0), 1000
    if kind == "texts":
        lengths = np.clip(rng.lognormal(np.log(24), 0.7, rows).astype(int), 4, 256)
        counts = np.ones(rows, dtype=int)
    elif kind == "completions":
        counts = rng.integers(8, 40, rows)
        lengths = rng.integers(20, 100, rows) + counts
    else:
        lengths, counts = np.full(rows, 256), np.full(rows, 255)
    sizes: Counter[Any] = Counter()
    for step in plan(rows, 16, 1000, seed=0):
        for some in forward_passes(step, lengths, 16):
            ids = [np.zeros(lengths[row], dtype=np.int32) for row in some]
            scored = [np.arange(lengths[row])[-counts[row] :] for row in some]
            sizes[fill_up(ids, scored, scored, 1.0).size] += 1
    assert len(sizes) <= (2 if kind == "blocks" else MOST_SIZES)
    assert sum(count for _, count in sizes.most_common(MOST_SIZES // 2)) > 0.95 * sizes.total()
