"""``%predict`` with a model that writes: what is shown while it comes, what the value is, and what is refused."""

import copy
import itertools
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from gpt_magic.inference.sampling import Sampling
from gpt_magic.notebook import writing
from gpt_magic.notebook.writing import Several, Written, written_html
from gpt_magic.tuned import TunedGenerator
from tests.cells import refused, run
from tests.kernel import Kernel
from tests.notebook.test_cards import EVIL, Page
from tests.notebook.test_samples import EXTRA
from tests.rhymes import writer

CHAT = [{"role": "user", "content": "Who fell down?"}]


@pytest.fixture(scope="module")
def made() -> TunedGenerator:
    return writer()


@pytest.fixture(scope="module")
def shell(made: TunedGenerator) -> Iterator[InteractiveShell]:
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")

    class TunedModel:
        task = "classify"

        def predict(self, x: Any, probabilities: bool) -> Any:
            return x

    shell.user_ns.update(tuned=made, labeller=TunedModel(), some=["Jack and", "Mary"], chat=CHAT)
    shell.run_cell("%load_ext gpt_magic").raise_error()
    yield shell
    shell.run_cell("%unload_ext gpt_magic").raise_error()


@pytest.fixture
def asked(made: TunedGenerator, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What the model is asked: prompts and settings; it answers at once."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def predict(self: TunedGenerator, x: Any, **how: Any) -> pd.DataFrame:
        on_text = how.pop("on_text")
        assert how.pop("keep_partial")
        Sampling(**{**how, "stop": tuple(how.get("stop", ()))})
        calls.append((x, how))
        prompts = [x] if isinstance(x, str) or x is CHAT else list(x)
        rows = [(i, j) for i in range(len(prompts)) for j in range(how.get("num_samples", 1))]
        for i, j in rows:
            on_text(i, j, " so")
            on_text(i, j, " so on")
        texts = {"prompt": [prompts[i] for i, _ in rows], "completion": " so on", "ended": "length"}
        return pd.DataFrame(texts)

    monkeypatch.setattr(TunedGenerator, "predict", predict)
    return calls


# --- the value ----------------------------------------------------------------------------------------------------


def test_a_continuation_is_a_text(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(shell, "%predict tuned Jack and --max-new-tokens 5 --seed 1")
    assert isinstance(out, str)
    assert capsys.readouterr().out.startswith(f"Jack and{out}\n")
    run(shell, "own = %predict tuned 'Jack and' --max-new-tokens=5 --seed=1")
    own = shell.user_ns["own"]
    assert own == out
    assert own + "!" == f"{out}!"
    assert {own: 1}[str(out)] == 1
    assert type(str(own)) is str


@pytest.mark.parametrize("one", [Written("a\nb", 3), Several(["a", "b"], 3)])
def test_values_travel_as_plain_ones(one: Any) -> None:
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
        assert again == one
        assert type(again) in (str, list)


def test_several_samples_are_a_list(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(shell, "%predict tuned Jack --num-samples 3 --max-new-tokens 4 --seed 2")
    assert isinstance(out, list)
    assert len(out) == 3
    assert capsys.readouterr().out.startswith("\n\n".join(f"Jack{text}" for text in out) + "\n")


def test_several_prompts_are_a_table(shell: InteractiveShell, tmp_path: Path) -> None:
    out = run(shell, "%predict tuned some --max-new-tokens 3")
    assert out["prompt"].tolist() == ["Jack and", "Mary"]
    (tmp_path / "prompts.txt").write_text("Jack\nMary\n", encoding="utf-8")
    assert len(run(shell, f"%predict tuned {tmp_path}/prompts.txt --max-new-tokens 2")) >= 1


def test_a_conversation_is_answered(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(shell, "%predict tuned chat --max-new-tokens 3")
    assert capsys.readouterr().out.startswith("User: Who fell down?\n" + out.lstrip(" "))


# --- what is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "prompt", "settings"),
    [
        ("tuned Jack and", "Jack and", {}),
        ('tuned ""', "", {}),
        ('tuned "Jack and" --max-new-tokens 80', "Jack and", {"max_new_tokens": 80}),
        ("tuned Jack and --max-new-tokens=80", "Jack and", {"max_new_tokens": 80}),
        ("tuned Jack and --temperature 0.7", "Jack and", {"temperature": 0.7}),
        ("tuned Jack and --top-k 40", "Jack and", {"top_k": 40}),
        ("tuned Jack and --top-p 0.9", "Jack and", {"top_p": 0.9}),
        ("tuned Jack and --repetition-penalty 1.1", "Jack and", {"repetition_penalty": 1.1}),
        ("tuned Jack and --num-samples 3", "Jack and", {"num_samples": 3}),
        ("tuned Jack and --seed 1", "Jack and", {"seed": 1}),
        ("tuned Jack and --stop END", "Jack and", {"stop": ["END"]}),
        ('tuned Jack and --stop "\\n"', "Jack and", {"stop": ["\n"]}),
        ("tuned Jack and --stop='a \\'b\\' c' --stop \"\\\\n\"", "Jack and", {"stop": ["a 'b' c", "\\n"]}),
        ("--top-k 3 tuned --top-p 0.5 'Jack and' --seed 2", "Jack and", {"top_k": 3, "top_p": 0.5, "seed": 2}),
        ("tuned --temperature 0 --seed=3   it is 5 o'clock", "it is 5 o'clock", {"temperature": 0.0, "seed": 3}),
        ("tuned fine --and more", "fine --and more", {}),
        ("tuned a dash --- 4", "a dash --- 4", {}),
        ("tuned use grep -h", "use grep -h", {}),
        ("tuned '--seed 3'", "--seed 3", {}),
        ("tuned is it fine? --seed 3", "is it fine?", {"seed": 3}),
    ],
)
def test_each_flag_reaches_the_model(
    shell: InteractiveShell, asked: list[Any], line: str, prompt: str, settings: dict[str, Any]
) -> None:
    run(shell, f"%predict {line}")
    run(shell, f"out = %predict {line}")
    assert asked == [(prompt, settings)] * 2


@pytest.mark.parametrize(
    "body",
    ["Jack and", "Jack\n\n  and {x} $HOME\n", "--seed 3", "\n  Jack", "some", "a, b = 1", "is it?", "it's\t 苹果 "],
)
def test_the_body_is_one_prompt_as_it_stands(shell: InteractiveShell, asked: list[Any], body: str) -> None:
    run(shell, f"%%predict tuned --seed 3\n{body}")
    assert asked == [(body.removesuffix("\n"), {"seed": 3})]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "%predict tuned a --probabilities",
            "--probabilities: for models that label, and tuned writes; a text that begins or ends so stands in quotes",
        ),
        (
            "%predict labeller a --top-k 3",
            "--top-k: for models that write, and labeller labels; a text that begins or ends so stands in quotes",
        ),
        ("%predict tuned a --top-kk 3", "no flag '--top-kk' (did you mean '--top-k'?); a text that begins or ends so"),
        ("%predict tuned a --max-tokens 30", "no flag '--max-tokens' (did you mean '--max-new-tokens'?); a text that"),
        ("%predict tuned --temprature=2 a", "no flag '--temprature' (did you mean '--temperature'?); a text that"),
        ("%predict tuned a --top-k", "--top-k needs a whole number"),
        ("%predict tuned a --top-k x", "--top-k needs a whole number, not 'x'"),
        ("%predict tuned a --top-k 2.5", "--top-k needs a whole number, not '2.5'"),
        ("%predict tuned a --temperature=hot", "--temperature needs a number, not 'hot'"),
        ("%predict --seed tuned a", "--seed needs a whole number, not 'tuned'"),
        ("%predict tuned a --stop", '--stop needs a text, such as --stop "\\n"'),
        ('%predict tuned a --stop ""', "stop = ['']: '' must be a text of one character or more"),
        ("%predict tuned a --traceback=3", "--traceback takes no value"),
        ("%predict --seed 1 tuned a --seed 2", "--seed is given twice"),
        ("%predict tuned a --top-p 3", "top_p = 3.0 must be a number above 0, up to 1"),
        ("%predict tuned a --temperature -1", "temperature = -1.0 must be a number from 0 up"),
        ("%predict tuned a --temperature nan", "temperature = nan must be a number from 0 up"),
        ("%predict tuned a --max-new-tokens 0", "max_new_tokens = 0 must be a whole number from 1 up"),
        ("%predict tuned a --max-new-tokens 32", "max_new_tokens = 32 must be from 1 to 31: the model reads 32 tokens"),
        ("%predict tuned a --num-samples 0", "num_samples = 0 must be a whole number from 1 up"),
        ("%predict tuned", "nothing to predict: give a text or the name of a DataFrame after the model's name"),
        (
            "%%predict tuned",
            'the cell has no text: write the beginning of one below %%predict; %predict tuned "" begins',
        ),
        ("%%predict tuned Jack\nand", "give the texts in the cell's body or on the line, not both"),
        ("%predict tunde a", "'tunde' is not in this notebook (did you mean 'tuned'?)"),
        ("%predict some a", "'some' is not a tuned model; tuned models here: tuned, labeller"),
    ],
)
def test_what_is_refused(shell: InteractiveShell, cell: str, said: str) -> None:
    assert refused(shell, cell).startswith(said)


