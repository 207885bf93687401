"""A model that writes two rhymes, tuned in a moment: what the notebook's side of generation is tested with."""

from typing import Any

import gpt_magic
from gpt_magic.tuned import TunedGenerator
from tests.films import base

RHYMES = ["Jack and Jill went up the hill", "Mary had a little lamb"] * 8 + [f"{i} blind mice" for i in range(8)]


def writer(**options: Any) -> TunedGenerator:
    """A tiny language model after a few steps."""
    given = {"base": base(), "max_steps": 2, "baselines": False, "quiet": True, "task": "generate", **options}
    made = gpt_magic.finetune(RHYMES, **given)
    assert isinstance(made, TunedGenerator)
    return made
