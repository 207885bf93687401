from typing import Any

import numpy as np
import pytest
import torch

from gpt_magic.errors import DataError, ModelError, OptionError
from gpt_magic.models.find import find_base
from gpt_magic.models.tokenizer import load_tokenizer
from gpt_magic.tasks.words import check_template, label_ids, label_text, prompt_room, prompts

TEMPLATE = "{text}\nmood:"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_base("scratch"))


def test_the_default_template_asks_for_the_column() -> None:
    assert check_template(None, "mood") == TEMPLATE
    assert check_template("Review: {text} Verdict:", "mood") == "Review: {text} Verdict:"
    assert check_template(None, "a {text}").count("{text}") == 1
    for bad in ("no place", "{text} {text}", ""):
        with pytest.raises(OptionError, match=r"must hold \{text\} once, where the text goes"):
            check_template(bad, "mood")


@pytest.mark.parametrize(("template", "text"), [(TEMPLATE, " fine"), ("{text}\nmood: ", "fine"), ("{text}\n", "fine")])
def test_labels_stand_apart_from_the_prompt(template: str, text: str, tokenizer: Any) -> None:
    assert label_text("fine", template) == text
    (ids,) = label_ids(["fine"], tokenizer, template)
    assert ids == [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]


def test_labels_of_all_kinds_are_written(tokenizer: Any) -> None:
    for classes in (["good", "good news"], [1, 12], [True, False], ["食物", "动物"], ["<|endoftext|>", "x"]):
        named = label_ids(classes, tokenizer, TEMPLATE)
        assert [tokenizer.decode(ids[:-1]) for ids in named] == [f" {label}" for label in classes]
        assert all(tokenizer.eos_token_id not in ids[:-1] for ids in named)


def test_labels_must_have_tokens_of_their_own() -> None:
    class Lossy:
        eos_token_id = 0

        def __call__(self, texts: list[str], **_: Any) -> dict[str, Any]:
            return {"input_ids": [[len(text)] for text in texts]}

    with pytest.raises(DataError, match="the tokenizer makes the same tokens of the labels 'no', 'ja'"):
        label_ids(["no", "ja", "yes"], Lossy(), TEMPLATE)
    Lossy.eos_token_id = None  # type: ignore[assignment]
    with pytest.raises(ModelError, match="no end-of-text token to tell where a label ends"):
        label_ids(["no"], Lossy(), TEMPLATE)


@pytest.mark.parametrize("template", [TEMPLATE, "Text: {text}\nmood: ", "{text}"])
def test_prompts_are_the_tokens_of_their_parts(template: str, tokenizer: Any) -> None:
    texts = ["a plain text", "苹果 👩‍👩‍👧", "words " * 50, ("one", "other")]
    before, after = (tokenizer(part)["input_ids"] for part in template.split("{text}"))
    for truncate in ("head", "tail"):
        ids, lengths = prompts(texts[:3], tokenizer, template, 20, truncate, range(3))
        for row, length, text in zip(ids, lengths, texts, strict=False):
            middle = tokenizer(text)["input_ids"]
            room = 20 - len(before) - len(after)
            kept = middle[:room] if truncate == "head" else middle[-room:]
            assert row.tolist() == [*before, *kept, *after]
            assert length == len(before) + len(middle) + len(after)
    (pair,), _ = prompts(texts[3:], tokenizer, template, 20, "head", [0])
    assert pair.tolist() == [*before, *tokenizer("one\nother")["input_ids"], *after]


def test_prompts_that_do_not_fit_say_so(tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"1 row with a text longer than 9 tokens \(row r1\): shorten them"):
        prompts(["a", "words " * 20], tokenizer, TEMPLATE, 9, "error", ["r0", "r1"])
    with pytest.raises(OptionError, match="max_length leaves 2 tokens for a prompt, and the template alone has"):
        prompts(["a"], tokenizer, TEMPLATE, 2, "head", [0])


def test_a_prompt_and_its_longest_label_fill_what_the_model_reads() -> None:
    assert prompt_room(10, [[1, 0], [1, 2, 3, 0]]) == 7  # and 3 of 4 tokens behind it: nothing is read after the end


def test_learned_are_the_names_alone_and_the_loss_is_that_of_transformers() -> None:
    """Through the task itself: a run's rows against ``labels`` of -100 in transformers' class."""
    from gpt_magic.data.read import read_data
    from gpt_magic.engine.packing import hidden_packed
    from gpt_magic.options import Options
    from gpt_magic.tasks.task import make_task

    options = Options()
    options.update({"style": "words", "base": "scratch", "valid_fraction": 0.25})
    options.data = {"text": [f"text number {i}" for i in range(16)], "mood": ["good", "good news"] * 8}
    options.label = "mood"
    base = find_base("scratch")
    task = make_task(options, read_data(options))
    rows = task.encode(load_tokenizer(base), 64, lambda: None)
    torch.manual_seed(0)
    model = task.load(base)
    assert (len(rows.train), len(rows.valid)) == (12, 4)
    expected, tokens = 0.0, 0
    with torch.no_grad():
        for ids, scored, targets in zip(rows.train.ids, rows.train.scored, rows.train.targets, strict=True):
            whole = torch.tensor([[*ids.tolist(), int(targets[-1])]])
            labels = torch.full_like(whole, -100)
            labels[0, scored + 1] = torch.from_numpy(targets)
            said = task.tokenizer.decode(targets)
            assert said in (" good<|endoftext|>", " good news<|endoftext|>")
            expected += float(model(input_ids=whole, labels=labels).loss) * len(targets)
            tokens += len(targets)
        hidden = hidden_packed(model, rows.train.ids, rows.train.scored)
        found = task.objective.losses(model, hidden, torch.from_numpy(np.concatenate(list(rows.train.targets))))
    assert float(found.mean()) == pytest.approx(expected / tokens, rel=1e-5)
    metrics = task.evaluate(model, rows.valid, hidden_packed, lambda: None)
    with torch.no_grad():
        hidden = hidden_packed(model, rows.valid.ids, rows.valid.scored)
        losses = task.objective.losses(model, hidden, torch.from_numpy(np.concatenate(list(rows.valid.targets))))
    assert metrics["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
