import pandas as pd
import pytest

from benchmarks.sets import MAX_CHARACTERS, LabelledSet, cut, frame, section_rows, tag_rows

PACKAGES = """\
Package: nethack
Version: 3.6
Section: games
Description: a dungeon
Description-md5: aa

Package: nethack-gtk
Source: nethack (3.6-1)
Section: x11
Description-md5: bb

Package: libfoo
Section: libs
Description-md5: cc

Package: undescribed
Section: games
"""
DESCRIPTIONS = """\
Package: nethack
Description-md5: aa
Description-en: dungeon crawl game
 You walk around.
 .
 You die.

Package: nethack-gtk
Description-md5: bb
Description-en: crawl

Package: libfoo
Description-md5: cc
Description-en: a library of some kind
"""


@pytest.mark.parametrize("text", ["word " * 100, "x" * 600, "one  two\n three", "y" * MAX_CHARACTERS + " z"])
def test_cut(text):
    short = cut(text)
    assert len(short) <= MAX_CHARACTERS
    assert " ".join(text.split()).startswith(short)
    assert set(short.split()) <= set(text.split()) or " " not in short


def test_frame_drops_repeats_and_contradictions():
    rows = [("a  b", "x"), ("a b", "x"), ("c", "x"), ("c", "y"), ("d", "y")]
    assert set(frame(rows).itertuples(index=False, name=None)) == {("a b", "x"), ("d", "y")}


def test_sections_keep_one_description_a_source():
    rows = [(" ".join(text.split()), section) for text, section in section_rows(PACKAGES, DESCRIPTIONS)]
    assert rows == [("dungeon crawl game. You walk around. You die.", "games")]


def test_draw_keeps_the_shares_and_follows_the_seed():
    train = pd.DataFrame({"text": [str(i) for i in range(40)], "label": ["a", "a", "a", "b"] * 10})
    data = LabelledSet("toy", "", "", "", train, train[:4])
    first, again, other = (data.draw("20", seed) for seed in (0, 0, 1))
    assert first["label"].value_counts().to_dict() == {"a": 15, "b": 5}
    assert first.equals(again)
    assert not first.equals(other)
    assert data.draw("all", 1) is train


def test_tags_of_the_kinds_that_are_asked_for_are_the_labels() -> None:
    packages = """\
Package: player
Tag: role::program, use::{playing,viewing}, works-with::audio,
 works-with::video
Description-md5: aa

Package: plain
Tag: role::program
Description-md5: bb

Package: other
Tag: use::TODO
Description-md5: cc
"""
    descriptions = "\n\n".join(
        f"Package: p\nDescription-md5: {key}\nDescription-en: {key} tool\n It does." for key in ("aa", "bb", "cc")
    )
    found = [(text.split()[0], label) for text, label in tag_rows(packages, descriptions)]
    assert found == [("aa", "audio playing viewing"), ("cc", "")]
