from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from gpt_magic import run_folders, runs
from gpt_magic.notebook import completion
from gpt_magic.options import table

Complete = Callable[[str], list[str]]
QUIET = Config({"HistoryManager": {"enabled": False}})
FLAGS = ["--" + name.replace("_", "-") for name in table() if name != "data"]


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell(config=QUIET)
    # Their offers have the type param too.
    shell.Completer.use_jedi = False
    shell.Completer.disable_matchers = ["IPCompleter.python_func_kw_matcher"]
    shell.user_ns.update(
        reviews=pd.DataFrame(
            {"review": ["fine"], "review date": ["today"], "sentiment": ["good"], 'say "x"': [1], 7: [0]}
        ),
        rows=[{"input": "苹果", "labels": "食物"}],
        dataset=datasets.Dataset.from_dict({"文本": ["a"], "标签": ["b"]}),
        DataFrame=pd.DataFrame,
        number=3,
    )
    completion.register(shell)
    yield shell
    completion.unregister(shell)


@pytest.fixture
def complete(shell: InteractiveShell) -> Complete:
    """The cell's texts after each completion offered at ``|``; those of gpt_magic only."""

    def ask(cell: str) -> list[str]:
        before, after = cell.split("|")
        with provisionalcompleter():
            found = [c for c in shell.Completer.completions(before + after, len(before)) if c.type == "param"]
        return [before[: c.start] + c.text + after for c in found]

    return ask


def offered(complete: Complete, cell: str) -> list[str]:
    """The completions alone: what stands between the given beginning and the given end."""
    before, after = cell.split("|")
    done = complete(cell)
    assert all(text.startswith(before) and text.endswith(after) for text in done)
    return [text.removeprefix(before).removesuffix(after) for text in done]


# --- lists of columns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ('text = ["rev|', ['"review"', '"review date"']),
        ('text = ["review", "sen|', ['"sentiment"']),
        ("text = ('review', 'sen|", ["'sentiment'"]),
        ('text = "review", "sen|', ['"sentiment"']),
        ("text = [sen|", ['"sentiment"']),
        ('text, label = ["review", "sentiment"], "sen|', ['"sentiment"']),
        ('text, label = ["review", "sen|', ['"sentiment"']),
        ('label, text = "review", ["sen|', ['"sentiment"']),
        ('text, task = ["review", "sentiment"], "multi|', ['"multilabel"']),
        ("style = wo|", ['"words"']),
    ],
)
def test_columns_in_lists(complete: Complete, typed: str, expected: list[str]) -> None:
    before = typed.removesuffix("|")
    start = len(before) - len(before.split()[-1].rsplit("[", 1)[-1].rsplit("(", 1)[-1])
    assert complete(f"%%finetune reviews\n{typed}") == [
        f"%%finetune reviews\n{before[:start]}{text}" for text in expected
    ]


# --- the line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("magic", ["%finetune", "%%finetune", "clf = %finetune"])
def test_tables_and_flags_after_the_magic(complete: Complete, magic: str) -> None:
    assert offered(complete, f"{magic} |") == ["reviews", "rows", "dataset", *FLAGS]
    assert offered(complete, f"{magic} re|") == ["views"]
    assert offered(complete, f"{magic} reviews --ep|") == ["ochs"]
    assert offered(complete, f"{magic} reviews -|")[-2:] == ["-help", "-traceback"]


def test_splits_and_their_columns(complete: Complete, shell: InteractiveShell) -> None:
    part = datasets.Dataset.from_dict({"mail": ["a"], "kind": ["b"]})
    shell.user_ns["zoo"] = datasets.DatasetDict(train=part, test=part.rename_column("mail", "letter"))
    shell.user_ns["stream"] = datasets.IterableDataset.from_generator(lambda: iter(()))
    assert offered(complete, "%finetune z|") == ["oo", "oo:train", "oo:test"]
    assert offered(complete, "%finetune zoo:|") == ["train", "test"]
    assert offered(complete, "%finetune zoo --text |") == ["mail", "kind"]
    assert offered(complete, "%finetune zoo:test --text |") == ["letter", "kind"]
    assert "stream" in offered(complete, "%finetune |")
    assert offered(complete, "%finetune stream --text |") == []  # unknown before it is read
    del shell.user_ns["zoo"], shell.user_ns["stream"]


