"""Tables to checked and split sentences whose words have tags. Needs neither torch nor a tokenizer."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.annotations import check_tags, plain_tags, plain_tokens, read_entities
from gpt_magic.data.cells import cells, texts_of, told
from gpt_magic.data.checks import Findings, blank, check_leaks, check_texts, rows, whole_positions
from gpt_magic.data.classes import check_alike
from gpt_magic.data.columns import NAMES, Roles, find_roles, find_roles_in_valid
from gpt_magic.data.conll import LEFT_OUT
from gpt_magic.data.schemes import OUTSIDE, TagCount, to_bio, types_of
from gpt_magic.data.sentences import Parsed, Sentences, keep
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import set_aside, warn_unvalidated
from gpt_magic.data.streams import Say
from gpt_magic.data.words import cut_words, join_words, split_words
from gpt_magic.errors import DataError, OptionError, listing, plural, short
from gpt_magic.lazy import At, named, take
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd


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
    train = check_sentences(frame, roles, options.missing, findings, notes, "data", say)
    tags = told(train.tags, "counting entities", say)
    counts = Counter(tag[2:] for row in tags for tag in row if tag.startswith("B-"))
    types = sorted(counts)
    if not types:
        raise DataError(f"column {list(roles.columns.values())[1]!r} has no entity in any row: nothing to learn")
    check_alike([*types], findings)
    if options.valid is None:
        texts = _told(train, say).texts
        held, how = set_aside(texts, _rarest(tags, counts), options.valid_fraction, options.seed)
        train, valid = train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))
        how += ", by each row's rarest entity" if how.startswith("stratified") else ""
    else:
        valid_frame = read_table(options.valid, "valid", say)
        find_roles_in_valid(valid_frame, roles)
        valid = check_sentences(valid_frame, roles, options.missing, findings, notes, "valid", say)
        check_known_types(valid, types, "valid, ", say)
        check_leaks(_told(train, say), _told(valid, say), findings)
        how = "given"
    once = [kind for kind in types if counts[kind] == 1]
    if once:
        findings.warnings.append(f"entities seen once only, so hardly learned: {listing(map(short, once))}")
    if not len(valid):
        warn_unvalidated(options, how, findings)
    return TaggedData(roles, types, train, valid, how, len(frame), notes, findings)


def _told(sentences: Sentences, say: Say) -> Sentences:
    """The same sentences; ``say`` is told as their texts are looked at in turn."""
    return replace(sentences, texts=told(sentences.texts, "comparing sentences", say))


def _rarest(sentences: Sequence[Sequence[str]], counts: Mapping[str, int]) -> Sequence[str]:
    """The type of each sentence's rarest entity; an empty text where there is none."""
    order = sorted(counts, key=lambda kind: (counts[kind], kind))
    place = {kind: number for number, kind in enumerate(order)}
    ranks = (min((place[tag[2:]] for tag in tags if tag != OUTSIDE), default=len(order)) for tags in sentences)
    return named(np.fromiter(ranks, dtype=np.int32, count=len(sentences)), [*order, ""])


def is_tagged(options: Options, frame: "pd.DataFrame") -> bool:
    """Whether the options ask for tags, or the columns can be nothing else."""
    if any(getattr(options, name) is not None for name in ("tokens", "tags", "entities")):
        return True
    if options.label is not None:
        return False
    if options.text is None and _lists(frame, "tokens", str) and _lists(frame, "tags", str | int | np.integer):
        return True
    names = {column.strip().casefold(): column for column in frame.columns}
    if {*names} & {*chain(*NAMES["label"])}:
        return False
    words = options.text is None and {*names} >= {"tokens", "tags"}
    spans = "entities" in names and (options.text is not None or _named(frame, "text"))
    return bool(words or spans) or _lists(frame, "entities", dict)


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
    say: Say = lambda _: None,
) -> Sentences:
    """Take a sentence from every row, or say which rows have none; ``say`` is told how far it is and may raise.

    Raises:
        DataError: something is missing or of a kind that cannot be used (with ``missing="drop"`` missing ones are
            left out and counted in ``findings``).
    """
    first, second = roles.columns.values()
    looked_at = frame
    if "tokens" in roles.columns:
        looked_at = frame.assign(**{first: _filled(frame[first], say)})
    else:
        check_texts(frame[first], f"column {first!r}", what)
    both = f"both {' and '.join(f'{role} in {column!r}' for role, column in roles.columns.items())}"
    lacking = f"without {' or '.join(roles.columns)}"
    at = whole_positions(looked_at, (first, second), missing, findings, what, both, lacking)
    if LEFT_OUT in frame.attrs:
        said = " and ".join(plural(count, lines) for lines, count in frame.attrs[LEFT_OUT].items())
        notes.append((f"lines of {what}", f"{said} left out"))
    read = _from_tokens if "tokens" in roles.columns else _from_spans
    return read(frame, (first, second), at, notes, what, say)


