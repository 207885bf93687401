"""Tables larger than is good for memory: their texts go to a file, a piece at a time, and are read from there.

What comes back is a DataFrame like any other. Its columns of texts, and of lists such as conversations, lie in
memory-mapped Arrow files; numbers and truth values, 8 bytes a row, are in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.checks import NOT_UNICODE, is_unicode
from gpt_magic.errors import DataError, a_kind
from gpt_magic.store import Spool

if TYPE_CHECKING:
    import pandas as pd

Say = Callable[[str], None]

BIG = 32 * 2**20  # bytes of a table from which on it is streamed: read at once it takes some five times as much
_PIECE_BYTES = 4 * 2**20
_LOOK = 1000  # rows that tell how long rows are
_MOST_ROWS = 50_000  # of a piece


def csv_in_pieces(
    path: Path, options: Mapping[str, Any], say: Say, known: AbstractSet[str] = frozenset()
) -> "pd.DataFrame":
    """What ``pandas.read_csv`` makes of a file, texts out of memory.

    A column holds texts as soon as one cell of it is no number; what follows is read as written, as by the reader that
    sees all at once. Columns that stay numbers are read again, whole.

    Args:
        known: columns of texts, whatever is in them.
    """
    import pandas as pd

    head = pd.read_csv(path, nrows=_LOOK, **options)
    width = max(int(head.memory_usage(deep=True, index=False).sum()) // max(len(head), 1), 1)
    rows = min(max(_PIECE_BYTES // width, 1), _MOST_ROWS)
    found, texts = None, _texts_in(head, set(head.columns)) | known
    while texts and found is None:
        found, late = _csv_texts(path, texts, rows, options, say)
        texts |= late
    others = [place for place, name in enumerate(head.columns) if name not in texts]
    rest = pd.read_csv(path, usecols=others, **options) if others else None
    return _frame(found, rest, list(head.columns))


def _csv_texts(path: Path, texts: set[str], rows: int, options: Mapping[str, Any], say: Say) -> tuple[Any, set[str]]:
    """An Arrow table of the columns ``texts``; or None, and the columns that turned out to hold texts too."""
    import pandas as pd
    import pyarrow as pa

    spool = Spool(need=path.stat().st_size)
    try:
        with pd.read_csv(path, chunksize=rows, dtype=dict.fromkeys(texts, str), **options) as pieces:
            for piece in pieces:
                if late := _texts_in(piece, set(piece.columns) - texts):
                    spool.drop()
                    return None, late
                long = piece[[name for name in piece.columns if name in texts]]
                arrays = {name: pa.array(long[name], pa.large_string(), from_pandas=True) for name in long.columns}
                spool.write(pa.RecordBatch.from_pydict(arrays))
                say(f"reading {path.name}, {int(piece.index[-1]) + 1:,} rows")
        return spool.close().table, set()
    except BaseException:
        spool.drop()
        raise


def parquet_in_pieces(path: Path, say: Say) -> "pd.DataFrame":
    """What ``pandas.read_parquet`` makes of a file, texts and lists out of memory."""
    import pandas as pd
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        names = [name for name in schema.names if name not in index]
        apart = [name for name in names if _is_long(schema.field(name).type)]
        size = parquet_bytes(path)
        rows = max(min(_PIECE_BYTES * file.metadata.num_rows // max(size, 1), _MOST_ROWS), 1)
        pieces = file.iter_batches(batch_size=rows, columns=apart)
        table = _spooled(pieces, size, lambda done: say(f"reading {path.name}, {done:,} rows"))
    return _frame(table, pd.read_parquet(path, columns=[name for name in names if name not in apart]), names)


def parquet_bytes(path: Path) -> int:
    """Bytes of a Parquet file's columns as they will be in memory, about: values that repeat are written once there."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        written = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        first = next(file.iter_batches(batch_size=_LOOK), None)
        seen = int(first.nbytes) * int(file.metadata.num_rows) // len(first) if first else 0
        return max(int(written), seen)


