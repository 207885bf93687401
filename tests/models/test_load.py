import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import CharDelimiterSplit, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from gpt_magic.errors import ModelError, OptionError
from gpt_magic.models.find import SHIPPED, Base, find_base, shipped
from gpt_magic.models.load import context_length, count_parameters, load_classifier, load_tagger
from gpt_magic.models.tokenizer import close_texts, closing_tokens, load_tokenizer
from tests.hub import COMMIT, serve

VOCABULARY, PAD = 8192, 8191  # of the tokenizer that ships
SHAPE = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 32, "vocab_size": VOCABULARY}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(SHIPPED / "nano")


@pytest.fixture(scope="module")
def language_model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(**SHAPE, bos_token_id=PAD, eos_token_id=PAD)).eval()


@pytest.fixture(scope="module")
def folder(language_model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 as transformers saves it."""
    path = tmp_path_factory.mktemp("models") / "small"
    language_model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the folder with its config or weights changed."""

    def change(weights: bytes | None = None, without: str = "", **config: Any) -> Path:
        path = tmp_path / "changed"
        shutil.copytree(folder, path)
        known = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**known, **config}))
        if weights is not None:
            (path / "model.safetensors").write_bytes(weights)
        for file in path.glob(without) if without else ():
            file.unlink()
        return path

    return change


def classifier(base: Any, classes: list[Any] | None = None, dropout: float | None = None) -> Any:
    return load_classifier(find_base(base), classes or ["a", "b"], PAD, dropout)


