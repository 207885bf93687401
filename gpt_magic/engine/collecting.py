"""Rows of tokens as they are made to flat arrays: in memory while they are few, else in a memory-mapped Arrow file."""

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic import store
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.ragged import from_lists, to_lists
from gpt_magic.lazy import Lazy

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1024  # a record batch, the piece in which rows are written; some 8 MB where each is as long as GPT-2 reads
_NOTE = "note."
_NAME = "row"

TokenRow = tuple[np.ndarray, np.ndarray, np.ndarray, Any]


def collect(
    rows: Iterable[TokenRow],
    key: str | None = None,
    *,
    dtype: type | None = None,
    notes: Mapping[str, "array[int]"] | None = None,
    need: int = 0,
) -> Encoded:
    """Rows as they come: token ids, scored positions, what is expected there, the row's name; see `Encoded`.

    Few rows stay in memory; many go, a piece at a time, to a file of the cache and are read from there, the names of
    the rows as texts. What is expected is handed out as it came, whole numbers as int64.

    Args:
        rows: what makes them; not asked for anything when ``key`` is known.
        key: names all that decides the rows (`store.fingerprint`), so that later runs find them; None keeps nothing.
        dtype: what ``targets`` are stored as, where that is narrower.
        notes: numbers beside the rows, by name; ``rows`` adds to them as it goes, they end up in `Encoded.notes`.
        need: bytes that it will take, as far as one can say; asked of the disk before anything is written.

    Raises:
        DataError: the disk is full or cannot be written; and whatever ``rows`` raises. Nothing half made is kept.
    """
    counts = notes or {}
    found = store.find(key) if key else None
    if found is not None:
        return _encoded(found, counts, None)
    names: list[Any] = []
    batches = _batches(rows, dtype, counts, names)
    first = next(batches, None)
    if first is None:
        noted = {name: np.array(numbers, dtype=np.int64) for name, numbers in counts.items()}
        return Encoded([], [], [], [], noted)
    stored = store.spool(chain([first], batches), key, need)
    return _encoded(stored, counts, names if len(names) == len(stored.table) else None)


def _batches(
    rows: Iterable[TokenRow],
    dtype: type | None,
    notes: Mapping[str, "array[int]"],
    names: list[Any],
) -> Iterator["pa.RecordBatch"]:
    """Record batches of the rows; ``names`` keeps the names as they are while all is small enough for memory."""
    piece: list[TokenRow] = []
    number, size = 0, 0
    for row in rows:
        if len(piece) == _ROWS:
            batch = _batch(piece, dtype, notes)
            number, size = number + len(piece), size + batch.nbytes
            if size <= store.IN_MEMORY:
                names.extend(name for *_, name in piece)
            else:
                names.clear()
            yield batch
            piece = []
        piece.append(row)
    if piece:  # held back to the end, so that no note comes after the last batch
        batch = _batch(piece, dtype, notes)
        if len(names) == number:
            names.extend(name for *_, name in piece)
        yield batch


def _batch(piece: Sequence[TokenRow], dtype: type | None, notes: Mapping[str, "array[int]"]) -> "pa.RecordBatch":
    import pyarrow as pa

    ids, scored, targets, names = zip(*piece, strict=True)
    shape = targets[0].shape[1:]
    columns = {
        "ids": to_lists(ids, np.int32),
        "scored": to_lists(scored, np.int32),
        "targets": to_lists(targets, dtype or targets[0].dtype),
        _NAME: pa.array([str(name).encode(errors="replace").decode() for name in names], pa.large_string()),
    }
    for name, numbers in notes.items():  # all of them in the list of the first row
        values = pa.array(np.array(numbers, dtype=np.int64))
        ends = np.full(len(piece) + 1, len(numbers), dtype=np.int64)
        ends[0] = 0
        columns[_NOTE + name] = pa.LargeListArray.from_arrays(pa.array(ends), values)
        del numbers[:]
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    schema = pa.schema(fields, metadata={"shape": json.dumps(shape)})
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def _encoded(stored: store.Stored, notes: Iterable[str], names: list[Any] | None) -> Encoded:
    """The rows of a table; ``names`` are those of the rows where they were kept as they came."""
    table = stored.table
    shape = tuple(json.loads(table.schema.metadata[b"shape"]))
    whole = np.issubdtype(table.schema.field("targets").type.value_type.to_pandas_dtype(), np.integer)
    return Encoded(
        ids=from_lists(table.column("ids")),
        scored=from_lists(table.column("scored"), dtype=np.int64),
        targets=from_lists(table.column("targets"), shape, np.int64 if whole else None),
        index=names if names is not None else _texts(table.column(_NAME)),
        notes={name: from_lists(table.column(_NOTE + name)).flat() for name in notes},
        stored=stored,
    )


def _texts(column: Any) -> Sequence[str]:
    def read(at: range | np.ndarray) -> list[str]:
        picked: list[str] = column.take(np.asarray(at)).to_pylist() if len(at) < len(column) else column.to_pylist()
        return picked

    return Lazy(range(len(column)), read)
