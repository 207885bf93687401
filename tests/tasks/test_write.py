"""Answering by writing: the template, what is cut of it, and the metrics of a run."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gpt_magic.data.questions import Question, Questions
from gpt_magic.data.read import read_data
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.errors import DataError, ModelError, OptionError
from gpt_magic.models.find import find_base
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.options import Options
from gpt_magic.tasks.answers import score_answers
from gpt_magic.tasks.language import row_nats
from gpt_magic.tasks.task import Rows, make_task
from gpt_magic.tasks.write import WriteTask, completions, prompts, write_answers
from tests import tiny
from tests.quiz import base, checked, quiz


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


def encoded(data: Any, tokenizer: Any, limit: int = 64, **options: Any) -> tuple[WriteTask, Rows]:
    told = Options()
    told.update({"data": data, "style": "write", "valid_fraction": 0.0, **options})
    task = make_task(told, read_data(told))
    assert isinstance(task, WriteTask)
    return task, task.encode(tokenizer, limit, lambda: None)


def by_hand(row: Any, answers: list[str], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Prompt and completion of one row."""
    parts = [f"Question: {row.question}\nContext:", f" {row.context}", "\nAnswer:"]
    prompt = [i for text in parts for i in tokenizer(text)["input_ids"]]
    return prompt, [*(i for text in answers[:1] for i in tokenizer(f" {text}")["input_ids"]), tokenizer.eos_token_id]


def test_rows_are_prompts_with_their_answers(tokenizer: Any) -> None:
    data = quiz(12, unanswerable=True)
    _, rows = encoded(data, tokenizer)
    for number, row in enumerate(data.itertuples()):
        prompt, completion = by_hand(row, row.answers["text"], tokenizer)
        assert rows.train.ids[number].tolist() == [*prompt, *completion][:-1]
        assert rows.train.targets[number].tolist() == completion
        assert rows.train.scored[number].tolist() == list(range(len(prompt) - 1, len(prompt) + len(completion) - 1))
    assert rows.train.index == list(data.index)
    facts = dict(rows.facts)
    assert facts["questions"] == ("12 about 6 contexts, answers written (style = 'write'); 3 without an answer (25%)")


@pytest.mark.parametrize("truncate", ["head", "tail"])
def test_a_context_that_does_not_fit_is_cut(truncate: str, tokenizer: Any) -> None:
    context = " ".join(f"owl {i}" for i in range(30))
    row = Question("Who?", context, ("owl",), "owl", None)
    ((made,), cut) = prompts(Questions([row], ["long"]), tokenizer, 40, 6, truncate)
    front, middle, back = (
        tokenizer(text)["input_ids"] for text in ("Question: Who?\nContext:", f" {context}", "\nAnswer:")
    )
    free = 40 - 6 - len(front) - len(back)
    assert made.tolist() == [*front, *(middle[:free] if truncate == "head" else middle[-free:]), *back]
    assert cut == ["long"]


def test_a_question_that_does_not_fit_leaves_room_for_the_context(tokenizer: Any) -> None:
    row = Question("Who is it? " * 30, "An owl.", ("owl",), "owl", None)
    ((made,), cut) = prompts(Questions([row], ["long"]), tokenizer, 40, 6, "head")
    back = tokenizer("\nAnswer:")["input_ids"]
    assert len(made) <= 34
    assert made[-len(back) :].tolist() == back
    assert tokenizer.decode(made).endswith(" An owl.\nAnswer:")
    assert cut == ["long"]


def test_what_is_cut_is_said(tokenizer: Any) -> None:
    data = quiz(12)
    data.loc[111, "context"] = "Long. " * 80 + data.loc[111, "context"]
    _, rows = encoded(data, tokenizer)
    assert list(rows.warnings) == [
        "1 of 12 training contexts do not fit into 64 tokens and lose their end (row 111); style = 'extract' reads all "
        "of them"
    ]
    with pytest.raises(
        DataError, match=r"1 context longer than 64 tokens with question and answer \(row 111\): shorten"
    ):
        encoded(data, tokenizer, truncate="error")
    with pytest.raises(OptionError, match="max_length = 15: must be 16 at least for task = 'answer'"):
        encoded(data, tokenizer, 15)


def test_an_answer_that_does_not_fit_is_cut_and_said(tokenizer: Any) -> None:
    data = quiz(12)
    data["answers"] = [answers["text"][0] for answers in data["answers"]]
    data.loc[[103, 111], "answers"] = "an owl and " * 30
    with pytest.raises(DataError) as caught:
        encoded(data, tokenizer, truncate="error")
    assert str(caught.value) == (
        "2 answers too long for 64 tokens, half of which are for question and context (rows 103, 111): shorten them, "
        "or say truncate = 'head' or 'tail'"
    )
    task, rows = encoded(data, tokenizer)
    assert rows.train.index == list(data.index)  # a block a row, so that each has its question and its context
    assert max(map(len, rows.train.ids)) <= 64
    assert task.own()["longest"] == 32
    whole = [*tokenizer(" " + ("an owl and " * 30).strip())["input_ids"], tokenizer.eos_token_id]
    for number, row in enumerate(data.itertuples()):
        long = row.Index in (103, 111)
        told = whole[:32] if long else by_hand(row, [row.answers], tokenizer)[1]
        assert rows.train.targets[number].tolist() == told
        assert (tokenizer.eos_token_id in rows.train.targets[number]) is not long
    assert rows.warnings[-1] == (
        "2 of 12 training answers too long for 64 tokens, half of which are for question and context, lose their end "
        "(rows 103, 111)"
    )


