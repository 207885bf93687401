import pickle

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic import errors
from gpt_magic.errors import DataError, GptMagicError, OptionError, a_kind, listing, markdown, nearest, plural, short

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GptMagicError)]


@given(st.text())
@settings(deadline=None)
def test_a_message_is_one_line(message: str) -> None:
    assert len(str(GptMagicError(message)).splitlines()) <= 1


def test_lines_are_joined_by_a_space() -> None:
    assert str(DataError("a\n   b\r\nc\u2028d")) == "a b c d"


@pytest.mark.parametrize("kind", KINDS)
def test_shown_as_its_line_and_nothing_else(kind: type[GptMagicError]) -> None:
    error = kind("what is wrong")
    assert error._render_traceback_() == [f"{kind.__name__}: what is wrong"]


def test_the_traceback_is_shown_when_asked_for() -> None:
    def fails() -> None:
        raise DataError("inner") from KeyError("cause")

    with pytest.raises(DataError) as caught:
        fails()
    caught.value.show_traceback = True
    shown = "".join(caught.value._render_traceback_())
    assert "KeyError: 'cause'" in shown
    assert "in fails" in shown
    assert shown.endswith("DataError: inner\n")


@pytest.mark.parametrize("kind", KINDS)
def test_survives_a_pickle(kind: type[GptMagicError]) -> None:
    again = pickle.loads(pickle.dumps(kind("a line")))
    assert type(again) is kind
    assert str(again) == "a line"


def test_bad_values_are_value_errors_too() -> None:
    assert issubclass(OptionError, ValueError)
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize(
    ("name", "candidates", "hint"),
    [
        ("epohcs", ["epochs", "eval_every"], " (did you mean 'epochs'?)"),
        ("TEXT", ["text", "label"], " (did you mean 'text'?)"),
        ("review", ["Review"], " (did you mean 'Review'?)"),
        ("zzz", ["epochs"], ""),
        ("anything", [], ""),
        ("0", [0, 1], " (did you mean '0'?)"),
    ],
)
def test_nearest(name: str, candidates: list[str], hint: str) -> None:
    assert nearest(name, candidates) == hint


def test_listing_cuts_long_lists() -> None:
    assert listing([]) == ""
    assert listing(["a", 2]) == "a, 2"
    assert listing(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert listing(range(1009)) == "0, 1, 2, 3, 4, 5, 6, 7 and 1,001 more"
    assert listing(range(3), limit=2) == "0, 1 and 1 more"


def test_plural() -> None:
    assert [plural(n, "row") for n in (0, 1, 2, 2000)] == ["0 rows", "1 row", "2 rows", "2,000 rows"]


@pytest.mark.parametrize(
    ("value", "words"), [(None, "None"), (3, "an int"), ("x", "a str"), (pd.DataFrame(), "a DataFrame"), ({}, "a dict")]
)
def test_a_kind(value: object, words: str) -> None:
    assert a_kind(value) == words


def test_short_cuts_the_repr() -> None:
    assert short("a") == "'a'"
    assert len(short("a" * 1000)) == 60
    assert short("a" * 1000).endswith("...")


@pytest.mark.parametrize("mark", list("\\`*_[]#|~$"))
def test_nothing_in_a_text_is_markdown(mark: str) -> None:
    assert markdown(f"a {mark}b{mark} c") == f"a \\{mark}b\\{mark} c"
