"""Tables too large for memory: Arrow files in a folder that is shown, capped, and cleaned by a call.

What is kept under a key is found again by later runs; what has none is gone with the last that reads it. Files are
written beside their name and moved there when they are whole, so a cut leaves no half entry, and two kernels that write
the same one leave one of two equal files.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_magic.errors import DataError

FOLDER = "GPT_MAGIC_CACHE"  # environment variable: the folder
CAP = "GPT_MAGIC_CACHE_GB"  # environment variable: what the entries may take; the longest unused go first
IN_MEMORY = 8 * 2**20  # bytes up to which a table stays in memory and leaves nothing on the disk
_CAP_GB = 20.0
_RESERVE = 2**28  # bytes that a disk keeps free
_ENDING = ".gpt_magic.arrow"  # of the entries: other files of the folder are the user's
_PART = ".part-"
_PART_SECONDS = 86_400.0  # then nobody is writing it any more
_FORMAT = b"1"  # of the entries; another number finds none of the old


@dataclass(frozen=True, repr=False)
class Cache:
    """The cache as it is now.

    Attributes:
        folder: where it is.
        entries: files in it.
        size: bytes that they take.
        cap: bytes that they may take before the longest unused are removed.
        runs: runs that are kept to be resumed, and those that are going on.
        runs_size: bytes that these take: their tables, weights and optimizers.
    """

    folder: Path
    entries: int
    size: int
    cap: int
    runs: int = 0
    runs_size: int = 0

    def clear(self) -> "Cache":
        """Remove all entries, and the runs that are not going on; returns the cache as it is then."""
        from gpt_magic import run_folders

        run_folders.clear()
        for path in entries(self.folder):
            _remove(path)
        _remove_parts(self.folder)
        return cache()

    def __repr__(self) -> str:
        said = f"{self.entries:,} table{'' if self.entries == 1 else 's'} of tokens, {said_bytes(self.size)}"
        said += f" of at most {said_bytes(self.cap)}"
        if self.runs:
            said += f"; {self.runs:,} run{'' if self.runs == 1 else 's'}, {said_bytes(self.runs_size)}"
        return f"<cache {self.folder}: {said}; .clear() empties it>"

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.cards import cache_html

        return cache_html(self)


@dataclass(frozen=True)
class Stored:
    """An Arrow table that was written or found.

    Attributes:
        table: a ``pyarrow.Table``; memory-mapped unless it is small.
        path: its file, None where it is in memory or nobody will find it again.
        size: bytes of the file.
        made: whether it was written just now.
    """

    table: Any
    path: Path | None = None
    size: int = 0
    made: bool = True


def cache() -> Cache:
    """What is kept of large data and of runs to resume, and where; ``gpt_magic.cache().clear()`` empties it."""
    from gpt_magic import run_folders

    where = folder()
    sizes = [size for size, _ in map(_size_and_use, entries(where))]
    return Cache(where, len(sizes), sum(sizes), cap(), *run_folders.sizes())


def folder() -> Path:
    """The folder, whether it is there or not."""
    import platformdirs

    given = os.environ.get(FOLDER)
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("gpt_magic", appauthor=False))


def entries(where: Path) -> list[Path]:
    """The files of the cache."""
    found = where.glob(f"*{_ENDING}") if where.is_dir() else ()
    return [path for path in found if not path.name.startswith(_PART)]


def fingerprint(*parts: str | bytes) -> str:
    """A name for what was made of ``parts``: the same for the same parts only."""
    digest = hashlib.blake2b(_FORMAT, digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def find(key: str) -> Stored | None:
    """What is kept under a key; a damaged file counts as none."""
    path = folder() / f"{key}{_ENDING}"
    try:
        table = _mapped(path)
        os.utime(path)  # used now: pruned last
    except (OSError, ValueError):  # pyarrow's errors are of these kinds
        return None
    return Stored(table, path, path.stat().st_size, made=False)


class Spool:
    """Takes record batches of one schema; a table of few bytes stays in memory, a larger one goes to the disk.

    Args:
        key: what to find it by later; None leaves nothing behind.
        need: bytes it will take, as far as one can say.
    """

    def __init__(self, key: str | None = None, need: int = 0) -> None:
        self._key, self._need = key, need
        self._kept: list[Any] = []
        self._size = 0
        self._part: str | None = None
        self._writer: Any = None

    @property
    def empty(self) -> bool:
        """Whether nothing was written."""
        return not self._kept and self._writer is None

    def write(self, batch: Any) -> None:
        """Add a ``pyarrow.RecordBatch`` or table.

        Raises:
            DataError: the disk is full, or the folder cannot be written.
        """
        with _one_line():
            self._size += batch.nbytes
            if self._writer is None and self._size > IN_MEMORY:
                self._open(batch.schema)
            if self._writer is None:
                self._kept.append(batch)
            else:
                self._writer.write(batch)

    def close(self) -> Stored:
        """The whole table.

        Raises:
            DataError: as `write`.
        """
        import pyarrow as pa

        if self._writer is None:
            tables = [pa.Table.from_batches([b]) if isinstance(b, pa.RecordBatch) else b for b in self._kept]
            return Stored(pa.concat_tables(tables))
        assert self._part is not None
        with _one_line():
            self._writer.close()
            if self._key is None:
                table = _mapped(Path(self._part))
                self.drop()  # the mapping keeps it alive, where the system lets an open file be removed
                return Stored(table)
            path = folder() / f"{self._key}{_ENDING}"
            try:
                Path(self._part).replace(path)
            except PermissionError:  # Windows: another kernel reads an equal file of this name
                self.drop()
            _prune(keep=path)
            return Stored(_mapped(path), path, path.stat().st_size)

    def drop(self) -> None:
        """Leave nothing of it on the disk."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # it writes the end of the table, which a full disk has no room for
                self._writer.close()
            self._writer = None  # an open file would keep its room
        if self._part is not None:
            _remove(Path(self._part))

    def _open(self, schema: Any) -> None:
        import pyarrow as pa

        where = _room(max(self._need, self._size))
        handle, self._part = tempfile.mkstemp(prefix=_PART, suffix=_ENDING, dir=where)
        os.close(handle)
        self._writer = pa.ipc.new_file(self._part, schema)
        for batch in self._kept:
            self._writer.write(batch)
        self._kept = []


