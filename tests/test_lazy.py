"""Sequences that are read when asked for behave as the lists that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_magic import lazy
from gpt_magic.lazy import Lazy, mapped, named, pick, take

ITEMS = st.lists(st.integers(), min_size=1, max_size=30)


def lazily(items: list[int]) -> Lazy[int]:
    return Lazy(range(len(items)), lambda at: [items[i] for i in at])


@given(ITEMS, st.data())
def test_what_is_taken_is_what_a_list_gives(items: list[int], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy, "_PIECE", 3)
        whole = lazily(items)
        places = data.draw(st.lists(st.integers(0, len(items) - 1), max_size=20))
        some, picked = whole.take(np.array(places, dtype=np.int64)), [items[i] for i in places]
        again = data.draw(st.lists(st.integers(0, max(len(places) - 1, 0)), max_size=5)) if places else []
        start, stop = sorted(data.draw(st.tuples(st.integers(-9, 40), st.integers(-9, 40))))
        assert whole == items
        assert items == whole
        assert list(some) == picked
        assert some == picked
        assert list(some.take(np.array(again, dtype=np.int64))) == [picked[i] for i in again]
        assert list(whole.take(range(2, len(items)))) == items[2:]
        assert whole[start:stop] == items[start:stop]
        assert whole[::-1] == items[::-1]
        assert whole[-1] == items[-1]
        assert whole + some == [*items, *picked]
        assert list(mapped(lambda a, b: a - b, whole, items)) == [0] * len(items)
        assert list(mapped(str, some)) == list(map(str, picked))
        assert list(take(items, np.array(places, dtype=np.int64))) == picked


def test_it_differs_where_an_item_does() -> None:
    assert lazily([1, 2]) != [1, 3]
    assert lazily([1, 2]) != [1]
    assert lazily([1]) != "1"
    with pytest.raises(IndexError):
        lazily([1, 2])[2]


def test_only_what_is_asked_for_is_read() -> None:
    asked: list[list[int]] = []
    items = Lazy(range(10_000), lambda at: asked.append(list(at)) or list(at))  # type: ignore[func-returns-value]
    assert mapped(str, items)[7] == "7"
    assert asked == [[7]]
    assert repr(items) == "<10,000 items, read when asked for>"


def test_values_by_their_number() -> None:
    assert named(np.array([1, 0, 1]), ["a", "b"]) == ["b", "a", "b"]
    values = np.arange(6)
    assert pick(values, range(1, 5, 2)).tolist() == [1, 3]
    assert np.shares_memory(pick(values, range(2, 4)), values)
