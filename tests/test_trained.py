"""Every task with every part that can be trained: what comes back, on disk too, and what is said of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

import gpt_magic
from gpt_magic import store
from gpt_magic.engine.adapters import adapted
from gpt_magic.engine.parts import Part
from gpt_magic.engine.trunk import keep_states
from gpt_magic.engine.vocabulary import used_rows
from gpt_magic.errors import ModelError, OptionError
from gpt_magic.models.find import SHIPPED
from gpt_magic.trained import Learner
from gpt_magic.tuned import TunedModel
from tests.films import films
from tests.full import FullDisk
from tests.places import places
from tests.quiz import quiz
from tests.rhymes import RHYMES
from tests.tiny import random_rows, tiny_gpt2

PARTS = ["lora", "top:2", "head"]
LAYERS = 3
PLAIN = """
import json, sys
sys.modules["gpt_magic"] = None  # importing it would fail
import torch
import transformers
from peft import PeftModel

base, folder, auto, head, ids = map(json.loads, sys.argv[1:])
auto = getattr(transformers, auto)
ids = torch.tensor(ids)
with torch.no_grad():
    by_peft = PeftModel.from_pretrained(auto.from_pretrained(base, **head), folder).eval()(input_ids=ids)
    by_transformers = auto.from_pretrained(folder, **head).eval()(input_ids=ids)
for found in (by_peft, by_transformers):
    print(json.dumps((found.logits if "logits" in found else found.start_logits).tolist()))
