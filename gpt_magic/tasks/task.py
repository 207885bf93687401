"""What a task is to a run: from checked data to a tuned model. A new task is one file beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, ClassVar

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.loop import Hidden, Objective
from gpt_magic.models.find import Base
from gpt_magic.options import Options
from gpt_magic.summary import Lengths

Check = Callable[[], None]
Row = tuple[str, Sequence[float | None]]


@dataclass
class Rows:
    """The data as tokens, and what is to be said of them.

    Attributes:
        train, valid: rows for the loop.
        facts: (name, value) pairs for the report.
        warnings: one sentence each.
        lengths: token lengths, for the picture.
        noun: what the report calls a row.
    """

    train: Encoded
    valid: Encoded
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str] = ()
    lengths: Lengths | None = None
    noun: str = "row"


@dataclass
class Completed:
    """What a task settles once the weights are, beside them.

    Attributes:
        facts: (name, value) pairs for the card.
        warnings: one sentence each.
        metrics: these join the validation metrics of the kept weights.
    """

    facts: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Task(ABC):
    """One run's task; made anew for each run.

    Attributes:
        name: as the option ``task`` has it.
        kind: of what it hands back, in ``tuned.KINDS``; that of its name when empty.
        scores: the metrics in the table of scores: key and what it is called.
        ignores: options of other tasks, which do nothing here.
        compares_base: whether the base is scored before training, to stand beside the tuned model.
        options: the run's.
        data: checked and split examples, as the task's own reader made them.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = ""
    scores: ClassVar[Mapping[str, str]]
    ignores: ClassVar[Sequence[str]] = ()
    compares_base: ClassVar[bool] = False

    options: Options
    data: Any
    tokenizer: Any = field(init=False)

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """The loss; there once `encode` was called."""

    @abstractmethod
    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Tokenise; ``check`` is called now and then and may raise to end the work."""

    @abstractmethod
    def load(self, base: Base) -> Any:
        """The base with the head of this task, in evaluation mode."""

    @abstractmethod
    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> Mapping[str, Any]:
        """Metrics of ``rows``, ``loss`` among them; ``check`` may raise to end the work."""

    def sample(self, model: Any, check: Check) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """(prompt, continuation) pairs that show what was learned; none for most tasks."""
        return ()

    def complete(self, model: Any, rows: Encoded, hidden: Hidden) -> Completed:  # noqa: ARG002
        """Settle what comes after training: ``model`` has the kept weights, ``rows`` validate and may be none."""
        return Completed()

    def compare(self, stop: Event) -> tuple[list[Row], list[str]]:  # noqa: ARG002
        """Baselines as rows of the table of scores, and what has to be said of them."""
        return [], []

    @abstractmethod
    def own(self) -> dict[str, Any]:
        """What this task's tuned model has beside what every tuned model has."""


def make_task(options: Options, data: Any) -> Task:
    """The task that ``data`` was read for."""
    from gpt_magic.tasks.classify import ClassifyTask
    from gpt_magic.tasks.generate import GenerateTask
    from gpt_magic.tasks.multilabel import MultilabelTask
    from gpt_magic.tasks.regress import RegressTask
    from gpt_magic.tasks.tag import TagTask
    from gpt_magic.tasks.words import WordsTask

    if data.task == "classify" and options.style == "words":
        return WordsTask(options, data)
    kinds: dict[str, type[Task]] = {
        kind.name: kind for kind in (ClassifyTask, MultilabelTask, RegressTask, GenerateTask, TagTask)
    }
    return kinds[data.task](options, data)
