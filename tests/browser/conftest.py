"""Fixtures of the browser tests: one JupyterLab and one Chromium for all of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.axe import Axe, fetch
from tests.browser.lab import Lab, missing


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab in a browser; open a notebook in it first. Skips where one cannot be had, but fails in CI."""
    lacking = missing()
    if lacking:
        message = f"browser tests need {lacking}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with Lab(tmp_path_factory.mktemp("lab") / "server") as running:
        yield running


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder that GPT_MAGIC_ARTEFACTS names, or a temporary one."""
    named = os.environ.get("GPT_MAGIC_ARTEFACTS")
    folder = Path(named).resolve() if named else tmp_path_factory.mktemp("artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory, artefacts: Path) -> Iterator[Axe]:
    """axe-core, whose report goes to the artefacts. Skips where it cannot be had, but fails in CI."""
    found = fetch(tmp_path_factory.mktemp("axe"))
    if isinstance(found, Path):
        looking = Axe(found)
        yield looking
        (artefacts / "accessibility.md").write_text(looking.report(), encoding="utf-8")
        return
    message = f"the accessibility tests need {found}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
