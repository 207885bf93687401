"""A text with its entities marked, in JupyterLab in both themes."""

from pathlib import Path

import nbformat
import pytest

from tests.browser.axe import Axe
from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

CELL = """
from gpt_magic.notebook.entities import MarkedText

text = "Ada <b>met</b> $x$ in New York,\\nשלום רומא"
places = [(0, 3, "PER"), (22, 30, "LOC"), (37, 41, "מקום")]
MarkedText(text, [{"start": a, "end": b, "label": kind, "confidence": 0.5} for a, b, kind in places])
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_marked_text(lab: Lab, tmp_path: Path, artefacts: Path, axe: Axe, theme: str) -> None:
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    cells = [nbformat.v4.new_code_cell(CELL)]
    path = tmp_path / "marked.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    lab.open(path)
    lab.run_cell(0)
    said = "[Ada PER 50%] <b>met</b> $x$ in [New York LOC 50%],\nשלום [רומא מקום 50%]"
    assert lab.shown(0).strip().endswith(said)
    lab.set_theme(theme)
    lab.screenshot(artefacts / f"marked-{theme}.png", 0)
    assert axe.serious(lab, ".jp-Notebook .jp-Cell-outputArea", f"a text with its entities, {theme}") == []
