"""Evaluations of several labels a row and of numbers, as static HTML."""

from typing import TYPE_CHECKING

from gpt_magic.notebook.markup import frame, note, number, number_table, say, share

if TYPE_CHECKING:
    from gpt_magic.tasks.label_evaluation import LabelSetEvaluation, NumberEvaluation

_MOST_LABELS = 30


def label_set_html(evaluation: "LabelSetEvaluation") -> str:
    """Metrics, and the labels one by one."""
    shares = (evaluation.micro_f1, evaluation.macro_f1, evaluation.average_precision, evaluation.exact_match)
    head = ["rows", "micro F1", "macro F1", "average precision", "exact match", "calibration error", "loss"]
    last = (share(evaluation.calibration_error), number(evaluation.loss))
    table = evaluation.per_label
    rows = [
        [say(label, 60), *map(share, (precision, recall, f1, average)), f"{support:,.0f}", f"{threshold:.3f}"]
        for label, precision, recall, f1, average, support, threshold in table.iloc[:_MOST_LABELS].itertuples()
    ]
    more = len(table) - len(rows)
    return frame(
        number_table(head, [[f"{evaluation.rows:,}", *map(share, shares), *last]]),
        number_table(["label", "precision", "recall", "F1", "average precision", "rows", "threshold"], rows),
        note(f"and {more:,} more in <code>.per_label</code>") if more > 0 else "",
        _cut(evaluation.truncated),
    )


def number_html(evaluation: "NumberEvaluation") -> str:
    """Metrics."""
    numbers = (evaluation.mae, evaluation.rmse, evaluation.r2, evaluation.spearman)
    head = ["rows", "MAE", "RMSE", "R²", "Spearman"]
    return frame(number_table(head, [[f"{evaluation.rows:,}", *map(number, numbers)]]), _cut(evaluation.truncated))


def _cut(truncated: int) -> str:
    return note(f"{truncated:,} rows were longer than the model reads and were cut") if truncated else ""
