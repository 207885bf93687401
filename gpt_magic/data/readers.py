"""One file to a table or to records, by how its name ends."""

import gzip
import json
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from gpt_magic.data.conll import read_conll
from gpt_magic.data.names import CONLL, suffix
from gpt_magic.data.streams import BIG, Say, csv_in_pieces, parquet_bytes, parquet_in_pieces, records_in_pieces
from gpt_magic.errors import DataError, plural

if TYPE_CHECKING:
    import pandas as pd

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how such files begin; Excel calls them Unicode text
_GZIP = 4  # times that a compressed text is longer than its file, about


class Lines(NamedTuple):
    """The lines of a file that are no rows of their own.

    Attributes:
        blank: with nothing in them.
        within: that go on with what a quote began in the line before.
    """

    blank: int = 0
    within: int = 0

    def __str__(self) -> str:
        said = [f"{plural(self.blank, 'blank line')} left out"] if self.blank else []
        said += [f"{plural(self.within, 'line break')} within quotes"] if self.within else []
        return ", ".join(said)


def read_file(path: Path, what: str, say: Say, texts: Collection[str] = ()) -> tuple[Any, Lines]:
    """What a file holds: a DataFrame, or records or columns as JSON has them; and its lines that are no rows.

    A large file is streamed, see `streams`; JSON and TXT cannot be.

    Args:
        texts: columns of a CSV or TSV file that hold texts, also where all of them look like numbers.

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
        return _READERS[suffix(path)](path, what, tell, texts)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        byte, likely = error.object[error.start], "utf-16" if error.object[:2] in _UTF_16 else "latin-1"
        raise DataError(
            f"{what} = '{path}' is not UTF-8 (byte {byte:#04x}): save it as UTF-8, or read it into a DataFrame with "
            f"pandas and its encoding, such as encoding='{likely}'"
        ) from None
    except Exception as error:  # readers raise a dozen kinds; the user needs the file and the reason
        if error in stops:
            raise
        raise DataError(f"{what} = '{path}' cannot be read: {' '.join(str(error).split())}") from error


def _is_big(path: Path) -> bool:
    size = parquet_bytes(path) if suffix(path) == ".parquet" else path.stat().st_size
    return size * (_GZIP if path.suffix.lower() == ".gz" else 1) > BIG


def _read_csv(separator: str) -> "Reader":
    quotes = f"put texts with {separator!r} in quotes"
    # Only an empty cell is missing: "NA" and "null" are texts, and Namibia's country code.
    # Read in one piece (low_memory), or a text of digits is a number where its whole piece is digits.
    options = {"sep": separator, "keep_default_na": False, "na_values": [""], "encoding": "utf-8", "low_memory": False}

    def read(path: Path, _: str, say: Say, texts: Collection[str]) -> tuple["pd.DataFrame", Lines]:
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
                frame = csv_in_pieces(path, options, say, set(texts))
            else:
                frame = pd.read_csv(path, dtype=dict.fromkeys(texts, str), **options)  # type: ignore[call-overload]
                check(frame)
            return frame, _other_csv_lines(path, options, frame)
        except pd.errors.ParserError as error:
            reason = str(error).rpartition("C error: ")[2].strip()
            raise ValueError(f"{reason}; {quotes}" if "fields" in reason else reason) from None

    return read


def _other_csv_lines(path: Path, options: dict[str, Any], frame: "pd.DataFrame") -> Lines:
    """Lines with nothing in them, which pandas passes over, and those that a quote goes over."""
    import pandas as pd

    lines = empty = 0
    with _open(path, newline="") as file:
        for line in file:
            lines += 1
            empty += not line.strip()
    blank = 0
    if empty:  # some may stand in a text of several lines: those do not count that pandas would else take for rows
        names = range(len(frame.columns))
        all_of = {"header": None, "names": names, "usecols": [0], "dtype": str, "skip_blank_lines": False}
        with pd.read_csv(path, chunksize=50_000, **{**options, **all_of}) as pieces:
            blank = sum(map(len, pieces)) - 1 - len(frame)
    return Lines(blank, lines - blank - 1 - len(frame))


def _read_jsonl(path: Path, what: str, say: Say, *_: Any) -> tuple[Any, Lines]:
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
    return found, Lines(blank)


def _read_json(path: Path, *given: Any) -> tuple[Any, Lines]:
    with _open(path) as file:
        text = file.read()
    try:
        return json.loads(text), Lines()
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # behind the first value: a row a line, under the other name
            return _read_jsonl(path, *given)
        raise _no_json(error) from None


def _read_text(path: Path, *_: Any) -> tuple[list[str], Lines]:
    with _open(path) as file:
        return [file.read()], Lines()


def _read_parquet(path: Path, _: str, say: Say, *__: Any) -> tuple["pd.DataFrame", Lines]:
    import pandas as pd

    return parquet_in_pieces(path, say) if _is_big(path) else pd.read_parquet(path), Lines()


def _read_conll(path: Path, what: str, say: Say, *_: Any) -> tuple["pd.DataFrame", Lines]:
    streamed = partial(records_in_pieces, what=what, name=path.name, say=say)
    with _open(path) as file:
        return read_conll(file, streamed if _is_big(path) else None), Lines()


def _open(path: Path, newline: str | None = None) -> TextIO:
    how: dict[str, Any] = {"encoding": "utf-8-sig", "newline": newline}  # Windows' byte order mark is no text
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", **how)  # type: ignore[no-any-return]
    return path.open(**how)  # type: ignore[no-any-return]


def _parsed(text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _no_json(error, line) from None


def _no_json(error: json.JSONDecodeError, first_line: int = 1) -> ValueError:
    return ValueError(f"line {first_line + error.lineno - 1}, column {error.colno} is not JSON ({error.msg})")


Reader = Callable[[Path, str, Say, Collection[str]], tuple[Any, Lines]]

_READERS: dict[str, Reader] = {
    ".csv": _read_csv(","),
    ".tsv": _read_csv("\t"),
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    **dict.fromkeys(CONLL, _read_conll),
}
