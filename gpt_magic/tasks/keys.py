"""What tokens were made of, as a name: equal texts, tokenizer and options have the same, so tokens are found again."""

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

from gpt_magic import store

_PIECE = 1000
_SMALL = store.IN_MEMORY // 16  # bytes of text whose tokens surely stay in memory, so that no name is needed


def token_key(tokenizer: Any, texts: Iterable[str], *parts: Any) -> tuple[str | None, int]:
    """A name for the tokens of ``texts``, and the bytes of the texts.

    Args:
        texts: all of the text that is made into tokens, and whatever else differs from row to row.
        parts: what else decides the rows, such as the longest length.

    Returns:
        None as the name where there is nothing to gain, and where the tokenizer cannot say what it is.
    """
    content, size = _content(texts)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if size < _SMALL or backend is None:
        return None, size
    import tokenizers

    marks = (tokenizer.bos_token_id, tokenizer.eos_token_id, getattr(tokenizer, "split_special_tokens", None))
    own = (type(tokenizer).__name__, backend.to_str(), repr(marks), tokenizers.__version__)
    return store.fingerprint(*own, content, *map(repr, parts)), size


def _content(texts: Iterable[str]) -> tuple[bytes, int]:
    """A digest of texts in their order, and their bytes."""
    digest, size = blake2b(digest_size=16), 0
    rest = iter(texts)
    while piece := list(islice(rest, _PIECE)):
        lengths: Sequence[int] = array("q", map(len, piece))
        joined = "".join(piece).encode("utf-8", "surrogatepass")
        digest.update(lengths)  # type: ignore[arg-type]  # an array is a buffer
        digest.update(joined)
        size += len(joined)
    return digest.digest(), size
