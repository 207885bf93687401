"""Predictions and evaluations: every form of input, in order, equal to transformers' and scikit-learn's own."""

import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from transformers import AutoModelForSequenceClassification

from gpt_magic.errors import DataError, OptionError
from gpt_magic.tuned import TruncationWarning, TunedModel
from tests.films import CONTEXT, films, tuned

TEXTS = ["a fine film", "dull", "苹果是一种什么", "a weak plot, " * 5, "<|endoftext|> fine", " great\n", "x"]
DULL = "a dull film, number 3"


@pytest.fixture(scope="module")
def clf() -> TunedModel:
    return tuned(log_every=3)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame({"stars": range(len(TEXTS)), "review": TEXTS}, index=list("dcbaefg"))


def reference(clf: TunedModel, text: str) -> np.ndarray:
    """Probabilities of one text by transformers' own forward."""
    ids = clf.tokenizer(text, return_tensors="pt", truncation=True, max_length=clf.max_length)["input_ids"]
    with torch.no_grad():
        return clf.model(input_ids=ids).logits[0].softmax(0).numpy()


def said(clf: TunedModel, x: Any, **options: Any) -> tuple[pd.DataFrame, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = clf.predict(x, **options)
    return out, [str(warning.message) for warning in caught]


# --- forms of input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [list, tuple, np.array, lambda x: np.array(x, dtype=object), pd.Series, pd.array])
def test_texts_in_any_sequence(clf: TunedModel, form: Any) -> None:
    given_texts = form(TEXTS) if form is not pd.array else pd.Series(pd.array(TEXTS, dtype="string"))
    out = clf.predict(given_texts)
    assert out.columns.tolist() == ["text", "prediction", "confidence"]
    assert out["text"].tolist() == TEXTS
    assert out.index.tolist() == list(range(len(TEXTS)))
    assert out["prediction"].tolist() == clf.predict(TEXTS)["prediction"].tolist()


def test_a_cell_that_waits_works_also_when_the_run_is_over(clf: TunedModel) -> None:
    """By then the name that a run in the background had is the model's."""
    assert clf.wait() is clf
    assert clf.wait(timeout=1) is clf


@pytest.mark.parametrize(
    "form",
    [
        lambda texts: pd.Series(texts).to_numpy(),
        lambda texts: pd.Series(texts, dtype="str").array,
        lambda texts: pd.Series(texts, dtype="str").unique(),
        lambda texts: pd.Index(texts),
        lambda texts: datasets.Dataset.from_dict({"t": texts})["t"],
        tuple,
    ],
)
def test_plain_sequences_of_texts(clf: TunedModel, form: Any) -> None:
    out = clf.predict(form(TEXTS))
    assert out["text"].tolist() == TEXTS
    assert out["prediction"].tolist() == clf.predict(TEXTS)["prediction"].tolist()


@pytest.mark.parametrize("text", ["a fine film", np.str_("a fine film"), np.array("a fine film")])
def test_one_text(clf: TunedModel, text: Any) -> None:
    out = clf.predict(text)
    assert (len(out), out["text"][0], out["prediction"][0]) == (1, "a fine film", "good")


def test_a_series_keeps_its_index_and_a_table_its_columns(clf: TunedModel, frame: pd.DataFrame) -> None:
    before = frame.copy()
    series, table = clf.predict(frame["review"]), clf.predict(frame, probabilities=True)
    pd.testing.assert_frame_equal(frame, before)
    assert series.index.tolist() == table.index.tolist() == frame.index.tolist()
    assert table.columns.tolist() == ["stars", "review", "prediction", "confidence", "p(bad)", "p(good)"]
    assert series["prediction"].tolist() == table["prediction"].tolist()
    pd.testing.assert_frame_equal(table[["stars", "review"]], before)


@pytest.mark.parametrize("form", ["records", "columns", "dataset", "csv", "jsonl", "parquet", "category", "string"])
def test_tables_in_any_form(clf: TunedModel, frame: pd.DataFrame, form: str, tmp_path: Path) -> None:
    rows = frame.reset_index(drop=True)
    path = tmp_path / f"films.{form}"
    if form == "records":
        table: Any = rows.to_dict("records")
    elif form == "columns":
        table = rows.to_dict("list")
    elif form == "dataset":
        table = datasets.Dataset.from_pandas(rows)
    elif form in ("category", "string"):
        table = rows.astype({"review": form})
    else:
        rows.to_json(path, orient="records", lines=True) if form == "jsonl" else getattr(rows, f"to_{form}")(
            path, index=False
        )
        table = path
    out = clf.predict(table)
    assert out["review"].tolist() == TEXTS
    assert out["prediction"].tolist() == clf.predict(TEXTS)["prediction"].tolist()


def test_row_names_that_stand_twice(clf: TunedModel, frame: pd.DataFrame) -> None:
    doubled = frame.set_axis([0, 0, 1, 1, 1, 2, 0])
    out = clf.predict(doubled, probabilities=True)
    assert out.index.tolist() == [0, 0, 1, 1, 1, 2, 0]
    assert out["prediction"].tolist() == clf.predict(TEXTS)["prediction"].tolist()
    gaps = doubled.assign(review=["fine", None, "dull", "", *TEXTS[4:]])
    out, lines = said(clf, gaps)
    assert out["prediction"].isna().tolist() == [False, True, False, True, False, False, False]
    assert lines == ["no prediction where there is no text: rows 0, 1"]


def test_what_an_earlier_prediction_left_is_replaced(clf: TunedModel) -> None:
    first, _ = said(clf, pd.DataFrame({"review": ["fine " * CONTEXT, "dull"]}), probabilities=True)
    assert first["truncated"].tolist() == [True, False]
    second = clf.predict(first.assign(review=["a fine film", DULL], prediction="?"))
    assert second.columns.tolist() == ["review", "prediction", "confidence"]
    assert second["prediction"].tolist() == ["good", "bad"]


# --- the numbers ----------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80), min_size=1))
def test_probabilities_are_those_of_transformers(clf: TunedModel, texts: list[str]) -> None:
    out, _ = said(clf, texts, probabilities=True)
    chances = out[["p(bad)", "p(good)"]].to_numpy()
    for text, row in zip(texts, chances, strict=True):
        if text.strip():
            np.testing.assert_allclose(row, reference(clf, text), atol=1e-5)
        else:
            assert np.isnan(row).all()


def test_order_is_kept_over_many_lengths(clf: TunedModel) -> None:
    rng = np.random.default_rng(3)
    words = ["a", "fine", "dull", "film", "the", "of", "great", "awful", "number", "plot"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 30))) for _ in range(600)]
    out, _ = said(clf, texts, probabilities=True)
    for at in rng.choice(len(texts), 40, replace=False):
        np.testing.assert_allclose(out.loc[at, ["p(bad)", "p(good)"]].tolist(), reference(clf, texts[at]), atol=1e-5)
    np.testing.assert_allclose(out[["p(bad)", "p(good)"]].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(out["confidence"], out[["p(bad)", "p(good)"]].max(axis=1))
    chosen = out[["p(bad)", "p(good)"]].to_numpy().argmax(axis=1)
    assert out["prediction"].tolist() == [["bad", "good"][i] for i in chosen]


@pytest.mark.parametrize("labels", [("good", "bad"), (3, 1, 2), (True, False)])
def test_labels_come_back_in_their_own_kind(labels: tuple[Hashable, ...]) -> None:
    own = tuned(labels, max_steps=40)
    data = films(labels)
    out = own.predict(data, probabilities=True)
    assert [type(label) for label in out["prediction"].tolist()] == [type(labels[0])] * len(data)
    assert (out["prediction"] == data["sentiment"]).mean() > 0.9
    assert [f"p({label})" for label in sorted(labels)] == out.columns[4:].tolist()  # type: ignore[type-var]
    gaps, _ = said(own, ["a fine film", None])
    assert type(gaps["prediction"][0]) is type(labels[0])
    assert pd.isna(gaps["prediction"][1])


# --- texts that are missing, too long, or none ----------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        ["a fine film", None, DULL],
        ["a fine film", float("nan"), DULL],
        ["a fine film", pd.NA, DULL],
        ["a fine film", "", DULL],
        ["a fine film", " \n", DULL],
        pd.Series(["a fine film", None, DULL], dtype="string"),
        pd.Series(["a fine film", None, DULL], dtype="category"),
        pd.DataFrame({"review": pd.array(["a fine film", pd.NA, DULL], dtype="string")}),
        np.array(["a fine film", None, DULL], dtype=object),
    ],
    ids=repr,
)
def test_a_row_without_a_text_gets_no_prediction(clf: TunedModel, texts: Any) -> None:
    out, lines = said(clf, texts, probabilities=True)
    assert lines == ["no prediction where there is no text: row 1"]
    assert out["prediction"].tolist()[::2] == ["good", "bad"]
    assert out["prediction"].isna().tolist() == [False, True, False]
    assert out[["confidence", "p(bad)", "p(good)"]].isna().all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "texts", [[None, ""], pd.Series([np.nan, np.nan]), pd.DataFrame({"review": pd.array([pd.NA] * 2, dtype="string")})]
)
def test_no_text_at_all(clf: TunedModel, texts: Any) -> None:
    out, lines = said(clf, texts, probabilities=True)
    assert lines == ["no prediction where there is no text: rows 0, 1"]
    assert out.isna()[["prediction", "confidence", "p(bad)"]].all(axis=None)


