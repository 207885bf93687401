"""The versions of ipykernel that buttons are tested with: the installed one, and others in folders of their own.

``python tests/kernels.py`` installs the others, without what they depend on, into the folder that GPT_MAGIC_KERNELS
names; torch and the rest are those of this interpreter. In CI the tests do it.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

# From 7.0 on messages may come over subshells; from 7.4 on a comm says which shell its messages are for.
OTHERS = {"6.31.0": ["ipykernel==6.31.0", "nest-asyncio==1.6.0"], "7.3.0": ["ipykernel==7.3.0"]}
INSTALLED = version("ipykernel")


def packages(wanted: str) -> Path | None:
    """The folder of a version, None for the installed one; skips where it is not there, but installs it in CI."""
    import pytest

    if wanted == INSTALLED:
        return None
    named = os.environ.get("GPT_MAGIC_KERNELS")
    folder = Path(named or ".venv/kernels").resolve() / wanted
    if not folder.is_dir():
        if os.environ.get("CI") != "true":
            pytest.skip(f"no ipykernel {wanted}: set GPT_MAGIC_KERNELS to a folder and run python tests/kernels.py")
        install(folder.parent)
    return folder


def install(folder: Path) -> None:
    """Each of `OTHERS` into a folder of its own."""
    for name, requirements in OTHERS.items():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target"]
        subprocess.run([*command, str(folder / name), *requirements], check=True)


if __name__ == "__main__":
    install(Path(os.environ["GPT_MAGIC_KERNELS"]))