def check_known_types(sentences: Sentences, types: Sequence[str], where: str, say: Say = lambda _: None) -> None:
    """Raise `DataError` when an entity has a type that the model cannot have."""
    known = set(types)
    for tags, row in zip(told(sentences.tags, "comparing entities", say), sentences.index, strict=True):
        for kind in types_of([tags]):
            if kind not in known:
                raise DataError(
                    f"{where}row {row}: no training row has an entity {short(kind)}; there are "
                    f"{listing(map(short, types))}"
                )


def _filled(column: "pd.Series[Any]", say: Say) -> np.ndarray:
    """One for each list with a token that has a character, else NaN, ``(rows,)``."""
    empty = (is_blank(cell) for cell in told(cells(column), "looking for empty sentences", say))
    bad = blank(column).to_numpy() | np.fromiter(empty, dtype=bool, count=len(column))
    return np.where(bad, np.nan, 1.0)


def _from_tokens(
    frame: "pd.DataFrame", columns: tuple[str, str], at: At, notes: list[tuple[str, str]], what: str, say: Say
) -> Sentences:
    index, count = cells(frame.index, at), TagCount(set())
    repaired: array[int] = array("q")
    blanks, first_bare = 0, None

    def parsed() -> Iterator[Parsed]:
        nonlocal blanks, first_bare
        both = (cells(frame[column], at) for column in columns)
        for number, (row, tokens, tags) in enumerate(zip(told(index, "checking sentences", say), *both, strict=True)):
            where = f"{what}, row {row}"
            words, marks = plain_tokens(tokens, columns[0], where), plain_tags(tags, columns[1], where)
            if len(words) != len(marks):
                raise DataError(
                    f"{where}: {len(words)} tokens in {columns[0]!r}, but {len(marks)} tags in {columns[1]!r}"
                )
            full = [i for i, word in enumerate(words) if word.strip()]
            blanks += len(words) - len(full)
            bare, unbegun = count.bare, count.unbegun
            bio = to_bio([marks[i] for i in full], count)
            if count.unbegun > unbegun:
                repaired.append(number)
            if count.bare != bare:
                first_bare = row
            yield *join_words([words[i] for i in full]), bio

    sentences = keep(parsed(), index)
    check_tags(count, first_bare, columns[1], what)
    said = count.scheme
    if said != "BIO":
        said += f", {plural(count.changed, 'tag')} rewritten as BIO"
    if count.repaired:
        said += f", {count.repaired:,} entities begun where they had no B ({rows(take(index, np.array(repaired)))})"
    notes.append((f"tags of {what}", said))
    if blanks:
        notes.append((f"tokens of {what}", f"{blanks:,} without a character left out"))
    return sentences


def _from_spans(
    frame: "pd.DataFrame", columns: tuple[str, str], at: At, notes: list[tuple[str, str]], what: str, say: Say
) -> Sentences:
    index, texts, cuts, trimmed = cells(frame.index, at), texts_of(frame[columns[0]], at), 0, 0

    def parsed() -> Iterator[Parsed]:
        nonlocal cuts, trimmed
        marked = cells(frame[columns[1]], at)
        for row, text, entities in zip(told(index, "checking sentences", say), texts, marked, strict=True):
            spans, more = read_entities(entities, text, columns[1], f"{what}, row {row}")
            words, cut = cut_words(split_words(text), (edge for start, end, _ in spans for edge in (start, end)))
            cuts, trimmed = cuts + cut, trimmed + more
            tags = [OUTSIDE] * len(words)
            for start, end, kind in spans:
                first, last = np.searchsorted(words[:, 0], (start, end)).tolist()
                tags[first:last] = [f"B-{kind}", *[f"I-{kind}"] * (last - first - 1)]
            yield text, words, tags

    sentences = keep(parsed(), index, texts)
    if cuts:
        notes.append((f"words of {what}", f"{cuts:,} cut in two where an entity begins or ends within them"))
    if trimmed:
        notes.append((f"entities of {what}", f"{trimmed:,} without the white space at their ends"))
    return sentences


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
