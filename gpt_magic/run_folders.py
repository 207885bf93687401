"""Runs that may have to go on later: a folder each in the cache, shown, locked while the run lives, gone when it ended.

A folder holds the run's options, its table where that was an object in memory, its base where that was one, and a
checkpoint. Nothing here needs torch, so that names can be completed at once.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gpt_magic import store
from gpt_magic.errors import DataError, ModelError, listing, nearest
from gpt_magic.models.find import shipped

CHECKPOINT = "checkpoint.pt"
DATA_ENDING = ".arrow"
BASE = "base"
_NOTE = "run.json"
_LOCK = "lock"
_FORMAT = 1
_DAYS = 30  # then a run that nobody took up again is removed
_SECONDS = 5.0  # that another kernel's look at a folder may take


@dataclass(frozen=True)
class Resumable:
    """A run that was cut and can go on.

    Attributes:
        name: what to call it by: ``%finetune --resume NAME``.
        title: ``classify · nano · reviews``.
        step, steps: optimizer steps made and planned; 0 were planned while the end is open.
        when: of its last checkpoint.
        size: bytes that its folder takes.
    """

    name: str
    title: str
    step: int
    steps: int
    when: datetime
    size: int


class Place:
    """The folder of one run, held by this process until `release`.

    Args:
        path: an existing folder.

    Raises:
        DataError: another kernel holds it.
    """

    def __init__(self, path: Path) -> None:
        from filelock import FileLock, Timeout

        self.path = path
        self._lock = FileLock(path / _LOCK, thread_local=False)  # taken by one thread, let go by another
        try:
            self._lock.acquire(timeout=_SECONDS)
        except Timeout:
            raise DataError(f"the run {path.name!r} is still going on, in this kernel or another") from None

    @property
    def name(self) -> str:
        """What the run is called by."""
        return self.path.name

    @property
    def note(self) -> dict[str, Any]:
        """What is known of the run.

        Raises:
            ModelError: the note is damaged, or of a newer version.
        """
        return _note(self.path)

    def write(self, **changes: Any) -> None:
        """Change the note; a cut leaves the old one or the new one."""
        path = self.path / _NOTE
        old = _note(self.path) if path.exists() else {"format": _FORMAT}
        part = path.with_suffix(".part")
        part.write_text(json.dumps({**old, **changes}, ensure_ascii=False, indent=1), encoding="utf-8")
        part.replace(path)

    def size(self) -> int:
        """Bytes that the folder takes."""
        return _size(self.path)

    def release(self) -> None:
        """Let other kernels have it."""
        self._lock.release()

    def remove(self) -> None:
        """Delete the folder and all that is in it."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)


def folder() -> Path:
    """Where the runs' folders are, whether it is there or not."""
    return store.folder() / "runs"


def new_place(wanted: str) -> Place:
    """A new folder of about this name.

    Raises:
        OSError: it cannot be made.
    """
    _prune()
    name = re.sub(r"[^\w-]+", "_", wanted) or "run"
    for number in range(1, 10_000):
        path = folder() / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return Place(path)
    raise DataError(f"'{folder()}' is full of runs: gpt_magic.cache().clear() removes them")


def take_place(name: str | None) -> Place:
    """The folder of a run that was cut; without a name, of the last that was.

    Raises:
        DataError: there is no such run, or it is still going on.
    """
    known = resumable()
    if not known:
        raise DataError("there is no run to resume: none was stopped, or cut after its first checkpoint")
    if name is None:
        return Place(folder() / known[0].name)
    names = [one.name for one in known]
    if name not in names:
        if name in [path.name for path in _folders()] and is_live(folder() / name):
            raise DataError(f"the run {name!r} is still going on, in this kernel or another")
        hint = nearest(name, names) or f"; there are {listing(names)}"
        raise DataError(f"there is no run {name!r} to resume{hint}")
    return Place(folder() / name)


def resumable() -> list[Resumable]:
    """The runs that were cut and can go on, the latest first."""
    found = []
    for path in _folders():
        with contextlib.suppress(ModelError, OSError, KeyError, TypeError):
            note = _note(path)
            if note["only_here"] or not (path / CHECKPOINT).exists() or is_live(path):
                continue
            when = datetime.fromtimestamp((path / CHECKPOINT).stat().st_mtime).astimezone()
            found.append(Resumable(path.name, note["title"], note["step"], note["steps"], when, _size(path)))
    return sorted(found, key=lambda one: one.when, reverse=True)


def is_live(path: Path) -> bool:
    """Whether some process is running this run; a killed one is not."""
    from filelock import FileLock, Timeout

    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def sizes() -> tuple[int, int]:
    """How many folders there are, and the bytes that they take."""
    found = [_size(path) for path in _folders()]
    return len(found), sum(found)


def clear() -> None:
    """Remove the folders of all runs that are not going on."""
    for path in _folders():
        _remove(path)


def write_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Option values as JSON can hold them, with keys of dicts as they are and paths from the root.

    Raises:
        TypeError: a value is an object, which JSON cannot hold.
    """
    return {name: _from_root(name, value) or _written(value) for name, value in options.items()}


def read_options(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `write_options` was given."""
    return {name: dict(value["pairs"]) if isinstance(value, dict) else value for name, value in record.items()}


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {"pairs": [[_written(key), _written(item)] for key, item in value.items()]}
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    json.dumps(value)
    return value


def _from_root(name: str, value: Any) -> str | None:
    """The path that ``data``, ``valid`` or ``base`` is, good in any folder; None where it is none."""
    if name not in ("data", "valid", "base") or not isinstance(value, str | Path) or value in shipped():
        return None
    path = Path(value).expanduser()
    is_path = path.exists() or (name != "base" and glob.has_magic(str(path)))
    return os.path.abspath(path) if is_path else None  # noqa: PTH100  # resolve() would follow links


def _folders() -> list[Path]:
    where = folder()
    return [path for path in where.iterdir() if path.is_dir()] if where.is_dir() else []


def _note(path: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((path / _NOTE).read_text(encoding="utf-8"))
        newer = note["format"] > _FORMAT
    except (OSError, ValueError, TypeError, KeyError):
        raise ModelError(f"cannot resume {path.name!r}: its {_NOTE} is damaged; delete '{path}'") from None
    if newer:
        raise ModelError(f"cannot resume {path.name!r}: a newer gpt_magic wrote it: upgrade gpt_magic")
    return note


def _size(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _prune() -> None:
    """Remove runs that nobody took up for long, and the oldest beyond the cap of the cache."""
    by_age = sorted(((_used(path), path) for path in _folders()), reverse=True)
    left = store.cap()
    for used, path in by_age:
        left -= _size(path)
        if left < 0 or time.time() - used > _DAYS * 86_400:
            _remove(path)


def _used(path: Path) -> float:
    try:
        return max(file.stat().st_mtime for file in (path, *path.iterdir()))
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    """Delete a folder, unless its run is going on."""
    with contextlib.suppress(OSError):
        if not is_live(path):
            shutil.rmtree(path, ignore_errors=True)
