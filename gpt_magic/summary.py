"""What a run says of itself before and after, as plain data; `notebook.cards` turns it into HTML and text."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Lengths:
    """Token lengths of the training rows, before truncation.

    Attributes:
        median, p95, longest: tokens.
        edges, counts: histogram; ``len(edges) == len(counts) + 1``.
        limit: rows over so many tokens are truncated or refused.
        over: how many rows that is.
    """

    median: int
    p95: int
    longest: int
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    limit: int
    over: int


@dataclass(frozen=True, repr=False)
class Preflight:
    """What is about to happen: checked data and the plan.

    Attributes:
        title: ``classify · nano · reviews``.
        facts: (name, value) pairs in reading order, such as ``("rows", "3,600 to train, 400 to validate")``.
        warnings: one sentence each, said once.
        lengths: token lengths, for the picture.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str] = ()
    lengths: Lengths | None = None

    def __repr__(self) -> str:
        from gpt_magic.notebook.cards import preflight_text

        return preflight_text(self)

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.cards import preflight_html

        return preflight_html(self)


@dataclass(frozen=True)
class Scores:
    """A small table of metrics: one row a model, the trained one first.

    Attributes:
        columns: metric names, such as ``accuracy``, ``macro F1``.
        rows: (who, values) pairs; a value is None where it was not measured.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]


@dataclass(frozen=True)
class Summary:
    """What happened: the content of the final card.

    Attributes:
        title: as in the pre-flight.
        status: ``done: 672 steps, 3 epochs`` or ``stopped at step 40 of 672; weights of step 30 (lowest ...)``.
        ok: False when the run failed.
        name: the name that the result has in the notebook, or None.
        scores: metrics beside the baselines, None when nothing was validated.
        facts: (name, value) pairs: data, training, time, versions.
        warnings: those of the pre-flight and of the run.
        task: as the option ``task`` has it.
    """

    title: str
    status: str
    ok: bool
    name: str | None
    scores: Scores | None
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str] = field(default_factory=tuple)
    task: str = "classify"
