import base64
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from PIL import Image
from traitlets.config import Config

from gpt_magic.engine.events import Sampled
from gpt_magic.notebook import live, plot, status
from gpt_magic.notebook.budget import BUDGET, Budget
from gpt_magic.notebook.live import NotebookView, QuietView, TerminalView, view_for
from gpt_magic.recorder import Progress
from tests.kernel import Kernel
from tests.noisy import PREFLIGHT, SUMMARY, noisy_run


class Clock:
    """A clock and a processor that go on only when told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cpu = 0.0

    def budget(self) -> Budget:
        return Budget(lambda: self.now, lambda: self.cpu)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a real shell publishes, in order: data, metadata, transient, update."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    ours = not InteractiveShell.initialized()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher.outputs
    if ours:
        InteractiveShell.clear_instance()


def standing(published: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs as they stand, updates applied."""
    shown: dict[str, dict[str, Any]] = {}
    for output in published:
        name = output["transient"]["display_id"]
        assert output["update"] == (name in shown)
        shown[name] = output
    return list(shown.values())


# --- the budget ---------------------------------------------------------------------------------------------------


def simulate(clock: Clock, seconds: float, costs: dict[str, Callable[[int], float]]) -> dict[str, list[float]]:
    """Paint as a waiting main thread does, every 50 ms; returns when each thing was painted."""
    budget = clock.budget()
    every = {"line": live.LINE_SECONDS, "plot": live.PLOT_SECONDS}
    painted: dict[str, list[float]] = {what: [] for what in costs}
    while clock.now < seconds:
        clock.now += 0.05
        for what, cost in costs.items():
            if budget.due(what, every[what]):
                painted[what].append(clock.now)
                number = len(painted[what])
                budget.pay(what, lambda cost=cost, number=number: clock.work(cost(number)))
    return painted


def spent(painted: dict[str, list[float]], costs: dict[str, Callable[[int], float]]) -> float:
    """Seconds, first times left out, as they are free."""
    return sum(costs[what](number) for what, times in painted.items() for number in range(2, len(times) + 1))


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def test_cheap_pictures_come_every_second_and_lines_four_times(clock: Clock) -> None:
    costs = {"line": lambda _: 0.0005, "plot": lambda _: 0.006}
    painted = simulate(clock, 60, costs)
    assert max(gaps(painted["plot"])) <= 1.01
    assert len(painted["line"]) >= 0.8 * 4 * 60
    assert spent(painted, costs) < BUDGET * 60


@pytest.mark.parametrize("plot_cost", [0.02, 0.1, 0.5, 3.0])
def test_dear_pictures_come_as_rarely_as_needed(clock: Clock, plot_cost: float) -> None:
    costs = {"line": lambda _: 0.0005, "plot": lambda _: plot_cost}
    painted = simulate(clock, 1200, costs)
    assert spent(painted, costs) < BUDGET * clock.now + plot_cost
    assert len(painted["plot"]) >= 0.5 * BUDGET * 1200 / plot_cost
    assert max(gaps(painted["line"])) < plot_cost + 1.1


def test_lines_become_rare_where_even_they_are_dear(clock: Clock) -> None:
    costs = {"line": lambda _: 0.05}
    painted = simulate(clock, 200, costs)
    assert spent(painted, costs) <= BUDGET * clock.now + 0.05


@pytest.mark.parametrize("dear", [{5}, {2}, {2, 4, 6}])
def test_dear_pictures_now_and_then_do_not_stop_the_next_ones(clock: Clock, dear: set[int]) -> None:
    """New axes are drawn when the first losses come, and then rarely."""
    costs = {"line": lambda _: 0.0005, "plot": lambda number: 0.05 if number in dear else 0.006}
    painted = simulate(clock, 60, costs)
    assert max(gaps(painted["plot"])) < 1.6
    assert spent(painted, costs) < BUDGET * 60


def test_the_first_picture_is_free(clock: Clock) -> None:
    budget = clock.budget()
    budget.pay("plot", lambda: clock.work(2.0))
    assert budget.spent == 0
    budget.pay("plot", lambda: clock.work(0.5))
    assert budget.spent == 0.5


# --- in a notebook ------------------------------------------------------------------------------------------------


