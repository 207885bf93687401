"""What an option takes, in words, and how a value that is plainly meant becomes one that it takes."""

from pathlib import Path
from typing import Any

from traitlets import Bool, Enum, Float, Int, List, TraitError, TraitType, Union

from gpt_magic.errors import short


def choices(trait: TraitType[Any, Any]) -> tuple[str, ...]:
    """The values an option can be completed with; empty when they cannot be listed."""
    if isinstance(trait, Enum):
        return tuple(trait.values or ())
    if isinstance(trait, Bool):
        return ("True", "False")
    return tuple(trait.metadata.get("choices", ()))


def expected(trait: TraitType[Any, Any]) -> str:
    """What an option takes, in words: ``a whole number from 1 to 1000``."""
    if "expects" in trait.metadata:
        return str(trait.metadata["expects"])
    if isinstance(trait, Enum):
        return "one of " + ", ".join(trait.values or ())
    if isinstance(trait, Union):
        *others, last = [expected(_number_of(trait)), *choices(trait), *(["None"] * trait.allow_none)]
        return f"{', '.join(others)} or {last}"
    if isinstance(trait, Int | Float):
        words = "a whole number" if isinstance(trait, Int) else "a number"
        words += f" from {_number(trait.min)} to {_number(trait.max)}"
    elif isinstance(trait, Bool):
        words = "True or False"
    else:
        words = "the name of a column" if trait.metadata.get("kind") == "column" else "a text"
    return words + (" or None" if trait.allow_none else "")


def coerce(trait: TraitType[Any, Any], value: Any) -> Any:
    """Take what is plainly meant (numpy numbers, 3.0 for 3, a column named 0), refuse the rest."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    number = _number_of(trait)
    if isinstance(value, bool) and isinstance(number, Int | Float):
        raise TraitError("a truth value is not a number")
    if isinstance(number, Int) and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, float) and value != value:  # NaN compares unequal to itself and passes every range
        raise TraitError("not a number")
    if isinstance(trait, List) and isinstance(value, str):
        return [value]  # one is plainly a list of one
    if isinstance(trait, List) and isinstance(value, tuple):
        return list(value)
    if trait.metadata.get("kind") == "column":
        return _column(value)
    return value


def _number_of(trait: TraitType[Any, Any]) -> TraitType[Any, Any]:
    """Of an option that takes a number or a word, what its number is; any other as it is."""
    if isinstance(trait, Union) and isinstance(trait.trait_types[0], Int | Float):
        return trait.trait_types[0]
    return trait


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def as_json(value: Any) -> Any:
    """A value as JSON can hold it; what it cannot hold, as it is shown."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else shown(value)


def shown(value: Any) -> str:
    """A value for a message: shortened, and of tables and models their type."""
    plain = value is None or isinstance(value, str | int | float | dict | list | tuple)
    return short(value) if plain else f"<{type(value).__name__}>"


def _column(value: Any) -> Any:
    """A column's name as data.sources has it; of a list of columns all, of a list of one that one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, list | tuple):
        return value
    names = [_column(item) for item in value]
    return names[0] if len(names) == 1 else names
