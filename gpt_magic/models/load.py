"""Base models: find them, load them, put a fresh head on them."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_magic.errors import ModelError, OptionError, a_kind, listing, nearest

SHIPPED = Path(__file__).parent
_HUB_SECONDS = 5.0  # for the one question put to the hub before anything is downloaded
_WEIGHTS = "model.safetensors"
# What a GPT needs from a hub repository; keeps out the same weights in other formats.
_HUB_FILES = ["config.json", "generation_config.json", "model*.safetensors*", "tokenizer*", "vocab.json", "merges.txt"]
_HUB_FILES += ["special_tokens_map.json", "added_tokens.json"]


@dataclass(frozen=True)
class Base:
    """A base model that was found, not loaded yet.

    Attributes:
        name: how the report names it.
        source: folder with config and tokenizer, or a (model, tokenizer) pair.
        pretrained: whether there are weights to start from.
    """

    name: str
    source: Path | tuple[Any, Any]
    pretrained: bool


def shipped() -> list[str]:
    """Names of the models inside the package: pretrained ones, and ``scratch`` (nano's shape, random weights)."""
    return [*(["nano"] if (SHIPPED / "nano" / _WEIGHTS).exists() else []), "scratch"]


def find_base(base: Any) -> Base:
    """Find a base model without loading its weights; a hub model that is not on disk yet is downloaded.

    Args:
        base: name of a shipped model, folder, hub id, (model, tokenizer) pair, or an object with ``.model`` and
            ``.tokenizer`` such as a `TunedModel`.

    Raises:
        ModelError: it is not there, the hub cannot be reached, or it has no safetensors weights.
        OptionError: it is none of these kinds.
    """
    if hasattr(base, "model") and hasattr(base, "tokenizer"):
        base = (base.model, base.tokenizer)
    if isinstance(base, tuple | list) and len(base) == 2:
        return _pair(base[0], base[1])
    if not isinstance(base, str | Path):
        raise OptionError(
            f"base is {a_kind(base)}: give a hub id such as 'gpt2', a folder, a (model, tokenizer) pair, or "
            f"{' or '.join(map(repr, shipped()))}"
        )
    name = str(base)
    if name in shipped():
        return Base(name, SHIPPED / "nano", pretrained=name != "scratch")
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return Base(folder.resolve().name, _checked_folder(folder), pretrained=True)
    if isinstance(base, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        trouble = "this is a file, give its folder" if folder.is_file() else "no such folder"
        raise ModelError(f"base = {name!r}: {trouble}")
    return Base(name, _hub_folder(name), pretrained=True)


def load_tokenizer(base: Base) -> Any:
    """The base's tokenizer, with a pad token so that plain transformers can pad with it too.

    Raises:
        ModelError: there is none, or it is that of another model.
    """
    import copy

    from transformers import AutoTokenizer

    # A text that spells "<|endoftext|>" is text: the special token would end it early, or vanish as padding.
    if isinstance(base.source, tuple):
        tokenizer = copy.deepcopy(base.source[1])
        tokenizer.split_special_tokens = True
        tokenizer.init_kwargs["split_special_tokens"] = True  # what save_pretrained writes
    else:
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(
                    base.source, local_files_only=True, trust_remote_code=False, split_special_tokens=True
                )
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ModelError(f"base = {base.name!r}: its tokenizer cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.vocab_size:
        raise ModelError(f"base = {base.name!r} has no tokenizer: add it with tokenizer.save_pretrained(...)")
    embedded = _config(base).vocab_size
    if tokenizer.vocab_size > embedded:
        raise ModelError(
            f"base = {base.name!r}: the tokenizer has {tokenizer.vocab_size:,} tokens, the model knows {embedded:,}; "
            "they do not belong together"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"  # as set to generate, "left" would move the positions that a classifier reads
    tokenizer.init_kwargs.pop("padding_side", None)
    return tokenizer


def context_length(base: Base) -> int:
    """Tokens that the base can read at once.

    Raises:
        ModelError: the model has no such limit, so it is not a GPT.
    """
    config = _config(base)
    if not hasattr(config, "max_position_embeddings"):
        raise ModelError(_not_a_gpt(base, config))
    return int(config.max_position_embeddings)


def count_parameters(base: Base) -> int:
    """Parameters of the trunk, without loading its weights."""
    import torch
    from transformers import AutoModel

    if isinstance(base.source, tuple):
        return sum(p.numel() for p in base.source[0].base_model.parameters())
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModel.from_config(_config(base)).parameters())


def load_classifier(base: Base, classes: Sequence[Any], pad_token_id: int, dropout: float | None) -> Any:
    """The base with a classification head, in float32 and evaluation mode.

    A head that the base already has for the same classes is kept; any other is new, from torch's current seed.

    Raises:
        ModelError: the base is not a GPT-style model that transformers can put a classification head on, or its
            weights are damaged or those of another model.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification as Auto

    config = _config(base)
    labels = {i: str(label) for i, label in enumerate(classes)}
    same_classes = config.id2label == labels
    config.num_labels = len(classes)
    config.id2label, config.label2id = labels, {label: i for i, label in labels.items()}
    config.pad_token_id = pad_token_id
    config.problem_type = "single_label_classification"
    config.dtype = torch.float32
    try:
        with quiet():
            if not base.pretrained:
                model = Auto.from_config(config)
            elif isinstance(base.source, tuple):
                model = _from_object(Auto.from_config(config), base.source[0], same_classes)
            else:
                model = _from_folder(base, config, same_classes)
    except SafetensorError as error:
        raise ModelError(
            f"base = {base.name!r}: its weights are damaged ({_first_line(error)}); save or download them again"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"base = {base.name!r} cannot be loaded: {_first_line(error)}") from error
    if not hasattr(model, "score"):
        raise ModelError(_not_a_gpt(base, config))
    if dropout is not None:
        _set_dropout(model, dropout)
    return model.eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Within it transformers shows no progress bars and no notes on new heads: the report says what is new."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _pair(model: Any, tokenizer: Any) -> Base:
    if not hasattr(model, "state_dict") or not hasattr(model, "base_model"):
        raise OptionError(
            f"base: a (model, tokenizer) pair holds a transformers model first, not a {type(model).__name__}"
        )
    if not callable(tokenizer) or not hasattr(tokenizer, "eos_token_id"):
        raise OptionError(
            f"base: a (model, tokenizer) pair holds a transformers tokenizer second, not a {type(tokenizer).__name__}"
        )
    return Base(type(model).__name__, (model, tokenizer), pretrained=True)


def _config(base: Base) -> Any:
    import copy

    from transformers import AutoConfig

    if isinstance(base.source, tuple):
        return copy.deepcopy(base.source[0].config)
    try:
        return AutoConfig.from_pretrained(base.source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"base = {base.name!r} cannot be loaded: {_first_line(error)}") from error


def _from_object(new: Any, old: Any, same_classes: bool) -> Any:
    """Copy what fits from the user's own model, which stays as it is."""
    new.base_model.load_state_dict(old.base_model.state_dict())
    if same_classes and getattr(old, "score", None) is not None:
        new.score.load_state_dict(old.score.state_dict())
    return new


def _from_folder(base: Base, config: Any, same_classes: bool) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification as Auto

    model, found = Auto.from_pretrained(
        base.source,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # of the head; the rest is looked at below
        output_loading_info=True,
    )
    lost = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    fresh_trunk = sorted(key for key in lost if not key.startswith("score."))
    # transformers would go on from random numbers.
    if hasattr(model, "score") and fresh_trunk:
        raise ValueError(f"its weights lack, or have in another shape than its config, {listing(fresh_trunk, 3)}")
    if hasattr(model, "score") and not same_classes and "score.weight" not in lost:
        torch.nn.init.normal_(model.score.weight, std=getattr(config, "initializer_range", 0.02))
    return model


def _not_a_gpt(base: Base, config: Any) -> str:
    return f"base = {base.name!r} is of the family {config.model_type}, not a GPT-style model with a causal trunk"


def _checked_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"base = '{folder}': the folder has no config.json, so it is not a saved transformers model")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"base = '{folder}': the folder has no .safetensors weights, and other formats can run code when they are "
            "loaded; save it again with model.save_pretrained(...)"
        )
    return folder


def _hub_folder(name: str) -> Path:
    """The folder of a hub model: from the cache when the hub cannot be asked, else downloaded."""
    from huggingface_hub import HfApi, constants, snapshot_download
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
            files = [s.rfilename for s in HfApi().model_info(name, timeout=_HUB_SECONDS).siblings or []]
            if not any(file.endswith(".safetensors") and "/" not in file for file in files):
                raise ModelError(f"base = {name!r} has no .safetensors weights on the hub; other formats can run code")
            with _no_bars():
                return _checked_folder(Path(snapshot_download(name, allow_patterns=_HUB_FILES)))
    except GatedRepoError:
        raise ModelError(
            f"base = {name!r} is gated: accept its terms on the hub and log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(f"base = {name!r}: no such model on {hub}{hint}") from None
    except HfHubHTTPError as error:
        silent = f"{hub} answers with error {error.response.status_code}"
    except _no_answer():
        pass  # no hub, or a page that is none, as of a login portal: what is in the cache will do
    try:
        return _checked_folder(Path(snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=True)))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"base = {name!r} is not on this disk and {silent}{hint}: say base = {shipped()[0]!r}, which ships with "
            "gpt_magic, or give a folder"
        ) from None


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


def _set_dropout(model: Any, probability: float) -> None:
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
    for key, value in model.config.to_dict().items():
        if key.endswith(("pdrop", "dropout")) and isinstance(value, float):
            setattr(model.config, key, probability)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
