import inspect
import json
import math
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traitlets import Bool, Enum, Float, Int

from gpt_magic import options, values
from gpt_magic.errors import OptionError
from gpt_magic.options import GROUPS, Options, find, help_text, signature, table
from gpt_magic.values import choices, expected

ALL = list(table())
NUMBERS = [name for name, trait in table().items() if isinstance(trait, Int | Float)]


def put(name: str, value: Any) -> Any:
    chosen = Options()
    chosen.put(name, value)
    return getattr(chosen, name)


def refused(name: str, value: Any) -> str:
    with pytest.raises(OptionError) as caught:
        put(name, value)
    return str(caught.value)


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_complete(name: str) -> None:
    trait = find(name)
    assert trait.metadata["group"] in GROUPS
    assert len(trait.help) > 10
    assert trait.help.endswith(".")
    assert "\n" not in trait.help
    assert expected(trait)


@pytest.mark.parametrize("name", ALL)
def test_every_default_is_a_value_it_takes(name: str) -> None:
    default = find(name).default_value
    assert put(name, default) == default


@pytest.mark.parametrize("name", NUMBERS)
def test_ranges_hold_at_both_ends_and_are_told(name: str) -> None:
    trait = find(name)
    assert put(name, trait.min) == trait.min
    assert put(name, trait.max) == trait.max
    step = 1 if isinstance(trait, Int) else 1e-9
    for outside in (trait.min - step, trait.max + max(step, trait.max * 1e-9)):
        line = refused(name, type(trait.min)(outside))
        assert values._number(trait.min) in line
        assert values._number(trait.max) in line


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("epochs", 3.0, 3),
        ("epochs", np.int64(3), 3),
        ("epochs", np.array(3), 3),
        ("learning_rate", 1, 1.0),
        ("learning_rate", np.float32(0.5), 0.5),
        ("learning_rate", None, None),
        ("max_length", None, None),
        ("quiet", np.True_, True),
        ("text", 0, "0"),
        ("text", np.int64(7), "7"),
        ("label", "类别", "类别"),
        ("class_weights", {"a": 1}, {"a": 1}),
        ("class_weights", {0: 1, 1: 2}, {0: 1, 1: 2}),
        ("class_weights", "balanced", "balanced"),
        ("output", "模型", "模型"),
    ],
)
def test_what_is_plainly_meant_is_taken(name: str, value: Any, taken: Any) -> None:
    got = put(name, value)
    assert got == taken
    assert type(got) is type(taken)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("epochs", 0, "epochs = 0: must be a whole number from 1 to 1,000 or auto"),
        ("epochs", "3", "epochs = '3': must be a whole number from 1 to 1,000 or auto"),
        ("epochs", 3.5, "epochs = 3.5: must be a whole number from 1 to 1,000 or auto"),
        ("epochs", True, "epochs = True: must be a whole number from 1 to 1,000 or auto"),
        ("epochs", None, "epochs = None: must be a whole number from 1 to 1,000 or auto"),
        ("epochs", np.array([1, 2]), "epochs = <ndarray>: must be a whole number from 1 to 1,000 or auto"),
        ("seed", 2**32, "seed = 4294967296: must be a whole number from 0 to 4,294,967,295"),
        ("max_length", 10**7, "max_length = 10000000: must be a whole number from 2 to 1,000,000 or None"),
        ("learning_rate", math.nan, "learning_rate = nan: must be a number from 1e-08 to 1, auto or None"),
        ("learning_rate", math.inf, "learning_rate = inf: must be a number from 1e-08 to 1, auto or None"),
        ("schedule", "cosin", "schedule = 'cosin': must be one of linear, cosine, constant (did you mean 'cosine'?)"),
        ("schedule", None, "schedule = None: must be one of linear, cosine, constant"),
        (
            "class_weights",
            "balance",
            "class_weights = 'balance': must be none, balanced, or a dict label -> weight (did you mean 'balanced'?)",
        ),
        ("class_weights", [1, 2], "class_weights = [1, 2]: must be none, balanced, or a dict label -> weight"),
        ("quiet", "yes", "quiet = 'yes': must be True or False"),
        ("text", ["a", "b", "c"], "text = ['a', 'b', 'c']: must be the name of a column, a list of two, or None"),
        ("label", ["a", "b"], "label = ['a', 'b']: must be the name of a column or None"),
        ("text", True, "text = True: must be the name of a column, a list of two, or None"),
        ("output", "my clf", "output = 'my clf': must be a Python name, such as clf"),
        ("output", "class", "output = 'class': must be a Python name, such as clf"),
        ("output", 3, "output = 3: must be a Python name, such as clf"),
        ("device", 0, "device = 0: must be a text"),
        ("warmup", 10**400, f"warmup = 1{'0' * 56}...: must be a number from 0 to 100,000,000"),
    ],
)
def test_a_bad_value_says_what_is_taken(name: str, value: Any, line: str) -> None:
    assert refused(name, value) == line


