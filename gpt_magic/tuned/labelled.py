"""What all tuned models that label texts share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_magic.data.checks import Examples, Findings, Text, as_texts, blank, check_rows, check_texts
from gpt_magic.data.columns import SECOND_TEXT
from gpt_magic.data.labelled import LabelledData, text_columns
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError, a_kind
from gpt_magic.options import Options
from gpt_magic.tuned.base import TunedModel, as_list

if TYPE_CHECKING:
    import pandas as pd

_DEPTH = 4  # frames between a warning and the cell that called `predict`


@dataclass(repr=False, kw_only=True)
class TunedLabelled(TunedModel):
    """A model that labels texts, or pairs of texts, at their last token.

    Attributes:
        labels: the reader's class that knows what a label is.
    """

    auto_class = "AutoModelForSequenceClassification"
    labels: ClassVar[type[LabelledData]]

    @property
    def pairs(self) -> bool:
        """Whether it labels pairs of texts."""
        return SECOND_TEXT in self.columns

    @property
    def outputs(self) -> int:
        """How many numbers it gives for a text."""
        return 1

    def _predict(
        self, x: Any, answer: Callable[[np.ndarray], Mapping[str, Any]], replaced: Sequence[str]
    ) -> "pd.DataFrame":
        """The table of ``x`` with what ``answer`` makes of its scores, ``(texts, outputs)``, a row without a text none.

        Args:
            answer: column -> values, an array of numbers or a list of anything.
            replaced: the columns that an earlier prediction may have left, and that go.
        """
        frame, texts = self._inputs(x)
        known = texts[texts.notna()]
        scores, cut = self._score(known.tolist(), known.index.tolist())
        out = frame.drop(columns=[*replaced, "truncated"], errors="ignore")
        at = np.flatnonzero(texts.notna())
        for name, values in answer(scores).items():
            out[name] = _spread(values, at, len(out))
        if cut.any():
            flags = np.zeros(len(out), dtype=bool)
            flags[at] = cut
            out["truncated"] = flags
            end = "last" if self.options.get("truncate") == "tail" else "first"
            self._warn_cut([row for row, flag in zip(known.index, cut, strict=True) if flag], end, _DEPTH)
        self._warn_empty(texts, _DEPTH)
        return out

    def _inputs(self, x: Any) -> "tuple[pd.DataFrame, pd.Series[Any]]":
        """The table to answer with, and its texts or pairs of texts, None where there is none."""
        import pandas as pd

        if self.pairs:
            frame = self._pair_table(x)
            columns = [frame[name] for name in text_columns(self.columns)]
            for column in columns:
                if column.notna().any():  # a column without any text is of another kind
                    check_texts(column, f"column {column.name!r}", "data")
        else:
            frame, texts = self._texts(x, "text")
            columns = [texts]
        empty = np.any([blank(column) for column in columns], axis=0)
        given = as_texts([[str(text) for text in column] for column in columns])
        known = [None if gap else text for text, gap in zip(given, empty, strict=True)]
        return frame, pd.Series(known, frame.index, dtype=object)

    def _pair_table(self, x: Any) -> "pd.DataFrame":
        """The table with pairs of texts that ``x`` is or stands for."""
        import pandas as pd

        names = text_columns(self.columns)
        if isinstance(x, str):
            raise DataError(
                f"this model labels pairs: give a tuple of two texts, or a table with {' and '.join(names)}"
            )
        if isinstance(x, tuple) and len(x) == 2 and all(isinstance(text, str) for text in x):
            x = [x]
        index = x.index if isinstance(x, pd.Series) else None
        x = x.tolist() if isinstance(x, pd.Series) else as_list(x)
        if isinstance(x, list | tuple) and (not x or not isinstance(x[0], Mapping)):
            if not x:
                raise DataError("nothing to predict: no texts were given")
            wrong = [row for row, pair in enumerate(x) if not isinstance(pair, list | tuple) or len(pair) != 2]
            if wrong:
                row = wrong[0] if index is None else index[wrong[0]]
                raise DataError(f"data, row {row}: {a_kind(x[wrong[0]])}, not a pair of texts")
            return pd.DataFrame({name: [pair[i] for pair in x] for i, name in enumerate(names)}, index, dtype=object)
        frame = read_table(x)
        for role in ("text", SECOND_TEXT):
            self._column(frame, role)
        return frame

    def _examples(self, data: Any, missing: str) -> Examples:
        """Texts with known labels.

        Raises:
            OptionError: ``missing`` is neither ``error`` nor ``drop``.
            DataError: a column is missing, or a row cannot be used.
        """
        Options().put("missing", missing)
        frame = read_table(data)
        for role in self.columns:
            self._column(frame, role)
        texts, label = text_columns(self.columns), self.columns["label"]
        return check_rows(frame, texts, label, missing, Findings(), "data", self.labels.read_labels)

    def _score(self, texts: Sequence[Text], index: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """What the head gives, ``(texts, outputs)``, and whether each text had to be cut, ``(texts,)``."""
        from gpt_magic.inference.scoring import score_last
        from gpt_magic.tasks.labelled import logits, tokenize

        if not texts:
            return np.zeros((0, self.outputs), dtype=np.float32), np.zeros(0, dtype=bool)
        ids, lengths = tokenize(texts, self.tokenizer, self.max_length, self._truncate, index)
        return score_last(self.model, ids, logits, self.hidden), lengths > self.max_length

    @property
    def _truncate(self) -> str:
        return "tail" if self.options.get("truncate") == "tail" else "head"

    def _reads(self) -> str:
        """What it reads, for the model card."""
        return f"{'a pair of texts' if self.pairs else 'a text'}, at most {self.max_length:,} tokens"


def _spread(values: Any, at: np.ndarray, rows: int) -> Any:
    """Values for the rows at ``at``, a gap in all others."""
    if len(values) == rows:
        return values
    if isinstance(values, np.ndarray):
        numbers = np.full(rows, np.nan)
        numbers[at] = values
        return numbers
    out = np.full(rows, None, dtype=object)
    for place, value in zip(at, values, strict=True):
        out[place] = value
    return out
