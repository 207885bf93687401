"""What the line of ``%predict`` names or says."""

from typing import Any

import pandas as pd
import pytest

from gpt_magic.errors import OptionError
from gpt_magic.notebook.texts import find_texts, take_flags

FRAME = pd.DataFrame({"text": ["a"]})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("unseen", FRAME),
        ("unseen            # DataFrame in, DataFrame out", FRAME),
        ("unseen;", FRAME),
        ('"hello there";', "hello there"),
        ('"hello there"  # a comment', "hello there"),
        ("'unseen'", "unseen"),
        ("we are #1 in town", "we are #1 in town"),
        ("unseen things # happen", "unseen things # happen"),
        ("wait; what?", "wait; what?"),
        ('"a # b"', "a # b"),
    ],
)
def test_comments_and_semicolons_after_names_and_quotes(line: str, expected: Any) -> None:
    found = find_texts("clf", line, None, {"unseen": FRAME})
    assert found is FRAME if expected is FRAME else found == expected


@pytest.mark.parametrize(
    ("line", "rest", "flags"),
    [
        ('poet "Jack" --seed 3  # note', 'poet "Jack"', {"--seed": 3}),
        ('poet "Jack" --seed 3 ;', 'poet "Jack"', {"--seed": 3}),
        ('poet "Jack" --seed 3;', 'poet "Jack"', {"--seed": 3}),
        ('poet "Jack" --stop "\\n" --top-k 5 # two', 'poet "Jack"', {"--stop": ["\n"], "--top-k": 5}),
        ("clf good --probabilities  # c", "clf good", {"--probabilities": True}),
        ('poet "a" --stop "#"', 'poet "a"', {"--stop": ["#"]}),
        ("clf we are #1 --probabilities", "clf we are #1", {"--probabilities": True}),
        ("clf git push --force # now", "clf git push --force # now", {}),
        ("clf one # two --seed", "clf one # two --seed", None),
    ],
)
def test_comments_and_semicolons_after_flags(line: str, rest: str, flags: dict[str, Any] | None) -> None:
    if flags is None:
        with pytest.raises(OptionError, match="--seed needs a whole number"):
            take_flags(line)
    else:
        assert take_flags(line) == (rest, flags)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"it rains" "it is wet"', ("it rains", "it is wet")),
        ("'it rains', 'it is \\'wet\\''", ("it rains", "it is 'wet'")),
        ('"a" "b"  # a comment', ("a", "b")),
        ('"a \\" b" "c"', ('a " b', "c")),
        ("unseen", FRAME),
    ],
)
def test_pairs_on_the_line_stand_in_quotes(line: str, expected: Any) -> None:
    found = find_texts("nli", line, None, {"unseen": FRAME}, pairs=True)
    assert found is FRAME if expected is FRAME else found == expected


def test_pairs_in_the_cell_stand_one_a_line() -> None:
    cell = '"it rains" "it is wet"\n\n  "a", "b"\n'
    assert find_texts("nli", "", cell, {}, pairs=True) == [("it rains", "it is wet"), ("a", "b")]


@pytest.mark.parametrize("line", ["it rains", '"it rains"', '"a" "b" "c"', "'a' b"])
def test_what_is_no_pair_says_how_to_write_one(line: str) -> None:
    for rest, cell in ((line, None), ("", f'"a" "b"\n{line}')):
        with pytest.raises(OptionError, match=r"nli labels pairs of texts, and .* is none: write"):
            find_texts("nli", rest, cell, {}, pairs=True)


def test_two_quoted_texts_are_one_text_to_other_models() -> None:
    assert find_texts("clf", '"a" "b"', None, {}) == '"a" "b"'
