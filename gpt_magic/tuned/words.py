"""A language model that classifies by how likely it finds the name of each label behind a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt_magic.data.checks import Text
from gpt_magic.errors import markdown
from gpt_magic.tuned.classifier import TunedClassifier, card_limits


@dataclass(repr=False, kw_only=True)
class TunedWords(TunedClassifier):
    """A language model that classifies by words; see `TunedClassifier`.

    A label's score is the log-probability of its name and the end-of-text token behind the prompt, over the
    temperature; the probabilities are those of all labels' scores, whose exponentials are made to sum to 1.

    Attributes:
        template: what the model reads, with ``{text}`` for the text.
        calibration: the fields of a `Calibration`, or None; its temperature divides the scores here, as a
            language-model head, which the embedding shares, cannot hold it.
    """

    kind = "words"
    auto_class = "AutoModelForCausalLM"
    kept = (*TunedClassifier.kept, "template")

    template: str

    @property
    def temperature(self) -> float:
        """What scores are divided by."""
        return float(self.calibration["temperature"]) if self.calibration else 1.0

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        from gpt_magic.tasks.words import label_text

        first = label_text(self.classes[0], self.template)
        trained = "fine-tuned with gpt_magic" if self.metrics else "as it is, used by gpt_magic"
        does = (
            f"A language model {trained} to classify by words. It labels {self._reads()}, with one of "
            f"{len(self.classes)} classes."
        )
        how = [
            f"The prompt is {markdown(repr(self.template))} with the text in its place.",
            "A label's score is the sum of the log-probabilities of its tokens (such as those of",
            f"{markdown(repr(first))}, apart from the prompt's) and of the end-of-text token behind",
            f"the prompt, divided by {self.temperature:.6g}; the softmax of the scores of all labels gives the",
            "probabilities.",
        ]
        return "text-generation", [does, "", *how], card_limits(self.calibration)

    @property
    def _room(self) -> int:
        """Tokens that a prompt may have, so that the longest label fits behind it."""
        from gpt_magic.tasks.words import label_ids, prompt_room

        return prompt_room(self.max_length, label_ids(self.classes, self.tokenizer, self.template))

    def _score(self, texts: Sequence[Text], index: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the labels, ``(texts, classes)``, and whether each text had to be cut, ``(texts,)``."""
        from gpt_magic.inference.label_tree import label_tree, score_labels
        from gpt_magic.tasks.words import label_ids, prompt_room, prompts

        if not texts:
            return np.zeros((0, self.outputs), dtype=np.float32), np.zeros(0, dtype=bool)
        named = label_ids(self.classes, self.tokenizer, self.template)
        room = prompt_room(self.max_length, named)
        ids, lengths = prompts(texts, self.tokenizer, self.template, room, self._truncate, index)
        scores = score_labels(self.model, ids, label_tree(named), self.hidden)
        return scores / self.temperature, lengths > room
