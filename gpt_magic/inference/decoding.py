"""Decoding on a GPU: the pass of one token is recorded once (a CUDA graph) and launched again for each further one.

One token of GPT-2 is some 200 launches, which take longer than what they compute. A graph reads and writes memory in
fixed places, so keys and values go to transformers' StaticCache, and the mask says how much of it is filled. Nothing
else of ``generate`` changes. What it brings was not yet measured on a GPU.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from gpt_magic.engine.graphs import graphs_on
from gpt_magic.engine.layout import next_multiple
from gpt_magic.engine.packing import is_gpt2

LEAST_TOKENS = 16  # to be written where passes are recorded: it costs a few passes, and torch empties its cache for it
_PLACES = 128  # the length of a cache is a multiple of it, so batches of about one length share a recording

# How far apart next tokens' probabilities may be, in total variation: rounding is all that differs.
_TOLERANCE, _TOLERANCE_OF_HALVES = 1e-3, 0.25


@contextmanager
def replayed_decoding(model: Any, max_new_tokens: int) -> Iterator[None]:
    """Within it ``model.generate`` replays one-token passes, on a GPU; the model is as it was afterwards.

    Each batch's first pass of that kind is computed plainly too and compared. Where that differs, or a recording fails,
    all further passes are plain ones, and a warning says so.

    Args:
        model: a causal language model of transformers, in inference mode; another one than GPT-2 stays as it is.
        max_new_tokens: most tokens that are written after a prompt; a few are not worth a recording.
    """
    if max_new_tokens < LEAST_TOKENS or not _supported(model) or graphs_on(model.device) is None:
        yield
        return
    decoding = _Decoding(model, max_new_tokens)

    @wraps(model.forward)  # generate() looks at the names of its arguments
    def forward(*args: Any, **inputs: Any) -> Any:
        return decoding(*args, **inputs)

    model.forward = forward
    try:
        yield
    finally:
        del model.forward
        decoding.let_go()  # a traceback may keep frames that know of it


def _supported(model: Any) -> bool:
    """Whether the pass of one token is known to be the same operations each time, with a mask of one number a place."""
    from transformers import GPT2LMHeadModel

    own = type(model) is GPT2LMHeadModel and "forward" not in vars(model)  # else something of Python may run in a pass
    return own and is_gpt2(model) and model.config._attn_implementation in ("sdpa", "eager")


class _Decoding:
    """Stands for a model's forward: prompts and the first token are computed plainly, further tokens replayed."""

    def __init__(self, model: Any, max_new_tokens: int) -> None:
        self._plain, self._config, self._max_new_tokens = model.forward, model.config, max_new_tokens
        self._failed = self._replays = False
        self._batch: Any = None  # the cache that generate() has made for the batch
        self._recorded: _Recorded | None = None  # of the last size; batches come ordered by length

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """As the model's forward."""
        cache = inputs.get("past_key_values")
        if args or cache is None or self._failed:
            return self._plain(*args, **inputs)
        if cache is not self._batch:
            self._batch, self._replays = cache, False
            return self._plain(**inputs)
        if self._recorded is None or not self._replays:
            return self._begin(inputs)
        return _output(self._recorded.next(inputs), cache)

    def let_go(self) -> None:
        """Free what is held: caches and graph."""
        self._recorded = self._batch = None

    def _begin(self, inputs: dict[str, Any]) -> Any:
        """The first token after the prompts, computed plainly; if a replay comes to the same, the next are replayed."""
        prompt = self._batch.get_seq_length()
        out = self._plain(**inputs)
        try:
            # Tensors of inference mode could be written nowhere else; torch keeps some with the first of all graphs.
            with torch.inference_mode(False), torch.no_grad():
                why = _difference(self._first(inputs, prompt), out.logits)
        except Exception as failure:
            why = f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
        if why:  # only now are the failure's frames gone, which held tensors
            self._failed = True
            self.let_go()
            warnings.warn(
                f"tokens are launched one operation after another, which takes a GPU longer: {why}", stacklevel=2
            )
        else:
            self._batch.reset()  # all that was in it is in the static cache
            self._replays = True
        return out

    def _first(self, inputs: dict[str, Any], prompt: int) -> Tensor:
        rows, places = len(inputs["input_ids"]), next_multiple(prompt + self._max_new_tokens, _PLACES)
        if self._recorded is None or self._recorded.size != (rows, places):
            self._recorded = None  # first, as its memory may be needed
            self._recorded = _Recorded(self._plain, self._config, self._batch, (rows, places))
        self._recorded.take(self._batch, prompt, inputs.get("attention_mask"))
        return self._recorded.next(inputs)


