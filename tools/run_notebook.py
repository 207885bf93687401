"""Run a notebook from top to bottom in a fresh kernel and fail on the first error.

``python tools/run_notebook.py NOTEBOOK [--write]``; with ``--write`` the executed notebook replaces the file.
"""

import argparse
import os
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    notebook = nbformat.read(arguments.notebook, as_version=4)
    began = time.monotonic()
    folder = str(arguments.notebook.resolve().parent)
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    print(f"{arguments.notebook}: {len(notebook.cells)} cells ran in {time.monotonic() - began:.0f} s")
    if arguments.write:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # time stamps would make every run a change
        nbformat.write(notebook, arguments.notebook)


if __name__ == "__main__":
    main()
