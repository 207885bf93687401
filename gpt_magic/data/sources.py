"""Whatever a user has at hand to a pandas DataFrame."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gpt_magic.data.checks import NOT_UNICODE, is_unicode
from gpt_magic.data.conll import read_conll
from gpt_magic.errors import DataError, a_kind, listing, nearest

if TYPE_CHECKING:
    import pandas as pd


def read_table(data: Any, what: str = "data") -> "pd.DataFrame":
    """Turn ``data`` into a DataFrame whose columns are texts; the caller's object is never changed.

    Args:
        data: DataFrame, mapping of columns, list of dicts, list of texts (column ``text``), ``datasets.Dataset``,
            anything with ``to_pandas()`` (Arrow and Polars tables), or a path to CSV, TSV, JSONL, JSON, TXT (one
            text; all five also ``.gz``), Parquet or CoNLL.
        what: the option's name, for messages.

    Raises:
        DataError: it is none of these, cannot be read, or has no rows or no usable column names.
    """
    import pandas as pd

    if isinstance(data, str | Path):
        data = _read_file(data, what)
    if isinstance(data, pd.DataFrame):
        frame: Any = data
    elif isinstance(data, list | tuple):
        frame = _from_records(data, what)
    elif isinstance(data, Mapping):
        frame = _from_mapping(data, what)
    else:
        frame = _named(data.to_pandas(), data) if hasattr(data, "to_pandas") else data
    if not isinstance(frame, pd.DataFrame):
        if what == "valid" and isinstance(data, float):
            raise DataError(f"valid = {data} is no table; to set a share of the data aside say valid_fraction = {data}")
        raise DataError(
            f"{what} is {a_kind(data)}: give a DataFrame, a list of dicts or of texts, a datasets.Dataset, or the path "
            "of a CSV, TSV, JSONL, TXT or Parquet file"
        )
    return _checked(frame, what)


def is_file_name(text: str) -> bool:
    """Whether a text ends as the files do that `read_table` reads."""
    return _suffix(Path(text)) in _READERS


def describe(data: Any) -> str:
    """How the report names ``data``."""
    if isinstance(data, str | Path):
        return Path(data).name
    return f"a {type(data).__name__}"


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

    if columns and all(hasattr(part, "column_names") for part in columns.values()):
        raise DataError(f"{what} holds the splits {listing(columns)}: give one of them, such as {what}['train']")
    try:
        return pd.DataFrame(dict(columns))
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is a dict, but not of columns that make a table: {error}") from None


def _named(frame: Any, dataset: Any) -> Any:
    """The table of a ``datasets.Dataset`` with class names for the numbers of its ``ClassLabel`` columns and lists."""
    import pandas as pd

    for column, feature in (getattr(dataset, "features", None) or {}).items():
        names = getattr(feature, "names", None)
        if names and column in frame.columns:
            numbers = frame[column].fillna(-1).astype(int)  # -1 is datasets' own mark of a row without a label
            frame[column] = pd.Categorical.from_codes(numbers, names)
        of_each = getattr(getattr(feature, "feature", None), "names", None)
        if of_each and column in frame.columns:
            known = dict(enumerate(of_each))  # a number without a name is left for the reader to refuse
            frame[column] = [
                cell if cell is None else [known.get(n, n) for n in cell.tolist()] for cell in frame[column]
            ]
    return frame


def _read_file(name: str | Path, what: str) -> Any:
    """What a file holds: a DataFrame, or records or columns as JSON has them."""
    if "://" in str(name):
        raise DataError(f"{what} = '{name}' is a web address: read it into a DataFrame first, or download the file")
    path = Path(name).expanduser()
    if not is_file_name(path.name):
        raise DataError(
            f"{what} = '{path}' is not a file that gpt_magic reads ({', '.join(_READERS)}, and the first five as .gz); "
            "the name of a DataFrame has no quotes"
        )
    if not path.is_file():
        siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{what} = '{path}': no such file{nearest(path.name, siblings)}")
    try:
        return _READERS[_suffix(path)](path)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"{what} = '{path}' is not UTF-8 (byte {byte:#04x}): save it as UTF-8, or read it into a DataFrame with "
            "pandas and its encoding, such as encoding='latin-1'"
        ) from None
    except Exception as error:  # readers raise a dozen kinds; the user needs the file and the reason
        raise DataError(f"{what} = '{path}' cannot be read: {' '.join(str(error).split())}") from error


def _suffix(path: Path) -> str:
    name = Path(path.name.lower())
    return name.suffixes[-2] if name.suffixes[-1:] == [".gz"] and len(name.suffixes) > 1 else name.suffix


def _read_csv(separator: str) -> Callable[[Path], "pd.DataFrame"]:
    quotes = f"put texts with {separator!r} in quotes"

    def read(path: Path) -> "pd.DataFrame":
        import pandas as pd

        # Only an empty cell is missing: "NA" and "null" are texts, and Namibia's country code.
        # Read in one piece (low_memory), or a text of digits is a number where its whole piece is digits.
        try:
            frame = pd.read_csv(
                path, sep=separator, keep_default_na=False, na_values=[""], encoding="utf-8", low_memory=False
            )
        except pd.errors.ParserError as error:
            reason = str(error).rpartition("C error: ")[2].strip()
            raise ValueError(f"{reason}; {quotes}" if "fields" in reason else reason) from None
        if not isinstance(frame.index, pd.RangeIndex):
            # pandas takes surplus first fields for row names and moves every column: "a, b",x without its quotes.
            raise ValueError(f"rows have more fields than the first line; {quotes}")
        other = next((mark for mark in ";\t," if len(frame.columns) == 1 and mark in str(frame.columns[0])), None)
        if other is not None:
            raise ValueError(
                f"its first line has {other!r}, not {separator!r}: read it with pandas.read_csv(..., sep={other!r})"
            )
        return frame

    return read


def _read_jsonl(path: Path) -> list[Any]:
    with _open(path) as file:
        return [_parsed(line.strip(), number) for number, line in enumerate(file, start=1) if line.strip()]


def _read_json(path: Path) -> Any:
    with _open(path) as file:
        return _parsed(file.read())


def _read_text(path: Path) -> list[str]:
    with _open(path) as file:
        return [file.read()]


def _read_conll(path: Path) -> "pd.DataFrame":
    with _open(path) as file:
        return read_conll(file)


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_parquet(path)


def _open(path: Path) -> TextIO:
    encoding = "utf-8-sig"  # a byte order mark, as Windows writes it, is no part of the text
    return gzip.open(path, "rt", encoding=encoding) if path.suffix.lower() == ".gz" else path.open(encoding=encoding)


def _parsed(text: str, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {first_line + error.lineno - 1}, column {error.colno}"
        raise ValueError(f"{where} is not JSON ({error.msg})") from None


_READERS: dict[str, Callable[[Path], Any]] = {
    ".csv": _read_csv(","),
    ".tsv": _read_csv("\t"),
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    **dict.fromkeys((".conll", ".bio", ".iob"), _read_conll),
}
