"""The harness itself, on a notebook that knows nothing of gpt_magic."""

import re
import time
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from tests.browser.lab import Lab, LabTimeoutError

pytestmark = pytest.mark.browser

PRINT, UPDATE, SLEEP, ERROR = 1, 2, 3, 4
CELLS = (
    "print('hello from the kernel')",
    """
import time
from IPython.display import HTML, display

handle = display(HTML("step 0 of 8"), display_id=True)
for step in range(1, 9):
    time.sleep(0.1)
    handle.update(HTML(f"<progress value={step} max=8></progress> step {step} of 8"))
""",
    "import time\nprint('asleep')\ntime.sleep(60)",
    "raise ValueError('on purpose')",
)


@pytest.fixture(scope="module")
def plain(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A JupyterLab with the plain notebook open."""
    cells = [nbformat.v4.new_markdown_cell("# A plain notebook\n你好"), *map(nbformat.v4.new_code_cell, CELLS)]
    # Without the language, a dialog asks for the kernel.
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    path = tmp_path_factory.mktemp("notebooks") / "plain.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    lab.open(path)
    return lab


def test_print_is_in_the_model_and_on_the_page(plain: Lab) -> None:
    plain.run_cell(PRINT)
    assert plain.outputs(PRINT) == [{"output_type": "stream", "name": "stdout", "text": "hello from the kernel\n"}]
    assert plain.shown(PRINT).strip() == "hello from the kernel"


def test_a_display_handle_moves_while_the_cell_runs(plain: Lab) -> None:
    plain.start_cell(UPDATE)
    seen: set[str] = set()

    def ended() -> bool:
        seen.update(re.findall(r"step (\d)", plain.shown(UPDATE)))
        return not plain.running()

    plain.until(ended, 20, "the end of the cell")
    assert len(seen) >= 3
    (output,) = plain.outputs(UPDATE)
    assert output["data"]["text/html"].endswith("step 8 of 8")


def test_interrupt_ends_a_sleeping_cell(plain: Lab) -> None:
    plain.start_cell(SLEEP)
    plain.until(lambda: "asleep" in plain.shown(SLEEP), 10, "the first line")
    before = time.monotonic()
    plain.interrupt()
    plain.wait_idle(10)
    assert time.monotonic() - before < 5
    assert plain.outputs(SLEEP)[-1]["ename"] == "KeyboardInterrupt"


def test_an_error_is_an_output_and_run_all_ends_there(plain: Lab) -> None:
    plain.run_cell(ERROR)
    assert plain.outputs(ERROR)[-1]["evalue"] == "on purpose"


def test_a_time_out_says_what_was_waited_for(plain: Lab) -> None:
    index = plain.add_cell("import time; print('again'); time.sleep(30)")
    with pytest.raises(LabTimeoutError, match=r"running cells: not done within 0\.5 s; kernel busy, 1 running"):
        plain.run_cell(index, seconds=0.5)
    plain.interrupt()
    plain.until(lambda: not plain.running(), 10, "the end of the cell")


def test_the_copy_is_saved_with_its_outputs(plain: Lab) -> None:
    saved = nbformat.read(plain.save(), as_version=4)
    assert saved.cells[PRINT].outputs[0].text == "hello from the kernel\n"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_screenshots_follow_the_theme(plain: Lab, artefacts: Path, theme: str) -> None:
    plain.set_theme(theme)
    picture = Image.open(plain.screenshot(artefacts / f"plain-{theme}.png")).convert("L")
    bright = sum(picture.histogram()[128:]) > picture.width * picture.height / 2
    assert bright == (theme == "light")
    cell = Image.open(plain.screenshot(artefacts / f"plain-cell-{theme}.png", cell=UPDATE))
    assert cell.height < picture.height
