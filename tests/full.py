"""A disk that fills up, as those who write Arrow files meet it."""

import errno
from dataclasses import dataclass
from typing import Any


@dataclass
class FullDisk:
    """A writer with room for so many batches; closing it writes too, as Arrow's own does.

    Attributes:
        left: batches, or the end of the file, that still go onto the disk.
    """

    left: int = 0

    def write(self, _: Any) -> None:
        self._take()

    def close(self) -> None:
        self._take()

    def _take(self) -> None:
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1
