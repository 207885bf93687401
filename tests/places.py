"""A tagger of names and places, tuned in a moment: what a tagger's result, its file and the magics are tested with."""

import random
from typing import Any

import pandas as pd

import gpt_magic
from gpt_magic.data.words import join_words
from gpt_magic.tuned import TunedTagger
from tests.films import CONTEXT, base

NAMES = ["Ada", "Bob", "Eve", "Max"]
PLACES = ["Rome", "New York", "Oslo", "Rio"]
OTHERS = ["went", "to", "in", "the", "nothing", "here", "then", "saw", ".", ","]

__all__ = ["CONTEXT", "base", "places", "spans", "tagger"]


def places(rows: int = 96, seed: int = 0) -> pd.DataFrame:
    """Lists of tokens and of tags: other words with one name and one place among them; row names are no positions."""
    drawn = random.Random(seed)
    found = []
    for _ in range(rows):
        words = [(word, "O") for word in drawn.choices(OTHERS, k=drawn.randint(2, 5))]
        words.insert(drawn.randint(0, len(words)), (drawn.choice(NAMES), "PER"))
        words.insert(drawn.randint(0, len(words)), (drawn.choice(PLACES), "LOC"))
        marked = [
            (word, tag if tag == "O" else f"{'I' if place else 'B'}-{tag}")
            for part, tag in words
            for place, word in enumerate(part.split())
        ]
        found.append(tuple(map(list, zip(*marked, strict=True))))
    return pd.DataFrame(found, columns=["tokens", "tags"], index=range(100, 100 + rows))


def spans(rows: int = 96) -> pd.DataFrame:
    """The same as texts, and where the entities are in them."""
    table = places(rows)
    texts, entities = [], []
    for tokens, tags in zip(table["tokens"], table["tags"], strict=True):
        text, words = join_words(tokens)
        found: list[dict[str, Any]] = []
        for (start, end), tag in zip(words.tolist(), tags, strict=True):
            if tag[0] == "B":
                found.append({"start": start, "end": end, "label": tag[2:]})
            elif tag[0] == "I":
                found[-1]["end"] = end
        texts.append(text)
        entities.append(found)
    return pd.DataFrame({"text": texts, "entities": entities}, index=table.index)


def tagger(data: Any = None, **options: Any) -> TunedTagger:
    """A tagger that knows the names and places."""
    given = {"base": base(), "max_steps": 60, "learning_rate": 1e-2, "baselines": False, "quiet": True, **options}
    made = gpt_magic.finetune(places() if data is None else data, **given)
    assert isinstance(made, TunedTagger)
    return made
