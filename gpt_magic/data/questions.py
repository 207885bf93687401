"""Tables to checked and split questions about contexts. Needs neither torch nor a tokenizer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from gpt_magic.data.checks import Findings, check_leaks, check_texts, normalise, rows, whole_rows
from gpt_magic.data.columns import NAMES, Roles, find_roles, find_roles_in_valid
from gpt_magic.data.references import locate, read_references
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import split, warn_unvalidated
from gpt_magic.data.streams import Say
from gpt_magic.errors import DataError, plural
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_STYLE = "extract"
_TELL = 1000  # rows between two words of how far a check is


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


def read_questions(options: Options, frame: "pd.DataFrame", say: Say = lambda _: None) -> AnswerData:
    """Check the tables and settle who trains and who validates; a context stays on one side."""
    style = DEFAULT_STYLE if options.style == "auto" else str(options.style)
    findings = Findings()
    roles = question_roles(frame, options)
    if style == "write" and options.answer_start is not None:
        findings.warnings.append("answer_start does nothing for style = 'write'")
    train = check_questions(frame, roles.columns, options.missing, findings, "data", style == "extract", say)
    if options.valid is not None:
        valid_frame = read_table(options.valid, "valid", say)
        needed = {role: column for role, column in roles.columns.items() if role != "answer_start"}
        find_roles_in_valid(valid_frame, Roles(needed, roles.found))
        valid = check_questions(valid_frame, roles.columns, options.missing, findings, "valid", style == "extract", say)
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
    frame: "pd.DataFrame",
    columns: Mapping[str, str],
    missing: str,
    findings: Findings,
    what: str,
    extracts: bool,
    say: Say = lambda _: None,
) -> Questions:
    """Take question, context and answers from every row, or say which rows have none.

    Args:
        columns: role -> column; of ``answer_start``, the table need not have it.
        extracts: find each answer in its context, see `references.place`.
        say: told how far the check is; may raise to end it.

    Raises:
        DataError: something is missing or of a kind that cannot be used, or an answer is not in its context (with
            ``missing="drop"`` such rows are left out and counted in ``findings``).
    """
    question, context, answer = (columns[role] for role in ("question", "context", "answer"))
    for column in (question, context):
        check_texts(frame[column], f"column {column!r}", what)
    all_of = f"all of {question!r}, {context!r} and {answer!r}"
    lacking = f"without one of {all_of[7:]}"
    hints = {answer: " ([] says that there is no answer)"}
    kept = whole_rows(frame, [question, context, answer], missing, findings, what, all_of, lacking, hints)
    starts = columns.get("answer_start")
    places = kept[starts] if starts in kept.columns else [None] * len(kept)
    found: list[Question] = []
    index = list(kept.index)
    said: dict[str, list[Any]] = {"moved": [], "ambiguous": [], "absent": []}
    usable = []  # positions: several rows may have one name
    cells = zip(kept[question], kept[context], kept[answer], places, index, strict=True)
    for done, (asked, text, value, place_of, row) in enumerate(cells):
        if done and done % _TELL == 0:
            say(f"checking questions, {done:,} of {len(index):,} rows")
        references = read_references(value, place_of, f"{what}, row {row}")
        answers = tuple(reference for reference, _ in references)
        chosen, start, how = locate(str(text), references) if extracts else ((*answers, "")[0], None, "")
        if how:
            said[how].append(row)
        if how != "absent":
            usable.append(len(found))
        found.append(Question(str(asked), str(text), answers, chosen, start))
    _report(said, missing, findings, what)
    if not usable:
        raise DataError(f"{what}: no answer stands in its context; say style = 'write' to learn to write answers")
    return Questions(found, index).take(usable)


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
