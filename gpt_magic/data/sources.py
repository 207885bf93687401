"""Whatever a user has at hand to a pandas DataFrame."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_magic.data.checks import NOT_UNICODE, is_unicode
from gpt_magic.data.conll import LEFT_OUT
from gpt_magic.data.hub import choose_split, load_from_hub
from gpt_magic.data.names import endings, is_file_name, is_hub_id, suffix
from gpt_magic.data.readers import Lines, read_file
from gpt_magic.data.squad import is_squad, squad_table
from gpt_magic.data.streams import BIG, Say, dataset_in_pieces, records_in_pieces
from gpt_magic.errors import DataError, a_kind, listing, nearest, plural, short

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_NAME = 255  # bytes that a file system takes
NOTE = "gpt_magic"  # in a table's attrs: what was read where the data's name does not say it


def _quietly(_: str) -> None:
    pass


def read_table(data: Any, what: str = "data", say: Say = _quietly, split: str | None = None) -> "pd.DataFrame":
    """Turn ``data`` into a DataFrame whose columns are texts; the caller's object is never changed.

    What is large is streamed: its texts lie in a file of the cache and not in memory, see `streams`.

    Args:
        data: DataFrame, mapping of columns, list of dicts, list of texts (column ``text``), ``datasets.Dataset``,
            ``IterableDataset`` or ``DatasetDict``, anything with ``to_pandas()`` (Arrow and Polars tables), the path of
            a CSV, TSV, JSONL, JSON, TXT (one text; all five also ``.gz``), Parquet or CoNLL file, a pattern such as
            ``data/*.csv`` (several files, one table), a folder (its .txt files, one row each), or a data set of the hub
            (``imdb``, ``imdb:test``). SQuAD's JSON becomes a table with a row a question.
        what: the option's name, for messages.
        say: told how far a long reading is; may raise to end it.
        split: which split of a ``DatasetDict`` or of a data set of the hub.

    Raises:
        DataError: it is none of these, cannot be read, or has no rows or no usable column names.
    """
    import pandas as pd

    note = ""
    if isinstance(data, str | Path):
        data, note = _read_path(data, what, say, split)
    elif _has_splits(data):
        data, note = choose_split(data, split, what, a_kind(data))
    elif split is not None:
        raise DataError(f"split = {split!r}: {what} is {a_kind(data)}, which has no splits")
    frame = _frame(data, what, say)
    if not isinstance(frame, pd.DataFrame):
        if what == "valid" and isinstance(data, float):
            raise DataError(f"valid = {data} is no table; to set a share of the data aside say valid_fraction = {data}")
        raise DataError(
            f"{what} is {a_kind(data)}: give a DataFrame, a list of dicts or of texts, a datasets.Dataset, or the path "
            "of a CSV, TSV, JSONL, TXT or Parquet file"
        )
    frame = _checked(frame, what)
    if note:
        frame.attrs[NOTE] = note
    return frame


def describe(data: Any) -> str:
    """How the report names ``data``."""
    if isinstance(data, str | Path):
        return Path(data).name if _exists(Path(data)) or is_file_name(str(data)) else str(data)
    return a_kind(data)


def _frame(data: Any, what: str, say: Say) -> Any:
    """A DataFrame of what is in memory or streams; anything else as it is."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, list | tuple):
        return _from_records(data, what)
    if isinstance(data, Mapping):
        return squad_table(data, what) if is_squad(data) else _from_mapping(data, what)
    kind = type(data).__name__
    if kind == "IterableDataset" and hasattr(data, "with_format"):
        return _named(records_in_pieces(data, what, what, say), data)
    if kind == "Dataset" and getattr(getattr(data, "data", None), "nbytes", 0) > BIG:
        return _named(dataset_in_pieces(data, say), data)
    return _named(data.to_pandas(), data) if hasattr(data, "to_pandas") else data


def _has_splits(data: Any) -> bool:
    """Whether it is a ``DatasetDict``, or a dict of data sets."""
    parts = list(data.values()) if isinstance(data, Mapping) else []
    return bool(parts) and all(hasattr(part, "column_names") for part in parts)


def _read_path(name: str | Path, what: str, say: Say, split: str | None) -> tuple[Any, str]:
    """What a path, a pattern, a folder or a name of the hub holds, and what of it was read, in words."""
    path = Path(name).expanduser()
    known = _exists(path)
    if not known or not str(name).strip():  # Path("") is the folder here
        _check_name(str(name), what)
    if not known and isinstance(name, str) and is_hub_id(name):
        return load_from_hub(name, what, split, say)
    if split is not None:
        raise DataError(f"split = {split!r}: {what} = '{name}' is a file, which has no splits")
    if path.is_dir() and not is_file_name(path.name):
        files = sorted(file for file in path.rglob("*") if suffix(file) == ".txt" and _is_shown(file, path))
        if not files:
            raise DataError(f"{what} = '{name}': the folder has no .txt files; for tables write '{name}/*.csv'")
        return _one_table(files, path, what, say)
    if not known and glob.has_magic(str(path)):
        return _one_table(_matching(path, what), Path(glob.escape(str(path))).parent, what, say)
    if not is_file_name(path.name):
        raise DataError(
            f"{what} = '{path}' is not a file that gpt_magic reads ({endings()}); the name of a DataFrame has no quotes"
        )
    if path.is_dir():
        raise DataError(f"{what} = '{path}' is a folder: write '{path}/*{suffix(path)}'")
    if not path.is_file():
        siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{what} = '{path}': no such file{nearest(path.name, siblings)}")
    found, others = read_file(path, what, say)
    return found, f"{path.name}, {others}" if any(others) else ""


def _check_name(name: str, what: str) -> None:
    """Raise `DataError` when a text names nothing that could be a file, a folder or a data set."""
    if "://" in name:
        raise DataError(f"{what} = '{name}' is a web address: read it into a DataFrame first, or download the file")
    if not name.strip():
        raise DataError(f"{what} = {name!r} names nothing: give the path of a file, or a DataFrame without quotes")
    if "\n" in name or len(os.fsencode(Path(name).name)) > _LONGEST_NAME:
        raise DataError(
            f"{what} = {short(name)} is a text, not the name of a file: texts to learn from stand in a list, "
            f"{what} = [text]"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no name of a file can be so long
        return False


def _is_shown(file: Path, folder: Path) -> bool:
    """Whether it is a file and not hidden, as JupyterLab's copies in .ipynb_checkpoints are."""
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _matching(pattern: Path, what: str) -> list[Path]:
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207  # an absolute pattern is none to Path.glob
    files = sorted(path for path in map(Path, names) if path.is_file())
    if not files:
        raise DataError(f"{what} = '{pattern}': no file is named so")
    others = [file.name for file in files if not is_file_name(file.name)]
    if others:
        raise DataError(
            f"{what} = '{pattern}' also stands for {listing(others)}, which gpt_magic does not read: say which, "
            f"such as '{pattern.parent / '*.csv'}'"
        )
    return files


def _one_table(files: list[Path], folder: Path, what: str, say: Say) -> tuple["pd.DataFrame", str]:
    """The rows of several files, one after the other; a row is named by its file and its number there."""
    import pandas as pd

    names = [file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix() for file in files]
    note = f"{plural(len(files), 'file')}: {listing(names, 4)}"
    if all(suffix(file) == ".txt" for file in files):
        texts = ({"text": read_file(file, what, say)[0][0]} for file in files)
        frame = records_in_pieces(texts, what, f"{len(files):,} files", say)
        return frame.set_axis(pd.Index(names)), note
    parts, others = [], Lines()
    for file, name in zip(files, names, strict=True):
        found, more = read_file(file, what, say)
        parts.append(_checked(_frame(found, f"{what}, file {name}", say), f"{what}, file {name}"))
        others = Lines(*map(sum, zip(others, more, strict=True)))
        if set(parts[0].columns) != set(parts[-1].columns):
            raise DataError(
                f"{what}: {name} has the columns {listing(map(repr, parts[-1].columns), 12)}, but {names[0]} has "
                f"{listing(map(repr, parts[0].columns), 12)}: files of one table have the same columns"
            )
    note += f"; {others}" if any(others) else ""
    for place, columns in _texts_elsewhere(files, parts):
        parts[place] = _checked(read_file(files[place], what, say, columns)[0], what)
    whole = pd.concat(parts, keys=names)
    left_out = sum((Counter(part.attrs.get(LEFT_OUT)) for part in parts), Counter[str]())
    if left_out:
        whole.attrs[LEFT_OUT] = dict(left_out)
    return whole, note


def _texts_elsewhere(files: Sequence[Path], parts: "Sequence[pd.DataFrame]") -> "Iterator[tuple[int, list[str]]]":
    """The CSV and TSV files of which a column looks like numbers that are texts in others, and those columns.

    In one file with the others it would be read as texts: 007 and True as they are written.
    """
    found = [{name for name in part.columns if _holds_texts(part[name])} for part in parts]
    for place, (file, part) in enumerate(zip(files, parts, strict=True)):
        other = [name for name in set().union(*found) - found[place] if part[name].notna().any()]
        if other and suffix(file) in (".csv", ".tsv"):
            yield place, other


def _holds_texts(column: "pd.Series[Any]") -> bool:
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype):
        return True  # also in a file, of which nothing is read here
    return column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "string"


def _checked(frame: "pd.DataFrame", what: str) -> "pd.DataFrame":
    if frame.columns.nlevels > 1:
        raise DataError(f"{what} has columns of {frame.columns.nlevels} levels: flatten them to plain names first")
    if len(frame) == 0 or len(frame.columns) == 0:
        raise DataError(f"{what} has no {'rows' if len(frame) == 0 else 'columns'}")
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"{what} has two columns named {twice[0]!r}: rename one")
    return frame


def _from_records(records: "list[Any] | tuple[Any, ...]", what: str) -> "pd.DataFrame":
    import pandas as pd

    if records and all(isinstance(record, str) for record in records):
        return pd.DataFrame({"text": pd.Series(list(records), dtype=object)})
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise DataError(
                f"{what}, row {row}, is {a_kind(record)}: every row must be a dict such as "
                "{'text': ..., 'label': ...}"
            )
    try:
        return pd.DataFrame.from_records([dict(record) for record in records])
    except UnicodeEncodeError:
        bad = [
            (row, key)
            for row, record in enumerate(records)
            for key, value in record.items()
            if isinstance(value, str) and not is_unicode(value)
        ]
        raise DataError(f"{what}, row {bad[0][0]}: the text in column {bad[0][1]!r} {NOT_UNICODE}") from None


def _from_mapping(columns: Mapping[Any, Any], what: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.DataFrame(dict(columns))
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is a dict, but not of columns that make a table: {error}") from None


def _named(frame: Any, dataset: Any) -> Any:
    """The table of a ``datasets.Dataset`` with class names for the numbers of its ``ClassLabel`` columns."""
    import pandas as pd

    for column, feature in (getattr(dataset, "features", None) or {}).items():
        names = getattr(feature, "names", None)
        if names and column in frame.columns:
            numbers = frame[column].fillna(-1).astype(int)  # -1 is datasets' own mark of a row without a label
            frame[column] = pd.Categorical.from_codes(numbers, names)
        of_each = getattr(getattr(feature, "feature", None), "names", None)
        if of_each and column in frame.columns:
            frame[column] = _names_in_lists(frame[column], of_each)
    return frame


def _names_in_lists(column: "pd.Series[Any]", names: Sequence[str]) -> Any:
    """Lists of class numbers as lists of names; a number without a name is left for the reader to refuse."""
    named = _names_in_file(column, names)
    if named is not None:
        return named
    known = dict(enumerate(names))
    cells = (cell.tolist() if hasattr(cell, "tolist") else cell for cell in column)
    return [[known.get(n, n) for n in cell] if isinstance(cell, list) else None for cell in cells]


def _names_in_file(column: "pd.Series[Any]", names: Sequence[str]) -> "pd.Series[Any] | None":
    """Names over the numbers of lists that lie in a file, none of them copied; None for what is not so."""
    import pandas as pd
    import pyarrow as pa

    if not isinstance(column.array, pd.arrays.ArrowExtensionArray):
        return None
    pieces = []
    for chunk in column.array.__arrow_array__().chunks:
        mask = chunk.is_null() if chunk.null_count else None
        try:
            values = pa.DictionaryArray.from_arrays(chunk.values, pa.array(names))
            pieces.append(type(chunk).from_arrays(chunk.offsets, values, mask=mask))
        except pa.ArrowException:  # a number without a name
            return None
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array(pieces)), column.index, copy=False)
