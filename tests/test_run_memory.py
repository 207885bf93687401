"""A run and memory: what is said of it, what happens where it is short, and that nothing stays behind."""

import gc
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

from benchmarks.allocator import allocated
from gpt_magic import fit, room
from gpt_magic.data.read import read_data
from gpt_magic.engine import loop, pace, trunk
from gpt_magic.engine.events import Control
from gpt_magic.engine.job import Job
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.rehearsal import Need
from gpt_magic.errors import RunAbandoned, TrainingError
from gpt_magic.options import Options
from gpt_magic.prepare import prepare
from gpt_magic.run import Run
from tests.films import base, films
from tests.kernel import Kernel

GB = 10**9


def start(**options: Any) -> Run:
    settings = Options()
    settings.update({"data": films(), "base": base(), "baselines": False, **options})
    run = Run(settings, "films")
    run.start()
    return run


def finished(**options: Any) -> Run:
    run = start(**options)
    assert run.done.wait(300)
    return run


def fact(run: Run, name: str) -> str:
    found = run.summary or run.preflight
    return dict(found.facts)[name]


def only(most: int, failure: Exception) -> Any:
    """A forward pass that has no memory for more rows."""

    def hidden(model: nn.Module, ids: Sequence[np.ndarray], scored: Sequence[np.ndarray]) -> Tensor:
        if len(ids) > most and model.training:
            raise failure
        return hidden_packed(model, ids, scored)

    return hidden


# --- what is said --------------------------------------------------------------------------------------------


def test_the_preflight_says_what_a_run_will_hold_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available", lambda _: 3 * GB)
    run = finished(dry_run=True)
    said = fact(run, "memory")
    parts = [float(part.split()[-2]) for part in said.partition(": ")[2].split(", ")]
    assert (
        said.startswith(f"{sum(parts):.1f} MB at most of 3.0 GB free: weights ")
        or abs(float(said.split()[0]) - sum(parts)) < 0.3
    )
    assert [part.rsplit(maxsplit=2)[0] for part in said.partition(": ")[2].split(", ")] == [
        "weights",
        "gradients",
        "optimizer",
        "best weights",
        "passes of up to 16 rows",
    ]
    assert not [line for line in run.preflight.warnings if "memory" in line or "free" in line]


def test_passes_that_long_texts_make_smaller_are_said() -> None:
    long = films().assign(review=lambda table: table["review"] + " and so on" * 300)
    run = finished(dry_run=True, data=long, base=base(n_positions=512), device="cpu")
    assert "passes of up to 4 rows of 512 tokens " in fact(run, "memory")


