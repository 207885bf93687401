"""The loop against transformers' own Trainer, and its promises about stops, failures and best weights."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gpt_magic.engine.batching import Encoded, plan
from gpt_magic.engine.events import Control, Evaluated, Event, Phase, Planned, Stepped, StopRequested
from gpt_magic.engine.job import Job
from gpt_magic.engine.loop import Outcome, train
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.step import accumulate_gradients
from gpt_magic.errors import TrainingError
from gpt_magic.tasks.language import encode
from tests.tiny import (
    PAD,
    job,
    lm_job,
    objective,
    random_rows,
    random_sequences,
    settings,
    tiny_gpt2,
    tiny_lm,
    with_labels,
)


def run(work: Job, control: Control | None = None) -> tuple[Outcome, list[Event]]:
    events: list[Event] = []
    return train(work, events.append, control or Control()), events


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Stepped)]


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_fifty_steps_equal_transformers_trainer(schedule: str, tmp_path: Path) -> None:
    """Same start, order, decay groups, clipping and schedule: same losses, within 1e-4 over 50 fp32 steps."""
    rows = random_rows(120, seed=7)
    steps = 50
    ours = tiny_gpt2(seed=7)
    _, events = run(job(ours, rows, steps=steps, batch_size=16, warmup=0.1, schedule=schedule, weight_decay=0.1))
    theirs = tiny_gpt2(seed=7)
    reference = trainer_losses(theirs, range(len(rows)), lambda some: padded(rows, some), schedule, steps, tmp_path)
    np.testing.assert_allclose(losses(events), reference, atol=1e-4, rtol=0)
    assert reference[0] - reference[-1] > 0.01  # something was learned, so the comparison means something
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-3, rtol=0, msg=name)


def test_fifty_steps_of_a_language_model_equal_transformers_trainer(tmp_path: Path) -> None:
    """Ragged rows of which a part is learned, as prompts with completions: same losses over 50 fp32 steps."""
    sequences, steps = random_sequences(120, seed=7, share=0.6), 50
    ours, theirs = tiny_lm(seed=7), tiny_lm(seed=7)
    _, events = run(lm_job(ours, encode(sequences, 64), steps=steps, batch_size=16, warmup=0.1, weight_decay=0.1))
    reference = trainer_losses(theirs, sequences, with_labels, "linear", steps, tmp_path)
    np.testing.assert_allclose(losses(events), reference, atol=1e-5, rtol=0)
    assert reference[0] - min(reference) > 0.1  # something was learned, so the comparison means something
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-3, rtol=0, msg=name)


def padded(rows: Encoded, some: Sequence[int]) -> dict[str, torch.Tensor]:
    """Rows with a label each, as transformers' classifiers take them."""
    ids = [torch.from_numpy(rows.ids[row]).long() for row in some]
    tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)
    labels = torch.tensor([int(rows.targets[row][0]) for row in some])
    return {"input_ids": tokens, "attention_mask": (tokens != PAD).long(), "labels": labels}


def trainer_losses(
    model: nn.Module,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], dict[str, torch.Tensor]],
    schedule: str,
    steps: int,
    folder: Path,
) -> list[float]:
    """The losses of ``transformers.Trainer`` over the same rows in the same order, padded."""
    from transformers import Trainer, TrainingArguments

    class SameOrder(Trainer):
        def get_train_dataloader(self) -> Any:
            order = list(plan(len(rows), 16, steps, seed=0))
            return torch.utils.data.DataLoader(rows, batch_sampler=order, collate_fn=collate)  # type: ignore[arg-type]

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        weight_decay=0.1,
        max_grad_norm=1.0,
        lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
        warmup_steps=5,
        optim="adamw_torch_fused",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = SameOrder(model=model, args=arguments, train_dataset=rows, data_collator=collate)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("class_weights", [[1.0, 1.0, 1.0], [0.2, 1.0, 5.0]])
