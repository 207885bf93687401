"""The form: options as fields, what a run of them would do, and the runs that were made of them."""

from dataclasses import replace
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from gpt_magic.data.read import is_for
from gpt_magic.errors import GptMagicError, clean
from gpt_magic.notebook import live
from gpt_magic.notebook.cards import preflight_html
from gpt_magic.notebook.form import layout
from gpt_magic.notebook.form.bases import BaseField
from gpt_magic.notebook.form.checking import Check, Looked, Looker, Newest
from gpt_magic.notebook.form.copying import CopyBox
from gpt_magic.notebook.form.fields import Column, Field, Written, make_field, put
from gpt_magic.notebook.form.preview import preview_html
from gpt_magic.notebook.form.rate import Rate
from gpt_magic.notebook.form.starting import Runs
from gpt_magic.notebook.form.wording import as_cell, as_python, option_of
from gpt_magic.notebook.markup import frame, note, say
from gpt_magic.options import Options, table
from gpt_magic.run import Run

_NOT_ASKED = ("data", "dry_run", "background", "quiet")  # what a form has, does anyway, or would hide


class Form:
    """One form; shows itself as the value of a cell.

    Args:
        start: options that the form begins with, the data among them.
        name: what the user calls the data; empty when they have no name.
        defaults: the notebook's.
        namespace: the notebook's names.
    """

    def __init__(self, start: Options, name: str, defaults: Options, namespace: dict[str, Any]) -> None:
        self.name, self.defaults, self.namespace = name, defaults, namespace
        self._start_with = start
        self._task = ""  # that the columns mean; empty until they were looked at
        self._looker = Looker()
        self._newest = Newest(self._look)
        self._display: Any = None  # the display of the form
        self.looked: Looked | None = None
        self.fields = {option: self._field(option) for option in table() if option not in _NOT_ASKED}
        for option, field in self.fields.items():
            field.show(getattr(start, option))
        self._preview = widgets.HTML()
        self._report = widgets.HTML()
        self.copy = CopyBox()
        self.runs = Runs(name, defaults, namespace, self._ended)
        rate = self.fields["learning_rate"]
        assert isinstance(rate, Written)
        self.rate = Rate(rate)
        self.root = self._laid_out()
        self._see()
        self._ask()

    def options(self) -> Options:
        """The options as the form has them; fields of other tasks keep the defaults.

        Raises:
            OptionError: a field has a value that its option does not take.
        """
        options = self.defaults.copy_with(data=self._start_with.data)
        for name in self._shown():
            options.put(name, self.fields[name].read())
        return options

    def start(self) -> None:
        """Start a run with the settings as they are; it goes on in the background."""
        try:
            options = self.options()
        except GptMagicError as error:
            self._report.value = frame(f"\u2717 {say(error, 400)}")
            return
        self.runs.start(options)

    def _ipython_display_(self) -> None:
        if self.root.comm is None:  # closed
            display(self._static(), raw=True)
            return
        self._close_others()
        bundle = self.root._repr_mimebundle_()
        self._display = display({**bundle, **self._static()}, raw=True, display_id=True)
        self.runs.display()

    def _close_others(self) -> None:
        """Close the form that an earlier run of this cell has shown."""
        cell = live.cell_id()
        before = _open.pop(cell, self)
        if before is not self:
            before.close()
        for place in [place for place, form in _open.items() if form is self]:
            del _open[place]
        if cell:
            _open[cell] = self

    def _static(self) -> dict[str, str]:
        """What a page without a kernel shows in the place of the form."""
        name = self.name or "your data"
        said = f"A form to fine-tune on {clean(name, 80)}; run this cell again to use it."
        return {"text/html": frame(note(say(said))), "text/plain": said}

    @property
    def report(self) -> str:
        """What is said to happen, as markup."""
        return str(self._report.value)

    def idle(self, seconds: float) -> bool:
        """Wait until all that was typed has been looked at; whether it has."""
        return self._newest.idle(seconds)

    def close(self) -> None:
        """Close the widgets; what was trained stays, and so do the cards and pictures below the form."""
        self._newest.close()
        if self._display is not None:
            self._display.update(self._static(), raw=True)
        self.runs.close()
        for widget in _all(self.root):
            layout.close(widget)

    def _field(self, name: str) -> Field:
        if table()[name].metadata.get("kind") == "base":
            return BaseField(name, getattr(self.defaults, name), self.changed, self.namespace)
        return make_field(name, self.defaults, self.changed, self.namespace)

    def _laid_out(self) -> widgets.VBox:
        fields = {name: field for name, field in self.fields.items() if name != "output"}
        self._start = layout.button("Start", "Start a run with these settings", self.start)
        self._start.button_style = "primary"
        copy_cell = layout.button("Copy as cell", "The %%finetune cell that does the same", self.copy_cell)
        copy_call = layout.button("Copy as Python", "The call that does the same", self.copy_call)
        root = widgets.VBox(
            [
                widgets.HTML(layout.STYLE),
                widgets.HTML(f"<h3>Fine-tune on {say(self.name or 'your data', 80)}</h3>"),
                *layout.sections(fields, {"data": [self._preview], "training": [self.rate.box]}),
                layout.title("What would happen"),
                self._report,
                layout.row(self.fields["output"].box, self._start),
                layout.row(copy_cell, copy_call),
                self.copy.box,
            ]
        )
        root.add_class("gpt-magic-form")
        return root

    def copy_cell(self) -> None:
        """Show the cell that does the same."""
        self._written(as_cell, "A cell that does the same:")

    def copy_call(self) -> None:
        """Show the call that does the same."""
        self._written(as_python, "A call that does the same:")

    def _written(self, write: Any, what: str) -> None:
        try:
            self.copy.show(write(self.options(), self.defaults, self.namespace), what)
        except GptMagicError as error:
            self.copy.refuse(str(error))

    # What is typed

    def changed(self, name: str) -> None:
        """Take what a field has now, and have it looked at."""
        put(self.fields[name], self.defaults.copy_with())
        self.copy.hide()
        self._see()
        self._ask()

    def _shown(self) -> list[str]:
        """The fields of the task at hand."""
        chosen = self.fields["task"].read()
        task = self._task or "classify" if chosen == "auto" else chosen
        return [name for name in self.fields if is_for(name, task)]

    def _see(self) -> None:
        shown = self._shown()
        for name, field in self.fields.items():
            field.box.layout.display = "" if name in shown else "none"

    def _ask(self) -> None:
        """Have the settings looked at, when all of them can be taken."""
        try:
            self._newest.ask(self.options())
        except GptMagicError as error:
            self._newest.forget()  # what it finds is of other settings than these
            self._report.value = frame(f"\u2717 {say(error, 400)}")

    # What is found, in the form's own thread

    def _look(self, options: Options, check: Check) -> None:
        looked = self._looker(options, self.name or None, self._doing, check)
        check()
        try:
            self._found(looked)
        except Exception as failure:  # the form stands, whatever goes wrong in showing this
            self._report.value = frame(f"\u2717 this cannot be shown: {say(repr(failure), 300)}")

    def _found(self, looked: Looked) -> None:
        self.looked = looked
        if looked.frame is not None:
            self._preview.value = preview_html(looked.frame, looked.roles)
            columns = [*looked.frame.columns]
            for name, field in self.fields.items():
                if isinstance(field, Column):
                    field.offer(columns, looked.roles.get(name, "") if name in looked.found else "")
        if looked.task != self._task:
            self._task = looked.task
            self._see()
        self._tell(looked)

    def _tell(self, looked: Looked) -> None:
        wrong = option_of(str(looked.error)) if looked.error else ""
        for name in self._shown():
            self.fields[name].mark(str(looked.error) if name == wrong else "")
        if looked.error is not None:
            self._report.value = frame(f"\u2717 {say(looked.error, 400)}")
        if looked.prepared is not None:
            from gpt_magic.notebook.form.pace import time_words

            prepared, said = looked.prepared, looked.prepared.preflight
            time = time_words(looked.options, prepared, self.runs.attempts)
            self._report.value = preflight_html(replace(said, facts=[*said.facts, ("time", time)]))
            self.rate.follow(prepared.settings, len(prepared.train))

    def _ended(self, run: Run) -> None:
        if (tried := run.progress().tried) is not None:
            self.rate.show_trials(tried)
        self._ask()  # its pace is known now

    def _doing(self, what: str) -> None:
        if self.looked is None:  # later the last report stands until there is a newer one
            self._report.value = frame(note(f"{say(what)} …"))


_open: "dict[str, Form]" = {}  # by the cell that shows it


def _all(widget: Any) -> list[Any]:
    """A widget and all within it, the innermost first."""
    return [*(inner for child in getattr(widget, "children", ()) for inner in _all(child)), widget]