@pytest.mark.parametrize("batch", [4, 16])
@pytest.mark.parametrize(
    ("train", "steps"), [("all", 4), ("lora", 4), ("top:1", 4), ("top:1", 40), ("top:2", 40), ("head", 40)]
)
def test_what_is_said_is_what_the_allocator_counts(
    train: str, steps: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 40 steps the rows are read more than once, so that what frozen blocks make of them is kept."""
    said: list[Need] = []
    monkeypatch.setattr(room, "_fact", lambda need, *_: said.append(need) or "")
    shape = base(n_embd=256, n_layer=3)
    options = Options()
    options.update({"data": films(), "base": shape, "train": train, "batch_size": batch, "valid_fraction": 0})
    options.update({"max_steps": steps})
    made = prepare(options, read_data(options), None, lambda _: None, lambda: None)
    assert made.learner.keeps == (steps == 40)

    def load() -> Any:
        model = made.task.load(made.base)
        made.learner.begin(model)
        return model

    def work(model: Any) -> None:
        how: Any = {}
        rows, blocks = made.train, made.learner.part.blocks
        if made.learner.keeps:
            rows, how = trunk.keep_states(model, rows, blocks), {"hidden": partial(trunk.hidden_from, blocks=blocks)}
        loop.train(Job(model, made.task.objective, rows, made.settings, made.machine, **how), lambda _: None, Control())

    models: list[Any] = []
    weights, _ = allocated(lambda: models.append(load()))
    _, held = allocated(lambda: work(models[0]))
    assert said[0].total == pytest.approx(weights + held, rel=0.1)


def test_evaluations_that_score_every_label_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Need] = []
    monkeypatch.setattr(room, "_fact", lambda need, *_: said.append(need) or "")
    rows = [(f"text {number}", f"{'many words ' * (kind % 4)}{kind}") for number in range(12) for kind in range(20)]
    options = Options()
    options.update({"data": [{"text": text, "label": label} for text, label in rows], "style": "words"})
    options.update({"base": base(n_embd=64, n_positions=128), "train": "top:1", "batch_size": 4, "max_steps": 4})
    made = prepare(options, read_data(options), None, lambda _: None, lambda: None)

    def load() -> Any:
        model = made.task.load(made.base)
        made.learner.begin(model)
        return model

    def work(model: Any) -> None:
        job = Job(model, made.task.objective, made.train, made.settings, made.machine)
        job.evaluate = lambda: made.task.evaluate(model, made.valid, hidden_packed, lambda: None)
        outcome = loop.train(job, lambda _: None, Control())
        assert outcome.metrics

    models: list[Any] = []
    weights, _ = allocated(lambda: models.append(load()))
    _, held = allocated(lambda: work(models[0]))
    assert said[0].total == pytest.approx(weights + held, rel=0.1)


def test_the_weights_that_trials_go_back_to_are_counted() -> None:
    given = {"dry_run": True, "max_steps": 60, "learning_rate": "auto"}
    said = fact(finished(**given, valid_fraction=0), "memory")
    assert "weights before the trials " in said
    assert "best weights " in fact(finished(**given), "memory")
    assert said != fact(finished(dry_run=True, max_steps=60, valid_fraction=0), "memory")


def test_where_it_does_not_fit_the_rows_go_in_smaller_passes_and_the_curve_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count(*given: Any) -> Need:
        settings = given[-1]
        return Need(GB, GB, GB, GB, GB * settings.rows_at_once)

    monkeypatch.setattr(room, "_counted", count)
    monkeypatch.setattr(room, "available", lambda _: None)
    whole = finished(max_steps=6, dropout=0.0, precision="fp32")
    assert fact(whole, "memory").startswith("20.0 GB at most: weights 1.0 GB, ")
    monkeypatch.setattr(room, "available", lambda _: 10 * GB)  # of which nine tenths are planned with
    run = finished(max_steps=6, dropout=0.0, precision="fp32")
    assert (
        "16 rows at once would need about 20.0 GB and cpu has 10.0 GB free, so 4 at a time go through the model; the "
        "loss curve is the same"
    ) in run.summary.warnings
    np.testing.assert_allclose(run.result.history["loss"], whole.result.history["loss"], atol=1e-5)


@pytest.mark.parametrize("given", ["auto", "on", "off"])
def test_blocks_are_computed_twice_where_one_row_does_not_fit(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        room, "_counted", lambda *given: Need(GB, GB, GB, GB, GB if given[-1].checkpointing == "on" else 9 * GB)
    )
    monkeypatch.setattr(room, "available", lambda _: 6 * GB)
    run = finished(dry_run=True, checkpointing=given)
    said = [line for line in run.preflight.warnings if "free" in line]
    if given == "off":
        assert "it will probably run out of memory" in said[0]
    elif given == "auto":
        assert "so 1 at a time go through the model, blocks computed twice (a third slower)" in said[0]
    else:
        assert not said
        assert "passes of up to 16 rows, blocks computed twice 1.0 GB" in fact(run, "memory")


def test_what_cannot_fit_is_said_with_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available", lambda _: 1000)
    run = finished(dry_run=True)
    (line,) = [line for line in run.preflight.warnings if "free" in line]
    assert "it will probably run out of memory; lower max_length, take a smaller base" in line


def test_what_does_not_work_in_a_rehearsal_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The original GPT cannot be packed, which is first tried; torch would write pages of it into the notebook."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(caplog.handler)
    shape = {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 64, "vocab_size": 8192}
    run = finished(base=(OpenAIGPTLMHeadModel(OpenAIGPTConfig(**shape)), base()[1]), max_steps=2)
    assert run.error is None
    assert fact(run, "memory").endswith(" MB")
    logger.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if record.name == logger.name]
    assert not logger.disabled


def test_a_model_that_cannot_be_rehearsed_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any) -> None:
        raise ValueError("data-dependent")

    monkeypatch.setattr(room, "rehearse", no)
    monkeypatch.setattr(room, "_SEEN", {})
    run = finished(max_steps=2)
    assert run.error is None
    assert fact(run, "memory") == "not known beforehand for this model"


# --- batch_size = "auto" -------------------------------------------------------------------------------------


def test_auto_keeps_the_rows_of_a_step_and_says_how_to_make_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_WORTH", 1)
    monkeypatch.setattr(pace, "_KNOWN", {})
    first, again = (finished(batch_size="auto", accumulate=2, max_steps=6, dropout=0.1) for _ in range(2))
    said = fact(first, "batch")
    assert said.startswith("auto: 32 rows a step, at most ")
    assert "as measured before" in fact(again, "batch")
    _, _, how = said.partition("; ")
    pinned = {name: int(value) for name, value in (pair.split(" = ") for pair in how.split(" makes")[0].split(", "))}
    assert pinned["batch_size"] * pinned["accumulate"] == 32
    by_hand = finished(**pinned, max_steps=6, dropout=0.1)
    assert first.result.history["loss"].tolist() == again.result.history["loss"].tolist()
    assert first.result.history["loss"].tolist() == by_hand.result.history["loss"].tolist()
    for name, value in first.result.model.state_dict().items():
        assert torch.equal(value, by_hand.result.model.state_dict()[name]), name


def test_auto_does_not_measure_what_is_over_soon() -> None:
    assert fact(finished(batch_size="auto", max_steps=3), "batch") == (
        "auto: 16 rows a step, at most 16 at a time (as many as fit); "
        "batch_size = 16, accumulate = 1 makes the same run"
    )


# --- memory runs out -----------------------------------------------------------------------------------------


def test_a_run_that_runs_out_of_memory_goes_on_and_its_card_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finished(max_steps=6, dropout=0.0, precision="fp32")
    monkeypatch.setattr(fit, "hidden_packed", only(5, torch.OutOfMemoryError("CUDA out of memory.")))
    run = finished(max_steps=6, dropout=0.0, precision="fp32")
    assert run.error is None
    assert "memory ran out at step 1: since then 4 rows at a time; the gradients are the same" in run.summary.warnings
    np.testing.assert_allclose(run.result.history["loss"], whole.result.history["loss"], atol=1e-5)


@pytest.mark.parametrize("train", ["all", "top:1"])
def test_evaluations_that_run_out_of_memory_go_on_and_the_card_says_so(
    train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"base": base(n_layer=2), "train": train, "max_steps": 6, "dropout": 0.0, "precision": "fp32"}
    whole = finished(**shape)

    def narrow(real: Any) -> Any:
        def hidden(model: nn.Module, ids: Sequence[np.ndarray], *how: Any, **more: Any) -> Any:
            if len(ids) > 5 and not model.training:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(model, ids, *how, **more)

        return hidden

    monkeypatch.setattr(fit, "hidden_packed", narrow(fit.hidden_packed))
    monkeypatch.setattr(fit, "hidden_from", narrow(fit.hidden_from))
    monkeypatch.setattr(trunk, "_below", narrow(trunk._below))
    run = finished(**shape)
    assert run.error is None
    (said,) = [line for line in run.summary.warnings if "memory" in line]
    assert said.startswith("memory ran out in an evaluation: since then it reads at most ")
    assert run.result.metrics["loss"] == pytest.approx(whole.result.metrics["loss"], abs=1e-5)


def test_memory_that_is_never_enough_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "hidden_packed", only(0, MemoryError()))
    run = finished(max_steps=6)
    assert isinstance(run.error, TrainingError)
    assert "memory ran out at step 1 with one row of " in str(run.error)
    assert run.result is None


def test_memory_that_runs_out_elsewhere_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    run = finished(max_steps=6)
    assert str(run.error).startswith(
        "training failed at step 1, as memory ran out; lower max_length or batch_size, or take a smaller base: "
    )


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is heeded on Linux")
def test_an_allocator_that_really_fails_is_survived() -> None:
    code = """
import resource, sys
import psutil, torch
from gpt_magic.engine.events import Warned
from gpt_magic.engine.step import accumulate_gradients
from gpt_magic.engine import kernels
from tests.tiny import job, random_rows, tiny_gpt2

kernels.onednn_is_faster = lambda: False  # torch's own allocator is to fail, not oneDNN's
rows = random_rows(17, seed=1, longest=500)
order, lengths = range(1, 17), rows.lengths()
shape = {"n_layer": 8, "n_embd": 128, "n_positions": 512}
whole = job(tiny_gpt2(**shape), rows, batch_size=2, accumulate=8)
loss = accumulate_gradients(whole, order, lengths, 1)
work, said = job(tiny_gpt2(**shape), rows, batch_size=16), []
limit = psutil.Process().memory_info().vms + 80_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
found = accumulate_gradients(work, order, lengths, 1, said.append)
assert abs(found - loss) < 1e-6, (found, loss)
assert 1 <= work.passes.rows < 16, work.passes
assert isinstance(said[0], Warned), said
for mine, other in zip(work.model.parameters(), whole.model.parameters()):
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-5)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- nothing stays -------------------------------------------------------------------------------------------


