"""Generation: to continue texts, to answer prompts, to take part in conversations."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from gpt_magic.data.checks import NOT_UNICODE, is_unicode, rows
from gpt_magic.data.passages import Part, Passage, PassageData, Passages, conversation_prompt
from gpt_magic.data.tokens import length_facts, length_picture, token_ids
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Hidden
from gpt_magic.errors import DataError, ModelError, OptionError, listing, plural
from gpt_magic.inference.generation import encode_prompts, generate, prompt_room
from gpt_magic.inference.sampling import Sampling
from gpt_magic.lazy import mapped, take
from gpt_magic.models.find import Base
from gpt_magic.models.load import load_language_model
from gpt_magic.tasks.keys import token_key
from gpt_magic.tasks.language import ROWS_A_PASS, Learned, NextToken, encode, metrics, total_nats
from gpt_magic.tasks.task import Check, Rows, Task

# How the samples of a run are drawn: not greedy, because a model that has learned little repeats itself then.
_TEMPERATURE, _TOP_P = 0.8, 0.95
_PARTED = {
    "text": "",  # a text has no prompt: its blocks are texts too
    "completion": (
        "completions are too long for {limit:,} tokens; what comes in a later block is read without the prompt"
    ),
    "messages": (
        "conversations are too long for {limit:,} tokens; what comes in a later block is read without what was said "
        "before it"
    ),
}
_PIECE = 1000  # passages that are tokenised together
_BYTES_A_CHARACTER = 3  # of a token and its place and its successor, four bytes each, at some four characters a token


@dataclass
class GenerateTask(Task):
    """``task = "generate"``."""

    name = "generate"
    scores = {"perplexity": "perplexity", "bits_per_character": "bits per character"}  # noqa: RUF012
    compares_base = True
    read_together = ROWS_A_PASS

    data: PassageData
    _vocabulary: int = field(init=False, default=0)

    @property
    def objective(self) -> NextToken:
        """Cross-entropy of the next token."""
        return NextToken(self._vocabulary)

    def encode(self, tokenizer: Any, limit: int, check: Check) -> Rows:
        """Blocks of at most ``limit`` tokens; see `language.blocks`."""
        data, error = self.data, self.options.truncate == "error"
        self.tokenizer = tokenizer
        train = encode_passages(data.train, tokenizer, limit, error, check, self.watched, cached=True)
        valid = encode_passages(
            data.valid, tokenizer, limit, error, check, lambda rows: self.watched(rows, len(data.train)), cached=True
        )
        lengths = train.notes["lengths"]
        used, scored = int(train.lengths().sum()), int(train.scored_counts().sum())
        facts = length_facts(lengths, used)
        blocks = len(train) != len(data.train)
        if blocks:
            facts.append(("blocks", f"{len(train):,} of at most {limit:,} tokens"))
        if data.style != "text":
            what = {"completion": "the completions", "messages": "what the assistant says"}[data.style]
            facts.append(("learned", f"{scored:,} of {used:,} tokens: {what}"))
        parts = (("training", train.notes, data.train), ("validation", valid.notes, data.valid))
        warnings = [
            f"{len(over):,} of {len(of):,} {what} {said} (rows {listing(take(of.index, over), count=len(over))})"
            for note, said in (
                ("cut", f"prompts are too long for {limit:,} tokens with their completions; they lose their beginning"),
                ("parted", _PARTED[data.style].format(limit=limit)),
            )
            for what, notes, of in parts
            if len(over := notes[note])
        ]
        return Rows(
            train=train,
            valid=valid,
            facts=facts,
            warnings=warnings,
            lengths=length_picture(lengths, limit),
            noun="block" if blocks else "row",
        )

    def load(self, base: Base) -> Any:
        """The base with its language-model head."""
        model = load_language_model(base, self.options.dropout, self.tokenizer.eos_token_id)
        self._vocabulary = int(model.get_output_embeddings().weight.shape[0])
        return model

    def evaluate(self, model: Any, rows: Encoded, hidden: Hidden, check: Check) -> dict[str, float]:
        """Loss, perplexity, bits per character and tokens."""
        return metrics(*total_nats(model, rows, hidden, check), self.data.valid.characters)

    def sample(self, model: Any, check: Check) -> tuple[tuple[str, str], ...]:
        """Each of the option ``samples`` and how the model continues it, the same random numbers every time."""
        prompts: list[str] = self.options.samples or []
        if not prompts:
            return ()
        new = self.options.sample_tokens
        how = Sampling(max_new_tokens=new, temperature=_TEMPERATURE, top_p=_TOP_P, seed=self.options.seed)
        ids, _ = self._samples(int(model.config.max_position_embeddings))
        told = generate(model, self.tokenizer, ids, how, check=check, lead=lead(self.data.style))
        return tuple((prompts[one.prompt], one.text) for one in told)

    def foresee(self, context: int) -> list[str]:
        """Whether the option ``samples`` can be continued."""
        if not self.options.samples:
            return []
        room = prompt_room(context, self.options.sample_tokens, "sample_tokens", "the base")
        _, cut = self._samples(context)
        if not cut.any():
            return []
        return [f"samples: of {plural(int(cut.sum()), 'prompt')} only the last {room:,} tokens are read"]

    def _samples(self, context: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Token ids of each prompt of the option ``samples``, and which were cut."""
        prompts: list[str] = self.options.samples
        names = [f"samples[{number}]" for number in range(len(prompts))]
        for name, prompt in zip(names, prompts, strict=True):
            if self.data.style == "messages" and prompt and not prompt.strip():
                raise OptionError(f"{name} = {prompt!r}: there is nothing to answer in it")
            if not is_unicode(prompt):
                raise OptionError(f"{name} {NOT_UNICODE}")
        passages = [prompt_passage(prompt, self.data.style, name) for name, prompt in zip(names, prompts, strict=True)]
        return encode_prompt_passages(passages, self.tokenizer, context, self.options.sample_tokens, names)

    def own(self) -> dict[str, Any]:
        """The style, and the training passages, which the tuned model remembers while it lives and does not save."""
        return {"style": self.data.style, "training": self.data.train}


