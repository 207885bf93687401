"""Outputs of a cell that are shown once and updated in place after that."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def put(
    handles: dict[str, Any], place: str, data: Mapping[str, str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Show ``data``, text by MIME type, in the output that ``handles`` has for ``place``; it is made the first time."""
    handle = handles.get(place)
    if handle is not None:
        handle.update(data, raw=True, metadata=metadata)
        return
    from IPython.display import display

    with _interrupts_held():  # shown and not known to be, it would be shown twice
        handles[place] = display(data, raw=True, metadata=metadata, display_id=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let an interrupt wait until the block is done; it then does what it would have done.

    Interrupts reach the main thread alone: in any other nothing has to be held. Nor can a handler be held that is not
    Python's.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    came: list[tuple[int, Any]] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came and callable(usual):
            usual(*came[-1])
