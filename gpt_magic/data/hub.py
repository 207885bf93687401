"""Data sets of the Hugging Face hub: ``imdb``, ``imdb:test``, ``nyu-mll/glue/sst2:train[:1000]``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from gpt_magic.data.names import HUB_ID
from gpt_magic.data.streams import Say
from gpt_magic.errors import DataError, listing, nearest

_HUB_SECONDS = 5.0  # for the one question put to the hub before anything is downloaded
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

    found = HUB_ID.fullmatch(text)
    assert found is not None
    if split and found["split"] and split != found["split"]:
        raise DataError(f"{what} = {text!r} and split = {split!r} name two splits: say one of them")
    asked = found["split"] or split
    say(f"asking the hub for {found['name']}")
    trouble = _ask(found["name"])
    say(f"loading {found['name']}")
    try:
        with _quiet(), _offline() if trouble else nullcontext():
            dataset = datasets.load_dataset(found["name"], found["config"], split=asked)
    except Exception as error:  # datasets raises a dozen kinds
        raise DataError(_line(text, what, error, trouble)) from error
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


def _ask(name: str) -> str:
    """Put one question to the hub; why there was no answer, in words, and nothing where there was."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "on this disk while HF_HUB_OFFLINE is set"
    try:
        HfApi().dataset_info(name, timeout=_HUB_SECONDS)
    except GatedRepoError:
        return "that you may read: accept its terms on the hub and log in with `hf auth login`"
    except RepositoryNotFoundError:
        return "on the hub"
    except HfHubHTTPError as error:
        return f"on this disk while the hub answers with error {error.response.status_code}"
    except Exception:  # no network, or something answers that is no hub: several libraries' kinds of errors
        return "on this disk while the hub cannot be reached"
    return ""


def _line(text: str, what: str, error: Exception, trouble: str) -> str:
    """What went wrong, in one line with what to do."""
    reason = " ".join(str(error).split())
    if isinstance(error, ValueError) and any(said in reason for said in _REFUSED):
        return f"{what} = {text!r}: {reason[:300]}"
    if trouble:
        return f"{what} = {text!r}: no such file, and no such data set {trouble}; the name of a DataFrame has no quotes"
    if "dataset script" in reason.casefold():
        return f"{what} = {text!r} comes as a program, and no code of others is run: read it into a DataFrame first"
    return f"{what} = {text!r} cannot be loaded from the hub: {type(error).__name__}: {reason[:300]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """The library without progress bars and log lines: a worker never prints."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    bars, level = not are_progress_bars_disabled(), logging.get_verbosity()
    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            enable_progress_bars()


@contextmanager
def _offline() -> Iterator[None]:
    """The libraries without network: what is on this disk loads at once, and not after minutes of trying."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