"""


def texts() -> pd.DataFrame:
    table = films()
    table["words"] = [[], ["long"], ["odd"], ["long", "odd"]] * (len(table) // 4)
    table["stars"] = np.linspace(1.5, 4.5, len(table))
    return table


TASKS: dict[str, dict[str, Any]] = {
    "classify": {"data": texts(), "text": "review", "label": "sentiment"},
    "multilabel": {"data": texts(), "text": "review", "label": "words"},
    "regress": {"data": texts(), "text": "review", "label": "stars"},
    "words": {"data": texts(), "text": "review", "label": "sentiment", "style": "words"},
    "tag": {"data": places()},
    "extract": {"data": quiz(), "style": "extract"},
    "write": {"data": quiz(), "style": "write"},
    "generate": {"data": RHYMES, "task": "generate"},
}
HEADS = ("classify", "multilabel", "regress", "tag", "extract")  # the others have the embedding's matrix


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-2 of 3 layers x 32, random weights larger than GPT-2's own, and the tokenizer that ships."""
    torch.manual_seed(0)
    end = {"bos_token_id": 0, "eos_token_id": 0}
    shape = {"n_layer": LAYERS, "n_embd": 32, "n_head": 2, "n_positions": 64, "vocab_size": 8192}
    folder = tmp_path_factory.mktemp("base")
    GPT2LMHeadModel(GPT2Config(**shape, **end, initializer_range=0.1)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(SHIPPED / "nano").save_pretrained(folder)
    return folder


def finetune(task: str, folder: Path, train: str, **options: Any) -> Any:
    given = {"epochs": 2, "learning_rate": 1e-2, "valid_fraction": 0.2, "baselines": False, "quiet": True}
    return gpt_magic.finetune(**{"base": str(folder), **TASKS[task], **given, "train": train, **options})


@pytest.mark.parametrize("train", PARTS)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_a_plain_model_of_which_only_the_part_has_changed(task: str, train: str, base: Path) -> None:
    if train == "head" and task not in HEADS:
        with pytest.raises(OptionError, match=r"^train = 'head': this head shares its matrix with the embedding"):
            finetune(task, base, train)
        return
    made = finetune(task, base, train)
    assert isinstance(made, TunedModel)
    assert not adapted(made.model)
    assert all(weight.requires_grad for weight in made.model.parameters())
    was = GPT2LMHeadModel.from_pretrained(base).transformer.state_dict()
    same = {name for name, value in made.model.base_model.state_dict().items() if torch.equal(value, was[name])}
    assert same >= {"wte.weight", "wpe.weight"}
    blocks = {int(name.split(".")[1]) for name in set(was) - same if name.startswith("h.")}
    assert blocks == {"lora": {0, 1, 2}, "top:2": {1, 2}, "head": set()}[train]
    facts = dict(made.summary.facts)
    assert (
        facts["trained"].split(" of ")[1].startswith(f"{sum(w.numel() for w in made.model.parameters()):,} parameters")
    )
    if train == "lora":
        assert "frozen part" not in facts
        assert "merged at the end" in facts["trained"]
    else:
        assert facts["frozen part"].endswith(" MB")
        assert "computed once a row and kept in memory" in facts["frozen part"]
    assert not made.summary.warnings


@pytest.mark.parametrize("task", ["classify", "tag", "extract", "generate", "words"])
def test_of_the_whole_the_embedding_s_unused_rows_decay_alone(task: str, base: Path) -> None:
    made = finetune(task, base, "all", weight_decay=0.5, schedule="constant", warmup=0)
    said = dict(made.summary.facts)["trained"]
    now = made.model.base_model.wte
    assert type(now) is torch.nn.Embedding
    was = GPT2LMHeadModel.from_pretrained(base).transformer.wte.weight
    shares = now.weight.detach() / was
    decayed = (shares.max(1).values - shares.min(1).values < 1e-5).sum()
    if task in HEADS:
        assert said.endswith(f"; no gradients for {decayed:,} rows of the embedding that no training text uses")
        assert decayed > 7000
        left = (1 - 1e-2 * 0.5) ** made.metrics["steps"]
        assert float(shares[(shares - left).abs().max(1).values < 1e-4].shape[0]) == decayed
    else:  # the head is the same matrix, and has gradients for all rows
        assert "embedding" not in said
        assert decayed < 100


@pytest.mark.parametrize("task", ["classify", "tag", "extract", "generate", "words"])
def test_kept_states_change_nothing(task: str, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = finetune(task, base, "top:1", precision="fp32")  # bf16 rounds what is computed within a step
    monkeypatch.setattr("gpt_magic.store.lacks_room", lambda need: "no room")
    again = finetune(task, base, "top:1", precision="fp32")
    assert dict(again.summary.facts)["frozen part"] == "2 blocks, computed whenever a row is read: no room"
    for name in ("loss", "valid_loss"):
        one, other = (run.history[name].to_numpy() for run in (kept, again))
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("when", "why"), [("before", "the data need"), ("while it is written", "the cache folder")])
def test_a_disk_that_fills_up_costs_time_alone(
    when: str, why: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.FOLDER, str(tmp_path))
    monkeypatch.setattr(store, "IN_MEMORY", 1000)

    def fill_up_first(*args: Any) -> Any:
        if when == "before":
            monkeypatch.setattr(store, "_free", lambda where: 0)
        else:
            monkeypatch.setattr(pa.ipc, "new_file", lambda *_: FullDisk())
        return keep_states(*args)

    monkeypatch.setattr("gpt_magic.fit.keep_states", fill_up_first)
    made = finetune("classify", base, "top:1")
    (warning,) = made.summary.warnings
    assert warning.startswith(
        f"what the frozen blocks make of the rows was not kept, so they compute it each time: {why}"
    )
    assert made.metrics["steps"] == 8
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", TASKS)
def test_a_kept_adapter_is_peft_s_own(task: str, base: Path, tmp_path: Path) -> None:
    """In a process without gpt_magic, by peft and by transformers: the same logits. And by gpt_magic itself."""
    made = finetune(task, base, "lora", merge=False)
    assert adapted(made.model)
    folder = made.save(tmp_path / "adapter")
    found = {path.name for path in folder.iterdir()}
    assert found >= {"adapter_config.json", "adapter_model.safetensors", "gpt_magic.json", "README.md"}
    assert not found & {"config.json", "model.safetensors"}
    assert (folder / "adapter_model.safetensors").stat().st_size < 60_000
    ids = torch.randint(0, 8000, (1, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        out = made.model(input_ids=ids)
        expected = out.logits if "logits" in out else out.start_logits
    auto = type(made).auto_class_of(vars(made))
    head = {"num_labels": made.model.config.num_labels} if task in HEADS and task != "extract" else {}
    args = [json.dumps(one) for one in (str(base), str(folder), auto, head, ids.tolist())]
    done = subprocess.run([sys.executable, "-c", PLAIN, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        torch.testing.assert_close(torch.tensor(json.loads(line)), expected, atol=1e-5, rtol=1e-5)
    loaded = gpt_magic.load(folder)
    with torch.no_grad():
        out = loaded.model(input_ids=ids)
    torch.testing.assert_close(out.logits if "logits" in out else out.start_logits, expected, atol=0, rtol=0)
    assert loaded.model.config.id2label == made.model.config.id2label
    again = loaded.save(tmp_path / "again")
    assert json.loads((again / "gpt_magic.json").read_text())["adapter"]["base"] == str(base.resolve())


def test_a_kept_adapter_answers_like_a_merged_one(base: Path, tmp_path: Path) -> None:
    apart, merged = (finetune("regress", base, "lora", merge=merge) for merge in (False, True))
    some = texts()["review"][:5].tolist()
    np.testing.assert_allclose(apart.predict(some)["prediction"], merged.predict(some)["prediction"], rtol=1e-4)
    loaded = gpt_magic.load(apart.save(tmp_path / "apart"))
    np.testing.assert_array_equal(loaded.predict(some)["prediction"], apart.predict(some)["prediction"])
    card = (tmp_path / "apart" / "README.md").read_text()
    assert "PeftModel.from_pretrained(base" in card


def test_a_folder_holds_one_kind_of_model(base: Path, tmp_path: Path) -> None:
    apart, merged = (finetune("classify", base, "lora", merge=merge) for merge in (False, True))
    some = texts()["review"][:5].tolist()
    for model in (merged, apart, merged):
        folder = model.save(tmp_path / "one")
        found = gpt_magic.load(folder).predict(some, probabilities=True)
        pd.testing.assert_frame_equal(found, model.predict(some, probabilities=True), check_exact=True)
        assert (folder / "config.json").exists() == (model is merged)
        assert (folder / "adapter_config.json").exists() == (model is apart)


def test_an_adapter_is_no_base(base: Path, tmp_path: Path) -> None:
    apart = finetune("classify", base, "lora", merge=False)
    with pytest.raises(OptionError, match=r"^base: this model still has its adapter apart"):
        finetune("classify", base, "all", base=apart)
    folder = apart.save(tmp_path / "apart")
    with pytest.raises(ModelError, match="the folder holds an adapter and not a whole model"):
        finetune("classify", base, "all", base=str(folder))


def test_an_adapter_whose_base_is_gone(base: Path, tmp_path: Path) -> None:
    folder = finetune("classify", base, "lora", merge=False).save(tmp_path / "apart")
    record = json.loads((folder / "gpt_magic.json").read_text())
    record["adapter"]["base"] = str(tmp_path / "gone")
    (folder / "gpt_magic.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"gone': no such folder$"):
        gpt_magic.load(folder)


def test_the_same_seed_gives_the_same_bits(base: Path) -> None:
    for train in ("lora", "top:1"):
        one, other = (finetune("classify", base, train, dropout=0.2) for _ in range(2))
        assert all(torch.equal(v, other.model.state_dict()[n]) for n, v in one.model.state_dict().items())


def test_once_through_the_rows_keeps_nothing(base: Path) -> None:
    facts = dict(finetune("classify", base, "top:1", epochs=1).summary.facts)
    assert facts["frozen part"] == "2 blocks, computed whenever a row is read: each row is read once"


def test_what_does_nothing_is_said(base: Path) -> None:
    seen = gpt_magic.finetune(**TASKS["classify"], base=str(base), lora_rank=4, merge=False, dry_run=True)
    assert list(seen.warnings) == [f"{name} does nothing for train = 'all'" for name in ("lora_rank", "merge")]
    assert dict(seen.facts)["trained"].startswith("all ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": "top:4"}, r"^train = 'top:4': the model has 3 blocks; say top:1 to top:3$"),
        (
            {"train": "lora", "optimizer": "muon"},
            r"^optimizer = 'muon' is for the matrices in the blocks, and train = 'lora'",
        ),
        (
            {"train": "head", "optimizer": "muon"},
            r"^optimizer = 'muon' is for the matrices in the blocks, and train = 'head'",
        ),
        ({"train": "lora", "lora_targets": "c_atn"}, r"^lora_targets = \['c_atn'\]: no layer 'c_atn' in the blocks"),
        (
            {"train": "lora", "merge": False, "base": "scratch"},
            r"base = 'scratch' has random weights; save it and give",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(options: dict[str, Any], said: str, base: Path) -> None:
    with pytest.raises(OptionError, match=said):
        finetune("classify", base, **options, dry_run=True)


def test_muon_trains_the_top_blocks(base: Path) -> None:
    made = finetune("classify", base, "top:1", optimizer="muon")
    assert made.metrics["steps"] == 8


def test_a_family_whose_embedding_is_not_known_is_trained_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: Any) -> Any:
        raise NotImplementedError

    model = tiny_gpt2()
    monkeypatch.setattr(type(model), "get_input_embeddings", unknown)
    learner = Learner(Part(), None, merge=True, base=None, used=used_rows(model, random_rows(4, seed=0)))
    assert learner.begin(model) == []
    learner.end(model)