def same_trunk(one: Any, other: Any) -> bool:
    mine, theirs = one.base_model.state_dict(), other.base_model.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def refused(load: Callable[[], object], kind: type[Exception] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        load()
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


# --- a head for tags ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folder", "pair"])
def test_a_head_for_tags_is_new_or_kept_for_the_same_tags(
    form: str, folder: Path, language_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    tags = ["O", "B-地", "I-地"]
    base = folder if form == "folder" else (language_model, tokenizer)
    model = load_tagger(find_base(base), tags, PAD, None)
    assert type(model) is transformers.GPT2ForTokenClassification
    assert same_trunk(model, language_model)
    assert model.config.id2label == dict(enumerate(tags))
    assert model.config.label2id == {tag: i for i, tag in enumerate(tags)}
    assert (model.config.num_labels, model.config.pad_token_id, model.training) == (3, PAD, False)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    source = tmp_path if form == "folder" else (model, tokenizer)
    again, other = (load_tagger(find_base(source), some, PAD, None) for some in (tags, ["O", "B-x", "I-x"]))
    assert torch.equal(again.classifier.weight, model.classifier.weight)
    assert not torch.equal(other.classifier.weight, model.classifier.weight)
    assert same_trunk(other, language_model)


def test_the_head_for_tags_has_the_dropout_of_the_rest(folder: Path, changed: Callable[..., Path]) -> None:
    own = load_tagger(find_base(changed(resid_pdrop=0.25, embd_pdrop=0.25)), ["O", "B-x", "I-x"], PAD, None)
    assert own.dropout.p == own.config.classifier_dropout == 0.25
    told = load_tagger(find_base(folder), ["O", "B-x", "I-x"], PAD, 0.0)
    assert told.dropout.p == told.config.classifier_dropout == 0.0


def test_other_families_tag_where_they_are_causal(tokenizer: Any, tmp_path: Path) -> None:
    small = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    llama = transformers.LlamaConfig(**small, intermediate_size=16, num_key_value_heads=1, max_position_embeddings=32)
    transformers.LlamaForCausalLM(llama).save_pretrained(tmp_path / "llama")
    assert load_tagger(find_base(tmp_path / "llama"), ["O", "B-x", "I-x"], PAD, None).score.weight.shape == (3, 16)
    bert = transformers.BertConfig(**small, intermediate_size=16, max_position_embeddings=32)
    transformers.BertModel(bert).save_pretrained(tmp_path / "bert")
    line = refused(lambda: load_tagger(find_base(tmp_path / "bert"), ["O", "B-x", "I-x"], PAD, None))
    assert line == "base = 'bert' is of the family bert, not a GPT-style model with a causal trunk"
    gptj = transformers.GPTJConfig(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=32, rotary_dim=4)
    transformers.GPTJModel(gptj).save_pretrained(tmp_path / "gptj")
    line = refused(lambda: load_tagger(find_base(tmp_path / "gptj"), ["O", "B-x", "I-x"], PAD, None))
    assert line.startswith("base = 'gptj' cannot be loaded: Unrecognized configuration class")


# --- folders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [str, Path, lambda path: os.path.relpath(path)])
def test_a_folder_keeps_its_trunk_and_gets_a_head(form: Any, folder: Path, language_model: Any) -> None:
    base = find_base(form(folder))
    assert (base.name, base.pretrained) == ("small", True)
    assert context_length(base) == 32
    assert count_parameters(base) == sum(p.numel() for p in language_model.transformer.parameters())
    model = load_classifier(base, ["动物", "食物", "其他"], PAD, None)
    assert same_trunk(model, language_model)
    assert model.score.weight.shape == (3, 16)
    assert model.config.id2label == {0: "动物", 1: "食物", 2: "其他"}
    assert model.config.label2id == {"动物": 0, "食物": 1, "其他": 2}
    assert (model.config.num_labels, model.config.pad_token_id) == (3, PAD)
    assert model.dtype == torch.float32
    assert not model.training


def test_a_folder_in_half_precision_is_loaded_in_full(language_model: Any, tmp_path: Path) -> None:
    copy.deepcopy(language_model).to(torch.bfloat16).save_pretrained(tmp_path)
    model = classifier(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.transformer.wte.weight, language_model.transformer.wte.weight, atol=1e-2, rtol=0)


def test_the_head_is_new_from_the_seed(folder: Path) -> None:
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(classifier(folder).score.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].detach().std().item() == pytest.approx(0.02, rel=0.5)


@pytest.mark.parametrize(
    ("classes", "kept"),
    [(["ham", "spam"], True), (["spam", "ham"], False), (["neg", "pos"], False), (["ham", "spam", "eggs"], False)],
)
@pytest.mark.parametrize("form", ["folder", "pair"])
def test_a_head_is_kept_for_the_same_classes_only(
    form: str, classes: list[str], kept: bool, folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    old = classifier(folder, ["ham", "spam"])
    if form == "folder":
        old.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
    new = classifier(tmp_path if form == "folder" else (old, tokenizer), classes)
    assert new.score.weight.shape == (len(classes), 16)
    assert (
        new.score.weight.shape == old.score.weight.shape and torch.equal(new.score.weight, old.score.weight)
    ) == kept
    assert new.score.weight.detach().std().item() == pytest.approx(0.02, rel=0.5)
    assert same_trunk(new, old)


def test_dropout_is_set_in_modules_and_config(folder: Path) -> None:
    model = classifier(folder, dropout=0.25)
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}
    assert {model.config.resid_pdrop, model.config.embd_pdrop, model.config.attn_pdrop} == {0.25}
    assert classifier(folder).config.resid_pdrop == 0.1


def test_weights_in_pickles_are_refused(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "pickled"
    path.mkdir()
    shutil.copy(folder / "config.json", path)
    torch.save({"weights": Trap()}, path / "pytorch_model.bin")
    line = refused(lambda: classifier(path))
    assert "the folder has no .safetensors weights, and other formats can run code when they are loaded" in line
    assert "model.save_pretrained" in line
    assert not (tmp_path / "sprung").exists()


def test_remote_code_is_not_run(changed: Callable[..., Path], tmp_path: Path) -> None:
    auto = {"AutoConfig": "trap.Config", "AutoModelForSequenceClassification": "trap.Model"}
    path = changed(model_type="trap", auto_map=auto)
    (path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    assert "custom code" in refused(lambda: classifier(path))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weights": b"garbage"}, "base = 'changed': its weights are damaged (Error while deserializing header: "),
        ({"n_embd": 32}, "its weights lack, or have in another shape than its config, transformer.h.0."),
        ({"n_layer": 2}, "its weights lack, or have in another shape than its config, transformer.h.1."),
        ({"model_type": "nonsense"}, "base = 'changed' cannot be loaded: The checkpoint you are trying to load has "),
        ({"model_type": "bert"}, "base = 'changed' is of the family bert, not a GPT-style model with a causal trunk"),
        ({"without": "config.json"}, "the folder has no config.json, so it is not a saved transformers model"),
        ({"without": "*.safetensors"}, "the folder has no .safetensors weights"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(changes: Any, reason: str, changed: Callable[..., Path]) -> None:
    path = changed(**changes)
    assert reason in refused(lambda: classifier(path))


def test_weights_cut_short_by_a_full_disk_are_refused(folder: Path, changed: Callable[..., Path]) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    path = changed(weights=whole[: len(whole) // 2])
    assert "its weights are damaged (Error while deserializing header" in refused(lambda: classifier(path))


def test_weights_of_something_else_are_refused(folder: Path, tmp_path: Path) -> None:
    path = shutil.copytree(folder, tmp_path / "other")
    save_file({"other.weight": torch.zeros(2)}, path / "model.safetensors", metadata={"format": "pt"})
    assert "its weights lack" in refused(lambda: classifier(path))


def test_a_broken_config_says_so(changed: Callable[..., Path]) -> None:
    path = changed()
    (path / "config.json").write_text("{")
    assert "is not a valid JSON file" in refused(lambda: context_length(find_base(path)))


def test_other_families(tmp_path: Path) -> None:
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 50,
    }
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**small)).save_pretrained(tmp_path / "llama")
    assert load_classifier(find_base(tmp_path / "llama"), ["a", "b"], 0, None).score.weight.shape == (2, 16)
    t5 = transformers.T5Config(d_model=16, num_layers=1, num_heads=2, d_ff=16, d_kv=8, vocab_size=50)
    transformers.T5Model(t5).save_pretrained(tmp_path / "t5")
    wrong = "base = 't5' is of the family t5, not a GPT-style model with a causal trunk"
    assert refused(lambda: context_length(find_base(tmp_path / "t5"))) == wrong
    assert refused(lambda: load_classifier(find_base(tmp_path / "t5"), ["a", "b"], 0, None)) == wrong


# --- tokenizers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folder", "pair", "scratch"])
def test_special_tokens_in_a_text_are_text(form: str, folder: Path, language_model: Any, tokenizer: Any) -> None:
    base = {"folder": folder, "pair": (language_model, tokenizer), "scratch": "scratch"}[form]
    found = load_tokenizer(find_base(base))
    ids = found("a<|endoftext|>b")["input_ids"]
    assert found.eos_token_id not in ids
    assert found.decode(ids) == "a<|endoftext|>b"
    assert found.pad_token_id == found.eos_token_id == PAD


@pytest.mark.parametrize("form", ["folder", "pair"])
def test_saved_tokenizers_read_texts_the_same(
    form: str, folder: Path, language_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    found = load_tokenizer(find_base(folder if form == "folder" else (language_model, tokenizer)))
    found.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "a<|endoftext|>b 苹果"
    assert again(text)["input_ids"] == found(text)["input_ids"]
    assert again.pad_token_id == PAD


def test_closed_texts_end_with_a_line_break_also_in_plain_transformers(folder: Path, tmp_path: Path) -> None:
    found = load_tokenizer(find_base(folder))
    bare = found(["a text", "a<|endoftext|>b", "苹果\n", ""])["input_ids"]
    (mark,) = found("\n")["input_ids"]
    assert closing_tokens(found) == 0
    close_texts(found)
    close_texts(found)  # changes nothing
    assert closing_tokens(found) == 1
    found.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer in (found, again):
        assert tokenizer(["a text", "a<|endoftext|>b", "苹果\n", ""])["input_ids"] == [[*ids, mark] for ids in bare]
        assert tokenizer("a text", "a<|endoftext|>b")["input_ids"] == [*bare[0], mark, *bare[1], mark]
        assert tokenizer("a text", add_special_tokens=False)["input_ids"] == bare[0]
        assert tokenizer.decode([*bare[0], mark]) == "a text\n"


@pytest.mark.parametrize("own", [True, False], ids=["own post-processor", "none"])
def test_a_base_that_closes_texts_is_read_without(
    own: bool, folder: Path, language_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    pair = language_model, copy.deepcopy(tokenizer)
    if not own:
        pair[1].backend_tokenizer.post_processor = None
    found = load_tokenizer(find_base(pair))
    close_texts(found)
    language_model.save_pretrained(tmp_path)
    found.save_pretrained(tmp_path)
    assert load_tokenizer(find_base(tmp_path))("a text")["input_ids"] == tokenizer("a text")["input_ids"]
    assert closing_tokens(pair[1]) == 0  # the user's own is as it was


def test_tokenizers_that_mark_the_end_of_texts_keep_their_mark(tokenizer: Any) -> None:
    found = copy.deepcopy(tokenizer)
    end = found.eos_token
    found.backend_tokenizer.post_processor = TemplateProcessing(single=f"{end} $A {end}", special_tokens=[(end, PAD)])
    marked = found("a text")["input_ids"]
    assert closing_tokens(found) == 1
    close_texts(found)
    assert found("a text")["input_ids"] == marked


@pytest.mark.parametrize("drops", [True, False], ids=["dropped", "unknown"])
def test_tokenizers_without_a_token_for_the_line_break_stay_as_they_are(drops: bool) -> None:
    words = Tokenizer(WordLevel({"a": 0, "text": 1, "?": 2}, unk_token="?"))
    words.pre_tokenizer = WhitespaceSplit() if drops else CharDelimiterSplit(" ")
    found = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")
    assert found("\n")["input_ids"] == ([] if drops else [2])
    close_texts(found)
    assert found("a text")["input_ids"] == [0, 1]


def test_a_folder_without_tokenizer_says_so(language_model: Any, tmp_path: Path) -> None:
    language_model.save_pretrained(tmp_path / "bare")
    line = refused(lambda: load_tokenizer(find_base(tmp_path / "bare")))
    assert line == "base = 'bare' has no tokenizer: add it with tokenizer.save_pretrained(...)"


def test_a_broken_tokenizer_says_so(changed: Callable[..., Path]) -> None:
    path = changed()
    (path / "tokenizer.json").write_text("{")
    assert "base = 'changed': its tokenizer cannot be loaded: " in refused(lambda: load_tokenizer(find_base(path)))


def test_the_tokenizer_of_another_model_is_refused(tokenizer: Any) -> None:
    small = GPT2LMHeadModel(GPT2Config(**{**SHAPE, "vocab_size": 100}))
    line = refused(lambda: load_tokenizer(find_base((small, tokenizer))))
    assert "the tokenizer has 8,192 tokens, the model knows 100; they do not belong together" in line


# --- pairs and shipped models ---------------------------------------------------------------------------


class Bundle:
    """As a TunedModel or a pipeline: something with a model and a tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer


@pytest.mark.parametrize("form", [lambda m, t: (m, t), lambda m, t: [m, t], Bundle])
def test_a_pair_is_copied_and_left_as_it_is(form: Any, language_model: Any, tokenizer: Any) -> None:
    before = copy.deepcopy(language_model.state_dict())
    config, settings = language_model.config.to_dict(), dict(tokenizer.init_kwargs)
    ids = tokenizer("a<|endoftext|>b")["input_ids"]
    base = find_base(form(language_model, tokenizer))
    assert (base.name, context_length(base)) == ("GPT2LMHeadModel", 32)
    model, found = load_classifier(base, ["a", "b"], PAD, 0.3), load_tokenizer(base)
    assert same_trunk(model, language_model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    found.pad_token = "a"
    after = language_model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert before.keys() == after.keys()
    assert language_model.config.to_dict() == config
    assert (tokenizer.init_kwargs, tokenizer.pad_token) == (settings, None)
    assert tokenizer("a<|endoftext|>b")["input_ids"] == ids
    assert {module.p for module in language_model.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}


def test_a_pair_in_half_precision_is_copied_in_full(language_model: Any, tokenizer: Any) -> None:
    half = copy.deepcopy(language_model).to(torch.bfloat16)
    assert classifier((half, tokenizer)).dtype == torch.float32
    assert half.dtype == torch.bfloat16


def test_scratch_has_random_weights_from_the_seed() -> None:
    base = find_base("scratch")
    assert (base.name, base.pretrained) == ("scratch", False)
    torch.manual_seed(3)
    one = classifier("scratch")
    torch.manual_seed(3)
    assert same_trunk(one, classifier("scratch"))
    assert not same_trunk(one, classifier("scratch"))
    assert count_parameters(base) == sum(p.numel() for p in one.base_model.parameters())


def test_the_list_of_shipped_models_is_true() -> None:
    for name in shipped():
        assert load_tokenizer(find_base(name)).vocab_size == VOCABULARY


def test_a_model_loads_in_plain_transformers(folder: Path, tmp_path: Path) -> None:
    model = classifier(folder)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(ids).logits, again(ids).logits)


def test_nothing_is_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    transformers.logging.enable_progress_bar()
    before = transformers.logging.get_verbosity()
    classifier(folder)
    load_tokenizer(find_base(folder))
    assert capfd.readouterr() == ("", "")
    assert transformers.logging.get_verbosity() == before
    assert transformers.logging.is_progress_bar_enabled()


# --- what is no base ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "kind", "line"),
    [
        (None, OptionError, "base is None: give a hub id such as 'gpt2', a folder, a (model, tokenizer) pair, or "),
        (3, OptionError, "base is an int: give a hub id such as 'gpt2'"),
        ((1, 2, 3), OptionError, "base is a tuple: give a hub id such as 'gpt2'"),
        (("gpt2", "gpt2"), OptionError, "base: a (model, tokenizer) pair holds a transformers model first, not a str"),
        ("", ModelError, "base = '' is neither a folder nor a hub id"),
        ("a b!", ModelError, "base = 'a b!' is neither a folder nor a hub id"),
        ("./nowhere", ModelError, "base = './nowhere': no such folder"),
        ("a/b/c", ModelError, "base = 'a/b/c': no such folder"),
        ("~/nowhere", ModelError, "base = '~/nowhere': no such folder"),
        (Path("nowhere"), ModelError, "base = 'nowhere': no such folder"),
        (__file__, ModelError, f"base = {__file__!r}: this is a file, give its folder"),
        ("org/name", ModelError, "base = 'org/name' is not on this disk and HF_HUB_OFFLINE is set: say base = "),
        (
            "gtp2",
            ModelError,
            "base = 'gtp2' is not on this disk and HF_HUB_OFFLINE is set (did you mean 'gpt2'?): say ",
        ),
        ("scrach", ModelError, "base = 'scrach' is not on this disk and HF_HUB_OFFLINE is set (did you mean 'scratch'"),
    ],
)
def test_what_is_no_base_says_so(base: Any, kind: type[Exception], line: str) -> None:
    assert refused(lambda: find_base(base), kind).startswith(line)


def test_pairs_of_other_things_say_so(language_model: Any, tokenizer: Any) -> None:
    swapped = refused(lambda: find_base((tokenizer, language_model)), OptionError)
    assert swapped.startswith("base: a (model, tokenizer) pair holds a transformers model first, not a GPT2Tokenizer")
    alone = refused(lambda: find_base(language_model), OptionError)
    assert alone.startswith("base is a GPT2LMHeadModel: give")
    no_tokenizer = refused(lambda: find_base((language_model, "gpt2")), OptionError)
    assert no_tokenizer == "base: a (model, tokenizer) pair holds a transformers tokenizer second, not a str"


# --- the hub --------------------------------------------------------------------------------------------

ASK = """
import json, sys, time
from gpt_magic.models import find
find._HUB_SECONDS = 0.5
for name in sys.argv[1:]:
    began = time.perf_counter()
    try:
        said = str(find.find_base(name).source)
    except find.ModelError as error:
        said = str(error)
    print(json.dumps([said, time.perf_counter() - began]))
"""


def ask(endpoint: str, cache: Path, *names: str, **environment: str) -> list[tuple[str, float]]:
    """What `find_base` finds or says, and its seconds, in a process with that hub and cache."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    told = {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    done = subprocess.run([sys.executable, "-c", ASK, *names], env=told, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_no_network_is_one_line_within_seconds(tmp_path: Path) -> None:
    found = ask("http://127.0.0.1:9", tmp_path, "gpt2", "org/model")
    for name, (line, seconds) in zip(("gpt2", "org/model"), found, strict=True):
        assert line == (
            f"base = {name!r} is not on this disk and http://127.0.0.1:9 cannot be reached: "
            f"say base = {shipped()[0]!r}, which ships with gpt_magic, or give a folder"
        )
        assert seconds < 5


def test_a_mirror_of_the_hub(folder: Path, language_model: Any, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"")
    mirrored = shutil.copytree(folder, tmp_path / "mirrored")
    (mirrored / "pytorch_model.bin").write_bytes(b"the same weights once more")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    (adapter / "config.json").write_text("{}")
    names = ("org/small", "org/pickled", "org/adapter", "org/none", "org/gated", "org/broken", "org/portal", "org/slow")
    models = {"org/small": mirrored, "org/pickled": pickled, "org/adapter": adapter}
    with serve(models) as (endpoint, asked):
        found = dict(zip(names, ask(endpoint, tmp_path / "cache", *names), strict=True))
    missing = f"say base = {shipped()[0]!r}, which ships with gpt_magic, or give a folder"
    snapshot = Path(found["org/small"][0])
    assert snapshot.name == COMMIT
    assert not any("pytorch_model.bin" in path for path in asked)
    assert {line for name, (line, _) in found.items() if name != "org/small"} == {
        "base = 'org/pickled' has no .safetensors weights on the hub; other formats can run code",
        f"base = 'org/none': no such model on {endpoint}",
        "base = 'org/gated' is gated: accept its terms on the hub and log in with `hf auth login`",
        f"base = 'org/broken' is not on this disk and {endpoint} answers with error 503: {missing}",
        f"base = 'org/portal' is not on this disk and {endpoint} cannot be reached: {missing}",
        f"base = 'org/slow' is not on this disk and {endpoint} cannot be reached: {missing}",
        "base = 'org/adapter' has no .safetensors weights on the hub; other formats can run code",
    }
    assert all(seconds < 5 for _, seconds in found.values())

    model = load_classifier(Base("org/small", snapshot, pretrained=True), ["a", "b"], PAD, None)
    assert same_trunk(model, language_model)
    assert load_tokenizer(Base("org/small", snapshot, pretrained=True)).vocab_size == VOCABULARY
    # Once on the disk, no hub is needed: neither when it is gone nor when it is not to be asked.
    assert ask("http://127.0.0.1:9", tmp_path / "cache", "org/small")[0][0] == str(snapshot)
    assert ask(endpoint, tmp_path / "cache", "org/small", HF_HUB_OFFLINE="1")[0][0] == str(snapshot)
