"""Cells run in a shell: what one gives, or the line that it is refused with."""

from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from gpt_magic.errors import GptMagicError


def run(shell: InteractiveShell, cell: str) -> Any:
    """The value of a cell."""
    result = shell.run_cell(cell)
    result.raise_error()
    return result.result


def refused(shell: InteractiveShell, cell: str) -> str:
    error = shell.run_cell(cell).error_in_exec
    assert isinstance(error, GptMagicError)
    assert len(str(error).splitlines()) == 1
    return str(error)
