"""One file to a table or to records, by how its name ends."""

import gzip
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gpt_magic.data.conll import read_conll
from gpt_magic.data.names import CONLL, suffix
from gpt_magic.data.streams import BIG, Say, csv_in_pieces, parquet_bytes, parquet_in_pieces, records_in_pieces
from gpt_magic.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_GZIP = 4  # times that a compressed text is longer than its file, about


def read_file(path: Path, what: str, say: Say) -> tuple[Any, int]:
    """What a file holds: a DataFrame, or records or columns as JSON has them; and its blank lines, which are no rows.

    A large file is streamed, see `streams`; JSON and TXT cannot be.

    Raises:
        DataError: it is not UTF-8, or not what its name says.
    """
    stops: list[Exception] = []

    def tell(done: str) -> None:
        try:
            say(done)
        except Exception as stop:
            stops.append(stop)
            raise

    try:
        return _READERS[suffix(path)](path, what, tell)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"{what} = '{path}' is not UTF-8 (byte {byte:#04x}): save it as UTF-8, or read it into a DataFrame with "
            "pandas and its encoding, such as encoding='latin-1'"
        ) from None
    except Exception as error:  # readers raise a dozen kinds; the user needs the file and the reason
        if error in stops:
            raise
        raise DataError(f"{what} = '{path}' cannot be read: {' '.join(str(error).split())}") from error


def _is_big(path: Path) -> bool:
    size = parquet_bytes(path) if suffix(path) == ".parquet" else path.stat().st_size
    return size * (_GZIP if path.suffix.lower() == ".gz" else 1) > BIG


def _read_csv(separator: str) -> Callable[[Path, str, Say], tuple["pd.DataFrame", int]]:
    quotes = f"put texts with {separator!r} in quotes"
    # Only an empty cell is missing: "NA" and "null" are texts, and Namibia's country code.
    # Read in one piece (low_memory), or a text of digits is a number where its whole piece is digits.
    options = {"sep": separator, "keep_default_na": False, "na_values": [""], "encoding": "utf-8", "low_memory": False}

    def read(path: Path, _: str, say: Say) -> tuple["pd.DataFrame", int]:
        import pandas as pd

        def check(frame: "pd.DataFrame") -> None:
            if not isinstance(frame.index, pd.RangeIndex):
                # pandas takes surplus first fields for row names and moves every column: "a, b",x without its quotes.
                raise ValueError(f"rows have more fields than the first line; {quotes}")
            other = next((mark for mark in ";\t," if len(frame.columns) == 1 and mark in str(frame.columns[0])), None)
            if other is not None:
                raise ValueError(
                    f"its first line has {other!r}, not {separator!r}: read it with pandas.read_csv(..., sep={other!r})"
                )

        try:
            if _is_big(path):
                check(pd.read_csv(path, nrows=2, **options))  # type: ignore[call-overload]
                frame = csv_in_pieces(path, options, say)
            else:
                frame = pd.read_csv(path, **options)  # type: ignore[call-overload]
                check(frame)
            return frame, _blank_csv_lines(path, options, frame)
        except pd.errors.ParserError as error:
            reason = str(error).rpartition("C error: ")[2].strip()
            raise ValueError(f"{reason}; {quotes}" if "fields" in reason else reason) from None

    return read


def _blank_csv_lines(path: Path, options: dict[str, Any], frame: "pd.DataFrame") -> int:
    """Lines with nothing in them, which pandas passes over: those that it would else take for rows."""
    import pandas as pd

    with _open(path, newline="") as file:
        if not any(not line.strip() for line in file):
            return 0  # nor in a text of several lines
    names = range(len(frame.columns))
    lines = {"header": None, "names": names, "usecols": [0], "dtype": str, "skip_blank_lines": False}
    with pd.read_csv(path, chunksize=50_000, **{**options, **lines}) as pieces:
        return sum(map(len, pieces)) - 1 - len(frame)


def _read_jsonl(path: Path, what: str, say: Say) -> tuple[Any, int]:
    blank = 0

    def parsed() -> Iterator[Any]:
        nonlocal blank
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parsed(line.strip(), number)
                else:
                    blank += 1

    found = records_in_pieces(parsed(), what, path.name, say) if _is_big(path) else list(parsed())
    return found, blank


def _read_json(path: Path, *_: Any) -> tuple[Any, int]:
    with _open(path) as file:
        return _parsed(file.read()), 0


def _read_text(path: Path, *_: Any) -> tuple[list[str], int]:
    with _open(path) as file:
        return [file.read()], 0


def _read_parquet(path: Path, _: str, say: Say) -> tuple["pd.DataFrame", int]:
    import pandas as pd

    return parquet_in_pieces(path, say) if _is_big(path) else pd.read_parquet(path), 0


def _read_conll(path: Path, what: str, say: Say) -> tuple["pd.DataFrame", int]:
    streamed = partial(records_in_pieces, what=what, name=path.name, say=say)
    with _open(path) as file:
        return read_conll(file, streamed if _is_big(path) else None), 0


def _open(path: Path, newline: str | None = None) -> TextIO:
    how: dict[str, Any] = {"encoding": "utf-8-sig", "newline": newline}  # Windows' byte order mark is no text
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", **how)  # type: ignore[no-any-return]
    return path.open(**how)  # type: ignore[no-any-return]


def _parsed(text: str, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {first_line + error.lineno - 1}, column {error.colno}"
        raise ValueError(f"{where} is not JSON ({error.msg})") from None


_READERS: dict[str, Callable[[Path, str, Say], tuple[Any, int]]] = {
    ".csv": _read_csv(","),
    ".tsv": _read_csv("\t"),
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    **dict.fromkeys(CONLL, _read_conll),
}
