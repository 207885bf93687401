"""Classes that are calibrated, several labels, numbers, pairs, label words: what comes back, and plain transformers."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import gpt_magic
from gpt_magic.errors import DataError, OptionError
from gpt_magic.inference.calibration import fit_temperature
from gpt_magic.tuned import (
    TruncationWarning,
    TunedClassifier,
    TunedModel,
    TunedMultilabel,
    TunedRegressor,
    TunedWords,
)
from tests.films import base

WORDS = ["fine", "dull", "odd", "loud"]


def table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Films of one to three words, with the words, a class, a number and a second text; some labels are wrong."""
    rng = np.random.default_rng(seed)
    made = [sorted(rng.choice(WORDS, rng.integers(1, 4), replace=False).tolist()) for _ in range(rows)]
    wrong = rng.random(rows) < 0.15
    return pd.DataFrame(
        {
            "review": [f"{' '.join(words)} film {i}" for i, words in enumerate(made)],
            "reply": rng.choice(["yes", "no"], rows),
            "mood": ["good" if ("fine" in words) != odd else "bad" for words, odd in zip(made, wrong, strict=True)],
            "tags": [[w for w in words if w != "odd" and not odd] for words, odd in zip(made, wrong, strict=True)],
            "price": [1000 + 10.5 * len(words) + 5 * odd for words, odd in zip(made, wrong, strict=True)],
        },
        index=range(100, 100 + rows),
    )


def finetune(label: str, **options: Any) -> Any:
    given = {"max_steps": 40, "learning_rate": 1e-2, "valid_fraction": 0.25, "baselines": False, "quiet": True}
    return gpt_magic.finetune(**{"data": table(), "text": "review", "label": label, "base": base(), **given, **options})


@pytest.fixture(scope="module")
def clf() -> TunedClassifier:
    return finetune("mood")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def tagger() -> TunedMultilabel:
    return finetune("tags", baselines=True)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def rater() -> TunedRegressor:
    return finetune("price", baselines=True)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def wordy() -> TunedWords:
    return finetune("mood", style="words", max_length=24, baselines=True)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def nli() -> TunedClassifier:
    return finetune("mood", text=["review", "reply"])  # type: ignore[no-any-return]


