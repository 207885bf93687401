"""A run's life from Python: results, stops, failures, determinism, and what is left behind."""

import gc
import re
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch

import gpt_magic
from gpt_magic import prepare
from gpt_magic.engine import capture, loop, memory
from gpt_magic.engine.events import StopRequested
from gpt_magic.errors import DataError, RunAbandoned, TrainingError
from gpt_magic.fit import Fit
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.tasks import classify, multilabel, words
from gpt_magic.tuned import TruncationWarning
from tests.graphs import CpuGraphs

TOY = [{"input": "苹果是一种什么", "labels": "食物"}, {"input": "狗是一种什么", "labels": "动物"}]


@pytest.fixture
def films() -> pd.DataFrame:
    """A task that a few steps solve."""
    words = {"good": ["fine", "great", "lovely", "superb"], "bad": ["dull", "awful", "poor", "weak"]}
    rows = [(f"a {word} film, number {i}", label) for i in range(15) for label, some in words.items() for word in some]
    return pd.DataFrame(rows, columns=["text", "label"], index=range(100, 220))


def start(data: Any, **options: Any) -> Run:
    settings = Options()
    settings.update({"data": data, "base": "scratch", "baselines": False, **options})
    run = Run(settings, "films")
    run.start()
    return run


def finished(data: Any, **options: Any) -> Run:
    run = start(data, **options)
    assert run.done.wait(120)
    return run


def after(run: Run, steps: int) -> Iterator[None]:
    """Wait until the run has made some steps."""
    for _ in range(6000):
        if run.progress().step >= steps or run.done.wait(0.01):
            break
    yield


def test_the_toy_set_of_the_tutorial_is_learned_as_it_stands() -> None:
    tuned = gpt_magic.finetune(TOY, base="scratch", epochs=12, quiet=True)
    assert tuned.predict(["苹果是一种什么", "狗是一种什么"])["prediction"].tolist() == ["食物", "动物"]
    assert tuned.columns == {"text": "input", "label": "labels"}


