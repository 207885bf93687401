"""How the next token is chosen, checked before anything is written."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gpt_magic.errors import OptionError, short

LARGEST_SEED = 2**32 - 1
_GREEDY = 1e-6  # temperatures below it: logits divided by them leave float32, and the likeliest token wins anyway


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen and when to end; checked when made.

    Attributes:
        max_new_tokens: most tokens of a continuation, from 1 up.
        temperature: divides the logits, from 0 up; 0 always takes the likeliest token (greedy).
        top_k: sample among this many likeliest tokens; 0 is off.
        top_p: sample among the likeliest tokens that together have this probability, above 0 up to 1 (off).
            Holtzman et al. 2020, https://arxiv.org/abs/1904.09751
        repetition_penalty: above 1 makes tokens of the prompt and the continuation so far less likely; 1 is off.
            Keskar et al. 2019, https://arxiv.org/abs/1909.05858
        stop: texts at which a continuation ends; none is part of it. Only the continuation is looked at.
        num_samples: continuations of each prompt, from 1 up.
        seed: from 0 to 2**32 - 1; None draws one from torch's global generator.

    Raises:
        OptionError: a value is not of its kind or out of its range.
    """

    max_new_tokens: int = 64
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    num_samples: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("top_k", 0), ("num_samples", 1)):
            self._check(name, whole(getattr(self, name), least), f"a whole number from {least} up")
        self._check("temperature", _number(self.temperature) and self.temperature >= 0, "a number from 0 up")
        self._check("top_p", _number(self.top_p) and 0 < self.top_p <= 1, "a number above 0, up to 1")
        self._check(
            "repetition_penalty", _number(self.repetition_penalty) and self.repetition_penalty > 0, "a number above 0"
        )
        good_seed = self.seed is None or (whole(self.seed, 0) and self.seed <= LARGEST_SEED)
        self._check("seed", good_seed, f"a whole number from 0 to {LARGEST_SEED:,}, or None")
        # As transformers' own processors take them: no numpy numbers, floats that are floats.
        for name in ("max_new_tokens", "top_k", "num_samples"):
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in ("temperature", "top_p", "repetition_penalty"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "stop", stop_texts(self.stop))

    def _check(self, name: str, good: bool, what: str) -> None:
        if not good:
            raise OptionError(f"{name} = {short(getattr(self, name))} must be {what}")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < _GREEDY


def stop_texts(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """The stop texts that a user may give as one text, several, or None.

    Raises:
        OptionError: one is empty or no text.
    """
    try:
        stops = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        raise OptionError(f"stop = {short(value)} must be a text or a list of texts") from None
    bad = [text for text in stops if not isinstance(text, str) or not text]
    if bad:
        raise OptionError(f"stop = {short(value)}: {short(bad[0])} must be a text of one character or more")
    return stops


def whole(value: object, least: int) -> bool:
    """Whether a value is a whole number, numpy's too, from ``least`` up."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least


def _number(value: object) -> bool:
    numbers = (int, float, np.integer, np.floating)
    return isinstance(value, numbers) and not isinstance(value, bool) and math.isfinite(value)