def encode_passages(
    passages: Passages,
    tokenizer: Any,
    limit: int,
    error: bool = False,
    check: Check = lambda: None,
    watch: Callable[[Iterator[Learned]], Iterator[Learned]] = iter,
    cached: bool = False,
) -> Encoded:
    """Rows for the loop, and as notes the tokens of each passage (``lengths``) and which cannot be learned as they are.

    Those are passages whose prompt lost its beginning (``cut``), and those of which so much is learned that it takes
    several blocks, the later of which do not see the prompt (``parted``).

    Args:
        error: whether it is an error when there are such passages; see `fit`.
        watch: what the sequences go through, one passage after the other.
        cached: whether to find, or keep, the tokens of a large table.

    Raises:
        DataError: ``error`` is set and something would be cut; or as `sequences_of`.
    """
    key, need = None, 0
    if cached:
        names = mapped(str, passages.index)  # stand beside the tokens
        texts = chain(mapped(_spelled, passages.passages), names)
        key, need = token_key(tokenizer, texts, "next token, cut or parted", limit, error)
    lengths, cut, parted = (array("q") for _ in range(3))
    prompted = len(passages) > 0 and not passages.passages[0].begins

    def fitted() -> Iterator[Learned]:
        refused: array[int] = array("q")
        for number, sequence in enumerate(watch(sequences_of(passages, tokenizer, check))):
            lengths.append(len(sequence.ids) - 1)
            made = fit(sequence, limit)
            if made is not sequence:
                (refused if error else cut).append(number)
            elif prompted and lengths[-1] > limit:
                (refused if error else parted).append(number)
            yield made
        if refused:
            raise DataError(
                f"{plural(len(refused), 'prompt')} with their completions longer than {limit:,} tokens "
                f"({rows(passages.index[i] for i in refused)}): shorten them, or say truncate = 'tail' to learn them "
                "without their beginning"
            )

    notes = {"lengths": lengths, "cut": cut, "parted": parted}
    return encode(fitted(), limit, key, notes=notes, need=_BYTES_A_CHARACTER * need)


def _spelled(passage: Passage) -> str:
    """A passage in one text, from which it could be told apart from any other."""
    marks = [f"{len(part.text)}{'L' if part.learned else 'R'}{'.' if part.ends else ','}" for part in passage.parts]
    return f"{'^' if passage.begins else ''}{''.join(marks)}|{passage.text}"


