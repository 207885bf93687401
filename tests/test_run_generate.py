"""A generation run's life: samples while it learns, the base beside it, stops, bases of other tasks, failures."""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import gpt_magic
from gpt_magic.errors import GptMagicError, ModelError, OptionError, RunAbandoned, TrainingError
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.tasks.generate import GenerateTask
from gpt_magic.tuned import TunedClassifier, TunedGenerator
from tests import films
from tests.writers import CONTEXT, base, plain_nats, plain_tokens, table, writer


def start(data: Any, **options: Any) -> Run:
    settings = Options()
    settings.update({"data": data, "base": base(), "baselines": False, **options})
    run = Run(settings, "riddles")
    run.start()
    return run


def finished(data: Any, **options: Any) -> Run:
    run = start(data, **options)
    assert run.done.wait(120)
    return run


def failed(data: Any, **options: Any) -> GptMagicError:
    run = finished(data, **options)
    assert run.result is None
    assert run.error is not None
    return run.error


def wait_until(reached: Callable[[], Any], run: Run) -> None:
    for _ in range(6000):
        if reached() or run.done.wait(0.01):
            return


# --- while it learns ------------------------------------------------------------------------------------


def test_samples_come_before_the_first_step_and_with_each_evaluation() -> None:
    told = finished(
        table("text"), samples=["The cat", "The dog"], sample_tokens=5, epochs=2, batch_size=4, eval_every=4
    )
    samples = told.result.progress.samples
    assert [one.step for one in samples] == [0, 4, 6, 8, 12]
    assert all([prompt for prompt, _ in one.texts] == ["The cat", "The dog"] for one in samples)
    tokenizer = told.result.tokenizer
    assert all(len(tokenizer(text)["input_ids"]) <= 6 for one in samples for _, text in one.texts)
    assert [e.step for e in told.progress().evaluations] == [4, 6, 8, 12]  # none of the base without baselines
    assert finished(table("text"), max_steps=1).progress().samples == ()


def test_samples_and_evaluations_do_not_change_what_is_learned() -> None:
    """Dropout draws the same numbers; bit for bit."""
    given = {"base": base(resid_pdrop=0.1, embd_pdrop=0.1), "max_steps": 6, "batch_size": 4}
    plain = finished(table("text"), **given)
    watched = finished(table("text"), **given, samples=["The cat"], eval_every=1, baselines=True)
    assert watched.result.history["loss"].tolist() == plain.result.history["loss"].tolist()
    other = finished(table("text"), **given, seed=1)
    assert other.result.history["loss"].tolist() != plain.result.history["loss"].tolist()


def test_the_base_as_it_was_stands_beside_the_tuned_model() -> None:
    model, tokenizer = base()
    run = finished(table("completion"), valid=table("completion", 5), baselines=True, epochs=8, learning_rate=1e-2)
    (tuned, ours), (before, theirs) = run.summary.scores.rows
    assert (tuned, before) == ("GPT2LMHeadModel fine-tuned", "GPT2LMHeadModel as it was")
    assert run.summary.scores.columns == ["perplexity", "bits per character"]
    nats, tokens = plain_nats(model, plain_tokens("completion", table("completion", 5), tokenizer))
    assert theirs[0] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert ours[0] < theirs[0] / 5
    first = run.progress().evaluations[0]
    assert (first.step, first.best, first.metrics["perplexity"]) == (0, False, theirs[0])
    assert run.result.metrics["kept_step"] > 0
    alone = finished(table("completion"), max_steps=1)
    assert [name for name, _ in alone.summary.scores.rows] == ["GPT2LMHeadModel fine-tuned"]
    unmeasured = finished(table("completion"), max_steps=1, valid_fraction=0, baselines=True)
    assert unmeasured.summary.scores is None


def test_the_base_of_random_weights() -> None:
    tuned = gpt_magic.finetune(
        ["It was the best of times, it was the worst of times. " * 60],
        base="scratch",
        max_steps=4,
        batch_size=4,
        max_length=16,
        learning_rate=1e-2,
        quiet=True,
    )
    assert tuned.history["loss"].iloc[-1] < tuned.history["loss"][0] - 0.3
    assert [name for name, _ in tuned.summary.scores.rows] == ["scratch fine-tuned", "scratch as it was"]
    assert tuned.max_length == 16
    assert dict(tuned.report.facts)["validation"] == "the last 10% of each text"


