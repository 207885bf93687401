"""What a task is to a run: from checked data to a tuned model. A new task is one file beside this one."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.events import Emit, Event, Phase
from gpt_magic.engine.job import Hidden, Objective
from gpt_magic.inference.scoring import ROWS_A_PASS
from gpt_magic.models.find import Base
from gpt_magic.options import Options, find
from gpt_magic.summary import Lengths

Check = Callable[[], None]
Row = tuple[str, Sequence[float | None]]
T = TypeVar("T")

_TOLD_EVERY = 10_000  # rows


def _tell_nobody(event: Event) -> None:
    pass


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
        ignores: options that do nothing for this style of the task; `Options` says which are for other tasks.
        measure: the metric, lower is better, that tells which weights did best on the validation rows.
        read_together: most rows in a forward pass of its evaluations.
        compares_base: whether the base is scored before training, to stand beside the tuned model.
        reads_hidden: whether `evaluate` and `complete` read rows by ``hidden`` alone, which may be given something else
            than token ids then; see `engine.trunk`.
        options: the run's.
        data: checked and split examples, as the task's own reader made them.
        emit: told how far the making of tokens is.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = ""
    scores: ClassVar[Mapping[str, str]]
    ignores: ClassVar[Sequence[str]] = ()
    measure: ClassVar[str] = "loss"
    read_together: ClassVar[int] = ROWS_A_PASS
    compares_base: ClassVar[bool] = False
    reads_hidden: ClassVar[bool] = True

    options: Options
    data: Any
    tokenizer: Any = field(init=False)
    emit: Emit = field(init=False, default=_tell_nobody)

    @classmethod
    def heeds(cls, option: str) -> bool:
        """Whether an option does anything here."""
        return option not in cls.ignores and cls.name in find(option).metadata.get("tasks", (cls.name,))

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """The loss; there once `encode` was called."""

    @abstractmethod
    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Tokenise; ``check`` is called now and then and may raise to end the work."""

    def watched(self, rows: Iterator[T], before: int = 0) -> Iterator[T]:
        """Rows of the table as they pass; of many it is told now and then how many have, ``before`` of others too."""
        total = len(self.data.train) + len(self.data.valid)
        for number, row in enumerate(rows, before):
            if number and number % _TOLD_EVERY == 0:
                self.emit(Phase(f"making tokens, {number:,} of {total:,} rows"))
            yield row

    @abstractmethod
    def load(self, base: Base) -> Any:
        """The base with the head of this task, in evaluation mode."""

    @abstractmethod
    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> Mapping[str, Any]:
        """Metrics of ``rows``, ``loss`` among them; ``check`` may raise to end the work."""

    def read_in_evaluations(self, rows: Encoded) -> Encoded:
        """What goes through the model when ``rows`` are evaluated, for the memory that it takes; most often they."""
        return rows

    def foresee(self, context: int) -> list[str]:  # noqa: ARG002
        """Refuse what cannot be done with a model that reads ``context`` tokens, or say what cannot be done well.

        Raises:
            OptionError: an option that concerns no row cannot be heeded.
        """
        return []

    def sample(self, model: Any, check: Check) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """(prompt, continuation) pairs that show what was learned; none for most tasks."""
        return ()

    def complete(self, model: Any, rows: Encoded, hidden: Hidden, *, evaluated: bool = False) -> Completed:  # noqa: ARG002
        """Settle what comes after training: ``model`` has the kept weights, ``rows`` validate and may be none.

        Args:
            evaluated: whether the last call of `evaluate` was with the same weights, so that what the model gave then
                need not be computed again.
        """
        return Completed()

    def compare(self, stop: threading.Event) -> tuple[list[Row], list[str]]:  # noqa: ARG002
        """Baselines as rows of the table of scores, and what has to be said of them."""
        return [], []

    @abstractmethod
    def own(self) -> dict[str, Any]:
        """What this task's tuned model has beside what every tuned model has."""


def make_task(options: Options, data: Any) -> Task:
    """The task that ``data`` was read for."""
    from gpt_magic.tasks.classify import ClassifyTask
    from gpt_magic.tasks.extract import ExtractTask
    from gpt_magic.tasks.generate import GenerateTask
    from gpt_magic.tasks.multilabel import MultilabelTask
    from gpt_magic.tasks.regress import RegressTask
    from gpt_magic.tasks.tag import TagTask
    from gpt_magic.tasks.words import WordsTask
    from gpt_magic.tasks.write import WriteTask

    kinds: dict[str, type[Task]] = {
        kind.name: kind for kind in (ClassifyTask, MultilabelTask, RegressTask, TagTask, ExtractTask, GenerateTask)
    }
    others: dict[tuple[str, str], type[Task]] = {("classify", "words"): WordsTask, ("answer", "write"): WriteTask}
    return others.get((data.task, getattr(data, "style", options.style)), kinds[data.task])(options, data)
