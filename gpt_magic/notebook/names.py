"""Where a run puts what it has made: names of the notebook, of which none that the user gave is taken."""

from collections.abc import MutableMapping
from dataclasses import replace
from itertools import count
from typing import Any

from gpt_magic.notebook.cell import is_tuned
from gpt_magic.summary import Summary

Names = MutableMapping[str, Any]


def put_snapshot(names: Names, output: str, model: Any) -> str:
    """Put a snapshot beside the name of the result, in place of an earlier one; says where it is."""
    name = f"{output}_snapshot"
    if not is_tuned(names.get(name, model)):
        name = _free(names, name)
    names[name] = model
    return f"{name}: {model.summary.status.removeprefix('snapshot ')}"


def put_result(names: Names, output: str, holder: Any, model: Any, summary: Summary) -> Summary:
    """Put the result of a run in the place of its ``holder``; returns the card, which says where it is.

    A name that was given to something else meanwhile is left alone.
    """
    if names.get(output, holder) is holder:
        names[output] = model
        return summary
    name = _free(names, output)
    names[name] = model
    said = f"{output} was given to something else while this run went on, so the model is {name}"
    return replace(summary, name=name, warnings=[*summary.warnings, said])


def _free(names: Names, name: str) -> str:
    return next(other for number in count(2) if (other := f"{name}_{number}") not in names)
