"""What a tagger predicts and scores: places that fit, valid tags, seqeval's figures, and plain transformers' own."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from transformers import AutoModelForTokenClassification, GPT2ForTokenClassification

import gpt_magic
from gpt_magic.data.schemes import TagCount, to_bio
from gpt_magic.data.words import split_words
from gpt_magic.errors import DataError, OptionError
from gpt_magic.saved import model_card
from gpt_magic.tuned import TunedTagger
from tests.data.test_words import WILD
from tests.places import places, spans, tagger

TEXT = "then Ada went to New York."


@pytest.fixture(scope="module")
def once() -> TunedTagger:
    return tagger()


@pytest.fixture(scope="module")
def twice() -> TunedTagger:
    return tagger(spans(), repeat=True)


@pytest.fixture(params=["once", "twice"])
def made(request: pytest.FixtureRequest) -> TunedTagger:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, TunedTagger)
    return found


# --- forms of input -------------------------------------------------------------------------------------


def test_one_text(made: TunedTagger) -> None:
    out = made.predict(TEXT)
    assert out.columns.tolist() == ["text", "entities"]
    (found,) = out["entities"]
    assert [{**entity, "confidence": 0} for entity in found] == [
        {"start": 5, "end": 8, "label": "PER", "text": "Ada", "confidence": 0},
        {"start": 17, "end": 25, "label": "LOC", "text": "New York", "confidence": 0},
    ]
    assert all(0 < entity["confidence"] <= 1 for entity in found)
    assert all(type(entity[key]) is int for entity in found for key in ("start", "end"))


@pytest.mark.parametrize("form", [list, tuple, np.array, pd.Series])
def test_texts_in_any_sequence(once: TunedTagger, form: Any) -> None:
    texts = [TEXT, "nothing here", "Rome"]
    out = once.predict(form(texts))
    assert out["text"].tolist() == texts
    assert [[one["label"] for one in row] for row in out["entities"]][1:] == [[], ["LOC"]]


def test_lists_of_tokens_get_tags_too(made: TunedTagger) -> None:
    lists = [["Ada", "went", "to", "New", "York"], ["", "Bob", " "]]
    out = made.predict(lists)
    assert out.columns.tolist() == ["tokens", "text", "tags", "entities"]
    assert out["tags"].tolist() == [["B-PER", "O", "O", "B-LOC", "I-LOC"], ["O", "B-PER", "O"]]
    assert out["text"].tolist() == ["Ada went to New York", "Bob"]
    series = made.predict(pd.Series(lists, index=["x", "y"]))
    assert series.index.tolist() == ["x", "y"]
    assert series["tags"].tolist() == out["tags"].tolist()


def test_tables_keep_their_columns_and_lose_old_predictions(once: TunedTagger, twice: TunedTagger) -> None:
    frame = places(3).assign(id=[7, 8, 9])
    before = frame.copy(deep=True)
    out = once.predict(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert out.columns.tolist() == ["tokens", "tags", "id", "text", "entities"]
    assert out.index.tolist() == frame.index.tolist()
    assert out["tags"].tolist() == frame["tags"].tolist()
    texts = once.predict(spans(3))  # a column called text will do
    found = [[{key: one[key] for key in ("start", "end", "label")} for one in row] for row in texts["entities"]]
    assert found == spans(3)["entities"].tolist()
    tokens = twice.predict(frame.to_dict("records"))
    assert tokens["tags"].tolist() == frame["tags"].tolist()
    with pytest.raises(DataError, match="the data have no text column 'text'; theirs are 'a'"):
        twice.predict(pd.DataFrame({"a": ["b"]}))
    with pytest.raises(DataError, match="the data have no tokens column 'tokens'; theirs are 'a'"):
        once.predict(pd.DataFrame({"a": ["b"]}))


def test_a_conll_file(once: TunedTagger, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ada\tB-PER\nwent\tO\n\nRome\tB-LOC\n")
    out = once.predict(tmp_path / "a.conll")
    assert out["tags"].tolist() == [["B-PER", "O"], ["B-LOC"]]
    assert once.evaluate(tmp_path / "a.conll").f1 == 1.0
    assert once.evaluate(str(tmp_path / "a.conll")).rows == 2


def test_rows_without_a_text_get_none(once: TunedTagger) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        texts = once.predict(pd.Series(["Rome", None, " "]))
        lists = once.predict([["Rome"], [], [" "], None])
    assert texts["entities"].isna().tolist() == [False, True, True]
    assert lists["tags"].isna().tolist() == lists["text"].isna().tolist() == [False, True, True, True]
    said = "no prediction where there is no text: rows"
    assert [str(one.message) for one in caught] == [f"{said} 1, 2", f"{said} 1, 2, 3"]


@pytest.mark.parametrize(
    ("x", "line"),
    [
        ([], "nothing to predict: no texts were given"),
        ([1], "data, row 0: the list holds an int, not a text"),
        ([["a", 1]], "data, row 0: token 1 in 'tokens', 1, is an int; give texts"),
        ([["a"], "b"], "data, row 1: column 'tokens' holds a str, not a list of tokens; split it, as with"),
    ],
)
def test_what_cannot_be_tagged(once: TunedTagger, x: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        once.predict(x)
    assert str(caught.value).startswith(line)


# --- places, tags, windows ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WILD.filter(lambda text: text.strip()), min_size=1, max_size=4))
def test_entities_of_wild_texts_are_whole_words_of_them(once: TunedTagger, texts: list[str]) -> None:
    """The places are in the text as given; entities follow one another, and are whole words."""
    for text, found in zip(texts, once.predict(texts)["entities"], strict=True):
        words = split_words(text).tolist()
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        at = 0
        for entity in found:
            assert at <= entity["start"] < entity["end"]
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert entity["start"] in starts
            assert entity["end"] in ends
            assert entity["label"] in ("LOC", "PER")
            at = entity["end"]


@pytest.fixture(scope="module")
def confused() -> TunedTagger:
    """A tagger whose head knows nothing, so that it says every tag everywhere."""
    made = tagger(max_steps=1)
    torch.manual_seed(1)
    torch.nn.init.normal_(made.model.classifier.weight, std=1.0)
    return made


@settings(max_examples=40, deadline=None)
@given(lists=st.lists(st.lists(WILD.filter(bool), min_size=1, max_size=9), min_size=1, max_size=3))
@pytest.mark.filterwarnings("ignore:no prediction")
def test_tags_are_valid_whatever_the_model_says(confused: TunedTagger, lists: list[list[str]]) -> None:
    out = confused.predict(lists)
    for tokens, tags, found in zip(lists, out["tags"], out["entities"], strict=True):
        if tags is None:
            assert not any(token.strip() for token in tokens)
            continue
        assert len(tags) == len(tokens)
        filled = [tag for token, tag in zip(tokens, tags, strict=True) if token.strip()]
        for before, tag in zip(["O", *filled], filled, strict=False):
            assert tag[0] != "I" or before[2:] == tag[2:]
        assert len(found) == sum(tag[0] == "B" for tag in tags)


@pytest.mark.parametrize("repeat", [False, True])
def test_long_texts_are_tagged_to_their_end(repeat: bool) -> None:
    table = places(200, seed=1)
    rows = [table[:50], table[50:100], table[100:150], table[150:]]
    long = [[[one for row in part[name] for one in row] for part in rows] for name in ("tokens", "tags")]
    made = tagger(dict(zip(("tokens", "tags"), long, strict=True)), repeat=repeat, max_steps=80, valid_fraction=0.0)
    windows = dict(made.report.facts)["windows"]
    assert int(windows.split()[0]) > 40
    said = made.predict(long[0])["tags"]
    assert [len(tags) for tags in said] == [len(tags) for tags in long[1]]
    assert made.evaluate({"tokens": long[0], "tags": long[1]}).f1 > 0.95


def test_chinese_is_tagged_by_characters() -> None:
    rows = [
        {"text": f"我{verb}{place}。", "entities": [{"start": 2, "end": 4, "label": "地"}]}
        for verb in "去在爱到"
        for place in ("北京", "上海", "广州")
    ]
    made = tagger(rows * 4, max_steps=60)
    (found,) = made.predict("我去上海。")["entities"]
    assert [(one["start"], one["end"], one["label"], one["text"]) for one in found] == [(2, 4, "地", "上海")]
    (tags,) = made.predict([[*"我去上海。"]])["tags"]
    assert tags == ["O", "O", "B-地", "I-地", "O"]


# --- figures --------------------------------------------------------------------------------------------


def test_an_evaluation_is_seqevals_of_the_predictions(once: TunedTagger) -> None:
    frame = places()
    rng = np.random.default_rng(0)  # some of what is known is wrong
    wrong = [["O" if rng.random() < 0.1 else tag for tag in tags] for tags in frame["tags"]]
    truth = [to_bio(tags, TagCount(set())) for tags in wrong]
    found, said = once.evaluate(frame.assign(tags=wrong)), once.predict(frame)["tags"].tolist()
    assert 0 < found.f1 < 1
    assert found.f1 == pytest.approx(f1_score(truth, said))
    assert found.precision == pytest.approx(precision_score(truth, said))
    assert found.recall == pytest.approx(recall_score(truth, said))
    assert found.token_accuracy == pytest.approx(accuracy_score(truth, said))
    assert (found.rows, found.words) == (96, sum(map(len, truth)))
    assert found.per_type["support"].sum() == sum(tag[0] == "B" for tags in truth for tag in tags)
    assert "F1" in found._repr_html_()


def test_the_validation_figures_are_those_of_an_evaluation(once: TunedTagger) -> None:
    held = places(16)
    made = tagger(valid=held, max_steps=12)
    found = made.evaluate(held)
    for name in ("f1", "precision", "recall", "token_accuracy", "words"):
        assert made.metrics[name] == pytest.approx(getattr(found, name)), name
    assert made.metrics["loss"] == pytest.approx(found.loss, rel=1e-4)


def test_an_evaluation_reads_tables_of_either_kind(once: TunedTagger, twice: TunedTagger) -> None:
    assert once.evaluate(spans()).f1 == 1.0
    assert twice.evaluate(places()).f1 == 1.0
    with pytest.raises(DataError, match="row 100: no training row has an entity 'ORG'; there are 'LOC', 'PER'"):
        once.evaluate(places().assign(tags=[[*["B-ORG"] * len(row)] for row in places()["tokens"]]))
    with pytest.raises(OptionError, match="missing = 'dorp'"):
        once.evaluate(places(), missing="dorp")
    gaps = pd.DataFrame({"tokens": [["Rome"], []], "tags": [["B-LOC"], []]})
    assert once.evaluate(gaps, missing="drop").rows == 1


# --- on disk, and in plain transformers -----------------------------------------------------------------


def test_all_comes_back(made: TunedTagger, tmp_path: Path) -> None:
    again = gpt_magic.load(made.save(tmp_path / "tagger"))
    assert isinstance(again, TunedTagger)
    pd.testing.assert_frame_equal(again.predict(places()), made.predict(places()))
    for name in ("types", "repeat", "columns", "max_length", "metrics", "options", "report", "summary"):
        assert getattr(again, name) == getattr(made, name), name
    assert repr(again) == repr(made)
    assert repr(made).startswith("<TunedTagger tag · GPT2LMHeadModel · a DataFrame: F1 1.000, token accuracy 1.000>")
    assert type(made.model) is GPT2ForTokenClassification


def test_the_code_of_the_model_card_gives_the_same_tags(made: TunedTagger, tmp_path: Path) -> None:
    folder = made.save(tmp_path / "tagger")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: token-classification" in card
    (plain, loading) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    model = "\n".join(line for line in loading.splitlines() if "gpt_magic" not in line)
    assert "AutoModelForTokenClassification.from_pretrained" in model
    names: dict[str, Any] = {}
    exec(f"{model}\n{plain}".replace('"this folder"', repr(str(folder))), names)
    words, tags, logits = (names[name] for name in ("words", "tags", "logits"))
    text = "".join(words)
    assert made.predict([[word.strip() for word in words]])["text"][0].replace(" .", ".") == text
    ours = next(made._scores([text], [split_words(text)], [0]))
    np.testing.assert_allclose(logits.log_softmax(1), ours, atol=1e-4)
    assert tags == [made.model.config.id2label[i] for i in ours.argmax(1)]


def test_a_tagger_as_a_base_keeps_its_head_for_the_same_types(once: TunedTagger, tmp_path: Path) -> None:
    folder = once.save(tmp_path / "tagger")
    plain = AutoModelForTokenClassification.from_pretrained(folder)
    kept = tagger(base=str(folder), max_steps=1, learning_rate=1e-8)
    torch.testing.assert_close(kept.model.classifier.weight, plain.classifier.weight, atol=1e-6, rtol=0)
    other = places().assign(tags=[[tag.replace("LOC", "GPE") for tag in row] for row in places()["tags"]])
    fresh = tagger(other, base=str(folder), max_steps=1, learning_rate=1e-8)
    assert not torch.allclose(fresh.model.classifier.weight, plain.classifier.weight, atol=1e-3)
    assert fresh.types == ["GPE", "PER"]


def test_the_card_of_one_that_reads_once_says_nothing_of_twice(once: TunedTagger, twice: TunedTagger) -> None:
    assert "read twice" not in model_card(once).partition("## The run")[0]
    assert "read twice" in model_card(twice).partition("## The run")[0]