def held() -> int:
    """Bytes of all tensors that are alive."""
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        if isinstance(thing, Tensor) and thing.device.type == "cpu":
            found[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    return sum(found.values())


def one_run(number: int, monkeypatch: pytest.MonkeyPatch, small: Any) -> None:
    """A run that ends well, is stopped, fails, has no memory, or is stopped before the first step, in turn."""
    kind = number % 5
    with monkeypatch.context() as patch:
        if kind == 1:
            patch.setattr(fit, "hidden_packed", only(0, ValueError("a fault of the model")))
        if kind == 2:
            patch.setattr(fit, "hidden_packed", only(3, torch.OutOfMemoryError("CUDA out of memory.")))
        run = start(base=small, max_steps=4 if kind != 3 else 10_000, batch_size="auto" if kind == 0 else 8)
        if kind == 3:
            while run.progress().step < 3 and not run.done.wait(0.01):
                pass
            run.stop()
        if kind == 4:
            run.stop()
        assert run.done.wait(120)
    ends = {1: TrainingError, 4: RunAbandoned}
    assert type(run.error) is ends.get(kind, type(None))
    assert (run.result is None) == (kind in ends)


def test_twenty_runs_with_failures_and_stops_hold_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    small = base(n_embd=128, n_layer=4)
    model = sum(p.numel() * p.element_size() for p in small[0].parameters())
    tensors, resident = [], []
    for number in range(20):
        one_run(number, monkeypatch, small)
        tensors.append(held())
        resident.append(psutil.Process().memory_info().rss)
    assert max(tensors[5:]) <= tensors[4] + 10_000, tensors
    # Weights, gradients, optimizer and best copy of every run would be five models each.
    assert max(resident[10:]) - max(resident[5:10]) < 5 * model, (model, resident)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpt_magic")]


def test_a_failing_cell_in_a_kernel_holds_nothing(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        assert (
            kernel.run(
                """
import gc, sys
sys.path.insert(0, ROOT)
import numpy as np, pandas as pd, torch
import gpt_magic
from gpt_magic import fit
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.rehearsal import Need
from tests.films import base, films
reviews, small, passes = films(), base(), []
def broken(model, ids, scored):
    passes.append(len(ids))
    if model.training and len(passes) % 10 == 9:
        raise ValueError("a fault of the model")
    return hidden_packed(model, ids, scored)
fit.hidden_packed = broken
def held():
    gc.collect()
    storages = [x.untyped_storage() for x in gc.get_objects() if isinstance(x, torch.Tensor)]
    return sum({one.data_ptr(): one.nbytes() for one in storages}.values())
%load_ext gpt_magic
%config GptMagic.base = small
%config GptMagic.baselines = False
""".replace("ROOT", repr(str(Path(__file__).parents[1])))
            ).status
            == "ok"
        )
        sizes = []
        for _ in range(6):
            reply = kernel.run("%%finetune reviews -o clf\nepochs = 4\nbatch_size = 8")
            assert (reply.status, reply.error_name) == ("error", "TrainingError")
            assert "a fault of the model" in reply.error_value
            sizes.append(int(kernel.run("held()").result["text/plain"]))
    assert max(sizes[2:]) <= sizes[1] + 10_000, sizes