def test_orders_and_the_runs_that_they_can_be_for(complete: Complete, monkeypatch: pytest.MonkeyPatch) -> None:
    def known(name: str) -> Any:
        return SimpleNamespace(id=name)

    monkeypatch.setattr(runs, "live", lambda: [known("clf"), known("poet")])
    monkeypatch.setattr(runs, "every", lambda: [known("old"), known("clf"), known("poet")])
    monkeypatch.setattr(run_folders, "resumable", lambda: [SimpleNamespace(name="cut"), SimpleNamespace(name="clf")])
    assert offered(complete, "%finetune --st|") == ["yle", "op", "atus"]
    assert offered(complete, "%finetune --stop |") == ["clf", "poet"]
    assert offered(complete, "%finetune --pause p|") == ["oet"]
    assert offered(complete, "%finetune --show |") == ["old", "clf", "poet"]
    assert offered(complete, "%finetune --resume |") == ["clf", "poet", "cut"]
    assert offered(complete, "%finetune --status |") == []
    assert offered(complete, "%finetune reviews --sto|") == []  # an order stands alone


def test_a_line_magic_anywhere_in_a_cell(complete: Complete) -> None:
    assert offered(complete, "import os\n%finetune reviews --sched|") == ["ule"]
    assert offered(complete, "import os\n%finetune reviews --text |\nx = 1")[0] == "review"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("reviews --text ", ["review", "'review date'", "sentiment", "'say \"x\"'", "7"]),
        ("reviews --text=", ["review", "'review date'", "sentiment", "'say \"x\"'", "7"]),
        ("reviews --text 're", ["review'", "review date'"]),
        ('reviews --text "review d', ['review date"']),
        ("dataset --text 文", ["文本"]),
        ("rows --label ", ["input", "labels"]),
        ("reviews --valid ", ["reviews", "rows", "dataset"]),
        ("reviews --schedule ", ["linear", "cosine", "constant"]),
        ("reviews --schedule=co", ["cosine", "constant"]),
        ("reviews --class-weights ", ["none", "balanced"]),
        ("reviews --device c", ["cpu", "cuda"]),
        ("reviews --base g", ["gpt2", "gpt2-medium"]),
        ("reviews --epochs ", ["auto"]),
        ("reviews --log-every ", []),
        ("reviews --nonsense 3 --se", ["--seed"]),
    ],
)
def test_values_of_flags(complete: Complete, line: str, found: list[str]) -> None:
    stem = line[: max(line.rfind(mark) for mark in " =\"'") + 1] if not line.endswith("review d") else line[:-8]
    assert complete(f"%finetune {line}|") == [f"%finetune {stem}{text}" for text in found]


def test_a_switch_may_stand_before_the_data(complete: Complete) -> None:
    assert offered(complete, "%finetune --dry-run |")[:5] == ["True", "False", "reviews", "rows", "dataset"]


class TunedModel:
    pass


@pytest.mark.parametrize("magic", ["%predict", "%%predict", "out = %predict"])
def test_models_flags_and_tables_after_predict(complete: Complete, shell: InteractiveShell, magic: str) -> None:
    shell.user_ns["tuned"] = TunedModel()
    assert offered(complete, f"{magic} |") == ["tuned"]
    assert offered(complete, f"{magic} t|") == ["uned"]
    assert offered(complete, f"{magic} tuned re|") == ["views"]
    assert offered(complete, f"{magic} tuned once upon --top|") == ["-k", "-p"]
    assert offered(complete, f"{magic} --seed 3 tuned --num|") == ["-samples"]
    for text in ("tuned once re|", 'tuned "re|', "tuned once upon |"):
        assert complete(f"{magic} {text}") == []
    assert complete("%%predict tuned\nre|") == []
    del shell.user_ns["tuned"]


# --- the body -------------------------------------------------------------------------------------------


def body(complete: Complete, text: str, line: str = "reviews") -> list[str]:
    """The last line of the body after each completion."""
    return [done.splitlines()[-1] for done in complete(f"%%finetune {line}\nepochs = 3\n{text}|")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ep", ["epochs = "]),
        ("warm", ["warmup = "]),
        ("text, la", ["text, label"]),
        (
            "text = ",
            ['text = "review"', 'text = "review date"', 'text = "sentiment"', "text = 'say \"x\"'", 'text = "7"'],
        ),
        ("label = s", ['label = "sentiment"', "label = 'say \"x\"'"]),
        ("label = 'se", ["label = 'sentiment'"]),
        ('text = "review d', ['text = "review date"']),
        ('text, label = "review", "se', ['text, label = "review", "sentiment"']),
        ("valid = r", ["valid = reviews", "valid = rows"]),
        ("schedule = 'co", ["schedule = 'cosine'", "schedule = 'constant'"]),
        ("class_weights = b", ['class_weights = "balanced"']),
        ("quiet = ", ["quiet = True", "quiet = False"]),
        ("base = g", ['base = "gpt2"', 'base = "gpt2-medium"']),
        ("seed = ", []),
        ("nonsense = ", []),
        ("print(", []),
        ("epochs == ", []),
        ("label = 'sentiment'", []),
    ],
)
def test_bodies(complete: Complete, text: str, found: list[str]) -> None:
    assert body(complete, text) == found


