"""The form: a run set up, started and compared with widgets, from the same options as every other door."""

from typing import TYPE_CHECKING, Any

from gpt_magic.options import Options, signature

if TYPE_CHECKING:
    from gpt_magic.notebook.form.board import Form


def form(data: Any = None, **options: Any) -> "Form":
    """A form in the notebook: fields for all options, what a run would do, buttons, and the runs that were made.

    Args:
        data: what to train on, as `gpt_magic.finetune` takes it.
        **options: options that the form begins with, by the same names.

    Returns:
        The form, which shows itself as the value of a cell.

    Raises:
        OptionError: an option is unknown or cannot have its value, or there is no notebook to show a form in.
    """
    import sys

    from gpt_magic.notebook.form.names import name_of
    from gpt_magic.notebook.live import defaults

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    start = defaults().copy_with(data=data, **options)
    name = data if isinstance(data, str) else name_of(data, shell.user_ns, _cell(shell)) if shell is not None else ""
    return open_form(start, name, shell)


form.__signature__ = signature()  # type: ignore[attr-defined]


def open_form(start: Options, name: str, shell: Any) -> "Form":
    """A form that begins with some options, in the notebook of a shell.

    Args:
        name: how the user calls the data; empty when they have no name.
    """
    from gpt_magic.errors import OptionError
    from gpt_magic.notebook.live import defaults

    if getattr(shell, "kernel", None) is None:
        raise OptionError("a form needs a notebook; here say %finetune -h, or gpt_magic.finetune(data)")
    from gpt_magic.notebook.form.board import Form

    return Form(start, name, defaults().copy_with(), shell.user_ns)


def _cell(shell: Any) -> str:
    """Source of the cell that runs now."""
    cells = shell.history_manager.input_hist_raw
    return str(cells[-1]) if cells else ""