# --- what is shown ------------------------------------------------------------------------------------------------


def test_a_terminal_gets_each_piece_once(capsys: pytest.CaptureFixture[str]) -> None:
    page = writing._TerminalPage("Jack", False)
    for text in (" a", " a\x1b[2J b", " a\x1b[2J b\r\nc"):
        page.take(0, 0, text)
    page.close([" a\x1b[2J b\r\nc"], interrupted=True)
    assert capsys.readouterr().out == "Jack a [2J b\nc\n(interrupted: this is what was there)\n"


def test_a_terminal_shows_samples_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    page = writing._TerminalPage("J", False, streams=False)
    page.take(0, 1, " b")
    page.take(0, 0, " a")
    page.close([" a", " b"], interrupted=False)
    assert capsys.readouterr().out == "J a\n\nJ b\n"


@pytest.mark.parametrize("text", [*EVIL, *EXTRA], ids=lambda text: ascii(text[:20]))
def test_wild_texts_are_only_ever_text(text: str) -> None:
    for several in (1, 2):
        page = Page(written_html(text, [text] * several).replace("<br>", "<br></br>"))
        assert {tag for tag, _ in page.tags} <= {"div", "strong", "span", "br"}
        assert not any(c in page.text for c in "\x00\x1b\u202e\u2028")
        page.text.encode()


