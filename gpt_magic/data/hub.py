"""Data sets of the Hugging Face hub: ``imdb``, ``imdb:test``, ``nyu-mll/glue/sst2:train[:1000]``."""

from collections.abc import Mapping
from typing import Any

from gpt_magic.data.names import HUB_ID
from gpt_magic.data.streams import Say
from gpt_magic.errors import DataError, listing, nearest

_REFUSED = ("Unknown split", "BuilderConfig", "Config name is missing")  # what datasets says of a wrong name


def load_from_hub(text: str, what: str, split: str | None, say: Say) -> tuple[Any, str]:
    """A data set of the hub, from this disk where the hub cannot be asked; no code of others is run.

    Args:
        text: as `names.is_hub_id` takes it.
        split: the split that is asked for elsewhere.

    Returns:
        The ``datasets.Dataset``, and which split of what it is, in words.

    Raises:
        DataError: there is no such data set or split, or it is not on this disk and the hub cannot be reached.
    """
    import datasets
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    found = HUB_ID.fullmatch(text)
    assert found is not None
    if split and found["split"] and split != found["split"]:
        raise DataError(f"{what} = {text!r} and split = {split!r} name two splits: say one of them")
    say(f"asking the hub for {found['name']}")
    silent = not are_progress_bars_disabled()
    disable_progress_bars()  # a worker never prints
    try:
        asked = found["split"] or split
        dataset = datasets.load_dataset(found["name"], found["config"], split=asked)
    except Exception as error:  # datasets raises a dozen kinds
        raise DataError(_trouble(text, what, error)) from error
    finally:
        if silent:
            enable_progress_bars()
    if asked:
        return dataset, f"split {asked!r} of {found['name']}"
    return choose_split(dataset, None, f"{what} = {text!r}", text)


def choose_split(splits: Mapping[Any, Any], split: str | None, said: str, name: str) -> tuple[Any, str]:
    """One of the splits: the one that is asked for, else ``train``, else the only one.

    Args:
        said, name: what holds them, for the message and for the words.

    Returns:
        The split, and which of which it is, in words.

    Raises:
        DataError: there is no such split, or it must be said which.
    """
    names = [str(key) for key in splits]
    chosen = split or ("train" if "train" in names else names[0] if len(names) == 1 else None)
    if chosen is None:
        raise DataError(f"{said} holds the splits {listing(names)}: say which, such as split = {names[0]!r}")
    if chosen not in names:
        hint = nearest(chosen, names) or f"; there are {listing(names)}"
        raise DataError(f"{said} has no split {chosen!r}{hint}")
    others = [other for other in names if other != chosen]
    return splits[chosen], f"split {chosen!r} of {name}" + (f" (others: {listing(others)})" if others else "")


def _trouble(text: str, what: str, error: Exception) -> str:
    """What went wrong, in one line with what to do."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import constants

    names = [kind.__name__ for kind in type(error).__mro__]
    reason = " ".join(str(error).split())
    if isinstance(error, ValueError) and any(said in reason for said in _REFUSED):
        return f"{what} = {text!r}: {reason[:300]}"
    if "dataset script" in reason.casefold():
        return f"{what} = {text!r} comes as a program, and no code of others is run: read it into a DataFrame first"
    where = ""
    if constants.HF_HUB_OFFLINE or "ConnectionError" in names or "OfflineModeIsEnabled" in names:
        silent = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        where = f"on this disk while {silent}"
    elif isinstance(error, DatasetNotFoundError):
        where = "on the hub, or it is gated (hf auth login)"
    if where:
        return f"{what} = {text!r}: no such file, and no such data set {where}; the name of a DataFrame has no quotes"
    return f"{what} = {text!r} cannot be loaded from the hub: {type(error).__name__}: {reason[:300]}"
