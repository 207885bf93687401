"""A tuned model on disk: plain transformers reads it without gpt_magic, and `load` gives back all of it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors import SafetensorError
from transformers import AutoTokenizer

import gpt_magic
from gpt_magic.errors import DataError, ModelError
from gpt_magic.models.find import SHIPPED
from gpt_magic.saved import model_card
from gpt_magic.tuned import TunedModel
from tests.films import base, films, tuned

TEXTS = ["a fine film", "x", "苹果是一种什么 🍎", "so dull, " * 6, "the end <|endoftext|> or not", "<|endoftext|>"]
PLAIN = """
import json, sys
sys.modules["gpt_magic"] = None  # importing it would fail
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

def read(folder, texts):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        single = [model(**tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts]
        padded = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.tolist()
    return {"single": single, "padded": padded, "labels": list(model.config.id2label.values())}

texts, *folders = map(json.loads, sys.argv[1:])
print(json.dumps([read(folder, texts) for folder in folders]))
"""


@pytest.fixture(scope="module")
def clf() -> TunedModel:
    return tuned(baselines=True, log_every=3, eval_every=4)


@pytest.fixture(scope="module")
def folder(clf: TunedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clf.save(tmp_path_factory.mktemp("saved") / "new" / "clf")


@pytest.fixture
def damaged(clf: TunedModel, tmp_path: Path) -> Callable[[str, bytes], Path]:
    """A saved model with one file cut or changed."""

    def damage(name: str, content: bytes) -> Path:
        path = clf.save(tmp_path / "clf")
        (path / name).write_bytes(content)
        return path

    return damage


def scores(clf: TunedModel) -> np.ndarray:
    return clf._score(TEXTS, list(range(len(TEXTS))))[0]


# --- what others read -----------------------------------------------------------------------------------


def test_plain_transformers_gives_the_same_logits(clf: TunedModel, folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "nano", padding_side="left")  # as one sets it to generate
    left = tuned((3, 1, 2), base=(base()[0], tokenizer), max_steps=2)
    assert tokenizer.padding_side == "left"
    given = [json.dumps(item) for item in (TEXTS, str(folder), str(left.save(tmp_path)))]
    done = subprocess.run([sys.executable, "-c", PLAIN, *given], capture_output=True, text=True, check=True)
    for own, found in zip((clf, left), json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert own.tokenizer.pad_token_id == own.tokenizer.eos_token_id == own.model.config.pad_token_id
        np.testing.assert_allclose(found["single"], scores(own), atol=1e-5)
        np.testing.assert_allclose(found["padded"], scores(own), atol=1e-5)
        assert found["labels"] == [str(label) for label in own.classes]


def test_only_safetensors_and_text_are_written(folder: Path) -> None:
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".safetensors", ".json", ".md"}


def test_the_model_card(clf: TunedModel, folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["gpt_magic"],
    }
    assert "# classify · GPT2LMHeadModel · a DataFrame" in body
    assert "macro F1" in body
    assert "TF-IDF + logistic regression" in body
    shown = re.search(r"fine-tuned\s+★? ?([\d.]+) ?%?", body)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(clf.metrics["accuracy"] * (100 if float(shown[1]) > 1 else 1), abs=0.06)
    assert not re.search(r"&(amp|lt|gt|quot|#)", body)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("gpt2", "gpt2"),
        ("org/model-2.5", "org/model-2.5"),
        *[
            (name, None)
            for name in ("nano", "scratch", "./here", "~/models/clf", "<tuple>", 'a": [b', "a/b/c", "tests")
        ],
    ],
)
def test_the_card_names_a_base_of_the_hub_only(clf: TunedModel, given: str | None, named: str | None) -> None:
    before = clf.options
    try:
        clf.options = {**before, "base": given}
        front = yaml.safe_load(model_card(clf).split("---\n", 2)[1])
    finally:
        clf.options = before
    assert front.get("base_model") == named


def test_names_in_the_card_stand_as_they_are(tmp_path: Path) -> None:
    labels = ["<b> & 'c'", '"quoted": yes']
    data = films(labels)
    path = tmp_path / "my_<films> & *more*.csv"
    data.to_csv(path, index=False)
    own = gpt_magic.finetune(path, base=base(), max_steps=1, quiet=True, baselines=False)
    assert isinstance(own, TunedModel)
    text = own.save(tmp_path / "clf").joinpath("README.md").read_text(encoding="utf-8")
    assert labels[0] in text
    assert labels[1] in text
    assert "my_<films> & *more*.csv" in text
    assert yaml.safe_load(text.split("---\n", 2)[1])["tags"] == ["gpt_magic"]


# --- what comes back ------------------------------------------------------------------------------------


def test_all_comes_back(clf: TunedModel, folder: Path) -> None:
    again = gpt_magic.load(folder)
    assert np.array_equal(scores(again), scores(clf))
    pd.testing.assert_frame_equal(again.predict(films(), probabilities=True), clf.predict(films(), probabilities=True))
    pd.testing.assert_frame_equal(again.history, clf.history)
    for name in ("classes", "options", "columns", "max_length", "metrics", "report", "summary", "progress"):
        assert getattr(again, name) == getattr(clf, name), name
    assert again.hidden is clf.hidden
    assert not again.model.training
    assert again.model.dtype == torch.float32
    assert repr(again) == repr(clf)
    assert again._repr_html_() == clf._repr_html_()
    assert again.evaluate(films()).accuracy == clf.evaluate(films()).accuracy
    assert len(again.plot().axes) == len(clf.plot().axes)


@pytest.mark.parametrize("labels", [("食物", "动物"), (1, 0), (True, False)])
def test_classes_keep_their_kind(labels: tuple[Hashable, ...], tmp_path: Path) -> None:
    own = tuned(labels, max_steps=1)
    again = gpt_magic.load(own.save(tmp_path))
    assert [(type(label), label) for label in again.classes] == [(type(label), label) for label in own.classes]
    assert again.predict(["a fine film"])["prediction"].tolist() == own.predict(["a fine film"])["prediction"].tolist()


def test_options_that_json_does_not_know(tmp_path: Path) -> None:
    own = tuned(
        (0, 1),
        valid=films((0, 1)).head(9),
        class_weights={0: np.float32(1), np.int64(1): np.int64(2)},
        learning_rate=np.float32(0.001),
        max_steps=np.int64(2),
        seed=np.int64(3),
        valid_fraction=np.float64(0),
    )
    again = gpt_magic.load(own.save(tmp_path))
    assert again.options == own.options
    assert again.options["max_steps"] == 2
    assert json.loads((tmp_path / "gpt_magic.json").read_text(encoding="utf-8"))["classes"] == [0, 1]


def test_a_run_without_validation(tmp_path: Path) -> None:
    own = tuned(valid_fraction=0, max_steps=2)
    again = gpt_magic.load(own.save(tmp_path))
    assert "accuracy" not in again.metrics
    assert again.summary == own.summary
    assert "done: 2 steps" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_loaded_model_is_a_base(clf: TunedModel, folder: Path) -> None:
    for start in (gpt_magic.load(folder), str(folder)):
        more = tuned(base=start, max_steps=1, learning_rate=1e-8)
        np.testing.assert_allclose(scores(more), scores(clf), atol=1e-4)


def test_nothing_is_printed(clf: TunedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clf.save(tmp_path)
    gpt_magic.load(tmp_path)
    assert capfd.readouterr() == ("", "")


# --- where it can and cannot go -------------------------------------------------------------------------


def test_a_folder_may_be_saved_into_again(clf: TunedModel, tmp_path: Path) -> None:
    other = tuned(("x", "y", "z"), max_steps=1)
    first = clf.save(tmp_path / "clf")
    assert other.save(str(first)) == first
    again = gpt_magic.load(str(first))
    assert again.classes == ["x", "y", "z"]
    assert np.array_equal(scores(again), scores(other))
    assert "3 classes" in (first / "README.md").read_text(encoding="utf-8")


def test_a_disk_that_is_full_when_weights_are_written_is_one_line(
    clf: TunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(type(clf.model), "save_pretrained", full)
    with pytest.raises(DataError, match=r"cannot save into '.*clf': Error while serializing: I/O error: No space left"):
        clf.save(tmp_path / "clf")


def test_a_home_folder_is_found(clf: TunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    clf.save("~/clf")
    assert gpt_magic.load("~/clf").classes == clf.classes
    assert (tmp_path / "clf").is_dir()


def test_a_file_is_not_written_over(clf: TunedModel, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(DataError) as caught:
        clf.save(path)
    assert str(caught.value) == f"cannot save into '{path}': it is a file, give a folder"
    with pytest.raises(DataError) as caught:
        clf.save(path / "clf")
    assert str(caught.value).startswith(f"cannot save into '{path / 'clf'}': ")
    assert path.read_text() == "mine"


def test_the_readme_of_a_project_is_not_written_over(clf: TunedModel, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(DataError) as caught:
        clf.save(tmp_path)
    assert str(caught.value) == f"cannot save into '{tmp_path}': it has a README.md of its own; give a new folder"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_the_adapter_of_another_tool_is_not_taken_along(clf: TunedModel, tmp_path: Path) -> None:
    """Plain transformers would put it on the model."""
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        clf.save(tmp_path)
    assert str(caught.value) == f"cannot save into '{tmp_path}': it has an adapter of its own; give a new folder"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_config.json"]


@pytest.mark.parametrize(("name", "said"), [("", "''"), (" ", "' '"), (None, "None"), (3, "3")])
def test_nothing_is_no_folder(name: Any, said: str, clf: TunedModel, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (clf.save, gpt_magic.load):
        with pytest.raises(DataError) as caught:
            call(name)
        assert str(caught.value) == f"{said} names no folder: give its path, such as 'clf'"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.touch(), "this is a file, give its folder"),
        (lambda path: path.mkdir(), "the folder has no gpt_magic.json, so gpt_magic did not write it"),
        (
            lambda path: base()[0].save_pretrained(path),
            "the folder has no gpt_magic.json, so gpt_magic did not write it",
        ),
    ],
)
def test_what_gpt_magic_did_not_write(make: Callable[[Path], Any], line: str, tmp_path: Path) -> None:
    make(tmp_path / "clf")
    with pytest.raises(ModelError) as caught:
        gpt_magic.load(tmp_path / "clf")
    assert str(caught.value) == f"cannot load '{tmp_path / 'clf'}': {line}"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("gpt_magic.json", b'{"format": 1,', "its gpt_magic.json is damaged; save the model again"),
        ("gpt_magic.json", b"\xff", "its gpt_magic.json is damaged; save the model again"),
        ("gpt_magic.json", b'{"format": 1}', "its gpt_magic.json is damaged; save the model again"),
        ("gpt_magic.json", b"[]", "its gpt_magic.json is damaged; save the model again"),
        ("gpt_magic.json", b'{"format": 9}', "a newer gpt_magic wrote it: upgrade gpt_magic"),
        ("model.safetensors", b"cut", ""),
        ("config.json", b"cut", ""),
    ],
)
def test_damage_is_one_line(name: str, content: bytes, line: str, damaged: Callable[[str, bytes], Path]) -> None:
    path = damaged(name, content)
    with pytest.raises(ModelError) as caught:
        gpt_magic.load(path)
    assert str(caught.value).startswith(f"cannot load '{path}': {line}")
    assert len(str(caught.value)) < 300


def test_a_folder_cannot_bring_code_of_its_own(
    clf: TunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clf.save(tmp_path / "clf")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    code = {"AutoConfig": "evil.EvilConfig", "AutoModelForSequenceClassification": "evil.EvilModel"}
    config |= {"model_type": "evilgpt", "auto_map": code}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()", encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers' own question whether to run it
    with pytest.raises(ModelError) as caught:
        gpt_magic.load(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_labels_are_no_markup_in_the_card(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a `b` c"] * 12, "label": [["<b>x</b>", "a|b"], ["<b>x</b>"]] * 6})
    folder = gpt_magic.finetune(frame, base=base(), max_steps=1, quiet=True, baselines=False).save(tmp_path / "multi")
    said = (folder / "README.md").read_text(encoding="utf-8").split("## The run")[0]
    assert "<b>" not in said
    assert r"&lt;b&gt;x&lt;/b&gt; 0.500, a\|b 0.500" in said
