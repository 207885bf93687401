"""How much of the texts in lessons and benchmarks occurs word for word in nano's training text.

    python -m tools.pretrain_nano.apart --corpus work/corpus --cache work/sets

Counts the windows of 16 tokens of each text that stand in the token files of corpus.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

import gpt_magic.samples
from benchmarks.sets import films, sections

NANO = Path(__file__).resolve().parents[2] / "gpt_magic" / "models" / "nano"
WINDOW = 16  # tokens


def windows(ids: np.ndarray) -> np.ndarray:
    """Every window of ``ids``, ``(tokens,)``, as bytes, ``(windows,)``."""
    views = np.lib.stride_tricks.sliding_window_view(ids.astype("<u2"), WINDOW)
    return np.ascontiguousarray(views).view(f"S{2 * WINDOW}").ravel()


def texts(corpus: Path, cache: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """What is held out of training, by name."""
    yield "speeches after 2008", json.loads((corpus / "held_out.json").read_text(encoding="utf-8"))
    for name in ("sonnets", "spam"):
        yield name, gpt_magic.samples.load(name)["text"]
    for read in (films, sections):
        data = read(cache)
        yield data.name, [*data.train["text"], *data.test["text"]]


def main() -> None:
    """Print a line a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="where the sets of the benchmarks are fetched to")
    asked = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    trained = np.unique(np.concatenate([windows(np.load(path)) for path in sorted(asked.corpus.glob("*.npy"))]))
    for name, rows in texts(asked.corpus, asked.cache):
        ids = tokenizer(list(rows), verbose=False).input_ids
        held = np.concatenate([windows(np.array(row)) for row in ids if len(row) >= WINDOW])
        places = np.searchsorted(trained, held).clip(max=len(trained) - 1)
        found = (trained[places] == held).sum()
        print(f"{name:20} {found:6,} of {len(held):9,} windows of {WINDOW} tokens", flush=True)


if __name__ == "__main__":
    main()
