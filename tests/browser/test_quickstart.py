"""The quick start in JupyterLab, as a newcomer meets it: run all, watch it move, stop it half way."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "tutorials" / "01_first_finetune.ipynb"
START_SECONDS = 90.0  # from Run All to the first steps: the imports of torch and transformers, the data, the model
RUN_SECONDS = 600.0
STOP_SECONDS = 30.0  # from the interrupt to the card: one step, then an evaluation
THEMES = ("light", "dark")


@dataclass(frozen=True)
class Quickstart:
    """The opened quick start."""

    lab: Lab
    code: list[int]  # indices of the code cells
    training: int
    name: str  # what the training cell calls its result

    def html(self) -> str:
        """All HTML below the training cell."""
        return "\n".join(bundle.get("text/html", "") for bundle in bundles(self.lab.outputs(self.training)))

    def pictures(self, artefacts: Path, moment: str, cell: int | None = None) -> None:
        """A screenshot in each theme, the light one last."""
        for theme in reversed(THEMES):
            self.lab.set_theme(theme)
            self.lab.screenshot(artefacts / f"quickstart-{moment}-{theme}.png", cell)

    def wait_for_steps(self, count: int) -> list[int]:
        """Wait until the page has shown so many different numbers of steps; returns them in order of appearance."""
        seen: list[int] = []

        def moved() -> bool:
            for text in re.findall(r"\bstep\s+([\d,]+)\s*(?:of|/)", self.lab.shown(self.training)):
                step = int(text.replace(",", ""))
                if step and step not in seen:
                    seen.append(step)
            return len(seen) >= count or not self.lab.running()

        self.lab.until(moved, START_SECONDS, f"{count} different steps below the training cell")
        return seen


@pytest.fixture(scope="module")
def quickstart(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    """A copy of the quick start that reads less of each mail, opened, nothing run; nbval runs it as it stands."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = notebook.cells
    for cell in cells:
        cell.source = cell.source.replace("320", "48")
    code = [index for index, cell in enumerate(cells) if cell.cell_type == "code"]
    training = next(index for index in code if cells[index].source.startswith("%%finetune"))
    name = re.search(r"(?:-o|--output)[ =](\w+)", cells[training].source)
    assert name, "the training cell names no result with -o"
    copy = tmp_path_factory.mktemp("quickstart") / NOTEBOOK.name
    nbformat.write(notebook, copy)
    lab.open(copy)
    return Quickstart(lab, code, training, name[1])


def bundles(outputs: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The MIME bundles among the outputs."""
    return [output["data"] for output in outputs if "data" in output]


def errors(outputs: list[dict[str, Any]]) -> list[str]:
    """The errors among the outputs, one line each."""
    return [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]


def test_run_all_trains_live_and_leaves_a_card_and_a_plot(quickstart: Quickstart, artefacts: Path) -> None:
    lab = quickstart.lab
    lab.start_all()
    steps = quickstart.wait_for_steps(3)
    if lab.running():
        quickstart.pictures(artefacts, "running", quickstart.training)
    lab.wait_idle(RUN_SECONDS)

    assert {index: errors(lab.outputs(index)) for index in quickstart.code if errors(lab.outputs(index))} == {}
    assert len(steps) >= 3, f"the progress line stood still; it showed the steps {steps}"
    assert steps == sorted(steps)
    outputs = bundles(lab.outputs(quickstart.training))
    assert any("text/html" in bundle for bundle in outputs)
    assert sum("image/png" in bundle for bundle in outputs) == 1
    quickstart.pictures(artefacts, "done")
    quickstart.pictures(artefacts, "done-cell", quickstart.training)


def test_interrupt_hands_back_a_usable_model(quickstart: Quickstart, artefacts: Path) -> None:
    lab = quickstart.lab
    for index in quickstart.code[: quickstart.code.index(quickstart.training)]:
        lab.run_cell(index)
    lab.start_cell(quickstart.training)
    assert len(quickstart.wait_for_steps(3)) >= 3, "the run ended before it could be interrupted"
    lab.interrupt()
    lab.wait_idle(STOP_SECONDS)

    assert errors(lab.outputs(quickstart.training)) == []
    assert "stopped at step" in quickstart.html()
    quickstart.pictures(artefacts, "stopped", quickstart.training)
    used = lab.add_cell(f"print(*{quickstart.name}.predict(['one text', 'another'])['prediction'], sep='\\n')")
    lab.run_cell(used)
    (answer,) = lab.outputs(used)
    assert errors([answer]) == []
    assert len(answer["text"].splitlines()) == 2
