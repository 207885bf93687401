"""How well a model does: with labels, with texts it has not seen, with answers to questions."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpt_magic.errors import plural
from gpt_magic.inference.calibration import calibration_error, certainty, reliability

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a classifier, as scikit-learn defines them.

    Attributes:
        rows: rows that were scored.
        loss: mean cross-entropy in nats, unweighted.
        accuracy, macro_f1, weighted_f1: between 0 and 1.
        per_class: a row a class with ``precision``, ``recall``, ``f1``, ``support``.
        confusion: rows are true classes, columns predicted ones.
        truncated: rows of which the model read only a part.
        calibration_error: expected calibration error (Guo et al. 2017), 15 bins of equal width.
    """

    rows: int
    loss: float
    accuracy: float
    macro_f1: float
    weighted_f1: float
    per_class: "pd.DataFrame"
    confusion: "pd.DataFrame"
    truncated: int = 0
    calibration_error: float = float("nan")

    def __str__(self) -> str:
        head = (
            f"{plural(self.rows, 'row')}: accuracy {self.accuracy:.4f}, macro F1 {self.macro_f1:.4f}, "
            f"weighted F1 {self.weighted_f1:.4f}, loss {self.loss:.4f}, calibration error {self.calibration_error:.4f}"
        )
        if self.truncated:
            head += f"; {self.truncated:,} of them cut to what the model reads"
        return f"{head}\n\n{self.per_class.round(4)}\n\n{self.confusion}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.cards import evaluation_html

        return evaluation_html(self)


@dataclass(frozen=True)
class LanguageEvaluation:
    """Metrics of a language model.

    Attributes:
        rows: rows that were scored.
        loss: mean cross-entropy of the learned tokens in nats a token.
        perplexity: its exponential.
        bits_per_character: bits of all learned tokens over the characters that they spell; models with different
            tokenizers can be compared by it.
        tokens: learned tokens that were scored, ends of texts among them.
        truncated: rows of which something was read without the beginning of its prompt.
        memorised: the longest verbatim overlaps with the training texts, a row a text; None when not asked for.
    """

    rows: int
    loss: float
    perplexity: float
    bits_per_character: float
    tokens: int
    truncated: int = 0
    memorised: "pd.DataFrame | None" = None

    def __str__(self) -> str:
        said = (
            f"{plural(self.rows, 'row')}, {plural(self.tokens, 'token')}: perplexity {self.perplexity:,.2f}, "
            f"{self.bits_per_character:.4f} bits per character, loss {self.loss:.4f}"
        )
        if self.truncated:
            said += f"; {plural(self.truncated, 'prompt')} lost {'its' if self.truncated == 1 else 'their'} beginning"
        return said if self.memorised is None else f"{said}\n\n{self.memorised.to_string(max_colwidth=60)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.cards import language_html

        return language_html(self)


@dataclass(frozen=True)
class AnswerEvaluation:
    """Metrics of a model that answers questions, as the official SQuAD scripts define them; see `tasks.answers`.

    Attributes:
        rows: questions that were answered.
        exact_match, f1: between 0 and 1; the scripts say them in percent.
        answerable, unanswerable: rows, exact match and F1 of the questions with and without an answer; None where
            there are none of the kind. Of a question without an answer both are 1 when none was given.
        truncated: rows of which the model read only a part.
        by_character: characters were counted as words, as in Chinese.
    """

    rows: int
    exact_match: float
    f1: float
    answerable: tuple[int, float, float] | None
    unanswerable: tuple[int, float, float] | None
    truncated: int = 0
    by_character: bool = False

    def __str__(self) -> str:
        said = f"{plural(self.rows, 'row')}: exact match {self.exact_match:.4f}, F1 {self.f1:.4f}"
        for what, part in (("with an answer", self.answerable), ("without one", self.unanswerable)):
            if part is not None and self.unanswerable is not None:
                said += f"; {part[0]:,} {what}: exact match {part[1]:.4f}, F1 {part[2]:.4f}"
        if self.truncated:
            said += f"; {self.truncated:,} of them cut to what the model reads"
        return f"{said}; a character counts as a word" if self.by_character else said

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.answers import evaluation_html

        return evaluation_html(self)


def evaluate_answers(
    answers: Sequence[str], references: Sequence[Sequence[str]], truncated: int = 0
) -> AnswerEvaluation:
    """Compare answers, empty for none, with the reference answers of each question."""
    from gpt_magic.tasks.answers import score_answers

    scored = score_answers(answers, references)

    def part(which: np.ndarray) -> tuple[int, float, float] | None:
        if not which.any():
            return None
        return int(which.sum()), float(scored.exact[which].mean()), float(scored.overlap[which].mean())

    return AnswerEvaluation(
        rows=len(answers),
        exact_match=scored.exact_match,
        f1=scored.f1,
        answerable=part(scored.answerable),
        unanswerable=part(~scored.answerable),
        truncated=truncated,
        by_character=scored.by_character,
    )


def evaluate_classes(
    scores: np.ndarray, labels: Sequence[Hashable], classes: Sequence[Hashable], truncated: int = 0
) -> Evaluation:
    """Compare logits with known labels.

    Args:
        scores: logits, ``(rows, classes)``.
        labels: true label of each row, all among ``classes``.
        classes: the labels in the order of the logits.
    """
    import pandas as pd
    import torch
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    number = {label: i for i, label in enumerate(classes)}
    truth = np.array([number[label] for label in labels])
    chosen = scores.argmax(axis=1)
    every = range(len(classes))
    columns = precision_recall_fscore_support(truth, chosen, labels=every, zero_division=0)
    per_class = pd.DataFrame(
        dict(zip(("precision", "recall", "f1", "support"), columns, strict=True)),
        index=pd.Index(list(classes), name="class"),
    )
    # As in scikit-learn's default: classes that neither stand in the rows nor were predicted do not count.
    seen = sorted({*truth.tolist(), *chosen.tolist()})
    f1 = per_class["f1"].to_numpy()
    support = per_class["support"].to_numpy()
    return Evaluation(
        rows=len(truth),
        loss=float(torch.nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(truth))),
        accuracy=float(accuracy_score(truth, chosen)),
        macro_f1=float(f1[seen].mean()),
        weighted_f1=float((f1 * support).sum() / support.sum()),
        per_class=per_class,
        confusion=pd.DataFrame(
            confusion_matrix(truth, chosen, labels=every),
            index=pd.Index(list(classes), name="true"),
            columns=pd.Index(list(classes), name="predicted"),
        ),
        truncated=truncated,
        calibration_error=calibration_error(reliability(*certainty(scores, truth))),
    )
