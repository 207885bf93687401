"""Data sets of the hub: what names one, which split is taken, and one line when it cannot be had."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from gpt_magic.data import hub as module
from gpt_magic.data.names import HUB_ID, is_hub_id
from gpt_magic.data.sources import describe, read_table
from gpt_magic.errors import DataError
from gpt_magic.notebook.tables import find_data
from tests.hub import serve

QUOTES = "the name of a DataFrame has no quotes"
PARTS = {name: datasets.Dataset.from_dict({"text": [f"{name} {i}" for i in range(5)]}) for name in ("train", "test")}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """``datasets.load_dataset`` without a hub; what it was asked for."""
    asked: list[tuple[Any, ...]] = []

    def load(name: str, config: str | None = None, split: str | None = None, **more: Any) -> Any:
        assert not more  # nothing that lets code of others run
        asked.append((name, config, split))
        assert datasets.utils.are_progress_bars_disabled()  # a worker never prints
        if split is None:
            return datasets.DatasetDict(PARTS)
        if split.partition("[")[0] not in PARTS:
            raise ValueError(f"Unknown split {split!r}. Should be one of {list(PARTS)}.")
        return PARTS[split.partition("[")[0]]

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def refused(data: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_table(data, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("imdb", ("imdb", None, None)),
        ("imdb:test", ("imdb", None, "test")),
        ("stanfordnlp/imdb:train[:10%]", ("stanfordnlp/imdb", None, "train[:10%]")),
        ("nyu-mll/glue/sst2:validation", ("nyu-mll/glue", "sst2", "validation")),
        ("nyu-mll/glue/sst2", ("nyu-mll/glue", "sst2", None)),
        ("lhoestq/demo.v2", ("lhoestq/demo.v2", None, None)),
    ],
)
def test_what_names_a_data_set(text: str, parts: tuple[Any, ...], hub: list[Any]) -> None:
    found = HUB_ID.fullmatch(text)
    assert is_hub_id(text)
    assert found is not None
    assert (found["name"], found["config"], found["split"]) == parts
    assert describe(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("reviews.csv", "a/b.parquet", "a.xlsx", "notes.md", "./imdb", "/imdb", "~/imdb", "a/b/c/d", "C:\\data"),
        *("C:/data", "", "two words", "a text: and more", "imdb:", "data/*.csv", "苹果", "../imdb"),
    ],
)
def test_what_names_none(text: str) -> None:
    assert not is_hub_id(text)


def test_the_training_split_is_taken_and_said(hub: list[Any]) -> None:
    frame = read_table("stanfordnlp/imdb")
    assert frame["text"].tolist() == PARTS["train"]["text"]
    assert frame.attrs == {"gpt_magic": "split 'train' of stanfordnlp/imdb (others: test)"}
    assert hub == [("stanfordnlp/imdb", None, None)]


def test_a_split_is_asked_for(hub: list[Any]) -> None:
    assert read_table("imdb:test")["text"].tolist() == PARTS["test"]["text"]
    assert read_table("imdb", split="test")["text"].tolist() == PARTS["test"]["text"]
    assert read_table("a/glue/sst2:train[:10%]").attrs == {"gpt_magic": "split 'train[:10%]' of a/glue"}
    assert hub == [("imdb", None, "test"), ("imdb", None, "test"), ("a/glue", "sst2", "train[:10%]")]
    twice, wrong = refused("imdb:test", split="train"), refused("imdb:tset")
    assert twice == "data = 'imdb:test' and split = 'train' name two splits: say one of them"
    assert wrong == "data = 'imdb:tset': Unknown split 'tset'. Should be one of ['train', 'test']."


def test_a_file_or_a_folder_of_the_name_comes_first(
    hub: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imdb").mkdir()
    (tmp_path / "imdb" / "a.txt").write_text("mine", encoding="utf-8")
    assert read_table("imdb")["text"].tolist() == ["mine"]
    (tmp_path / "imdb" / "a.txt").unlink()
    assert refused("imdb") == "data = 'imdb': the folder has no .txt files; for tables write 'imdb/*.csv'"
    assert hub == []


def test_a_name_of_the_notebook_comes_first() -> None:
    splits = datasets.DatasetDict(PARTS)
    assert find_data("imdb:test", {}) == "imdb:test"
    assert find_data("stanfordnlp/imdb", {}) == "stanfordnlp/imdb"
    assert find_data("imdb:test", {"imdb": splits}) is PARTS["test"]


@pytest.mark.parametrize("name", ["my-team/mails", "mails:test"])
def test_without_a_network_it_is_one_line(name: str) -> None:
    """With the real library, which is told not to ask."""
    assert refused(name) == (
        f"data = '{name}': no such file, and no such data set on this disk while HF_HUB_OFFLINE is set; the name of a "
        "DataFrame has no quotes"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RuntimeError("Dataset scripts are no longer supported, but found mails.py"),
            "data = 'mails' comes as a program, and no code of others is run: read it into a DataFrame first",
        ),
        (
            ValueError("BuilderConfig 'x' not found. Available: ['a', 'b']"),
            "data = 'mails': BuilderConfig 'x' not found. Available: ['a', 'b']",
        ),
        (KeyError("why"), "data = 'mails' cannot be loaded from the hub: KeyError: 'why'"),
    ],
)
def test_what_the_library_says_is_one_line(error: Exception, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module, "_ask", lambda _: "")
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert refused("mails") == line


_ASKING = """
import json, sys, time
from gpt_magic.data.sources import read_table
for name in sys.argv[1:]:
    began = time.perf_counter()
    try:
        found = read_table(name)["text"].tolist()
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    print(json.dumps([found, time.perf_counter() - began]))
"""


def ask(endpoint: str, home: Path, *names: str, **environment: str) -> list[tuple[Any, float]]:
    """What a fresh process reads from a hub, and in how many seconds."""
    told = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **environment}
    done = subprocess.run([sys.executable, "-c", _ASKING, *names], capture_output=True, text=True, env=told, check=True)
    assert done.stderr == ""  # nor are there bars
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_real_hub_and_none(tmp_path: Path) -> None:
    """huggingface's own libraries against a server on this machine."""
    repository, program = tmp_path / "mails", tmp_path / "program"
    repository.mkdir()
    for name, part in PARTS.items():
        part.to_pandas().to_csv(repository / f"{name}.csv", index=False)
    program.mkdir()
    (program / "program.py").write_text("raise SystemExit('code of others')", encoding="utf-8")
    names = (
        "org/mails",
        "org/mails:test",
        "org/mails:tset",
        "org/none",
        "org/gated",
        "org/broken",
        "org/portal",
        "org/program",
    )
    with serve({"org/mails": repository, "org/program": program}) as (endpoint, _):
        found = dict(zip(names, ask(endpoint, tmp_path / "home", *names), strict=True))
    assert found["org/mails"][0] == PARTS["train"]["text"]
    assert found["org/mails:test"][0] == PARTS["test"]["text"]
    assert found["org/mails:tset"][0].startswith("DataError: data = 'org/mails:tset': Unknown split \"tset\".")
    assert "comes as a program, and no code of others is run" in found["org/program"][0]
    why = {
        "org/none": "on the hub",
        "org/gated": "that you may read: accept its terms on the hub and log in with `hf auth login`",
        "org/broken": "on this disk while the hub answers with error 503",
        "org/portal": "on this disk while the hub cannot be reached",
    }
    for name, reason in why.items():
        line, seconds = found[name]
        assert line == f"DataError: data = '{name}': no such file, and no such data set {reason}; {QUOTES}"
        assert seconds < 5
    # Once on the disk, no hub is needed: neither when it is gone nor when it is not to be asked.
    for offline in ("0", "1"):
        again = ask("http://127.0.0.1:9", tmp_path / "home", "org/mails", "org/other", HF_HUB_OFFLINE=offline)
        assert again[0][0] == PARTS["train"]["text"]
        assert "no such data set on this disk while" in again[1][0]
        assert max(seconds for _, seconds in again) < 10


def test_a_data_set_saved_as_files_loads_through_the_real_library(tmp_path: Path) -> None:
    """The shape of what `load_dataset` gives is that of the real one, not only of the stand-in above."""
    PARTS["test"].to_parquet(tmp_path / "test.parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files={"test": str(tmp_path / "test.parquet")}, cache_dir=str(tmp_path)
    )
    assert read_table(loaded)["text"].tolist() == PARTS["test"]["text"]
