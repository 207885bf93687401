"""Text that looks like markup, wherever data can bring it into a notebook; and the notebook that is kept."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

from tests.browser.axe import Axe
from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

SETUP = """
%load_ext gpt_magic
import random
import pandas as pd

SCRIPT, IMAGE = "<script>window.pwned = 1</script>", '<img src="x" onerror="window.pwned = 1">'
NAMES = [SCRIPT, IMAGE, "$x^2$ and $$y$$", "'\\" onmouseover='window.pwned = 1' \\"", "two\\nlines", "n" * 10_000]
draw = random.Random(0)
bad = pd.DataFrame({IMAGE: [f"{draw.choice(NAMES)} {i}" for i in range(160)], SCRIPT: NAMES[:5] * 32})
bad.index = [f"{SCRIPT} {i}" for i in bad.index]
tagged = pd.DataFrame({"tokens": [[IMAGE, "Ada", SCRIPT]] * 30, "tags": [["O", f"B-{IMAGE}", "O"]] * 30})
poems = pd.DataFrame({"text": [f"{IMAGE} {i}. {SCRIPT}" for i in range(40)]})
asked = pd.DataFrame({"question": [f"{SCRIPT} {i}?" for i in range(30)]})
asked = asked.assign(context=[f"{IMAGE} {i}" for i in range(30)], answer=IMAGE)
%config GptMagic.base = "scratch"
%config GptMagic.max_length = 64
%config GptMagic.max_steps = 3
%config GptMagic.baselines = False
"""
CELLS = [
    SETUP,
    "%%finetune bad -o clf\ntext, label = IMAGE, SCRIPT\nvalid_fraction = 0.4",
    "clf",
    "clf.evaluate(bad)",
    "clf.plot()",
    "clf.reliability()",
    "%%finetune tagged -o ner",
    '%predict ner "Ada <img src=x onerror=window.pwned=1> $x$"',
    "ner.evaluate(tagged)",
    "%%finetune poems -o poet\nsamples, sample_tokens = [IMAGE, SCRIPT], 4",
    "%predict poet <img src=x onerror=window.pwned=1> --max-new-tokens 4 --temperature 0",
    "%%finetune asked -o qa",
    "%%predict qa\n<script>window.pwned = 1</script>?\n\n<img src=x onerror=window.pwned=1> Ada",
    '%%finetune bad --text "<img src=x onerror=window.pwned=1>"',
    '%predict "<img src=x onerror=window.pwned=1>" a text',
    "from gpt_magic.saved import model_card\nfrom IPython.display import Markdown, display\n"
    "for made in (clf, ner, poet, qa):\n    display(Markdown(model_card(made).split('---', 2)[2]))",
]
ERRORS = {13: "DataError", 14: "OptionError"}
LONG = "%%finetune poems -o poet\nepochs, max_steps, baselines = 400, 0, False"
OURS = ".jp-OutputArea .gpt-magic"
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
# What no output of these cells has: formulas, pictures that are not part of the notebook, and whatever runs.
INTRUDERS = """() => [...document.querySelectorAll('.jp-OutputArea script, .jp-OutputArea [onerror], ' +
  '.jp-OutputArea [onmouseover], .jp-OutputArea mjx-container, .jp-OutputArea img:not([src^="data:"]), ' +
  '.jp-OutputArea iframe')].map(node => node.outerHTML.slice(0, 200))"""

PICTURES = """[...document.querySelectorAll('.jp-OutputArea img')].map(
  picture => [picture.alt, String(picture.naturalWidth), picture.src.slice(0, 5)])"""


def untouched(lab: Lab) -> bool:
    """Whether no script ran, and nothing on the page could."""
    return lab.call("() => window.pwned === undefined") and lab.call(INTRUDERS) == []


def pictures(lab: Lab, cell: int) -> list[list[int]]:
    """Width and height of the pictures below a cell, as decoded."""
    sizes = (
        "i => [...driver.cell(i).outputArea.node.querySelectorAll('img')].map(p => [p.naturalWidth, p.naturalHeight])"
    )
    found: list[list[int]] = lab.call(sizes, cell)
    return found


def written(path: Path, cells: list[Any]) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), path)
    return path


@pytest.fixture(scope="module")
def kept(lab: Lab, tmp_path_factory: pytest.TempPathFactory, artefacts: Path) -> Path:
    """The notebook with all its outputs, as saved; its last cell was saved while it ran."""
    folder = tmp_path_factory.mktemp("untrusted")
    lab.open(written(folder / "untrusted.ipynb", [nbformat.v4.new_code_cell(cell) for cell in [*CELLS, LONG]]))
    for number in range(len(CELLS)):
        lab.run_cell(number)
        failed = [output["ename"] for output in lab.outputs(number) if output["output_type"] == "error"]
        assert failed == ([ERRORS[number]] if number in ERRORS else []), (CELLS[number], lab.outputs(number))
        assert untouched(lab), CELLS[number]
    lab.screenshot(artefacts / "untrusted-live.png")
    lab.start_cell(len(CELLS))
    lab.until(lambda: "step\n" in lab.shown(len(CELLS)) and pictures(lab, len(CELLS)), what="a step of the long run")
    saved = nbformat.read(lab.save(), as_version=4)
    lab.interrupt()
    lab.wait_idle()
    saved.cells.append(nbformat.v4.new_markdown_cell("A change, so that the notebook is not known to be trusted."))
    return written(folder / "kept.ipynb", saved.cells)


def test_a_finished_cell_holds_static_html_and_one_picture(kept: Path) -> None:
    notebook = nbformat.read(kept, as_version=4)
    assert "widgets" not in notebook.metadata
    for number in (1, 6, 9, 11):
        outputs = notebook.cells[number].outputs
        kinds = [sorted(output["data"]) for output in outputs]
        assert kinds.count(["image/png", "text/plain"]) == 1
        assert [kind for kind in kinds if kind not in (["image/png", "text/plain"], ["text/html", "text/plain"])] == []
        (picture,) = [output for output in outputs if "image/png" in output["data"]]
        assert picture["metadata"]["image/png"]["alt"].startswith("Loss plot")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_untrusted_reopen_shows_the_same(lab: Lab, kept: Path, artefacts: Path, axe: Axe, theme: str) -> None:
    lab.open(kept)
    lab.set_theme(theme)
    assert lab.call("() => driver.cell(1).model.trusted") is False
    shown = lab.shown(1)
    assert "accuracy" in shown
    assert "<script>window.pwned = 1</script>" in shown
    assert [width for width, _ in pictures(lab, 1)] == [1440]
    assert "alert" not in shown
    assert untouched(lab)
    lab.screenshot(artefacts / f"untrusted-reopened-{theme}.png", 1)
    last = lab.shown(len(CELLS))
    assert "%finetune --show" in last
    assert "training" in last
    assert len(pictures(lab, len(CELLS))) == 1
    lab.screenshot(artefacts / f"midrun-reopened-{theme}.png", len(CELLS))
    assert axe.serious(lab, OURS, f"a kept notebook of four tasks, one run cut, {theme}") == []


def test_as_html_and_as_pdf(lab: Lab, kept: Path, artefacts: Path, tmp_path: Path) -> None:
    page = tmp_path / "kept.html"
    page.write_text(HTMLExporter().from_filename(kept)[0], encoding="utf-8")

    async def printed() -> tuple[bool, list[list[str]], bytes]:
        tab = await lab.page.context.new_page()
        try:
            await tab.route("**/*", lambda route: route.continue_() if "file:" in route.request.url else route.abort())
            await tab.goto(page.as_uri(), wait_until="load")
            ran = await tab.evaluate("window.pwned !== undefined")
            images = await tab.evaluate(PICTURES)
            await tab.screenshot(path=artefacts / "nbconvert.png", full_page=True)
            return ran, images, await tab.pdf(path=artefacts / "nbconvert.pdf")
        finally:
            await tab.close()

    ran, images, pdf = lab.wait_for(printed(), 60, "printing")
    assert not ran
    assert len(images) >= 6
    assert {source for *_, source in images} == {"data:"}
    assert all(int(width) > 0 for _, width, _ in images)
    assert all(alt for alt, *_ in images)
    assert pdf.startswith(b"%PDF")
