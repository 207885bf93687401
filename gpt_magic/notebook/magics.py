"""``%%finetune`` and ``%predict``."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from gpt_magic.errors import DataError, GptMagicError, OptionError, TrainingError, listing, nearest
from gpt_magic.notebook import completion
from gpt_magic.notebook.cell import Request, find_data, read_cell, split_line
from gpt_magic.options import Options, help_text

_USAGE = """%%finetune [DATA] [-o NAME] [--option value ...]
    option = value
    ...

Fine-tune a GPT-2 on DATA: the name of a DataFrame or list of dicts in this notebook, or the path of a
CSV, TSV, JSONL or Parquet file. The body takes Python assignments to the options below; their right-hand
sides see the notebook's names. On the line the same options are flags: --learning-rate 3e-4. As a line
magic, %finetune DATA --label sentiment -o clf, it returns the tuned model when -o is not given.

Flags of the magic itself: -o NAME is the name that the result gets (default: tuned), -h prints this page,
--traceback shows the whole traceback of an error.

"""

_PREDICT = """%predict NAME TEXT...      label one text, in quotes or not
%predict NAME FRAME        label the texts of a DataFrame, list or Series of this notebook
%%predict NAME             label the texts in the cell's body, one a line

NAME is a tuned model. --probabilities adds a column a class; --traceback shows the whole traceback of an
error. The result, a DataFrame, is the cell's value:  scored = %predict clf unseen
"""


class GptMagic(Options):
    """The notebook's defaults: ``%config GptMagic.epochs = 5``, or ``c.GptMagic.epochs = 5`` in a config file."""


@magics_class
class GptMagics(Magics):
    """The magics of gpt_magic, over the defaults of one notebook."""

    def __init__(self, shell: InteractiveShell, defaults: GptMagic) -> None:
        super().__init__(shell)
        self.defaults = defaults

    @no_var_expand
    @line_cell_magic
    def finetune(self, line: str, cell: str | None = None) -> Any:
        """Fine-tune a GPT-2 on the data named on the line."""
        with _tracebacks_when_asked(line):
            request = read_cell(line, cell, self.shell.user_ns)
            if "help" in request.switches:
                print(_USAGE + help_text())  # noqa: T201  # -h is a printed page
                return None
            return self._finetune(request, is_line=cell is None)

    @no_var_expand
    @line_cell_magic
    def predict(self, line: str, cell: str | None = None) -> Any:
        """Label texts with a tuned model."""
        with _tracebacks_when_asked(line):
            words = [word for word in split_line(line) if word != "--traceback"]
            if not words or words[0] in ("-h", "--help"):
                print(_PREDICT)  # noqa: T201
                return None
            probabilities = "--probabilities" in words
            words = [word for word in words if word != "--probabilities"]
            model = self._model(words[0])
            texts = self._texts(words[1:], line, cell)
            with _short_warnings():
                return model.predict(texts, probabilities=probabilities)

    def _finetune(self, request: Request, is_line: bool) -> Any:
        from gpt_magic.door import run_and_watch

        options = self.defaults.copy_with(**request.values)
        try:
            result = run_and_watch(options, request.data_name)
        except TrainingError as error:
            if error.result is not None:
                self.shell.user_ns[options.output] = error.result  # nothing is lost
            raise
        if options.dry_run:
            return None  # the pre-flight is on the screen
        self.shell.user_ns[options.output] = result
        return result if is_line and "output" not in request.values else None

    def _model(self, name: str) -> Any:
        value = self.shell.user_ns.get(name)
        if value is None or not hasattr(value, "predict") or not hasattr(value, "classes"):
            known = [key for key, item in self.shell.user_ns.items() if type(item).__name__ == "TunedModel"]
            hint = nearest(name, known) or (f"; there is {listing(known)}" if known else "; train one with %%finetune")
            what = "is not a tuned model" if name in self.shell.user_ns else "is not in this notebook"
            raise OptionError(f"{name!r} {what}{hint}")
        return value

    def _texts(self, words: list[str], line: str, cell: str | None) -> Any:
        if cell is not None:
            if words:
                raise OptionError("give the texts in the cell's body or on the line, not both")
            lines = [text for text in cell.splitlines() if text.strip()]
            if not lines:
                raise DataError("the cell has no texts: write one a line below %%predict")
            return lines
        if not words:
            raise DataError("nothing to predict: give a text or the name of a DataFrame after the model's name")
        if len(words) == 1 and words[0].split(".")[0] in self.shell.user_ns and words[0] in line.split():
            return find_data(words[0], self.shell.user_ns)  # a bare name, not a quoted text
        return " ".join(words)


GptMagics.finetune.__doc__ = _USAGE + help_text()
GptMagics.predict.__doc__ = _PREDICT


def load(shell: InteractiveShell) -> None:
    """Register magics, completion and the ``GptMagic`` defaults; a second load changes nothing."""
    if _registered(shell) is not None:
        return
    defaults = GptMagic(parent=shell)
    shell.configurables.append(defaults)
    shell.register_magics(GptMagics(shell, defaults))
    completion.register(shell)
    shell.input_transformers_cleanup.append(_give_a_body)


def unload(shell: InteractiveShell) -> None:
    """Take back all that `load` registered."""
    defaults = _registered(shell)
    if defaults is None:
        return
    shell.configurables.remove(defaults)
    for kind in ("line", "cell"):
        for name in ("finetune", "predict"):
            shell.magics_manager.magics[kind].pop(name, None)
    shell.magics_manager.registry.pop("GptMagics", None)
    completion.unregister(shell)
    shell.input_transformers_cleanup.remove(_give_a_body)


def _give_a_body(lines: list[str]) -> list[str]:
    """Let ``%%finetune reviews`` stand alone: IPython refuses cell magics with an empty body."""
    if lines and lines[0].startswith(("%%finetune", "%%predict")) and not "".join(lines[1:]).strip():
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


def _registered(shell: InteractiveShell) -> GptMagic | None:
    return next((item for item in shell.configurables if isinstance(item, GptMagic)), None)


@contextmanager
def _tracebacks_when_asked(line: str) -> Iterator[None]:
    try:
        yield
    except GptMagicError as error:
        error.show_traceback = "--traceback" in line.split()
        raise


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Warnings as one plain line, without the source line that raised them."""
    before: Callable[..., str] = warnings.formatwarning
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"{message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before
