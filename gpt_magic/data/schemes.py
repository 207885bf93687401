"""Tags of words: how entities are written with them, and all of it as BIO.

In BIO the first word of an entity is tagged ``B-type``, its others ``I-type``, all else ``O``. IOB1 writes ``B-`` only
where an entity touches another of its type, BIOES and BILOU mark ends and single words too, IO writes bare types.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from sys import intern

OUTSIDE = "O"
_BEGINS = frozenset("BSU")
_ENDS = frozenset("ESLU")
_PREFIXES = frozenset("BIESLU")
_OTHERWISE = re.compile(r"([BIESLU])[-_:/](.+)|(.+)[-_:/]([BIESLU])", re.IGNORECASE)


@dataclass
class TagCount:
    """What the tags of a table look like.

    Attributes:
        prefixes: those that occur; an empty text where a tag is a bare type.
        begun: entities that begin with a prefix that says so, where none of their type goes before.
        unbegun: entities that begin with one that should only go on.
        changed: tags that BIO writes otherwise.
        bare: the first tag that is a bare type; empty without any.
        outside: words that are no entity.
        types: the tags that are bare types.
    """

    prefixes: set[str]
    begun: int = 0
    unbegun: int = 0
    changed: int = 0
    bare: str = ""
    outside: int = 0
    types: set[str] = field(default_factory=set)

    @property
    def scheme(self) -> str:
        """``BIO``, ``IOB1``, ``BIOES``, ``BILOU`` or ``IO``."""
        if self.prefixes == {""}:
            return "IO"
        if self.prefixes & {"L", "U"}:
            return "BILOU"
        if self.prefixes & {"E", "S"}:
            return "BIOES"
        return "IOB1" if self.unbegun > self.begun else "BIO"

    @property
    def repaired(self) -> int:
        """Entities that did not begin as their scheme has it, and were begun where they stand."""
        return 0 if self.scheme in ("IOB1", "IO") else self.unbegun


def split_tag(tag: str) -> tuple[str, str]:
    """``B-PER`` to its prefix and type; the prefix of a bare type is empty."""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and kind and prefix in _PREFIXES else ("", tag)


def marked_otherwise(types: Collection[str]) -> tuple[str, str] | None:
    """A tag such as ``B_PER``, ``PER-B`` or ``b-per`` and how BIO writes it, where all of ``types`` are such tags."""
    found = {tag: _OTHERWISE.fullmatch(tag) for tag in sorted(types) if tag.upper() != OUTSIDE}
    marks = {tag: ((match[1] or match[4]).upper(), match[2] or match[3]) for tag, match in found.items() if match}
    begins = next((tag for tag, (mark, _) in marks.items() if mark == "B"), None)
    if begins is None or len(marks) < len(found):
        return None
    kind = marks[begins][1]
    return begins, f"B-{kind.upper() if begins.islower() else kind}"


def to_bio(tags: Sequence[str], count: TagCount) -> list[str]:
    """The same entities in BIO, read as conlleval reads them.

    An entity begins where a tag says so, and also where one of another type, or none, stands before.

    Args:
        tags: the tags of one sentence, in any of the schemes.
        count: is added to.
    """
    made: list[str] = []
    before, going = "", ""  # type of the tag before, and of the entity that is still open
    for tag in tags:
        if tag == OUTSIDE:
            before = going = ""
            count.outside += 1
            made.append(OUTSIDE)
            continue
        prefix, kind = split_tag(tag)
        begins = prefix in _BEGINS or kind != going
        count.prefixes.add(prefix)
        if not prefix:
            count.bare = count.bare or tag
            count.types.add(tag)
        count.begun += prefix in _BEGINS and kind != before
        count.unbegun += begins and prefix not in _BEGINS
        made.append(intern(f"{'B' if begins else 'I'}-{kind}"))
        count.changed += made[-1] != tag
        before, going = kind, "" if prefix in _ENDS else kind
    return made


def bio_labels(types: Iterable[str]) -> list[str]:
    """The tags of a model, in the order of its outputs: ``O``, then ``B-`` and ``I-`` of each type."""
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


def types_of(sequences: Iterable[Sequence[str]]) -> list[str]:
    """The types of all entities, sorted."""
    return sorted({tag[2:] for tags in sequences for tag in tags if tag != OUTSIDE})
