"""Questions about animals, and models that answer them, tuned in a moment."""

from typing import Any

import pandas as pd

import gpt_magic
from gpt_magic.data.checks import Findings
from gpt_magic.data.questions import Questions, check_questions
from gpt_magic.tuned import TunedAnswerer
from tests.writers import ANIMALS, CONTEXT, base

__all__ = ["CONTEXT", "answerer", "base", "checked", "quiz"]

COLOURS = ["grey", "brown", "black", "white", "red"]


def quiz(rows: int = 40, *, unanswerable: bool = False) -> pd.DataFrame:
    """Two questions a context, with places; the row names are no positions. Every fourth may be without an answer."""
    made = []
    for i in range(rows):
        animal, colour = ANIMALS[i // 2 % 12], COLOURS[i // 2 % 5]
        context = f"Number {i // 2}: the {animal} is {colour} and lives in house {i // 2 + 7}."
        answer = colour if i % 2 else f"house {i // 2 + 7}"
        answers: Any = {"text": [answer], "answer_start": [context.index(answer)]}
        if unanswerable and i % 4 == 3:
            answers = {"text": [], "answer_start": []}
        asked = f"What colour is the {animal}?" if i % 2 else f"Where does the {animal} live?"
        made.append((asked, context, answers))
    return pd.DataFrame(made, columns=["question", "context", "answers"], index=range(100, 100 + rows))


def checked(frame: pd.DataFrame) -> Questions:
    """The rows of a table, without warnings."""
    roles = {"question": "question", "context": "context", "answer": "answers"}
    return check_questions(frame, roles, "error", Findings(), "data", extracts=True)


def answerer(style: str = "extract", data: Any = None, **options: Any) -> TunedAnswerer:
    """A tiny model tuned on `quiz`."""
    given = {"base": base(), "max_steps": 4, "learning_rate": 1e-2, "baselines": False, "quiet": True, **options}
    made = gpt_magic.finetune(quiz() if data is None else data, style=style, **given)
    assert isinstance(made, TunedAnswerer)
    return made
