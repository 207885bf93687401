"""A fine-tuned model that gives a text a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt_magic.data.label_numbers import NumberData
from gpt_magic.errors import OptionError
from gpt_magic.tuned.labelled import TunedLabelled

if TYPE_CHECKING:
    import pandas as pd

    from gpt_magic.tasks.label_evaluation import NumberEvaluation


@dataclass(repr=False, kw_only=True)
class TunedRegressor(TunedLabelled):
    """A fine-tuned model for numbers, in the unit of its data; see `TunedModel` for what every tuned model has."""

    task = "regress"
    headline = {"mae": "MAE", "r2": "R²"}  # noqa: RUF012  # declared in TunedModel
    labels = NumberData

    def predict(self, x: Any, probabilities: bool = False) -> "pd.DataFrame":
        """Say numbers of texts.

        Args:
            x: one text, a sequence or Series of texts, or a table with the text column,
                in any form that ``data`` takes; a file as a `pathlib.Path`, because a str is a text. Of a model for
                pairs a tuple of two texts, a list of such, or a table with both columns.
            probabilities: there are none.

        Returns:
            A table in the order and with the index of ``x``: the columns of a table, or ``text``; then ``prediction``,
            and, where texts had to be cut, ``truncated``. A row without a text gets no prediction. Columns of these
            names that the table has are replaced.

        Raises:
            OptionError: probabilities are asked for.
            DataError: there is no text column, or nothing to predict.
        """
        if probabilities:
            raise OptionError("probabilities: a model that says numbers has none")
        return self._predict(x, lambda scores: {"prediction": scores[:, 0].astype(float)}, ["prediction"])

    def evaluate(self, data: Any, missing: str = "error") -> "NumberEvaluation":
        """Compare what it says with known numbers.

        Args:
            data: a table with the text and label columns of the training data, in any form that ``data`` takes.
            missing: ``error`` or ``drop`` for rows without text or number.

        Raises:
            OptionError: ``missing`` is neither.
            DataError: a column is missing, or a row cannot be used.
        """
        from gpt_magic.tasks.label_evaluation import evaluate_numbers

        examples = self._examples(data, missing)
        scores, cut = self._score(examples.texts, examples.index)
        return evaluate_numbers(scores[:, 0], examples.labels, int(cut.sum()))

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        does = (
            f"A model fine-tuned with gpt_magic. It gives {self._reads()}, a number in the unit of its training data: "
            "the one logit of the plain model."
        )
        limits = [
            "Figures hold for texts like those of the training data. The model repeats the biases of its base and of",
            "its training data.",
        ]
        return "text-classification", [does], limits
