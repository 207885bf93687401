"""From markup to paragraphs of prose: HTML, reStructuredText, Markdown, and what all sources share."""

from __future__ import annotations

import hashlib
import html
import re
from html.parser import HTMLParser
from typing import ClassVar

ROLE = re.compile(r":[a-zA-Z:+-]+:`(?:~|!)?([^`<]+?)\s*(?:<[^>]*>)?`")
LINK = re.compile(r"`([^`<]+?)\s*<[^>]*>`_+|`([^`]+)`_+")
LITERAL = re.compile(r"\s*\.\. (code|sourcecode|productionlist|parsed|math|doctest|testcode|image|figure|toctree)")
PROSE_END = re.compile(r"[.!?:;]['\")\]]*$")


class Paragraphs(HTMLParser):
    """Text between block tags; code, navigation, tables and scripts are left out."""

    SKIPPED: ClassVar = {"script", "style", "pre", "table", "nav", "head", "svg", "button", "form", "noscript"}
    INLINE: ClassVar = {
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "big",
        "cite",
        "code",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "ins",
        "kbd",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "tt",
        "u",
        "var",
        "wbr",
    }

    def __init__(self, tables: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.skip = self.SKIPPED - {"table"} if tables else self.SKIPPED
        self.found: list[str] = []
        self.text: list[str] = []
        self.skipped: list[str] = []

    def flush(self) -> None:
        """A block ends here."""
        self.found.append("".join(self.text))
        self.text = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002, D102
        if tag in self.skip:
            self.skipped.append(tag)
        if tag not in self.INLINE:
            self.flush()

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        if tag in self.skipped:
            while self.skipped.pop() != tag:
                pass
        if tag not in self.INLINE:
            self.flush()

    def handle_data(self, data: str) -> None:  # noqa: D102
        if not self.skipped:
            self.text.append(data)


def from_html(source: str, tables: bool = False) -> list[str]:
    """Blocks of text; `tables` for pages that use tables for their layout."""
    parser = Paragraphs(tables)
    parser.feed(source)
    parser.flush()
    return parser.found


def from_rst(source: str) -> list[str]:
    """Paragraphs of prose; literal blocks (indented after "::") and directives' own lines go."""
    kept: list[str] = []
    literal_above: int | None = None
    for block in re.split(r"\n\s*\n", source.expandtabs()):
        lines = block.splitlines()
        if not any(lines):
            continue
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        if literal_above is not None and indent > literal_above:
            continue
        literal_above = None
        lines = [line for line in lines if not re.match(r"\s*(\.\. |:[\w ]+:|[=\-~^\"'*#+]{3,}\s*$|>>>|\.\.\.)", line)]
        text = " ".join(line.strip() for line in lines)
        if text.endswith("::") or LITERAL.match(block):
            literal_above = indent
        text = ROLE.sub(r"\1", text)
        text = LINK.sub(lambda found: found[1] or found[2], text)
        text = re.sub(r"``([^`]+)``", r"\1", text)
        text = re.sub(r"(?<!\w)[*_|]{1,2}([^*|]+?)[*_|]{1,2}(?!\w)", r"\1", text)
        kept.append(re.sub(r"^[-*#]\.? ", "", text).replace("::", ":"))
    return kept


def from_markdown(source: str) -> list[str]:
    source = re.sub(r"\A---\n.*?\n---\n", "", source, flags=re.DOTALL)
    source = re.sub(r"```.*?```", "", source, flags=re.DOTALL)
    source = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", source)
    blocks = re.split(r"\n\s*\n|\n(?=[-*] |\d+\. )", source)
    blocks = [re.sub(r"^(#+|[-*>]|\d+\.) +", "", block.strip()) for block in blocks]
    return [re.sub(r"[*_`]{1,3}([^*_`]+)[*_`]{1,3}", r"\1", block) for block in blocks if not block.startswith("|")]


def is_prose(paragraph: str) -> bool:
    """A sentence or more, mostly letters: what separates documentation's prose from its listings."""
    words = paragraph.split()
    letters = sum(character.isalpha() or character in " ,.'" for character in paragraph)
    return len(words) >= 8 and letters >= 0.9 * len(paragraph) and bool(PROSE_END.search(paragraph))


def tidy(paragraph: str) -> str:
    """One line, single spaces, no entities or stray control characters; quotes and dashes stay as they are."""
    text = html.unescape(paragraph).replace("¶", "").replace("\u00ad", "")
    text = "".join(character for character in text if character.isprintable() or character.isspace())
    return re.sub(r"\s+", " ", text).strip()


class Unseen:
    """Lets each longer paragraph through once, over all sources, whatever its case, digits and spacing."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.dropped = 0

    def __call__(self, paragraph: str) -> bool:
        """Whether to keep it."""
        if len(paragraph) < 40:
            return True
        key = hashlib.blake2b(re.sub(r"[\W\d_]+", "", paragraph.lower()).encode(), digest_size=10).digest()
        if key in self.seen:
            self.dropped += len(paragraph)
            return False
        self.seen.add(key)
        return True
