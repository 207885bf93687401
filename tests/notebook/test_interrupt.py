"""The kernel's interrupt button, in a real kernel: one press stops, two abandon, and the model is there."""

import time

import pytest

from tests.kernel import Kernel, Reply

SETUP = """
%load_ext gpt_magic
words = {"good": ["fine", "great", "lovely"], "bad": ["dull", "awful", "poor"]}
films = [{"text": f"a {w} film, number {i}", "label": k} for i in range(40) for k, ws in words.items() for w in ws]
"""


@pytest.fixture(scope="module")
def ready(kernel: Kernel) -> Kernel:
    assert kernel.run(SETUP).status == "ok"
    return kernel


def steps_made(reply: Reply) -> bool:
    """Whether the progress line shows at least a third step."""
    text = " ".join(str(update["data"].get("text/plain", "")) for update in reply.updates)
    return any(f" {step:,}/" in text for step in range(3, 400))


def start_training(kernel: Kernel, line: str = "-o clf") -> None:
    kernel.start(f"%%finetune films {line}\nbase = 'scratch'\nepochs = 200\nbaselines = False")
    kernel.wait_until(steps_made)


def test_an_interrupt_hands_back_a_usable_model(ready: Kernel) -> None:
    start_training(ready)
    ready.interrupt()
    reply = ready.wait()
    assert reply.status == "ok", reply.traceback
    assert not reply.traceback
    card = " ".join(str(output.get("data", {}).get("text/html", "")) for output in reply.outputs)
    assert "stopped at step" in card
    assert reply.interrupt_seconds is not None
    print(f"interrupt to idle: {reply.interrupt_seconds:.2f} s")
    assert reply.interrupt_seconds < 10
    after = ready.run("print(clf.predict(['a fine film'])['prediction'][0] in ('good', 'bad'), len(clf.history) > 2)")
    assert after.stdout.strip() == "True True"


def test_an_interrupt_while_the_plot_is_first_shown_leaves_one(ready: Kernel) -> None:
    ready.run(
        "import signal, IPython.display\ndisplay = IPython.display.display\n"
        "def interrupted(data, *args, **kwargs):\n    handle = display(data, *args, **kwargs)\n"
        "    if 'image/png' in data:\n        IPython.display.display = display\n"
        "        signal.raise_signal(signal.SIGINT)\n    return handle\nIPython.display.display = interrupted"
    )
    reply = ready.run("%%finetune films -o clf\nbase = 'scratch'\nepochs = 200\nbaselines = False")
    assert reply.status == "ok", reply.traceback
    assert sum("image/png" in output.get("data", {}) for output in reply.outputs) == 1
    card = " ".join(str(output.get("data", {}).get("text/html", "")) for output in reply.outputs)
    assert "stopped at step" in card


def test_a_second_interrupt_within_two_seconds_abandons(ready: Kernel) -> None:
    # A step that takes long enough for two presses.
    ready.run(
        "import time\nfrom gpt_magic.engine import step as engine_step\nclip_ = engine_step.clip\n"
        "def slow(*a):\n    time.sleep(1.5)\n    return clip_(*a)\nengine_step.clip = slow"
    )
    ready.start("%%finetune films -o other\nbase = 'scratch'\nepochs = 200\nbaselines = False")
    ready.wait_until(lambda reply: any(" 1/" in str(u["data"].get("text/plain")) for u in reply.updates))
    ready.interrupt()
    time.sleep(0.3)  # two signals at once would be one
    ready.interrupt()
    reply = ready.wait()
    ready.run("engine_step.clip = clip_")
    assert reply.status == "error"
    assert reply.error_name == "RunAbandoned"
    assert len(reply.traceback) == 1
    assert reply.interrupt_seconds is not None
    assert reply.interrupt_seconds < 1.0
    assert ready.run("print('other' in globals())").stdout.strip() == "False"


def test_an_interrupt_before_the_first_step_is_an_error(ready: Kernel) -> None:
    ready.run("big = films * 500")
    ready.start("%%finetune big -o none --base scratch")
    ready.wait_until(lambda reply: bool(reply.displays), seconds=60)
    ready.interrupt()
    reply = ready.wait()
    assert (reply.status, reply.error_name) == ("error", "RunAbandoned")


def test_a_failing_run_is_an_error_and_leaves_what_it_had(ready: Kernel) -> None:
    ready.run(
        "def fail(*a):\n    fail.calls += 1\n    if fail.calls == 4: raise RuntimeError('boom')\n    return clip_(*a)\n"
        "fail.calls = 0\nengine_step.clip = fail"
    )
    reply = ready.run("%%finetune films -o saved\nbase = 'scratch'\nbaselines = False")
    ready.run("engine_step.clip = clip_")
    assert (reply.status, reply.error_name, len(reply.traceback)) == ("error", "TrainingError", 1)
    assert "training failed at step 4: RuntimeError: boom" in reply.error_value
    assert ready.run("print(saved.metrics['steps'])").stdout.strip() == "3"


def test_the_finished_cell_holds_a_card_and_one_picture(ready: Kernel) -> None:
    reply = ready.run("%%finetune films\nbase = 'scratch'\nmax_steps = 20\nbaselines = False")
    assert reply.status == "ok", reply.traceback
    kinds = [kind for output in reply.outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 1
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    assert ready.run("print(type(tuned).__name__)").stdout.strip() == "TunedClassifier"


def test_an_empty_body_is_fine(ready: Kernel) -> None:
    reply = ready.run("%%finetune films --base scratch --max-steps 2 --dry-run")
    assert reply.status == "ok", reply.traceback
