"""The names of a notebook, and what they hold: which are tables, and what a word on a magic's line stands for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_magic.data.names import is_file_name, is_hub_id
from gpt_magic.errors import OptionError, a_kind, listing, nearest


def find_data(word: str, namespace: Mapping[str, Any]) -> Any:
    """The object that a name or dotted name stands for; anything that looks like a path is one.

    ``splits:test`` is that split of a ``DatasetDict``, and of a data set of the hub where no name is so.

    Raises:
        OptionError: there is no such name; the line gives the nearest table's.
    """
    before, colon, split = word.partition(":")
    if colon and before in namespace:
        return _split_of(before, split, namespace[before])
    if colon and is_hub_id(word):
        return word
    first, *rest = word.split(".")
    known = first.isidentifier() and first in namespace
    if known and (not is_file_name(word) or hasattr(namespace[first], rest[0])):  # reviews.csv is a file
        value = namespace[first]
        for depth, part in enumerate(rest, start=1):
            if not hasattr(value, part):
                public = [name for name in getattr(value, "__dict__", ()) if not name.startswith("_")]
                hint = nearest(part, public) or ", and no file that gpt_magic reads has such a name"
                raise OptionError(f"{'.'.join([first, *rest[:depth]])}: {a_kind(value)} has no {part!r}{hint}")
            value = getattr(value, part)
        return value
    if "/" in word or "\\" in word or (rest and not word.endswith(".")):
        return word
    if word.isidentifier() and Path(word).is_dir():
        hint = f"; the folder of this name is written {word}/"
    elif word.isidentifier():
        hint = nearest(word, tables(namespace)) or (
            f"; name a DataFrame of this notebook, the path of a file, or a data set of the hub as {word}:train"
        )
    else:
        hint = "; an expression goes into the body of a %%finetune cell: data = ..."
    raise OptionError(f"there is no {word!r} in this notebook{hint}")


def splits(value: Any) -> list[str]:
    """The splits of a ``DatasetDict``; none of anything else."""
    held = value.items() if isinstance(value, dict) else ()
    return [str(name) for name, part in held if hasattr(part, "column_names")]


def tables(namespace: Mapping[str, Any]) -> list[str]:
    """Names of what could be trained on: anything with columns, and lists of dicts."""
    return [name for name, value in namespace.items() if not name.startswith("_") and _is_table(value)]


def _split_of(name: str, split: str, value: Any) -> Any:
    known = splits(value)
    if split not in known:
        hint = nearest(split, known) or (f"; there are {listing(known)}" if known else "")
        raise OptionError(f"{name}:{split}: {a_kind(value)} has no split {split!r}{hint}")
    return value[split]


def _is_table(value: Any) -> bool:
    if isinstance(value, type):
        return False
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict)  # not texts: IPython's own In is a list of them
    sized = hasattr(type(value), "__len__") and (hasattr(value, "columns") or hasattr(value, "column_names"))
    return sized or type(value).__name__ == "IterableDataset"