def test_muon_reaches_the_run() -> None:
    given = {"max_steps": 12, "learning_rate": 1e-2, "seed": 3}
    muon, adamw = (finished(table("text"), optimizer=name, **given).result for name in ("muon", "adamw"))
    assert muon.history["loss"][0] == adamw.history["loss"][0]
    assert muon.history["loss"].iloc[-1] < muon.history["loss"][0] - 1
    assert muon.history["loss"].iloc[-1] != adamw.history["loss"].iloc[-1]
    assert "muon" in dict(muon.report.facts)["learning rate"]


# --- stops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["text", "messages"])
def test_a_stop_hands_back_a_model_that_writes(style: str) -> None:
    run = start(table(style), epochs=900, batch_size=4, samples=["The cat"])
    wait_until(lambda: run.progress().step >= 3, run)
    run.stop()
    assert run.done.wait(60)
    assert run.error is None
    assert isinstance(run.result, TunedGenerator)
    made = run.result.metrics["steps"]
    assert run.summary.status.startswith(f"stopped at step {made:,} of 5,400")
    assert isinstance(run.result.generate("The cat", max_new_tokens=4), str)
    assert not run.result.model.training


@pytest.mark.parametrize("where", ["sample", "evaluate"])
def test_a_stop_while_the_base_is_looked_at_leaves_nothing(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, inside, go_on = getattr(GenerateTask, where), threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        inside.set()
        go_on.wait(60)
        return real(*arguments)

    monkeypatch.setattr(GenerateTask, where, slow)
    run = start(table("text"), samples=["The cat"], baselines=True)
    assert inside.wait(60)
    run.stop()
    go_on.set()
    assert run.done.wait(60)
    assert run.result is None
    assert isinstance(run.error, RunAbandoned)


def test_a_stop_inside_a_long_sample_ends_it() -> None:
    run = start(table("text"), samples=["The cat"] * 400, sample_tokens=60, epochs=900)
    wait_until(lambda: run.progress().phase == "writing the first samples", run)
    run.stop()
    assert run.done.wait(10)
    assert run.progress().samples == ()


# --- bases ----------------------------------------------------------------------------------------------


def test_a_pair_stays_untouched_and_its_own_head_is_used() -> None:
    model, tokenizer = base(tie_word_embeddings=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = finished(
        table("text"), base=(model, tokenizer), max_steps=3, batch_size=24, valid_fraction=0, warmup=0, precision="fp32"
    )
    nats, tokens = plain_nats(model, plain_tokens("text", table("text"), tokenizer))
    assert run.result.history["loss"][0] == pytest.approx(nats / tokens, abs=2e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    changed = {name for name, value in run.result.model.state_dict().items() if not torch.equal(value, before[name])}
    assert "lm_head.weight" in changed
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_a_tuned_generator_goes_on_from_what_it_knows() -> None:
    first = writer("text", max_steps=60)
    again = finished(table("text"), base=first, max_steps=1, learning_rate=1e-6).result
    assert again.history["loss"][0] == pytest.approx(first.history["loss"].iloc[-1], abs=0.5)
    assert again.history["loss"][0] < first.history["loss"][0] - 2


def test_a_classifier_becomes_a_generator_and_the_reverse() -> None:
    """The trunk goes from one task to the other; the language head is the embedding, a class head is new."""
    classifier = films.tuned()
    embedding = classifier.model.transformer.wte.weight.detach().clone()
    written = finished(table("text"), base=classifier, max_steps=1, learning_rate=1e-8).result
    assert isinstance(written, TunedGenerator)
    torch.testing.assert_close(written.model.lm_head.weight.detach(), embedding, atol=1e-6, rtol=0)
    assert not hasattr(written.model, "score")
    labelled = finished(films.films(), base=written, max_steps=30, learning_rate=1e-2).result
    assert isinstance(labelled, TunedClassifier)
    assert labelled.metrics["accuracy"] > 0.9
    assert not hasattr(labelled.model, "lm_head")


def test_a_saved_model_of_the_other_task_is_a_base_too(tmp_path: Path) -> None:
    classifier = films.tuned()
    folder = classifier.save(tmp_path / "clf")
    written = finished(table("text"), base=str(folder), max_steps=1, learning_rate=1e-8).result
    torch.testing.assert_close(written.model.lm_head.weight, classifier.model.transformer.wte.weight, atol=1e-6, rtol=0)
    again = finished(films.films(), base=str(written.save(tmp_path / "writer")), max_steps=1).result
    assert isinstance(again, TunedClassifier)


@pytest.mark.parametrize("saved", [False, True])
def test_a_base_without_a_language_head_is_refused(saved: bool, tmp_path: Path) -> None:
    """Its head is not its embedding: there is nothing to write with, and a new one would be random."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=8192, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=2
    )
    model, tokenizer = LlamaForSequenceClassification(config), base()[1]
    given: Any = (model, tokenizer)
    if saved:
        model.save_pretrained(tmp_path / "clf")
        tokenizer.save_pretrained(tmp_path / "clf")
        given = str(tmp_path / "clf")
    name = "clf" if saved else "LlamaForSequenceClassification"
    assert str(failed(table("text"), base=given)) == (
        f"base = {name!r} has no language-model head: to generate, start from a language model"
    )


def test_another_family_writes_too() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
    )
    model, tokenizer = LlamaForCausalLM(config).eval(), base()[1]
    run = finished(table("completion"), base=(model, tokenizer), valid_fraction=0, max_steps=2, batch_size=24, warmup=0)
    nats, tokens = plain_nats(model, plain_tokens("completion", table("completion"), tokenizer))
    assert run.result.history["loss"][0] == pytest.approx(nats / tokens, abs=2e-5)
    assert isinstance(run.result.generate("Whose", max_new_tokens=3), str)


# --- what goes wrong ------------------------------------------------------------------------------------


def test_options_that_do_not_fit_the_base() -> None:
    error = failed(table("text"), max_length=CONTEXT + 1)
    assert isinstance(error, OptionError)
    assert str(error) == "max_length = 65: GPT2LMHeadModel reads at most 64 tokens"


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    model, tokenizer = base()
    model.save_pretrained(tmp_path / "cut")
    tokenizer.save_pretrained(tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"cut")
    error = failed(table("text"), base=str(tmp_path / "cut"))
    assert isinstance(error, ModelError)
    assert str(error).startswith("base = 'cut': its weights are damaged (")


def test_a_sample_that_is_no_text_is_one_line_and_trains_nothing() -> None:
    error = failed(table("text"), samples=["The cat", "so \ud83d"], max_steps=1)
    assert str(error).startswith("samples[1] is no valid Unicode (an emoji cut in two?): clean it with")


@pytest.mark.parametrize("dry_run", [True, False])
def test_samples_that_cannot_be_continued_are_said_before_the_model_is_loaded(dry_run: bool) -> None:
    for style, settings, line in (
        ("text", {"sample_tokens": CONTEXT}, "sample_tokens = 64 must be from 1 to 63: the base reads 64 tok"),
        ("messages", {"samples": ["Hi", " "]}, "samples[1] = ' ': there is nothing to answer in it"),
        ("text", {"samples": ["so \ud83d"]}, "samples[0] is no valid Unicode"),
    ):
        given = {"samples": ["The cat"], "dry_run": dry_run, "max_steps": 1, **settings}
        assert str(failed(table(style), **given)).startswith(line)


def test_a_sample_that_is_too_long_is_read_from_its_end_and_said() -> None:
    told = finished(table("text"), samples=["The cat", "word " * 60], sample_tokens=30, max_steps=1)
    assert "samples: of 1 prompt only the last 34 tokens are read" in told.result.report.warnings


def test_a_failure_mid_run_keeps_what_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = GenerateTask.sample, []

    def fail_later(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more ink")
        return real(*arguments)

    monkeypatch.setattr(GenerateTask, "sample", fail_later)
    with pytest.raises(TrainingError) as caught:
        gpt_magic.finetune(
            table("text"), base=base(), samples=["The cat"], eval_every=2, max_steps=8, baselines=False, quiet=True
        )
    assert "RuntimeError: no more ink" in str(caught.value)
    assert isinstance(caught.value.result, TunedGenerator)
    assert caught.value.result.metrics["kept_step"] == 2


def test_a_step_that_fails_names_its_rows() -> None:
    model, tokenizer = base()
    torch.nn.init.constant_(model.transformer.ln_f.weight, float("nan"))
    error = failed(table("text"), base=(model, tokenizer))
    assert str(error).startswith("the loss is nan at step 1 (rows 1")


def test_the_table_is_left_as_it_was() -> None:
    frame = table("messages")
    before = pd.DataFrame(
        {"messages": [[dict(message) for message in talk] for talk in frame["messages"]]}, frame.index
    )
    finished(frame, max_steps=1)
    pd.testing.assert_frame_equal(frame, before)


def test_options_of_the_other_task_do_nothing_and_say_so() -> None:
    told = finished(table("text"), max_steps=1, class_weights="balanced")
    assert "class_weights does nothing for task = 'generate'" in told.result.report.warnings
    labelled = table("text").assign(label=["a", "b"] * (len(table("text")) // 2))
    told = finished(labelled, label="label", max_steps=1, samples=["The cat"])
    assert "samples does nothing for task = 'classify'" in told.result.report.warnings
    assert told.progress().samples == ()
