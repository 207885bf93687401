"""Tables to checked and split sentences whose words have tags. Needs neither torch nor a tokenizer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.annotations import check_tags, plain_tags, plain_tokens, read_entities
from gpt_magic.data.checks import Findings, check_leaks, check_texts, rows, whole_rows
from gpt_magic.data.classes import check_alike
from gpt_magic.data.columns import NAMES, Roles, find_roles, find_roles_in_valid
from gpt_magic.data.conll import LEFT_OUT
from gpt_magic.data.schemes import OUTSIDE, TagCount, to_bio, types_of
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import split, warn_unvalidated
from gpt_magic.data.streams import Say
from gpt_magic.data.words import cut_words, join_words, split_words
from gpt_magic.errors import DataError, OptionError, listing, plural, short
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sentences:
    """Checked sentences, in the order of the table.

    Attributes:
        texts: one a row, never empty.
        words: start and end of each word in its text, ``(words, 2)`` each.
        tags: a BIO tag of each word.
        index: the table's index values, for messages.
    """

    texts: list[str]
    words: list[np.ndarray]
    tags: list[list[str]]
    index: list[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, positions: Iterable[int]) -> "Sentences":
        """The sentences at ``positions``."""
        chosen = list(positions)
        return Sentences(
            [self.texts[i] for i in chosen],
            [self.words[i] for i in chosen],
            [self.tags[i] for i in chosen],
            [self.index[i] for i in chosen],
        )


@dataclass
class TaggedData:
    """Checked sentences, split.

    Attributes:
        types: what entities can be, sorted.
        notes: (name, value) pairs for the report: how the tags were read, what was put right.
    """

    task: ClassVar[str] = "tag"

    roles: Roles
    types: list[str]
    train: Sentences
    valid: Sentences
    split: str
    rows: int
    notes: list[tuple[str, str]]
    findings: Findings = field(default_factory=Findings)


def read_tagged(options: Options, frame: "pd.DataFrame", say: Say = lambda _: None) -> TaggedData:
    """Check the tables and settle who trains and who validates."""
    findings, notes = Findings(), list[tuple[str, str]]()
    roles = tag_roles(frame, options)
    train = check_sentences(frame, roles, options.missing, findings, notes, "data")
    counts = Counter(tag[2:] for tags in train.tags for tag in tags if tag.startswith("B-"))
    types = types_of(train.tags)
    if not types:
        raise DataError(f"column {list(roles.columns.values())[1]!r} has no entity in any row: nothing to learn")
    check_alike([*types], findings)
    if options.valid is None:
        rarest = [min(types_of([tags]), key=lambda kind: (counts[kind], kind), default="") for tags in train.tags]
        kept, aside, how = split(train.texts, rarest, options.valid_fraction, options.seed)
        train, valid = train.take(kept), train.take(aside)
        how += ", by each row's rarest entity" if how.startswith("stratified") else ""
    else:
        valid_frame = read_table(options.valid, "valid", say)
        find_roles_in_valid(valid_frame, roles)
        valid = check_sentences(valid_frame, roles, options.missing, findings, notes, "valid")
        check_known_types(valid, types, "valid, ")
        check_leaks(train, valid, findings)
        how = "given"
    once = [kind for kind in types if counts[kind] == 1]
    if once:
        findings.warnings.append(f"entities seen once only, so hardly learned: {listing(map(short, once))}")
    if not len(valid):
        warn_unvalidated(options, how, findings)
    return TaggedData(roles, types, train, valid, how, len(frame), notes, findings)


def is_tagged(options: Options, frame: "pd.DataFrame") -> bool:
    """Whether the options ask for tags, or the columns can be nothing else."""
    if any(getattr(options, name) is not None for name in ("tokens", "tags", "entities")):
        return True
    if options.label is not None:
        return False
    if options.text is None and _lists(frame, "tokens", str) and _lists(frame, "tags", str | int | np.integer):
        return True
    labelled = {column.strip().casefold() for column in frame.columns} & {*chain(*NAMES["label"])}
    return not labelled and _lists(frame, "entities", dict)


def tag_roles(frame: "pd.DataFrame", options: Options) -> Roles:
    """The columns to read: ``tokens`` and ``tags``, or ``text`` and ``entities``.

    Raises:
        OptionError: columns of both kinds are given.
        DataError: a given column is missing, or no column fits.
    """
    spans = {"text": options.text, "entities": options.entities}
    words = {"tokens": options.tokens, "tags": options.tags}
    given = [name for name, column in {**spans, **words}.items() if column is not None]
    if {*given} & {*spans} and {*given} & {*words}:
        raise OptionError(f"{given[0]} and {given[-1]} are both given: give text and entities, or tokens and tags")
    if {*given} & {*words}:
        return find_roles(frame, words)
    if {*given} or (not _named(frame, "tokens") and _named(frame, "entities")):
        return find_roles(frame, spans)
    return find_roles(frame, words)


def check_sentences(
    frame: "pd.DataFrame",
    roles: Roles,
    missing: str,
    findings: Findings,
    notes: list[tuple[str, str]],
    what: str,
) -> Sentences:
    """Take a sentence from every row, or say which rows have none.

    Raises:
        DataError: something is missing or of a kind that cannot be used (with ``missing="drop"`` missing ones are
            left out and counted in ``findings``).
    """
    import pandas as pd

    first, second = roles.columns.values()
    if "tokens" in roles.columns:
        tokens = [None if is_blank(cell) else cell for cell in frame[first]]
        frame = frame.assign(**{first: pd.Series(tokens, frame.index, dtype=object)})
    else:
        check_texts(frame[first], f"column {first!r}", what)
    both = f"both {' and '.join(f'{role} in {column!r}' for role, column in roles.columns.items())}"
    kept = whole_rows(frame, (first, second), missing, findings, what, both, f"without {' or '.join(roles.columns)}")
    if LEFT_OUT in frame.attrs:
        said = " and ".join(plural(count, lines) for lines, count in frame.attrs[LEFT_OUT].items())
        notes.append((f"lines of {what}", f"{said} left out"))
    read = _from_tokens if "tokens" in roles.columns else _from_spans
    return read(kept, (first, second), notes, what)


def check_known_types(sentences: Sentences, types: Sequence[str], where: str) -> None:
    """Raise `DataError` when an entity has a type that the model cannot have."""
    known = set(types)
    for tags, row in zip(sentences.tags, sentences.index, strict=True):
        for kind in types_of([tags]):
            if kind not in known:
                raise DataError(
                    f"{where}row {row}: no training row has an entity {short(kind)}; there are "
                    f"{listing(map(short, types))}"
                )


def _from_tokens(frame: "pd.DataFrame", columns: tuple[str, str], notes: list[tuple[str, str]], what: str) -> Sentences:
    read: list[tuple[list[str], list[str]]] = []
    blanks = 0
    for row, tokens, tags in zip(frame.index, *(frame[column] for column in columns), strict=True):
        where = f"{what}, row {row}"
        words, marks = plain_tokens(tokens, columns[0], where), plain_tags(tags, columns[1], where)
        if len(words) != len(marks):
            raise DataError(f"{where}: {len(words)} tokens in {columns[0]!r}, but {len(marks)} tags in {columns[1]!r}")
        full = [i for i, word in enumerate(words) if word.strip()]
        blanks += len(words) - len(full)
        read.append(([words[i] for i in full], [marks[i] for i in full]))
    index = list(frame.index)
    check_tags([tags for _, tags in read], index, columns[1], what)
    count, bio, repaired = TagCount(set()), list[list[str]](), list[Any]()
    for (_, tags), row in zip(read, index, strict=True):
        before = count.unbegun
        bio.append(to_bio(tags, count))
        repaired += [row] * (count.unbegun > before)
    said = count.scheme
    if said != "BIO":
        said += f", {plural(count.changed, 'tag')} rewritten as BIO"
    if count.repaired:
        said += f", {count.repaired:,} entities begun where they had no B ({rows(repaired)})"
    notes.append((f"tags of {what}", said))
    if blanks:
        notes.append((f"tokens of {what}", f"{blanks:,} without a character left out"))
    joined = [join_words(words) for words, _ in read]
    return Sentences([text for text, _ in joined], [words for _, words in joined], bio, index)


def _from_spans(frame: "pd.DataFrame", columns: tuple[str, str], notes: list[tuple[str, str]], what: str) -> Sentences:
    made = Sentences([], [], [], list(frame.index))
    cuts = trimmed = 0
    for row, value, entities in zip(frame.index, *(frame[column] for column in columns), strict=True):
        text = str(value)
        spans, more = read_entities(entities, text, columns[1], f"{what}, row {row}")
        words, cut = cut_words(split_words(text), (edge for start, end, _ in spans for edge in (start, end)))
        cuts, trimmed = cuts + cut, trimmed + more
        tags = [OUTSIDE] * len(words)
        for start, end, kind in spans:
            first, last = np.searchsorted(words[:, 0], (start, end)).tolist()
            tags[first:last] = [f"B-{kind}", *[f"I-{kind}"] * (last - first - 1)]
        made.texts.append(text)
        made.words.append(words)
        made.tags.append(tags)
    if cuts:
        notes.append((f"words of {what}", f"{cuts:,} cut in two where an entity begins or ends within them"))
    if trimmed:
        notes.append((f"entities of {what}", f"{trimmed:,} without the white space at their ends"))
    return made


def is_list(cell: Any) -> bool:
    """Whether a cell holds several things."""
    return isinstance(cell, list | tuple | np.ndarray)


def is_blank(cell: Any) -> bool:
    """Whether a cell is a list without a token that has a character."""
    return is_list(cell) and not any(str(token).strip() for token in cell)


def _named(frame: "pd.DataFrame", role: str) -> list[str]:
    """The columns with a usual name of a role."""
    return [column for column in frame.columns if any(column.strip().casefold() in names for names in NAMES[role])]


def _lists(frame: "pd.DataFrame", role: str, kind: Any) -> bool:
    """Whether a column with a usual name of a role holds lists, and in the first of them what is of ``kind``."""
    for column in _named(frame, role):
        first = next((cell for cell in frame[column] if is_list(cell) and len(cell)), None)
        if first is not None and isinstance(first[0], kind):
            return True
    return False
