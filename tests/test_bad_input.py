import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from gpt_magic.errors import GptMagicError
from gpt_magic.models.find import SHIPPED
from tests.bad_input import NOTEBOOK, SECTIONS, Bad

ROOT = Path(__file__).parents[1]
ALL = [bad for section in SECTIONS.values() for bad in section]


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    """An IPython with gpt_magic, a small GPT-2 and two tuned models; its runs would be short and show nothing."""
    torch.manual_seed(0)
    shape = GPT2Config(n_layer=1, n_embd=16, n_head=2, n_positions=32, vocab_size=8192, bos_token_id=0, eos_token_id=0)
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    shell.user_ns.update(model=GPT2LMHeadModel(shape), tokenizer=AutoTokenizer.from_pretrained(SHIPPED / "nano"))
    prepared = [
        "%load_ext gpt_magic",
        "%config GptMagic.quiet = True",
        "%config GptMagic.max_steps = 1",
        "%config GptMagic.baselines = False",
        NOTEBOOK,
        "%%finetune reviews -o clf\nbase = (model, tokenizer)",
        "%%finetune riddles -o writer\nbase = (model, tokenizer)",
    ]
    for cell in prepared:
        shell.run_cell(cell).raise_error()
    yield shell
    shell.run_cell("%unload_ext gpt_magic")
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: f"{bad.what}: {bad.cell}".replace("\n", " / "))
def test_a_cell_ends_with_its_one_line(
    bad: Bad,
    shell: InteractiveShell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before: dict[str, Any] = {name: shell.user_ns[name] for name in ("clf", "writer", "model", "tokenizer")}
    for cell in (NOTEBOOK, bad.given):
        shell.run_cell(cell).raise_error()
    capfd.readouterr()
    result = shell.run_cell(bad.cell)
    shown = capfd.readouterr()
    assert shown.out.strip() == bad.line
    assert shown.err == ""
    assert result.error_before_exec is None
    assert isinstance(result.error_in_exec, GptMagicError)
    assert f"{type(result.error_in_exec).__name__}: {result.error_in_exec}" == bad.line
    assert all(shell.user_ns[name] is value for name, value in before.items())
    assert "tuned" not in shell.user_ns


def test_the_lines_are_many_short_and_different() -> None:
    assert len(ALL) >= 80
    assert len({(bad.given, bad.cell) for bad in ALL}) == len(ALL)
    for bad in ALL:
        assert len(bad.line.splitlines()) == 1
        assert len(bad.line) < 200


def test_the_page_is_current() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "bad_input_table.py", "-"], capture_output=True, text=True, check=True
    )
    committed = (ROOT / "docs" / "bad_input.md").read_text(encoding="utf-8")
    assert committed == made.stdout, "run `python tools/bad_input_table.py`"
