"""What a run hands back, one class a task."""

from gpt_magic.tuned.base import TruncationWarning, TunedModel
from gpt_magic.tuned.classifier import TunedClassifier
from gpt_magic.tuned.generator import TunedGenerator
from gpt_magic.tuned.tagger import TunedTagger

__all__ = ["TruncationWarning", "TunedClassifier", "TunedGenerator", "TunedModel", "TunedTagger"]

KINDS: dict[str, type[TunedModel]] = {kind.task: kind for kind in (TunedClassifier, TunedGenerator, TunedTagger)}
