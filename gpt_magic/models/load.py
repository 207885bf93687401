"""Base models: from where they are to a model with the head of a task."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gpt_magic.errors import ModelError, listing
from gpt_magic.models.find import Base


def context_length(base: Base) -> int:
    """Tokens that the base can read at once.

    Raises:
        ModelError: the model has no such limit, so it is not a GPT.
    """
    config = config_of(base)
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
        return sum(p.numel() for p in AutoModel.from_config(config_of(base)).parameters())


def load_classifier(
    base: Base,
    classes: Sequence[Any],
    pad_token_id: int,
    dropout: float | None,
    problem: str = "single_label_classification",
) -> Any:
    """The base with a head that reads labels off, in float32 and evaluation mode.

    A head that the base already has, see `keeps_head`, is kept; any other is new, from torch's current seed.

    Args:
        classes: names of the head's outputs.
        problem: as transformers' ``problem_type``.

    Raises:
        ModelError: the base is not a GPT-style model that transformers can put a classification head on, or its
            weights are damaged or those of another model.
    """
    from transformers import AutoModelForSequenceClassification

    config, same = config_of(base), keeps_head(base, classes, problem)
    labels = _names(classes)
    config.num_labels = len(classes)
    config.id2label, config.label2id = labels, {label: i for i, label in labels.items()}
    config.pad_token_id = pad_token_id
    config.problem_type = problem
    return _load(base, config, AutoModelForSequenceClassification, "score", same, dropout)


def keeps_head(base: Base, classes: Sequence[Any], problem: str) -> bool:
    """Whether the base has a head for the same outputs and the same kind of problem already."""
    config = config_of(base)
    kinds = (problem,) if problem == "regression" else (None, problem)
    return bool(config.id2label == _names(classes) and config.problem_type in kinds)


def _names(classes: Sequence[Any]) -> dict[int, str]:
    return {i: str(label) for i, label in enumerate(classes)}


def load_tagger(base: Base, tags: Sequence[str], pad_token_id: int, dropout: float | None) -> Any:
    """The base with a head that tags tokens, in float32 and evaluation mode.

    A head that the base already has for the same tags is kept; any other is new, from torch's current seed.

    Raises:
        ModelError: the base is not a GPT-style model that transformers can put a tagging head on, or its weights are
            damaged or those of another model.
    """
    from transformers import AutoModelForTokenClassification

    config = config_of(base)
    labels = dict(enumerate(tags))
    same_tags = config.id2label == labels
    config.num_labels = len(tags)
    config.id2label, config.label2id = labels, {tag: i for i, tag in labels.items()}
    config.pad_token_id = pad_token_id
    if getattr(config, "classifier_dropout", None) is None:
        config.classifier_dropout = getattr(config, "resid_pdrop", 0.0)  # or GPT-2's head has 0.1, whatever the rest
    return _load(base, config, AutoModelForTokenClassification, _tagging_head(base, config), same_tags, dropout)


def load_extractor(base: Base, dropout: float | None) -> Any:
    """The base with a head that marks the start and the end of an answer, in float32 and evaluation mode.

    Raises:
        ModelError: the base is not a GPT-style model that transformers can put such a head on, or its weights are
            damaged or those of another model.
    """
    from transformers import AutoModelForQuestionAnswering

    config = config_of(base)
    config.num_labels = 2  # a start and an end
    return _load(base, config, AutoModelForQuestionAnswering, "qa_outputs", True, dropout)


def load_language_model(base: Base, dropout: float | None, end: int | None = None) -> Any:
    """The base with its language-model head, in float32 and evaluation mode.

    Args:
        end: the token at which the model learns to end; its own generation is to end there too.

    Raises:
        ModelError: the base is not a GPT-style language model, or its weights are damaged or those of another model.
    """
    from transformers import AutoModelForCausalLM

    model = _load(base, config_of(base), AutoModelForCausalLM, "lm_head", True, dropout, new_head=False)
    own = model.generation_config.eos_token_id
    if end is not None and end not in (own if isinstance(own, list) else [own]):
        model.generation_config.eos_token_id = end  # else plain transformers would write past what was learned
    return model


def _tagging_head(base: Base, config: Any) -> str:
    """What the family calls its head for tags; only where its head for texts shows a causal trunk."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    try:
        with torch.device("meta"):
            texts = AutoModelForSequenceClassification.from_config(config)
            words = AutoModelForTokenClassification.from_config(config)
    except ValueError as error:
        raise ModelError(f"base = {base.name!r} cannot be loaded: {first_line(error)}") from error
    if not hasattr(texts, "score"):
        raise ModelError(_not_a_gpt(base, config))
    return "classifier" if hasattr(words, "classifier") else "score"


