"""Tables to checked and split questions about contexts. Needs neither torch nor a tokenizer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from gpt_magic.data.checks import Findings, check_leaks, check_texts, normalise, rows, whole_rows
from gpt_magic.data.columns import NAMES, Roles, find_roles, find_roles_in_valid
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import split, warn_unvalidated
from gpt_magic.errors import DataError, OptionError, a_kind, plural, short
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd

STYLES = ("extract", "write")
DEFAULT_STYLE = "extract"


@dataclass(frozen=True)
class Question:
    """One row.

    Attributes:
        question, context: as they are read.
        answers: the reference answers; none where the context does not answer the question.
        answer: the one that is learned, empty where there is none.
        start: the character of the context at which it begins; None where there is none, or where it was not looked
            for.
    """

    question: str
    context: str
    answers: tuple[str, ...]
    answer: str
    start: int | None


@dataclass(frozen=True)
class Questions:
    """Checked questions, in the order of the table, and the table's index values."""

    rows: list[Question]
    index: list[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> list[str]:
        """The questions with their contexts as plain texts."""
        return [f"{row.question}\n{row.context}" for row in self.rows]

    @property
    def references(self) -> list[tuple[str, ...]]:
        """The reference answers of each row."""
        return [row.answers for row in self.rows]

    @property
    def unanswerable(self) -> int:
        """Rows that have no answer."""
        return sum(not row.answers for row in self.rows)

    def take(self, positions: Iterable[int]) -> "Questions":
        """The rows at ``positions``."""
        chosen = list(positions)
        return Questions([self.rows[i] for i in chosen], [self.index[i] for i in chosen])


@dataclass
class AnswerData:
    """Checked questions, split.

    Attributes:
        style: ``extract`` or ``write``.
    """

    task: ClassVar[str] = "answer"

    roles: Roles
    style: str
    train: Questions
    valid: Questions
    split: str
    rows: int
    findings: Findings = field(default_factory=Findings)


def read_questions(options: Options, frame: "pd.DataFrame") -> AnswerData:
    """Check the tables and settle who trains and who validates; a context stays on one side."""
    style = _style(options.style)
    findings = Findings()
    roles = question_roles(frame, options)
    if style == "write" and options.answer_start is not None:
        findings.warnings.append("answer_start does nothing for style = 'write'")
    train = check_questions(frame, roles.columns, options.missing, findings, "data", style == "extract")
    if options.valid is not None:
        valid_frame = read_table(options.valid, "valid")
        needed = {role: column for role, column in roles.columns.items() if role != "answer_start"}
        find_roles_in_valid(valid_frame, Roles(needed, roles.found))
        valid = check_questions(valid_frame, roles.columns, options.missing, findings, "valid", style == "extract")
        check_leaks(train, valid, findings)
        _check_shared(train, valid, findings)
        how = "given"
    else:
        train, valid, how = _split(train, options.valid_fraction, options.seed)
    if train.unanswerable == len(train):
        raise DataError("no row to train on has an answer: there is nothing to learn")
    if valid.unanswerable and not train.unanswerable:
        findings.warnings.append(
            f"{plural(valid.unanswerable, 'row')} to validate without an answer and none to train: when to give no "
            "answer is not learned"
        )
    if not len(valid):
        warn_unvalidated(options, how, findings)
    return AnswerData(roles, style, train, valid, how, len(frame), findings)


def _style(asked: str) -> str:
    if asked == "auto":
        return DEFAULT_STYLE
    if asked not in STYLES:
        raise OptionError(f"style = {asked!r} is for task = 'classify'; to answer say style = 'extract' or 'write'")
    return asked


def question_roles(frame: "pd.DataFrame", options: Options) -> Roles:
    """The columns with questions, contexts and answers, and with the answers' places where there is one.

    Raises:
        DataError: a given column is missing, or no column fits.
    """
    given = {role: getattr(options, role) for role in ("question", "context", "answer", "answer_start")}
    if given["answer_start"] is None:
        del given["answer_start"]
    roles = find_roles(frame, given)
    fits = [column for column in frame.columns if column.strip().casefold() in NAMES["answer_start"][0]]
    if "answer_start" in given or len(fits) != 1 or fits[0] in roles.columns.values():
        return roles
    return Roles({**roles.columns, "answer_start": fits[0]}, (*roles.found, "answer_start"))


def check_questions(
    frame: "pd.DataFrame", columns: Mapping[str, str], missing: str, findings: Findings, what: str, locate: bool
) -> Questions:
    """Take question, context and answers from every row, or say which rows have none.

    Args:
        columns: role -> column; of ``answer_start``, the table need not have it.
        locate: find each answer in its context, see `place`.

    Raises:
        DataError: something is missing or of a kind that cannot be used, or an answer is not in its context (with
            ``missing="drop"`` such rows are left out and counted in ``findings``).
    """
    question, context, answer = (columns[role] for role in ("question", "context", "answer"))
    for column in (question, context):
        check_texts(frame[column], f"column {column!r}", what)
    all_of = f"all of {question!r}, {context!r} and {answer!r}"
    kept = whole_rows(
        frame, [question, context, answer], missing, findings, what, all_of, f"without one of {all_of[7:]}"
    )
    starts = columns.get("answer_start")
    places = kept[starts] if starts in kept.columns else [None] * len(kept)
    found, index = [], list(kept.index)
    said: dict[str, list[Any]] = {"moved": [], "ambiguous": [], "absent": []}
    cells = zip(kept[question], kept[context], kept[answer], places, index, strict=True)
    for asked, text, value, place_of, row in cells:
        references = read_answers(value, place_of, f"{what}, row {row}")
        answers = tuple(reference for reference, _ in references)
        chosen, start, how = locate_one(str(text), references) if locate else ((*answers, "")[0], None, "")
        if how:
            said[how].append(row)
        found.append(Question(str(asked), str(text), answers, chosen, start))
    _report(said, missing, findings, what)
    absent = set(said["absent"])
    kept_rows = [i for i, row in enumerate(index) if row not in absent] if absent else list(range(len(index)))
    if not kept_rows:
        raise DataError(f"{what}: no answer stands in its context; say style = 'write' to learn to write answers")
    return Questions(found, index).take(kept_rows)


def read_answers(value: Any, start: Any, where: str) -> list[tuple[str, int | None]]:
    """The reference answers of a row and the characters they begin at, None where it is not said.

    Args:
        value: a text; a list of texts or of ``{"text", "answer_start"}``; or ``{"text": [...], "answer_start":
            [...]}`` as the Hub's SQuAD has it. An empty list: no answer.
        start: what the column of places holds: a number, a list of them, or nothing.
        where: the row, for the message.

    Raises:
        DataError: it is none of these, or there are more or fewer places than answers.
    """
    if isinstance(value, Mapping) and "text" in value:
        value, start = value["text"], value.get("answer_start", start)
    texts, starts = _as_list(value), _as_list(start)
    if texts and all(isinstance(one, Mapping) and "text" in one for one in texts):
        texts, starts = [one["text"] for one in texts], [one.get("answer_start") for one in texts]
    bad = [one for one in texts if not isinstance(one, str)]
    if bad:
        raise DataError(
            f"{where}: the answer {short(bad[0])} is {a_kind(bad[0])}; write a text, a list of texts, or "
            "{'text': [...], 'answer_start': [...]}; an empty list says that there is none"
        )
    if starts and all(_is_nothing(one) for one in starts):
        starts = []
    if starts and len(starts) != len(texts):
        raise DataError(f"{where}: {plural(len(texts), 'answer')}, but {len(starts)} of answer_start")
    numbers = [_whole(one, where) for one in starts] or [None] * len(texts)
    return [(text, number) for text, number in zip(texts, numbers, strict=True) if text.strip()]


def locate_one(context: str, references: Sequence[tuple[str, int | None]]) -> tuple[str, int | None, str]:
    """The first reference that stands in the context, where, and what is to be said: see `place`."""
    for text, given in references:
        start, how = place(context, text, given)
        if how != "absent":
            return text, start, how
    return "", None, "absent" if references else ""


def place(context: str, answer: str, given: int | None) -> tuple[int | None, str]:
    """The character at which an answer begins.

    Args:
        given: where it is said to begin; None when that is not known.

    Returns:
        The place, and ``""`` where it is certain; ``moved``: it is not where it was said to be, so the nearest place
        was taken; ``ambiguous``: it stands there several times and the first was taken; None and ``absent``.
    """
    if given is not None:
        if context.startswith(answer, given) and given >= 0:
            return given, ""
        before = context.rfind(answer, 0, max(given, 0) + len(answer))
        around = [start for start in (before, context.find(answer, max(given, 0))) if start >= 0]
        return (min(around, key=lambda start: abs(start - given)), "moved") if around else (None, "absent")
    first = context.find(answer)
    if first < 0:
        return None, "absent"
    return first, "ambiguous" if context.find(answer, first + 1) >= 0 else ""


def _report(said: Mapping[str, list[Any]], missing: str, findings: Findings, what: str) -> None:
    if said["absent"] and missing == "error":
        raise DataError(
            f"{what}: the answer does not stand in the context, letter for letter, in {rows(said['absent'])}. Correct "
            "them, say missing = 'drop' to leave them out, or style = 'write'"
        )
    if said["absent"]:
        findings.dropped += len(said["absent"])
        findings.warnings.append(
            f"{what}: {plural(len(said['absent']), 'row')} whose answer does not stand in the context left out: "
            f"{rows(said['absent'])}"
        )
    if said["moved"]:
        findings.warnings.append(
            f"{what}: {plural(len(said['moved']), 'answer')} not at answer_start; the nearest place was taken "
            f"({rows(said['moved'])})"
        )
    if said["ambiguous"]:
        findings.warnings.append(
            f"{what}: {plural(len(said['ambiguous']), 'answer')} several times in the context; the first place was "
            f"taken, a column answer_start would say which ({rows(said['ambiguous'])})"
        )


def _check_shared(train: Questions, valid: Questions, findings: Findings) -> None:
    """Warn about validation questions on contexts that training questions are about too."""
    known = {normalise(row.context) for row in train.rows}
    shared = [name for row, name in zip(valid.rows, valid.index, strict=True) if normalise(row.context) in known]
    if shared:
        findings.warnings.append(
            f"{len(shared):,} of {plural(len(valid), 'row')} to validate about contexts of the training data, so "
            f"validation looks better than it is: {rows(shared)}"
        )


def _split(questions: Questions, fraction: float, seed: int) -> tuple[Questions, Questions, str]:
    """Set contexts aside, with all their questions."""
    same = [0] * len(questions)
    kept, aside, how = split([row.context for row in questions.rows], same, fraction, seed)
    how = how.partition(", copies")[0].replace("stratified", "random").replace("texts", "contexts")
    if aside:
        how += ", by context"
    return questions.take(kept), questions.take(aside), how


def _as_list(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()  # Parquet and datasets give arrays
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None else [value]


def _is_nothing(value: Any) -> bool:
    return value is None or value != value


def _whole(value: Any, where: str) -> int | None:
    if _is_nothing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise DataError(f"{where}: answer_start is {short(value)}, not a whole number")
    return int(value)
