"""Accessibility of what the page shows, by axe-core (https://github.com/dequelabs/axe-core), injected."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.browser.lab import Lab

VERSION = "4.14.1"
SERIOUS = ("serious", "critical")
_RUN = """async selector => {
  const where = { include: [selector], exclude: [['.jp-RenderedImage']] };
  const found = await axe.run(where, { resultTypes: ['violations'] });
  return found.violations.flatMap(rule => rule.nodes.map(node => [rule.impact, rule.id, node.html.slice(0, 300)]));
}"""


def fetch(folder: Path) -> Path | str:
    """The script: where AXE names it, else from npm; a text says why there is none."""
    if named := os.environ.get("AXE"):
        return Path(named)
    npm = shutil.which("npm")
    if npm is None:
        return "npm: apt-get install npm, or set AXE to the path of axe.min.js"
    done = subprocess.run(
        [npm, "pack", f"axe-core@{VERSION}", "--silent"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    packed = folder / f"axe-core-{VERSION}.tgz"
    if not packed.exists():
        return f"axe-core {VERSION} from npm: {done.stderr.strip()[-300:]}"
    with tarfile.open(packed) as archive:
        archive.extract("package/axe.min.js", folder, filter="data")
    return folder / "package" / "axe.min.js"


def findings(lab: Lab, script: Path, selector: str) -> list[tuple[str, str, str]]:
    """Impact, rule and element of each violation inside ``selector``.

    Pictures that JupyterLab itself draws are left out: it gives an image/png no text alternative, and takes none from
    its metadata; what such a picture shows is said in the output above it.
    """
    if not lab.call("() => 'axe' in window"):
        lab.wait_for(lab.page.add_script_tag(path=script))
    found: list[Any] = lab.call(_RUN, selector, 60, "axe")
    return [(str(impact), str(rule), str(element)) for impact, rule, element in found]