def dataset_in_pieces(dataset: Any, say: Say) -> "pd.DataFrame":
    """What ``to_pandas`` makes of a ``datasets.Dataset``, texts and lists out of memory."""
    apart = [field.name for field in dataset.features.arrow_schema if _is_long(field.type)]
    long = dataset.select_columns(apart).with_format("arrow")
    rows = max(min(_PIECE_BYTES * len(dataset) // max(dataset.data.nbytes, 1), _MOST_ROWS), 1)
    pieces = (batch for table in long.iter(batch_size=rows) for batch in table.combine_chunks().to_batches())
    table = _spooled(pieces, dataset.data.nbytes, lambda done: say(f"reading the data, {done:,} rows"))
    others = [name for name in dataset.column_names if name not in apart]
    rest = dataset.select_columns(others).with_format(None).to_pandas() if others else None
    return _frame(table, rest, dataset.column_names)


def records_in_pieces(records: Iterable[Any], what: str, name: str, say: Say) -> "pd.DataFrame":
    """The table of dicts, or texts, that come one after the other; texts and lists out of memory.

    Args:
        what: the option's name, for messages.
        name: what is read, for the progress.

    Raises:
        DataError: a record is neither, or a text is no valid Unicode.
    """
    import pandas as pd

    rest = iter(records)
    columns: dict[str, _Column] = {}
    done, texts = 0, False
    try:
        while piece := list(islice(rest, _LOOK)):
            texts = isinstance(piece[0], str) if not done else texts
            _check_records(piece, done, texts, what)
            _add(columns, [{"text": text} for text in piece] if texts else piece, done, what)
            done += len(piece)
            say(f"reading {name}, {done:,} rows")
        found = {key: column.close() for key, column in columns.items()}
    except BaseException:
        for column in columns.values():
            column.spool.drop()
        raise
    values = {key: column for key, column in found.items() if isinstance(column, list)}
    if values:
        plain = pd.DataFrame.from_records(list(zip(*values.values(), strict=True)), columns=list(values))
        found |= {key: plain[key] for key in values}
    return pd.DataFrame(found, copy=False)


def _check_records(piece: Sequence[Any], before: int, texts: bool, what: str) -> None:
    for number, record in enumerate(piece, before):
        if not isinstance(record, str if texts else Mapping):
            row, bad = (0, "a str") if texts else (number, a_kind(record))
            raise DataError(
                f"{what}, row {row}, is {bad}: every row must be a dict such as {{'text': ..., 'label': ...}}"
            )


def _add(columns: "dict[str, _Column]", piece: Sequence[Mapping[str, Any]], before: int, what: str) -> None:
    """Put the next records into the columns, ``before`` rows after the first."""
    for key in dict.fromkeys(key for record in piece for key in record):
        if key not in columns:
            columns[key] = _Column(before)
    for key, column in columns.items():
        values = [record.get(key, _ABSENT) for record in piece]
        try:
            column.add(values)
        except UnicodeEncodeError:
            row = before + next((n for n, value in enumerate(values) if not _all_unicode(value)), 0)
            raise DataError(f"{what}, row {row}: the text in column {key!r} {NOT_UNICODE}") from None


def _all_unicode(value: Any) -> bool:
    """Whether all texts in it are valid Unicode, of lists and dicts too."""
    if isinstance(value, Mapping):
        return all(map(_all_unicode, [*value, *value.values()]))
    if isinstance(value, list | tuple):
        return all(map(_all_unicode, value))
    return not isinstance(value, str) or is_unicode(value)


_ABSENT = float("nan")  # as pandas fills what a record lacks


class _Column:
    """A column of records that come piece by piece: texts or lists in a file while all are alike, else as they are."""

    def __init__(self, before: int) -> None:
        self.spool = Spool()
        self._type: Any = None  # of what lies in the file
        self._values: list[Any] | None = [_ABSENT] * before  # not sorted out yet, or of no such type

    def add(self, values: list[Any]) -> None:
        known = [value for value in values if not _is_missing(value)]
        if self._values is not None and self._type is None and known:
            self._begin(known)
        if self._values is None:
            self._put(values)
        else:
            self._values += values

    def close(self) -> Any:
        if self._values is not None:
            return self._values
        return long_array(self.spool.close().table.column("values"))

    def _begin(self, known: list[Any]) -> None:
        """Settle what the column holds from its first values."""
        import pyarrow as pa

        if isinstance(known[0], str):
            self._type = pa.large_string()
        elif isinstance(known[0], list | dict):
            try:
                self._type = pa.array(known).type
            except (pa.ArrowException, OverflowError):
                self._type = pa.null()
        else:
            self._type = pa.null()
        if self._type != pa.null():
            before, self._values = self._values or [], None
            if before:
                self._put(before)

    def _put(self, values: list[Any]) -> None:
        import pyarrow as pa

        plain = [None if _is_missing(value) else value for value in values]
        try:
            array = pa.array(plain, self._type)
            if self._type == pa.large_string():
                same = all(value is None or isinstance(value, str) for value in plain)  # bytes would pass
            else:
                same = array.to_pylist() == plain  # dicts of other keys would pass
            if not same:
                raise pa.ArrowInvalid("changed")
        except (pa.ArrowException, OverflowError):
            self._give_up(values)
            return
        self.spool.write(pa.RecordBatch.from_pydict({"values": array}))

    def _give_up(self, values: list[Any]) -> None:
        """Values that are not alike: all of them in memory, as they are."""
        before = self.spool.close().table.column("values").to_pylist() if self._written else []
        self.spool = Spool()
        self._values = before + values

    @property
    def _written(self) -> bool:
        return not self.spool.empty


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _texts_in(frame: "pd.DataFrame", columns: set[str]) -> set[str]:
    import pandas as pd

    return {name for name in columns if pd.api.types.infer_dtype(frame[name], skipna=True) == "string"}


def _is_long(kind: Any) -> bool:
    """Whether values of an Arrow type are kept out of memory."""
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_list, pa.types.is_large_list, pa.types.is_struct)
    return any(test(kind) for test in tests)


def _spooled(pieces: Iterator[Any], need: int, done: Callable[[int], None]) -> Any:
    """An Arrow table of record batches, texts with offsets of eight bytes as pandas wants them; None without any."""
    import pyarrow as pa

    spool, rows = Spool(need=need), 0
    try:
        for piece in pieces:
            texts = [pa.large_string() if pa.types.is_string(kind) else kind for kind in piece.schema.types]
            schema = pa.schema([pa.field(*pair) for pair in zip(piece.schema.names, texts, strict=True)])
            spool.write(piece.cast(schema))
            rows += len(piece)
            done(rows)
        return None if spool.empty else spool.close().table
    except BaseException:
        spool.drop()
        raise


def _frame(table: Any, rest: "pd.DataFrame | None", names: Sequence[str]) -> "pd.DataFrame":
    """A DataFrame of the columns ``names``, those of ``table`` where they are and the others from ``rest``."""
    import pandas as pd

    found = {}
    for name in names:
        if rest is not None and name in rest.columns:
            found[name] = rest[name]
        else:
            array = long_array(table.column(name))
            found[name] = pd.Series(array, None if rest is None else rest.index, copy=False)
    return pd.DataFrame(found, copy=False)


def long_array(column: Any) -> Any:
    """A pandas array over an Arrow column, not a byte of it copied."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_large_string(column.type):
        text: Any = pd.StringDtype("pyarrow", na_value=np.nan)
        return text.__from_arrow__(column)
    return pd.arrays.ArrowExtensionArray(column)
