"""Run a notebook in JupyterLab and save pictures of it, light and dark.

Usage::

    python tools/screenshots.py tutorials/01_first_finetune.ipynb docs/pictures

For a notebook ``name.ipynb`` there are then ``name-light.png`` and ``name-dark.png`` of all of it, and
``name-cell-light.png`` and ``name-cell-dark.png`` of the first cell that starts with ``%%finetune`` and its
output: the picture of the README. The notebook itself stays as it is. Needs the extras ``lab`` and ``test``, and a
Chromium on the path or in the environment's CHROMIUM.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.browser.lab import Lab, missing


def main() -> int:
    """Take the pictures; returns 1 where they cannot be taken or a cell ended in an error."""
    options = _parser().parse_args()
    if lacking := missing():
        print(f"needs {lacking}", file=sys.stderr)
        return 1
    cells = nbformat.read(options.notebook, as_version=4).cells
    code = [index for index, cell in enumerate(cells) if cell.cell_type == "code"]
    chosen = next((index for index in code if cells[index].source.startswith(options.cell)), None)
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as folder,
        Lab(Path(folder) / "server", width=options.width, scale=options.scale) as lab,
    ):
        lab.open(options.notebook)
        if options.running and chosen is not None:
            lab.start_all()
            lab.until(lambda: options.running in lab.shown(chosen), options.seconds, repr(options.running))
            for theme in ("light", "dark"):
                lab.set_theme(theme)
                _take(lab, options.folder / f"{options.notebook.stem}-running-{theme}.png", chosen)
            lab.wait_idle(options.seconds)
        else:
            lab.run_all(options.seconds)
        failed = [o for index in code for o in lab.outputs(index) if o["output_type"] == "error"]
        for theme in ("light", "dark"):
            lab.set_theme(theme)
            if not options.close_up:
                _take(lab, options.folder / f"{options.notebook.stem}-{theme}.png", None)
            if chosen is not None:
                middle = "" if options.close_up else "-cell"
                _take(lab, options.folder / f"{options.notebook.stem}{middle}-{theme}.png", chosen)
    for output in failed:
        print(f"a cell ended with {output['ename']}: {output['evalue']}", file=sys.stderr)
    return 1 if failed else 0


def _take(lab: Lab, path: Path, cell: int | None) -> None:
    lab.screenshot(path, cell)
    with Image.open(path) as picture:  # a palette: a third of the bytes, no colour more than 8 of 255 off
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1000:,.0f} kB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebook", type=Path, help="the notebook to run; it is not changed")
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    # The README's form: tools/pictures/form.ipynb --cell gpt_magic.form --close-up --running "epochs of" --scale 1.5
    parser.add_argument("--cell", default="%%finetune", help="how the cell of the close-up starts (%(default)s)")
    parser.add_argument("--close-up", action="store_true", help="only the cell, not the whole notebook")
    parser.add_argument("--running", metavar="TEXT", help="also a picture of the cell when TEXT first stands below it")
    parser.add_argument("--width", type=int, default=1000, help="of the page, in CSS pixels (%(default)s)")
    parser.add_argument("--scale", type=float, default=2.0, help="device pixels a CSS pixel (%(default)s)")
    parser.add_argument("--seconds", type=float, default=900.0, help="time for the notebook to run (%(default)s)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