def test_cut_texts_are_flagged_and_said(clf: TunedModel) -> None:
    texts = pd.Series(["fine", "dull " * 40, None, "great " * 50], index=[5, 6, 7, 8])
    with pytest.warns(TruncationWarning):
        clf.predict(texts[[6]])
    out, lines = said(clf, texts)
    assert out["truncated"].tolist() == [False, True, False, True]
    assert lines == [
        f"2 texts longer than {CONTEXT} tokens: only the first {CONTEXT} were read (rows 6, 8)",
        "no prediction where there is no text: row 7",
    ]
    assert "truncated" not in clf.predict(["fine"]).columns


@pytest.mark.parametrize(
    ("x", "line"),
    [
        ([], "nothing to predict: no texts were given"),
        ((), "nothing to predict: no texts were given"),
        (np.array([]), "nothing to predict: no texts were given"),
        (pd.Series([], dtype=str), "nothing to predict: no texts were given"),
        (pd.DataFrame({"review": []}), "data has no rows"),
        ([1, 2], "data, row 0: the list holds an int, not a text"),
        (["a", ["b"]], "data, row 1: the list holds a list, not a text"),
        (np.array([["a"], ["b"]]), "data, row 0: the ndarray holds a list, not a text"),
        (pd.Series([1.5, 2.5]), "data: the Series holds float64 values, not texts: is it the right one?"),
        (pd.DataFrame({"review": ["a", 3]}), "data, row 1: column 'review' holds an int, not a text"),
        (pd.DataFrame({"text": ["a"]}), "the data have no text column 'review'; theirs are 'text'"),
        (3, "data is an int: give a DataFrame, a list of dicts or of texts, a datasets.Dataset, or the path of a "),
        (Path("nowhere.csv"), "data = 'nowhere.csv': no such file"),
    ],
    ids=repr,
)
def test_what_cannot_be_predicted_says_so(clf: TunedModel, x: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        clf.predict(x)
    assert str(caught.value).startswith(line)


# --- evaluation -----------------------------------------------------------------------------------------


def test_evaluation_equals_scikit_learn() -> None:
    clf = tuned(("c", "a", "b"), max_steps=3)
    data = films(("c", "a", "b")).sample(70, random_state=1)
    scored = clf.predict(data, probabilities=True)
    found = clf.evaluate(data)
    truth, predicted = data["sentiment"], scored["prediction"]
    assert found.rows == 70
    assert 0 < found.accuracy < 1
    assert found.accuracy == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found.macro_f1 == pytest.approx(sk.f1_score(truth, predicted, average="macro", zero_division=0))
    assert found.weighted_f1 == pytest.approx(sk.f1_score(truth, predicted, average="weighted", zero_division=0))
    chances = scored[["p(a)", "p(b)", "p(c)"]].to_numpy()
    chances /= chances.sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(sk.log_loss(truth, chances, labels=["a", "b", "c"]), abs=1e-5)
    columns = sk.precision_recall_fscore_support(truth, predicted, labels=["a", "b", "c"], zero_division=0)
    np.testing.assert_allclose(found.per_class.to_numpy(), np.array(columns).T)
    assert (found.confusion.to_numpy() == sk.confusion_matrix(truth, predicted, labels=["a", "b", "c"])).all()
    assert found.truncated == 0


def test_evaluation_equals_the_metrics_of_the_run() -> None:
    valid = films().sample(30, random_state=2)
    clf = tuned(valid=valid)
    found = clf.evaluate(valid)
    assert found.accuracy == clf.metrics["accuracy"]
    assert found.macro_f1 == pytest.approx(clf.metrics["macro_f1"])
    assert found.loss == pytest.approx(clf.metrics["loss"], rel=1e-5)


def test_evaluation_of_gaps(clf: TunedModel) -> None:
    data = films().head(12).astype({"review": "string", "sentiment": "string"})
    data.iloc[1, 0] = pd.NA
    data.iloc[2, 1] = pd.NA
    with pytest.raises(DataError, match=r"column 'review' is empty in row 101; column 'sentiment' is empty in row 102"):
        clf.evaluate(data)
    assert clf.evaluate(data, missing="drop").rows == 10
    with pytest.raises(OptionError) as caught:
        clf.evaluate(data, missing="drp")
    assert str(caught.value) == "missing = 'drp': must be one of error, drop (did you mean 'drop'?)"


def test_evaluation_says_what_was_cut(clf: TunedModel) -> None:
    data = pd.DataFrame({"review": ["fine " * 50, "dull"], "sentiment": ["good", "bad"]})
    assert clf.evaluate(data).truncated == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sentiment": "great"}, "row 100 has the label 'great'; the classes are 'bad', 'good'"),
        ({"sentiment": 1}, "row 100 has the label 1; the classes are 'bad', 'good'"),
        (
            {"sentiment": None},
            "data: column 'sentiment' is empty in rows 100, 101. Fill them, or say missing = 'drop' to",
        ),
    ],
)
def test_labels_that_cannot_be_evaluated(clf: TunedModel, change: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError) as caught:
        clf.evaluate(films().head(2).assign(**change))
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(("role", "column"), [("text", "review"), ("label", "sentiment")])
def test_a_column_that_is_not_there(clf: TunedModel, role: str, column: str) -> None:
    with pytest.raises(DataError) as caught:
        clf.evaluate(films().rename(columns={column: "other"}))
    assert str(caught.value).startswith(f"the data have no {role} column {column!r}; theirs are '")


