"""The field for the base model: what there is, how large, and whether it is on this disk already."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from gpt_magic.errors import clean
from gpt_magic.models.find import known_bases
from gpt_magic.notebook.cell import parse_value
from gpt_magic.notebook.form.fields import Change, Field
from gpt_magic.notebook.form.names import name_of
from gpt_magic.store import said_bytes

_OTHER = "\0another"  # no name of a model has such a sign


class BaseField(Field):
    """A list of models, and a line for any other hub id, folder or name of the notebook."""

    def __init__(self, name: str, default: Any, changed: Change, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._objects: dict[str, Any] = {}
        super().__init__(name, default, changed)

    def _controls(self) -> Sequence[widgets.Widget]:
        listed = [(f"{known.name} · {_where(known.size, here=known.here)}", known.name) for known in known_bases()]
        self._list = self._watch(
            widgets.Dropdown(options=[*listed, ("another, by its hub id or folder", _OTHER)], description=self.name)
        )
        self._line = self._watch(widgets.Text(description="which", placeholder="a hub id, a folder, or a name"))
        self._list.observe(self._reveal, "value")
        return [self._list, self._line]

    def _read(self) -> Any:
        if self._list.value != _OTHER:
            return self._list.value
        text = self._line.value.strip()
        return self._objects[text] if text in self._objects else parse_value(self.name, text, self._namespace)

    def _show(self, value: Any) -> None:
        if isinstance(value, str) and value in [name for _, name in self._list.options]:
            self._list.value = value
        else:
            known = value if isinstance(value, str) else name_of(value, self._namespace)
            text = clean(known or f"<{type(value).__name__}>", 10_000)
            self._objects[text] = value
            self._list.value, self._line.value = _OTHER, text
        self._reveal()

    def _reveal(self, _: Any = None) -> None:
        self._line.layout.display = "" if self._list.value == _OTHER else "none"


def _where(size: int, *, here: bool) -> str:
    if not size:
        return "random weights"
    return f"{said_bytes(size)}, on this disk" if here else f"about {said_bytes(size)} to download"
