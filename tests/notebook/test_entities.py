"""What a tagger's notebook side shows: texts with their entities marked, scores, and `%predict`."""

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from gpt_magic.notebook.entities import MarkedText, marked_html, marked_text, tag_evaluation_html
from gpt_magic.tasks.entities import Found, TagEvaluation
from gpt_magic.tuned import TunedTagger
from tests.cells import refused, run
from tests.notebook.test_cards import ATTRIBUTES, EVIL, TAGS, Page
from tests.places import base, places, tagger

TEXT = "Ada went to New York."
ENTITIES = [
    {"start": 0, "end": 3, "label": "PER", "text": "Ada", "confidence": 0.987},
    {"start": 12, "end": 20, "label": "LOC", "text": "New York", "confidence": 0.5},
]


def entity(text: str, start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "text": text[start:end], "confidence": 0.5}


def page_of(markup: str) -> Page:
    return Page(markup.replace("<br>", "<br/>"))  # as `Page` wants elements without content


# --- a marked text --------------------------------------------------------------------------------------


def test_a_text_is_marked_in_brackets_and_words_and_underlined() -> None:
    page = Page(marked_html(TEXT, ENTITIES))
    assert page.text == "[Ada PER 99%] went to [New York LOC 50%]."
    assert marked_text(TEXT, ENTITIES) == "[Ada | PER 99%] went to [New York | LOC 50%]."
    marks = [attributes["style"] for tag, attributes in page.tags if tag == "bdi"]
    assert marks == ["border-bottom:2px solid"] * 2
    assert [tag for tag, _ in page.tags].count("strong") == 2


def test_a_text_without_entities_says_so() -> None:
    assert Page(marked_html("a <b>", [])).text == "a <b>no entities"
    assert marked_text("a <b>", []) == "a <b>\n(no entities)"


@pytest.mark.parametrize("evil", EVIL, ids=lambda evil: ascii(evil[:20]))
def test_text_from_data_is_only_ever_text(evil: str) -> None:
    text = f"{evil} {evil} {evil}"
    first, size = len(evil) + 1, len(evil)
    markup = marked_html(text, [entity(text, first, first + size, evil)])
    harmless = Page(marked_html("a b c", [entity("a b c", 2, 3, "x")]))
    page = page_of(markup)
    # Line breaks are elements, and dollars and backslashes get spans of their own.
    assert [tag for tag, _ in page.tags if tag not in ("span", "br")] == [
        tag for tag, _ in harmless.tags if tag not in ("span", "br")
    ]
    found = Found([evil.encode("utf-8", "replace").decode()])
    scores = tag_evaluation_html(TagEvaluation(1, 2, 0.5, **found.scores(), per_type=found.per_type()))
    for shown in (page, page_of(scores)):
        assert {tag for tag, _ in shown.tags} <= TAGS | {"bdi", "br"}
        assert {name for _, attributes in shown.tags for name in attributes} <= ATTRIBUTES | {"dir"}
    (markup + scores).encode()  # no lone surrogates


def test_colours_are_those_of_the_page() -> None:
    styles = " ".join(attributes.get("style") or "" for _, attributes in Page(marked_html(TEXT, ENTITIES)).tags)
    assert not re.search(r"#\w+|rgb|color|background|(?<=:)(?:white|black)\b", styles)


def test_right_to_left_and_line_breaks_stand() -> None:
    text = "שלום רומא\r\nok"
    markup = marked_html(text, [entity(text, 5, 9, "מקום")])
    assert 'dir="auto"' in markup
    assert "<br>ok" in markup
    assert page_of(markup).text == "שלום [רומא מקום 50%]ok"


def test_an_evaluation_has_a_line_a_type() -> None:
    found = Found([f"type {i}." for i in range(40)])
    page = Page(tag_evaluation_html(TagEvaluation(3, 9, 0.5, **found.scores(), per_type=found.per_type())))
    assert "type 29." in page.text
    assert "type 30." not in page.text
    assert "and 10 more in .per_type" in page.text
    assert "token accuracy" in page.text


# --- the magics -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> TunedTagger:
    return tagger()


@pytest.fixture(scope="module")
def shell(trained: TunedTagger) -> Iterator[InteractiveShell]:
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    shell.user_ns.update(ner=trained, toy=places(), small=base())
    run(shell, "%load_ext gpt_magic")
    yield shell
    run(shell, "%unload_ext gpt_magic")


def test_one_text_is_shown_marked(shell: InteractiveShell) -> None:
    shown = run(shell, "%predict ner Ada went to New York here")
    assert isinstance(shown, MarkedText)
    assert [(one["text"], one["label"]) for one in shown.entities] == [("Ada", "PER"), ("New York", "LOC")]
    assert shown.text == "Ada went to New York here"
    assert re.fullmatch(r"\[Ada \| PER \d+%\] went to \[New York \| LOC \d+%\] here", repr(shown))
    assert "New York" in shown._repr_html_()
    run(shell, 'kept = %predict ner "Ada <b>"')
    assert shell.user_ns["kept"].text == "Ada <b>"


def test_several_texts_are_a_table(shell: InteractiveShell) -> None:
    for cell in ("%%predict ner\nAda went\nthen Rome", "%predict ner toy", "%predict ner toy.tokens"):
        out = run(shell, cell)
        assert isinstance(out, pd.DataFrame)
        assert out.columns[-1] == "entities"
    assert run(shell, "%predict ner toy").index.tolist() == places().index.tolist()


def test_flags_of_other_models_are_refused(shell: InteractiveShell) -> None:
    end = "and ner tags; a text that begins or ends so stands in quotes"
    assert refused(shell, "%predict ner toy --top-k 3") == f"--top-k: for models that write, {end}"
    assert refused(shell, "%predict ner toy --probabilities") == f"--probabilities: for models that label, {end}"


def test_a_cell_trains_a_tagger(shell: InteractiveShell) -> None:
    run(
        shell,
        "%%finetune toy -o found\ntokens, tags = 'tokens', 'tags'\nrepeat = True\nbase = small\nmax_steps = 1\n"
        "quiet, baselines = True, False",
    )
    assert isinstance(shell.user_ns["found"], TunedTagger)
    assert shell.user_ns["found"].repeat is True
    assert "F1" in shell.user_ns["found"]._repr_html_()
