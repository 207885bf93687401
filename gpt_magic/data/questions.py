"""Tables to checked and split questions about contexts. Needs neither torch nor a tokenizer."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.cells import cells, groups, text_hashes, texts_of, told
from gpt_magic.data.checks import Findings, check_leaks, check_texts, normalise, rows, whole_positions
from gpt_magic.data.columns import NAMES, Roles, find_roles, find_roles_in_valid
from gpt_magic.data.references import locate, read_references
from gpt_magic.data.sources import read_table
from gpt_magic.data.splits import set_aside, warn_unvalidated
from gpt_magic.data.streams import Say
from gpt_magic.errors import DataError, plural
from gpt_magic.lazy import At, mapped, named, take
from gpt_magic.options import Options

if TYPE_CHECKING:
    import pandas as pd

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
    """Checked questions, in the order of the table, and the table's index values.

    Of a large table they are read when asked for.
    """

    rows: Sequence[Question]
    index: Sequence[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> Sequence[str]:
        """The questions with their contexts as plain texts."""
        return mapped(lambda row: f"{row.question}\n{row.context}", self.rows)

    @property
    def contexts(self) -> Sequence[str]:
        """What each question is about."""
        return mapped(attrgetter("context"), self.rows)

    @cached_property
    def different_contexts(self) -> np.ndarray:
        """The first row of each context, ``(contexts,)``, ascending."""
        return groups(text_hashes(self.contexts))[1]

    @property
    def references(self) -> Sequence[tuple[str, ...]]:
        """The reference answers of each row."""
        return mapped(attrgetter("answers"), self.rows)

    @cached_property
    def unanswerable(self) -> int:
        """Rows that have no answer."""
        return sum(not answers for answers in self.references)

    def take(self, positions: Iterable[int] | At) -> "Questions":
        """The rows at ``positions``."""
        at = positions if isinstance(positions, range | np.ndarray) else np.array(list(positions), dtype=np.int64)
        return Questions(take(self.rows, at), take(self.index, at))


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
    at = whole_positions(frame, [question, context, answer], missing, findings, what, all_of, lacking, hints)
    index, starts = cells(frame.index, at), columns.get("answer_start")
    looked = mapped(
        partial(_look, what=what, extracts=extracts),
        *(texts_of(frame[column], at) for column in (question, context)),
        cells(frame[answer], at),
        cells(frame[starts], at) if starts in frame.columns else named(np.zeros(len(index), dtype=np.int8), [None]),
        index,
    )
    said = {how: array("q") for how in ("moved", "ambiguous", "absent")}
    for place, (_, how) in enumerate(told(looked, "checking questions", say)):
        if how:
            said[how].append(place)
    found = Questions(mapped(itemgetter(0), looked), index)
    _report({how: take(index, np.array(places)) for how, places in said.items() if places}, missing, findings, what)
    if not said["absent"]:
        return found
    usable = np.delete(np.arange(len(found)), said["absent"])  # positions: several rows may have one name
    if not len(usable):
        raise DataError(f"{what}: no answer stands in its context; say style = 'write' to learn to write answers")
    return found.take(usable)


def _look(
    question: str, context: str, answer: Any, start: Any, row: Any, what: str, extracts: bool
) -> tuple[Question, str]:
    """A row, and what is to be said of its answer's place, see `references.place`."""
    references = read_references(answer, start, f"{what}, row {row}")
    answers = tuple(reference for reference, _ in references)
    chosen, place, how = locate(context, references) if extracts else ((*answers, "")[0], None, "")
    return Question(question, context, answers, chosen, place), how


def _report(said: Mapping[str, Sequence[Any]], missing: str, findings: Findings, what: str) -> None:
    absent, moved, ambiguous = (said.get(how, ()) for how in ("absent", "moved", "ambiguous"))
    if absent and missing == "error":
        raise DataError(
            f"{what}: the answer does not stand in the context, letter for letter, in {rows(absent)}. Correct "
            "them, say missing = 'drop' to leave them out, or style = 'write'"
        )
    if absent:
        findings.dropped += len(absent)
        findings.warnings.append(
            f"{what}: {plural(len(absent), 'row')} whose answer does not stand in the context left out: {rows(absent)}"
        )
    if moved:
        findings.warnings.append(
            f"{what}: {plural(len(moved), 'answer')} not at answer_start; the nearest place was taken ({rows(moved)})"
        )
    if ambiguous:
        findings.warnings.append(
            f"{what}: {plural(len(ambiguous), 'answer')} several times in the context; the first place was "
            f"taken, a column answer_start would say which ({rows(ambiguous)})"
        )


def _check_shared(train: Questions, valid: Questions, findings: Findings) -> None:
    """Warn about validation questions on contexts that training questions are about too."""
    known, asked = (text_hashes(mapped(normalise, part.contexts)) for part in (train, valid))
    shared = take(valid.index, np.flatnonzero(np.isin(asked, known)))
    if len(shared):
        findings.warnings.append(
            f"{len(shared):,} of {plural(len(valid), 'row')} to validate about contexts of the training data, so "
            f"validation looks better than it is: {rows(shared)}"
        )


def _split(questions: Questions, fraction: float, seed: int) -> tuple[Questions, Questions, str]:
    """Set contexts aside, with all their questions."""
    same = named(np.zeros(len(questions), dtype=np.int8), [0])
    held, how = set_aside(questions.contexts, same, fraction, seed)
    how = how.partition(", copies")[0].replace("stratified", "random").replace("texts", "contexts")
    if held.any():
        how += ", by context"
    return questions.take(np.flatnonzero(~held)), questions.take(np.flatnonzero(held)), how
