"""A form in a real kernel: runs one after the other, their list, and what the saved cell holds."""

import json

import pytest

from tests.kernel import Kernel, Reply

SETUP = """
import gpt_magic
from tests.films import base, films
toy, small = films(), base()
given = dict(base=small, text="review", label="sentiment", learning_rate=1e-2, baselines=False, max_steps=8)
"""


@pytest.fixture(scope="module")
def ready(kernel: Kernel) -> Kernel:
    """A kernel with a table and a small base."""
    assert kernel.run("import sys; sys.path.insert(0, '.')" + SETUP).status == "ok"
    return kernel


def said(kernel: Kernel, expression: str) -> str:
    reply = kernel.run(f"print({expression})")
    assert reply.status == "ok", reply.error_value
    return reply.stdout.strip()


def opened(kernel: Kernel, code: str) -> Reply:
    reply = kernel.run(code)
    assert reply.status == "ok", reply.traceback
    return reply


def test_runs_are_started_listed_used_and_deleted(ready: Kernel) -> None:
    reply = opened(ready, "form = gpt_magic.form(toy, output='clf', **given)\nform")
    opened(ready, "form.start()\nform.start()")
    assert said(ready, "clf") != ""  # the name stands for the run until it has ended
    assert said(ready, "[a.run.wait(100) for a in form.runs.attempts], form.runs.idle(30)") == "[True, True] True"
    assert said(ready, "clf is form.runs.attempts[1].run.result") == "True"
    assert said(ready, "[a.settings for a in form.runs.attempts]").count("learning_rate = 0.01") == 2
    assert sum("image/png" in o.get("data", {}) for o in reply.outputs) == 2  # a plot, and the curves of both
    assert said(ready, "form.idle(60), 'tokens a second of run 2' in form.report") == "True True"
    opened(ready, "form.runs.choose(1); form.runs.use()")
    assert said(ready, "clf is form.runs.attempts[0].run.result") == "True"
    opened(ready, "form.runs.show_again(); form.runs.delete()")
    assert said(ready, "[a.number for a in form.runs.attempts]") == "[2]"
    assert sum("image/png" in o.get("data", {}) for o in reply.outputs) == 1  # its plot; there is nothing to compare


def test_a_run_that_was_started_before_the_form_was_shown_gets_its_name_and_the_next_is_shown(ready: Kernel) -> None:
    opened(ready, "early = gpt_magic.form(toy, output='hidden', **given)\nearly.start()")
    assert said(ready, "early.runs.attempts[0].run.wait(100), early.runs.idle(30)") == "True True"
    assert said(ready, "hidden is early.runs.attempts[0].run.result") == "True"
    reply = opened(ready, "early")
    opened(ready, "early.start()")
    assert said(ready, "early.runs.attempts[1].run.wait(100), early.runs.idle(30)") == "True True"
    assert sum("image/png" in o.get("data", {}) for o in reply.outputs) == 2
    assert "run this cell again" in str(opened(ready, "early.close()\nearly").outputs)


def test_the_form_writes_the_cell_that_does_the_same(ready: Kernel) -> None:
    opened(
        ready, "given2 = {**given, 'max_steps': 3, 'seed': 5}\nform = gpt_magic.form(toy, output='one', **given2)\nform"
    )
    opened(ready, "form.copy_cell(); cell = form.copy.text; form.copy_call(); call = form.copy.text; form.start()")
    assert said(ready, "form.runs.attempts[0].run.wait(100), form.runs.idle(30)") == "True True"
    opened(ready, "%load_ext gpt_magic\nfirst = one\nget_ipython().run_cell(cell).raise_error(); second = one")
    opened(ready, "exec(call); third = one")
    losses = "[[row['loss'] for row in model.history.to_dict('records')] for model in (first, second, third)]"
    one, two, three = json.loads(said(ready, losses).replace("'", '"'))
    assert len(one) == 3
    assert one == two == three


def test_a_form_of_the_magic_begins_with_its_options(ready: Kernel) -> None:
    reply = opened(ready, "%load_ext gpt_magic\n%finetune --form toy --epochs 7 --label sentiment")
    views = [data for shown in reply.displays for data in shown["data"]]
    assert "application/vnd.jupyter.widget-view+json" in views
    assert said(ready, "_.options().epochs if '_' in dir() and hasattr(_, 'options') else 'none'") in ("7", "none")


def test_what_stays_in_the_cell_is_static(ready: Kernel) -> None:
    reply = opened(ready, "form = gpt_magic.form(toy, output='clf', **given)\nform")
    opened(ready, "form.start()")
    assert said(ready, "form.runs.attempts[0].run.wait(100), form.runs.idle(30)") == "True True"
    opened(ready, "form.close()")
    views = [o for o in reply.outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert views == []
    html = "\n".join(o["data"].get("text/html", "") for o in reply.outputs if "data" in o)
    assert "Runs of this form" in html
    assert "done: 8 steps" in html
    assert sum("image/png" in o.get("data", {}) for o in reply.outputs) == 1


def test_a_second_form_in_the_same_cell_closes_the_first(ready: Kernel) -> None:
    opened(ready, "from gpt_magic.notebook import live\nlive.cell_id = lambda: 'a'")
    opened(ready, "one = gpt_magic.form(toy, **given)\none")
    opened(ready, "two = gpt_magic.form(toy, **given)\ntwo")
    assert said(ready, "one.root.comm is None, two.root.comm is None") == "True False"
    opened(ready, "live.cell_id = lambda: 'b'\ntwo")
    opened(ready, "three = gpt_magic.form(toy, **given)\nlive.cell_id = lambda: 'a'\nthree")
    assert said(ready, "two.root.comm is None, three.root.comm is None") == "False False"
    opened(ready, "two.close(); three.close()")


def test_the_rates_that_were_tried_are_shown_behind_the_slider(ready: Kernel) -> None:
    auto = "{**given, 'learning_rate': 'auto', 'max_steps': 60}"
    opened(ready, f"form = gpt_magic.form(toy, output='clf', **{auto})\nform")
    opened(ready, "form.start()")
    assert said(ready, "form.runs.attempts[0].run.wait(100), form.runs.idle(30)") == "True True"
    assert said(ready, "'Learning rate' in form.rate.tried and 'alt=' in form.rate.tried") == "True"
