"""Every scheme of tags as BIO, as seqeval reads it."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOBES, IOE2, Entities

from gpt_magic.data.schemes import TagCount, bio_labels, split_tag, to_bio, types_of

TYPES = ["PER", "LOC", "time-of-day"]
Entity = tuple[int, int, str]


def read(tags: Sequence[str]) -> tuple[list[str], TagCount]:
    count = TagCount(set())
    return to_bio(tags, count), count


@st.composite
def entities(draw: st.DrawFn) -> tuple[int, list[Entity]]:
    """A number of words, and entities among them: first word, end, type."""
    at, found = 0, []
    for _ in range(draw(st.integers(0, 5))):
        first = at + draw(st.integers(0, 2))
        at = first + draw(st.integers(1, 4))
        found.append((first, at, draw(st.sampled_from(TYPES))))
    return at + draw(st.integers(0, 2)), found


def written(words: int, found: list[Entity], scheme: str) -> list[str]:
    """Entities in one of the schemes, written down from its definition."""
    tags = ["O"] * words
    for number, (first, end, kind) in enumerate(found):
        touches = number > 0 and found[number - 1][1:] == (first, kind)
        for word in range(first, end):
            last, alone = word == end - 1, end - first == 1
            prefix = {
                "BIO": "B" if word == first else "I",
                "IOB1": "B" if word == first and touches else "I",
                "BIOES": "S" if alone else "B" if word == first else "E" if last else "I",
                "BILOU": "U" if alone else "B" if word == first else "L" if last else "I",
            }[scheme]
            tags[word] = f"{prefix}-{kind}"
    return tags


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES", "BILOU"])
@settings(max_examples=100, deadline=None)
@given(given_entities=entities())
def test_every_scheme_becomes_the_same_bio(scheme: str, given_entities: tuple[int, list[Entity]]) -> None:
    words, found = given_entities
    tags = written(words, found, scheme)
    bio, count = read(tags)
    assert bio == written(words, found, "BIO")
    assert count.repaired == 0
    assert count.changed == sum(a != b for a, b in zip(tags, bio, strict=True))
    if scheme in ("BIOES", "BILOU") and count.prefixes & {*"ESLU"}:
        assert count.scheme == scheme
        theirs = Entities([tags], BILOU if scheme == "BILOU" else IOBES).entities[0]
        assert {(one.start, one.end, one.tag) for one in theirs} == {*found}
    if scheme == "IOB1" and count.unbegun:
        assert count.scheme == "IOB1"
    if scheme == "BIO":
        assert count.scheme == "BIO"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["O", *(f"{p}-{kind}" for p in "BIES" for kind in ("PER", "LOC"))]), max_size=12))
def test_any_tags_hold_the_entities_that_seqeval_sees(tags: list[str]) -> None:
    bio, count = read(tags)
    assert get_entities(bio) == get_entities(tags)
    before = "O"
    for tag in bio:  # valid
        assert tag[0] != "I" or before[2:] == tag[2:]
        before = tag
    assert read(bio)[0] == bio
    assert count.changed == sum(a != b for a, b in zip(tags, bio, strict=True))


def test_ends_without_beginnings_are_read_too() -> None:
    tags = ["I-PER", "E-PER", "I-PER", "E-PER", "O", "E-LOC"]
    bio, count = read(tags)
    assert bio == ["B-PER", "I-PER", "B-PER", "I-PER", "O", "B-LOC"]
    theirs = Entities([tags], IOE2).entities[0]
    assert [(one.start, one.end, one.tag) for one in theirs] == [(0, 2, "PER"), (2, 4, "PER"), (5, 6, "LOC")]
    assert count.repaired == 3


def test_bare_types() -> None:
    bio, count = read(["PER", "PER", "O", "LOC", "PER"])
    assert bio == ["B-PER", "I-PER", "O", "B-LOC", "B-PER"]
    assert (count.scheme, count.repaired) == ("IO", 0)


def test_broken_bio_is_bio_that_is_repaired() -> None:
    _, count = read(["B-PER", "O", "I-PER", "O", "B-LOC", "I-PER"])
    assert (count.scheme, count.repaired, count.changed) == ("BIO", 2, 2)


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("B-PER", ("B", "PER")),
        ("I-time-of-day", ("I", "time-of-day")),
        ("U-x", ("U", "x")),
        ("PER", ("", "PER")),
        ("X-PER", ("", "X-PER")),
        ("B-", ("", "B-")),
        ("b-PER", ("", "b-PER")),
    ],
)
def test_prefixes(tag: str, parts: tuple[str, str]) -> None:
    assert split_tag(tag) == parts


def test_types_and_labels() -> None:
    assert types_of([["O", "B-b", "I-b"], ["B-a-c"]]) == ["a-c", "b"]
    assert bio_labels(["a", "b"]) == ["O", "B-a", "I-a", "B-b", "I-b"]
