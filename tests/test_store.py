"""The cache: shown, cleaned, capped; whole files only; two that write one entry; a full disk in one line."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import gpt_magic
from gpt_magic import store
from gpt_magic.errors import DataError
from gpt_magic.store import find, fingerprint, spool
from tests.full import FullDisk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "IN_MEMORY", 1000)
    return tmp_path / "cache"


def batches(rows: int, pieces: int = 3) -> list[Any]:
    return [pa.RecordBatch.from_pydict({"n": list(range(rows))}) for _ in range(pieces)]


def test_small_tables_leave_nothing(folder: Path) -> None:
    assert spool(batches(5), "small").table.num_rows == 15
    assert not folder.exists()
    assert find("small") is None
    assert (
        repr(gpt_magic.cache())
        == f"<cache {folder}: 0 tables of tokens, 0.0 MB of at most 20.0 GB; .clear() empties it>"
    )


def test_large_ones_are_found_shown_and_cleaned(folder: Path) -> None:
    made = spool(batches(200), "large")
    found = find("large")
    assert found is not None
    assert found.table.equals(made.table)
    assert found.path == folder / "large.gpt_magic.arrow"
    cache = gpt_magic.cache()
    assert (cache.folder, cache.entries, cache.size) == (folder, 1, found.path.stat().st_size)
    assert str(folder) in cache._repr_html_()
    assert cache.clear().entries == 0
    assert found.table.column("n").to_pylist() == list(range(200)) * 3  # who reads it goes on
    assert find("large") is None


def test_without_a_key_nothing_is_left(folder: Path) -> None:
    made = spool(batches(200))
    assert list(folder.iterdir()) == []
    assert made.table.num_rows == 600


def test_a_table_in_a_file_takes_no_memory_of_its_own(folder: Path) -> None:
    made = spool(batches(100_000))
    before = pa.total_allocated_bytes()
    assert made.table.column("n").chunk(0).to_numpy().sum() == sum(range(100_000))
    assert pa.total_allocated_bytes() == before < 1_000_000


def test_a_damaged_entry_is_made_anew(folder: Path) -> None:
    spool(batches(200), "entry")
    path = folder / "entry.gpt_magic.arrow"
    path.write_bytes(path.read_bytes()[:500])
    assert find("entry") is None
    spool(batches(300), "entry")
    found = find("entry")
    assert found is not None
    assert found.table.num_rows == 900


def test_files_of_others_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    others = [folder / name for name in ("mails.arrow", ".part-mine.arrow", "notes.txt")]
    for path in others:
        path.write_bytes(b"mine")
        os.utime(path, (1, 1))
    monkeypatch.setenv("GPT_MAGIC_CACHE_GB", "0.000001")
    for key in ("one", "two"):
        spool(batches(200), key)  # over the cap, so what was there goes
    assert gpt_magic.cache().entries == 1
    assert gpt_magic.cache().clear().entries == 0
    assert sorted(folder.iterdir()) == sorted(others)


def test_a_killed_process_leaves_no_entry_and_its_rest_goes(folder: Path) -> None:
    code = (
        "import os, pyarrow as pa\nfrom gpt_magic import store\nstore.IN_MEMORY = 0\n"
        "spool = store.Spool('killed')\nspool.write(pa.RecordBatch.from_pydict({'n': [1]}))\nos._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(store.__file__).parents[1])
    assert find("killed") is None
    (rest,) = folder.iterdir()
    spool(batches(200), "other")
    assert rest.exists()  # it may be at work
    long_ago = time.time() - 2 * 86_400
    os.utime(rest, (long_ago, long_ago))
    spool(batches(200), "another")
    assert not rest.exists()
    assert gpt_magic.cache().entries == 2


def test_many_writers_of_one_entry(folder: Path) -> None:
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(spool(batches(500), "same"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(result.table.equals(results[0].table) for result in results)
    assert [path.name for path in folder.iterdir()] == ["same.gpt_magic.arrow"]


def test_the_longest_unused_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        spool(batches(200), f"entry {number}")
        os.utime(folder / f"entry {number}.gpt_magic.arrow", (number, number))
    assert find("entry 0") is not None  # used now
    size = (folder / "entry 0.gpt_magic.arrow").stat().st_size
    monkeypatch.setenv("GPT_MAGIC_CACHE_GB", str(2.5 * size / 1e9))
    spool(batches(200), "new")
    assert sorted(path.name.partition(".")[0] for path in folder.iterdir()) == ["entry 0", "new"]
    monkeypatch.setenv("GPT_MAGIC_CACHE_GB", "0")
    spool(batches(200), "newest")
    assert [path.name.partition(".")[0] for path in folder.iterdir()] == ["newest"]  # it is in use
    for wrong in ("much", "inf"):
        monkeypatch.setenv("GPT_MAGIC_CACHE_GB", wrong)
        with pytest.raises(DataError, match=f"the environment variable GPT_MAGIC_CACHE_GB is '{wrong}': give a number"):
            gpt_magic.cache()


def test_a_disk_without_room_is_one_line_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    spool(batches(200), need=5 * 10**8)
    with pytest.raises(DataError) as caught:
        spool(batches(200), need=2 * 10**9)
    assert str(caught.value) == (
        f"the data need about 2.0 GB in the cache folder '{folder}', whose disk has 1.0 GB free: free some, or set the "
        "environment variable GPT_MAGIC_CACHE to a folder on another disk"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("key", ["full", None])
def test_a_disk_that_fills_up_is_one_line(key: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = FullDisk()
    monkeypatch.setattr(pa.ipc, "new_file", lambda *_: full)
    for after in (0, 2, 3):  # at the first piece, in the middle, at what closes the file
        full.left = after
        with pytest.raises(DataError, match=r"cannot be written .its disk is full.: set the environment variable"):
            spool(batches(200), key)
        assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_begun_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", full)
    with pytest.raises(DataError, match="its disk is full"):
        spool(batches(200), "full")
    assert list(folder.iterdir()) == []


def test_a_file_that_the_system_cuts_leaves_nothing(folder: Path) -> None:
    """Arrow's own writer, by a limit of the process on the size of files."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(DataError, match="cannot be written"):
            spool(batches(5000), "cut")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"the cache folder '.*file' cannot be written"):
        spool(batches(200))


def test_where_it_is_without_being_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GPT_MAGIC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert store.folder() == tmp_path / "gpt_magic"
    monkeypatch.setenv("GPT_MAGIC_CACHE", "~/here")
    assert store.folder() == Path.home() / "here"


def test_a_name_for_each_content() -> None:
    names = [fingerprint(*parts) for parts in ([], ["a"], ["a", ""], ["", "a"], ["ab"], ["a", "b"], [b"a"], ["\ud83d"])]
    assert len(set(names)) == len(names) - 1  # text and bytes alike
    assert fingerprint("a", "b") == fingerprint("a", "b")
