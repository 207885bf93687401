"""What is recorded on a GPU, as far as that can be tested without one."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any

import pytest
import torch

from gpt_magic.engine import graphs


def test_threads_one_after_another_share_a_stream_and_those_at_once_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream costs memory for good, and nobody may launch on one on which somebody records."""
    made: list[Any] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made.append(object()) or made[-1])
    monkeypatch.setattr(graphs, "_FREE", {})
    device, seen = torch.device("cuda", 0), []

    def look() -> None:
        seen.append(graphs._stream_of_thread(device))
        assert graphs._stream_of_thread(device) is seen[-1]

    for _ in range(3):
        thread = Thread(target=look)
        thread.start()
        thread.join()
    assert seen == made * 3
    together = Barrier(4, timeout=10)

    def meet(_: int) -> Any:
        found = graphs._stream_of_thread(device)
        together.wait()
        return found

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(meet, range(4)))) == 4
    assert len(made) == 4
