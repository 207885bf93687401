"""A fine-tuned tagger: it finds entities in texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.annotations import plain_tokens
from gpt_magic.data.checks import Findings, blank
from gpt_magic.data.columns import Roles
from gpt_magic.data.schemes import OUTSIDE, bio_labels
from gpt_magic.data.sources import read_table
from gpt_magic.data.tagged import check_known_types, check_sentences, tag_roles
from gpt_magic.data.words import join_words, split_words
from gpt_magic.errors import DataError, listing
from gpt_magic.options import Options
from gpt_magic.tuned.base import TunedModel

if TYPE_CHECKING:
    import pandas as pd

    from gpt_magic.tasks.entities import TagEvaluation


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

        A text is split into words as `gpt_magic.data.words.split_words` says; of several words that touch, each has
        a tag. The tags are the likeliest that make whole entities (valid BIO).

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

        frame, cells, tokens = self._cells(x)
        empty = blank(cells)
        texts, words = [], []
        kept: list[list[int]] = []  # of each row the tokens that have a character
        for row, cell in cells[~empty].items():
            if tokens:
                listed = plain_tokens(cell, str(cells.name), f"data, row {row}")
                kept.append([i for i, token in enumerate(listed) if token.strip()])
                text, places = join_words([listed[i] for i in kept[-1]])
            else:
                text, places = str(cell), split_words(str(cell))
            texts.append(text)
            words.append(places)
        answers = [
            self._answer(text, places, *found)
            for text, places, found in zip(texts, words, self._tagged(texts, words, cells[~empty].index), strict=True)
        ]
        out = frame.copy()
        at = np.flatnonzero(~empty.to_numpy())

        def put(name: str, values: Sequence[Any]) -> None:
            spread = np.full(len(out), None, dtype=object)
            for place, value in zip(at.tolist(), values, strict=True):
                spread[place] = value
            out[name] = pd.Series(spread, index=out.index, dtype=object)

        if tokens:
            put("text", texts)
            sizes = [len(cell) for cell in cells[~empty]]
            put("tags", [_spread(tags, *more) for (tags, _), *more in zip(answers, kept, sizes, strict=True)])
        put("entities", [found for _, found in answers])
        self._warn_empty(cells)
        return out

    def evaluate(self, data: Any, missing: str = "error") -> "TagEvaluation":
        """Compare the entities that are found with those that are known.

        Args:
            data: a table with the columns of the training data, or with others of the usual names, in any form that
                ``data`` takes. Where entities are given by characters, words are cut at their ends as in training.
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
        tags = [tag_numbers(tags, self.types) for tags in sentences.tags]
        rows = self._reader().encode(sentences.texts, sentences.words, tags, sentences.index, tally)
        loss, found = measure(self.model, rows, tally, tags, list(self.types), self.hidden)
        return TagEvaluation(
            rows=len(sentences), words=found.words, loss=loss, **found.scores(), per_type=found.per_type()
        )

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        repeat = (
            [
                'twice = tokenizer("\\n")["input_ids"]                        # the text is read twice,',
                "ids, last = ids + twice + ids, last + len(ids) + len(twice)  # and tagged at the second reading",
            ]
            if self.repeat
            else []
        )
        does = [
            "A tagger fine-tuned with gpt_magic. It finds the entities of a text, which are of the types "
            f"{listing(self.types, 30)}; it tags words in BIO, each at its last token. In plain transformers, with `model`"
            " as below:",
            "",
            "```python",
            "import torch",
            "from transformers import AutoTokenizer",
            'tokenizer = AutoTokenizer.from_pretrained("this folder")',
            "# Punctuation marks are words of their own; a word is spelled with the space before it.",
            'words = ["Ada", " lives", " in", " London", "."]',
            'pieces = [tokenizer(word)["input_ids"] for word in words]',
            "ids = sum(pieces, [])",
            "last = torch.tensor([len(piece) for piece in pieces]).cumsum(0) - 1",
            *repeat,
            "with torch.no_grad():",
            "    logits = model(input_ids=torch.tensor([ids])).logits[0, last]  # (words, tags)",
            "tags = [model.config.id2label[i] for i in logits.argmax(1).tolist()]",
            "```",
        ]
        limits = [
            "Figures hold for texts like those of the training data. The confidence of an entity is the mean of the",
            "model's own probabilities and was not calibrated. The model repeats the biases of its base and of its",
            "training data.",
        ]
        return "token-classification", does, limits

    def _cells(self, x: Any) -> "tuple[pd.DataFrame, pd.Series[Any], bool]":
        """The table to answer with, what is read of it, and whether that is lists of tokens."""
        import pandas as pd

        if isinstance(x, list | tuple) and any(_is_list(item) for item in x):
            x = pd.Series(list(x), dtype=object)
        if isinstance(x, pd.Series) and any(_is_list(item) for item in x):
            frame, column = pd.DataFrame({"tokens": x}), "tokens"
        elif isinstance(x, str | pd.Series | np.ndarray) or (
            isinstance(x, list | tuple) and (not x or not isinstance(x[0], dict))
        ):
            return *self._texts(x, "text"), False
        else:
            frame = read_table(x)
            column = self._column_to_read(frame)
        cells = frame[column]
        if not any(_is_list(cell) for cell in cells):
            return *self._texts(frame.assign(**{self.columns.get("text", "text"): cells}), "text"), False
        blanks = [_is_list(cell) and not any(str(token).strip() for token in cell) for cell in cells]
        return frame, cells.mask(pd.Series(blanks, index=cells.index), None), True

    def _column_to_read(self, frame: "pd.DataFrame") -> str:
        wanted = [self.columns[role] for role in ("tokens", "text") if role in self.columns]
        found = next((name for name in (*wanted, "tokens", "text") if name in frame.columns), None)
        if found is None:
            raise DataError(
                f"the data have no column {wanted[0]!r}, nor 'tokens' or 'text'; theirs are "
                f"{listing(map(repr, frame.columns), 12)}"
            )
        return found

    def _reader(self) -> Any:
        from gpt_magic.tasks.spelling import Reader

        return Reader(self.tokenizer, self.max_length, self.repeat)

    def _tagged(self, texts: list[str], words: list[np.ndarray], index: Any) -> Any:
        """Numbers of the best tags ``(words,)`` and their probabilities ``(words,)``, one text after another."""
        from gpt_magic.inference.tagging import best_tags, score_words
        from gpt_magic.tasks.spelling import Tally

        tally = Tally()
        nothing = (np.zeros(len(places), dtype=np.int64) for places in words)
        rows = self._reader().encode(texts, words, nothing, list(index), tally)
        for scores in score_words(self.model, rows, tally.windows, self.hidden):
            best = best_tags(scores)
            yield best, np.exp(scores[np.arange(len(best)), best])

    def _answer(
        self, text: str, words: np.ndarray, best: np.ndarray, chances: np.ndarray
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """The tags of a text, and its entities."""
        from gpt_magic.inference.tagging import entities

        names = bio_labels(self.types)
        found = []
        for first, stop, kind in entities(best):
            start, end = int(words[first, 0]), int(words[stop - 1, 1])
            found.append(
                {
                    "start": start,
                    "end": end,
                    "label": self.types[kind],
                    "text": text[start:end],
                    "confidence": float(chances[first:stop].mean()),
                }
            )
        return [names[tag] for tag in best.tolist()], found


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple | np.ndarray)


def _spread(tags: list[str], kept: list[int], size: int) -> list[str]:
    """A tag for every token, ``O`` for those without a character."""
    whole = [OUTSIDE] * size
    for place, tag in zip(kept, tags, strict=True):
        whole[place] = tag
    return whole
