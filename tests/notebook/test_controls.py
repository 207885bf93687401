"""Buttons and background runs in real kernels, of the versions of ipykernel that treat clicks differently."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt_magic.run_folders import resumable
from tests.kernel import Kernel, Reply
from tests.kernels import INSTALLED, OTHERS, packages

WIDGET = "application/vnd.jupyter.widget-view+json"
SETUP = """
%load_ext gpt_magic
import time
import gpt_magic, torch, transformers, ipywidgets, gpt_magic.notebook.plot
from gpt_magic.run import Run
words = {"good": ["fine", "great", "lovely"], "bad": ["dull", "awful", "poor"]}
films = [{"text": f"a {w} film, number {i}", "label": k} for i in range(40) for k, ws in words.items() for w in ws]
acted = []
def watched(name):
    real = getattr(Run, name)
    def call(self, *args):
        acted.append((name, time.time()))
        return real(self, *args)
    setattr(Run, name, call)
for name in ("pause", "resume", "snapshot", "stop"):
    watched(name)
"""
BODY = "base = 'scratch'\nepochs = 200\nbaselines = False"


@pytest.fixture(scope="module", params=[*OTHERS, INSTALLED])
def served(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A kernel that a Jupyter server would have started, of each version."""
    with Kernel(packages=packages(request.param), served=True) as kernel:
        reply = kernel.run(SETUP + "\nimport ipykernel; print(ipykernel.__version__)")
        assert reply.status == "ok", reply.traceback
        assert reply.stdout.strip() == request.param
        yield kernel


