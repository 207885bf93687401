"""Tokenizers: that of a base, and the line break that closes texts to classify."""

import json
from typing import Any

from gpt_magic.errors import ModelError
from gpt_magic.models.find import Base
from gpt_magic.models.load import config_of, first_line, quiet


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
            raise ModelError(f"base = {base.name!r}: its tokenizer cannot be loaded: {first_line(error)}") from error
    if not tokenizer.vocab_size:
        raise ModelError(f"base = {base.name!r} has no tokenizer: add it with tokenizer.save_pretrained(...)")
    embedded = config_of(base).vocab_size
    if tokenizer.vocab_size > embedded:
        raise ModelError(
            f"base = {base.name!r}: the tokenizer has {tokenizer.vocab_size:,} tokens, the model knows {embedded:,}; "
            "they do not belong together"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _open_texts(tokenizer)
    tokenizer.padding_side = "right"  # as set to generate, "left" would move the positions that a classifier reads
    tokenizer.init_kwargs.pop("padding_side", None)
    return tokenizer


def close_texts(tokenizer: Any) -> None:
    """Let ``tokenizer`` put a line break behind a text, and behind each text of a pair: a place to read a class off.

    It does so by its own template (post-processor), hence also in plain transformers once it is saved. A tokenizer that
    is not a fast one, or that marks the ends of texts already, stays as it is.
    """
    from tokenizers.processors import Sequence

    closing = _closing(tokenizer)
    if closing is not None and not closing_tokens(tokenizer):
        own = tokenizer.backend_tokenizer.post_processor
        tokenizer.backend_tokenizer.post_processor = closing if own is None else Sequence([own, closing])


def closing_tokens(tokenizer: Any) -> int:
    """How many tokens ``tokenizer`` puts behind a text."""
    whole, bare = (tokenizer(["a"], add_special_tokens=marks)["input_ids"][0] for marks in (True, False))
    return next((n for n in range(len(whole)) if whole[: len(whole) - n][-len(bare) :] == bare), 0)


def _open_texts(tokenizer: Any) -> None:
    """Take `close_texts` back: whether texts are closed is a matter of the task, and the base may be a classifier."""
    closing = _closing(tokenizer)
    own = closing and tokenizer.backend_tokenizer.post_processor
    if not own:
        return
    parts = json.loads(own.__getstate__())
    made = json.loads(closing.__getstate__())
    if parts == made:
        tokenizer.backend_tokenizer.post_processor = None
    elif parts.get("processors", [])[1:] == [made]:
        tokenizer.backend_tokenizer.post_processor = own[0]


def _closing(tokenizer: Any) -> Any:
    """The template of `close_texts`; None where ``tokenizer`` cannot have it."""
    from tokenizers.processors import TemplateProcessing

    ids = tokenizer.encode("\n", add_special_tokens=False)
    if len(ids) != 1 or tokenizer.decode(ids) != "\n" or getattr(tokenizer, "backend_tokenizer", None) is None:
        return None
    mark = tokenizer.convert_ids_to_tokens(ids[0])
    single, pair = f"$A {mark}", f"$A {mark} $B:1 {mark}:1"
    return TemplateProcessing(single=single, pair=pair, special_tokens=[(mark, ids[0])])
