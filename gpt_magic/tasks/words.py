"""Classification by words: the language model says how likely the name of each label is behind a text."""

from array import array
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from threading import Event
from typing import Any

import numpy as np

from gpt_magic.data.checks import Examples, Text
from gpt_magic.data.labelled import LabelledData
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Hidden
from gpt_magic.errors import DataError, ModelError, OptionError, listing, plural, short
from gpt_magic.inference.calibration import Calibration
from gpt_magic.inference.label_tree import LabelTree, label_tree, score_labels
from gpt_magic.lazy import mapped
from gpt_magic.models.find import Base
from gpt_magic.models.load import load_language_model
from gpt_magic.models.tokenizer import closing_tokens
from gpt_magic.tasks import baselines
from gpt_magic.tasks.classify import class_fact, quick_metrics
from gpt_magic.tasks.keys import token_key
from gpt_magic.tasks.labelled import UNSETTLED, long_texts, refuse_long, settle_temperature
from gpt_magic.tasks.language import Learned, NextToken, encode
from gpt_magic.tasks.task import Check, Completed, Row, Rows, Task

PLACE = "{text}"  # where the text stands in a template


@dataclass
class WordsTask(Task):
    """``task = "classify"``, ``style = "words"``."""

    name = "classify"
    kind = "words"
    scores = {"accuracy": "accuracy", "macro_f1": "macro F1"}  # noqa: RUF012  # declared in Task
    ignores = ("class_weights",)
    measure = "calibrated_loss"
    compares_base = True
    reads_hidden = False  # the labels' tokens stand behind the texts'

    data: LabelledData
    _vocabulary: int = field(init=False, default=0)
    _tree: LabelTree = field(init=False)
    _calibration: Calibration | None = field(init=False, default=None)
    _scores: np.ndarray | None = field(init=False, default=None)  # of the last evaluation

    @property
    def template(self) -> str:
        """The template in use."""
        return check_template(self.options.template, self.data.roles.columns["label"])

    @property
    def objective(self) -> NextToken:
        """Cross-entropy of the tokens of each text's label."""
        return NextToken(self._vocabulary)

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Prompts with the names of their labels, of which the names and the ends are learned."""
        data, truncate = self.data, self.options.truncate
        self.tokenizer = tokenizer
        named = label_ids(data.classes, tokenizer, self.template)
        self._tree = label_tree(named)
        train = self._tokens(data.train, named, limit, check, 0)
        valid = self._tokens(data.valid, named, limit, check, len(data.train))
        room, lengths = prompt_room(limit, named), train.notes["lengths"]
        return Rows(
            train=train,
            valid=valid,
            facts=[
                class_fact(data.train.labels, data.classes),
                ("words", f"behind {short(self.template)}, such as {label_text(data.classes[0], self.template)!r}"),
                *length_facts(lengths, int(train.lengths().sum())),
            ],
            warnings=[
                *long_texts(lengths, room, truncate, "training", data.train.index),
                *long_texts(valid.notes["lengths"], room, truncate, "validation", data.valid.index),
            ],
            lengths=length_picture(lengths, room),
        )

    def _tokens(
        self, examples: Examples, named: Sequence[Sequence[int]], limit: int, check: Check, before: int
    ) -> Encoded:
        """Rows for the loop, made anew or found; ``before`` rows of others were made."""
        texts, index, truncate = examples.texts, examples.index, self.options.truncate
        numbers = self._numbers(examples.labels)
        every = (part for row in zip(texts, numbers.tolist(), strict=True) for part in _parts(*row))
        key, need = token_key(self.tokenizer, every, "words", self.template, named, limit, truncate)
        lengths: array[int] = array("q")

        def learned() -> Iterator[Learned]:
            made = made_prompts(texts, self.tokenizer, self.template, prompt_room(limit, named), truncate, index, check)
            for (ids, length), number, name in zip(made, numbers, index, strict=True):
                lengths.append(length)
                yield _learned(ids, named[number], name)

        made = encode(self.watched(learned(), before), limit, key, notes={"lengths": lengths}, need=need)
        return replace(made, index=index)  # a row a text; those that were found may have had other names

    def load(self, base: Base) -> Any:
        """The base with its language-model head."""
        model = load_language_model(base, self.options.dropout)
        self._vocabulary = int(model.get_output_embeddings().weight.shape[0])
        return model

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss in nats a token of the right labels, accuracy and macro F1 of the likeliest labels."""
        scores, truth = self._scored(model, rows, hidden, check), self._truth()
        self._scores = scores
        tokens = sum(map(len, rows.scored))
        found = quick_metrics(scores, truth, np.ones(len(truth)))
        return {**found, "loss": -float(scores[np.arange(len(truth)), truth].astype(np.float64).sum()) / tokens}

    def read_in_evaluations(self, rows: Encoded) -> Encoded:
        """Prompts with all labels behind them, each token of which is scored."""
        tail = self._tree.tokens.astype(np.int32)
        ends = [int(scored[0]) + 1 for scored in rows.scored]
        places = np.arange(1 + len(tail))
        return Encoded(
            ids=mapped(lambda row, end: np.concatenate([row[:end], tail]), rows.ids, ends),
            scored=mapped(lambda end: end - 1 + places, ends),
            targets=mapped(lambda _: np.zeros(len(places), dtype=np.int64), ends),
            index=rows.index,
        )

    def complete(self, model: Any, rows: Encoded, hidden: Hidden, *, evaluated: bool = False) -> Completed:
        """A temperature."""
        if not self.options.calibrate:
            return Completed()
        if not len(rows):
            return UNSETTLED
        known = self._scores if evaluated else None
        scores = self._scored(model, rows, hidden, lambda: None) if known is None else known
        self._calibration, said = settle_temperature(scores, self._truth(), self.options.seed)
        return said

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:
        """The majority class, and TF-IDF + logistic regression."""
        return baselines.compare(self.data.train, self.data.valid, self.options.seed, stop)

    def own(self) -> dict[str, Any]:
        """The classes, the template, and how the temperature was settled."""
        return {
            "classes": list(self.data.classes),
            "template": self.template,
            "calibration": asdict(self._calibration) if self._calibration else None,
        }

    def _scored(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> np.ndarray:
        """Scores of the labels for validation rows, ``(rows, classes)``."""
        starts = [ids[: scored[0] + 1] for ids, scored in zip(rows.ids, rows.scored, strict=True)]
        return score_labels(model, starts, self._tree, hidden, check)

    def _truth(self) -> np.ndarray:
        """The numbers of the validation rows' own labels, ``(rows,)``."""
        return self._numbers(self.data.valid.labels)

    def _numbers(self, labels: Sequence[Hashable]) -> np.ndarray:
        number = {label: i for i, label in enumerate(self.data.classes)}
        return np.fromiter((number[label] for label in labels), dtype=np.int64, count=len(labels))


def check_template(template: str | None, label: str) -> str:
    """The template as given, or the default: the text, a line break, the label's column and a colon.

    Raises:
        OptionError: it has no one place for the text.
    """
    if template is None:
        return f"{PLACE}\n{label.replace(PLACE, 'label')}:"
    if template.count(PLACE) != 1:
        raise OptionError(f"template = {short(template)}: must hold {PLACE} once, where the text goes")
    return template


def label_text(label: Hashable, template: str) -> str:
    """How a label is written behind a prompt."""
    return str(label) if template[-1:].isspace() else f" {label}"


def label_ids(classes: Sequence[Hashable], tokenizer: Any, template: str) -> list[list[int]]:
    """Token ids of each label as it is written behind a prompt, with the end-of-text token that ends it.

    Raises:
        ModelError: the tokenizer has no end-of-text token.
        DataError: two labels have the same tokens.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("the base's tokenizer has no end-of-text token to tell where a label ends: set its eos_token")
    texts = [label_text(label, template) for label in classes]
    found = [[*ids, end] for ids in token_ids(texts, tokenizer, [short(label) for label in classes], whole=False)]
    alike = [label for label, ids in zip(classes, found, strict=True) if found.count(ids) > 1]
    if alike:
        raise DataError(f"the tokenizer makes the same tokens of the labels {listing(map(short, alike))}")
    return found


def prompt_room(limit: int, named: Sequence[Sequence[int]]) -> int:
    """Tokens that a prompt may have, so that of the longest label all but the end can be read behind it."""
    return limit + 1 - max(map(len, named))


def prompts(
    texts: Sequence[Text],
    tokenizer: Any,
    template: str,
    room: int,
    truncate: str,
    index: Sequence[Any],
    check: Check = lambda: None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """What `made_prompts` gives, all of it: the ids, ``(tokens,)`` each, and the lengths, ``(texts,)``."""
    made = [*made_prompts(texts, tokenizer, template, room, truncate, index, check)]
    return [ids for ids, _ in made], np.array([length for _, length in made], dtype=np.int64)


def made_prompts(
    texts: Sequence[Text],
    tokenizer: Any,
    template: str,
    room: int,
    truncate: str,
    index: Sequence[Any],
    check: Check = lambda: None,
) -> Iterator[tuple[np.ndarray, int]]:
    """Token ids of each text in the template, the three parts tokenised apart and the text cut so that all fits.

    The two texts of a pair stand in two lines.

    Args:
        room: most tokens of a prompt.
        truncate: ``head`` keeps the beginning of a text, ``tail`` the end, ``error`` refuses.
        index: the rows' names, for messages.

    Yields:
        The ids, ``(tokens,)``, and how many there were before cutting.

    Raises:
        OptionError: there is no room for a text.
        DataError: with ``truncate="error"``, a prompt is longer than ``room``; said when all were read.
    """
    before, after = template.split(PLACE)
    opening = tokenizer(before)["input_ids"]
    opening = opening[: len(opening) - closing_tokens(tokenizer)]
    closing = tokenizer(after, add_special_tokens=False)["input_ids"]
    left = room - len(opening) - len(closing)
    if left < 1:
        raise OptionError(
            f"max_length leaves {plural(max(room, 0), 'token')} for a prompt, and the template alone has "
            f"{len(opening) + len(closing):,}: a shorter template, shorter labels or a larger max_length"
        )
    whole = mapped(lambda text: text if isinstance(text, str) else "\n".join(text), texts) if len(texts) else []
    lengths: array[int] = array("q")
    for row in token_ids(whole, tokenizer, index, check, whole=False):
        lengths.append(len(opening) + len(row) + len(closing))
        kept = row[-left:] if truncate == "tail" else row[:left]
        yield np.array([*opening, *kept, *closing], dtype=np.int32), lengths[-1]
    if truncate == "error":
        refuse_long(np.array(lengths), room, index)


def _parts(text: Text, number: int) -> Iterator[str]:
    """All that differs from row to row: a text or two, and the label."""
    yield from (text,) if isinstance(text, str) else text
    yield str(number)


def _learned(prompt: np.ndarray, end: Sequence[int], row: Any) -> Learned:
    """A prompt and the label behind it, which is learned."""
    ids = np.concatenate([prompt, np.array(end, dtype=np.int32)])
    return Learned(ids, np.arange(len(ids)) >= len(prompt), row)
