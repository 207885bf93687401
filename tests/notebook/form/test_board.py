"""A form without a browser: what it asks for, what it finds, and that nothing of the data becomes markup."""

import threading
import time
from html.parser import HTMLParser
from typing import Any

import ipywidgets
import pandas as pd
import pytest

from gpt_magic.engine.events import StopRequested
from gpt_magic.notebook.form.checking import Newest
from gpt_magic.notebook.form.preview import preview_html
from gpt_magic.options import Options
from tests.films import base, films
from tests.notebook.form.forms import form, looked, shown, typed

NASTY = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', 'it\'s "x"\n\nnew', "$\\alpha$", "x" * 10_000]


@pytest.fixture(scope="module")
def small() -> Any:
    return base()


@pytest.fixture(scope="module")
def made(small: Any) -> Any:
    opened = form(films(), namespace={"films": films(), "small": small}, base=small, text="review", label="sentiment")
    yield opened
    opened.close()


def test_the_report_says_what_a_run_would_do_and_follows(made: Any) -> None:
    assert "72 to train, 8 to validate" in made.report
    assert "15 steps" in made.report
    assert "known here once a run from this base has made a few steps" in made.report
    typed(made, epochs=5)
    assert "25 steps" in made.report
    typed(made, valid_fraction=0.5, epochs=3)
    assert "40 to train, 40 to validate" in made.report
    typed(made, valid_fraction=0.1)
    assert "memory" in made.report


def test_what_cannot_be_is_said_at_its_field_in_the_words_of_the_run(made: Any) -> None:
    typed(made, max_length=33)
    assert made.fields["max_length"].problem == "max_length = 33: GPT2LMHeadModel reads at most 32 tokens"
    assert made.fields["max_length"].problem in made.report
    typed(made, max_length=None)
    assert made.fields["max_length"].problem == ""
    typed(made, epochs=0)
    assert made.fields["epochs"].problem == "epochs = 0: must be a whole number from 1 to 1,000 or auto"
    assert made.start() is None
    assert made.runs.attempts == []
    typed(made, epochs=3)


def test_a_look_that_ends_late_takes_no_mark_back(made: Any) -> None:
    made.fields["epochs"].show(4)
    made.changed("epochs")
    made.fields["epochs"].show(0)
    made.changed("epochs")
    looked(made)
    time.sleep(0.5)
    assert made.fields["epochs"].problem in made.report
    assert "epochs = 0" in made.report
    typed(made, epochs=3)


@pytest.mark.parametrize(
    ("task", "among", "never"),
    [
        ("classify", {"text", "label", "calibrate", "class_weights"}, {"prompt", "samples", "tokens", "question"}),
        ("regress", {"text", "label"}, {"calibrate", "class_weights", "style", "samples"}),
        ("generate", {"text", "prompt", "completion", "messages", "samples"}, {"label", "calibrate", "style"}),
        ("tag", {"tokens", "tags", "entities", "repeat"}, {"label", "truncate", "prompt"}),
        ("answer", {"question", "context", "answer", "style"}, {"label", "text", "samples", "template"}),
    ],
)
def test_only_what_the_task_heeds_is_shown(made: Any, task: str, among: set[str], never: set[str]) -> None:
    typed(made, task=task)
    assert among <= shown(made)
    assert not never & shown(made)
    assert {"epochs", "base", "learning_rate", "task", "output"} <= shown(made)
    typed(made, task="auto")
    assert {"text", "label"} <= shown(made)


def test_a_field_of_another_task_is_not_sent(made: Any) -> None:
    typed(made, task="generate", samples=["a"])
    typed(made, task="auto")
    assert made.options().samples is None


def test_the_cell_and_the_call_are_shown_as_text(small: Any) -> None:
    opened = form(films(), namespace={"films": films(), "small": small}, base=small, text="review", label="sentiment")
    opened.namespace["films"] = opened.options().data
    opened.copy_cell()
    assert opened.copy.text == '%%finetune films\ntext = "review"\nlabel = "sentiment"\nbase = small\n'
    opened.copy_call()
    assert 'tuned = gpt_magic.finetune(films, text="review", label="sentiment", base=small)' in opened.copy.text
    typed(opened, label="</textarea><script>")
    opened.copy_cell()
    assert "</textarea><script>" in opened.copy.text
    assert tags(opened.copy.box.value) <= {"div", "textarea", "button", "span"}
    del opened.namespace["films"]
    opened.copy_cell()
    assert opened.copy.text == ""
    assert "data is a DataFrame without a name in this notebook" in opened.copy.box.value
    opened.close()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.handlers: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.handlers |= {name for name, _ in attrs if name.startswith("on")}


def tags(markup: str) -> set[str]:
    parser = Tags()
    parser.feed(markup)
    return parser.found


