"""The tagging task: transformers' loss, what a run says and scores."""

from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

import gpt_magic
from gpt_magic.data.read import read_data
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.errors import OptionError
from gpt_magic.inference.tagging import logits
from gpt_magic.options import Options
from gpt_magic.summary import Preflight
from gpt_magic.tasks.tag import TagTask, TagWords
from gpt_magic.tasks.task import make_task
from tests.places import CONTEXT, base, places, spans, tagger
from tests.tiny import tiny_tagger

# --- the loss -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [hidden_packed, hidden_padded])
@pytest.mark.parametrize("repeat", [False, True])
def test_loss_and_gradients_are_those_of_transformers(hidden: Any, repeat: bool) -> None:
    options = Options()
    options.update({"data": places(), "valid_fraction": 0.0, "repeat": repeat})
    task = make_task(options, read_data(options))
    assert isinstance(task, TagTask)
    _, tokenizer = base()
    rows = task.encode(tokenizer, 64, lambda: None).train
    model = tiny_tagger(5, vocab_size=8192)
    # transformers: padded, -100 where no word ends.
    pad = torch.nn.utils.rnn.pad_sequence
    tokens = pad([torch.from_numpy(ids).long() for ids in rows.ids], batch_first=True)
    labels = torch.full(tokens.shape, -100)
    for row, (at, targets) in enumerate(zip(rows.scored, rows.targets, strict=True)):
        labels[row, torch.from_numpy(at)] = torch.from_numpy(targets)
    mask = pad([torch.ones(len(ids)) for ids in rows.ids], batch_first=True)
    theirs = model(input_ids=tokens, attention_mask=mask, labels=labels).loss
    theirs.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    states = hidden(model, rows.ids, rows.scored)
    losses = task.objective.losses(model, states, torch.from_numpy(np.concatenate(list(rows.targets))))
    ours = losses.sum() / task.objective.weights(np.concatenate(list(rows.targets))).sum()
    ours.backward()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_the_head_drops_out_while_training_only() -> None:
    model, states = tiny_tagger(5, dropout=0.5), torch.randn(4, 32)
    targets, objective = torch.tensor([0, 1, 2, 4]), TagWords(5)
    assert torch.equal(objective.losses(model, states, targets), objective.losses(model, states, targets))
    model.train()
    assert not torch.equal(objective.losses(model, states, targets), objective.losses(model, states, targets))
    assert logits(model.to(torch.bfloat16), states.to(torch.bfloat16)).dtype == torch.float32


# --- a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [places(), spans()], ids=["tokens", "spans"])
@pytest.mark.parametrize("repeat", [False, True])
def test_a_run_learns_names_and_stands_beside_the_baselines(data: Any, repeat: bool) -> None:
    made = tagger(data, repeat=repeat, baselines=True)
    assert made.metrics["f1"] == 1.0
    assert made.metrics["token_accuracy"] == 1.0
    assert list(made.summary.scores.columns) == ["F1", "precision", "recall", "token accuracy"]
    assert [who for who, _ in made.summary.scores.rows] == [
        "GPT2LMHeadModel fine-tuned",
        "most frequent tag of each word",
        "no entities at all",
    ]
    assert made.summary.scores.rows[2][1][:3] == [0.0, 0.0, 0.0]
    facts = dict(made.report.facts)
    assert facts["types"].startswith("2: LOC 8")
    assert ("repeat" in facts) is repeat
    assert made.repeat is repeat
    assert made.history["valid_f1"].max() == 1.0


def test_the_pre_flight_of_long_texts() -> None:
    long = places()
    long.loc[200] = [["Ada", *["went", "to", "Rome", "and", "so", "on"] * 20], ["B-PER", *["O"] * 120]]
    found = gpt_magic.finetune(long, base=base(), dry_run=True, valid_fraction=0.0)
    assert isinstance(found, Preflight)
    facts = dict(found.facts)
    assert found.title == "tag · GPT2LMHeadModel · a DataFrame"
    assert "that overlap by half, each word scored in one of them" in facts["windows"]
    windows = int(facts["windows"].split()[0])
    assert windows > 97
    assert f"of {-(-windows // 16)} steps" in facts["plan"]
    assert facts["entities"].startswith("193 in 97 of 97 rows to train, ")
    assert facts["tags of data"] == "BIO"
    assert found.lengths.over == 1
    assert found.warnings == []


def test_options_that_do_nothing_are_said() -> None:
    options = {"class_weights": "balanced", "truncate": "tail", "samples": ["a"]}
    found = gpt_magic.finetune(places(), base=base(), dry_run=True, **options)
    assert [line for line in found.warnings if "does nothing" in line] == [
        f"{name} does nothing for task = 'tag'" for name in ("truncate", "class_weights", "samples")
    ]
    classify = gpt_magic.finetune(
        {"text": ["a", "b"] * 9, "label": ["x", "y"] * 9}, base=base(), dry_run=True, repeat=True
    )
    assert "repeat does nothing for task = 'classify'" in classify.warnings


def test_a_word_longer_than_what_is_read_is_said() -> None:
    long = places()
    long.loc[200] = [["Ada", "x1" * 200], ["B-PER", "O"]]
    found = gpt_magic.finetune(long, base=base(), dry_run=True, valid_fraction=0.0)
    assert found.warnings == [
        "1 training row with a word that is longer than what is read at once, so only its end is read (rows 200)"
    ]


def test_a_stop_leaves_the_baselines_out() -> None:
    options, stop = Options(), Event()
    options.update({"data": places()})
    task = make_task(options, read_data(options))
    rows, said = task.compare(stop)
    assert (len(rows), said) == (2, [])
    stop.set()
    assert task.compare(stop) == ([], ["no baselines: stopped while words and their tags were counted"])


def test_no_room_to_read_twice() -> None:
    with pytest.raises(OptionError, match="max_length = 2: with repeat = True a text is read twice, so 3 at least"):
        gpt_magic.finetune(places(), base=base(), max_length=2, repeat=True, quiet=True)


def test_the_context_of_the_base_is_the_limit() -> None:
    assert tagger(max_steps=1).max_length == CONTEXT
