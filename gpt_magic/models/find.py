"""Base models: where one is, on this disk or on the hub; nothing is loaded yet."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import Any

from gpt_magic.errors import ModelError, OptionError, a_kind, nearest

SHIPPED = Path(__file__).parent
_HUB_SECONDS = 5.0  # for the one question put to the hub before anything is downloaded
_WEIGHTS = "model.safetensors"
# What a GPT needs from a hub repository; keeps out the same weights in other formats.
_HUB_FILES = ["config.json", "generation_config.json", "tokenizer*", "vocab.json", "merges.txt"]
_HUB_WEIGHTS = "model*.safetensors*"  # and the index of a model in several files
# Bytes to download of the models that are tried first.
_USUAL = {"distilgpt2": 353_000_000, "gpt2": 548_000_000, "gpt2-medium": 1_520_000_000}
_HUB_FILES += ["special_tokens_map.json", "added_tokens.json"]


@dataclass(frozen=True)
class Base:
    """A base model that was found, not loaded yet.

    Attributes:
        name: how the report names it.
        source: folder with config and tokenizer, or a (model, tokenizer) pair.
        pretrained: whether there are weights to start from.
        again: what `find_base` finds the same weights by, in another process too; None where nothing does.
    """

    name: str
    source: Path | tuple[Any, Any]
    pretrained: bool
    again: str | None = None

    @property
    def again_for_peft(self) -> str | None:
        """What transformers and peft find the same weights by: a hub id or a folder."""
        return str(self.source) if self.again in shipped() else self.again


def shipped() -> list[str]:
    """Names of the models inside the package: pretrained ones, and ``scratch`` (nano's shape, random weights)."""
    return [*(["nano"] if (SHIPPED / "nano" / _WEIGHTS).exists() else []), "scratch"]


@dataclass(frozen=True)
class Known:
    """A base model that can be offered by its name.

    Attributes:
        size: bytes of its weights; 0 where there are none.
        here: whether it is on this disk.
    """

    name: str
    size: int
    here: bool


def known_bases() -> list[Known]:
    """The models that ship, those of the hub that are on this disk, and the usual ones that are not."""
    weights = SHIPPED / "nano" / _WEIGHTS
    own = [Known(name, weights.stat().st_size if name == "nano" else 0, here=True) for name in shipped()]
    cached = sorted(_cached(), key=lambda known: known.size)
    here = {known.name for known in cached}
    return [*own, *cached, *(Known(name, size, here=False) for name, size in _USUAL.items() if name not in here)]


def _cached() -> Iterator[Known]:
    """Models of the hub's cache with safetensors weights and the tokenizer of a text model."""
    from huggingface_hub import constants

    for folder in Path(constants.HF_HUB_CACHE).glob("models--*"):
        snapshots = sorted((folder / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
        for files in snapshots[-1:]:
            size = sum(file.stat().st_size for file in files.glob("model*.safetensors") if file.exists())
            if size and (files / "config.json").exists() and any(files.glob("tokenizer*")):
                yield Known(folder.name.removeprefix("models--").replace("--", "/"), size, here=True)


def folders(beginning: str) -> list[str]:
    """Folders with a saved model whose paths begin so, and, behind a slash, folders on the way to them."""
    above, slash, _ = beginning.rpartition("/")
    try:
        inside = sorted(path for path in Path(above + slash or ".").expanduser().iterdir() if path.is_dir())
    except OSError:
        return []
    shown = [path for path in inside if not path.name.startswith(".")]
    found = [f"{above}{slash}{path.name}" for path in shown if _is_saved(path)]
    return [*found, *(f"{above}{slash}{path.name}/" for path in shown if slash and not _is_saved(path))]


def _is_saved(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def find_base(base: Any, say: Callable[[str], None] = lambda _: None, *, weights: bool = True) -> Base:
    """Find a base model without loading its weights; a hub model that is not on disk yet is downloaded.

    Args:
        base: name of a shipped model, folder, hub id, (model, tokenizer) pair, or an object with ``.model`` and
            ``.tokenizer`` such as a `TunedModel`.
        say: told before a download what it is and how large.
        weights: False downloads config and tokenizer only, enough for a dry run.

    Raises:
        ModelError: it is not there, the hub cannot be reached, or it has no safetensors weights.
        OptionError: it is none of these kinds.
    """
    base = as_pair(base)
    if isinstance(base, tuple | list) and len(base) == 2:
        return _pair(base[0], base[1])
    if not isinstance(base, str | Path):
        raise OptionError(
            f"base is {a_kind(base)}: give a hub id such as 'gpt2', a folder, a (model, tokenizer) pair, or "
            f"{' or '.join(map(repr, shipped()))}"
        )
    name = str(base)
    if name in shipped():
        pretrained = name != "scratch"
        return Base(name, SHIPPED / "nano", pretrained, name if pretrained else None)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return Base(folder.resolve().name, _checked_folder(folder), pretrained=True, again=str(folder.resolve()))
    if isinstance(base, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        trouble = "this is a file, give its folder" if folder.is_file() else "no such folder"
        raise ModelError(f"base = {name!r}: {trouble}")
    return Base(name, _hub_folder(name, say, weights), pretrained=True, again=name)


def as_pair(base: Any) -> Any:
    """What has a ``.model`` and a ``.tokenizer``, as `TunedModel` does, as a pair of these; another base as it is."""
    return (base.model, base.tokenizer) if hasattr(base, "model") and hasattr(base, "tokenizer") else base


def _pair(model: Any, tokenizer: Any) -> Base:
    if not hasattr(model, "state_dict") or not hasattr(model, "base_model"):
        raise OptionError(
            f"base: a (model, tokenizer) pair holds a transformers model first, not a {type(model).__name__}"
        )
    if hasattr(model, "peft_config"):
        raise OptionError(
            "base: this model still has its adapter apart; train it with merge = True, or give what peft's "
            "merge_and_unload() returns"
        )
    if not callable(tokenizer) or not hasattr(tokenizer, "eos_token_id"):
        raise OptionError(
            f"base: a (model, tokenizer) pair holds a transformers tokenizer second, not a {type(tokenizer).__name__}"
        )
    return Base(type(model).__name__, (model, tokenizer), pretrained=True)


def _checked_folder(folder: Path) -> Path:
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"base = '{folder}': the folder holds an adapter and not a whole model; train that with merge = True, or "
            "save what peft's merge_and_unload() returns"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"base = '{folder}': the folder has no config.json, so it is not a saved transformers model")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"base = '{folder}': the folder has no .safetensors weights, and other formats can run code when they are "
            "loaded; save it again with model.save_pretrained(...)"
        )
    return folder


def _hub_folder(name: str, say: Callable[[str], None], weights: bool) -> Path:
    """The folder of a hub model: from the cache when the hub cannot be asked, else downloaded."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import LocalEntryNotFoundError, validate_repo_id

    known = ["gpt2", *shipped()]
    hint = "" if name in known else nearest(name, known)
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ModelError(f"base = {name!r} is neither a folder nor a hub id{hint}") from None
    hub = os.environ.get("HF_ENDPOINT", "the hub")
    silent = f"{hub} cannot be reached"
    try:
        if constants.HF_HUB_OFFLINE:
            silent = "HF_HUB_OFFLINE is set"
        else:
            return _download(name, say, weights)
    except GatedRepoError:
        raise ModelError(
            f"base = {name!r} is gated: accept its terms on the hub and log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(f"base = {name!r}: no such model on {hub}{hint}") from None
    except HfHubHTTPError as error:
        silent = f"{hub} answers with error {error.response.status_code}"
    except _no_answer() as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            where = error.filename or constants.HF_HUB_CACHE
            raise ModelError(f"base = {name!r} cannot be downloaded to {where}: {error.strerror}") from None
    try:
        folder = Path(snapshot_download(name, allow_patterns=[*_HUB_FILES, _HUB_WEIGHTS], local_files_only=True))
        if not weights or any(folder.glob(_HUB_WEIGHTS)):  # a dry run leaves a folder without weights
            return folder
    except LocalEntryNotFoundError:
        pass
    raise ModelError(
        f"base = {name!r} is not on this disk and {silent}{hint}: say base = {shipped()[0]!r}, which ships with "
        "gpt_magic, or give a folder"
    )


def _download(name: str, say: Callable[[str], None], weights: bool) -> Path:
    """Bring what is new of a hub model to the cache."""
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    found = HfApi().model_info(name, timeout=_HUB_SECONDS, files_metadata=True).siblings or []
    sizes = {s.rfilename: s.size or 0 for s in found if fnmatch(s.rfilename, _HUB_WEIGHTS)}
    if not sizes:
        raise ModelError(f"base = {name!r} has no .safetensors weights on the hub; other formats can run code")
    with _no_bars():
        if not weights:
            return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
        if not isinstance(try_to_load_from_cache(name, next(iter(sizes))), str):
            say(f"downloading {name}, {sum(sizes.values()) / 1e6:,.0f} MB")
        return _checked_folder(Path(snapshot_download(name, allow_patterns=[*_HUB_FILES, _HUB_WEIGHTS])))


def _no_answer() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises when there is no network, or something answers that is no hub."""
    # huggingface_hub moved from one HTTP client to the other; what it uses it has imported.
    clients = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, ValueError, *(client.HTTPError for client in clients))


@contextmanager
def _no_bars() -> Iterator[None]:
    """huggingface_hub without progress bars: a worker never prints."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()