def test_a_run_reports_learns_and_leaves_nothing_behind(films: pd.DataFrame) -> None:
    before = films.copy()
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    run = finished(films, epochs=6, baselines=True, threads=1)
    assert run.error is None
    tuned = run.result
    assert tuned is not None
    assert tuned.metrics["accuracy"] > 0.9
    assert tuned.metrics["steps"] == 42
    assert tuned.metrics["train_seconds"] > 0
    assert {"loss", "macro_f1", "kept_step"} <= set(tuned.metrics)
    assert len(tuned.history) == 42
    assert tuned.history["valid_loss"].notna().sum() == 6
    assert [row[0] for row in run.summary.scores.rows] == [
        "scratch fine-tuned",
        "majority class",
        "TF-IDF + logistic regression",
    ]
    pd.testing.assert_frame_equal(films, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not [t for t in threading.enumerate() if t.name.startswith("gpt_magic")]
    assert not tuned.model.training
    assert all(p.grad is None for p in tuned.model.parameters())
    assert tuned.model.config._attn_implementation != "gpt_magic_packed"


@pytest.mark.parametrize("fails", [False, True])
def test_the_card_says_how_steps_were_made_on_a_gpu(
    films: pd.DataFrame, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_graph(function: Any) -> Any:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    graphs = CpuGraphs()
    if fails:
        monkeypatch.setattr(graphs, "capture", no_graph)
    monkeypatch.setattr(capture, "graphs_on", lambda device: graphs)
    monkeypatch.setattr(capture, "LEAST_STEPS", 10)
    run = finished(films, max_steps=20)
    said = dict(run.summary.facts)["steps"]
    warnings = [line for line in run.summary.warnings if "one operation after another" in line]
    if fails:
        assert said == (
            "launched one operation after another, which takes a GPU longer: RuntimeError: CUDA error: operation not "
            "permitted when stream is capturing"
        )
        assert warnings == [f"steps are {said}"]
    else:
        assert re.fullmatch(r"captured in CUDA graphs, \d+ sizes? of a forward pass; \d+\.\d s to capture", said)
        assert not warnings
    assert run.result.metrics["steps"] == 20


def test_the_same_seed_gives_the_same_bits_and_another_does_not(films: pd.DataFrame) -> None:
    first, second, other = (finished(films, max_steps=6, seed=seed).result for seed in (1, 1, 2))
    assert first.history["loss"].tolist() == second.history["loss"].tolist()
    assert first.metrics["loss"] == second.metrics["loss"]
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert first.history["loss"].tolist() != other.history["loss"].tolist()


def test_a_stop_hands_back_a_usable_model(films: pd.DataFrame) -> None:
    run = start(films, epochs=500)
    next(after(run, steps=3))
    run.stop()
    assert run.done.wait(60)
    assert run.error is None
    made = run.result.metrics["steps"]
    assert run.summary.status.startswith(f"stopped at step {made} of 3,500")
    assert run.result.predict("a fine film")["prediction"][0] in ("good", "bad")


def test_a_stop_before_the_first_step_is_an_error_because_there_is_no_result(films: pd.DataFrame) -> None:
    run = start(films)
    run.stop()
    assert run.done.wait(60)
    assert run.result is None
    assert isinstance(run.error, RunAbandoned)
    assert "before the first step" in str(run.error)


def test_an_abandoned_run_hands_nothing_back(films: pd.DataFrame) -> None:
    run = start(films, epochs=500)
    next(after(run, steps=1))
    run.abandon()
    assert run.done.wait(60)
    assert run.result is None


def test_a_failure_mid_run_keeps_what_was_learned(films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.engine import step as engine_step

    real, calls = engine_step.clip, []

    def fail_later(*args: Any) -> float:
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("the disk is on fire\nand more")
        return real(*args)

    monkeypatch.setattr(engine_step, "clip", fail_later)
    with pytest.raises(TrainingError) as caught:
        gpt_magic.finetune(films, base="scratch", quiet=True, baselines=False)
    assert str(caught.value).startswith("training failed at step 5: RuntimeError: the disk is on fire and more")
    assert caught.value.result.metrics["steps"] == 4
    assert caught.value.result.predict("a fine film")["prediction"][0] in ("good", "bad")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_broken_base_is_reported_at_its_first_step(films: pd.DataFrame) -> None:
    from gpt_magic.models.find import find_base
    from gpt_magic.models.load import load_classifier
    from gpt_magic.models.tokenizer import load_tokenizer

    base = find_base("scratch")
    tokenizer = load_tokenizer(base)
    model = load_classifier(base, ["a", "b"], tokenizer.pad_token_id, None)
    torch.nn.init.constant_(model.transformer.ln_f.weight, float("nan"))
    run = finished(films, base=(model, tokenizer))
    assert run.result is None
    assert str(run.error).startswith("the loss is nan at step 1 (rows 1")


def test_data_errors_come_before_torch_work(films: pd.DataFrame) -> None:
    run = finished(films.assign(label="one"))
    assert isinstance(run.error, DataError)
    assert run.result is None
    assert run.preflight is None


def test_a_dry_run_trains_nothing(films: pd.DataFrame) -> None:
    preflight = gpt_magic.finetune(films, base="scratch", dry_run=True, quiet=True)
    facts = dict(preflight.facts)
    assert facts["rows"] == "108 to train, 12 to validate"
    assert facts["plan"] == "21 steps of 16 rows; 3 epochs of 7 steps"


@pytest.mark.parametrize("kind", ["classify", "multilabel", "words"])
@pytest.mark.parametrize("best", ["last", "earlier"])
def test_validation_rows_are_read_again_only_for_other_weights_than_those_just_evaluated(
    films: pd.DataFrame, kind: str, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"style": "words"} if kind == "words" else {"task": kind}
    if kind == "multilabel":
        films["label"] = [[label] for label in films["label"]]
    module = {"classify": classify, "multilabel": multilabel, "words": words}[kind]
    name, reads = "score_labels" if kind == "words" else "score_last", []
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: reads.append(1) or real(*given))

    def measured(keeper: Any, step: int, epoch: float, evaluate: Any, emit: Any) -> None:
        order = {"last": -step, "earlier": step}[best]
        evaluated(keeper, step, epoch, lambda: {**evaluate(), "calibrated_loss": order, "loss": order}, emit)

    evaluated = loop._Keeper.evaluated
    monkeypatch.setattr(loop._Keeper, "evaluated", measured)
    completed, evaluations = [], 3
    complete = module.__dict__[f"{kind.capitalize()}Task"].complete

    def both(task: Any, model: Any, rows: Any, hidden: Any, *, evaluated: bool) -> Any:
        copies = copy(task), deepcopy(model)
        completed.append(complete(*copies, rows, hidden))
        reads.pop()  # that of this comparison
        made = complete(task, model, rows, hidden, evaluated=evaluated)
        completed.append(made)
        return made

    monkeypatch.setattr(module.__dict__[f"{kind.capitalize()}Task"], "complete", both)
    run = finished(films, **options, epochs=evaluations, valid_fraction=0.4)
    assert run.error is None
    assert run.result.metrics["kept_step"] == {"last": run.result.metrics["steps"], "earlier": 5}[best]
    assert len(reads) == evaluations + (best == "earlier")
    anew, made = completed
    assert anew.facts == made.facts
    assert anew.metrics == made.metrics


def test_class_weights_and_dropout_and_tail_reach_the_run(films: pd.DataFrame) -> None:
    weights = {"good": 1, "bad": 3.0}
    run = finished(films, class_weights=weights, dropout=0.0, max_length=4, truncate="tail", max_steps=2)
    assert run.error is None
    assert run.result.model.config.resid_pdrop == 0.0
    assert any("the last 4 are read" in warning for warning in run.result.report.warnings)
    with pytest.warns(TruncationWarning, match="only the last 4 were read"):
        scored = run.result.predict(films)
    assert scored["truncated"].all()


def test_given_validation_and_leaks(films: pd.DataFrame) -> None:
    run = finished(films, valid=films.head(10), max_steps=1)
    assert any("also" in warning for warning in run.result.report.warnings)
    assert dict(run.result.report.facts)["validation"] == "given"


def test_early_stop_says_so_and_keeps_the_best(films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.tasks.classify import ClassifyTask

    calibrated = iter(
        [0.5, 0.4, 0.6, 0.7, 0.8]
    )  # the loss itself rises from the start, as of a model that grows too sure
    losses = iter([0.5, 0.6, 0.7, 0.8, 0.9])
    monkeypatch.setattr(
        ClassifyTask,
        "evaluate",
        lambda *_: {
            "loss": next(losses),
            "calibrated_loss": next(calibrated),
            "accuracy": 0.5,
            "macro_f1": 0.5,
        },
    )
    run = finished(films, epochs=30, early_stop=2)
    assert run.summary.status == (
        "stopped early at step 28 of 210: no better on the validation rows for long enough; weights of step 14, which "
        "did best on the validation rows"
    )


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_a_run_that_did_better_up_to_its_last_epoch_says_so(
    schedule: str, films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt_magic.prepare._MOST_EPOCHS", 3)
    run = finished(films, epochs="auto", schedule=schedule)
    assert run.summary.status == (
        "done: 21 steps, as many as epochs = 'auto' makes at most; more epochs may still do better"
    )
    assert run.result.progress.phase == "done"


def test_a_pair_and_a_tuned_model_serve_as_base_and_stay_untouched(films: pd.DataFrame) -> None:
    first = finished(films, epochs=6).result
    before = {name: value.clone() for name, value in first.model.state_dict().items()}
    second = finished(films, base=first, max_steps=1, learning_rate=1e-3).result
    assert second.history["loss"][0] < 0.5  # it goes on from what the first knows, head included
    third = finished(films, base=(first.model, first.tokenizer), max_steps=1).result
    assert third is not None
    assert all(torch.equal(value, before[name]) for name, value in first.model.state_dict().items())


def test_a_family_that_cannot_be_packed_is_padded_says_so_and_predicts_padded(films: pd.DataFrame) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    from gpt_magic.engine.packing import hidden_padded
    from gpt_magic.models.find import find_base
    from gpt_magic.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(find_base("scratch"))
    config = BloomConfig(n_layer=2, hidden_size=32, n_head=4, vocab_size=8192, seq_length=64)
    config.max_position_embeddings = 64  # Bloom itself has no limit
    run = finished(films, base=(BloomForCausalLM(config), tokenizer), max_steps=2)
    assert run.error is None
    assert run.result.hidden is hidden_padded
    assert any("packing is not exact for bloom" in warning for warning in run.summary.warnings)
    assert len(run.result.predict(films)) == len(films)


def test_a_baseline_that_fails_does_not_cost_the_model(films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.tasks import baselines

    def fail(*_: Any) -> None:
        raise MemoryError("no\nroom")

    monkeypatch.setattr(baselines, "tfidf", fail)
    run = finished(films, max_steps=2, baselines=True)
    assert run.error is None
    assert run.result is not None
    assert [who for who, _ in run.summary.scores.rows] == ["scratch fine-tuned", "majority class"]
    assert run.summary.warnings[-1] == "no TF-IDF baseline: MemoryError: no room"


def test_a_stop_while_the_baseline_is_fitted_is_heeded(films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.tasks import baselines

    release = threading.Event()
    monkeypatch.setattr(baselines, "tfidf", lambda *_: release.wait(60))
    run = start(films, max_steps=2, baselines=True)
    while run.progress().phase != "fitting the baselines":
        assert not run.done.wait(0.01)
    run.stop()
    assert run.done.wait(10)
    release.set()
    assert run.result.summary.warnings[-1] == "no TF-IDF baseline: stopped while it was fitted"
    assert run.summary.status == "done: 2 steps"


def test_an_interrupt_inside_start_can_be_made_good(films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Options()
    settings.update({"data": films, "base": "scratch", "baselines": False, "max_steps": 1})
    run = Run(settings)
    real = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        real(thread)
        monkeypatch.setattr(threading.Thread, "start", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.start()
    run.start()
    run.start()
    assert run.done.wait(60)
    assert run.result is not None


def test_the_python_door_names_no_variable_and_takes_the_notebooks_defaults(
    films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpt_magic.notebook import live

    defaults = Options()
    defaults.put("max_steps", 3)
    monkeypatch.setattr(live, "_shell", lambda: type("Shell", (), {"configurables": [defaults]})())
    tuned = gpt_magic.finetune(films, base="scratch", quiet=True, baselines=False)
    assert tuned.metrics["steps"] == 3
    assert tuned.summary.name is None


def test_options_without_validation_rows_say_that_they_do_nothing(films: pd.DataFrame) -> None:
    preflight = gpt_magic.finetune(films, base="scratch", dry_run=True, valid_fraction=0, early_stop=2)
    assert "early_stop and eval_every do nothing without validation rows" in preflight.warnings


def test_memory_is_given_back_after_runs_and_failures(films: pd.DataFrame) -> None:
    """No tensor of a finished, failed or stopped run outlives its result."""
    for _ in range(2):
        finished(films, max_steps=1)
    gc.collect()

    def tensors() -> int:
        gc.collect()
        return sum(1 for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter))

    before = tensors()
    for _ in range(3):
        finished(films, max_steps=2)
        finished(films.assign(label="one"))
        run = start(films, epochs=100)
        next(after(run, steps=1))
        run.stop()
        assert run.done.wait(60)
        del run
    assert tensors() <= before + 5


@pytest.mark.parametrize("ends", [None, StopRequested, RuntimeError])
def test_a_gpu_gets_its_cache_back_however_a_run_ends(
    ends: type[Exception] | None, films: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once nothing holds tensors any more, and also where the GPU then fails at that."""
    held: list[weakref.ref[torch.Tensor]] = []
    given_back, prepared = [], prepare.prepare

    def on_gpu(*args: Any) -> Any:
        made = prepared(*args)
        return replace(made, machine=replace(made.machine, device=torch.device("cuda")))

    def fit(_: Fit) -> None:
        tensor = torch.zeros(1)
        held.append(weakref.ref(tensor))
        if ends is not None:
            raise ends("CUDA error: an illegal access")

    def let_go(device: torch.device) -> None:
        given_back.append((device.type, held[0]()))
        raise RuntimeError("CUDA error: an illegal access")

    monkeypatch.setattr(Fit, "__call__", fit)
    monkeypatch.setattr(memory, "let_go", let_go)
    monkeypatch.setattr(torch.random, "fork_rng", lambda _: nullcontext())
    monkeypatch.setattr(prepare, "prepare", on_gpu)
    run = finished(films)
    assert given_back == [("cuda", None)]
    assert (run.error is None) == (ends is None)


def test_an_interrupt_that_the_main_thread_does_not_feel_ends_the_waiting() -> None:
    """One that comes right before a lock is waited for, or that the system hands to another thread."""
    run = Run(Options(data=[{"text": "a", "label": "b"}]))  # never started, so it never ends
    began = time.monotonic()

    def interrupt() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts behind it ignores it
    try:
        other.start()
        with pytest.raises(KeyboardInterrupt):
            run.wait(30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 5
    other.join()
    assert not run.wait(0.01)
