"""A fine-tuned tagger: it finds entities in texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.annotations import plain_tokens
from gpt_magic.data.checks import Findings, blank
from gpt_magic.data.columns import Roles
from gpt_magic.data.schemes import OUTSIDE, bio_labels
from gpt_magic.data.sources import read_table
from gpt_magic.data.tagged import check_known_types, check_sentences, is_blank, is_list, tag_roles
from gpt_magic.data.words import join_words, split_words
from gpt_magic.errors import listing, markdown
from gpt_magic.lazy import mapped
from gpt_magic.options import Options
from gpt_magic.tuned.base import TunedModel, as_list

if TYPE_CHECKING:
    import pandas as pd

    from gpt_magic.tasks.entities import TagEvaluation

_PLAIN = """
```python
import torch
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("this folder")
words = ["Ada", " lives", " in", " London", "."]  # each with the space before it; punctuation apart
pieces = [tokenizer(word)["input_ids"] for word in words]
ids = sum(pieces, [])
last = torch.tensor([len(piece) for piece in pieces]).cumsum(0) - 1
{repeat}with torch.no_grad():
    logits = model(input_ids=torch.tensor([ids])).logits[0, last]  # (words, tags)
tags = [model.config.id2label[tag] for tag in logits.argmax(1).tolist()]
```"""
_REPEAT = """between = tokenizer("\\n")["input_ids"]  # the text is read twice and tagged at the second reading
ids, last = ids + between + ids, last + len(ids) + len(between)
"""


@dataclass(frozen=True)
class _Asked:
    """A text to tag.

    Attributes:
        text: as it is read.
        words: start and end of each word, ``(words, 2)``.
        kept: of listed tokens, which of them have a character and are words.
        tokens: how many were listed.
    """

    text: str
    words: np.ndarray
    kept: Sequence[int] = ()
    tokens: int = 0


@dataclass(repr=False, kw_only=True)
class TunedTagger(TunedModel):
    """A fine-tuned tagger; see `TunedModel` for what every tuned model has.

    Attributes:
        types: what an entity can be.
        repeat: whether texts are read twice and tagged at the second reading.
    """

    task = "tag"
    auto_class = "AutoModelForTokenClassification"
    kept = ("types", "repeat")
    headline = {"f1": "F1", "token_accuracy": "token accuracy"}  # noqa: RUF012  # declared in TunedModel

    types: Sequence[str]
    repeat: bool

    def predict(self, x: Any) -> "pd.DataFrame":
        """Find the entities of texts.

        Texts are split into words as `gpt_magic.data.words.split_words` says, and long ones read in windows that
        overlap. The tags are the likeliest that make whole entities (valid BIO).

        Args:
            x: one text, a sequence or Series of texts or of lists of tokens, or a table with a column of either, in
                any form that ``data`` takes; a file as a `pathlib.Path`, because a str is a text.

        Returns:
            A table in the order and with the index of ``x``: the columns of a table, or ``text`` or ``tokens``; then
            ``entities``, a list of ``{"start", "end", "label", "text", "confidence"}`` a row: places in characters,
            and the mean probability of the entity's tags. For lists of tokens also ``text``, the tokens with spaces
            between them, which the places are in, and ``tags``, a BIO tag a token. A row without a text gets None.
            Columns of these names that the table has are replaced.

        Raises:
            DataError: there is no column of texts or tokens, or nothing to predict.
        """
        import pandas as pd

        frame, cells, listed = self._cells(x)
        empty = blank(cells)
        some = cells[~empty]
        asked = [_listed(cell, f"data, row {row}") if listed else _written(cell) for row, cell in some.items()]
        scores = self._scores([one.text for one in asked], [one.words for one in asked], list(some.index))
        answers = [self._answer(*pair) for pair in zip(asked, scores, strict=True)]
        columns: dict[str, Sequence[Any]] = {"entities": [found for found, _ in answers]}
        if listed:
            columns = {"text": [one.text for one in asked], "tags": [tags for _, tags in answers], **columns}
        out = frame.copy()
        for name, values in columns.items():
            spread = np.full(len(out), None, dtype=object)
            for place, value in zip(np.flatnonzero(~empty.to_numpy()).tolist(), values, strict=True):
                spread[place] = value
            out[name] = pd.Series(spread, out.index, dtype=object)
        self._warn_empty(cells)
        return out

    def evaluate(self, data: Any, missing: str = "error") -> "TagEvaluation":
        """Compare the entities that are found with those that are known.

        Args:
            data: a table with the columns of the training data, or with others of the usual names, in any form that
                ``data`` takes. Where entities are given by characters, words are cut at their ends, as in training.
            missing: ``error`` or ``drop`` for rows with nothing in them.

        Raises:
            OptionError: ``missing`` is neither.
            DataError: a column is missing, a row cannot be used, or an entity has a type that is not in ``types``.
        """
        from gpt_magic.tasks.entities import TagEvaluation, tag_numbers
        from gpt_magic.tasks.spelling import Tally
        from gpt_magic.tasks.tag import measure

        Options().put("missing", missing)
        frame = read_table(data)
        known = set(self.columns.values()) <= set(frame.columns)
        roles = Roles(self.columns, ()) if known else tag_roles(frame, Options())
        sentences = check_sentences(frame, roles, missing, Findings(), [], "data")
        check_known_types(sentences, self.types, "")
        tally = Tally()
        tags = mapped(partial(tag_numbers, types=self.types), sentences.tags)
        rows = self._reader().encode(sentences.texts, sentences.words, tags, sentences.index, tally)
        loss, found = measure(self.model, rows, tally, tags, self.types, self.hidden)
        return TagEvaluation(len(sentences), found.words, loss, **found.scores(), per_type=found.per_type())

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        does = (
            "A tagger fine-tuned with gpt_magic. It finds entities in texts, of the types "
            f"{listing(map(markdown, self.types), 30)}: "
            "each word gets a BIO tag at its last token. In plain transformers, with `model` as below:"
        )
        limits = [
            "Figures hold for texts like those of the training data. The confidence of an entity is the mean of the",
            "model's own probabilities and was not calibrated. The model repeats the biases of its base and of its",
            "training data.",
        ]
        return "token-classification", [does, _PLAIN.format(repeat=_REPEAT if self.repeat else "")], limits

    def _cells(self, x: Any) -> "tuple[pd.DataFrame, pd.Series[Any], bool]":
        """The table to answer with, what is read of it, and whether that is lists of tokens."""
        import pandas as pd

        x = x if isinstance(x, np.ndarray) else as_list(x)
        several = isinstance(x, list | tuple | pd.Series)
        if several and any(map(is_list, x)):
            x = pd.DataFrame({"tokens": x if isinstance(x, pd.Series) else pd.Series(list(x), dtype=object)})
        elif isinstance(x, str | np.ndarray) or (several and not any(isinstance(item, dict) for item in x)):
            return *self._texts(x, "text"), False
        frame = read_table(x)
        cells = frame[self._column(frame, "text")]
        if not any(map(is_list, cells)):
            return *self._texts(frame, "text"), False
        return frame, pd.Series([None if is_blank(cell) else cell for cell in cells], cells.index, dtype=object), True

    def _column(self, frame: "pd.DataFrame", role: str) -> str:
        """The column to read: that of the training data, or one that is called so."""
        trained = [self.columns[name] for name in ("tokens", "text") if name in self.columns]
        found = next((name for name in (*trained, "tokens", "text") if name in frame.columns), None)
        return found or super()._column(frame, "tokens" if "tokens" in self.columns else role)

    def _reader(self) -> Any:
        from gpt_magic.tasks.spelling import Reader

        return Reader(self.tokenizer, self.max_length, self.repeat)

    def _scores(self, texts: list[str], words: list[np.ndarray], index: list[Any]) -> Iterator[np.ndarray]:
        """Log-probabilities of the tags, ``(words, tags)``, one text after another."""
        from gpt_magic.inference.tagging import score_words
        from gpt_magic.tasks.spelling import Tally

        tally, unknown = Tally(), [np.zeros(len(places), dtype=np.int64) for places in words]
        rows = self._reader().encode(texts, words, unknown, index, tally)
        return score_words(self.model, rows, tally.windows, self.hidden)

    def _answer(self, asked: _Asked, scores: np.ndarray) -> tuple[list[dict[str, Any]], list[str]]:
        """The entities of a text, and the tags of its listed tokens."""
        from gpt_magic.inference.tagging import best_tags, entities

        best = best_tags(scores)
        chances = np.exp(scores[np.arange(len(best)), best])
        found = []
        for first, stop, kind in entities(best):
            start, end = int(asked.words[first, 0]), int(asked.words[stop - 1, 1])
            place = {"start": start, "end": end, "label": self.types[kind], "text": asked.text[start:end]}
            found.append({**place, "confidence": float(chances[first:stop].mean())})
        names, tags = bio_labels(self.types), [OUTSIDE] * asked.tokens
        for token, tag in zip(asked.kept, best.tolist(), strict=False):  # of a written text none is asked for
            tags[token] = names[tag]
        return found, tags


def _written(text: Any) -> _Asked:
    return _Asked(str(text), split_words(str(text)))


def _listed(cell: Any, where: str) -> _Asked:
    tokens = plain_tokens(cell, "tokens", where)
    kept = [place for place, token in enumerate(tokens) if token.strip()]
    return _Asked(*join_words([tokens[place] for place in kept]), kept, len(tokens))