def plain_logits(folder: Path, *texts: list[str]) -> np.ndarray:
    """What plain transformers makes of texts, or pairs of them, one at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        rows = [model(**tokenizer(*row, return_tensors="pt")).logits[0] for row in zip(*texts, strict=True)]
    return torch.stack(rows).numpy()


# --- calibration ----------------------------------------------------------------------------------------


def test_the_temperature_is_in_the_head_and_changes_no_prediction(clf: TunedClassifier, tmp_path: Path) -> None:
    raw = finetune("mood", calibrate=False)
    assert raw.calibration is None
    assert clf.calibration is not None
    temperature = clf.calibration["temperature"]
    assert clf.metrics["temperature"] == temperature != 1
    torch.testing.assert_close(clf.model.score.weight * temperature, raw.model.score.weight)
    frame = table(seed=1)
    assert clf.predict(frame)["prediction"].equals(raw.predict(frame)["prediction"])
    scored = clf.predict(frame[:20], probabilities=True)
    logits = plain_logits(clf.save(tmp_path / "clf"), frame["review"][:20].tolist())
    np.testing.assert_allclose(
        scored[["p(bad)", "p(good)"]], torch.from_numpy(logits).softmax(dim=1).numpy(), atol=1e-5
    )


def test_the_temperature_is_that_of_the_validation_rows(clf: TunedClassifier) -> None:
    """The rows that the run set aside, which are told here by a run that is given just them."""
    raw = finetune("mood", calibrate=False)
    rows = table().sample(60, random_state=1)
    given = finetune("mood", valid=rows, max_steps=5)
    logits = given._score(rows["review"].tolist(), rows.index.tolist())[0] * given.calibration["temperature"]
    truth = (rows["mood"] == "good").astype(int).to_numpy()
    assert given.calibration["temperature"] == pytest.approx(fit_temperature(logits, truth), rel=1e-4)
    assert given.calibration["rows"] == 60
    assert "temperature" not in raw.metrics


def test_what_was_done_is_said_and_kept(clf: TunedClassifier, tmp_path: Path) -> None:
    facts = dict(clf.summary.facts)
    assert clf.calibration is not None
    assert facts["calibration"].startswith(f"temperature {clf.calibration['temperature']:.3g}; expected calibration ")
    assert f"{clf.calibration['ece_after']:.1%} with it (60 validation rows" in facts["calibration"]
    folder = clf.save(tmp_path / "clf")
    again = gpt_magic.load(folder)
    assert isinstance(again, TunedClassifier)
    assert again.calibration == json.loads(json.dumps(clf.calibration))
    assert "was calibrated on 60 rows" in (folder / "README.md").read_text(encoding="utf-8")
    axes = clf.reliability().axes
    assert {text.get_text() for text in axes[0].get_legend().get_texts()} >= {"as sure as right"}
    assert len(again.reliability().axes) == 2


def test_too_few_rows_are_said_and_leave_the_head_as_it_is(tmp_path: Path) -> None:
    few = finetune("mood", valid_fraction=0.2, max_steps=2)
    assert few.calibration is None
    assert dict(few.summary.facts)["calibration"] == (
        "none: 48 validation rows, fewer than 50, cannot say how sure to be"
    )
    with pytest.raises(DataError, match="the model was not calibrated; its card says why"):
        few.reliability()
    record = few.save(tmp_path / "old") / "gpt_magic.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    del content["calibration"]  # as written before there was any
    record.write_text(json.dumps(content), encoding="utf-8")
    assert gpt_magic.load(tmp_path / "old").calibration is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(("label", "options"), [("mood", {}), ("mood", {"style": "words"}), ("tags", {})])
def test_without_validation_rows_nothing_is_settled_and_that_is_said(label: str, options: dict[str, Any]) -> None:
    made = finetune(label, valid_fraction=0.0, max_steps=2, **options)
    facts = dict(made.summary.facts)
    assert facts["calibration"] == "none: no validation rows to settle it on"
    assert made.calibration is None
    if label == "tags":
        assert facts["thresholds"] == "0.5 for each label: no validation rows to tune them on"
        assert made.thresholds == [0.5] * 3
    off = finetune(label, valid_fraction=0.0, max_steps=1, calibrate=False, **options)
    assert "calibration" not in dict(off.summary.facts)


def test_a_failure_after_training_does_not_cost_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.tasks import classify

    def fail(*_: Any) -> Any:
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(classify, "settle_temperature", fail)
    made = finetune("mood", max_steps=2)
    assert made.calibration is None
    assert made.summary.warnings == ["not settled after training, so left as it was: RuntimeError: no luck"]


# --- several labels -------------------------------------------------------------------------------------


def test_plain_transformers_gives_the_same_probabilities_of_labels(tagger: TunedMultilabel, tmp_path: Path) -> None:
    frame = table(seed=1)[:20]
    out = tagger.predict(frame, probabilities=True)
    folder = tagger.save(tmp_path / "tagger")
    chances = torch.from_numpy(plain_logits(folder, frame["review"].tolist())).sigmoid().numpy()
    np.testing.assert_allclose(out[[f"p({label})" for label in tagger.classes]], chances, atol=1e-5)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.problem_type == "multi_label_classification"
    assert model.config.id2label == dict(enumerate(["dull", "fine", "loud"]))
    record = json.loads((folder / "gpt_magic.json").read_text(encoding="utf-8"))
    for labels, sure, row in zip(out["prediction"], out["confidence"], chances, strict=True):
        said = [label for label, p, t in zip(tagger.classes, row, record["thresholds"], strict=True) if p >= t]
        assert labels == said
        assert sure == pytest.approx([row[tagger.classes.index(label)] for label in said], abs=1e-5)
    assert f"dull {tagger.thresholds[0]:.3f}" in (folder / "README.md").read_text(encoding="utf-8")


def test_several_labels_are_learned_kept_and_evaluated(tagger: TunedMultilabel, tmp_path: Path) -> None:
    assert tagger.metrics["micro_f1"] > 0.7
    assert [name for name, _ in tagger.summary.scores.rows] == [  # type: ignore[union-attr]
        "GPT2LMHeadModel fine-tuned",
        "most frequent labels",
        "TF-IDF + logistic regression a label",
    ]
    assert "60 validation rows, each half by the other half's thresholds" in dict(tagger.summary.facts)["thresholds"]
    again = gpt_magic.load(tagger.save(tmp_path / "tagger"))
    frame = table(seed=1)
    found = tagger.evaluate(frame)
    assert str(again.evaluate(frame)) == str(found)
    assert found.rows == 240
    assert found.per_label["support"].sum() == sum(map(len, frame["tags"]))
    said = tagger.predict(frame)["prediction"]
    right = [set(a) == set(b) for a, b in zip(said, frame["tags"], strict=True)]
    assert found.exact_match == pytest.approx(np.mean(right))
    with pytest.raises(DataError, match="row 0 has the label 'new'; the labels of the training data are 'dull', "):
        tagger.evaluate({"review": ["a"], "tags": [["new"]]})


def test_rows_without_a_text_get_no_labels(tagger: TunedMultilabel) -> None:
    with pytest.warns(UserWarning, match="no prediction where there is no text: row 1") as caught:
        out = tagger.predict(["fine film 1", None, "dull film 2"], probabilities=True)
    assert caught[0].filename == __file__
    assert out["prediction"].isna().tolist() == [False, True, False]
    assert out["p(fine)"].isna().tolist() == [False, True, False]
    assert all(isinstance(labels, list) for labels in out["prediction"].dropna())


# --- numbers --------------------------------------------------------------------------------------------


def test_plain_transformers_gives_the_same_numbers(rater: TunedRegressor, tmp_path: Path) -> None:
    frame = table(seed=1)
    out = rater.predict(frame)["prediction"]
    folder = rater.save(tmp_path / "rater")
    np.testing.assert_allclose(out[:20], plain_logits(folder, frame["review"][:20].tolist())[:, 0], rtol=1e-6)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert (model.config.problem_type, model.config.num_labels) == ("regression", 1)
    found = rater.evaluate(frame)
    assert found == gpt_magic.load(folder).evaluate(frame)
    assert found.mae == pytest.approx((out - frame["price"]).abs().mean())
    assert found.r2 > 0.3


def test_metrics_are_in_the_unit_of_the_data(rater: TunedRegressor) -> None:
    """The run's own, before the head spoke in it, against the mean, whose figures need no model."""
    scores = {name: values for name, values in rater.summary.scores.rows}  # type: ignore[union-attr]  # noqa: C416
    mean = scores["mean of the training rows"]
    assert 5 < mean[1] < 15  # type: ignore[operator]  # of prices from 1010 to 1037
    assert rater.metrics["rmse"] < mean[1]  # type: ignore[operator]
    assert len(scores) == 3


