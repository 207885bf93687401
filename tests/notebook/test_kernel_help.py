"""Completion, help and defaults as a notebook's user meets them: in a real kernel, with a profile of their own."""

from collections.abc import Iterator

import pytest

from gpt_magic.options import table
from tests.kernel import Kernel

PROFILE = {
    "ipython_config.py": "c.InteractiveShellApp.extensions = ['gpt_magic']\nc.GptMagic.epochs = 7\nc.GptMagic.seed = 1",
    "ipython_kernel_config.py": "c.GptMagic.seed = 11\nc.GptMagic.base = 'scratch'\n",
}
SETUP = """
import pandas as pd
reviews = pd.DataFrame({"review": ["fine", "dull"] * 8, "sentiment": ["good", "bad"] * 8, "<b>": [1] * 16})
other = reviews.rename(columns={"review": "letter"})
"""


@pytest.fixture(scope="module")
def ready() -> Iterator[Kernel]:
    with Kernel(profile=PROFILE) as kernel:
        assert kernel.run(SETUP).status == "ok"
        yield kernel


def test_the_extension_and_its_defaults_come_from_config_files(ready: Kernel) -> None:
    asked = ready.run("get_ipython().run_line_magic('config', 'GptMagic')").stdout
    assert "GptMagic(Options) options" in asked
    for name, value in (("epochs", "7"), ("seed", "11"), ("base", "'scratch'")):
        section = asked.partition(f"GptMagic.{name}=")[2].partition("GptMagic.")[0]
        assert f"Current: {value}" in section, section


def test_a_default_of_the_notebook_is_what_the_next_run_takes(ready: Kernel) -> None:
    assert ready.run("%config GptMagic.epochs = 5").status == "ok"
    plan = "[c for c in get_ipython().configurables if type(c).__name__ == 'GptMagic'][0].epochs"
    assert ready.run(plan).result["text/plain"] == "5"
    bad = ready.run("%config GptMagic.epochs = 'many'")  # IPython itself prints what is wrong and goes on
    assert "epochs = 'many': must be a whole number from 1 to 1,000" in bad.stdout + bad.stderr
    assert ready.run(plan).result["text/plain"] == "5"
    assert "GptMagic.epochs" in " ".join(ready.complete("%config GptMagic.ep"))


@pytest.mark.parametrize(
    ("cell", "ends"),
    [
        ("%finetune rev", ["iews"]),
        ("%%finetune reviews --learn", ["ing-rate"]),
        ("%%finetune reviews --schedule co", ["sine", "nstant"]),
        ("%%finetune reviews\nsty", ["le = "]),
        ('%%finetune reviews\ntext, label = "review", "sen', ['timent"']),
        ("%%finetune\ndata = other\ntext = 'le", ["tter'"]),
        ('%%finetune reviews\nbase = "na', ['no"']),
    ],
)
def test_tab(ready: Kernel, cell: str, ends: list[str]) -> None:
    assert ready.complete(cell) == [cell + end for end in ends]


@pytest.mark.parametrize("magic", ["finetune", "predict"])
def test_help_by_a_question_mark_and_by_a_flag(ready: Kernel, magic: str) -> None:
    content = ready.client.execute(f"%{magic}?", reply=True, timeout=60)["content"]
    (page,) = [one["data"]["text/plain"] for one in content["payload"] if one["source"] == "page"]
    printed = ready.run(f"%{magic} -h").stdout
    assert ready.run(f"%%{magic} --help\n").stdout == printed
    names = [f"--{name.replace('_', '-')}" for name in table() if name != "data"]
    wanted = names if magic == "finetune" else ["--max-new-tokens", "--probabilities", "--temperature"]
    for text in (page, printed):
        assert [name for name in wanted if name not in text] == []
