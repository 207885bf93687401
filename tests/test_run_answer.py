"""An answering run's life: the pre-flight, stops, and rows in several windows in one step."""

import threading
from typing import Any

import pytest

import gpt_magic
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.tasks.extract import ExtractTask
from gpt_magic.tasks.write import WriteTask
from gpt_magic.tuned import TunedAnswerer
from tests.quiz import answerer, base, quiz


def start(**options: Any) -> Run:
    settings = Options()
    settings.update({"data": quiz(), "base": base(), "baselines": False, **options})
    run = Run(settings, "quiz")
    run.start()
    return run


def test_the_preflight_says_what_would_be_done() -> None:
    seen = gpt_magic.finetune(quiz(unanswerable=True), base=base(), dry_run=True, class_weights="balanced")
    facts = dict(seen.facts)
    assert seen.title == "answer · GPT2LMHeadModel · a DataFrame"
    assert facts["rows"] == "36 to train, 4 to validate"
    assert facts["validation"] == "random split of 10%, seed 42, by context"
    assert facts["questions"].startswith("36 about 18 contexts, answers marked in the context (style = 'extract'); ")
    assert facts["longest answer"] == "2 tokens"
    assert " at most of " in facts["memory"]
    assert list(seen.warnings) == ["class_weights does nothing for task = 'answer'"]


@pytest.mark.parametrize(("style", "task"), [("extract", ExtractTask), ("write", WriteTask)])
def test_a_stop_hands_back_a_model_that_answers(style: str, task: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that comes while the validation rows are answered."""
    real, inside, go_on = task.evaluate, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        inside.set()
        go_on.wait(60)
        return real(*arguments)

    monkeypatch.setattr(task, "evaluate", slow)
    run = start(style=style, epochs=900, batch_size=8)
    assert inside.wait(60)
    run.stop()
    go_on.set()
    assert run.done.wait(60)
    assert run.error is None
    assert isinstance(run.result, TunedAnswerer)
    assert run.summary is not None
    assert run.summary.status.startswith("stopped at step ")
    assert run.result.ask("Where does the cat live?", "The cat lives in house 9.").score > 0


@pytest.mark.parametrize("style", ["extract", "write"])
def test_the_same_seed_gives_the_same_bits(style: str) -> None:
    losses = [answerer(style, max_steps=6).history["loss"].tolist() for _ in range(2)]
    assert losses[0] == losses[1]


def test_the_loss_does_not_depend_on_how_rows_meet() -> None:
    """Windows of long contexts, accumulated in two ways."""
    given = {"max_length": 24, "max_steps": 5, "valid_fraction": 0.0, "precision": "fp32"}
    one = answerer(batch_size=8, accumulate=1, **given).history["loss"]
    other = answerer(batch_size=2, accumulate=4, **given).history["loss"]
    assert other.tolist() == pytest.approx(one.tolist(), abs=1e-4)