def sequences_of(passages: Passages, tokenizer: Any, check: Check = lambda: None) -> Iterator[Learned]:
    """Token sequences of passages, each part tokenised by itself: a prompt has the same tokens in training and in use.

    Raises:
        ModelError: the tokenizer has no end-of-text token.
        DataError: a text is no valid Unicode, or, once all were made, some have no tokens.
    """
    short = []
    for (ids, learned), row in zip(_tokens(passages, tokenizer, check), passages.index, strict=True):
        sequence = Learned(np.array(ids, dtype=np.int32), np.array(learned, dtype=bool), row)
        if not sequence.learned[1:].any():
            short.append(row)
        yield sequence
    if short:
        raise DataError(f"the tokenizer makes no tokens of {rows(short)}: remove them")


def _tokens(passages: Passages, tokenizer: Any, check: Check) -> Iterator[tuple[list[int], list[bool]]]:
    """Token ids of each passage, and which of them are learned."""
    if tokenizer.eos_token_id is None:
        raise ModelError("the base's tokenizer has no end-of-text token to learn where a text ends: set its eos_token")
    for start in range(0, len(passages), _PIECE):
        piece = slice(start, start + _PIECE)
        yield from _tokens_of_few(passages.passages[piece], passages.index[piece], tokenizer, check)


def _tokens_of_few(
    passages: Sequence[Passage], index: Sequence[Any], tokenizer: Any, check: Check
) -> Iterator[tuple[list[int], list[bool]]]:
    end = tokenizer.eos_token_id
    later = [(row, part) for p, row in zip(passages, index, strict=True) for part in p.parts[1:]]
    firsts = token_ids([p.parts[0].text for p in passages], tokenizer, index, check)
    others = token_ids([part.text for _, part in later], tokenizer, [row for row, _ in later], check, whole=False)
    for passage in passages:
        ids = next(firsts)
        if passage.begins and ids[:1] not in ([end], [tokenizer.bos_token_id]):  # the tokenizer's own mark
            ids = [end, *ids]
        learned = [part.learned for part in passage.parts[:1] for _ in ids]
        learned[:1] = [False] * len(learned[:1])  # nothing stands before it
        for place, part in enumerate(passage.parts):
            more = next(others) if place else []
            more = [*more, end] if part.ends else more
            ids, learned = ids + more, learned + [part.learned] * len(more)
        yield ids, learned


def lead(style: str) -> str:
    """What a continuation begins with that is the template's: a space after ``Assistant:``."""
    return " " if style == "messages" else ""


def prompt_passage(prompt: str, style: str, where: str) -> Passage:
    """A text to continue, as a model of ``style`` was taught: to one of conversations the user says it."""
    if style == "messages" and prompt:
        return conversation_prompt([{"role": "user", "content": prompt}], where)
    return Passage((Part(prompt, learned=False),))


def encode_prompt_passages(
    prompts: Sequence[Passage], tokenizer: Any, context: int, max_new_tokens: int, index: Sequence[Any]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Like `encode_prompts`, but as in training: part by part, after an end of text where it begins a document."""
    ids, cut = encode_prompts([prompt.text for prompt in prompts], tokenizer, context, max_new_tokens, index)
    room = context - max_new_tokens
    other = [number for number, prompt in enumerate(prompts) if len(prompt.parts) > 1 or prompt.begins]
    passages = Passages([prompts[number] for number in other], [index[number] for number in other])
    for number, (whole, _) in zip(other, _tokens(passages, tokenizer, lambda: None), strict=True):
        ids[number], cut[number] = np.array(whole[-room:], dtype=np.int32), len(whole) > room
    return ids, cut


def fit(sequence: Learned, limit: int) -> Learned:
    """Let a prompt that is too long lose its beginning, where all that is learned then fits in ``limit`` tokens.

    A sequence of which more is learned stays whole: it is cut into blocks.
    """
    length, first = len(sequence.ids), int(np.argmax(sequence.learned))
    if length - 1 <= limit or length - first > limit:
        return sequence
    keep = slice(-(limit + 1), None)
    return Learned(sequence.ids[keep], sequence.learned[keep], sequence.row)