def test_accumulation_does_not_change_the_step(class_weights: list[float]) -> None:
    """Gradients of one step are equal, and so are the losses of the steps that follow.

    Weights are not compared after Adam: where a gradient is 0 but for rounding (a key's bias), its sign decides.
    """
    results = []
    for accumulate in (1, 2, 4, 8):
        model, rows = tiny_gpt2(seed=8), random_rows(40, seed=8)
        work = job(model, rows, batch_size=16 // accumulate, accumulate=accumulate, steps=5)
        work.objective = objective(weights=class_weights)
        accumulate_gradients(work, list(range(16)), rows.lengths(), step=1)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        model.zero_grad()
        _, events = run(work)
        results.append((losses(events), gradient))
    assert results[0][1].abs().max() > 0.01
    for got, gradient in results[1:]:
        torch.testing.assert_close(gradient, results[0][1], atol=1e-6, rtol=1e-5)
        np.testing.assert_allclose(got, results[0][0], atol=1e-5)


def test_accumulation_weighs_every_token_alike() -> None:
    """Rows with few learned tokens beside rows with many: a mean of the batches' means would be another step."""
    sequences = random_sequences(10, seed=8, share=0.1) + random_sequences(10, seed=9, longest=20, share=1.0)
    rows, results = encode(sequences, 64), []
    for accumulate in (1, 2, 4):
        model = tiny_lm(seed=8)
        work = lm_job(model, rows, batch_size=16 // accumulate, accumulate=accumulate, steps=5)
        loss = accumulate_gradients(work, list(range(2, 18)), rows.lengths(), step=1)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        model.zero_grad()
        results.append((loss, gradient, losses(run(work)[1])))
    whole = tiny_lm(seed=8)
    expected = whole(**with_labels(sequences[2:18])).loss
    expected.backward()
    reference = torch.cat([p.grad.flatten() for p in whole.parameters()])
    for loss, gradient, later in results:
        assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
        torch.testing.assert_close(gradient, reference, atol=1e-6, rtol=1e-4)
        np.testing.assert_allclose(later, results[0][2], atol=1e-5)


def test_loss_is_the_weighted_mean_that_torch_defines() -> None:
    model, rows = tiny_gpt2(seed=9), random_rows(16, seed=9)
    work = job(model, rows, batch_size=16, steps=1)
    work.objective = objective(weights=[0.2, 1.0, 5.0])
    with torch.no_grad():
        logits = torch.cat([model(torch.from_numpy(row)[None].long()).logits for row in rows.ids])
    targets = torch.from_numpy(np.concatenate(rows.targets))
    expected = nn.functional.cross_entropy(logits, targets, weight=torch.tensor([0.2, 1.0, 5.0]))
    _, events = run(work)
    assert losses(events)[0] == pytest.approx(float(expected), abs=1e-5)


def test_same_seed_same_bits_with_dropout() -> None:
    runs = []
    for _ in range(2):
        model = tiny_gpt2(seed=1, dropout=0.2)
        torch.manual_seed(5)
        _, events = run(job(model, random_rows(40, seed=1), steps=12))
        runs.append((losses(events), weights(model)))
    assert runs[0][0] == runs[1][0]
    for name, value in runs[0][1].items():
        assert torch.equal(value, runs[1][1][name]), name


def test_long_rows_are_cut_into_passes_without_changing_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.engine import batching

    results = []
    for limit in (10**9, 1000):
        monkeypatch.setattr(batching, "ATTENTION_AREA", limit)
        model = tiny_gpt2(seed=2)
        _, events = run(job(model, random_rows(32, seed=2), steps=4, batch_size=16))
        results.append(losses(events))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_stop_ends_after_a_whole_step_and_keeps_the_weights() -> None:
    control = Control()
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Stepped) and event.step == 3:
            control.stop.set()

    model = tiny_gpt2()
    outcome = train(job(model, random_rows(40, seed=1), steps=10), emit, control)
    assert (outcome.reason, outcome.step, outcome.kept_step, outcome.steps) == ("stopped", 3, 3, 10)
    three = tiny_gpt2()
    work = job(three, random_rows(40, seed=1), steps=10)
    stopping = Control()
    train(work, lambda e: stopping.stop.set() if isinstance(e, Stepped) and e.step == 3 else None, stopping)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), three.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert not model.training


def scripted(values: list[float], model: nn.Module, seen: list[dict[str, torch.Tensor]]) -> Any:
    """An evaluation that returns the given losses one after another and remembers the weights."""

    def evaluate() -> dict[str, float]:
        seen.append(weights(model))
        return {"loss": values[len(seen) - 1], "accuracy": 0.5}

    return evaluate


@pytest.mark.parametrize("values", [[0.9, 0.4, 0.7], [float("nan"), 0.4, float("nan")], [0.9, 0.4, float("inf")]])
def test_best_weights_are_restored(values: list[float]) -> None:
    model, seen = tiny_gpt2(), []
    outcome, events = run(job(model, random_rows(16, seed=3), scripted(values, model, seen), steps=12))
    assert (outcome.reason, outcome.step, outcome.kept_step) == ("done", 12, 8)
    assert outcome.metrics["loss"] == 0.4
    assert all(torch.equal(value, seen[1][name]) for name, value in model.state_dict().items())
    assert [event.step for event in events if isinstance(event, Evaluated)] == [4, 8, 12]


