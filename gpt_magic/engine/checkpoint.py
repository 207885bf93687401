"""Where a run stands, on disk: enough to go on as if it had never been cut."""

import os
import pickle
import time
from pathlib import Path
from typing import Any

import torch

from gpt_magic.errors import ModelError

_FILE = "checkpoint.pt"
# What torch raises of files that are cut, empty or another's.
_DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, EOFError, pickle.UnpicklingError)


class Checkpoints:
    """One checkpoint in a folder, replaced every so often; a cut never leaves half a file.

    Args:
        folder: made when it is not there.
        every: seconds between two checkpoints.
    """

    def __init__(self, folder: Path, every: float = 180.0) -> None:
        self.folder = folder
        self.every = every
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._saved >= self.every

    def save(self, state: dict[str, Any]) -> None:
        """Write the state beside the last one, then move it into place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{_FILE}.part"
        try:
            torch.save({**state, "random": random_state()}, part)
            flush(part)
            part.replace(self.folder / _FILE)
        finally:
            part.unlink(missing_ok=True)  # half a file, on a disk that is full
        if os.name != "nt":  # which cannot flush a folder
            flush(self.folder)
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state, None when there is none; puts torch's random generators back where they were.

        Raises:
            ModelError: the file is damaged.
        """
        if not (self.folder / _FILE).exists():
            return None
        state = self._read()
        restore_random_state(state.pop("random"))
        return state

    def _read(self, mmap: bool = False) -> dict[str, Any]:
        """The whole state; with ``mmap`` its tensors stay on the disk until they are looked at."""
        path = self.folder / _FILE
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
            if not isinstance(state["random"]["cpu"], torch.Tensor):
                raise ValueError("no checkpoint")
        except _DAMAGED as error:
            raise ModelError(f"cannot resume from '{path}': the file is damaged; delete it to begin anew") from error
        return state

    def clear(self) -> None:
        """Delete the checkpoint."""
        (self.folder / _FILE).unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk and would outlive a power cut."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def random_state() -> dict[str, Any]:
    """The states of torch's random generators: the processor's and every GPU's."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    apple = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": devices, "mps": apple}


def restore_random_state(state: dict[str, Any]) -> None:
    """Take what `random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state.get("mps") is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
