"""What the line of ``%predict`` names or says."""

from typing import Any

import pandas as pd
import pytest

from gpt_magic.notebook.texts import find_texts

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
