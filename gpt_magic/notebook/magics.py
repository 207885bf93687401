"""``%%finetune`` and ``%predict``."""

import re
import tokenize
import warnings
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from IPython.core.inputtransformer2 import EscapedCommand, MagicAssign, TokenTransformBase
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand
from traitlets import TraitError
from traitlets.config import Config

from gpt_magic.errors import GptMagicError, OptionError, TrainingError, listing, nearest
from gpt_magic.notebook import completion
from gpt_magic.notebook.cell import Request, is_tuned, read_cell
from gpt_magic.notebook.texts import SETTINGS, find_question, find_texts, merge_flags, take_flags
from gpt_magic.options import Options, find, help_text

if TYPE_CHECKING:
    from gpt_magic.run import Run

_USAGE = """%%finetune [DATA] [-o NAME] [--option value ...]
    option = value
    ...

Fine-tune a GPT-2 on DATA: the name of a DataFrame, list or list of dicts in this notebook, or the path of a
TXT, CSV, TSV, JSONL, JSON, Parquet or CoNLL file. It learns to label texts, or pairs of texts, with one class each
(task = "classify"), with several ("multilabel") or with a number ("regress"); to find entities in them ("tag"), from
lists of tokens and tags, or texts and places; to answer questions about a context ("answer"), also from SQuAD's files;
or to write on from them ("generate"): from texts alone, prompts with completions, or conversations.

The body takes Python assignments to the options below; their right-hand sides see the notebook's names. On
the line the same options are flags: --learning-rate 3e-4. As a line magic, %finetune DATA --label sentiment,
it returns the tuned model when -o is not given.

Flags of the magic itself: -o NAME is the name that the result gets (default: tuned), --form shows a form that begins
with what is given here, -h prints this page, --traceback shows the whole traceback of an error.

%finetune --status lists the runs of this notebook. --stop, --pause, --resume and --show [NAME] tell one what to do, by
default the latest; --show goes on showing it in another cell, such as after a reload of the page. --resume also goes
on with a run that was stopped or whose kernel was killed, by the name that its card gives.

"""

_PREDICT = """%predict NAME TEXT...      label one text, find its entities, or write on from it; in quotes or not
%predict NAME "ONE" "OTHER"  a pair of texts, for a model that labels pairs; in a cell a pair a line
%predict NAME FRAME        the texts of a DataFrame, list or Series of this notebook, or of a file
%%predict NAME             the cell's body: one text a line to label; all of it one text to write on from
%predict NAME "QUESTION" CONTEXT    answer; the context by its name or in quotes
%%predict NAME                      the cell's body: the question, an empty line, the context

NAME is a tuned model. A text that is also the name of something in the notebook, or that begins or ends
with a flag, stands in quotes. The result is the cell's value:  scored = %predict clf unseen
A model that labels gives a DataFrame; --probabilities adds a column a class. A model that tags shows one text with
its entities marked, and gives a DataFrame of several.

A model that answers gives one answer, shown in its context, or of a table with questions and contexts a DataFrame.

A model that writes gives the text that it wrote, of several texts a DataFrame; a list of {role, content}
messages, by its name, is answered. "" begins from nothing. The notebook's interrupt button ends the writing.
Where prompts end in a line break, leave a line empty at the cell's end: its last one is not the text's.
  --max-new-tokens N     most tokens to write [64]
  --temperature T        0 always takes the likeliest token, higher is more varied [0.8]
  --top-k N              among the N likeliest tokens only; 0 = all [0]
  --top-p P              among the likeliest tokens that together have probability P only [1.0]
  --repetition-penalty R above 1: tokens that have occurred become less likely [1.0]
  --stop "TEXT"          end before this text; may be given several times, "\\n" is a line break
  --num-samples N        so many continuations [1]
  --seed N               the same seed gives the same texts

Flags stand before or after the text. --traceback shows the whole traceback of an error, -h prints this page.
"""
_MAGICS = ("finetune", "predict")


class GptMagic(Options):
    """The notebook's defaults: ``%config GptMagic.epochs = 5``, or ``c.GptMagic.epochs = 5`` in a config file."""

    def update_config(self, config: Config) -> None:
        """Take what ``%config`` sets; a bad value is refused in one line and forgotten."""
        before = self.config
        given = config.get("GptMagic", {})
        for name in given:
            find(name)
        try:
            super().update_config(config)
        except TraitError:
            self.config = before
            for name, value in given.items():
                Options().put(name, value)  # says what the option takes
            raise


