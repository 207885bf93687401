"""What the form writes: a cell and a call that give the very same options again."""

import ast
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager
from traitlets import Bool, Enum, Float, Int, List, Unicode

from gpt_magic.errors import OptionError
from gpt_magic.notebook.cell import read_cell
from gpt_magic.notebook.form.wording import as_cell, as_python
from gpt_magic.options import Options, find, table
from gpt_magic.values import choices

FRAME, OTHER, MODEL = pd.DataFrame({"text": ["a"]}), pd.DataFrame({"text": ["b"]}), object()
RESULT = object()
SPACE: dict[str, Any] = {"reviews": FRAME, "held_out": OTHER, "model": MODEL, "_": FRAME, "tok": [1]}


def from_cell(text: str, defaults: Options, namespace: dict[str, Any] = SPACE) -> Options:
    """What IPython makes of a pasted cell, to its magic, to options."""
    code = TransformerManager().transform_cell(text)
    called = ast.parse(code).body[0].value  # type: ignore[attr-defined]
    kind, line, body = (ast.literal_eval(argument) for argument in called.args)
    assert kind == "finetune"
    return defaults.copy_with(**read_cell(line, body, namespace).values)


def from_python(text: str, defaults: Options, namespace: dict[str, Any] = SPACE) -> Options:
    """What a call binds and is given, without `gpt_magic.finetune` behind it."""
    made: list[Options] = []

    def finetune(data: Any = None, **options: Any) -> object:
        made.append(defaults.copy_with(data=data, **options))
        return RESULT

    class Door:
        pass

    Door.finetune = staticmethod(finetune)  # type: ignore[attr-defined]
    *_, call = ast.parse(text).body
    names = {**namespace, "gpt_magic": Door}
    exec(compile(ast.Module([call], []), "call", "exec"), names)
    (bound,) = (name for name, value in names.items() if value is RESULT)
    made[0].output = bound
    return made[0]


def same(one: Options, other: Options) -> None:
    for name, value in one.values().items():
        again = getattr(other, name)
        assert again is value or (type(again) is type(value) and again == value), name


