"""Prompts to continuations with transformers' own ``generate``: batches, samples, stop texts, streaming."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt_magic.data.tokens import token_ids
from gpt_magic.engine.kernels import fast_kernels
from gpt_magic.engine.memory import let_go
from gpt_magic.errors import DataError, OptionError, out_of_memory, plural
from gpt_magic.inference.decoding import replayed_decoding
from gpt_magic.inference.sampling import LARGEST_SEED, Sampling
from gpt_magic.models.load import quiet

_HALF = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer makes of bytes that are no whole character, or not yet


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt.

    Attributes:
        prompt: number of the prompt, from 0.
        sample: number of the sample of this prompt, from 0.
        text: the new text: without the prompt, the end-of-text token, a stop text and what follows it, and without
            half a character (U+FFFD) at its end.
        tokens: new tokens, those of an end of text or a stop text included.
        ended: ``end of text``, ``stop``, ``length`` or ``interrupted``.
    """

    prompt: int
    sample: int
    text: str
    tokens: int
    ended: str


def prompt_room(context: int, new: int, option: str = "max_new_tokens", reader: str = "the model") -> int:
    """Tokens of a prompt that can be read where ``new`` are to be written behind it.

    Args:
        context: tokens that the model can read at once.
        option, reader: what the number and the model are called in the message.

    Raises:
        OptionError: there is no room for a prompt.
    """
    if new >= context:
        raise OptionError(
            f"{option} = {new:,} must be from 1 to {context - 1:,}: "
            f"{reader} reads {plural(context, 'token')} at once, the prompt included"
        )
    return context - new