def watch(view: NotebookView, clock: Clock, upto: int = 672, each: float = 0.05) -> Progress:
    """A run of 0.1 s a step, painted every 50 ms."""
    whole = noisy_run()
    made = 0
    progress = Progress(phase="loading nano")
    while made < upto:
        clock.now += each
        made = min(int(clock.now / 0.1), upto)
        progress = replace(
            whole,
            step=made,
            steps_log=whole.steps_log[:made],
            evaluations=tuple(e for e in whole.evaluations if e.step <= made),
            elapsed=clock.now,
        )
        view.paint(progress)
    return progress


def test_three_outputs_are_updated_in_place(published: list[dict[str, Any]], clock: Clock) -> None:
    view = NotebookView(clock.budget())
    view.open()
    view.paint(Progress(phase="reading the data"))
    card, line = standing(published)
    assert card["data"]["text/html"] == ""  # the place above the line is kept
    assert "reading the data" in line["data"]["text/html"]
    view.preflight(PREFLIGHT)
    progress = watch(view, clock, upto=200)
    card, line, picture = standing(published)
    assert "tokens a text" in card["data"]["text/html"]
    assert 'role="progressbar"' in line["data"]["text/html"]
    assert re.search(r" (19\d|200)/672 ", line["data"]["text/plain"])
    view.close(SUMMARY, progress)
    card, line, picture = standing(published)
    assert "★ 93.1%" in card["data"]["text/html"]
    assert "★ 93.1%" in card["data"]["text/plain"]
    assert "progressbar" not in line["data"]["text/html"]
    assert "Training loss" in line["data"]["text/plain"]
    assert picture["data"]["text/plain"] == "loss plot"
    assert Image.open(io.BytesIO(base64.b64decode(picture["data"]["image/png"]))).size == (1440, 580)


class PlayedControls:
    """Buttons as a display shows them."""

    in_vain = closed = False

    def bundle(self) -> dict[str, str]:
        return {"application/vnd.jupyter.widget-view+json": "a model of the kernel's", "text/plain": "buttons"}

    def look(self) -> None:
        pass

    def hint(self) -> str:
        return ""

    def close(self) -> None:
        self.closed = True


def test_of_a_form_no_buttons_stay_where_nothing_was_evaluated(published: list[dict[str, Any]], clock: Clock) -> None:
    handles = {place: display({"text/html": ""}, raw=True, display_id=True) for place in live.PLACES}
    controls: Any = PlayedControls()
    view = NotebookView(clock.budget(), controls)
    view.take_over(handles)
    assert any("widget-view" in kind for one in standing(published) for kind in one["data"])
    view.close(None, Progress(phase="reading the data"), ValueError("refused"))
    assert controls.closed
    assert not any("widget-view" in kind for one in standing(published) for kind in one["data"])


def test_pictures_keep_size_and_text(published: list[dict[str, Any]], clock: Clock) -> None:
    view = NotebookView(clock.budget())
    view.open()
    view.close(SUMMARY, watch(view, clock, upto=100))
    pictures = [output for output in published if "image/png" in output["data"]]
    assert len(pictures) >= 8
    assert {output["data"]["text/plain"] for output in pictures} == {"loss plot"}
    assert [output["metadata"] for output in pictures[1:]] == [output["metadata"] for output in pictures[:-1]]
    size = pictures[0]["metadata"]["image/png"]
    assert (size["width"], size["height"]) == (720, 290)
    assert size["alt"]


def test_lines_and_pictures_come_at_their_pace(published: list[dict[str, Any]], clock: Clock) -> None:
    view = NotebookView(clock.budget())
    view.open()
    view.preflight(PREFLIGHT)
    watch(view, clock, upto=200)  # 20 s, at no cost
    assert 19 <= sum("image/png" in output["data"] for output in published) <= 24
    assert 75 <= sum("progressbar" in output["data"].get("text/html", "") for output in published) <= 85
    # The pre-flight is shown once, so that a reader can select its text.
    assert sum("tokens a text" in output["data"].get("text/html", "") for output in published) == 1


def test_nothing_is_painted_anew_while_nothing_happens(published: list[dict[str, Any]], clock: Clock) -> None:
    view = NotebookView(clock.budget())
    view.open()
    progress = watch(view, clock, upto=50)
    clock.now += 5
    view.paint(progress)
    before = len(published)
    for _ in range(100):
        clock.now += 0.05
        view.paint(progress)
    assert len(published) == before


