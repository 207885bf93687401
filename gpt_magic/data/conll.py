"""CoNLL files: a token and its tag a line, sentences with a blank line between them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpt_magic.errors import short

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT = "gpt_magic: lines that are no tokens"  # where a table says so of itself
_PREFIXES = ("B-", "I-", "E-", "S-", "L-", "U-")


def read_conll(lines: Iterable[str]) -> "pd.DataFrame":
    """A row a sentence, with the columns ``tokens`` (of the lines' first fields) and ``tags`` (of their last).

    Fields have tabs between them, or else white space. ``-DOCSTART-`` lines, and lines before a sentence that begin
    with ``#`` and end with no tag, are no tokens: ``attrs`` of the table counts them.

    Raises:
        ValueError: a line has no tag.
    """
    import pandas as pd

    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    starts = comments = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            if tokens[-1]:
                tokens.append([])
                tags.append([])
            continue
        fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if fields[0] == "-DOCSTART-":
            starts += 1
        elif not tokens[-1] and line.startswith("#") and not _is_tag(fields[-1]):
            comments += 1
        elif len(fields) < 2 or not _is_tag(fields[-1]):
            raise ValueError(f"line {number}, {short(line.strip())}, does not end with a tag such as O or B-PER")
        else:
            tokens[-1].append(fields[0])
            tags[-1].append(fields[-1].strip())
    whole = len(tokens) - (not tokens[-1])
    frame = pd.DataFrame({"tokens": tokens[:whole], "tags": tags[:whole]})
    counts = {"-DOCSTART- line": starts, "comment line": comments}
    if starts or comments:
        frame.attrs[LEFT_OUT] = {what: count for what, count in counts.items() if count}
    return frame


def _is_tag(field: str) -> bool:
    field = field.strip()
    return field == "O" or (field.startswith(_PREFIXES) and len(field) > 2)
