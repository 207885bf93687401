"""Tables to checked and split passages to write on from. Needs neither torch nor a tokenizer."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.cells import cells, texts_of, told
from gpt_magic.data.checks import Findings, check_leaks, check_texts, rows, whole_positions
from gpt_magic.data.columns import NAMES, Roles, find_roles, find_roles_in_valid
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import set_aside, warn_unvalidated
from gpt_magic.data.streams import Say
from gpt_magic.errors import DataError, OptionError, a_kind, short
from gpt_magic.lazy import At, mapped, named, take
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd

STYLES = ("text", "completion", "messages")
_ROLES = ("system", "user", "assistant")
_SHORTEST_TAIL = 200  # characters of a text that are worth validating on


@dataclass(frozen=True)
class Part:
    """A piece of a passage.

    Attributes:
        text: as it is read.
        learned: whether the model is to learn to write it.
        ends: whether the end-of-text token comes after it, and is learned with it.
    """

    text: str
    learned: bool
    ends: bool = False


@dataclass(frozen=True)
class Passage:
    """One row: pieces of text, in order.

    Attributes:
        parts: the pieces.
        begins: whether the passage begins a document: an end-of-text token stands before it, as in pretraining, and
            its first token is learned too.
    """

    parts: tuple[Part, ...]
    begins: bool = False

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(part.text for part in self.parts)

    @property
    def learned(self) -> str:
        """What of it is learned."""
        return "".join(part.text for part in self.parts if part.learned)

    @property
    def characters(self) -> int:
        """Characters that are learned."""
        return len(self.learned)

    @property
    def prompt(self) -> "Passage":
        """What stands before the first piece that is learned."""
        return Passage(tuple(takewhile(lambda part: not part.learned, self.parts)), self.begins)


@dataclass(frozen=True)
class Passages:
    """Checked passages, in the order of the table, and the table's index values.

    Of a large table they are read when asked for.
    """

    passages: Sequence[Passage]
    index: Sequence[Any]

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def texts(self) -> Sequence[str]:
        """The passages as plain texts."""
        return mapped(attrgetter("text"), self.passages)

    @property
    def learned(self) -> Sequence[str]:
        """What is learned of each."""
        return mapped(attrgetter("learned"), self.passages)

    @cached_property
    def characters(self) -> int:
        """Characters that are learned."""
        return sum(map(len, self.learned))

    def take(self, positions: Iterable[int] | At) -> "Passages":
        """The passages at ``positions``."""
        at = positions if isinstance(positions, range | np.ndarray) else np.array(list(positions), dtype=np.int64)
        return Passages(take(self.passages, at), take(self.index, at))


@dataclass
class PassageData:
    """Checked passages, split.

    Attributes:
        style: ``text``, ``completion`` or ``messages``.
    """

    task: ClassVar[str] = "generate"

    roles: Roles
    style: str
    train: Passages
    valid: Passages
    split: str
    rows: int
    findings: Findings = field(default_factory=Findings)


def read_passages(options: Options, frame: "pd.DataFrame", say: Say = lambda _: None) -> PassageData:
    """Check the tables and settle who trains and who validates."""
    findings = Findings()
    roles = passage_roles(frame, options)
    style = style_of(roles)
    train = check_passages(frame, roles.columns, options.missing, findings, "data", say)
    if options.valid is not None:
        valid_frame = read_table(options.valid, "valid", say)
        find_roles_in_valid(valid_frame, roles)
        valid = check_passages(valid_frame, roles.columns, options.missing, findings, "valid", say)
        check_leaks(train, valid, findings)
        how = "given"
    else:
        train, valid, how = _split(train, style, options.valid_fraction, options.seed)
    if not len(valid):
        warn_unvalidated(options, how, findings)
    return PassageData(roles, style, train, valid, how, len(frame), findings)


def passage_roles(frame: "pd.DataFrame", options: Options) -> Roles:
    """The columns to write from: ``messages``, ``prompt`` and ``completion``, or ``text``.

    Raises:
        OptionError: columns of two kinds are given.
        DataError: a given column is missing, or no column fits.
    """
    pair = {"prompt": options.prompt, "completion": options.completion}
    given = [name for name in ("text", "prompt", "completion", "messages") if getattr(options, name) is not None]
    if len(given) > 1 and set(given) != set(pair):
        raise OptionError(f"{given[0]} and {given[1]} are both given: give text, or prompt and completion, or messages")
    if options.messages is not None:
        return find_roles(frame, {"messages": options.messages})
    if options.prompt is not None or options.completion is not None:
        return find_roles(frame, pair)
    if options.text is None and (talks := conversations_in(frame)):
        return Roles({"messages": talks}, found=("messages",))
    if options.text is None and _are_pairs(frame):
        return find_roles(frame, pair)
    if options.text is None and len(frame.columns) == 1:
        return Roles({"text": frame.columns[0]}, found=("text",))
    return find_roles(frame, {"text": options.text})


def conversations_in(frame: "pd.DataFrame") -> str | None:
    """The column of conversations: one called ``messages``, or lists under another usual name."""
    names = {column.strip().casefold(): column for column in frame.columns}
    usual = [names[name] for name in chain(*NAMES["messages"]) if name in names]
    return next((column for column in usual if column == names.get("messages") or _holds_lists(frame[column])), None)


def _holds_lists(column: "pd.Series[Any]") -> bool:
    first = next((cell for cell in cells(column) if isinstance(cell, str) or hasattr(cell, "__len__")), None)
    return isinstance(first, list | tuple | np.ndarray)


def _are_pairs(frame: "pd.DataFrame") -> bool:
    """Whether columns are called as prompts and completions are, and none as texts to continue are."""
    names = {column.strip().casefold() for column in frame.columns}
    prompts, completions = ({*chain(*NAMES[role])} for role in ("prompt", "completion"))
    return bool(names & prompts and names & completions) and not names & {*chain(*NAMES["text"][:2])} - prompts


def style_of(roles: Roles) -> str:
    """``text``, ``completion`` or ``messages``."""
    return next(style for style in STYLES if style in roles.columns)


def check_passages(
    frame: "pd.DataFrame",
    columns: Mapping[str, str],
    missing: str,
    findings: Findings,
    what: str,
    say: Say = lambda _: None,
) -> Passages:
    """Take a passage from every row, or say which rows have none.

    Raises:
        DataError: something is missing or of a kind that cannot be used (with ``missing="drop"`` missing ones are
            left out and counted in ``findings``).
    """
    for role, column in columns.items():
        if role != "messages":
            check_texts(frame[column], f"column {column!r}", what)
    said = " and ".join(repr(column) for column in columns.values())
    at = whole_positions(
        frame, columns.values(), missing, findings, what, f"anything in {said}", f"with nothing in {said}"
    )
    index = cells(frame.index, at)
    passages: Sequence[Passage]
    if "messages" in columns:
        talks = cells(frame[columns["messages"]], at)
        passages = mapped(lambda talk, row: conversation(talk, f"{what}, row {row}"), talks, index)
        deque(
            told(passages, "checking conversations", say), maxlen=0
        )  # each is checked before anything is made of the first
    else:
        texts = [texts_of(frame[column], at) for column in columns.values()]
        passages = mapped(prompt_and_completion if "prompt" in columns else document, *texts)
    if "prompt" in columns:
        _check_glue(passages, index, findings)
    return Passages(passages, index)


def document(text: str) -> Passage:
    """A text to continue; all of it is learned, its end too."""
    return Passage((Part(text, learned=True, ends=True),), begins=True)


def prompt_and_completion(prompt: str, completion: str) -> Passage:
    """A prompt that is only read, and a completion that is learned with its end."""
    return Passage((Part(prompt, learned=False), Part(completion, learned=True, ends=True)))


def conversation(messages: Any, where: str) -> Passage:
    """A conversation in the template ``User: ...`` / ``Assistant: ...``, a line break between two messages.

    What the assistant says is learned, with an end-of-text token after each of its messages.

    Args:
        messages: a list of ``{"role": "system" | "user" | "assistant", "content": "..."}``.
        where: the row, for the message.

    Raises:
        DataError: it is no such list, or the assistant says nothing.
    """
    parts = _turns(messages, where)
    if not any(part.learned for part in parts):
        raise DataError(f"{where}: the assistant says nothing in this conversation, so there is nothing to learn")
    return Passage(tuple(parts))


def conversation_prompt(messages: Any, where: str) -> Passage:
    """A conversation that the assistant is to answer: in the same pieces as in training, ``Assistant:`` at its end."""
    before = (replace(part, learned=False) for part in _turns(messages, where))
    return Passage((*before, Part("\nAssistant:", learned=False)))


def _turns(messages: Any, where: str) -> list[Part]:
    parts: list[Part] = []
    for role, content in _messages(messages, where):
        gap = "\n" if parts else ""
        if role == "assistant":
            parts += [Part(f"{gap}Assistant:", learned=False), Part(f" {content}", learned=True, ends=True)]
        else:
            parts.append(Part(f"{gap}{role.capitalize()}: {content}", learned=False))
    return parts


def _messages(messages: Any, where: str) -> list[tuple[str, str]]:
    if hasattr(messages, "tolist"):
        messages = messages.tolist()  # Parquet and datasets give arrays
    if not isinstance(messages, list | tuple) or not messages:
        kind = a_kind(messages) if messages else "empty"
        raise DataError(f"{where}: {short(messages)} is {kind}, not a list of {{'role', 'content'}} messages")
    found = []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise DataError(
                f"{where}: message {number} is {short(message)}; write {{'role': 'user', 'content': '...'}}"
            )
        role, content = message["role"], message["content"]
        if role not in _ROLES:
            raise DataError(f"{where}: message {number} has the role {short(role)}; roles are {', '.join(_ROLES)}")
        if not isinstance(content, str) or not content.strip():
            raise DataError(f"{where}: message {number} has no text in 'content'")
        found.append((role, content))
    return found


def _check_glue(passages: Sequence[Passage], index: Sequence[Any], findings: Findings) -> None:
    """Warn when prompts run into their completions without so much as a space."""
    seams = ((passage.parts[0].text[-1], passage.parts[1].text[0]) for passage in passages)
    meet = np.fromiter((end.isalnum() and start.isalnum() for end, start in seams), dtype=bool, count=len(passages))
    if meet.sum() * 2 > len(passages):  # warnings are saved with the model: they quote no text
        glued = take(index, np.flatnonzero(meet))
        findings.warnings.append(
            f"prompts run into their completions without a space ({rows(glued)}): end the prompts with a line break "
            "or begin the completions with a space, and prompt the model in the same way"
        )


def _split(passages: Passages, style: str, fraction: float, seed: int) -> tuple[Passages, Passages, str]:
    """Set rows aside; of a few long texts, such as a book, the ends."""
    if style == "text" and fraction and round(fraction * len(passages)) == 0:
        return _cut_ends(passages, fraction)
    same = named(np.zeros(len(passages), dtype=np.int8), [0])  # no classes to keep in proportion
    held, how = set_aside(passages.texts, same, fraction, seed)
    kept, aside = passages.take(np.flatnonzero(~held)), passages.take(np.flatnonzero(held))
    return kept, aside, how.replace("stratified", "random")


def _cut_ends(passages: Passages, fraction: float) -> tuple[Passages, Passages, str]:
    heads, tails, index = [], [], []
    for passage, row in zip(passages.passages, passages.index, strict=True):
        text = passage.text
        at = _seam(text, round(len(text) * (1 - fraction)), furthest=round(len(text) * fraction / 2))
        if len(text) - at < _SHORTEST_TAIL or not text[:at].strip():
            heads.append(passage)
            continue
        heads.append(Passage((Part(text[:at], learned=True),), begins=True))
        tails.append(Passage((Part(text[at:], learned=True, ends=True),), begins=True))
        index.append(row)
    how = f"the last {fraction:.0%} of each text" if tails else "no validation: the texts are too few and too short"
    return Passages(heads, passages.index), Passages(tails, index), how


def _seam(text: str, target: int, furthest: int) -> int:
    """Where to cut near ``target``: after a paragraph, a line, a word, in this order, at most so far before it."""
    for mark in ("\n\n", "\n", " "):
        at = text.rfind(mark, max(0, target - min(furthest, 2000)), target)
        if at >= 0:
            return at + len(mark)
    return target
