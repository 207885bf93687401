"""What a run hands back, one class a task."""

from gpt_magic.tuned.base import TruncationWarning, TunedModel
from gpt_magic.tuned.classifier import TunedClassifier
from gpt_magic.tuned.generator import TunedGenerator
from gpt_magic.tuned.multilabel import TunedMultilabel
from gpt_magic.tuned.regressor import TunedRegressor
from gpt_magic.tuned.tagger import TunedTagger
from gpt_magic.tuned.words import TunedWords

__all__ = [
    "TruncationWarning",
    "TunedClassifier",
    "TunedGenerator",
    "TunedModel",
    "TunedMultilabel",
    "TunedRegressor",
    "TunedTagger",
    "TunedWords",
]

KINDS: dict[str, type[TunedModel]] = {
    kind.kind or kind.task: kind
    for kind in (TunedClassifier, TunedWords, TunedMultilabel, TunedRegressor, TunedGenerator, TunedTagger)
}
