"""Words through a trained tagger: their log-probabilities, and the likeliest tags that make whole entities."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor, nn

from gpt_magic.engine.batching import Encoded, windows
from gpt_magic.engine.job import Hidden
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.inference.scoring import score_at

_ROWS = 512  # scored before their results are passed on


def logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits of the tags in float32, ``(scored, tags)``, from hidden states ``(scored, hidden)``."""
    head = model.classifier if hasattr(model, "classifier") else model.score
    return head(model.dropout(hidden)).float()  # type: ignore[no-any-return]


def score_words(
    model: nn.Module,
    rows: Encoded,
    windows: Iterable[int],
    hidden: Hidden = hidden_packed,
    check: Callable[[], None] = lambda: None,
) -> Iterator[np.ndarray]:
    """Log-probabilities of the tags, ``(words, tags)`` of one text after another.

    Args:
        model: a tagger; its training mode is put back.
        rows: the texts' windows, those of one text one after another.
        windows: how many each text has.
        hidden: packed or padded forward.
        check: called before each forward pass; may raise to end the work.
    """
    parts = _score_rows(model, rows, hidden, check)
    for count in windows:
        yield np.concatenate([*islice(parts, count)])


def _score_rows(model: nn.Module, rows: Encoded, hidden: Hidden, check: Callable[[], None]) -> Iterator[np.ndarray]:
    for some in windows(len(rows), _ROWS):
        here = slice(some.start, some.stop)
        yield from score_at(model, rows.ids[here], rows.scored[here], _log_chances, hidden, check)


def _log_chances(model: nn.Module, hidden: Tensor) -> Tensor:
    return logits(model, hidden).log_softmax(dim=1)


def allowed(tags: int) -> np.ndarray:
    """Which tag may follow which, ``(tags, tags)``, of ``O, B-x, I-x, B-y, I-y, ...``; a text begins as after ``O``."""
    may = np.ones((tags, tags), dtype=bool)
    for inside in range(2, tags, 2):
        may[:, inside] = False
        may[[inside - 1, inside], inside] = True
    return may


def best_tags(scores: np.ndarray) -> np.ndarray:
    """The likeliest tags that are valid BIO (Viterbi 1967), ``(words,)``, from log-probabilities ``(words, tags)``."""
    may = allowed(scores.shape[1])
    chosen: np.ndarray = scores.argmax(axis=1)
    if may[np.concatenate([[0], chosen[:-1]]), chosen].all():
        return chosen  # the likeliest of all is valid
    steps = np.where(may, 0.0, -np.inf)
    total = scores[0] + steps[0]
    came = np.zeros(scores.shape, dtype=np.int64)  # from which tag each is reached best
    for word in range(1, len(scores)):
        paths = total[:, None] + steps
        came[word] = paths.argmax(axis=0)
        total = paths.max(axis=0) + scores[word]
    best = [int(total.argmax())]
    for word in range(len(scores) - 1, 0, -1):
        best.append(int(came[word, best[-1]]))
    return np.array(best[::-1])


def entities(tags: np.ndarray) -> list[tuple[int, int, int]]:
    """First word, end and type of each entity, from numbers of valid BIO tags ``(words,)`` as in `allowed`."""
    found = []
    for first in np.flatnonzero(tags % 2 == 1).tolist():
        inside = tags[first] + 1
        after = np.flatnonzero(tags[first + 1 :] != inside)
        end = first + 1 + (int(after[0]) if len(after) else len(tags) - first - 1)
        found.append((first, end, int(tags[first]) // 2))
    return found
