"""Text of data, labels, columns and prompts is text wherever it is shown: in a model card and in error lines."""

from dataclasses import replace
from typing import Any

import mistune
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpt_magic
from gpt_magic.data.read import read_data
from gpt_magic.errors import GptMagicError
from gpt_magic.options import Options
from gpt_magic.saved import model_card
from gpt_magic.tuned import TunedModel
from tests.films import base as film_base
from tests.films import films
from tests.notebook.test_cards import EVIL, Page
from tests.places import base as place_base
from tests.places import places

MARKDOWN = ["# head", "- item", "1. item", "> quote", "[a](http://b)", "![a](b)", "`code`", "```\nfence", "| a | b |"]
MARKDOWN += [
    "---",
    "**bold**",
    "~~gone~~",
    "<http://a.b>",
    "[^1]",
    "&amp;&lt;",
    "$x$ $$y$$",
    "\\(y\\)",
    "*_*",
    "a\n===\n",
]
TEXTS = st.one_of(
    st.sampled_from([*EVIL, *MARKDOWN]),
    st.lists(st.sampled_from([*MARKDOWN, *"<>&\"'`*_[]()#|~$\\\n\t -=!", "script", "b"]), min_size=1).map("".join),
    st.text(min_size=1, max_size=50),
).filter(lambda text: bool(text.strip()))
TO_HTML = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "footnotes", "math", "task_lists"])


@pytest.fixture(scope="module")
def tuned() -> dict[str, TunedModel]:
    given = {"max_steps": 1, "quiet": True, "baselines": False}
    rng = np.random.default_rng(0)
    several = films().assign(sentiment=[[*rng.choice(["a", "b", "c"], 2, replace=False)] for _ in range(len(films()))])
    data = {"classify": films(), "words": films(), "multilabel": several}
    made: dict[str, Any] = {
        name: gpt_magic.finetune(
            frame,
            base=film_base(),
            text="review",
            label="sentiment",
            style="words" if name == "words" else "auto",
            **given,
        )
        for name, frame in data.items()
    }
    return {**made, "tag": gpt_magic.finetune(places(), base=place_base(), **given)}


def card_with(tuned: TunedModel, evil: str) -> str:
    """The model card as HTML, with ``evil`` as the names of classes, columns and data, in the facts and warnings."""
    names = [name for name in ("classes", "types") if hasattr(tuned, name)]
    changed: dict[str, Any] = {name: [f"{evil}{i}" for i in range(len(getattr(tuned, name)))] for name in names}
    if hasattr(tuned, "template"):
        changed["template"] = f"{{text}} {evil}:"
    report = replace(tuned.report, title=evil, facts=[(evil, evil)], warnings=[evil])
    summary = replace(tuned.summary, title=evil, status=evil, facts=[(evil, evil)], warnings=[evil])
    columns = dict.fromkeys(tuned.columns, evil)
    options = {**tuned.options, "base": evil}
    card = model_card(replace(tuned, **changed, report=report, summary=summary, columns=columns, options=options))
    return str(TO_HTML(card.split("---\n", 2)[2]))


@pytest.mark.parametrize("kind", ["classify", "words", "multilabel", "tag"])
@given(evil=TEXTS)
@settings(max_examples=60, deadline=None)
def test_nothing_in_a_model_card_is_markup(kind: str, evil: str, tuned: dict[str, TunedModel]) -> None:
    found, harmless = (Page(card_with(tuned[kind], text).replace("<br />", "")) for text in (evil, "word"))
    assert found.tags == harmless.tags


COLUMNS = TEXTS.filter(lambda text: text.encode("utf-8", "ignore").decode() == text)


@given(column=COLUMNS, row=COLUMNS, label=COLUMNS)
@settings(max_examples=60, deadline=None)
def test_errors_are_one_printable_line_of_readable_length(column: str, row: str, label: str) -> None:
    frame = pd.DataFrame({column: ["a text", None], "label": [label, label]}, index=[row, row])
    for told in ({"text": column, "label": "label"}, {"text": column + "x"}, {"label": column}, {"base": label}):
        options = Options()
        options.update({"data": frame, "task": "classify", **told})
        with pytest.raises(GptMagicError) as caught:
            read_data(options)
        (line,) = caught.value._render_traceback_()
        assert len(line.splitlines()) == 1
        assert len(line) < 2100
        assert all(c.isprintable() or c in "\u200c\u200d" for c in line)
