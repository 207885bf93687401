"""A table as a file of its own, and back: for a run that has to go on where the user's DataFrame is gone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.streams import long_array

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_KINDS = b"gpt_magic.columns"
_ATTRS = b"gpt_magic.attrs"
_INDEX = "index"
_ROWS = 65_536  # written at a time


def write_frame(frame: "pd.DataFrame", columns: Sequence[str], path: Path) -> None:
    """Write some columns of a table, with the names of its rows, as an Arrow file.

    Raises:
        TypeError: a cell holds what is neither text, number, list nor dict of such; the line names the column.
        OSError: the file cannot be written.
    """
    import pyarrow as pa

    named = {_INDEX: frame.index.to_series(), **{f"column.{name}": frame[name] for name in columns}}
    made = {name: _to_arrow(series, name.partition(".")[2] or "the index") for name, series in named.items()}
    kinds = {name: kind for name, (_, kind) in made.items()}
    attrs = {name: value for name, value in frame.attrs.items() if isinstance(name, str) and _is_plain(value)}
    table = pa.table({name: array for name, (array, _) in made.items()})
    kept = {_KINDS: json.dumps(kinds), _ATTRS: json.dumps(attrs), **(table.schema.metadata or {})}
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema.with_metadata(kept)) as writer:
        writer.write_table(table, max_chunksize=_ROWS)


def read_frame(path: Path) -> "pd.DataFrame":
    """What `write_frame` wrote; its texts stay in the file.

    Raises:
        OSError, ValueError, KeyError: the file is not there, damaged or another's.
    """
    import pandas as pd
    import pyarrow as pa

    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    kinds, attrs = (json.loads(table.schema.metadata[name]) for name in (_KINDS, _ATTRS))
    found = {name: _from_arrow(table.column(name), kind) for name, kind in kinds.items()}
    rows = found.pop(_INDEX)
    names: Any = pd.Index([tuple(row) if isinstance(row, list) else row for row in rows])
    data = {name.removeprefix("column."): pd.Series(values, copy=False) for name, values in found.items()}
    frame = pd.DataFrame(data, copy=False).set_axis(names)
    frame.attrs.update(attrs)
    return frame


def _to_arrow(series: "pd.Series[Any]", name: str) -> "tuple[pa.Array | pa.ChunkedArray, str]":
    """A column, and how it was made: as it lies in a file, as pandas' own numbers or categories, each cell as JSON."""
    import pandas as pd
    import pyarrow as pa

    if hasattr(series.array, "__arrow_array__") and isinstance(series.dtype, pd.ArrowDtype):
        return series.array.__arrow_array__(), "arrow"
    if pd.api.types.infer_dtype(series, skipna=True) == "string":
        return pa.array(series, pa.large_string(), from_pandas=True), "arrow"
    if series.dtype != object and isinstance(series.dtype, np.dtype | pd.CategoricalDtype | pd.DatetimeTZDtype):
        try:
            return pa.array(series, from_pandas=True), "pandas"
        except (pa.ArrowException, TypeError, ValueError):
            pass  # such as categories that are not all of one kind
    try:
        return pa.array([json.dumps(cell, default=_plain) for cell in series], pa.large_string()), "json"
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} holds what cannot be kept in a file ({error})") from None


def _from_arrow(column: "pa.ChunkedArray", kind: str) -> Any:
    import pandas as pd

    if kind == "arrow":
        return long_array(column)
    if kind == "json":
        return pd.Series([json.loads(cell) for cell in column.to_pylist()], dtype=object)
    return column.to_pandas()


def _plain(value: Any) -> Any:
    """What JSON does not know: numpy's numbers and arrays, and pandas' sign for what is missing."""
    import pandas as pd

    if value is pd.NA or value is pd.NaT:
        return None
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