def spool(batches: Iterable[Any], key: str | None = None, need: int = 0) -> Stored:
    """All of ``batches`` (one at least) as one table; see `Spool`. Whatever they raise leaves nothing on the disk."""
    made = Spool(key, need)
    try:
        for batch in batches:
            made.write(batch)
        return made.close()
    except BaseException:
        made.drop()
        raise


def lacks_room(need: int) -> str | None:
    """Why ``need`` bytes are too many for the cache: more than its cap or than its disk has free; None where they fit.

    Up to `IN_MEMORY` bytes no disk is needed.
    """
    if need <= IN_MEMORY:
        return None
    if need > cap():
        return f"{said_bytes(need)} are more than the cache may take, {said_bytes(cap())} ({CAP})"
    free = _free(folder())
    if free < need + _RESERVE:
        return f"{said_bytes(need)} do not fit on the disk of '{folder()}', which has {said_bytes(free)} free"
    return None


def said_bytes(size: int) -> str:
    """``12.3 MB``."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _mapped(path: Path) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _room(need: int) -> Path:
    """The folder, made where it is not there, with room for ``need`` bytes.

    Raises:
        DataError: there is less.
    """
    where = folder()
    where.mkdir(parents=True, exist_ok=True)
    _remove_parts(where)
    free = _free(where)
    if free < need + _RESERVE:
        raise DataError(
            f"the data need about {said_bytes(need)} in the cache folder '{where}', whose disk has {said_bytes(free)} "
            f"free: free some, or set the environment variable {FOLDER} to a folder on another disk"
        )
    return where


def _free(where: Path) -> int:
    """Bytes free on the disk of a folder, which need not be there yet."""
    there = next(path for path in (where, *where.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "its disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise DataError(
            f"the cache folder '{folder()}' cannot be written ({reason}): set the environment variable {FOLDER} to "
            "another folder"
        ) from error


def _prune(keep: Path) -> None:
    """Remove the longest unused entries beyond the cap."""
    found = [(*_size_and_use(path), path) for path in entries(keep.parent) if path != keep]
    left = sum(size for size, _, _ in found) + _size_and_use(keep)[0]
    for size, _, path in sorted(found, key=lambda one: one[1]):
        if left <= cap():
            return
        _remove(path)
        left -= size


def _remove_parts(where: Path) -> None:
    """What a killed kernel left half written."""
    for path in where.glob(f"{_PART}*{_ENDING}") if where.is_dir() else ():
        if time.time() - _size_and_use(path)[1] > _PART_SECONDS:
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone already, or open on Windows: it is removed another time
        path.unlink()


def _size_and_use(path: Path) -> tuple[int, float]:
    """Bytes of a file and when it was last used; another kernel may have removed it."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0.0
    return found.st_size, found.st_mtime


def cap() -> int:
    """Bytes that the cache may take."""
    given = os.environ.get(CAP, "")
    try:
        return int(float(given or _CAP_GB) * 1e9)
    except (ValueError, OverflowError):
        raise DataError(f"the environment variable {CAP} is {given!r}: give a number of gigabytes") from None