def _load(
    base: Base, config: Any, auto: Any, head: str, keep_head: bool, dropout: float | None, new_head: bool = True
) -> Any:
    import torch
    from safetensors import SafetensorError

    config.dtype = torch.float32
    try:
        with quiet():
            if not base.pretrained:
                model, kept = auto.from_config(config), True
            elif isinstance(base.source, tuple):
                model, kept = _from_object(auto.from_config(config), base.source[0], head, keep_head)
            else:
                model, kept = _from_folder(base, config, auto, head, keep_head)
    except SafetensorError as error:
        raise ModelError(
            f"base = {base.name!r}: its weights are damaged ({first_line(error)}); save or download them again"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"base = {base.name!r} cannot be loaded: {first_line(error)}") from error
    if not hasattr(model, head):
        raise ModelError(_not_a_gpt(base, config))
    if not (kept or new_head or model.get_output_embeddings().weight is model.get_input_embeddings().weight):
        raise ModelError(f"base = {base.name!r} has no language-model head: to generate, start from a language model")
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


def config_of(base: Base) -> Any:
    """The base's configuration, a copy of its own.

    Raises:
        ModelError: it cannot be read.
    """
    import copy

    from transformers import AutoConfig

    if isinstance(base.source, tuple):
        return copy.deepcopy(base.source[0].config)
    try:
        return AutoConfig.from_pretrained(base.source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"base = {base.name!r} cannot be loaded: {first_line(error)}") from error


def _from_object(new: Any, old: Any, head: str, keep_head: bool) -> tuple[Any, bool]:
    """Copy what fits from the user's own model, which stays as it is; also whether its head was kept."""
    new.base_model.load_state_dict(old.base_model.state_dict())
    kept = keep_head and getattr(old, head, None) is not None
    if kept:
        getattr(new, head).load_state_dict(getattr(old, head).state_dict())
    return new, kept


def _from_folder(base: Base, config: Any, auto: Any, head: str, keep_head: bool) -> tuple[Any, bool]:
    """The model of a folder, and whether its head was kept."""
    import torch

    model, found = auto.from_pretrained(
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
    fresh_trunk = sorted(key for key in lost if not key.startswith(f"{head}."))
    # transformers would go on from random numbers.
    if hasattr(model, head) and fresh_trunk:
        raise ValueError(f"its weights lack, or have in another shape than its config, {listing(fresh_trunk, 3)}")
    weight = f"{head}.weight"
    if hasattr(model, head) and not keep_head and weight not in lost:
        torch.nn.init.normal_(getattr(model, head).weight, std=getattr(config, "initializer_range", 0.02))
    return model, keep_head and weight not in lost


def _not_a_gpt(base: Base, config: Any) -> str:
    return f"base = {base.name!r} is of the family {config.model_type}, not a GPT-style model with a causal trunk"


def _set_dropout(model: Any, probability: float) -> None:
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
    for key, value in model.config.to_dict().items():
        if key.endswith(("pdrop", "dropout")) and isinstance(value, float):
            setattr(model.config, key, probability)


def first_line(error: Exception) -> str:
    """What another library says of an error, in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
