"""A fine-tuned language model: it writes on."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import TYPE_CHECKING, Any

from gpt_magic.data.checks import Findings
from gpt_magic.data.passages import Passage, Passages, check_passages, conversation_prompt
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError, OptionError, a_kind, plural, short
from gpt_magic.options import Options
from gpt_magic.tuned.base import TruncationWarning, TunedModel

if TYPE_CHECKING:
    import pandas as pd

    from gpt_magic.inference.sampling import Sampling
    from gpt_magic.tasks.evaluation import LanguageEvaluation

_WRITTEN = 200  # tokens of each text that is looked through for what was memorised

OnText = Callable[[int, int, str], None]


@dataclass(repr=False, kw_only=True)
class TunedGenerator(TunedModel):
    """A fine-tuned language model; see `TunedModel` for what every tuned model has.

    Attributes:
        style: what it was trained on: ``text``, ``completion`` (of prompts) or ``messages``.
        training: the training passages, for ``evaluate(..., memorised=True)``; they are not saved with the model, so
            None after `gpt_magic.load`.
    """

    task = "generate"
    auto_class = "AutoModelForCausalLM"
    kept = ("style",)
    headline = {"perplexity": "perplexity", "bits_per_character": "bits per character"}  # noqa: RUF012

    style: str
    training: Passages | None = field(default=None, compare=False)

    def generate(
        self,
        prompts: Any,
        max_new_tokens: int = 64,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] | None = (),
        num_samples: int = 1,
        seed: int | None = None,
        on_text: OnText | None = None,
        keep_partial: bool = False,
    ) -> Any:
        """Continue prompts, with transformers' own ``generate``.

        Args:
            prompts: one text; one conversation (a list of ``{"role", "content"}``), which the assistant answers; or
                several, as a list, a Series, or a table with the column that the model was prompted with in training.
                An empty text starts from the end-of-text token, as a new document. Of a prompt that is too long for
                the model the end is read.
            max_new_tokens: most tokens to write; the model may end earlier.
            temperature: 0 always takes the likeliest token (greedy); higher is more varied.
            top_k: choose among the k likeliest tokens only; 0 = all.
            top_p: choose among the likeliest tokens that together have this probability only; 1 = all.
            repetition_penalty: above 1 makes tokens that have occurred less likely (Keskar et al. 2019).
            stop: a text or texts at which to end; they are not part of the continuation.
            num_samples: continuations of each prompt.
            seed: the same seed gives the same texts; None draws anew.
            on_text: called as tokens come with (prompt, sample, continuation so far).
            keep_partial: after an interrupt return what is there instead of raising it.

        Returns:
            For one prompt its continuation, a text, or a list of texts with ``num_samples`` above 1. For several a
            table: the columns of a table, or ``prompt``; then ``sample`` (from 0, with ``num_samples`` above 1),
            ``completion`` and ``ended`` (``end of text``, ``stop``, ``length`` or ``interrupted``), in the place of
            columns of these names; the prompts' own column is called ``prompt`` if it has one of them.

        Raises:
            OptionError: a setting is out of its range.
            DataError: there is no prompt column, a prompt is no text, or there is nothing to continue.
        """
        import pandas as pd

        from gpt_magic.inference.generation import generate
        from gpt_magic.inference.sampling import Sampling, stop_texts
        from gpt_magic.tasks.generate import encode_prompt_passages, lead

        prompts = _plain(prompts)
        stops = stop_texts(stop)
        how = Sampling(max_new_tokens, temperature, top_k, top_p, repetition_penalty, stops, num_samples, seed)
        one = isinstance(prompts, str) or is_conversation(prompts)
        frame, column, passages = self._prompts([prompts] if one else prompts)
        index = list(frame.index)
        ids, cut = encode_prompt_passages(passages, self.tokenizer, self._context, how.max_new_tokens, index)
        own = lead(self.style)
        told = generate(self.model, self.tokenizer, ids, how, on_text=on_text, keep_partial=keep_partial, lead=own)
        if cut.any():
            read = self._context - how.max_new_tokens
            warnings.warn(
                f"{plural(int(cut.sum()), 'prompt')} longer than {read:,} tokens: only the last {read:,} were read",
                TruncationWarning,
                stacklevel=2,
            )
        if one:
            return told[0].text if num_samples == 1 else [piece.text for piece in told]
        names = [*(["sample"] if num_samples > 1 else []), "completion", "ended"]
        if column in names:
            frame = frame.drop(columns="prompt", errors="ignore").rename(columns={column: "prompt"})
        out = frame.iloc[[piece.prompt for piece in told]].drop(columns=names, errors="ignore")
        if num_samples > 1:
            out["sample"] = [piece.sample for piece in told]
        out["completion"] = pd.Series([piece.text for piece in told], out.index, dtype=object)
        out["ended"] = [piece.ended for piece in told]
        return out

    def predict(self, x: Any, **settings: Any) -> "pd.DataFrame":
        """Continue prompts like `generate`, always as a table; ``settings`` are those of `generate`."""
        x = _plain(x)
        table: pd.DataFrame = self.generate([x] if isinstance(x, str) or is_conversation(x) else x, **settings)
        return table

    def evaluate(
        self, data: Any, missing: str = "error", memorised: Any = False, samples: int = 20, seed: int = 0
    ) -> "LanguageEvaluation":
        """How well the model foretells texts it has not seen, and, when asked, how much it repeats of those it has.

        Args:
            data: a table with the columns of the training data, in any form that ``data`` takes; also a text, or a
                list, Series or array of texts, for a model trained on texts.
            missing: ``error`` or ``drop`` for rows with nothing in them.
            memorised: True to write ``samples`` texts of each kind (after pieces of training texts and from nothing,
                or after training prompts) and look for their longest verbatim overlaps with the training rows; after
                `gpt_magic.load`, which has no training texts, the training data instead of True.
            samples: texts that are written for it.
            seed: of those texts.

        Returns:
            Loss in nats a token, perplexity, bits per character, tokens; and the overlaps.

        Raises:
            OptionError: ``missing`` is neither, ``samples`` or ``seed`` is out of its range, or ``memorised`` is
                neither True nor data, or True after loading.
            DataError: a column is missing, or a row cannot be used.
        """
        from gpt_magic.inference.sampling import Sampling, whole
        from gpt_magic.tasks.evaluation import LanguageEvaluation
        from gpt_magic.tasks.generate import encode_passages
        from gpt_magic.tasks.language import metrics, total_nats

        Options().put("missing", missing)
        if not whole(samples, 1):
            raise OptionError(f"samples = {short(samples)}: must be a whole number from 1 up")
        training = self._training(memorised)
        how = Sampling(max_new_tokens=min(_WRITTEN, self._context // 2), temperature=1.0, seed=seed)
        passages = self._passages(data, missing)
        encoded = encode_passages(passages, self.tokenizer, self.max_length)
        nats, tokens = total_nats(self.model, encoded, self.hidden)
        found = metrics(nats, tokens, passages.characters)
        overlaps = None if training is None else self._memorised(passages, training, int(samples), how)
        return LanguageEvaluation(
            rows=len(passages),
            loss=found["loss"],
            perplexity=found["perplexity"],
            bits_per_character=found["bits_per_character"],
            tokens=tokens,
            truncated=len(encoded.notes["cut"]) + len(encoded.notes["parted"]),
            memorised=overlaps,
        )

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        does = {
            "text": "It continues a text.",
            "completion": "It completes a prompt and says where the completion ends.",
            "messages": (
                "It answers as the assistant in a conversation written as `User: ...` and `Assistant: ...` lines."
            ),
        }[self.style]
        limits = [
            "Figures hold for texts like those of the training data. What it writes is likely text, not true text; it",
            "repeats the biases of its base and of its training data, and may repeat passages of them word for word.",
        ]
        read = f"It was trained on at most {self.max_length:,} tokens at a time."
        words = f"A language model fine-tuned with gpt_magic. {does} {read}"
        return "text-generation", [words], limits

    @property
    def _context(self) -> int:
        return int(self.model.config.max_position_embeddings)

    def _prompts(self, prompts: Any) -> "tuple[pd.DataFrame, str, list[Passage]]":
        """The table to answer with, its column of prompts, and what to continue."""
        import pandas as pd

        rows_of_tables = isinstance(prompts, list | tuple) and bool(prompts) and isinstance(prompts[0], Mapping)
        if isinstance(prompts, list | tuple | pd.Series) and not rows_of_tables:
            if not len(prompts):
                raise DataError("nothing to continue: no prompts were given")
            values = prompts if isinstance(prompts, pd.Series) else pd.Series(list(prompts), dtype=object)
            frame, column = pd.DataFrame({"prompt": values}), "prompt"
        else:
            frame = read_table(prompts)
            column = self._column(frame, "prompt" if self.style == "completion" else self.style)
        cells = zip(frame.index, frame[column], strict=True)
        return frame, column, [self._prompt(value, f"row {row}") for row, value in cells]

    def _prompt(self, value: Any, where: str) -> Passage:
        """What to continue for one prompt."""
        from gpt_magic.tasks.generate import prompt_passage

        if is_conversation(value):
            return conversation_prompt(value, where)
        if not isinstance(value, str):
            raise DataError(f"{where}: the prompt {short(value)} is {a_kind(value)}, not a text")
        return prompt_passage(value, self.style, where)

    def _passages(self, data: Any, missing: str) -> Passages:
        frame = read_table(_texts(data))
        if self.style == "text" and list(frame.columns) == ["text"]:  # also a list of texts, which has no column's name
            columns = {"text": "text"}
        else:
            columns = {role: self._column(frame, role) for role in self.columns}
        return check_passages(frame, columns, missing, Findings(), "data")

    def _training(self, memorised: Any) -> Passages | None:
        """The training texts to look for overlaps with; None when not asked to."""
        memorised = _plain(memorised)
        if memorised is False:
            return None
        if memorised is True:
            if self.training is None:
                raise OptionError(
                    "memorised = True: the training texts were not saved with the model; give them, as in memorised=df"
                )
            return self.training
        if (
            memorised is None
            or isinstance(memorised, Number)
            or (isinstance(memorised, str) and not _is_path(memorised))
        ):
            raise OptionError(f"memorised = {short(memorised)}: must be True, False or the training data")
        return self._passages(memorised, "drop")

    def _memorised(self, passages: Passages, training: Passages, samples: int, how: "Sampling") -> "pd.DataFrame":
        """Verbatim overlaps of generated texts, and of the held-out texts themselves, with the training texts."""
        from gpt_magic.inference.generation import generate
        from gpt_magic.insight.memorisation import memorised_table
        from gpt_magic.tasks.generate import encode_prompt_passages

        def write(prompts: list[Passage]) -> list[str]:
            numbers = list(range(len(prompts)))
            ids, _ = encode_prompt_passages(prompts, self.tokenizer, self._context, how.max_new_tokens, numbers)
            return [piece.text for piece in generate(self.model, self.tokenizer, ids, how)]

        return memorised_table(write, training, passages, samples, how.seed or 0)


def is_conversation(value: Any) -> bool:
    """Whether a value is one conversation: a list of ``{"role", "content"}``."""
    value = _plain(value)
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(message, Mapping) and "role" in message for message in value)
    )


def _plain(value: Any) -> Any:
    """An array of numpy as a list, or as the text or number that it holds; one message as a conversation."""
    if hasattr(value, "tolist") and not hasattr(value, "index"):
        value = value.tolist()
    return (
        [value] if isinstance(value, Mapping) and isinstance(value.get("role"), str) and "content" in value else value
    )


def _texts(data: Any) -> Any:
    """Bare texts, gaps among them, as a table with the column ``text``; anything else as it is."""
    import pandas as pd

    data = _plain(data)
    if isinstance(data, str) and not _is_path(data):
        data = [data]
    if isinstance(data, list | tuple) and any(isinstance(one, str) for one in data):
        data = pd.Series(data, dtype=object)
    return pd.DataFrame({"text": data}) if isinstance(data, pd.Series) else data


def _is_path(text: str) -> bool:
    from gpt_magic.data.names import is_file_name

    return "\n" not in text and len(text) < 300 and is_file_name(text)
