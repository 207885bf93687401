"""Buttons and background runs in real kernels, of the versions of ipykernel that treat clicks differently."""

import time
from collections.abc import Iterator

import pytest

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
    return next((int(word.partition("/")[0].replace(",", "")) for word in line.split() if "/" in word), 0)


def acted(kernel: Kernel) -> list[tuple[str, float]]:
    """What reached the run, and when."""
    told: list[tuple[str, float]] = eval(kernel.run("print(acted)").stdout)
    return told


def kinds(reply: Reply) -> list[str]:
    return [kind for output in reply.outputs for kind in output.get("data", {})]


@pytest.mark.parametrize("over_subshell", [True, False], ids=["over a subshell", "without subshell"])
def test_buttons_of_a_cell_that_runs(served: Kernel, version: str, over_subshell: bool) -> None:
    if version.startswith("6"):
        pytest.skip("its clicks wait for the cell: the next test") if over_subshell else None
        return
    subshell = None
    reply = served.start(f"%%finetune films -o clf\n{BODY}")
    served.wait_until(lambda reply: len(buttons(reply)) == 3)
    if over_subshell:
        subshell = served.make_subshell()
    elif version.startswith("7.3"):  # a frontend without subshells: the buttons hide, the interrupt is named
        served.wait_until(lambda reply: "kernel&#x27;s interrupt" in shown(reply))
        served.interrupt()
        assert served.wait().status == "ok"
        assert acted(served)[-1][0] == "stop"
        return
    comms = buttons(reply)
    assert {*comms} == {"Pause", "Snapshot", "Stop"}
    served.wait_until(lambda reply: step(reply) >= 3)
    clicked = [served.click(comms["Pause"], subshell)]
    served.wait_until(lambda reply: '<strong style="min-width:0">paused' in shown(reply))
    resting = step(reply)
    clicked.append(served.click(comms["Snapshot"], subshell))
    served.wait_until(lambda reply: "clf_snapshot: at step" in shown(reply))
    time.sleep(0.4)
    assert step(reply) == resting
    clicked.append(served.click(comms["Pause"], subshell))  # it says Resume now
    served.wait_until(lambda reply: step(reply) > resting + 2)
    clicked.append(served.click(comms["Stop"], subshell))
    served.wait()
    assert reply.status == "ok", reply.traceback
    assert "stopped at step" in shown(reply)
    told = acted(served)
    assert [name for name, _ in told] == ["pause", "snapshot", "resume", "stop"]  # each once, also after the cell
    delays = [(after - before) * 1000 for before, (_, after) in zip(clicked, told, strict=True)]
    print(f"ipykernel {version}: click to effect {', '.join(f'{delay:.0f}' for delay in delays)} ms")
    assert sorted(delays)[1] < 100
    check_end(served, reply)
    said = served.run(
        "print(type(clf).__name__, clf_snapshot.metrics['steps'], clf_snapshot.predict('fine')['prediction'][0])"
    )
    assert said.stdout.split()[:2] == ["TunedClassifier", str(resting)]


def check_end(kernel: Kernel, reply: Reply) -> None:
    """Nothing to click is left, in the kernel or in the outputs."""
    assert WIDGET not in kinds(reply)
    assert kinds(reply).count("image/png") == 1
    opened = {m["content"]["comm_id"] for m in reply.messages if m["msg_type"] == "comm_open"}
    closed = {m["content"]["comm_id"] for m in reply.messages if m["msg_type"] == "comm_close"}
    assert opened == closed


def test_where_clicks_wait_there_are_no_buttons_and_the_interrupt_is_named(served: Kernel, version: str) -> None:
    if not version.startswith("6"):
        return
    reply = served.start(f"%%finetune films -o clf\n{BODY}")
    served.wait_until(lambda reply: step(reply) >= 3)
    assert buttons(reply) == {}
    assert WIDGET not in kinds(reply)
    assert "to stop: the kernel&#x27;s interrupt" in shown(reply)
    served.interrupt()
    served.wait()
    assert reply.status == "ok", reply.traceback
    check_end(served, reply)