def test_an_update_that_fails_half_way_does_not_stay_in_the_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where memory runs out in it; the last evaluation, whose weights are the best, came right before."""
    model, seen = tiny_gpt2(), []
    step = torch.optim.AdamW.step

    def failing(optimizer: Any, *given: Any) -> Any:
        if len(seen) < 2:
            return step(optimizer, *given)
        optimizer.param_groups[0]["params"][0].data.add_(1)
        raise MemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
    outcome, _ = run(job(model, random_rows(16, seed=3), scripted([0.9, 0.4], model, seen), steps=12))
    assert (outcome.reason, outcome.step, outcome.kept_step) == ("failed", 8, 8)
    assert all(torch.equal(value, seen[1][name]) for name, value in model.state_dict().items())


def test_as_long_as_no_measure_is_finite_the_last_weights_are_kept() -> None:
    for values, kept in (([np.nan] * 3, 12), ([np.nan, 0.5, np.nan], 8), ([0.5, np.nan, 0.6], 4)):
        model, seen = tiny_gpt2(), []
        outcome, _ = run(job(model, random_rows(16, seed=3), scripted(values, model, seen), steps=12))
        assert (outcome.reason, outcome.kept_step) == ("done", kept)
        best = seen[kept // 4 - 1]
        assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())


def test_the_job_says_by_which_measure_weights_are_the_best() -> None:
    model, seen = tiny_gpt2(), []
    scores = [{"loss": 0.4, "calibrated_loss": 0.9}, {"loss": 0.7, "calibrated_loss": 0.3}, {"loss": 0.9}]

    def evaluate() -> dict[str, float]:
        seen.append(weights(model))
        return {"calibrated_loss": 0.5, **scores[len(seen) - 1]}

    work = replace(job(model, random_rows(16, seed=3), evaluate, steps=12), measure="calibrated_loss")
    outcome, _ = run(work)
    assert outcome.kept_step == 8
    assert outcome.metrics["loss"] == 0.7
    assert all(torch.equal(value, seen[1][name]) for name, value in model.state_dict().items())


def test_early_stop_counts_epochs() -> None:
    model, seen = tiny_gpt2(), []
    losses_to_come = [0.5, 0.4, *[0.6] * 50]
    work = job(
        model, random_rows(16, seed=3), scripted(losses_to_come, model, seen), steps=40, early_stop=2, eval_every=2
    )
    outcome, _ = run(work)  # best at step 4, epochs of 4 steps: two epochs later is step 12
    assert (outcome.reason, outcome.step, outcome.kept_step) == ("early_stop", 12, 4)


def test_a_stop_inside_an_evaluation_ends_the_run() -> None:
    model = tiny_gpt2()

    def evaluate() -> dict[str, float]:
        raise StopRequested

    outcome, _ = run(job(model, random_rows(16, seed=3), evaluate, steps=12))
    assert (outcome.reason, outcome.step, outcome.metrics) == ("stopped", 4, {})


def test_nan_loss_names_step_and_rows_and_keeps_the_last_good_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny_gpt2(), random_rows(16, seed=4)
    poisoned = 11
    real = hidden_packed
    made: list[dict[str, torch.Tensor]] = []

    def hidden(model: nn.Module, ids: Any, scored: Any) -> torch.Tensor:
        out = real(model, ids, scored)
        if len(made) >= 5:  # from the second epoch on, one row turns into NaN
            bad = torch.tensor([row is rows.ids[poisoned] for row in ids])
            out = torch.where(bad[:, None], float("nan"), out)
        return out

    def emit(event: Event) -> None:
        if isinstance(event, Stepped):
            made.append(weights(model))

    work = job(model, rows, steps=20)
    work.hidden = hidden
    outcome = train(work, emit, Control())
    assert outcome.reason == "failed"
    assert isinstance(outcome.error, TrainingError)
    assert f"step {outcome.step + 1} (rows {poisoned})" in str(outcome.error)
    assert all(torch.equal(value, made[-1][name]) for name, value in model.state_dict().items())
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_an_infinite_gradient_stops_before_the_step() -> None:
    model = tiny_gpt2()
    model.score.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weights(model)
    outcome, _ = run(job(model, random_rows(16, seed=4)))
    assert outcome.reason == "failed"
    assert "the gradient is" in str(outcome.error)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_planned_comes_first_and_log_counts_real_tokens() -> None:
    rows = random_rows(10, seed=1)
    _, events = run(job(tiny_gpt2(), rows, steps=3, batch_size=4))
    assert events[0] == Planned(3, 3, 10)
    assert sum(event.tokens for event in events if isinstance(event, Stepped)) == rows.lengths().sum()
    assert [round(event.epoch, 6) for event in events if isinstance(event, Stepped)] == [
        round(i / 3, 6) for i in (1, 2, 3)
    ]


def test_settings_effective_batch() -> None:
    assert settings(batch_size=4, accumulate=8).rows_per_step == 32


def test_a_step_whose_rows_weigh_nothing_changes_nothing_but_the_clock() -> None:
    rows = random_rows(8, seed=1, classes=1)
    model = tiny_gpt2()
    before = weights(model)
    work = job(model, rows, steps=2, weight_decay=0.0)
    work.objective = objective(weights=[0.0, 1.0, 1.0])
    outcome, events = run(work)
    assert (outcome.reason, losses(events)) == ("done", [0.0, 0.0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Measured:
    """An evaluation that gives these values, one after the other, and remembers the weights it saw."""

    def __init__(self, work: Job, values: Sequence[float]) -> None:
        self.work, self.values, self.seen = work, iter(values), []  # type: ignore[var-annotated]

    def __call__(self) -> dict[str, float]:
        self.seen.append(weights(self.work.model))
        return {"loss": next(self.values)}


def test_with_an_open_end_a_run_goes_back_to_its_best_and_lets_the_rate_fall() -> None:
    """Best after the second epoch, nothing better for two: one epoch more, from the weights of the second."""
    work = job(tiny_gpt2(), random_rows(20, seed=3), steps=150, early_stop=2, open_end=True, weight_decay=0.0)
    look = Measured(work, [0.9, 0.5, 0.6, 0.7, 0.4])
    work.evaluate = look
    outcome, events = run(work)
    assert (outcome.reason, outcome.step, outcome.steps, outcome.kept_step) == ("done", 25, 25, 25)
    assert [event.steps for event in events if isinstance(event, Planned)] == [0, 25]
    rates = [event.learning_rate for event in events if isinstance(event, Stepped)]
    assert rates[:21] == [1e-3] * 21
    assert rates[20:] == pytest.approx([1e-3, 0.8e-3, 0.6e-3, 0.4e-3, 0.2e-3])
    said = [event.name for event in events if isinstance(event, Phase)]
    assert said[0] == "training; nothing better for 0 of 2 epochs"
    assert "training; nothing better for 1 of 2 epochs" in said
    assert said[-1] == "training while the rate falls"
    # One epoch of falling rate moves the weights by less than the way back to those of the second epoch.
    second, fourth, last = look.seen[1], look.seen[3], look.seen[4]
    assert distance(last, second) < distance(last, fourth)


def distance(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    return float(sum((some[name] - others[name]).abs().sum() for name in some))


@pytest.mark.parametrize(
    ("schedule", "values", "ends"),
    [
        ("linear", [0.5, 0.6, 0.4, 0.5, 0.6, 0.7], ("done", 30, 15)),  # what came in between was better after all
        ("constant", [0.5, 0.6, 0.7], ("early_stop", 15, 5)),
        ("linear", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], ("done", 30, 30)),  # the bound: the fall begins one epoch before
        ("constant", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], ("done", 30, 30)),  # which for this one is no reason to stop early
        ("linear", [float("nan")] * 4, ("done", 20, 20)),  # nothing is known: it ends as if nothing got better
    ],
)
def test_where_an_open_end_is(schedule: str, values: list[float], ends: tuple[str, int, int]) -> None:
    work = job(tiny_gpt2(), random_rows(20, seed=3), steps=30, early_stop=2, open_end=True, schedule=schedule)
    work.evaluate = Measured(work, values)
    outcome, _ = run(work)
    assert (outcome.reason, outcome.step, outcome.kept_step) == ends


def test_stopped_while_the_end_is_open_no_number_of_steps_was_planned() -> None:
    work = job(tiny_gpt2(), random_rows(20, seed=3), steps=30, early_stop=2, open_end=True)
    control = Control()

    def look() -> dict[str, float]:
        control.stop.set()
        return {"loss": 1.0}

    work.evaluate = look
    outcome, _ = run(work, control)
    assert (outcome.reason, outcome.step, outcome.steps) == ("stopped", 5, 0)
