"""The loss against transformers' own, packed and padded; the metrics of a run against plain code over rows."""

import re
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2ForQuestionAnswering

from gpt_magic.data.questions import AnswerData
from gpt_magic.data.read import read_data
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.errors import DataError
from gpt_magic.models.find import find_base
from gpt_magic.models.load import load_extractor
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.options import Options
from gpt_magic.tasks.answers import score_answers
from gpt_magic.tasks.extract import Ends, ExtractTask
from gpt_magic.tasks.reading import read_answers
from gpt_magic.tasks.task import Rows, make_task
from tests import tiny
from tests.quiz import base, checked, quiz
from tests.tiny import tiny_extractor


def random_windows(rows: int, seed: int, everywhere: bool) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of random tokens with a start and an end among their scored positions, which are all or the later ones."""
    rng = np.random.default_rng(seed)
    made = []
    for length in [2, *rng.integers(2, 30, rows - 1).tolist()]:
        scored = np.arange(0 if everywhere else int(rng.integers(0, length - 1)), length)
        targets = np.zeros((len(scored), 3), dtype=np.int8)
        targets[0, 0] = 1
        start, end = rng.integers(0, len(scored), 2).tolist()
        targets[start, 1] = targets[end, 2] = 1
        made.append((rng.integers(0, tiny.PAD, length).astype(np.int32), scored, targets))
    return made


def ours(model: Any, rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], hidden: Any = hidden_packed) -> Any:
    ids, scored, targets = (list(part) for part in zip(*rows, strict=True))
    expected = np.concatenate(targets)
    losses = Ends().losses(model, hidden(model, ids, scored), torch.from_numpy(expected))
    return losses.sum() / float(Ends().weights(expected).sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded])
def test_the_loss_is_that_of_transformers_where_everything_can_be_chosen(seed: int, hidden: Any) -> None:
    """Row by row, because transformers' own loss also chooses among padding."""
    model, rows = tiny_extractor(seed), random_windows(9, seed, everywhere=True)
    theirs = [
        model(
            input_ids=torch.from_numpy(ids).long()[None],
            start_positions=torch.tensor([int(targets[:, 1].argmax())]),
            end_positions=torch.tensor([int(targets[:, 2].argmax())]),
        ).loss
        for ids, _, targets in rows
    ]
    expected = torch.stack(theirs).mean()
    found = ours(model, rows, hidden)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    gradients = [torch.autograd.grad(loss, list(model.parameters()), allow_unused=True) for loss in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_a_padded_batch_with_a_mask_over_what_can_be_chosen(seed: int) -> None:
    model, rows = tiny_extractor(seed), random_windows(9, seed, everywhere=False)
    ids = nn.utils.rnn.pad_sequence(
        [torch.from_numpy(row[0]).long() for row in rows], batch_first=True, padding_value=tiny.PAD
    )
    out = model(input_ids=ids)
    total = 0.0
    for number, (_, scored, targets) in enumerate(rows):
        for logits, column in ((out.start_logits, 1), (out.end_logits, 2)):
            allowed = torch.full_like(logits[number], -torch.inf)
            allowed[torch.from_numpy(scored)] = logits[number, torch.from_numpy(scored)]
            answer = torch.tensor([scored[targets[:, column].argmax()]])
            total += nn.functional.cross_entropy(allowed[None], answer).item()
    assert ours(model, rows).item() == pytest.approx(total / 2 / len(rows), abs=1e-5)


def test_rows_in_any_order_and_grouping_have_the_same_loss() -> None:
    model, rows = tiny_extractor(), random_windows(8, 3, everywhere=False)
    parts = [ours(model, [row]).item() for row in rows]
    assert ours(model, rows[::-1]).item() == pytest.approx(float(np.mean(parts)), abs=1e-5)
    assert ours(model, rows[:3]).item() == pytest.approx(float(np.mean(parts[:3])), abs=1e-5)


def test_a_row_without_start_and_end_changes_nothing() -> None:
    model, rows = tiny_extractor(), random_windows(5, 4, everywhere=False)
    silent = random_windows(2, 5, everywhere=False)
    for _, _, targets in silent:
        targets[:, 1:] = 0
    assert ours(model, [silent[0], *rows, silent[1]]).item() == pytest.approx(ours(model, rows).item(), abs=1e-6)
    targets = np.concatenate([targets for _, _, targets in [*rows, *silent]])
    assert Ends().weights(targets).sum() == len(rows)


# --- a run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


def encoded(data: Any, tokenizer: Any, limit: int = 64, **options: Any) -> tuple[ExtractTask, Rows]:
    told = Options()
    told.update({"data": data, "task": "answer", **options})
    task = make_task(told, read_data(told))
    assert isinstance(task, ExtractTask)
    return task, task.encode(tokenizer, limit, lambda: None)


def test_metrics_are_those_of_the_answers_and_their_losses(tokenizer: Any) -> None:
    """Windows, questions without an answer, and an answer that no window holds."""
    long = " ".join(f"Owl {i} sleeps." for i in range(9))
    valid = quiz(12, unanswerable=True)
    valid.loc[900] = ["Which owl sleeps?", long, {"text": ["Owl 8"], "answer_start": [long.index("Owl 8")]}]
    valid.loc[901] = ["What is said?", long, {"text": [long], "answer_start": [0]}]
    task, rows = encoded(quiz(unanswerable=True), tokenizer, 40, valid=valid)
    task_data: AnswerData = task.data
    model = task.load(find_base(base()))
    found = task.evaluate(model, rows.valid, hidden_packed, lambda: None)
    losses = []
    for ids, scored, targets in zip(rows.valid.ids, rows.valid.scored, rows.valid.targets, strict=True):
        out = model(input_ids=torch.from_numpy(ids).long()[None])
        if targets[:, 1].any():
            pairs = ((out.start_logits, 1), (out.end_logits, 2))
            at = torch.from_numpy(scored)
            losses.append(
                sum(
                    nn.functional.cross_entropy(logits[:, at], torch.tensor([targets[:, column].argmax()])).item()
                    for logits, column in pairs
                )
                / 2
            )
    assert len(losses) < len(rows.valid)
    assert found["loss"] == pytest.approx(float(np.mean(losses)), abs=1e-5)
    own = task.own()
    answers, _ = read_answers(model, task_data.valid, tokenizer, 40, "head", own["longest"], own["rejects"])
    scored = score_answers([one.text for one in answers], task_data.valid.references)
    assert (found["exact_match"], found["f1"]) == (scored.exact_match, scored.f1)


def test_what_the_report_says(tokenizer: Any) -> None:
    long = " ".join(f"Owl {i} sleeps." for i in range(9))
    data = quiz(unanswerable=True)
    data.loc[900] = ["Which owl sleeps?", long, {"text": ["Owl 8"], "answer_start": [long.index("Owl 8")]}]
    data.loc[901] = ["What is said?", long, {"text": [long], "answer_start": [0]}]
    data.loc[902] = ["Which?", "The owl.", {"text": ["h"], "answer_start": [1]}]
    data.loc[903] = ["Which one of all? " * 9, "The owl.", {"text": ["owl"], "answer_start": [4]}]
    task, rows = encoded(data, tokenizer, 40, valid_fraction=0.0)
    facts = dict(rows.facts)
    assert facts["questions"] == (
        "44 about 22 contexts, answers marked in the context (style = 'extract'); 10 without an answer (23%)"
    )
    assert re.fullmatch(r"4\d of at most 40 tokens; those of one context share half", facts["windows"])
    assert rows.noun == "window"
    assert list(rows.warnings) == [
        "1 training questions are too long and lost their end (row 903)",
        "1 training answers are too long for a window of 40 tokens and teach nothing (row 901)",
        "1 training answers begin or end inside of a token, which is taken whole (row 902)",
    ]
    assert task.own()["rejects"] == "questions"
    assert set(rows.train.index) == set(data.index) - {901}
    with pytest.raises(DataError, match=r"1 question longer than half of 40 tokens \(row 903\): shorten them, or say"):
        encoded(data, tokenizer, 40, valid_fraction=0.0, truncate="error")


def test_what_no_answer_here_is_learned_from(tokenizer: Any) -> None:
    for data, limit, rejects in (
        (quiz(), 64, "nothing"),
        (quiz(unanswerable=True), 64, "questions"),
        (quiz(), 24, "windows"),
    ):
        task, rows = encoded(data, tokenizer, limit, valid_fraction=0.0)
        assert task.own()["rejects"] == rejects
        nowhere = sum(bool(targets[-1, 1]) for targets in rows.train.targets)
        assert (nowhere > 0) == (rejects != "nothing")
    with pytest.raises(DataError, match="no answer fits in a window of 16 tokens: raise max_length"):
        encoded(quiz(4).assign(answers=lambda frame: frame["context"]), tokenizer, 16, valid_fraction=0.0)


def test_the_head_of_a_base_that_has_one_is_kept() -> None:
    model, tokenizer = base()
    fresh = load_extractor(find_base((model, tokenizer)), None)
    assert isinstance(fresh, GPT2ForQuestionAnswering)
    again = load_extractor(find_base((fresh, tokenizer)), None)
    assert torch.equal(again.qa_outputs.weight, fresh.qa_outputs.weight)
    assert tuple(fresh.qa_outputs.weight.shape) == (2, model.config.n_embd)


def test_the_rows_of_a_table_are_tokenised_as_asked(tokenizer: Any) -> None:
    data = quiz(8)
    _, rows = encoded(data, tokenizer, valid_fraction=0.0)
    for ids, scored, targets, row in zip(
        rows.train.ids, rows.train.scored, rows.train.targets, rows.train.index, strict=True
    ):
        question, context, answers = data.loc[row]
        parts = [tokenizer(text)["input_ids"] for text in (question, "\n", context, "\n")]
        assert ids.tolist() == [*chain(*parts)]
        chosen = ids[scored[targets[:, 1].argmax()] : scored[targets[:, 2].argmax()] + 1]
        assert tokenizer.decode(chosen).strip() == answers["text"][0]
    assert len(checked(data)) == len(rows.train)