def texts() -> st.SearchStrategy[str]:
    nasty = ["", "a b", "it's", 'say "x"', "\\n", "line\nbreak", "{x}", "$x$", "# no", "?", "%%finetune", "<script>"]
    return st.one_of(st.sampled_from(nasty), st.text(max_size=20))


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Values that an option takes, of all kinds that it takes."""
    trait = find(name)
    kind = trait.metadata.get("kind")
    if kind == "table":
        return st.sampled_from([FRAME, OTHER, "reviews.csv", "data/*.csv", "imdb:train", "my files/a b.csv", "imdb"])
    if kind == "base":
        return st.one_of(st.sampled_from(["nano", "gpt2", "./folder", MODEL, (MODEL, SPACE["tok"])]), texts())
    if name == "output":
        return st.sampled_from(["clf", "tuned", "模型", "a1"])
    if isinstance(trait, Bool):
        return st.booleans()
    if isinstance(trait, Enum):
        return st.sampled_from(trait.values)
    if isinstance(trait, Int):
        drawn = st.integers(trait.min, trait.max)
        return st.one_of(st.none(), drawn) if trait.allow_none else drawn
    if isinstance(trait, Float):
        drawn = st.floats(trait.min, trait.max)
        return st.one_of(st.none(), drawn) if trait.allow_none else drawn
    if isinstance(trait, List):
        return st.lists(texts(), min_size=1, max_size=3)
    if isinstance(trait, Unicode):
        some = [text for text in (*choices(trait), "top:3", "any text") if takes(name, text)]
        return st.one_of(st.sampled_from(some), texts() if "any text" in some else st.nothing())
    return of_union(trait)


def of_union(trait: Any) -> st.SearchStrategy[Any]:
    """Values of an option that takes several kinds of them: drawn wide, kept where the option takes them."""
    weights = st.dictionaries(st.one_of(texts(), st.integers(0, 9)), st.floats(0, 9), max_size=3)
    wide = st.one_of(
        st.sampled_from([*choices(trait), "auto", "none"]),
        texts(),
        st.lists(texts(), min_size=2, max_size=2),
        weights,
        st.integers(0, 100),
        st.floats(1e-6, 1.0),
    )
    name = next(name for name, other in table().items() if other is trait)
    return wide.filter(lambda value: takes(name, value))


def takes(name: str, value: Any) -> bool:
    """Whether an option takes a value."""
    try:
        Options().put(name, value)
    except OptionError:
        return False
    return True


@pytest.mark.parametrize("name", list(table()))
@settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
@given(drawn=st.data())
def test_every_option_comes_back_from_the_cell_and_from_the_call(name: str, drawn: st.DataObject) -> None:
    options, defaults = Options(), Options()
    options.data = FRAME
    options.put(name, drawn.draw(values_of(name)))
    same(options, from_cell(as_cell(options, defaults, SPACE), defaults))
    same(options, from_python(as_python(options, defaults, SPACE), defaults))


@settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
@given(drawn=st.data())
def test_all_options_at_once_come_back_whatever_the_defaults_are(drawn: st.DataObject) -> None:
    options, defaults = Options(), Options()
    for made in (options, defaults):
        for name in table():
            if name not in ("data", "valid", "output", "dry_run") and drawn.draw(st.booleans()):
                made.put(name, drawn.draw(values_of(name)))
    options.data = FRAME
    same(options, from_cell(as_cell(options, defaults, SPACE), defaults))
    same(options, from_python(as_python(options, defaults, SPACE), defaults))


def options_with(**values: Any) -> Options:
    made = Options()
    made.update(values)
    return made


def test_a_cell_and_a_call_as_one_would_write_them() -> None:
    options = options_with(data=FRAME, text="review", label="sentiment", base="nano", epochs=5, output="clf")
    assert as_cell(options, Options(), SPACE) == (
        '%%finetune reviews -o clf\ntext = "review"\nlabel = "sentiment"\nbase = "nano"\nepochs = 5\n'
    )
    assert as_python(options, Options(), SPACE) == (
        "import gpt_magic\n\n"
        'clf = gpt_magic.finetune(reviews, text="review", label="sentiment", base="nano", epochs=5)\n'
    )


def test_a_long_call_has_an_argument_a_line() -> None:
    options = options_with(data=FRAME, prompt="a prompt of some length", completion="a completion of some length")
    text = as_python(options, Options(), SPACE)
    assert text.endswith("    reviews,\n" + "".join(text.splitlines(True)[4:]))
    assert max(map(len, text.splitlines())) < 60


def test_what_the_package_has_by_default_is_said_where_the_notebook_has_another() -> None:
    options, mine = options_with(data=FRAME, epochs=3), options_with(epochs=5)
    assert "epochs = 3" in as_cell(options, mine, SPACE)
    assert "epochs = 5" in as_cell(options_with(data=FRAME, epochs=5), mine, SPACE)


def test_names_that_are_also_options_do_not_hide_each_other() -> None:
    names = {"label": OTHER, "valid": FRAME, "text": FRAME}
    options = options_with(data=FRAME, valid=OTHER, label="sentiment", text="t", base=MODEL)
    space = {**names, "seed": MODEL}
    options.seed = 7
    again = from_cell(as_cell(options, Options(), space), Options(), space)
    same(options, again)


def test_a_path_is_on_the_line_and_a_word_that_would_be_a_name_in_the_body() -> None:
    assert as_cell(options_with(data=Path("a b.csv")), Options(), {}).startswith("%%finetune 'a b.csv'\n")
    assert as_cell(options_with(data="imdb"), Options(), {}) == '%%finetune\ndata = "imdb"\n'


def test_what_has_no_name_is_refused_in_a_line() -> None:
    with pytest.raises(OptionError, match="data is a DataFrame without a name in this notebook: give it one"):
        as_cell(options_with(data=FRAME), Options(), {})
