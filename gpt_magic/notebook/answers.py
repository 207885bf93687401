"""Answers in their contexts and how many are right, as static HTML and as plain text."""

from typing import TYPE_CHECKING

from gpt_magic.notebook.markup import broken, frame, note, number_table, one_line, plain, say, share

if TYPE_CHECKING:
    from gpt_magic.tasks.evaluation import AnswerEvaluation
    from gpt_magic.tuned.answerer import Answer

_AROUND = 400  # characters of the context that are shown on either side of an answer
# Bold and underlined, so that it is seen without colour; the tint lets the page's own text colour stand on it.
_MARK = "text-decoration:underline;text-decoration-thickness:2px;background:rgba(86,180,233,0.3);padding:1px 2px"


def answer_html(answer: "Answer") -> str:
    """The question, the answer with its probability, and the context with the answer marked."""
    head = f'<div><strong dir="auto">{broken(plain(answer.question, 600))}</strong></div>'
    said = say(answer.answer, 400) if answer.answer else "no answer in this context"
    line = f'<div style="margin:4px 0">→ <bdi dir="auto">{said}</bdi> ({_chances(answer)})</div>'
    before, marked, after = _parts(answer)
    mark = f'<strong style="{_MARK}">{broken(marked)}</strong>' if marked else ""
    text = f'<div dir="auto" style="white-space:pre-wrap;margin:4px 0">{broken(before)}{mark}{broken(after)}</div>'
    other = note(f'else: <bdi dir="auto">{say(answer.runner_up)}</bdi>') if answer.runner_up else ""
    return frame(head, line, text, other)


def answer_text(answer: "Answer") -> str:
    """The same for a terminal and for screen readers: the answer stands between ⟦ and ⟧."""
    said = one_line(answer.answer) if answer.answer else "no answer in this context"
    before, marked, after = (plain(part) for part in _parts(answer))
    lines = [plain(answer.question, 600), f"→ {said} ({_chances(answer)})"]
    lines.append(f"{before}⟦{marked}⟧{after}" if marked else before)
    if answer.runner_up:
        lines.append(f"else: {one_line(answer.runner_up)}")
    return "\n".join(lines)


def evaluation_html(evaluation: "AnswerEvaluation") -> str:
    """Exact match and F1, also of the questions with and without an answer where there are both."""
    rows = [["all", f"{evaluation.rows:,}", share(evaluation.exact_match), share(evaluation.f1)]]
    if evaluation.unanswerable is not None:
        for name, part in (("with an answer", evaluation.answerable), ("without an answer", evaluation.unanswerable)):
            if part is not None:
                rows.append([name, f"{part[0]:,}", share(part[1]), share(part[2])])
    parts = [number_table(["questions", "rows", "exact match", "F1"], rows)]
    if evaluation.by_character:
        parts.append(note("Most answers are in a script without spaces: a character counts as a word."))
    if evaluation.truncated:
        parts.append(note(f"{evaluation.truncated:,} rows were longer than the model reads and were cut"))
    return frame(*parts)


def _chances(answer: "Answer") -> str:
    said = share(answer.score)
    if answer.answer and answer.no_answer is not None:
        said += f"; no answer {share(answer.no_answer)}"
    return said


def _parts(answer: "Answer") -> tuple[str, str, str]:
    """The context before the answer, the answer as it stands there, and what follows; without one, the beginning."""
    context = answer.context
    if answer.start is None or answer.end is None:
        return (context if len(context) <= 2 * _AROUND else context[: 2 * _AROUND] + "…"), "", ""
    before, after = context[: answer.start], context[answer.end :]
    return (
        before if len(before) <= _AROUND else "…" + before[-_AROUND:],
        context[answer.start : answer.end],
        after if len(after) <= _AROUND else after[:_AROUND] + "…",
    )