def test_a_validation_answer_is_scored_as_far_as_it_fits(tokenizer: Any) -> None:
    valid = quiz(2).assign(answers=["an owl and " * 30, "an owl or a dog or both"])
    _, rows = encoded(quiz(12), tokenizer, valid=valid)
    assert rows.valid.index == [100, 101]
    assert len(rows.valid.ids[0]) == 63
    assert rows.valid.targets[1][-1] == tokenizer.eos_token_id  # longer than those of the training data, yet it fits
    assert rows.warnings == [
        "1 of 2 validation answers too long for 64 tokens, half of which are for question and context, lose their end "
        "(row 100)"
    ]
    with pytest.raises(DataError, match=r"1 answer too long for 64 tokens, .* \(row 100\): shorten them"):
        encoded(quiz(12), tokenizer, valid=valid, truncate="error")


def test_a_tokenizer_without_an_end(tokenizer: Any) -> None:
    from types import SimpleNamespace

    with pytest.raises(ModelError, match="the base's tokenizer has no end-of-text token to learn where an answer ends"):
        completions(checked(quiz(2)), SimpleNamespace(eos_token_id=None))


def test_metrics_are_those_of_greedy_answers(tokenizer: Any) -> None:
    """Against transformers' own generate and loss, row by row."""
    data = quiz(16, unanswerable=True)
    task, rows = encoded(quiz(20), tokenizer, valid=data)
    model = task.load(find_base(base()))
    found = task.evaluate(model, rows.valid, hidden_packed, lambda: None)
    nats, tokens, answers = 0.0, 0, []
    for row in data.itertuples():
        prompt, completion = by_hand(row, row.answers["text"], tokenizer)
        labels = torch.tensor([[-100] * len(prompt) + completion])
        with torch.no_grad():
            nats += float(model(input_ids=torch.tensor([prompt + completion]), labels=labels).loss) * len(completion)
            told = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=task.own()["longest"],
                do_sample=False,
                pad_token_id=0,
            )
        tokens += len(completion)
        answers.append(tokenizer.decode(told[0, len(prompt) :], skip_special_tokens=True).strip())
    assert found["loss"] == pytest.approx(nats / tokens, abs=2e-5)
    scored = score_answers(answers, [tuple(answers_["text"]) for answers_ in data["answers"]])
    assert (found["exact_match"], found["f1"]) == (scored.exact_match, scored.f1)


def test_of_many_rows_some_are_answered(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.tasks import write

    monkeypatch.setattr(write, "_ANSWERED", 5)
    data = quiz(24)
    task, rows = encoded(quiz(12), tokenizer, valid=data)
    assert dict(rows.facts)["answered"] == "5 of the rows to validate at each evaluation, evenly spread"
    seen: list[Any] = []
    monkeypatch.setattr(
        write, "score_answers", lambda answers, known: seen.append(known) or score_answers(answers, known)
    )
    task.evaluate(task.load(find_base(base())), rows.valid, hidden_packed, lambda: None)
    assert [list(known) for known in seen[0]] == [data["answers"].iloc[i]["text"] for i in range(0, 24, 5)]


def test_scores_are_the_probabilities_of_answers_and_their_ends(tokenizer: Any) -> None:
    model, _ = base()
    questions = checked(quiz(6))
    found, cut = write_answers(model, questions, tokenizer, 64, "head", 8, "questions")
    assert cut == []
    for one, row in zip(found, questions.rows, strict=True):
        for text, score in ((one.text, one.score), ("", one.no_answer)):
            prompt, completion = by_hand(row, [text] if text else [], tokenizer)
            completion = completion[:9]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
            chances = logits[len(prompt) - 1 : -1].log_softmax(-1)[range(len(completion)), completion]
            assert score == pytest.approx(float(chances.sum().exp()), rel=1e-3, abs=1e-9)
        assert one.runner_up is None


def test_nats_of_rows_add_up() -> None:
    from gpt_magic.tasks.language import encode, total_nats

    model = tiny.tiny_lm()
    rows = encode(tiny.random_sequences(12, 1), 50)
    nats = row_nats(model, rows, hidden_packed)
    assert nats.shape == (12,)
    alone = [row_nats(model, encode([one], 50), hidden_packed)[0] for one in tiny.random_sequences(12, 1)]
    np.testing.assert_allclose(nats, alone, atol=1e-4)
    assert total_nats(model, rows, hidden_packed) == (pytest.approx(nats.sum()), sum(map(len, rows.scored)))


def test_an_answer_that_is_not_in_the_context_can_be_learned(tokenizer: Any) -> None:
    data = pd.DataFrame({"question": ["Who?"] * 2, "context": ["An owl."] * 2, "answer": ["A bird", ["no", "yes"]]})
    _, rows = encoded(data, tokenizer)
    assert tokenizer.decode(rows.train.targets[1]) == " no<|endoftext|>"