def test_all_of_a_text_is_shown_and_the_end_of_a_long_prompt() -> None:
    long = " word" * 3000
    page = Page(written_html("x" * 5000 + "end", [long + " last"]))
    assert page.text == "…" + "x" * 597 + "end" + long + " last"
    assert Page(written_html("", ["a"])).text == "a"
    answer = written_html("who?", [" me"], apart=True)
    assert "who?</strong><br>me</div>" in answer


# --- in a real kernel ---------------------------------------------------------------------------------------------

SETUP = """
%load_ext gpt_magic
from tests.rhymes import writer
tuned = writer()
from gpt_magic.engine import loop
"""


@pytest.fixture(scope="module")
def ready(kernel: Kernel) -> Kernel:
    reply = kernel.run(SETUP)
    assert reply.status == "ok", reply.traceback
    return kernel


SLOW = """
import time
from gpt_magic.inference import generation
add = getattr(generation._Row.add, "original", generation._Row.add)
def slow(self, token):
    time.sleep(0.15)
    return add(self, token)
slow.original = add
generation._Row.add = slow
"""


def test_the_text_streams_into_one_output_and_is_not_shown_twice(ready: Kernel) -> None:
    ready.run(SLOW)
    reply = ready.run("%predict tuned Jack and --max-new-tokens 16 --seed 5")
    assert reply.status == "ok", reply.traceback
    assert len(reply.displays) == 1
    assert reply.result == {}
    assert reply.stdout == reply.stderr == ""
    texts = [shown["data"]["text/plain"] for shown in (*reply.displays, *reply.updates)]
    assert len(texts) >= 5
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    assert texts[0].startswith("Jack and")
    (output,) = reply.outputs
    assert output["data"]["text/plain"] == texts[-1]
    assert output["data"]["text/html"].count("<strong>Jack and</strong>") == 1
    later = ready.run("_")
    assert ready.run("[_]").result["text/plain"].startswith("['")
    assert later.result["text/plain"] == texts[-1].removeprefix("Jack and")
    again = ready.run("out = %predict tuned Jack and --max-new-tokens 3 --seed 5\nout")
    assert again.result == {}
    assert ready.run("out").result["text/plain"] == ready.run("print(out, end='')").stdout
    several = ready.run("%predict tuned Jack --max-new-tokens 3 --num-samples 2")
    assert several.result == {}
    assert several.outputs[0]["data"]["text/html"].count("<strong>Jack</strong>") == 2
    assert ready.run("print(len(_))").stdout == "2\n"