def test_an_empty_line_offers_every_option(complete: Complete) -> None:
    assert body(complete, "") == [f"{name} = " for name in table()]


def test_columns_of_data_that_the_body_names(complete: Complete) -> None:
    assert body(complete, "data = rows\ntext = ", line="") == ['text = "input"', 'text = "labels"']


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "data = rows[:10]"),
        ("", "data = pd.DataFrame(rows)"),
        ("-o reviews", "data = rows"),
        ("--output=reviews", "data = rows"),
        ("--valid reviews rows", ""),
        ("-o reviews rows", ""),
    ],
)
def test_the_columns_are_those_of_the_training_data(complete: Complete, line: str, text: str) -> None:
    assert body(complete, f"{text}\ntext = ", line) == ['text = "input"', 'text = "labels"']


def test_what_stands_behind_the_cursor_counts(complete: Complete) -> None:
    assert complete('%%finetune\ntext = "in|\ndata = rows') == ['%%finetune\ntext = "input"\ndata = rows']


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with saved models in it, and a cache of the hub with two."""
    for place in ("clf", "runs/first", "runs/second", "runs/notes", "empty", ".hidden"):
        (tmp_path / place).mkdir(parents=True)
        if place not in ("runs/notes", "empty"):
            (tmp_path / place / "config.json").write_text("{}")
            (tmp_path / place / "model.safetensors").write_bytes(b"x")
    for name, weights in (("openai-community--gpt2", "model.safetensors"), ("a--pickle", "pytorch_model.bin")):
        files = tmp_path / "hub" / f"models--{name}" / "snapshots" / "0a1b"
        files.mkdir(parents=True)
        for file in ("config.json", "tokenizer.json", weights):
            (files / file).write_bytes(b"x")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_bases_that_are_here(complete: Complete, shell: InteractiveShell, bases: Path) -> None:
    usual = ["nano", "scratch", "openai-community/gpt2", "distilgpt2", "gpt2", "gpt2-medium"]
    shell.user_ns["tuned"] = TunedModel()
    try:
        assert body(complete, "base = ") == [*(f'base = "{name}"' for name in [*usual, "clf"]), "base = tuned"]
        assert body(complete, "base = '") == [f"base = '{name}'" for name in [*usual, "clf"]]
        assert body(complete, "base = tu") == ["base = tuned"]
        assert body(complete, "base = 'runs/") == [f"base = 'runs/{name}'" for name in ("first", "second", "notes/")]
        assert offered(complete, "%finetune reviews --base |") == [*usual, "clf", "tuned"]
        assert offered(complete, "%finetune reviews --base runs/f|") == ["irst"]
        assert offered(complete, "%finetune reviews --base no/such/|") == []
        assert offered(complete, "%finetune reviews -o |") == ["tuned"]
        assert offered(complete, f"%finetune reviews --base {bases}/cl|") == ["f"]
    finally:
        del shell.user_ns["tuned"]


def test_a_body_in_the_middle(complete: Complete) -> None:
    assert complete("%%finetune reviews\nlabel = se|\nepochs = 3") == [
        '%%finetune reviews\nlabel = "sentiment"\nepochs = 3'
    ]


# --- elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "|",
        "re|",
        "%finetun|",
        "%%finetune|",
        "%finetuner re|",
        "%%finetuner re|",
        "%%time\nep|",
        "%finetune reviews\nep|",
        "x = '%finetune'\nep|",
        "print('%finetune re|')",
    ],
)
def test_nothing_is_offered_elsewhere(complete: Complete, cell: str) -> None:
    assert complete(cell) == []


def test_registered_once_and_taken_back() -> None:
    shell = InteractiveShell(config=QUIET)
    before = list(shell.Completer.custom_matchers)
    completion.register(shell)
    assert len(shell.Completer.custom_matchers) == len(before) + 1
    completion.unregister(shell)
    assert shell.Completer.custom_matchers == before
    completion.unregister(shell)


def test_what_is_offered_can_be_read(complete: Complete, shell: InteractiveShell) -> None:
    from gpt_magic.notebook.cell import read_cell

    for cell in [*complete("%%finetune reviews\ntext = |"), *complete("%%finetune reviews --text |")]:
        line, _, rest = cell.removeprefix("%%finetune ").partition("\n")
        found = read_cell(line, rest, shell.user_ns).values["text"]
        assert found in [str(name) for name in shell.user_ns["reviews"].columns]