@pytest.mark.parametrize("value", [pd.DataFrame({"a": [1]}), [pd.DataFrame({"a": [1, 2]})], object(), range(9**9)])
@pytest.mark.parametrize("name", [name for name in ALL if name not in ("data", "valid", "base")])
def test_the_strangest_value_gives_one_short_line(name: str, value: Any) -> None:
    line = refused(name, value)
    assert line.startswith(f"{name} = ")
    assert len(line) < 250


def test_a_refused_value_changes_nothing() -> None:
    chosen = Options()
    chosen.put("epochs", 7)
    with pytest.raises(OptionError):
        chosen.put("epochs", 0)
    with pytest.raises(OptionError):
        chosen.put("output", "not a name")
    assert chosen.epochs == 7
    assert chosen.output == "tuned"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("epohcs", " (did you mean 'epochs'?)"),
        ("learningrate", " (did you mean 'learning_rate'?)"),
        ("batchsize", " (did you mean 'batch_size'?)"),
        ("lr", " (did you mean 'learning_rate'?)"),
        ("model", " (did you mean 'base'?)"),
        ("num_train_epochs", " (did you mean 'epochs'?)"),
        ("test_size", " (did you mean 'valid_fraction'?)"),
        ("qqq", "; see %finetune -h for the list"),
    ],
)
def test_an_unknown_name_gives_the_nearest(name: str, hint: str) -> None:
    assert refused(name, 1) == f"no option {name!r}{hint}"


def test_other_names_lead_to_options() -> None:
    assert set(options._OTHER_NAMES.values()) <= set(ALL)
    assert not set(options._OTHER_NAMES) & set(ALL)


@given(st.sampled_from(ALL), st.data())
@settings(deadline=None)
def test_a_slip_of_one_letter_finds_the_option(name: str, data: st.DataObject) -> None:
    if len(name) < 5:
        return
    place = data.draw(st.integers(0, len(name) - 1))
    slip = name[:place] + name[place + 1 :]
    if slip not in ALL:
        assert f"(did you mean {name!r}?)" in refused(slip, 1)


def test_choices_can_be_put() -> None:
    for name, trait in table().items():
        for choice in choices(trait):
            put(name, choice == "True" if isinstance(trait, Bool) else choice)


def test_help_has_every_option_with_its_range() -> None:
    text = help_text()
    for name, trait in table().items():
        assert f"--{name.replace('_', '-')} " in text
        assert str(trait.help) in text
        if isinstance(trait, Int | Float | Enum):
            assert expected(trait) in text


def test_the_signature_has_every_option_as_keyword() -> None:
    parameters = signature().parameters
    assert set(parameters) == set(ALL) - {"output"}
    assert parameters["data"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {p.kind for name, p in parameters.items() if name != "data"} == {inspect.Parameter.KEYWORD_ONLY}
    assert parameters["epochs"].default == 3


def test_update_takes_several_and_copy_with_leaves_the_original() -> None:
    frame = pd.DataFrame({"a": [1]})
    first = Options()
    first.update({"data": frame, "epochs": 5, "class_weights": {"a": 1, "b": 2}})
    second = first.copy_with(epochs=6, text="a")
    assert (first.epochs, first.text) == (5, None)
    assert (second.epochs, second.text) == (6, "a")
    assert second.data is frame
    assert second.class_weights == {"a": 1, "b": 2}


def test_two_options_objects_share_nothing() -> None:
    one, other = Options(), Options()
    one.put("class_weights", {"a": 1})
    one.put("epochs", 9)
    assert (other.class_weights, other.epochs) == ("none", 3)


def test_plain_values_are_json() -> None:
    chosen = Options()
    chosen.update(
        {
            "data": pd.DataFrame({"a": ["x"] * 1000}),
            "valid": Path("valid.csv"),
            "base": (object(), object()),
            "class_weights": {"a": 1.0},
            "learning_rate": np.float64(1e-3),
        }
    )
    plain = json.loads(json.dumps(chosen.plain()))
    assert list(plain) == ALL
    assert plain["data"] == "<DataFrame>"
    assert plain["valid"] == "valid.csv"
    assert plain["learning_rate"] == 1e-3
    assert all(len(str(value)) <= 60 for value in plain.values())


def test_values_come_in_the_order_of_the_page() -> None:
    groups = [find(name).metadata["group"] for name in Options().values()]
    assert groups == sorted(groups, key=GROUPS.index)


def test_a_table_takes_the_place_of_a_data_set_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """As validation data do once they are read."""
    options = Options()
    options.update({"valid": datasets.Dataset.from_dict({"text": ["a"]}), "epochs": 2})
    made = options.copy_with(valid=pd.DataFrame({"text": ["a"]}))
    assert isinstance(made.valid, pd.DataFrame)
    assert made.epochs == 2
    assert not recwarn.list