def test_a_run_without_a_result_leaves_no_running_line(published: list[dict[str, Any]], clock: Clock) -> None:
    view = NotebookView(clock.budget())
    view.open()
    view.paint(Progress(phase="reading the data"))
    view.close(None, Progress())
    assert [output["data"]["text/html"] for output in standing(published)] == ["", ""]


def test_a_run_that_failed_before_anything_was_painted_shows_nothing(published: list[dict[str, Any]]) -> None:
    view = NotebookView()
    view.open()
    view.close(None, Progress())
    assert published == []


def test_a_dry_run_leaves_the_preflight(published: list[dict[str, Any]]) -> None:
    view = NotebookView()
    view.open()
    view.preflight(PREFLIGHT)
    view.close(None, Progress())
    (card,) = standing(published)
    assert "tokens a text" in card["data"]["text/plain"]


def test_a_failing_plot_ends_neither_the_run_nor_the_line(
    published: list[dict[str, Any]],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tries = []

    def fail(*_: object, **__: object) -> bytes:
        tries.append(1)
        raise ValueError("no\nink")

    monkeypatch.setattr(plot.LossPlot, "update", fail)
    view = NotebookView(clock.budget())
    view.open()
    view.preflight(PREFLIGHT)
    view.close(SUMMARY, watch(view, clock, upto=50))
    assert len(tries) == 1
    card, line = standing(published)
    assert "★" in card["data"]["text/html"]
    assert "Training loss" in line["data"]["text/html"]
    said = capsys.readouterr().err
    assert said == "gpt_magic could not show the loss plot (ValueError: no ink); the run went on without it\n"


@pytest.mark.parametrize("broken", ["progress_html", "curves_html"])
def test_any_failing_painter_is_survived(
    published: list[dict[str, Any]],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    monkeypatch.setattr(status, broken, lambda *_: 1 / 0)
    view = NotebookView(clock.budget())
    view.open()
    view.preflight(PREFLIGHT)
    view.close(SUMMARY, watch(view, clock, upto=20))
    assert any("★" in output["data"].get("text/html", "") for output in standing(published))
    assert capsys.readouterr().err.count("ZeroDivisionError") == 1


def test_an_interrupt_is_not_swallowed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "progress_html", interrupted)
    view = NotebookView(clock.budget())
    view.open()
    with pytest.raises(KeyboardInterrupt):
        view.paint(Progress())


def test_in_a_kernel_the_notebook_keeps_card_words_and_picture(kernel: Kernel) -> None:
    reply = kernel.run(
        "import sys, time\n"
        "from gpt_magic.notebook.live import view_for\n"
        "from tests.noisy import *\n"
        "view = view_for(False)\n"
        "view.open()\n"
        "view.preflight(PREFLIGHT)\n"
        "for at in (0, 1, 2, 100, 300):\n"
        "    view.paint(noisy_run(at=at))\n"
        "    time.sleep(0.3)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "view.close(SUMMARY, noisy_run())\n"
    )
    assert reply.traceback == []
    assert len(reply.displays) == 3
    assert len(reply.updates) >= 6
    assert [sorted(output["data"]) for output in reply.outputs] == [
        ["text/html", "text/plain"],
        ["text/html", "text/plain"],
        ["image/png", "text/plain"],
    ]
    assert "✓ done: 672 steps" in reply.outputs[0]["data"]["text/plain"]
    assert reply.stderr == reply.stdout == ""


def written(at: int) -> Progress:
    """A run of a language model as it stands after step ``at``; it writes before training and every 100 steps."""
    texts = tuple(Sampled(step, (("Jack", f" text {step}"),)) for step in range(0, at + 1, 100))
    return replace(noisy_run(at=at), samples=texts)


def test_samples_stand_below_the_plot_and_are_painted_when_they_change(
    published: list[dict[str, Any]], clock: Clock
) -> None:
    view = NotebookView(clock.budget())
    view.open()
    view.preflight(PREFLIGHT)
    for at in range(301):
        clock.now += 0.1
        view.paint(written(at))
    _, _, picture, samples = standing(published)
    assert "image/png" in picture["data"]
    assert samples["data"]["text/plain"].splitlines() == [
        *('after "Jack":', "  before training: text 0", "  step 300: text 300")
    ]
    shown = [output for output in published if "What it writes" in output["data"].get("text/html", "")]
    assert len(shown) == 4
    view.close(SUMMARY, written(300))
    *_, samples = standing(published)
    assert "2 in between" in samples["data"]["text/html"]
    assert "step 200" in samples["data"]["text/plain"]


def test_samples_of_a_run_of_one_step_are_shown(published: list[dict[str, Any]]) -> None:
    view = NotebookView()
    view.open()
    view.preflight(PREFLIGHT)
    view.close(SUMMARY, replace(written(1), samples=written(0).samples))
    assert "text 0" in standing(published)[-1]["data"]["text/html"]


# --- in a terminal ------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A terminal that remembers what stands on its last line."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """Every state of the line, as the cursor left it."""
        shown = ""
        states = []
        for piece in self.getvalue().split("\r")[1:]:
            shown = piece + shown[len(piece) :]
            states.append(shown.rstrip())
        return states


def test_the_terminal_line_is_rewritten_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    err, out = Terminal(), io.StringIO()
    view = TerminalView(err, out)
    monkeypatch.setattr(view._budget, "due", lambda *_: True)
    view.open()
    view.preflight(PREFLIGHT)
    for progress in (noisy_run(at=672), noisy_run(at=5), Progress(phase="x", elapsed=1)):
        view.paint(progress)
    view.close(SUMMARY, noisy_run())
    assert "\n" not in err.getvalue()
    states = err.lines()
    assert all(len(piece) < 60 for piece in err.getvalue().split("\r"))
    assert "672/672" in states[0]
    assert states[2] == "x  0:01 elapsed"  # nothing of the longer line before is left
    assert states[-1] == ""
    assert (
        out.getvalue().index("tokens a text") < out.getvalue().index("★ 93.1%") < out.getvalue().index("Training loss")
    )


def test_without_a_terminal_there_is_a_line_an_evaluation(clock: Clock) -> None:
    err, out = io.StringIO(), io.StringIO()
    view = TerminalView(err, out)
    view._budget = clock.budget()
    view.open()
    for at in range(0, 673, 4):
        clock.now += 1
        view.paint(noisy_run(at=at))
    view.close(SUMMARY, noisy_run())
    lines = err.getvalue().splitlines()
    assert sum(line.startswith("step ") for line in lines) == 6
    assert 5 <= sum(line.startswith("training") for line in lines) <= 7
    assert "\r" not in err.getvalue()


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_samples_are_printed_once_and_after_their_step(kind: Any, clock: Clock) -> None:
    err = kind()
    view = TerminalView(err, io.StringIO())
    view._budget = clock.budget()
    view.open()
    for at in range(201):
        clock.now += 1
        view.paint(written(at))
    said = err.getvalue()
    assert said.count("what it writes before training:\n") == said.count("what it writes at step 100:\n") == 1
    assert "step 200:" not in said.replace("step 224", "")
    view.close(SUMMARY, written(200))
    assert err.getvalue().count('  "Jack": text 200\n') == 1
    assert err.getvalue().count('  "Jack": text 0\n') == 1


def test_a_console_without_unicode_gets_a_card_all_the_same() -> None:
    bytes_out = io.BytesIO()
    view = TerminalView(io.StringIO(), io.TextIOWrapper(bytes_out, encoding="cp1252"))
    view.preflight(PREFLIGHT)
    view.close(SUMMARY, noisy_run())
    assert b"93.1%" in bytes_out.getvalue()


# --- which one ----------------------------------------------------------------------------------------------------


def test_quiet_shows_nothing(published: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    view = view_for(quiet=True)
    assert isinstance(view, QuietView)
    view.open()
    view.preflight(PREFLIGHT)
    view.paint(noisy_run())
    view.close(SUMMARY, noisy_run())
    assert published == []
    assert capsys.readouterr() == ("", "")


def test_the_view_fits_where_it_runs(published: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(view_for(quiet=False), TerminalView)  # a shell without a kernel: IPython in a terminal
    monkeypatch.setattr(InteractiveShell.instance(), "kernel", object(), raising=False)
    assert isinstance(view_for(quiet=False), NotebookView)
    monkeypatch.delitem(sys.modules, "IPython")
    assert isinstance(view_for(quiet=False), TerminalView)
