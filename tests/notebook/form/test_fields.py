"""Every option's field: what it shows it reads again, and what it cannot take it says as the magic does."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from traitlets import Float, Int

from gpt_magic.errors import OptionError
from gpt_magic.notebook.cell import read_line
from gpt_magic.notebook.form.bases import BaseField
from gpt_magic.notebook.form.fields import Column, first_clause, make_field, note_html, put
from gpt_magic.options import Options, find, table
from tests.notebook.form.test_wording import SPACE, values_of

ASKED = [name for name in table() if name not in ("data", "dry_run", "background", "quiet")]
NUMBERS = [name for name in ASKED if isinstance(find(name), Int | Float)]


def field(name: str) -> Any:
    if name == "base":
        return BaseField(name, "gpt2", lambda _: None, SPACE)
    return make_field(name, Options(), lambda _: None, SPACE)


@pytest.mark.parametrize("name", ASKED)
def test_what_a_field_shows_it_reads_again(name: str) -> None:
    made = field(name)

    @settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
    @given(value=values_of(name))
    def check(value: Any) -> None:
        options = Options()
        options.put(name, value)
        taken = getattr(options, name)
        if isinstance(taken, str) and (not taken or (name == "base" and taken != taken.strip())):
            return  # an empty field is the default
        made.show(taken)
        options.put(name, made.read())
        again = getattr(options, name)
        assert again is taken or again == taken

    check()


@pytest.mark.parametrize("name", ASKED)
def test_a_field_begins_with_the_default_and_says_it(name: str) -> None:
    made, options = field(name), Options()
    options.put(name, made.read())
    assert getattr(options, name) == getattr(Options(), name)
    assert made.box.children[0].description == name
    assert made.box.children[0].tooltip == find(name).help


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["-1e99", "1e99", "many", "1 2", "<b>3</b>", "nan"])
def test_a_wrong_number_is_refused_at_the_field_with_the_words_of_the_magic(name: str, text: str) -> None:
    made = field(name)
    made.type(text)
    put(made, Options())
    given_so = read_line(f"--{name.replace('_', '-')}='{text}'", SPACE).values
    with pytest.raises(OptionError) as caught:
        Options().update(given_so)
    assert made.problem == str(caught.value)
    assert "<b>" not in made.box.children[-2].value
    made.type("")
    put(made, Options())
    assert made.problem == ""


def test_help_is_seen_in_its_first_clause_and_opened_for_the_rest() -> None:
    assert first_clause("Passes over the rows; 3 is usual.") == ("Passes over the rows; 3 is usual.", "")
    long = "Which column it is: " + "very " * 30 + "long."
    assert first_clause(long) == ("Which column it is", long.partition(": ")[2])
    assert "0 to 4,294,967,295 · default 5" in note_html(find("seed"), 5)


@pytest.mark.parametrize("name", ["text", "label"])
def test_columns_with_any_name_are_offered_as_text(name: str) -> None:
    made = field(name)
    assert isinstance(made, Column)
    names = ["<script>x</script>", "a\nb", "$x$", "n" * 10_000, "", " "]
    made.offer(names, found="a\nb")
    labels = [text for text, _ in made.box.children[0].options]
    assert labels[0] == "a b (found by name)"
    assert labels[1] == "<script>x</script>"  # the list shows options as text
    assert max(map(len, labels)) < 80
    for column in names:
        made.show(column)
        assert made.read() == column


def test_a_column_that_is_not_there_stays_chosen() -> None:
    made = field("label")
    made.offer(["a", "b"])
    made.show("gone")
    made.offer(["a", "b"])
    assert made.read() == "gone"


def test_a_pair_of_texts_is_two_columns() -> None:
    made = field("text")
    made.offer(["premise", "hypothesis"])
    made.show(["premise", "hypothesis"])
    assert made.read() == ["premise", "hypothesis"]
    made.show("premise")
    assert made.read() == "premise"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_prompts_are_one_a_line_whatever_is_in_them(prompts: list[str]) -> None:
    made = field("samples")
    made.show(prompts)
    assert made.read() == prompts