class _Recorded:
    """The pass of one token of each row, for one size: its cache, what it reads and writes, and its graph.

    Args:
        forward: the model's own.
        batch: transformers' cache of a batch of ``rows``.
        size: rows, and places of the cache.
    """

    def __init__(self, forward: Callable[..., Any], config: Any, batch: Any, size: tuple[int, int]) -> None:
        from transformers import StaticCache

        self.size, (rows, places), keys = size, size, batch.layers[0].keys
        self._forward = forward
        self._cache = StaticCache(config=config, max_cache_len=places)
        self._cache.early_initialization(rows, keys.shape[1], keys.shape[3], keys.dtype, keys.device)
        self._ids = torch.zeros((rows, 1), dtype=torch.long, device=keys.device)
        self._positions = torch.zeros_like(self._ids)
        self._mask = torch.empty((rows, 1, 1, places), dtype=keys.dtype, device=keys.device)
        self._logits = torch.empty(0)
        graphs = graphs_on(keys.device)  # of its own, as its memory goes with it
        assert graphs is not None
        self._graphs = graphs
        self._filled = 0
        self._replay: Callable[[], None] | None = None

    def take(self, batch: Any, prompt: int, mask: Tensor | None) -> None:
        """Begin with what the first ``prompt`` tokens have left in ``batch``; ``mask`` is ``(rows, tokens)``.

        What an earlier batch has left behind them is hidden by the mask.
        """
        for own, other in zip(self._cache.layers, batch.layers, strict=True):
            own.keys[:, :, :prompt] = other.keys[:, :, :prompt]
            own.values[:, :, :prompt] = other.values[:, :, :prompt]
        self._mask.fill_(float("-inf"))
        seen = self._mask[:, 0, 0, :prompt]
        seen.zero_() if mask is None else seen.masked_fill_(mask[:, :prompt] != 0, 0.0)
        self._filled = prompt
        self._rewind()

    def next(self, inputs: dict[str, Any]) -> Tensor:
        """Logits after one more token of each row, ``(rows, 1, vocabulary)``; the next call writes over them."""
        with self._graphs.stream():
            self._ids.copy_(inputs["input_ids"])
            self._positions.copy_(inputs["position_ids"])  # (1, 1) where nothing is padded
            if self._replay is None:
                self._compute()  # warms up
                self._rewind()  # else it would have written the token twice
                self._replay = self._graphs.capture(self._compute)
                self._logits.fill_(float("nan"))  # a replay that does nothing is to be seen
            self._replay()
        return self._logits

    def _compute(self) -> None:
        at = self._cache.layers[0].cumulative_length  # a tensor, which each pass moves on
        self._mask.index_fill_(-1, at.view(1), 0.0)
        self._logits = self._forward(
            input_ids=self._ids,
            position_ids=self._positions,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            return_dict=True,
        ).logits

    def _rewind(self) -> None:
        for layer in self._cache.layers:
            layer.cumulative_length.fill_(self._filled)


def _output(logits: Tensor, cache: Any) -> Any:
    from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

    return CausalLMOutputWithCrossAttentions(logits=logits, past_key_values=cache)


def _difference(found: Tensor, expected: Tensor) -> str:
    """What is wrong with the logits of a replay, ``(rows, 1, vocabulary)`` both; nothing where they are near."""
    replayed, plain = (logits[:, -1].float().softmax(-1) for logits in (found, expected))
    apart = float((replayed - plain).abs().sum(-1).max()) / 2
    allowed = _TOLERANCE if expected.dtype == torch.float32 else _TOLERANCE_OF_HALVES
    return "" if apart <= allowed else f"replayed, probabilities are {apart:.2g} apart from plain ones"
