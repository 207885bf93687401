"""Forms over small data and a small base, without a browser."""

from typing import Any

from gpt_magic.notebook.form.board import Form
from gpt_magic.options import Options

LOOK_SECONDS = 60.0  # the imports of torch and transformers on a busy machine


def form(data: Any, name: str = "films", namespace: dict[str, Any] | None = None, **options: Any) -> Form:
    """A form whose first look is over."""
    start = Options()
    start.update({"data": data, **options})
    made = Form(start, name, Options(), {name: data} if namespace is None else namespace)
    looked(made)
    return made


def looked(made: Form) -> None:
    """Wait until the form has shown what its fields mean."""
    assert made.idle(LOOK_SECONDS), "nothing was found in time"


def typed(made: Form, **texts: Any) -> None:
    """Give fields values as a user does, and wait for what is said of them."""
    for name, value in texts.items():
        made.fields[name].show(value)
        made.changed(name)
    looked(made)


def shown(made: Form) -> set[str]:
    """The options whose fields are to be seen."""
    return {name for name, field in made.fields.items() if field.box.layout.display != "none"}