def test_several_prompts_are_counted(ready: Kernel) -> None:
    reply = ready.run("%predict tuned ['a', 'b'] --max-new-tokens 2\nprompts = ['Jack', 'Mary', 'Tom']")
    assert reply.status == "ok", reply.traceback
    reply = ready.run("%predict tuned prompts --max-new-tokens 3")
    assert reply.displays[0]["data"]["text/plain"] == "writing after 1 of 3 prompts"
    assert reply.outputs[0]["data"]["text/plain"] == "3 texts written"
    assert "completion" in reply.result["text/plain"]


def test_an_interrupt_keeps_what_was_written(ready: Kernel) -> None:
    ready.run(SLOW)
    ready.run("prompts = ['Jack', 'Mary', 'Tom']")
    ready.start("part = %predict tuned Jack and --max-new-tokens 23 --seed 5")
    ready.wait_until(lambda reply: len(reply.updates) >= 3)
    ready.interrupt()
    reply = ready.wait()
    assert reply.status == "ok", reply.traceback
    shown = reply.outputs[0]["data"]
    assert "interrupted: this is what was there" in shown["text/html"]
    part = ready.run("print(repr(str(part)))").stdout.strip()
    assert shown["text/plain"] == f"Jack and{eval(part)}\n(interrupted: this is what was there)"
    assert len(eval(part)) > 3
    ready.start("table = %predict tuned prompts --max-new-tokens 23 --seed 5")
    ready.wait_until(lambda reply: bool(reply.displays))
    ready.interrupt()
    reply = ready.wait()
    assert reply.status == "ok", reply.traceback
    assert re.match(r"interrupted: [123] of 3 texts had not ended", reply.outputs[0]["data"]["text/plain"])
    assert ready.run("print('interrupted' in set(table['ended']))").stdout.strip() == "True"
    ready.run("generation._Row.add = add")


INTERRUPTED_DISPLAY = """
import signal, IPython.display
display = IPython.display.display
def interrupted(*args, **kwargs):
    handle = display(*args, **kwargs)
    IPython.display.display = display
    signal.raise_signal(signal.SIGINT)
    return handle
IPython.display.display = interrupted
"""


@pytest.mark.parametrize("prompts", ["['Jack', 'Mary', 'Tom']", "'Jack and'"])
def test_an_interrupt_while_it_is_first_shown_leaves_one_output(ready: Kernel, prompts: str) -> None:
    ready.run(INTERRUPTED_DISPLAY)
    reply = ready.run(f"found = %predict tuned {prompts} --max-new-tokens 8 --seed 5")
    assert reply.status == "ok", reply.traceback
    (output,) = reply.outputs
    assert "interrupted: " in output["data"]["text/plain"]


def test_samples_are_shown_live_and_kept(ready: Kernel) -> None:
    reply = ready.run(
        "from tests.films import base\nfrom tests.rhymes import RHYMES\nsmall = base()\n"
        "from gpt_magic.notebook import live, magics"
    )
    assert reply.status == "ok", reply.traceback
    reply = ready.run(
        "%%finetune RHYMES -o new\ntask = 'generate'\nbase = small\nmax_steps = 6\neval_every = 2\n"
        "samples = ['Jack and', '<b>$x$</b>']\nsample_tokens = 6"
    )
    assert reply.status == "ok", reply.traceback
    assert reply.stderr == ""
    *_, samples = reply.outputs
    page = Page(samples["data"]["text/html"].replace("<br>", "<br></br>"))
    for when in ("before training", "step 2", "step 4", "step 6"):
        assert page.text.count(when) == 2
        assert samples["data"]["text/plain"].count(f"  {when}") == 2
    assert "<b>$x$</b>" in page.text
    assert "<b>" not in samples["data"]["text/html"]
    kinds = [kind for output in reply.outputs for kind in output["data"]]
    assert kinds.count("image/png") == 1
    card = reply.outputs[0]["data"]["text/html"]
    assert "%predict new the beginning of a text" in card
    assert "★" in card
    said = reply.outputs[1]["data"]["text/plain"]
    assert re.search(r"bits per character \S+ \(\S+ before training\)\.$", said)
    shown = ready.run("new").result["text/html"]
    assert page.text.count("Jack and") == 1
    assert "What it writes" in shown
