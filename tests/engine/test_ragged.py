"""Rows cut from flat arrays are the rows that went in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_magic.engine.ragged import Ragged, flat, lengths, one_a_row

PIECES = st.lists(st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=5), max_size=4)


def ragged(pieces: list[list[list[int]]], dtype: type | None = None) -> Ragged:
    made = []
    for rows in pieces:
        ends = np.cumsum([0, *map(len, rows)])
        made.append((np.array([value for row in rows for value in row], dtype=np.int32), ends))
    return Ragged(made, dtype)


@given(PIECES, st.sampled_from([None, np.int64]))
def test_rows_of_several_pieces(pieces: list[list[list[int]]], dtype: type | None) -> None:
    rows, expected = ragged(pieces, dtype), [row for piece in pieces for row in piece]
    assert [row.tolist() for row in rows] == expected
    assert [rows[i].tolist() for i in range(len(rows))] == expected
    assert [rows[i].tolist() for i in range(-len(rows), 0)] == expected
    assert [row.tolist() for row in rows[1:3]] == expected[1:3]
    assert rows.lengths().tolist() == lengths([np.array(row) for row in expected]).tolist() == list(map(len, expected))
    assert flat(rows).tolist() == [value for row in expected for value in row]
    assert {row.dtype for row in rows} <= {np.dtype(dtype or np.int32)}
    assert rows == [np.array(row) for row in expected]
    with pytest.raises(IndexError):
        rows[len(expected)]


def test_a_row_is_a_view() -> None:
    values = np.arange(6, dtype=np.int32)
    assert np.shares_memory(Ragged([(values, np.array([0, 2, 6]))])[1], values)


def test_rows_of_one_value() -> None:
    rows = one_a_row(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert [row.tolist() for row in rows] == [[[1.0, 2.0]], [[3.0, 4.0]]]
    assert rows != [np.array([[1.0, 2.0]])]
    assert flat([np.array([1]), np.array([2, 3])]).tolist() == [1, 2, 3]
