"""What a run hands back, one class a task."""

from gpt_magic.tuned.answerer import Answer, TunedAnswerer
from gpt_magic.tuned.base import TruncationWarning, TunedModel
from gpt_magic.tuned.classifier import TunedClassifier
from gpt_magic.tuned.generator import TunedGenerator

__all__ = ["Answer", "TruncationWarning", "TunedAnswerer", "TunedClassifier", "TunedGenerator", "TunedModel"]

KINDS: dict[str, type[TunedModel]] = {kind.task: kind for kind in (TunedClassifier, TunedGenerator, TunedAnswerer)}
