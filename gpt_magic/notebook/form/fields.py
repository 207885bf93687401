"""An option as a field: a control that fits what the option takes, what it takes in words, and what is wrong with it.

What is typed is read as the flag of the magic reads it, so that the same text is refused with the same words.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
from traitlets import Bool, Enum, List, TraitType, Unicode, Union

from gpt_magic.errors import OptionError, clean
from gpt_magic.notebook.cell import parse_value
from gpt_magic.notebook.form.names import name_of
from gpt_magic.notebook.markup import esc, say
from gpt_magic.options import Options, find
from gpt_magic.values import choices, expected, shown

_MOST_OF_A_NAME = 48  # characters of a column's name in a list
_NONE: tuple[str, ...] = ()  # no column; None would be no choice at all to a list
Change = Callable[[str], None]


class Field:
    """One option: a label with its control, below it what the option takes, and below that what is wrong.

    Attributes:
        name: the option's.
        box: the widget to lay out.
        problem: why the value cannot be taken; empty when it can.
    """

    def __init__(self, name: str, default: Any, changed: Change) -> None:
        self.name, self.default = name, default
        self.trait = find(name)
        self.problem = ""
        self._changed = changed
        self._silent = False
        self._said = widgets.HTML()
        self._note = widgets.HTML(note_html(self.trait, default))
        self.box = widgets.VBox([*self._controls(), self._said, self._note])
        self.box.add_class("gpt-magic-field")
        self._said.layout.display = "none"
        self.show(default)

    def read(self) -> Any:
        """The value that the control has now; whether the option takes it is for `Options.put` to say."""
        return self._read()

    def show(self, value: Any) -> None:
        """Let the control have a value, without telling of it."""
        self._silent = True
        try:
            self._show(value)
        finally:
            self._silent = False

    def mark(self, problem: str) -> None:
        """Say below the control what is wrong; an empty text takes it back."""
        if problem == self.problem:
            return
        self.problem = problem
        self._said.value = f'<div role="alert">\u2717 {say(problem, 400)}</div>' if problem else ""
        self._said.layout.display = "" if problem else "none"
        (self.box.add_class if problem else self.box.remove_class)("gpt-magic-wrong")

    def _controls(self) -> Sequence[widgets.Widget]:
        raise NotImplementedError

    def _read(self) -> Any:
        raise NotImplementedError

    def _show(self, value: Any) -> None:
        raise NotImplementedError

    def _watch(self, control: Any) -> Any:
        control.observe(lambda _: None if self._silent else self._changed(self.name), "value")
        control.tooltip = self.trait.help
        control.layout.width = "auto"
        return control


class Choice(Field):
    """One of a few values."""

    def _controls(self) -> Sequence[widgets.Widget]:
        values = [(str(value), value) for value in choices(self.trait)]
        self._list = self._watch(widgets.Dropdown(options=values, description=self.name))
        return [self._list]

    def _read(self) -> Any:
        return self._list.value

    def _show(self, value: Any) -> None:
        self._list.value = value


class Switch(Field):
    """Yes or no."""

    def _controls(self) -> Sequence[widgets.Widget]:
        self._box = self._watch(widgets.Checkbox(description=self.name, indent=False))
        return [self._box]

    def _read(self) -> Any:
        return self._box.value

    def _show(self, value: Any) -> None:
        self._box.value = bool(value)


class Written(Field):
    """Numbers, texts and names, as they stand behind a flag; empty is the default.

    Args:
        namespace: the notebook's names, which a table or a base may be one of.
        offers: what the field can be completed with.
    """

    def __init__(
        self, name: str, default: Any, changed: Change, namespace: Mapping[str, Any], offers: Sequence[str] = ()
    ) -> None:
        self._namespace = namespace
        self._offers = [*offers] or [*choices(find(name))]
        self._object: tuple[str, Any] = ("", None)  # what stands for a value that has no name, and the value
        super().__init__(name, default, changed)

    def _controls(self) -> Sequence[widgets.Widget]:
        empty = "" if self.default is None else str(self._text(self.default))
        kind: Any = widgets.Text
        extra: dict[str, Any] = {}
        if self.trait.metadata.get("lines"):
            kind, extra = widgets.Textarea, {"rows": 3}
        elif self._offers:
            kind, extra = widgets.Combobox, {"options": self._offers, "ensure_option": False}
        self._line = self._watch(kind(description=self.name, placeholder=clean(empty, 80) or "default", **extra))
        self._line.continuous_update = True
        return [self._line]

    def _read(self) -> Any:
        text = self._line.value if isinstance(self.trait, Unicode) else self._line.value.strip()
        if not text:
            return self.default
        if text == self._object[0]:
            return self._object[1]
        return parse_value(self.name, text, self._namespace)

    def _show(self, value: Any) -> None:
        self._line.value = "" if value is None else self._text(value)

    def hint(self, text: str) -> None:
        """Show, where nothing is written, what that comes to."""
        self._line.placeholder = text

    def type(self, text: str) -> None:
        """Write into the field as a user does, and tell of it."""
        self._line.value = text

    def _text(self, value: Any) -> str:
        if self.trait.metadata.get("kind") == "table":
            known = value if isinstance(value, str) else name_of(value, self._namespace) or shown(value)
            self._object = (known, value)
            return str(known)
        kept = isinstance(value, str) and (isinstance(self.trait, Unicode) or not _is_literal(value))
        return str(value) if kept else repr(value)


class Lines(Field):
    """A list of texts, one a line; a text of several lines stands in quotes, as in Python."""

    def _controls(self) -> Sequence[widgets.Widget]:
        self._area = self._watch(widgets.Textarea(description=self.name, rows=3, placeholder="one a line"))
        self._area.continuous_update = True
        return [self._area]

    def _read(self) -> Any:
        lines = [_line(line) for line in self._area.value.split("\n") if line.strip()]
        return lines or self.default

    def _show(self, value: Any) -> None:
        self._area.value = "\n".join(map(_as_line, value or ()))


class Column(Field):
    """A column of the table, and where the option takes two of them a second one."""

    def _controls(self) -> Sequence[widgets.Widget]:
        self._first = self._watch(widgets.Dropdown(options=[("by its name", _NONE)], description=self.name))
        pairs = isinstance(self.trait, Union) and any(isinstance(one, List) for one in self.trait.trait_types)
        self._second = None
        if pairs:
            self._second = self._watch(widgets.Dropdown(options=[("no second text", _NONE)], description="and"))
        return [self._first, *([self._second] if self._second else [])]

    def offer(self, columns: Sequence[str], found: str = "") -> None:
        """List the columns of the table, and which of them is taken when none is chosen."""
        value = self.read()
        self._silent = True
        try:
            by_itself = f"{clean(found, _MOST_OF_A_NAME)} (found by name)" if found else "by its name"
            self._list(self._first, by_itself, columns)
            if self._second:
                self._list(self._second, "no second text", columns)
            self._show(value)
        finally:
            self._silent = False

    def _read(self) -> Any:
        names = [*self._first.value, *(self._second.value if self._second else _NONE)]
        return names if len(names) == 2 else names[0] if names else None

    def _show(self, value: Any) -> None:
        names = [] if value is None else [*value] if isinstance(value, list) else [value]
        for place, control in enumerate([self._first, self._second]):
            if control is not None:
                chosen = tuple(names[place : place + 1])
                if chosen not in [known for _, known in control.options]:  # there is no such column
                    control.options = [*control.options, _listed(names[place])]
                control.value = chosen

    @staticmethod
    def _list(control: Any, nothing: str, columns: Sequence[str]) -> None:
        options = [(nothing, _NONE), *map(_listed, columns)]
        if [*control.options] != options:
            control.options = options


def make_field(name: str, defaults: Options, changed: Change, namespace: Mapping[str, Any]) -> Field:
    """The field that fits what an option takes."""
    trait, default = find(name), getattr(defaults, name)
    if trait.metadata.get("kind") == "column":
        return Column(name, default, changed)
    if isinstance(trait, Bool):
        return Switch(name, default, changed)
    if isinstance(trait, Enum):
        return Choice(name, default, changed)
    if isinstance(trait, List):
        return Lines(name, default, changed)
    return Written(name, default, changed, namespace)


def note_html(trait: TraitType[Any, Any], default: Any) -> str:
    """What an option takes, is by default, and is for: of that the first clause, and the rest to be opened."""
    takes = [] if isinstance(trait, Bool | Enum) or trait.metadata.get("kind") else [_range(trait)]
    takes += [] if default is None else [f"default {_said(default)}"]
    short, rest = first_clause(str(trait.help))
    said = f'<span class="gpt-magic-takes">{esc(" · ".join(takes), 120)}</span>' if takes else ""
    if not rest:
        return f"{said}<div>{say(short, 300)}</div>"
    return f"{said}<details><summary>{say(short, 300)} …</summary>{say(rest, 600)}</details>"


def first_clause(text: str, most: int = 90) -> tuple[str, str]:
    """A sentence or its first clause of at most about ``most`` characters, and what follows."""
    for sign in (". ", "; ", ": ", ", "):
        at = text.find(sign)
        if 0 < at <= most and len(text) > most:
            return text[:at], text[at + len(sign) :]
    return text, ""


def _range(trait: TraitType[Any, Any]) -> str:
    words = expected(trait).removeprefix("a number from ").removeprefix("a whole number from ")
    return words.removesuffix(" or None")


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clean(value, 40) if isinstance(value, str) else shown(value)


def _listed(column: str) -> tuple[str, tuple[str]]:
    """A column in a list: its name shortened, and what stands for it."""
    return clean(column, _MOST_OF_A_NAME) or "(no name)", (column,)


def _line(line: str) -> str:
    if line.strip()[:1] in ("'", '"'):
        try:
            found = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError):
            return line
        return found if isinstance(found, str) else line
    return line


def _as_line(text: str) -> str:
    plain = text and text == text.strip() and text.isprintable() and text[0] not in "'\""
    return text if plain else repr(text)


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True


def put(field: Field, options: Options) -> None:
    """Take a field's value into ``options``, or mark the field with the line that refuses it."""
    try:
        options.put(field.name, field.read())
    except OptionError as error:
        field.mark(str(error))
    else:
        field.mark("")