@pytest.mark.parametrize("nasty", NASTY)
def test_nothing_of_the_data_becomes_markup(small: Any, nasty: str) -> None:
    frame = films((nasty, "other")).rename(columns={"review": nasty})
    frame[nasty] = frame[nasty] + nasty
    opened = form(frame, name=nasty, namespace={}, base=small, label="sentiment", text=nasty, output="clf")
    typed(opened, label=f"{nasty}?")  # a column that is not there is named in a message
    said = [w.value for w in widgets(opened.root) if isinstance(w, ipywidgets.HTML) and "<style" not in w.value]
    allowed = {*("div", "strong", "table", "tbody", "thead", "tr", "th", "td", "span", "bdi", "ul", "li"),
               *("h3", "h4", "details", "summary", "img", "code")}  # fmt: skip
    for markup in said:
        parser = Tags()
        parser.feed(markup)
        assert parser.found <= allowed
        # The one handler is our own: it names the slider.
        assert not parser.handlers or (markup.count("onload") == 1 and nasty not in markup)
        assert "$\\alpha$" not in markup
        assert len(markup) < 60_000
    opened.close()


def widgets(root: Any) -> list[Any]:
    return [root, *(inner for child in getattr(root, "children", ()) for inner in widgets(child))]


def test_a_preview_has_three_rows_and_the_columns_in_use_first() -> None:
    frame = pd.DataFrame({"other": range(5), "review": ["a", "b", "c", "d", "e"], **{f"c{i}": 0 for i in range(20)}})
    markup = preview_html(frame, {"text": "review"})
    assert markup.index("review") < markup.index("other")
    assert "= text" in markup
    assert "<bdi>c</bdi>" in markup
    assert "<bdi>d</bdi>" not in markup
    assert "5 rows, 10 more columns" in markup


def test_closing_leaves_no_widget(small: Any) -> None:
    before = set(ipywidgets.widget._instances)
    opened = form(films(), base=small, text="review", label="sentiment")
    assert len(set(ipywidgets.widget._instances) - before) > 100
    opened.close()
    assert set(ipywidgets.widget._instances) <= before


def test_columns_are_listed_and_found(small: Any) -> None:
    opened = form(films().rename(columns={"sentiment": "label"}), base=small)
    labels = [text for text, _ in opened.fields["text"].box.children[0].options]
    assert labels == ["review (found by name)", "review", "label"]
    opened.close()


def test_an_edited_table_is_seen(small: Any) -> None:
    frame = films()
    opened = form(frame, base=small, text="review", label="sentiment")
    for row in range(20):
        frame.loc[1000 + row] = [f"an odd film, number {row}", "good"]
    typed(opened, seed=1)
    assert "90 to train, 10 to validate" in opened.report
    opened.close()


def test_the_slider_moves_the_field_and_the_field_the_slider(made: Any) -> None:
    typed(made, learning_rate=1e-3)
    assert made.rate.slider.value == pytest.approx(1e-3)
    assert made.options().learning_rate == 1e-3
    made.rate.slider.value = 1.02e-3  # the browser's rounding to its own steps
    assert made.options().learning_rate == 1e-3
    made.rate.slider.value = 1e-4
    assert made.options().learning_rate == pytest.approx(1e-4)
    looked(made)
    assert "rises over 1 step to 0.0001, then falls in a straight line to 0" in made.rate.words
    typed(made, learning_rate=None, warmup=0, schedule="constant")
    assert "and stays there" in made.rate.words
    typed(made, warmup=0.1, schedule="linear")


# --- the thread that looks ----------------------------------------------------------------------------


def test_only_the_newest_is_done_and_asking_never_waits() -> None:
    done: list[int] = []
    begun = threading.Event()

    def work(number: int, check: Any) -> None:
        begun.set()
        for _ in range(100 if number == 0 else 1):
            time.sleep(0.01)
            check()
        done.append(number)

    newest = Newest(work, pause=0.01)
    newest.ask(0)
    assert begun.wait(5)
    asked = time.perf_counter()
    for number in range(1, 50):
        newest.ask(number)
    assert time.perf_counter() - asked < 0.2
    assert newest.idle(10)
    assert done == [49]
    newest.close()
    newest.ask(50)
    assert done == [49]


def test_a_look_that_is_no_longer_wanted_ends() -> None:
    ended: list[type] = []

    def work(_: int, check: Any) -> None:
        try:
            while True:
                time.sleep(0.005)
                check()
        except StopRequested as reason:
            ended.append(type(reason))
            raise

    newest = Newest(work, pause=0.0)
    newest.ask(1)
    time.sleep(0.05)
    newest.close()
    deadline = time.monotonic() + 5
    while not ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended == [StopRequested]


def test_defaults_of_the_notebook_are_the_forms(small: Any) -> None:
    mine = Options()
    mine.update({"epochs": 7})
    from gpt_magic.notebook.form.board import Form

    start = mine.copy_with(data=films(), base=small, text="review", label="sentiment")
    opened = Form(start, "films", mine, {})
    looked(opened)
    assert opened.options().epochs == 7
    assert "default 7" in opened.fields["epochs"].box.children[-1].value
    opened.close()
