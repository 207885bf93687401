"""The buttons of a run in JupyterLab: pause, snapshot, resume, stop; runs behind a finished cell; a reload mid-run."""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser.axe import Axe
from tests.browser.lab import Lab
from tests.browser.test_quickstart import errors

pytestmark = pytest.mark.browser

SETUP, TRAIN = 0, 1
CELLS = (
    """%load_ext gpt_magic
words = {"good": ["fine", "great", "lovely"], "bad": ["dull", "awful", "poor"]}
films = [{"text": f"a {w} film, number {i}", "label": k} for i in range(40) for k, ws in words.items() for w in ws]
print("ready")""",
    """%%finetune films -o clf
base = "scratch"
epochs = 300
baselines = False""",
)
START_SECONDS = 90.0
OUTPUTS = ".jp-Notebook .jp-Cell-outputArea"


def write_notebook(folder: Path) -> Path:
    path = folder / "films.ipynb"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    cells = [*map(nbformat.v4.new_code_cell, CELLS)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture(scope="module")
def films(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab with the notebook open and its data made."""
    lab.set_theme("light")
    lab.open(write_notebook(tmp_path_factory.mktemp("notebooks")))
    lab.run_cell(SETUP)
    yield lab
    lab.set_theme("light")
    lab.resize(1280)


def press(lab: Lab, name: str, cell: int, key: str | None = None) -> None:
    """Click a button below a cell by what it says, or press a key on it."""
    button = lab.page.locator(".jp-Notebook-cell").nth(cell).locator("button.jupyter-button", has_text=name)
    lab.wait_for(button.press(key) if key else button.click(), what=name)


def labels(lab: Lab, cell: int) -> list[str]:
    """What the buttons below a cell say."""
    found: list[str] = lab.call(
        "index => [...driver.cell(index).outputArea.node.querySelectorAll('button.jupyter-button')]"
        ".filter(node => node.checkVisibility({visibilityProperty: true})).map(node => node.innerText.trim())",
        cell,
    )
    return found


def box(lab: Lab, cell: int, selector: str) -> dict[str, float]:
    """Where something stands below a cell, from the top left corner of the cell's outputs."""
    found: dict[str, float] = lab.call(
        "([index, selector]) => { const area = driver.cell(index).outputArea.node, a = area.getBoundingClientRect(),"
        " b = area.querySelector(selector).getBoundingClientRect();"
        " return {x: b.x - a.x, y: b.y - a.y, width: b.width, height: b.height, space: a.width}; }",
        [cell, selector],
    )
    return found


def step(lab: Lab, cell: int) -> int:
    """The step that the page shows below a cell; 0 before the first."""
    found = re.search(r"\bstep\s+([\d,]+) /", lab.shown(cell))
    return int(found[1].replace(",", "")) if found else 0


def widgets(outputs: list[dict[str, Any]]) -> list[str]:
    return [kind for output in outputs for kind in output.get("data", {}) if "widget" in kind]


def test_pause_snapshot_resume_and_stop_while_the_cell_runs(films: Lab, artefacts: Path, axe: Axe) -> None:
    lab = films
    lab.start_cell(TRAIN)
    lab.until(lambda: step(lab, TRAIN) >= 3, START_SECONDS, "three steps")
    lab.until(lambda: labels(lab, TRAIN) == ["Pause", "Snapshot", "Stop"], 10, "the buttons")
    running = box(lab, TRAIN, "button.jupyter-button")
    lab.screenshot(artefacts / "controls-running-light.png", TRAIN)
    press(lab, "Pause", TRAIN)
    lab.until(lambda: "paused" in lab.shown(TRAIN), 20, "the pause")
    lab.until(lambda: labels(lab, TRAIN) == ["Resume", "Snapshot", "Stop"], 5, "Resume")
    assert box(lab, TRAIN, "button.jupyter-button") == running  # nothing jumps
    resting = step(lab, TRAIN)
    for theme in ("dark", "light"):
        lab.set_theme(theme)
        lab.screenshot(artefacts / f"controls-paused-{theme}.png", TRAIN)
        assert axe.serious(lab, OUTPUTS, f"a paused run with its buttons, {theme}") == []
    press(lab, "Snapshot", TRAIN)
    lab.until(lambda: "clf_snapshot: at step" in lab.shown(TRAIN), 20, "the snapshot")
    assert step(lab, TRAIN) == resting
    lab.resize(400)
    row = box(lab, TRAIN, ".widget-hbox")
    assert row["x"] + row["width"] <= row["space"] + 1
    assert box(lab, TRAIN, "button.jupyter-button:last-child")["x"] < row["space"] - 40
    lab.screenshot(artefacts / "controls-narrow.png", TRAIN)
    lab.resize(1280)
    press(lab, "Resume", TRAIN)
    lab.until(lambda: step(lab, TRAIN) > resting, 20, "another step")
    press(lab, "Stop", TRAIN, "Enter")  # by the keyboard
    lab.wait_idle(60)
    assert errors(lab.outputs(TRAIN)) == []
    assert "stopped at step" in lab.shown(TRAIN)
    assert labels(lab, TRAIN) == widgets(lab.outputs(TRAIN)) == []
    lab.screenshot(artefacts / "controls-stopped.png", TRAIN)
    used = lab.add_cell("print(type(clf).__name__, clf_snapshot.metrics['steps'])")
    lab.run_cell(used)
    assert lab.shown(used).split() == ["TunedClassifier", str(resting)]
    saved = nbformat.read(lab.save(), as_version=4)
    assert "widgets" not in saved.metadata


def test_a_run_behind_a_cell_is_stopped_from_another(films: Lab, artefacts: Path) -> None:
    lab = films
    behind = lab.add_cell(CELLS[TRAIN].replace("-o clf", "-o other --background"))
    lab.run_cell(behind)
    lab.until(lambda: step(lab, behind) >= 3, START_SECONDS, "three steps behind a finished cell")
    table = lab.add_cell("%finetune --status")
    lab.run_cell(table)
    assert re.search(r"other\s+running", lab.shown(table))
    lab.screenshot(artefacts / "controls-behind.png", behind)
    lab.screenshot(artefacts / "controls-status.png", table)
    stop = lab.add_cell("%finetune --stop other")
    lab.run_cell(stop)
    lab.until(lambda: "stopped at step" in lab.shown(behind), 30, "the card")
    lab.until(lambda: not labels(lab, behind), 5, "the end of the buttons")
    used = lab.add_cell("other")
    lab.run_cell(used)
    assert "stopped at step" in lab.shown(used)


def test_after_a_reload_a_run_is_shown_again(films: Lab, artefacts: Path) -> None:
    lab = films
    behind = lab.add_cell(CELLS[TRAIN].replace("-o clf", "-o third --background"))
    lab.run_cell(behind)
    lab.until(lambda: step(lab, behind) >= 2, START_SECONDS, "two steps")
    lab.save()
    lab.reload()
    shown = lab.add_cell("%finetune --show")
    lab.run_cell(shown)
    first = step(lab, shown)
    lab.until(lambda: step(lab, shown) > first, 30, "another step after the reload")
    lab.until(lambda: labels(lab, shown) == ["Pause", "Snapshot", "Stop"], 10, "the buttons")
    lab.screenshot(artefacts / "controls-reloaded.png")
    press(lab, "Stop", shown)
    lab.until(lambda: "stopped at step" in lab.shown(shown), 30, "the card")
    lab.until(lambda: not labels(lab, shown), 5, "the end of the buttons")
    lab.until(lambda: not widgets(lab.outputs(shown)), 5, "outputs without widgets")


@pytest.fixture
def classic(tmp_path: Path) -> Iterator[Lab]:
    """Notebook 7 with the notebook open."""
    if importlib.util.find_spec("notebook") is None:
        message = "no Notebook 7: pip install notebook"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with Lab(tmp_path / "server", classic=True) as lab:
        lab.open(write_notebook(tmp_path))
        lab.run_cell(SETUP)
        yield lab


def test_notebook_7(classic: Lab, artefacts: Path) -> None:
    lab = classic
    lab.start_cell(TRAIN)
    lab.until(lambda: step(lab, TRAIN) >= 2, START_SECONDS, "two steps")
    press(lab, "Pause", TRAIN)
    lab.until(lambda: "paused" in lab.shown(TRAIN), 20, "the pause")
    lab.screenshot(artefacts / "controls-notebook-7.png", TRAIN)
    press(lab, "Stop", TRAIN)
    lab.wait_idle(60)
    assert "stopped at step" in lab.shown(TRAIN)
    assert labels(lab, TRAIN) == widgets(lab.outputs(TRAIN)) == []
