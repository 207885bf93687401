"""What a text may name: a file, by how it ends, or a data set of the Hugging Face hub. Imports nothing heavy."""

import re
from pathlib import Path

CONLL = (".conll", ".bio", ".iob")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt", ".parquet", *CONLL)

# Endings of files that are not read: such a text is no name of the hub.
_OTHER_FILE = re.compile(
    r"\.(xlsx?|ods|docx?|pdf|md|html?|xml|zip|gz|bz2|xz|zst|7z|tar|feather|arrow|orc|pkl|np[yz]|h5|db|sqlite|py|ipynb|"
    r"log|ya?ml)"
)
_PART = r"[A-Za-z0-9][\w.-]*"
HUB_ID = re.compile(rf"(?P<name>{_PART}(/{_PART})?)(/(?P<config>{_PART}))?(:(?P<split>[^:/\\].*))?", re.ASCII)


def suffix(path: Path) -> str:
    """How a file's name ends, ``.gz`` not counted."""
    name = Path(path.name.lower())
    return name.suffixes[-2] if name.suffixes[-1:] == [".gz"] and len(name.suffixes) > 1 else name.suffix


def is_file_name(text: str) -> bool:
    """Whether a text ends as the files do that are read."""
    return suffix(Path(text)) in SUFFIXES


def endings() -> str:
    """The endings that are read, for messages."""
    return f"{', '.join(SUFFIXES)}, and the first five as .gz"


def is_hub_id(text: str) -> bool:
    """Whether a text may be a data set of the hub: ``[owner/]name[:split]``, or ``owner/name/config[:split]``."""
    ending = suffix(Path(text))
    return HUB_ID.fullmatch(text) is not None and ending not in SUFFIXES and not _OTHER_FILE.fullmatch(ending)
