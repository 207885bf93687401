"""Verbatim overlaps against a search that tries everything."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.insight import memorisation
from gpt_magic.insight.memorisation import Overlap, overlaps


def try_everything(
    generated: Sequence[str], training: Sequence[str], index: Sequence[Any], least: int
) -> list[Overlap]:
    found = []
    for number, text in enumerate(generated):
        runs = [
            (-length, row, start)
            for length in range(least, len(text) + 1)
            for row, known in enumerate(training)
            for start in range(len(text) - length + 1)
            if text[start : start + length] in known
        ]
        if runs:
            length, row, start = min(runs)
            found.append((length, row, number, text[start : start - length]))
    return [Overlap(text, number, index[row], -length) for length, row, number, text in sorted(found)]


def texts(alphabet: str, longest: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.text(alphabet, max_size=longest), max_size=6)


ALPHABETS = st.sampled_from(["a", "ab", "aé🎉", "\0a\n", "ab\ud83d", "abcdefgh"])
CASES = ALPHABETS.flatmap(lambda alphabet: st.tuples(texts(alphabet, 25), texts(alphabet, 30)))


@pytest.mark.parametrize("poor_hash", [False, True])
@given(case=CASES, least=st.integers(1, 9), chunk=st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_the_same_as_trying_everything(
    case: tuple[list[str], list[str]], least: int, chunk: int, poor_hash: bool
) -> None:
    generated, training = case
    index = [f"row {number}" for number in range(len(training))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memorisation, "_CHUNK", chunk)
        patch.setattr(memorisation, "_BLOCK", 7)
        if poor_hash:  # nearly all windows collide
            good = memorisation._hashes
            patch.setattr(memorisation, "_hashes", lambda *args: good(*args) & np.uint64((1 << 63) + 1))
        assert overlaps(generated, training, index, least) == try_everything(generated, training, index, least)


def test_a_long_copy_among_many_rows() -> None:
    rng = np.random.default_rng(0)
    training = ["".join(rng.choice(list("abcdefg 🎉é"), 300)) for _ in range(200)]
    copied = training[77][20:230]
    generated = ["x" * 40, "y" * 30 + copied + "y" * 30, training[5][:19], training[5][:20] + "z"]
    assert overlaps(generated, training, range(1000, 1200)) == [
        Overlap(copied, 1, 1077, 210),
        Overlap(training[5][:20], 3, 1005, 20),
    ]


def test_a_run_never_crosses_two_rows() -> None:
    assert overlaps(["abcdefgh"], ["abcd", "efgh"], [0, 1], 5) == []
    assert overlaps(["abcdefgh"], ["abcd", "efgh"], [0, 1], 4) == [Overlap("abcd", 0, 0, 4)]


def test_the_longest_come_first_and_ties_go_to_the_first_row() -> None:
    training = ["the first row", "the second row", "the first row again"]
    generated = ["my first row!", "no", "the second row"]
    assert overlaps(generated, training, ["x", "y", "z"], 5) == [
        Overlap("the second row", 2, "y", 14),
        Overlap(" first row", 0, "x", 10),
    ]


def test_much_repetition_is_no_trouble() -> None:
    found = overlaps(["a" * 1000] * 3, ["a" * 900] * 500, range(500))
    assert [(overlap.generated, overlap.row, overlap.characters) for overlap in found] == [
        (0, 0, 900),
        (1, 0, 900),
        (2, 0, 900),
    ]


@pytest.mark.parametrize(("generated", "training"), [([], ["a" * 50]), (["a" * 50], []), (["", "ab"], ["", "abc"])])
def test_nothing_in_nothing_out(generated: list[str], training: list[str]) -> None:
    assert overlaps(generated, training, range(len(training))) == []


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="shortest = 0 must be from 1 up"):
        overlaps(["a"], ["a"], [0], 0)
    with pytest.raises(ValueError, match="2 training texts, but 1 names"):
        overlaps(["a"], ["a", "b"], [0])
