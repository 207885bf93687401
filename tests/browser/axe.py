"""Accessibility of what the page shows, by axe-core (https://github.com/dequelabs/axe-core), injected."""

import os
import shutil
import subprocess
import tarfile
import textwrap
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.browser.lab import Lab

VERSION = "4.14.1"
SERIOUS = ("serious", "critical")
_RUN = """async selector => {
  const where = { include: [selector], exclude: [['.jp-RenderedImage']] };
  const found = await axe.run(where, { resultTypes: ['violations', 'passes', 'incomplete'] });
  const ids = rules => rules.map(rule => rule.id);
  return { version: axe.version, passed: ids(found.passes), unsure: ids(found.incomplete), found:
    found.violations.flatMap(rule => rule.nodes.map(node => [rule.impact, rule.id, node.html.slice(0, 300)])) };
}"""
_HEAD = """# Accessibility

What axe-core finds in this package's outputs in the notebook page. `python -m pytest tests/browser` looks anew and
fails at any finding that is serious or critical; it writes this page as `accessibility.md` into the folder that
`GPT_MAGIC_ARTEFACTS` names.

Pictures that JupyterLab itself draws are left out: it gives an image/png no text alternative, and takes none from its
metadata. What such a picture shows is said in the output above it. That every control of the form is reached by the Tab
key, and that the slider moves by the arrow keys, has a test of its own.
"""


@dataclass(frozen=True)
class _Look:
    """What was found of one view."""

    view: str
    passed: list[str]  # rules
    unsure: list[str]  # rules that axe leaves to people
    found: list[list[str]]  # impact, rule and element


class Axe:
    """Looks at views, and remembers what it found for the report.

    Args:
        script: axe.min.js.
    """

    def __init__(self, script: Path) -> None:
        self._script = script
        self._looks: list[_Look] = []
        self._version = ""
        self._browser = ""

    def serious(self, lab: Lab, selector: str, view: str) -> list[list[str]]:
        """Impact, rule and element of each serious finding inside ``selector``."""
        if not lab.call("() => 'axe' in window"):
            lab.wait_for(lab.page.add_script_tag(path=self._script))
        told: dict[str, Any] = lab.call(_RUN, selector, 60, "axe")
        self._version, self._browser = told["version"], lab.call("() => navigator.userAgent").split("Chrome/")[1]
        self._looks.append(_Look(view, told["passed"], told["unsure"], told["found"]))
        return [one for one in told["found"] if one[0] in SERIOUS]

    def report(self) -> str:
        """What was looked at and found, as Markdown; empty before anything was."""
        if not self._looks:
            return ""
        rows = [
            f"| {look.view} | {len(look.passed)} | {', '.join(look.unsure) or '–'} | "
            f"{'; '.join(sorted({f'{impact}: {rule}' for impact, rule, _ in look.found})) or 'none'} |"
            for look in self._looks
        ]
        passed = sorted({rule for look in self._looks for rule in look.passed})
        browser = self._browser.split(".")[0]
        return "\n".join(
            [
                _HEAD,
                f"axe-core {self._version}, JupyterLab {version('jupyterlab')}, ipywidgets {version('ipywidgets')}, "
                f"Chromium {browser}.\n",
                "| what | rules passed | left to people | findings |",
                "|---|---|---|---|",
                *rows,
                "",
                textwrap.fill(f"Rules that were passed: {', '.join(passed)}.", 120, break_on_hyphens=False),
                "",
            ]
        )


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