@pytest.fixture
def version(served: Kernel) -> str:
    return served.run("print(ipykernel.__version__)").stdout.strip()


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test no run is live, and no widget."""
    yield
    if "served" in request.fixturenames:
        kernel: Kernel = request.getfixturevalue("served")
        kernel.run(
            "from gpt_magic import runs\nfor run in runs.live():\n    run.stop()\n    run.wait(60)\nacted.clear()"
        )


def buttons(reply: Reply) -> dict[str, str]:
    """The comm of each button by its description."""
    opened = [message["content"] for message in reply.messages if message["msg_type"] == "comm_open"]
    states = {content["comm_id"]: content["data"]["state"] for content in opened}
    return {
        state["description"].split()[0]: comm for comm, state in states.items() if state["_model_name"] == "ButtonModel"
    }


def shown(reply: Reply) -> str:
    """All HTML below the cell now."""
    return "\n".join(str(output.get("data", {}).get("text/html", "")) for output in reply.outputs)


def step(reply: Reply) -> int:
    """The step that the progress line shows."""
    line = next(
        (o["data"]["text/plain"] for o in reply.outputs if "elapsed" in str(o.get("data", {}).get("text/plain"))), ""
    )
    found = re.search(r"([\d,]+)/\d", line)  # not that of "tokens/s"
    return int(found[1].replace(",", "")) if found else 0


def acted(kernel: Kernel) -> list[tuple[str, float]]:
    """What reached the run, and when."""
    told: list[tuple[str, float]] = eval(kernel.run("print(acted)").stdout)
    return told


def kinds(reply: Reply) -> list[str]:
    return [kind for output in reply.outputs for kind in output.get("data", {})]


def rests(reply: Reply) -> bool:
    return '<strong style="min-width:0">paused' in shown(reply)


@pytest.mark.parametrize("over_subshell", [True, False], ids=["over-a-subshell", "without-subshells"])
def test_buttons_of_a_cell_that_runs(served: Kernel, version: str, over_subshell: bool) -> None:
    reply = served.start(f"%%finetune films -o clf\n{BODY}")
    if version.startswith("6") or (version.startswith("7.3") and not over_subshell):
        check_that_the_interrupt_is_named(served, reply)
        return
    served.wait_until(lambda reply: len(buttons(reply)) == 3)
    subshell = served.make_subshell() if over_subshell else None
    comms = buttons(reply)
    assert {*comms} == {"Pause", "Snapshot", "Stop"}
    served.wait_until(lambda reply: step(reply) >= 3)
    clicked = [served.click(comms["Pause"], subshell)]
    served.wait_until(rests)
    resting = step(reply)
    clicked.append(served.click(comms["Snapshot"], subshell))
    served.wait_until(lambda reply: "clf_snapshot: at step" in shown(reply))
    assert step(reply) == resting
    clicked.append(served.click(comms["Pause"], subshell))  # it says Resume now
    served.wait_until(lambda reply: step(reply) > resting)
    clicked.append(served.click(comms["Stop"], subshell))
    served.wait()
    assert reply.status == "ok", reply.traceback
    assert "stopped at step" in shown(reply)
    check_end(reply)
    if subshell is not None:
        served.end_subshell(subshell)
    told = acted(served)
    assert [name for name, _ in told] == ["pause", "snapshot", "resume", "stop"]  # each once, also after the cell
    delays = sorted((after - before) * 1000 for before, (_, after) in zip(clicked, told, strict=True))
    print(f"\nipykernel {version}, cell runs: click to effect {', '.join(f'{delay:.0f}' for delay in delays)} ms")
    assert delays[1] < 100
    said = served.run("print(type(clf).__name__, clf_snapshot.metrics['steps'], len(clf_snapshot.predict('fine')))")
    assert said.stdout.split() == ["TunedClassifier", str(resting), "1"]


def check_that_the_interrupt_is_named(kernel: Kernel, reply: Reply) -> None:
    """No button, or none that is seen: a click would wait for the end of the cell."""
    kernel.wait_until(lambda reply: "to stop: the kernel&#x27;s interrupt" in shown(reply))
    assert WIDGET not in kinds(reply)
    kernel.wait_until(lambda reply: step(reply) >= 2)
    kernel.interrupt()
    kernel.wait()
    assert reply.status == "ok", reply.traceback
    assert [name for name, _ in acted(kernel)] == ["stop"]
    check_end(reply)


def gone(reply: Reply) -> bool:
    """Whether nothing to click is left, in the kernel or in the outputs."""
    opened = {m["content"]["comm_id"] for m in reply.messages if m["msg_type"] == "comm_open"}
    return WIDGET not in kinds(reply) and opened <= set(reply.closed)


def check_end(reply: Reply) -> None:
    """Of a cell that ran to its end."""
    assert gone(reply)
    assert kinds(reply).count("image/png") == 1


def test_a_run_behind_a_finished_cell(served: Kernel, version: str) -> None:
    reply = served.run(f"%%finetune films -o clf --background\n{BODY}")
    assert reply.status == "ok", reply.traceback
    print(f"\nipykernel {version}: a background cell returns after {reply.seconds:.2f} s")
    comms = buttons(reply)
    places = len(reply.outputs)
    other = served.run(
        "print(type(clf).__name__, clf)\ntry:\n    clf.predict('x')\nexcept AttributeError as e: print(e)"
    )
    assert other.stdout.startswith("BackgroundRun <BackgroundRun clf, running: ")
    assert "clf is a run in the background (running): clf.wait() gives its model" in other.stdout
    assert other.outputs[1:] == []  # nothing is painted elsewhere
    refused = served.run("%predict clf fine")
    assert refused.error_value.startswith("clf is still in training (running): clf.wait()")
    served.watch(lambda: step(reply) >= 3)
    clicked = [served.click(comms["Pause"])]
    served.watch(lambda: rests(reply))
    clicked.append(served.click(comms["Snapshot"]))
    served.watch(lambda: "clf_snapshot: at step" in shown(reply))
    assert served.run("print(clf_snapshot.metrics['steps'], clf.state)").stdout.split() == [str(step(reply)), "paused"]
    table = served.run("%finetune --status").result
    assert table["text/plain"].splitlines()[-1].split()[:2] == ["clf", "paused"]
    assert served.run("%finetune --resume").stdout == "clf: goes on\n"
    before = step(reply)
    served.watch(lambda: step(reply) > before)
    clicked.append(served.click(comms["Stop"]))
    served.watch(lambda: "stopped at step" in shown(reply) and gone(reply))
    done = served.run("print(type(clf).__name__, len(clf.predict('fine')))")
    assert done.stdout.split() == ["TunedClassifier", "1"]
    check_end(reply)
    assert len(reply.outputs) == places
    told = [(name, when) for name, when in acted(served) if name != "resume"]
    assert [name for name, _ in told] == ["pause", "snapshot", "stop"]
    delays = sorted((after - when) * 1000 for when, (_, after) in zip(clicked, told, strict=True))
    print(f"ipykernel {version}, kernel free: click to effect {', '.join(f'{delay:.0f}' for delay in delays)} ms")
    assert delays[1] < 100


def test_wait_and_show_of_a_run_behind_a_cell(served: Kernel) -> None:
    first = served.run("%%finetune films -o clf --background\nbase = 'scratch'\nmax_steps = 60\nbaselines = False")
    second = served.run("%finetune --show clf")
    waited = served.run("model = clf.wait()\nprint(model is clf, model.metrics['steps'])")
    assert waited.status == "ok", waited.traceback
    assert waited.stdout.split() == ["True", "60"]
    served.watch(lambda: "done: 60 steps" in shown(first) and "done: 60 steps" in shown(second))
    served.watch(lambda: gone(first) and gone(second))
    check_end(first)
    check_end(second)
    third = served.run("%finetune --show clf")
    assert "done: 60 steps" in shown(third)
    assert kinds(third).count("image/png") == 1


def test_a_run_that_fails_behind_a_cell_says_so_there_and_in_wait(served: Kernel) -> None:
    bad = "one = [{**row, 'label': 'one'} for row in films]\n"
    served.run(bad)
    reply = served.run(f"%%finetune one -o bad --background\n{BODY}")
    assert reply.status == "ok"
    served.watch(lambda: "DataError" in shown(reply) and gone(reply))
    waited = served.run("bad.wait()")
    assert (waited.status, waited.error_name) == ("error", "DataError")
    assert served.run("print(bad.state)").stdout.strip() == "failed"


def test_two_runs_take_turns_and_a_name_that_was_given_away_is_left_alone(served: Kernel) -> None:
    first = served.run(f"%%finetune films -o clf --background\n{BODY}")
    other = served.run("%%finetune films -o other --background\nbase = 'scratch'\nmax_steps = 2\nbaselines = False")
    served.watch(lambda: "waiting for clf to end" in shown(other))
    served.watch(lambda: step(first) >= 2)
    assert served.run("clf = 'mine'\n%finetune --stop clf").status == "ok"
    served.watch(lambda: "stopped at step" in shown(first) and "done: 2 steps" in shown(other))
    assert "clf was given to something else while this run went on, so the model is clf_2" in shown(first)
    said = served.run("print(clf, type(clf_2).__name__, type(other).__name__)")
    assert said.stdout.split() == ["mine", "TunedClassifier", "TunedClassifier"]


def test_an_interrupt_of_another_cell_leaves_a_run_behind_alone(served: Kernel) -> None:
    reply = served.run(f"%%finetune films -o clf --background\n{BODY}")
    served.watch(lambda: step(reply) >= 2)
    served.start("print('here', flush=True)\nclf.wait()")
    served.wait_until(lambda reply: "here" in reply.stdout)
    served.interrupt()
    assert served.wait().error_name == "KeyboardInterrupt"
    before = step(reply)
    served.watch(lambda: step(reply) > before)
    assert served.run("%finetune --stop").status == "ok"


def test_orders_that_cannot_be_obeyed(served: Kernel) -> None:
    for line, said in {
        "--stop nobody": "no run 'nobody'",
        "--pause --epochs 3": "--pause stands alone, with the name of a run at most: %finetune --pause [NAME]",
        "films --stop": "--stop stands alone",
        "--status clf": "--status lists all runs",
    }.items():
        reply = served.run(f"%finetune {line}")
        assert reply.error_name == "OptionError"
        assert reply.error_value.startswith(said)


def test_a_kernel_that_is_shut_down_leaves_a_run_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = f"import os; os.environ['GPT_MAGIC_CACHE'] = {str(tmp_path)!r}\n"
    with Kernel(served=True) as kernel:
        kernel.run(setup + SETUP)
        reply = kernel.run(f"%%finetune films -o clf --background\n{BODY}")
        kernel.watch(lambda: step(reply) >= 3)
        seen = step(reply)
        began = time.monotonic()
        kernel.shut_down()
        print(f"\nshut down after {time.monotonic() - began:.1f} s")
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path))
    (left,) = resumable()
    assert left.name == "clf"
    assert seen <= left.step < left.steps
    with Kernel(served=True) as kernel:
        assert kernel.run(f"{setup}\n%load_ext gpt_magic").status == "ok"
        for line in ("--show clf", "--show", "--stop clf"):  # what the kept notebook's line says to write, and others
            said = kernel.run(f"%finetune {line}").error_value
            cut = f"clf does not run in this kernel; it was cut at step {left.step:,} of {left.steps:,}"
            assert said == f"{cut}: %finetune --resume clf goes on with it"
        assert kernel.run("%finetune --show other").error_value.startswith("no run 'other'")
        reply = kernel.run("%finetune --resume clf")
        assert reply.status == "ok", reply.traceback
        kernel.watch(lambda: step(reply) > left.step)
        assert kernel.run("%finetune --stop").stdout == "clf: ends after this step, with the best weights\n"
        kernel.watch(lambda: "stopped at step" in shown(reply) and gone(reply))
        assert kernel.run("print(type(clf).__name__)").stdout == "TunedClassifier\n"


def test_without_a_server_there_is_nothing_to_click_and_a_run_behind_a_cell_is_told_by_its_name(kernel: Kernel) -> None:
    """As in nbclient, which would save the state of widgets."""
    assert kernel.run(SETUP).status == "ok"
    reply = kernel.run(f"%%finetune films -o clf --background\n{BODY}")
    kernel.watch(lambda: step(reply) >= 2)
    assert "to stop: %finetune --stop clf" in shown(reply)
    assert kernel.run("clf.stop()").status == "ok"
    kernel.watch(lambda: "stopped at step" in shown(reply))
    assert not [message for message in reply.messages if message["msg_type"] == "comm_open"]
    assert kernel.run("clf").status == "ok"
    quiet = kernel.run("%%finetune films -o silent --background --quiet\nbase = 'scratch'\nmax_steps = 2")
    assert quiet.outputs == []
    waited = kernel.run("silent.wait(), type(silent).__name__")
    assert waited.result["text/plain"].endswith("'TunedClassifier')")
    door = "gpt_magic.finetune(films, base='scratch', max_steps=2, background=True)"
    assert kernel.run(f"print(type({door}.wait()).__name__)").stdout.strip() == "TunedClassifier"
