"""What the user calls a thing: its name in the notebook."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any


def name_of(value: Any, namespace: Mapping[str, Any], cell: str = "") -> str:
    """The name, or dotted name, of a value in the notebook; empty when it has none.

    Args:
        cell: source of the cell that handed the value over; a name that it uses is the one that is meant.
    """
    for name in _dotted(cell):
        first, *rest = name.split(".")
        found = namespace.get(first)
        for part in rest:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if found is value and value is not None:
            return name
    return next((name for name, found in _public(namespace) if found is value), "")


def _public(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    # The notebook keeps results under _, _3 and Out, too.
    return ((name, found) for name, found in list(namespace.items()) if name.isidentifier() and name[:1] != "_")


def _dotted(cell: str) -> list[str]:
    """Names and dotted names in the code of a cell, in its order; none of a cell that begins with a magic."""
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError):
        return []
    names = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    return [name for name in names if all(part.isidentifier() for part in name.split(".")) and name[:1] != "_"]
