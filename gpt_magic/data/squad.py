"""SQuAD's JSON, versions 1 and 2, to a table with a row a question."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gpt_magic.errors import DataError, a_kind

if TYPE_CHECKING:
    import pandas as pd


def is_squad(data: Any) -> bool:
    """Whether ``data`` is what a SQuAD file holds: ``{"data": [{"paragraphs": [...]}]}``."""
    articles = data.get("data") if isinstance(data, Mapping) else None
    return isinstance(articles, list) and any(isinstance(one, Mapping) and "paragraphs" in one for one in articles)


def squad_table(data: Mapping[str, Any], what: str) -> "pd.DataFrame":
    """The questions in the order of the file.

    Args:
        data: what the file holds.
        what: the option's name, for messages.

    Returns:
        The columns ``id``, ``title``, ``question``, ``context`` and ``answers``: a list of ``{"text",
        "answer_start"}``, empty where version 2 says ``is_impossible``.

    Raises:
        DataError: a part is missing or of another kind.
    """
    import pandas as pd

    records = []
    for article, where in _parts(data, "data", what, "article"):
        for paragraph, place in _parts(article, "paragraphs", where, "paragraph"):
            for asked, spot in _parts(paragraph, "qas", place, "question"):
                records.append(
                    {
                        "id": asked.get("id"),
                        "title": article.get("title"),
                        "question": _needed(asked, "question", spot),
                        "context": _needed(paragraph, "context", place),
                        "answers": [] if asked.get("is_impossible") else _needed(asked, "answers", spot),
                    }
                )
    return pd.DataFrame(records, columns=["id", "title", "question", "context", "answers"])


def _parts(whole: Mapping[str, Any], name: str, where: str, noun: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    parts = _needed(whole, name, where)
    if not isinstance(parts, list):
        raise DataError(f"{where}: {name!r} is {a_kind(parts)}, not a list as in a SQuAD file")
    for number, part in enumerate(parts):
        place = f"{where}, {noun} {number}"
        if not isinstance(part, Mapping):
            raise DataError(f"{place} is {a_kind(part)}, not an object as in a SQuAD file")
        yield part, place


def _needed(whole: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in whole:
        raise DataError(f"{where} has no {name!r}, which a SQuAD file has there")
    return whole[name]
