"""OpenMP lets go of a thread's threads, and makes new ones when they are needed."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info

from gpt_magic import run
from gpt_magic.engine.threads import release_threads
from gpt_magic.options import Options

gnu = sys.platform == "linux" and any(library["prefix"] == "libgomp" for library in threadpool_info())
needs_gnu = pytest.mark.skipif(not gnu, reason="this torch computes without GNU's OpenMP")


def _in_a_thread(work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def watched() -> None:
        try:
            work()
        except BaseException as failure:
            failed.append(failure)

    thread = threading.Thread(target=watched)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@needs_gnu
def test_threads_are_let_go_of_and_come_back() -> None:
    def work() -> None:
        torch.set_num_threads(3)
        alone = _threads()
        for _ in range(2):
            assert float(torch.ones(2**20).sum()) == 2**20
            assert _threads() == alone + 2
            release_threads()
            assert _threads() == alone

    _in_a_thread(work)


def test_a_run_lets_go_of_the_threads_of_who_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    who: list[threading.Thread] = []
    monkeypatch.setattr(run, "release_threads", lambda: who.append(threading.current_thread()))
    made = run.Run(Options(data=[{"text": "a", "label": "b"}]))  # too little to train on
    made.start()
    assert made.wait(60)
    assert who == [threading.current_thread()]


def test_without_torch_there_is_nothing_to_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)  # to import it would fail
    release_threads()
