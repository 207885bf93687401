"""What a tagger finds: a text with its entities marked, and how many of those that are there it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt_magic.errors import clean
from gpt_magic.notebook.markup import WIDTH, broken, frame, note, number, number_table, plain, say, share

if TYPE_CHECKING:
    from gpt_magic.tasks.entities import TagEvaluation
    from gpt_magic.tuned import TunedTagger

_MOST_TYPES = 30
_LABEL = 40  # characters of a type that are shown

Entities = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class MarkedText:
    """A text and its entities, as `TunedTagger.predict` has them; shows the text with them marked.

    Attributes:
        text: as it was given.
        entities: ``{"start", "end", "label", "text", "confidence"}`` of each, ascending.
    """

    text: str
    entities: Entities

    def __repr__(self) -> str:
        return marked_text(self.text, self.entities)

    def _repr_html_(self) -> str:
        return marked_html(self.text, self.entities)


def mark(model: "TunedTagger", texts: Any) -> Any:
    """What ``%predict`` gives for a tagger: of one text a `MarkedText`, of several a table."""
    found = model.predict(texts)
    return MarkedText(texts, found["entities"][0] or []) if isinstance(texts, str) else found


def marked_html(text: str, entities: Entities) -> str:
    """The text; each entity underlined, in brackets with its type and confidence."""
    parts = []
    for before, entity in _pieces(text, entities):
        parts.append(broken(before))
        if entity is not None:
            words = broken(text[entity["start"] : entity["end"]])
            label = f"{say(entity['label'], _LABEL)} {_percent(entity)}"
            parts.append(
                f'<bdi style="border-bottom:2px solid">[<strong>{words}</strong> '
                f'<span style="font-size:0.8em">{label}</span>]</bdi>'
            )
    said = "" if entities else note("no entities")
    return (
        f'<div class="gpt-magic tex2jax_ignore mathjax_ignore" style="{WIDTH};line-height:1.6">'
        f'<div dir="auto" style="white-space:pre-wrap">{"".join(parts)}</div>{said}</div>'
    )


def marked_text(text: str, entities: Entities) -> str:
    """The same for a terminal and for screen readers."""
    parts = []
    for before, entity in _pieces(text, entities):
        parts.append(plain(before))
        if entity is not None:
            words = plain(text[entity["start"] : entity["end"]])
            parts.append(f"[{words} | {clean(entity['label'], _LABEL)} {_percent(entity)}]")
    return "".join(parts) if entities else "".join(parts) + "\n(no entities)"


def _pieces(text: str, entities: Entities) -> list[tuple[str, Mapping[str, Any] | None]]:
    """What stands before each entity, with the entity; then what stands after the last."""
    starts = [0, *(entity["end"] for entity in entities)]
    ends = [*(entity["start"] for entity in entities), len(text)]
    return [(text[start:end], entity) for start, end, entity in zip(starts, ends, [*entities, None], strict=True)]


def _percent(entity: Mapping[str, Any]) -> str:
    return f"{entity['confidence']:.0%}"


def tag_evaluation_html(evaluation: "TagEvaluation") -> str:
    """Metrics of whole entities, and the types one by one."""
    shares = (evaluation.f1, evaluation.precision, evaluation.recall, evaluation.token_accuracy)
    head = ["rows", "words", "F1", "precision", "recall", "token accuracy", "loss"]
    row = [f"{evaluation.rows:,}", f"{evaluation.words:,}", *map(share, shares), number(evaluation.loss)]
    types = [
        [say(label, 60), share(precision), share(recall), share(f1), f"{support:,.0f}"]
        for label, precision, recall, f1, support in evaluation.per_type.iloc[:_MOST_TYPES].itertuples()
    ]
    more = len(evaluation.per_type) - len(types)
    return frame(
        number_table(head, [row]),
        number_table(["type", "precision", "recall", "F1", "entities"], types),
        note(f"and {more:,} more in <code>.per_type</code>") if more > 0 else "",
        note("An entity counts as found where its words and its type are right."),
    )