@magics_class
class GptMagics(Magics):
    """The magics of gpt_magic, over the defaults of one notebook."""

    def __init__(self, shell: InteractiveShell, defaults: GptMagic) -> None:
        super().__init__(shell)
        self.defaults = defaults

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def finetune(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
        """Fine-tune a GPT-2, to label texts or to write, on the data named on the line."""
        with _tracebacks_when_asked(line):
            request = read_cell(line, cell, self._names(local_ns))
            if "help" in request.switches:
                print(_USAGE + help_text())  # noqa: T201  # -h is a printed page
                return None
            if request.order:
                return self._order(request.order, request.run_name)
            if "form" in request.switches:
                from gpt_magic.notebook.form import open_form

                start = self.defaults.copy_with(**request.values)
                return open_form(start, request.data_name or "", self.shell)
            return self._finetune(request, is_line=cell is None)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def predict(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
        """Label texts, or write on from them, with a tuned model."""
        with _tracebacks_when_asked(line):
            names = self._names(local_ns)
            line, flags = take_flags(line)
            name, rest = [*line.split(maxsplit=1), "", ""][:2]
            rest, more = take_flags(rest)
            flags = merge_flags(flags, more)
            if not name or {"-h", "--help"} & {*flags}:
                print(_PREDICT)  # noqa: T201
                return None
            model = _model(name, names)
            task = getattr(model, "task", "")
            writes = task == "generate"
            _check_flags(name, task, flags)
            if task == "answer":
                asked = find_question(name, rest, cell, names)
                with _short_warnings():
                    return model.ask(*asked) if isinstance(asked, tuple) else model.predict(asked)
            texts = find_texts(name, rest, cell, names, whole=writes, pairs=getattr(model, "pairs", False))
            with _short_warnings():
                if task == "tag":
                    from gpt_magic.notebook.entities import mark

                    return mark(model, texts)
                if not writes:
                    return model.predict(texts, probabilities="--probabilities" in flags)
                from gpt_magic.notebook.writing import write

                settings = {flag[2:].replace("-", "_"): value for flag, value in flags.items() if flag in SETTINGS}
                return write(model, texts, settings, self.defaults.quiet)

    def _names(self, local_ns: dict[str, Any] | None) -> Mapping[str, Any]:
        """What a cell sees: the notebook's names, and before them those of the function that it stands in."""
        return ChainMap(local_ns or {}, self.shell.user_ns)

    def _finetune(self, request: Request, is_line: bool) -> Any:
        from gpt_magic.run import Run

        options = self.defaults.copy_with(**request.values)
        result = self._begin(Run(options, request.data_name, options.output))
        return result if is_line and "output" not in request.values else None

    def _order(self, order: str, name: str | None) -> Any:
        """``--stop [NAME]`` and the like."""
        from gpt_magic.notebook.orders import live_run, obey

        if order != "resume" or live_run(name) is not None:
            return obey(order, name)
        from gpt_magic.resuming import resume

        run = resume(name)
        run.output = run.output or run.options.output
        self._begin(run)
        return None

    def _begin(self, run: "Run") -> Any:
        """Show a run until it is done, or let it go on behind the cell; under its name stands what came of it."""
        from gpt_magic.door import run_behind, watch_run

        if run.options.background and not run.options.dry_run:
            return run_behind(run)
        try:
            result = watch_run(run)
        except TrainingError as error:
            if error.result is not None:
                self.shell.user_ns[run.output] = error.result  # nothing is lost
            raise
        if run.options.dry_run:
            return None  # the pre-flight is on the screen
        self.shell.user_ns[run.output] = result
        return result


GptMagics.finetune.__doc__ = _USAGE + help_text()
GptMagics.predict.__doc__ = _PREDICT


class _Question(TokenTransformBase):
    """Keeps ``%predict clf is it good?`` a text: to IPython, any line that ends in ? asks for help."""

    priority = 4  # before IPython's HelpEnd, which has 5

    def __init__(self, start: tuple[int, int], percent: tuple[int, int]) -> None:
        super().__init__(start)
        self.command = EscapedCommand(percent) if start == percent else MagicAssign(percent)

    @classmethod
    def find(cls, tokens_by_line: Sequence[Sequence[tokenize.TokenInfo]]) -> Self | None:
        """The first ``%predict NAME ...?``, with or without ``name =`` before it."""
        for line in tokens_by_line:
            tokens = [token for token in line if token.string.strip()]
            words = [token.string for token in tokens]
            at = words.index("%") if "%" in words else 0
            starts = words[at : at + 2] == ["%", "predict"] and (at == 0 or words[at - 1] == "=")
            if starts and words[-1] == "?" and len(words) - at > 4:  # not %predict? and %predict clf?
                return cls(tokens[0].start, tokens[at].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """The line as the call of the magic."""
        return self.command.transform(lines)  # type: ignore[no-any-return]


def load(shell: InteractiveShell) -> None:
    """Register magics, completion and the ``GptMagic`` defaults; a second load changes nothing."""
    if _registered(shell) is not None:
        return
    defaults = _configured(shell)
    shell.configurables.append(defaults)
    shell.register_magics(GptMagics(shell, defaults))
    completion.register(shell)
    shell.input_transformers_cleanup.append(_give_a_body)
    shell.input_transformer_manager.token_transformers.append(_Question)


def unload(shell: InteractiveShell) -> None:
    """Take back all that `load` registered."""
    if _registered(shell) is None:
        return
    # Magics register themselves as configurables too.
    shell.configurables[:] = [item for item in shell.configurables if not isinstance(item, GptMagic | GptMagics)]
    for kind in ("line", "cell"):
        for name in _MAGICS:
            shell.magics_manager.magics[kind].pop(name, None)
    shell.magics_manager.registry.pop("GptMagics", None)
    completion.unregister(shell)
    shell.input_transformers_cleanup.remove(_give_a_body)
    shell.input_transformer_manager.token_transformers.remove(_Question)


def _give_a_body(lines: list[str]) -> list[str]:
    """Let ``%%finetune reviews`` stand alone: IPython refuses cell magics with an empty body."""
    if lines and re.match(r"%%(finetune|predict)\s", lines[0] + "\n") and not "".join(lines[1:]).strip():
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


def _model(name: str, names: Mapping[str, Any]) -> Any:
    value = names.get(name)
    if value is not None and type(value).__name__ == "BackgroundRun":
        if value.run.done.is_set():
            if value.run.error is not None:
                raise value.run.error
            raise OptionError(f"{name} is a run that has ended: {name} = {name}.wait() takes its model")
        raise OptionError(f"{name} is still in training ({value.state}): {name}.wait() waits for the model")
    if not is_tuned(value):
        known = [key for key, item in names.items() if is_tuned(item)]
        others = f"; tuned models here: {listing(known)}" if known else "; train one with %%finetune"
        hint = nearest(name, known) or others
        what = "is not a tuned model" if name in names else "is not in this notebook"
        raise OptionError(f"{name!r} {what}{hint}")
    return value


def _check_flags(name: str, task: str, flags: Mapping[str, Any]) -> None:
    """Refuse flags that are for another kind of model."""
    kinds = {"generate": ("writes", [*SETTINGS]), "tag": ("tags", []), "answer": ("answers", [])}
    does, own = kinds.get(task, ("labels", ["--probabilities"]))
    wrong = [flag for flag in flags if flag in (*SETTINGS, "--probabilities") and flag not in own]
    if wrong:
        other = "write" if wrong[0] in SETTINGS else "label"
        raise OptionError(
            f"{listing(wrong)}: for models that {other}, and {name} {does}; a text that begins or ends so stands in "
            "quotes"
        )


def _configured(shell: InteractiveShell) -> GptMagic:
    """The defaults as the shell's config has them; a bad one is said in a line and left out."""
    try:
        return GptMagic(parent=shell)
    except TraitError:
        good = {}
        for name, value in shell.config.GptMagic.items():
            try:
                Options().put(name, value)
                good[name] = value
            except OptionError as error:
                with _short_warnings():
                    warnings.warn(f"c.GptMagic.{error}; it is left out", stacklevel=2)
        return GptMagic(config=Config(GptMagic=good))


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
    """Warnings as one plain line, without the source line that raised them, each time a cell is run."""
    before: Callable[..., str] = warnings.formatwarning
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"{message}\n"
    try:
        with warnings.catch_warnings():  # forgets which were said already
            yield
    finally:
        warnings.formatwarning = before
