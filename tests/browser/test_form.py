"""The form in JupyterLab, by clicking: columns, start, pause, resume, stop, the cell that does the same.

Also narrow, dark and by keyboard; over data that would be markup.
"""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser.axe import Axe
from tests.browser.lab import Lab, LabTimeoutError

pytestmark = pytest.mark.browser

LOOK_SECONDS = 90.0  # from the form to its first report: the imports of torch and transformers
NASTY = '<img src=x onerror="window.hacked = true">'
DATA = f"""
import pandas as pd, gpt_magic
nasty = {NASTY!r}
rows = [(f"a {{word}} film {{nasty}} $x$, number {{i}}", label, "<b>x</b>") for i in range(15) for word, label in
        [("fine", "good"), ("great", "good"), ("dull", nasty), ("awful", nasty)]]
films = pd.DataFrame(rows, columns=["what it says", "verdict", f"<script>window.hacked = true</script> {{nasty}}"])
"""
FORM = "form = gpt_magic.form(films, base='nano', max_length=16, epochs=400, baselines=False, output='clf')\nform"
FORM_CELL = 1


class Page:
    """The form as it stands in the page."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.root = lab.page.locator(".gpt-magic-form").first
        self.cell = lab.page.locator(".jp-Cell-outputArea").nth(FORM_CELL)

    def field(self, name: str) -> Any:
        return self.root.locator(f".gpt-magic-field:has(label:text-is('{name}'))")

    def choose(self, name: str, label: str) -> None:
        self.lab.wait_for(self.field(name).locator("select").first.select_option(label=label))

    def write(self, name: str, text: str) -> None:
        self.lab.wait_for(self.field(name).locator("input, textarea").first.fill(text))

    def press(self, words: str) -> None:
        self.lab.wait_for(self.cell.locator(f"button:has-text('{words}')").first.click())

    def until(self, pattern: str, seconds: float = 60.0) -> str:
        """Wait until the cell shows a text; returns what was found."""
        found: list[str] = []

        def there() -> bool:
            match = re.search(pattern, self.lab.shown(FORM_CELL))
            found[:] = [match[0]] if match else []
            return bool(match)

        self.lab.until(there, seconds, f"{pattern!r} below the form")
        return found[0]

    def step(self) -> int:
        return int(self.until(r"step\s+[\d,]+ / ").split()[1].replace(",", ""))


@pytest.fixture(scope="module")
def page(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A notebook with a form over films, shown, its columns not yet chosen."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in (DATA, FORM)]
    path = tmp_path_factory.mktemp("notebooks") / "form.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    lab.set_theme("light")
    lab.open(path)
    lab.run_all()
    return Page(lab)


def test_columns_are_chosen_from_a_list_and_the_report_follows(page: Page) -> None:
    page.until("no column is plainly the text: say text = ...", LOOK_SECONDS)
    page.choose("text", "what it says")
    page.until("no column is plainly the label")
    page.choose("label", "verdict")
    page.until("400 epochs of", LOOK_SECONDS)


def test_a_wrong_value_is_marked_at_its_field(page: Page) -> None:
    page.write("epochs", "0")
    page.until(r"epochs = 0: must be a whole number from 1 to 1,000")
    assert "✗ epochs = 0" in page.lab.wait_for(page.field("epochs").inner_text())
    page.write("epochs", "400")
    page.until("400 epochs of")


def test_start_pause_resume_snapshot_stop(page: Page, artefacts: Path) -> None:
    page.press("Start")
    page.until(r"step\s+[2-9]\d* / ", LOOK_SECONDS)
    page.lab.screenshot(artefacts / "form-running-light.png", FORM_CELL)
    page.press("Pause")
    page.until(r"\bpaused\b")
    stood = page.step()
    page.press("Snapshot")
    try:
        page.until("clf_snapshot", 20)
        assert page.step() == stood
        page.press("Resume")
    except LabTimeoutError:  # the pause has hit an evaluation, after which a snapshot comes, see `Run.snapshot`
        page.press("Resume")
        page.until("clf_snapshot")
    page.lab.until(lambda: page.step() > stood, 60, "further steps")
    page.press("Stop")
    page.until("stopped at step")
    page.until("Runs of this form")
    free = page.lab.add_cell("print(clf.predict(['a great film'])['prediction'].iloc[0], type(clf_snapshot).__name__)")
    page.lab.run_cell(free)
    assert page.lab.outputs(free)[0]["text"].endswith("TunedClassifier\n")


def test_the_copied_cell_runs(page: Page, artefacts: Path) -> None:
    page.write("epochs", "2")
    page.until("2 epochs of")
    page.press("Copy as cell")
    area = page.root.locator(".gpt-magic-copy textarea")
    page.lab.wait_for(area.wait_for())
    text = str(page.lab.wait_for(area.input_value()))
    page.lab.screenshot(artefacts / "form-copied.png", FORM_CELL)
    assert text.startswith("%%finetune films -o clf\n")
    assert 'text = "what it says"\nlabel = "verdict"' in text
    cells = [page.lab.add_cell("%load_ext gpt_magic"), page.lab.add_cell(text)]
    for cell in cells:
        page.lab.run_cell(cell)
    assert "done: 8 steps" in page.lab.shown(cells[1])


def test_a_second_run_is_compared_with_the_first(page: Page, artefacts: Path) -> None:
    page.press("Start")
    page.until("2 · text = ", 90)
    page.lab.screenshot(artefacts / "form-compared.png", FORM_CELL)
    page.press("Use this one")
    page.until("clf is the model of run 2")
    page.press("Delete")
    page.until("run 2 is deleted")


def test_nothing_of_the_data_ran_as_markup(page: Page) -> None:
    assert page.lab.call("() => window.hacked") is None
    assert "<img src=x" in page.lab.shown(FORM_CELL)  # it is there, as text


def test_every_control_is_reached_by_the_keyboard(page: Page) -> None:
    lab = page.lab
    lab.wait_for(page.root.locator("select").first.focus())
    # What can be focused in the form and is to be seen, in the order of the page, against where Tab goes.
    expected = lab.call(
        """() => [...document.querySelector('.gpt-magic-form').querySelectorAll(
             'input, select, textarea, button, summary, [tabindex="0"]')]
             .filter(n => n.checkVisibility() && !n.disabled).map((n, i) => n.dataset.stop = String(i))"""
    )
    reached = []
    for _ in range(len(expected) + 5):
        reached.append(lab.call("() => document.activeElement.dataset.stop ?? ''"))
        lab.wait_for(lab.page.keyboard.press("Tab"))
    first = expected.index(reached[0])
    assert set(expected[first:]) <= set(reached)
    lab.wait_for(page.root.locator(".noUi-handle").focus())
    lab.wait_for(lab.page.keyboard.press("ArrowRight"))
    lab.until(lambda: lab.wait_for(page.field("learning_rate").locator("input").input_value()), 10, "the rate's field")


def test_the_scale_stands_below_the_slider(page: Page) -> None:
    """A mark below each power of ten: where the handle is at that rate."""
    marks = "() => [...document.querySelectorAll('.gpt-magic-track span')].map(n => n.getBoundingClientRect()"
    handle = (
        "() => { const b = document.querySelector('.noUi-handle').getBoundingClientRect(); return b.x + b.width / 2; }"
    )
    places = page.lab.call(marks + ".x)")
    assert len(places) == 5
    for place, rate in ((1, "1e-5"), (3, "1e-3")):
        page.write("learning_rate", rate)
        page.lab.until(lambda at=places[place]: abs(page.lab.call(handle) - at) <= 2, 10, f"the handle at {rate}")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_is_accessible_in_both_themes_also_narrow(
    page: Page, artefacts: Path, axe: Axe, theme: str, width: int
) -> None:
    lab = page.lab
    lab.set_theme(theme)
    lab.resize(width)
    try:
        if width == 1280 and theme == "light":
            page.press("Show advanced options")
            page.until("Hide advanced options")
        lab.screenshot(artefacts / f"form-{theme}-{width}.png", FORM_CELL)
        area = f".jp-Notebook .jp-Cell:nth-of-type({FORM_CELL + 1}) .jp-Cell-outputArea"
        assert axe.serious(lab, area, f"the form with two runs, {theme}, {width} px") == []
        wide = lab.call(
            """area => [...document.querySelectorAll(area + ' :is(input, select, textarea, button, img, canvas)')]
                 .filter(n => n.checkVisibility() && n.getBoundingClientRect().right > window.innerWidth)
                 .map(n => n.outerHTML.slice(0, 200))""",
            area,
        )
        assert wide == []
    finally:
        lab.resize(1280)


def test_the_saved_notebook_holds_no_widget_state(page: Page) -> None:
    closed = page.lab.add_cell("form.close()")
    page.lab.run_cell(closed)
    saved = nbformat.read(page.lab.save(), as_version=4)
    assert "widgets" not in saved.metadata
    kinds = {kind for output in saved.cells[FORM_CELL].outputs for kind in output.get("data", {})}
    assert kinds == {"text/html", "text/plain", "image/png"}