def encode_prompts(
    texts: Sequence[str], tokenizer: Any, context: int, max_new_tokens: int, index: Sequence[Any]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Token ids of each prompt, short enough that ``max_new_tokens`` fit behind it.

    A prompt that is too long keeps its end. An empty one becomes one end-of-text token, the start of a new text.

    Args:
        context: tokens that the model can read at once.
        index: the prompts' names, for messages.

    Returns:
        The ids, ``(tokens,)`` each, and which prompts were cut, ``(prompts,)``.

    Raises:
        OptionError: ``max_new_tokens`` leaves no room for a prompt.
        DataError: a text is no valid Unicode, or is empty and the tokenizer has no end-of-text token.
    """
    room = prompt_room(context, max_new_tokens)
    written = [number for number, text in enumerate(texts) if text]
    if len(written) < len(texts) and tokenizer.eos_token_id is None:
        raise DataError("an empty prompt needs a tokenizer with an end-of-text token: write a first word")
    ids = [np.array([tokenizer.eos_token_id if tokenizer.eos_token_id is not None else 0], dtype=np.int32)] * len(texts)
    cut = np.zeros(len(texts), dtype=bool)
    encoded = token_ids([texts[number] for number in written], tokenizer, [index[number] for number in written])
    for number, row in zip(written, encoded, strict=True):
        ids[number], cut[number] = np.asarray(row[-room:], dtype=np.int32), len(row) > room
    return ids, cut


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int] | np.ndarray],
    sampling: Sampling,
    *,
    batch_size: int = 8,
    on_text: Callable[[int, int, str], None] | None = None,
    check: Callable[[], None] = lambda: None,
    keep_partial: bool = False,
    lead: str = "",
) -> list[Continuation]:
    """Continue every prompt, ``sampling.num_samples`` times each.

    With a seed, a sample depends on the seed, its prompt, the prompt's number and its own number; other prompts and
    the batch size move it no more than the rounding of the logits does. Of the model's own ``generation_config``
    only the end-of-text ids count. Torch's global generator moves only when a seed has to be drawn from it.

    Args:
        model: a causal language model of transformers; its training mode and its ``generation_config`` are put back.
        tokenizer: the model's tokenizer.
        prompts: token ids of each prompt, at least one, ``(tokens,)`` each.
        batch_size: continuations a forward pass; half as many from where memory runs out.
        on_text: called with the numbers of prompt and sample and the text so far, whenever it has grown. The text only
            grows: no half characters, nothing of a stop text. The last call has the text that is returned.
        check: called before every batch and after every token; may raise to end the work.
        keep_partial: after a ``KeyboardInterrupt`` return what is there instead of raising it.
        lead: what belongs to the prompt where a continuation begins with it, such as a template's space.

    Returns:
        The continuations, all of the first prompt first. With ``keep_partial``, those that an interrupt kept from
        ending have what was there so far and ``ended="interrupted"``.

    Raises:
        ValueError: a prompt is empty or with ``max_new_tokens`` longer than the model reads.
    """
    from transformers import GenerationConfig

    context = int(model.config.max_position_embeddings)
    for number, ids in enumerate(prompts):
        if not 0 < len(ids) <= context - sampling.max_new_tokens:
            raise ValueError(
                f"prompt {number} has {plural(len(ids), 'token')}; with {sampling.max_new_tokens:,} new ones it "
                f"must have 1 to {context - sampling.max_new_tokens:,}"
            )
    ends = _end_tokens(model, tokenizer)
    rows = [
        _Row(number, sample, ids, tokenizer, sampling, ends, on_text, lead)
        for number, ids in enumerate(prompts)
        for sample in range(sampling.num_samples)
    ]
    if not sampling.greedy:
        seed = sampling.seed if sampling.seed is not None else int(torch.randint(LARGEST_SEED, ()).item())
        for row in rows:
            row.seed(seed, model.device)
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,  # _Draw turns the likeliest token into a random one
        repetition_penalty=sampling.repetition_penalty,
        use_cache=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=None),  # behind rows that have ended, where nobody looks
    )
    by_length = sorted(rows, key=lambda row: len(row.ids))

    def write(some: Sequence[_Row]) -> None:
        check()
        _continue(model, some, sampling, config, check)

    training, own_config = model.training, model.generation_config
    model.eval()
    model.generation_config = config  # generate() takes from it whatever is None in the config it is given
    try:
        with (
            quiet(),
            torch.inference_mode(),
            fast_kernels(model),
            replayed_decoding(model, sampling.max_new_tokens),
        ):
            _in_batches(by_length, batch_size, write, model.device)
    except KeyboardInterrupt:
        if not keep_partial:
            raise
    finally:
        model.generation_config = own_config
        model.train(training)
    for row in rows:
        if not row.ended:
            row.end("interrupted")
    return [Continuation(row.prompt, row.sample, row.text, len(row.tokens), row.ended) for row in rows]


@dataclass
class _Row:
    """One continuation in the making."""

    prompt: int
    sample: int
    ids: Sequence[int] | np.ndarray
    tokenizer: Any
    sampling: Sampling
    ends: frozenset[int]
    on_text: Callable[[int, int, str], None] | None
    lead: str
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    shown: str = ""
    ended: str = ""
    generator: torch.Generator | None = None

    def seed(self, seed: int, device: torch.device) -> None:
        """Give the row random numbers of its own, on ``device``."""
        mixed = np.random.SeedSequence([seed, self.prompt, self.sample]).generate_state(1, np.uint64)
        self.generator = torch.Generator(device).manual_seed(int(mixed[0]))

    def begin_anew(self) -> None:
        """Forget what was written; the same is written again, and shown from where it goes on."""
        self.tokens, self.text, self.ended = [], "", ""
        if self.generator is not None:
            self.generator.manual_seed(self.generator.initial_seed())

    def add(self, token: int) -> None:
        """Take the next token, end where it says so, and show what is settled of the text."""
        self.tokens.append(token)
        if token in self.ends:
            return self.end("end of text")
        text, stopped = self._written() if self.sampling.stop or self.on_text else ("", False)
        if stopped:
            return self.end("stop")
        if len(self.tokens) == self.sampling.max_new_tokens:
            return self.end("length")
        text = text.rstrip(_HALF)
        return self._show(text[: len(text) - _begun(text, self.sampling.stop)].rstrip(_HALF))

    def end(self, how: str) -> None:
        """Settle the text."""
        self.text = self._written()[0].rstrip(_HALF)
        self.ended = how
        self._show(self.text)

    def _written(self) -> tuple[str, bool]:
        """The text up to the first stop text, and whether there is one.

        All tokens are decoded anew each time, since one alone may be half a character: 0.15 ms for 480 tokens, where a
        forward pass of ``nano`` takes 3.
        """
        tokens = self.tokens[:-1] if self.tokens and self.tokens[-1] in self.ends else self.tokens
        text = str(self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)) if tokens else ""
        text = text.removeprefix(self.lead)
        starts = [start for start in map(text.find, self.sampling.stop) if start >= 0]
        return text[: min(starts, default=None)], bool(starts)

    def _show(self, text: str) -> None:
        if self.on_text and not self.shown.startswith(text):
            self.on_text(self.prompt, self.sample, text)
            self.shown = text


@dataclass(frozen=True)
class _Watch:
    """A stopping criterion of transformers that hands each row its tokens.

    transformers' StopStringCriteria also finds stop texts that begin in the prompt or in the padding, and does not say
    where they are.
    """

    rows: Sequence[_Row]
    check: Callable[[], None]

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:  # noqa: ARG002
        """Which rows have ended, ``(rows,)``, from all ids so far, ``(rows, tokens)``."""
        for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            if not row.ended:
                row.add(token)
        self.check()
        return torch.tensor([bool(row.ended) for row in self.rows], device=input_ids.device)


@dataclass(frozen=True)
class _Draw:
    """A logits processor of transformers after which the largest score is a sample of their softmax.

    The Gumbel-max trick (Maddison et al. 2014, https://arxiv.org/abs/1411.0030, section 2) with noise of each row's own
    generator; sampling by transformers takes all rows' numbers from one, so that each row depends on all others.
    """

    rows: Sequence[_Row]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        """Scores plus noise, ``(rows, vocabulary)``."""
        waits = torch.ones_like(scores)
        for row, wait in zip(self.rows, waits, strict=True):
            if not row.ended:
                wait.exponential_(generator=row.generator)
        return scores - waits.clamp_min(torch.finfo(scores.dtype).tiny).log()


def _in_batches(rows: Sequence[_Row], size: int, write: Callable[[Sequence[_Row]], None], device: torch.device) -> None:
    """Let ``write`` take so many rows at a time, and half as many from where memory runs out, those anew."""
    while rows:
        some = rows[:size]
        try:
            write(some)
        except (RuntimeError, MemoryError) as failure:
            if len(some) == 1 or not out_of_memory(failure):
                raise
        else:
            rows = rows[len(some) :]
            continue
        let_go(device)  # only now are the failure's frames gone, which held tensors
        size = len(some) // 2
        for row in some:
            row.begin_anew()
        warnings.warn(f"memory ran out: {plural(size, 'text')} at a time from now on", stacklevel=3)


def _continue(model: Any, rows: Sequence[_Row], sampling: Sampling, config: Any, check: Callable[[], None]) -> None:
    """One batch, padded on the left."""
    longest = max(len(row.ids) for row in rows)
    # Each row is padded with its own first token: the repetition penalty looks at the padding too (in transformers
    # 5.0), and there it finds nothing new. The mask hides it from the model.
    ids = torch.tensor([[int(row.ids[0])] * (longest - len(row.ids)) + [int(i) for i in row.ids] for row in rows])
    mask = torch.tensor([[0] * (longest - len(row.ids)) + [1] * len(row.ids) for row in rows])
    model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=config,
        logits_processor=[] if sampling.greedy else [*_warpers(sampling), _Draw(rows)],
        stopping_criteria=[_Watch(rows, check)],
    )


def _warpers(sampling: Sampling) -> list[Any]:
    """transformers' own, in its order; it leaves them out when it does not sample itself."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers: list[Any] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The end-of-text ids of the model's generation config and of the tokenizer, those that the model can produce."""
    own = getattr(model.generation_config, "eos_token_id", None)
    ids = {*(own if isinstance(own, (list, tuple)) else [own]), tokenizer.eos_token_id}
    return frozenset(int(i) for i in ids if i is not None and 0 <= i < model.config.vocab_size)


def _begun(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of ``text`` that may become one of ``stops``."""
    return max((n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
