"""CoNLL files: a token and its tag a line, sentences with a blank line between them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from gpt_magic.errors import short

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT = "gpt_magic: lines that are no tokens"  # where a table says so of itself
_START, _COMMENT = "-DOCSTART- line", "comment line"
_PREFIXES = ("B-", "I-", "E-", "S-", "L-", "U-")

Record = dict[str, list[str]]


def read_conll(
    lines: Iterable[str], collect: Callable[[Iterator[Record]], "pd.DataFrame"] | None = None
) -> "pd.DataFrame":
    """A row a sentence, with the columns ``tokens`` (of the lines' first fields) and ``tags`` (of their last).

    Fields have tabs between them, or else white space. ``-DOCSTART-`` lines, and lines before a sentence that begin
    with ``#`` and end with no tag, are no tokens: ``attrs`` of the table counts them.

    Args:
        collect: makes the table of its rows; by default it is made in memory.

    Raises:
        ValueError: a line has no tag.
    """
    import pandas as pd

    left_out: Counter[str] = Counter()
    sentences = _sentences(lines, left_out)
    frame = collect(sentences) if collect else pd.DataFrame(list(sentences), columns=["tokens", "tags"])
    if left_out:
        frame.attrs[LEFT_OUT] = {what: left_out[what] for what in (_START, _COMMENT) if left_out[what]}
    return frame


def _sentences(lines: Iterable[str], left_out: Counter[str]) -> Iterator[Record]:
    """The tokens and tags of each sentence; ``left_out`` counts the lines that are none."""
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            if tokens:
                yield {"tokens": tokens, "tags": tags}
                tokens, tags = [], []
            continue
        fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if fields[0] == "-DOCSTART-":
            left_out[_START] += 1
        elif not tokens and line.startswith("#") and not _is_tag(fields[-1]):
            left_out[_COMMENT] += 1
        elif len(fields) < 2 or not _is_tag(fields[-1]):
            raise ValueError(f"line {number}, {short(line.strip())}, does not end with a tag such as O or B-PER")
        else:
            tokens.append(fields[0])
            tags.append(fields[-1].strip())
    if tokens:
        yield {"tokens": tokens, "tags": tags}


def _is_tag(field: str) -> bool:
    field = field.strip()
    return field == "O" or (field.startswith(_PREFIXES) and len(field) > 2)