@pytest.mark.parametrize("options", [{"valid_fraction": 0.0}, {"valid_fraction": 0.25, "calibrate": False}])
def test_numbers_without_validation_rows_are_in_the_unit_too(options: dict[str, Any]) -> None:
    made = finetune("price", max_steps=10, **options)
    assert made.predict("fine film 1")["prediction"][0] == pytest.approx(1020, abs=25)


def test_numbers_that_a_base_says_already_are_where_training_goes_on(rater: TunedRegressor) -> None:
    frame = table(seed=1)
    for data in (table(), table().assign(price=lambda rows: rows["price"] * 2.1)):  # whatever their mean and spread
        more = finetune("price", data=data, base=(rater.model, rater.tokenizer), max_steps=1, learning_rate=1e-8)
        np.testing.assert_allclose(more.predict(frame)["prediction"], rater.predict(frame)["prediction"], rtol=1e-4)


def test_numbers_have_no_probabilities(rater: TunedRegressor) -> None:
    with pytest.raises(OptionError, match="a model that says numbers has none"):
        rater.predict("fine", probabilities=True)


def test_a_model_without_a_place_for_the_mean_learns_it() -> None:
    """Llama's last norm has no bias; numbers near 0 come out in their unit all the same, far ones with a warning."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=8192, max_position_embeddings=64, eos_token_id=0))
    frame = table().assign(price=lambda rows: rows["price"] - 1010)
    made = finetune("price", data=frame, base=(llama, base()[1]))
    assert made.summary.warnings == []
    found = made.evaluate(table(seed=1).assign(price=lambda rows: rows["price"] - 1010))
    assert found.r2 > 0.3
    assert made.metrics["rmse"] == pytest.approx(made.metrics["loss"] ** 0.5 * frame["price"].std(), rel=0.1)
    (said,) = finetune("price", base=(llama, base()[1]), max_steps=1).summary.warnings
    assert said.startswith("the numbers are far from 0, and llama has no place to put their mean: ")


# --- label words ----------------------------------------------------------------------------------------


def test_a_prompt_that_was_cut_is_said_with_what_a_prompt_may_have(wordy: TunedWords) -> None:
    room = wordy.max_length + 1 - max(len(wordy.tokenizer(f" {name}")["input_ids"]) + 1 for name in wordy.classes)
    with pytest.warns(TruncationWarning, match=f"1 text longer than {room} tokens: only the first {room} were read"):
        wordy.predict(["film " * 40, "a film"])


def test_plain_transformers_scores_the_same_words(wordy: TunedWords, tmp_path: Path) -> None:
    frame = table(seed=1)[:12]
    folder = wordy.save(tmp_path / "wordy")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in frame["review"]:
        prompt = tokenizer(f"{text}\nmood:")["input_ids"]
        row = []
        for label in wordy.classes:
            name = [*tokenizer(f" {label}")["input_ids"], tokenizer.eos_token_id]
            with torch.no_grad():
                chances = model(torch.tensor([prompt + name])).logits[0].log_softmax(dim=1)
            row.append(sum(float(chances[len(prompt) - 1 + i, token]) for i, token in enumerate(name)))
        rows.append(row)
    expected = torch.tensor(rows).div(wordy.temperature).softmax(dim=1).numpy()
    out = wordy.predict(frame, probabilities=True)
    np.testing.assert_allclose(out[["p(bad)", "p(good)"]], expected, atol=1e-5)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-generation" in card
    assert f"divided by {wordy.temperature:.6g}" in card
    again = gpt_magic.load(folder)
    assert isinstance(again, TunedWords)
    assert str(again.evaluate(frame)) == str(wordy.evaluate(frame))


def test_words_are_learned_and_stand_beside_the_base_as_it_was(wordy: TunedWords) -> None:
    assert wordy.summary.scores is not None
    rows = {name: values for name, values in wordy.summary.scores.rows}  # noqa: C416
    assert list(rows) == [
        "GPT2LMHeadModel fine-tuned",
        "GPT2LMHeadModel as it was",
        "majority class",
        "TF-IDF + logistic regression",
    ]
    assert wordy.metrics["accuracy"] > 0.7
    assert wordy.calibration is not None
    assert wordy.temperature == wordy.calibration["temperature"] != 1


def test_before_training_it_is_the_zero_shot_model(wordy: TunedWords, tmp_path: Path) -> None:
    """What the card says of the base as it was is what `zero_shot` is worth on the same rows."""
    frame = table(seed=1)
    run = finetune("mood", style="words", max_steps=1, valid=frame, baselines=True)
    shot = gpt_magic.zero_shot(["bad", "good"], base=base(), text="review", label="mood")
    found = shot.evaluate(frame)
    before = dict(run.summary.scores.rows)["GPT2LMHeadModel as it was"]
    assert before == pytest.approx([found.accuracy, found.macro_f1])
    again = gpt_magic.load(shot.save(tmp_path / "shot"))
    assert again.predict("fine film")["confidence"][0] == pytest.approx(shot.predict("fine film")["confidence"][0])
    assert shot.temperature == 1.0


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        ("good", r"classes = \['good'\]: give two labels or more, each once"),
        (["good", "good"], r"classes = \['good', 'good'\]: give two labels or more, each once"),
        (["good", 1], "classes: column 'classes' mixes labels of kind int and str"),
        (["good", " "], r"classes = \['good', ' '\]: a label without a character cannot be found behind a text"),
    ],
)
def test_zero_shot_needs_labels_to_choose_from(classes: Any, line: str) -> None:
    with pytest.raises(DataError, match=line):
        gpt_magic.zero_shot(classes, base=base())


def test_zero_shot_refuses_what_it_does_not_read() -> None:
    with pytest.raises(
        OptionError, match=r"zero_shot has no option 'tempate' \(did you mean 'template'\?\); it takes "
    ):
        gpt_magic.zero_shot(["a", "b"], tempate="{text}")


# --- pairs ----------------------------------------------------------------------------------------------


def test_pairs_are_read_by_plain_transformers_as_pairs(nli: TunedClassifier, tmp_path: Path) -> None:
    frame = table(seed=1)[:20]
    scored = nli.predict(frame, probabilities=True)
    logits = plain_logits(nli.save(tmp_path / "nli"), frame["review"].tolist(), frame["reply"].tolist())
    np.testing.assert_allclose(
        scored[["p(bad)", "p(good)"]], torch.from_numpy(logits).softmax(dim=1).numpy(), atol=1e-5
    )
    assert "It labels a pair of texts" in (tmp_path / "nli" / "README.md").read_text(encoding="utf-8")
    assert gpt_magic.load(tmp_path / "nli").predict(frame).equals(nli.predict(frame))


def test_pairs_come_as_tables_tuples_and_lists(nli: TunedClassifier) -> None:
    pairs = [("fine film 1", "yes"), ("dull film 2", "no")]
    frame = pd.DataFrame(pairs, columns=["review", "reply"])
    expected = nli.predict(frame)
    assert expected.columns.tolist() == ["review", "reply", "prediction", "confidence"]
    for given in (pairs, tuple(pairs), [list(pair) for pair in pairs], np.array(pairs), frame.to_dict("records")):
        pd.testing.assert_frame_equal(nli.predict(given), expected, check_dtype=False)
    rows = pd.Series(pairs, index=[10, 20])
    pd.testing.assert_frame_equal(nli.predict(rows), expected.set_axis(rows.index), check_dtype=False)
    with pytest.raises(DataError, match=r"^data, row 20: a str, not a pair of texts$"):
        nli.predict(pd.Series([pairs[0], "yes"], index=rows.index))
    assert nli.predict(pairs[0])["prediction"].tolist() == expected["prediction"].tolist()[:1]
    with pytest.warns(UserWarning, match="no prediction where there is no text: rows 0, 2"):
        gaps = nli.predict([("fine", None), pairs[1], (" ", "yes")])
    assert gaps["prediction"].isna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("x", "line"),
    [
        ("fine", "this model labels pairs: give a tuple of two texts, or a table with review and reply"),
        (["fine", "dull"], "data, row 0: a str, not a pair of texts"),
        ([("a", "b"), ("a", "b", "c")], "data, row 1: a tuple, not a pair of texts"),
        ([("a", 1)], "data, row 0: column 'reply' holds an int, not a text"),
        ([], "nothing to predict: no texts were given"),
        ({"review": ["a"]}, "the data have no second text column 'reply'; theirs are 'review'"),
    ],
)
def test_what_is_no_pair_says_so(nli: TunedClassifier, x: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        nli.predict(x)
    assert str(caught.value) == line


@pytest.mark.parametrize(("label", "options"), [("tags", {}), ("price", {}), ("mood", {"style": "words"})])
def test_pairs_are_for_all_kinds_of_labels(label: str, options: dict[str, Any]) -> None:
    made = finetune(label, text=["review", "reply"], max_steps=2, baselines=True, **options)
    assert isinstance(made, TunedModel)
    assert len(made.predict([("fine film", "yes")])) == 1
    assert not [said for said in made.summary.warnings if "baseline" in said]


def test_options_of_other_tasks_say_that_they_do_nothing() -> None:
    for label, options, said in (
        ("price", {"calibrate": False}, "calibrate does nothing for task = 'regress'"),
        ("price", {"class_weights": "balanced"}, "class_weights does nothing for task = 'regress'"),
        ("tags", {"template": "{text}"}, "template does nothing for task = 'multilabel'"),
        ("mood", {"template": "{text}"}, "template does nothing for style = 'head'"),
        ("mood", {"style": "words", "class_weights": "balanced"}, "class_weights does nothing for style = 'words'"),
    ):
        assert said in finetune(label, max_steps=1, **options).summary.warnings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert finetune("tags", max_steps=1, class_weights="balanced").summary.warnings == []
