"""The stream of training blocks: all sources by their shares, cut into 512 tokens, shuffled anew each epoch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

BLOCK = 512


class Blocks:
    """An endless shuffled stream of 512-token blocks; position `n` always gives the same block."""

    def __init__(self, folder: Path, seed: int) -> None:
        table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        parts = []
        for number, row in enumerate(table):
            tokens = np.load(folder / f"{row['source']}.npy")
            whole, fraction = divmod(row.get("passes", 1), 1)
            parts.extend([tokens] * int(whole))
            blocks = tokens[: len(tokens) // BLOCK * BLOCK].reshape(-1, BLOCK)
            parts.append(blocks[np.random.default_rng([seed, number]).random(len(blocks)) < fraction].ravel())
        self.tokens = np.concatenate(parts)
        self.seed = seed
        self.epoch = -1
        self.per_epoch = len(self.tokens) // BLOCK - 1
        self.order = np.empty(0, dtype=np.int64)
        self.offset = 0

    def take(self, start: int, count: int) -> torch.Tensor:
        """`count` blocks with one more token each, so that every position has a target."""
        rows = []
        for number in range(start, start + count):
            epoch, place = divmod(number, self.per_epoch)
            if epoch != self.epoch:
                draw = np.random.default_rng([self.seed, epoch])
                self.epoch, self.order = epoch, draw.permutation(self.per_epoch)
                self.offset = int(draw.integers(BLOCK))
            at = int(self.order[place]) * BLOCK + self.offset
            rows.append(self.tokens[at : at + BLOCK + 1].astype(np.int64))
        return torch.from_numpy(np.stack(rows))
