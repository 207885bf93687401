"""The pre-flight, the final card and an evaluation, as static HTML and as plain text."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpt_magic.errors import clean, plural
from gpt_magic.notebook.markup import (
    BORDER,
    esc,
    facts_table,
    frame,
    narrow,
    note,
    number,
    number_table,
    passage,
    say,
    share,
    text_facts,
    text_table,
    title,
    warnings_list,
    warnings_text,
)
from gpt_magic.store import said_bytes
from gpt_magic.summary import Lengths, Preflight, Scores, Summary

if TYPE_CHECKING:
    from gpt_magic.store import Cache
    from gpt_magic.tasks.evaluation import Evaluation, LanguageEvaluation

_LENGTHS = "tokens a text"  # the fact whose place the picture takes
_LOWER_IS_BETTER = ("loss", "perplexity", "bits", "error", "mae", "rmse")
_SHARES = ("accuracy", "f1", "precision", "recall", "auc", "match")
_TRY = {"generate": "the beginning of a text", "answer": '"a question" "the text that answers it"'}
_MOST_CLASSES = 30
_MOST_MEMORISED = 8
_MOST_BARS = 16
_MOST_CONFUSED = 12


def preflight_html(p: Preflight) -> str:
    """What is about to happen."""
    facts = [(say(name, 40), say(value, 400)) for name, value in p.facts]
    if p.lengths:
        bars = f'<span style="font-family:monospace;white-space:pre-wrap;opacity:0.75">{_bars(p.lengths)}</span>'
        facts = _with_lengths(facts, f'<div style="line-height:1.3">{bars}</div>{_lengths_words(p.lengths)}')
    return frame(title(p.title), facts_table(facts), warnings_list(p.warnings))


def preflight_text(p: Preflight) -> str:
    """The same for a terminal."""
    facts = list(p.facts)
    if p.lengths:
        facts = _with_lengths(facts, f"{_bars(p.lengths)} tokens; {_lengths_words(p.lengths)}")
    return "\n".join([clean(p.title, 160), *text_facts(facts), *warnings_text(p.warnings)])


def _with_lengths(facts: Sequence[tuple[str, str]], said: str) -> list[tuple[str, str]]:
    """The facts with the picture of the lengths: it says all that the fact of that name would."""
    if _LENGTHS not in [name for name, _ in facts]:
        return [*facts, (_LENGTHS, said)]
    return [(name, said if name == _LENGTHS else value) for name, value in facts]


def _bars(lengths: Lengths) -> str:
    ends = lengths.edges or (0, lengths.longest)
    return f"{ends[0]:,} {bar_picture(lengths.counts)} {ends[-1]:,}"


def bar_picture(counts: Sequence[int]) -> str:
    """A histogram of text blocks; where there is anything at all there is a block."""
    blocks = "▁▂▃▄▅▆▇█"
    wide = math.ceil(len(counts) / _MOST_BARS) or 1
    counts = [sum(counts[i : i + wide]) for i in range(0, len(counts), wide)]
    most = max(counts, default=0)
    return "".join(
        blocks[min(math.ceil(count / most * len(blocks)), len(blocks)) - 1] if count > 0 else "\u2007"
        for count in counts
    )


def _lengths_words(lengths: Lengths) -> str:
    over = f"{lengths.over:,} over" if lengths.over else "none over"
    return (
        f"median {lengths.median:,}, 95 % up to {lengths.p95:,}, longest {lengths.longest:,}; "
        f"{over} the limit of {lengths.limit:,}"
    )


def card_html(summary: Summary) -> str:
    """What happened; stands in the notebook when the run is over."""
    parts = [title(summary.title), f'<div style="margin:2px 0">{_sign(summary)} {say(summary.status, 300)}</div>']
    if summary.name:
        name, text = esc(summary.name, 60), _TRY.get(summary.task, "some text")
        parts.append(note(f"The model is <code>{name}</code>; try <code>%predict {name} {text}</code>"))
    if summary.scores:
        parts.append(scores_html(summary.scores))
    parts.append(facts_table([(say(name, 40), say(value, 400)) for name, value in summary.facts]))
    return frame(*parts, warnings_list(summary.warnings))


def _marked(cell: str) -> str:
    return f"<strong>{cell}</strong>" if cell.startswith("★") else cell


def error_html(error: Exception) -> str:
    """What a run behind a finished cell ended with; a run in a cell raises it."""
    said = f"<strong>{esc(type(error).__name__)}</strong>: {say(error, 600)}"
    return frame(f'<div role="alert" style="border-left:3px solid #d55e00;padding-left:10px">✗ {said}</div>')


def card_text(summary: Summary) -> str:
    """The same for a terminal and for screen readers."""
    lines = [clean(summary.title, 160), f"{_sign(summary)} {clean(summary.status, 300)}"]
    if summary.name:
        lines.append(f"the model is {clean(summary.name, 60)}")
    if summary.scores:
        lines += ["", *scores_text(summary.scores), ""]
    return "\n".join([*lines, *text_facts(summary.facts), *warnings_text(summary.warnings)])


def scores_html(scores: Scores, limit: int = 80) -> str:
    """The metrics as a table; names of rows are cut to ``limit`` characters."""
    head, rows, marked = _scores(scores, limit)
    cells = [[say(row[0], limit), *(_marked(cell) for cell in row[1:])] for row in rows]
    said = note('<span style="font-size:0.9em">★ best in its column</span>') if marked else ""
    return number_table([say(name, 40) for name in head], cells) + said


def scores_text(scores: Scores, limit: int = 80) -> list[str]:
    """The same as lines."""
    head, rows, marked = _scores(scores, limit)
    return [*text_table(head, rows), *(["★ best in its column"] if marked else [])]


def _sign(summary: Summary) -> str:
    return "✓" if summary.ok else "✗"


def _scores(scores: Scores, limit: int) -> tuple[list[str], list[list[str]], bool]:
    """Head, rows, and whether the best of each column is marked: only where there is something to compare."""
    best = [_best(name, [values[i] for _, values in scores.rows]) for i, name in enumerate(scores.columns)]
    rows = [
        [
            clean(who, limit),
            *(_score(name, value, best[i]) for i, (name, value) in enumerate(zip(scores.columns, values, strict=True))),
        ]
        for who, values in scores.rows
    ]
    return ["", *(clean(name, 40) for name in scores.columns)], rows, any(value is not None for value in best)


def _best(name: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return None
    return min(known) if any(word in name.casefold() for word in _LOWER_IS_BETTER) else max(known)


def _score(name: str, value: float | None, best: float | None) -> str:
    is_share = any(word in name.casefold() for word in _SHARES) and value is not None and 0 <= value <= 1
    said = share(value) if is_share else number(value)
    return f"★ {said}" if best is not None and value == best else said


def evaluation_html(evaluation: "Evaluation") -> str:
    """Metrics, the classes one by one, and what was taken for what."""
    numbers = (evaluation.accuracy, evaluation.macro_f1, evaluation.weighted_f1)
    head = ["rows", "accuracy", "macro F1", "weighted F1", "calibration error", "loss"]
    row = [f"{evaluation.rows:,}", *map(share, (*numbers, evaluation.calibration_error)), number(evaluation.loss)]
    parts = [number_table(head, [row]), _per_class(evaluation), _confusion(evaluation)]
    if evaluation.truncated:
        parts.append(note(f"{evaluation.truncated:,} rows were longer than the model reads and were cut"))
    return frame(*parts)


def _per_class(evaluation: "Evaluation") -> str:
    table = evaluation.per_class
    rows = [
        [say(label, 60), share(precision), share(recall), share(f1), f"{support:,.0f}"]
        for label, precision, recall, f1, support in table.iloc[:_MOST_CLASSES].itertuples()
    ]
    more = len(table) - len(rows)
    rest = note(f"and {more:,} more in <code>.per_class</code>") if more > 0 else ""
    return number_table(["class", "precision", "recall", "F1", "rows"], rows) + rest


def _confusion(evaluation: "Evaluation") -> str:
    """The confusion matrix; of a large one, the most frequent mistakes."""
    matrix: Any = evaluation.confusion.to_numpy()
    names = [narrow(label, 40) for label in evaluation.confusion.index]
    if len(names) <= _MOST_CONFUSED:
        rows = [
            [name, *(f"<strong>{n:,}</strong>" if i == j else f"{n:,}" for j, n in enumerate(line))]
            for i, (name, line) in enumerate(zip(names, matrix.tolist(), strict=True))
        ]
        return number_table(["true class", *names], rows, "Confusion matrix; columns are predictions")
    wrong = [(n, i, j) for i, line in enumerate(matrix.tolist()) for j, n in enumerate(line) if n and i != j]
    rows = [[names[i], names[j], f"{n:,}"] for n, i, j in sorted(wrong, key=lambda w: -w[0])[:_MOST_CONFUSED]]
    return number_table(["true class", "taken for", "rows"], rows, "The most frequent mistakes") if rows else ""


def cache_html(cache: "Cache") -> str:
    """Where tokens are kept, and how to be rid of them."""
    facts = [
        ("folder", say(cache.folder, 300)),
        ("tables of tokens", f"{cache.entries:,}, {said_bytes(cache.size)} of at most {said_bytes(cache.cap)}"),
        ("runs", f"{cache.runs:,} to resume or going on, {said_bytes(cache.runs_size)}"),
    ]
    return frame(facts_table(facts), note("<code>gpt_magic.cache().clear()</code> removes them"))


def language_html(evaluation: "LanguageEvaluation") -> str:
    """Metrics of a language model, and what it repeats of its training texts where that was looked for."""
    head = ["rows", "tokens", "perplexity", "bits per character", "loss"]
    row = [f"{evaluation.rows:,}", f"{evaluation.tokens:,}"]
    row += map(number, (evaluation.perplexity, evaluation.bits_per_character, evaluation.loss))
    parts = [number_table(head, [row])]
    if evaluation.truncated:
        parts.append(note(f"{plural(evaluation.truncated, 'prompt')} lost the beginning, which did not fit"))
    if evaluation.memorised is not None:
        parts.append(_memorised(evaluation.memorised))
    return frame(*parts)


def _memorised(table: Any) -> str:
    """The longest passages that also stand in the training texts."""
    if not len(table):
        return note("No passage of the training texts was found again.")
    found = table.iloc[:_MOST_MEMORISED]
    most = table.groupby("kind", sort=False)["characters"].max()
    longest = "; ".join(f"{say(kind, 60)}: {characters:,} characters" for kind, characters in most.items())
    cells = zip(*(found[name] for name in ("kind", "characters", "words", "row", "text")), strict=True)
    line = "padding:3px 12px 3px 0;text-align:left;vertical-align:top"
    body = "".join(
        f'<tr style="background:transparent"><th scope="row" style="{line};font-weight:normal;opacity:0.75">'
        f"{say(kind, 60)}</th>"
        f'<td style="{line};white-space:nowrap">{characters:,} characters, {plural(int(words), "word")}</td>'
        f'<td style="{line}">{say(row, 40)}</td><td style="{line}">{passage(str(text), 300, 6)}</td></tr>'
        for kind, characters, words, row, text in cells
    )
    top = "".join(
        f'<th scope="col" style="{line};white-space:nowrap;font-weight:normal;opacity:0.75;border-bottom:{BORDER}">'
        f"{name}</th>"
        for name in ("what was written", "repeats", "of row", "this passage")
    )
    more = len(table) - len(found)
    return (
        note(
            "The longest passages that stand word for word in the training texts too. What is generated is memorised "
            f"where it repeats much longer ones than the held-out texts do. Longest: {longest}."
        )
        + '<div style="overflow-x:auto"><table style="margin:6px 0;border-collapse:collapse;font-size:inherit;'
        f'color:inherit"><thead style="border-bottom:none"><tr style="background:transparent">{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        + (note(f"and {more:,} more in <code>.memorised</code>") if more > 0 else "")
    )
