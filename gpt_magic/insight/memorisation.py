"""What a model wrote word for word as it stood in the training texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpt_magic.data.passages import Part, Passage, Passages

if TYPE_CHECKING:
    import pandas as pd

_Points: TypeAlias = NDArray[np.uint32]
_Numbers: TypeAlias = NDArray[np.int64]

_CHUNK = 1 << 20  # characters of the training texts at a time: about 30 MB
_BLOCK = 1 << 16  # windows at a time: their hashes stay in the processor's cache
_BASE = 0x9E3779B97F4A7C15
_BEGINNING = 50  # characters of a training text that a model is prompted with
_ROW_END = 0x110000  # beyond Unicode: a window that holds it is in no text


@dataclass(frozen=True)
class Overlap:
    """The longest verbatim run that a generated text shares with a training text.

    Attributes:
        text: the run.
        generated: number of the generated text, from 0.
        row: name of the first training row that holds the run.
        characters: its length.
    """

    text: str
    generated: int
    row: Any
    characters: int


@dataclass(frozen=True)
class _Pool:
    """Pieces of training texts, each followed by ``_ROW_END``, in the order of their rows.

    Attributes:
        points: code points, ``(characters,)``.
        rows: number of each character's row, ``(characters,)``.
    """

    points: _Points
    rows: _Numbers


def overlaps(
    generated: Sequence[str], training: Sequence[str], index: Sequence[Any], shortest: int = 20
) -> list[Overlap]:
    """For each generated text the longest run of characters that stands in one training text.

    Hashes of all windows of ``shortest`` characters pick the few places of the training texts that matter; within
    them the length is found by bisection, since a shared run holds shared runs of every smaller length. Every run is
    compared character by character before it counts.

    Args:
        generated: the texts to look at.
        training: the training texts.
        index: the training rows' names, ``(training texts,)``.
        shortest: runs of fewer characters do not count, from 1 up.

    Returns:
        At most one overlap a generated text, longest first; then in the order of the training rows. Of equally long
        runs it is the one in the first row, then the one that comes first in the generated text.

    Raises:
        ValueError: ``shortest`` is less than 1, or ``index`` and ``training`` differ in length.
    """
    if shortest < 1:
        raise ValueError(f"shortest = {shortest} must be from 1 up")
    if len(index) != len(training):
        raise ValueError(f"{len(training)} training texts, but {len(index)} names")
    texts = {number: _points(text) for number, text in enumerate(generated) if len(text) >= shortest}
    if not texts:
        return []
    pool = _candidates(texts, training, shortest)
    shared = _Shared(texts, pool, shortest)
    sharing = {number: points for number, points in texts.items() if shared.holds(number)}
    runs = _longest(sharing, pool, shortest, max(map(len, generated)) + 1)
    return [
        Overlap(generated[number][start : start + length], number, index[row], length)
        for number, row, start, length in sorted(runs, key=lambda run: (-run[3], run[1], run[0]))
    ]


class _Shared:
    """The windows of one length that texts share with a pool, found by their hashes, compared before they count."""

    def __init__(self, texts: Mapping[int, _Points], pool: _Pool, length: int) -> None:
        self._texts, self._pool, self._length = texts, pool, length
        self._hashes = {number: _hashes(points, length) for number, points in texts.items()}
        self._positions, hashes = _hits(pool.points, np.unique(np.concatenate(list(self._hashes.values()))), length)
        order = np.argsort(hashes, kind="stable")
        self._by_hash, self._sorted = self._positions[order], hashes[order]

    def places(self, number: int) -> Iterator[tuple[int, int]]:
        """First row and start in the text of each window of a text that the pool holds."""
        points = self._texts[number]
        firsts = np.searchsorted(self._sorted, self._hashes[number], side="left")
        lasts = np.searchsorted(self._sorted, self._hashes[number], side="right")
        for start in np.flatnonzero(firsts < lasts).tolist():
            window = points[start : start + self._length]
            for position in self._by_hash[firsts[start] : lasts[start]].tolist():
                if np.array_equal(self._pool.points[position : position + self._length], window):
                    yield int(self._pool.rows[position]), start
                    break

    def holds(self, number: int) -> bool:
        """Whether the pool holds a window of a text."""
        return next(self.places(number), None) is not None

    def pool(self) -> _Pool:
        """What of the pool the windows cover."""
        return _covered(self._pool, self._positions, self._length)


def _longest(texts: Mapping[int, _Points], pool: _Pool, least: int, beyond: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, row, start and length of the longest run of each text.

    Args:
        texts: code points by number, each with a run of ``least`` and none of ``beyond`` characters.
    """
    if not texts:
        return
    shared = _Shared(texts, pool, least)
    if beyond - least == 1:
        for number in texts:
            row, start = min(shared.places(number))
            yield number, row, start, least
        return
    pool = shared.pool()
    middle = min((least + beyond) // 2, 2 * least)  # most runs are short
    shared = _Shared(texts, pool, middle)
    longer = {number: points for number, points in texts.items() if shared.holds(number)}
    shorter = {number: points for number, points in texts.items() if number not in longer}
    yield from _longest(longer, shared.pool(), middle, beyond)
    yield from _longest(shorter, pool, least, middle)


def _candidates(texts: Mapping[int, _Points], training: Sequence[str], length: int) -> _Pool:
    """The pieces of the training texts whose windows seem to be in ``texts``, equal pieces once."""
    wanted = np.unique(np.concatenate([_hashes(points, length) for points in texts.values()]))
    seen: set[bytes] = set()
    points: list[_Points] = []
    rows: list[_Numbers] = []
    for chunk in _chunks(training):
        pool = _covered(chunk, _hits(chunk.points, wanted, length)[0], length)
        start = 0
        for end in (np.flatnonzero(pool.points == _ROW_END) + 1).tolist():
            piece = pool.points[start:end].tobytes()
            if piece not in seen:
                seen.add(piece)
                points.append(pool.points[start:end])
                rows.append(pool.rows[start:end])
            start = end
    if not points:
        return _Pool(np.empty(0, np.uint32), np.empty(0, np.int64))
    return _Pool(np.concatenate(points), np.concatenate(rows))


def _chunks(training: Sequence[str]) -> Iterator[_Pool]:
    """The training texts, as many at a time as have ``_CHUNK`` characters."""
    first, characters = 0, 0
    for number, text in enumerate(training, 1):
        characters += len(text)
        if characters >= _CHUNK or number == len(training):
            lengths = np.array([len(text) + 1 for text in training[first:number]])
            points = _points("\0".join(training[first:number]) + "\0").copy()
            points[np.cumsum(lengths) - 1] = _ROW_END
            yield _Pool(points, np.repeat(np.arange(first, number), lengths))
            first, characters = number, 0


def _covered(pool: _Pool, positions: _Numbers, length: int) -> _Pool:
    """The pieces of a pool that windows of ``length`` at ``positions`` cover."""
    steps = np.zeros(len(pool.points) + 1, dtype=np.int32)
    steps[positions] += 1
    steps[positions + length] -= 1
    covered = np.cumsum(steps[:-1]) > 0
    behind = np.zeros_like(covered)
    behind[1:] = covered[:-1] & ~covered[1:]
    kept = covered | behind
    return _Pool(np.where(behind, np.uint32(_ROW_END), pool.points)[kept], pool.rows[kept])


def _points(text: str) -> _Points:
    """Code points, ``(characters,)``."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _hits(points: _Points, wanted: NDArray[np.uint64], length: int) -> tuple[_Numbers, NDArray[np.uint64]]:
    """Positions and hashes of the windows whose hash is among ``wanted``, which is sorted."""
    bits = min(max((16 * len(wanted)).bit_length(), 12), 24)
    shift = np.uint64(64 - bits)
    table = np.zeros(1 << bits, dtype=bool)  # of leading bits: lets a sixteenth of the other windows pass, or fewer
    table[wanted >> shift] = True
    positions, found = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for start in range(0, len(points) - length + 1, _BLOCK) if len(wanted) else ():
        hashes = _hashes(points[start : start + _BLOCK + length - 1], length)
        likely = np.flatnonzero(table[hashes >> shift])
        hashes = hashes[likely]
        at = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        sure = wanted[at] == hashes
        positions.append(likely[sure] + start)
        found.append(hashes[sure])
    return np.concatenate(positions), np.concatenate(found)


def _hashes(points: _Points, length: int) -> NDArray[np.uint64]:
    """A polynomial hash modulo 2**64 of every window, ``(characters - length + 1,)``.

    The hash of a window of a + b characters comes from those of its first a and its last b, so windows of 1, 2, 4, ...
    characters, hashed by doubling, make up any length (Karp, Miller and Rosenberg 1972,
    https://doi.org/10.1145/800152.804905).
    """
    windows = len(points) - length + 1
    if windows < 1:
        return np.empty(0, np.uint64)
    size, hashes = 1, (points.astype(np.uint64) + np.uint64(1)) * np.uint64(_BASE)
    hashes ^= hashes >> np.uint64(29)
    made, out = 0, np.zeros(len(points), np.uint64)
    while True:
        factor = np.uint64(pow(_BASE, size, 1 << 64))
        if length & size:
            out = out[: len(points) - made - size + 1] * factor + hashes[made : len(points) - size + 1]
            made += size
        if made == length:
            return out
        hashes = hashes[:-size] * factor + hashes[size:]
        size *= 2


def memorised_table(
    write: Callable[[list[Passage]], list[str]],
    training: Passages,
    held_out: Passages,
    samples: int,
    seed: int,
) -> "pd.DataFrame":
    """Let a model write, and find what stands word for word in its training texts.

    It is prompted with what invites repetition most: the prompts of training rows or, where it was trained on texts,
    the beginnings of training texts and, where these are few, pieces from anywhere in them; texts also from nothing.
    The overlaps of the held-out texts, which the model has not seen, stand beside them: set phrases overlap too, and
    only what is well above them was memorised (Carlini et al. 2023, https://arxiv.org/abs/2202.07646).

    Args:
        write: prompts to continuations; a prompt that begins a text is read after an end of text, as in training.
        training, held_out: passages.
        samples: texts of each kind.
        seed: of the choice of the prompts.

    Returns:
        A row a text that shares 20 characters or more with a training row, its prompt included, longest first:
        ``kind``, ``characters`` and ``words`` of the shared run, ``row`` of the training table that holds it, ``text``
        of the run.
    """
    import pandas as pd

    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(training))[:samples].tolist()
    passages = list(training.take(chosen).passages)
    if all(passage.begins for passage in passages):
        kinds = {
            "after a piece of a training text": write(_pieces(passages, samples, draw)),
            "from nothing": write([_prompt("")] * samples),
        }
    else:
        kinds = {"after a training prompt": write([passage.prompt for passage in passages])}
    longest = max((len(text) for texts in kinds.values() for text in texts), default=0)
    kinds["held-out text, to compare"] = [text[max(0, len(text) - longest) :] for text in held_out.learned[:samples]]
    found = [
        {
            "kind": kind,
            "characters": overlap.characters,
            "words": len(overlap.text.split()),
            "row": overlap.row,
            "text": overlap.text,
        }
        for kind, texts in kinds.items()
        for overlap in overlaps(texts, training.texts, training.index)
    ]
    found.sort(key=lambda row: -row["characters"])
    return pd.DataFrame(found, columns=["kind", "characters", "words", "row", "text"])


def _pieces(passages: Sequence[Passage], count: int, draw: np.random.Generator) -> list[Passage]:
    """The beginnings of texts, then pieces from anywhere in them, from the beginning of a word on."""
    found = [_prompt(passage.text[:_BEGINNING], begins=True) for passage in passages]
    lengths = np.array([len(passage.text) for passage in passages])
    for number in draw.choice(len(passages), count - len(found), p=lengths / lengths.sum()):
        text = passages[number].text
        start = int(draw.integers(max(len(text) - _BEGINNING, 1)))
        start = text.rfind(" ", max(start - _BEGINNING, 0), start + 1) + 1 or start
        found.append(_prompt(text[start : start + _BEGINNING]))
    return found


def _prompt(text: str, *, begins: bool = False) -> Passage:
    return Passage((Part(text, learned=False),), begins)