# --- the object itself ----------------------------------------------------------------------------------


def test_model_and_tokenizer_are_plain(clf: TunedModel, tmp_path: Path) -> None:
    assert type(clf.model).__module__.startswith("transformers.")
    assert type(clf.tokenizer).__module__.startswith("transformers.")
    clf.model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in clf.model.state_dict().items())


def test_prediction_leaves_the_model_as_it_is(clf: TunedModel) -> None:
    attention = clf.model.config._attn_implementation
    for training in (True, False):
        clf.model.train(training)
        clf.predict(TEXTS)
        assert clf.model.training is training
    assert clf.model.config._attn_implementation == attention
    assert all(p.grad is None and p.requires_grad for p in clf.model.parameters())


def test_history_repr_and_card(clf: TunedModel) -> None:
    history = clf.history
    assert {"step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "seconds", "valid_loss"} <= set(history)
    assert {3, 6, 9, 12, 15, 18, 20} <= set(history["step"])
    evaluated = set(history["step"][history["valid_loss"].notna()])
    assert {step for step in history["step"] if step % 3} <= evaluated | {20}
    assert repr(clf).startswith("<TunedClassifier classify · GPT2LMHeadModel · ")
    assert f"accuracy {clf.metrics['accuracy']:.3f}" in repr(clf)
    assert len(repr(clf)) < 160
    assert "macro F1" in clf._repr_html_()
    assert clf.plot().axes
