import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from gpt_magic.engine.events import Evaluated
from gpt_magic.notebook.cards import (
    bar_picture,
    card_html,
    card_text,
    evaluation_html,
    language_html,
    preflight_html,
    preflight_text,
)
from gpt_magic.notebook.markup import cells, clean, clock, narrow, number, say
from gpt_magic.notebook.status import curves_html, curves_text, evaluation_text, progress_html, progress_text
from gpt_magic.recorder import Progress
from gpt_magic.summary import Preflight, Scores, Summary
from gpt_magic.tasks.evaluation import Evaluation, LanguageEvaluation, evaluate_classes
from tests.noisy import PREFLIGHT, SUMMARY, noisy_run

# What JupyterLab 4.6 lets through in a notebook that is not trusted (apputils/src/sanitizer.ts), as far as it is used
# here; `aria-*` and `role` are dropped there, which costs only the bar of a run that no longer moves, and so is
# `tabindex`, without which a table that is too wide is moved by the mouse alone.
TAGS = {"div", "span", "strong", "code", "table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li"}
TAGS |= {"details", "summary", "wbr"}
ATTRIBUTES = {"class", "style", "title", "scope", "tabindex"}
LIVE_ATTRIBUTES = {"role", "aria-label", "aria-valuemin", "aria-valuemax", "aria-valuenow"}


class Page(HTMLParser):
    """What a browser would make of a piece of HTML, and whether it is well-formed."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "wbr":  # has no end
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def evaluation(labels: list[str]) -> Evaluation:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(labels), 300)
    scores = rng.normal(size=(300, len(labels))).astype(np.float32)
    scores[np.arange(300), truth] += 2
    return evaluate_classes(scores, [labels[i] for i in truth], labels, truncated=3)


def everything(evil: str) -> list[str]:
    """Every piece of HTML, with ``evil`` wherever text from data can come."""
    run = replace(noisy_run(), phase=evil)
    label = evil.encode("utf-8", "replace").decode()  # pandas' strings hold no lone surrogates
    odd = Evaluated(9, 1.0, {"loss": 0.5, evil: 0.5}, best=True, seconds=1.0)
    return [
        preflight_html(Preflight(evil, [(evil, evil)] * 3, [evil] * 2, PREFLIGHT.lengths)),
        card_html(
            Summary(evil, evil, True, evil, Scores([evil], [(evil, [0.5]), (evil, [0.5])]), [(evil, evil)], [evil])
        ),
        progress_html(run),
        progress_html(replace(run, evaluations=(odd,))),
        curves_html(replace(run, evaluations=(odd,))),
        evaluation_html(evaluation([label, "other"])),
        evaluation_html(evaluation([f"{i} {label}" for i in range(40)])),
    ]


EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" \'><b>',
    "</div></td></table><h1>",
    "<!-- --><style>*{display:none}</style>",
    "&lt;b&gt; &amp; &#36;",
    "line one\nline two\r\n\tthree\x00\x1b[31m\u202e",
    "\ud800 alone",
    "$x^2$ and \\(y\\) and \\begin{x}",
    "x" * 10_000,
    "苹果是一种什么 👩‍🌾 " * 500,
]


@pytest.mark.parametrize("evil", EVIL, ids=lambda evil: ascii(evil[:20]))
def test_text_from_data_is_only_ever_text(evil: str) -> None:
    plain = [Page(markup) for markup in everything("plain")]
    for page, harmless, markup in zip(map(Page, everything(evil)), plain, everything(evil), strict=True):
        # Dollars and backslashes get spans of their own, long words of labels places to break at.
        extra = [tag for tag in page.tags if tag[0] not in ("span", "wbr")]
        assert [tag for tag, _ in extra] == [tag for tag, _ in harmless.tags if tag != "span"]
        assert [list(attributes) for _, attributes in extra] == [
            list(attributes) for tag, attributes in harmless.tags if tag != "span"
        ]
        assert len(markup) < 60_000
        markup.encode()  # no lone surrogates


@pytest.mark.parametrize("markup", everything("plain"))
def test_html_passes_the_sanitiser_and_needs_nothing_from_outside(markup: str) -> None:
    page = Page(markup)
    assert {tag for tag, _ in page.tags} <= TAGS
    live = LIVE_ATTRIBUTES if "progressbar" in markup else set()
    assert {name for _, attributes in page.tags for name in attributes} <= ATTRIBUTES | live
    assert "url(" not in markup
    assert "http" not in markup


@pytest.mark.parametrize("markup", everything("plain"))
def test_html_takes_its_colours_from_the_page(markup: str) -> None:
    styles = " ".join(attributes.get("style") or "" for _, attributes in Page(markup).tags)
    colours = re.findall(r"#\w+|rgba?\([^)]*\)|(?<=:)(?:white|black)\b", styles)
    assert set(colours) <= {"rgba(128,128,128,0.35)", "#d55e00", "#0072b2"}


def test_dollars_are_no_formula() -> None:
    # MathJax looks for delimiters in neighbouring text; one in an element of its own is none.
    assert say("$5 or \\(x") == "<span>$</span>5 or <span>\\</span>(x"
    assert Page(say("$5 or \\(x")).text == "$5 or \\(x"


@pytest.mark.parametrize("markup", everything("plain"))
def test_table_headers_have_a_scope(markup: str) -> None:
    assert all(attributes.get("scope") in {"row", "col"} for tag, attributes in Page(markup).tags if tag == "th")


def test_the_best_of_a_column_is_marked_in_bold_and_in_text() -> None:
    markup = card_html(SUMMARY)
    assert re.findall(r"<strong>(★ [^<]*)</strong>", markup) == ["★ 93.1%", "★ 0.2087", "★ 93.0%"]
    text = card_text(SUMMARY)
    assert [line.count("★") for line in text.splitlines() if "%" in line] == [2, 0, 1]
    assert "–" in text.splitlines()[6]  # the majority class has no loss


def test_nothing_is_best_where_there_is_nothing_to_compare() -> None:
    alone = replace(SUMMARY, scores=Scores(["accuracy"], [("nano fine-tuned", [0.9])]))
    assert "★" not in card_html(alone)
    assert "★" not in card_text(alone)


def test_a_failed_run_says_so_without_colour() -> None:
    failed = replace(SUMMARY, ok=False, status="failed after step 3 of 9", name=None, scores=None, warnings=())
    assert "✗ failed after step 3 of 9" in Page(card_html(failed)).text
    assert card_text(failed).splitlines()[1] == "✗ failed after step 3 of 9"
    assert "Warnings" not in card_html(failed)
    assert "%predict" not in card_html(failed)


def test_warnings_have_a_heading_and_a_long_list_is_cut() -> None:
    many = replace(SUMMARY, warnings=[f"number {i}" for i in range(50)])
    text = Page(card_html(many)).text
    assert "Warnings" in text
    assert "number 19" in text
    assert "number 20" not in text
    assert "and 30 more" in text
    assert "  ! and 30 more" in card_text(many)


def test_the_length_picture_stands_beside_its_numbers() -> None:
    assert bar_picture((1200, 2100, 280, 0, 20)) == "▅█▂\u2007▁"
    assert bar_picture(()) == ""
    assert bar_picture([1] * 24) == "█" * 12
    for said in (Page(preflight_html(PREFLIGHT)).text, preflight_text(PREFLIGHT)):
        assert said.count("tokens a text") == 1
        assert "▅█▂" in said
        assert "median 61, 95 % up to 200, longest 490; 31 over the limit of 256" in said


def test_the_progress_is_said_to_screen_readers() -> None:
    (bar,) = [attributes for _, attributes in Page(progress_html(noisy_run(at=312))).tags if "role" in attributes]
    assert bar["role"] == "progressbar"
    assert bar["aria-valuenow"] == "46"
    assert bar["aria-label"] == "training: step 312 of 672"


def test_the_progress_keeps_its_shape() -> None:
    moments = [Progress(phase="loading gpt2"), noisy_run(at=1), noisy_run(at=400), noisy_run()]
    shapes = [[tag for tag, _ in Page(progress_html(moment)).tags] for moment in moments]
    assert shapes[1:] == shapes[:-1]


def test_the_progress_says_what_to_do_where_it_stands_still() -> None:
    said = Page(progress_html(replace(noisy_run(at=312), elapsed=41.0))).text
    assert said.endswith("at 0:41; after a reload of the page: %finetune --show")


def test_the_progress_line_reads_as_promised() -> None:
    moment = replace(noisy_run(at=312), elapsed=41.0, left=47.2, loss=0.213, learning_rate=2.1e-4)
    line = progress_text(replace(moment, tokens_per_second=5230.4))
    assert line == (
        "training  [#########-----------]  312/672  epoch 1.4/3  loss 0.213  lr 2.1e-04  5,230 tokens/s  0:41 elapsed"
        "  0:47 left"
    )
    assert progress_text(Progress(phase="loading gpt2", elapsed=3.4)) == "loading gpt2  0:03 elapsed"


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 20, 8, 1])
def test_the_progress_line_fits_the_terminal(width: int) -> None:
    for phase in ("training", "loading 苹果苹果苹果/" * 20):
        line = progress_text(replace(noisy_run(at=312), phase=phase), width)
        assert cells(line) <= width
        assert "\n" not in line


def test_the_curves_are_said_in_words_and_as_a_table() -> None:
    run = noisy_run()
    assert re.fullmatch(
        r"Training loss 0\.\d+ at first, 0\.\d+ at the end \(672 steps\)\. "
        r"Best on the validation rows at step 560: loss 0\.\d+, accuracy 9\d\.\d%, macro F1 9\d\.\d%\.",
        curves_text(run),
    )
    assert curves_html(run).count("<tr") == 1 + len(run.evaluations)
    assert curves_html(run).count("★") == 1
    assert curves_html(Progress()) == curves_text(Progress()) == ""
    long = noisy_run(every=1)
    assert curves_html(long).count("<tr") < 40
    assert curves_html(long).count("★") == 1


def test_an_evaluation_in_a_line() -> None:
    said = Evaluated(448, 2.0, {"loss": 0.21, "accuracy": 0.916, "macro_f1": 0.904}, best=True, seconds=1.0)
    assert evaluation_text(said) == "step 448: loss 0.210, accuracy 91.6%, macro F1 90.4%, the best so far"


def language_run() -> Progress:
    """A run of a language model, whose base was evaluated before."""
    at = [(0, 6.55, 700.0, 3.4), (40, 1.5, 4.5, 1.2), (80, 1.4, 4.06, 0.98)]
    made = tuple(
        Evaluated(
            step,
            step / 40,
            {"loss": loss, "perplexity": ppl, "bits_per_character": bits, "tokens": 9000},
            step > 0,
            1.0,
        )
        for step, loss, ppl, bits in at
    )
    return replace(noisy_run(at=80, every=0), evaluations=made)


def test_a_language_model_is_said_by_perplexity_and_bits() -> None:
    run = language_run()
    before, _, last = (evaluation_text(e) for e in run.evaluations)
    assert before == "before training: loss 6.550, perplexity 700.0, bits per character 3.400"
    assert last == "step 80: loss 1.400, perplexity 4.060, bits per character 0.9800, the best so far"
    assert curves_text(run).endswith(
        "Best on the validation rows at step 80: loss 1.400, perplexity 4.060 (700.0 before training), bits per "
        "character 0.9800 (3.400 before training)."
    )
    rows = Page(curves_html(run)).text
    assert "before0.006.550700.03.400" in rows
    assert "tokens" not in rows


def test_lower_bits_are_better() -> None:
    scores = Scores(["perplexity", "bits per character"], [("tuned", [4.06, 0.98]), ("base", [700.0, 3.4])])
    text = card_text(replace(SUMMARY, scores=scores))
    assert [line.count("★") for line in text.splitlines() if line.startswith(("tuned", "base"))] == [2, 0]


def test_the_hint_fits_the_task() -> None:
    assert "%predict clf some text" in card_html(SUMMARY)
    assert "%predict clf the beginning of a text" in card_html(replace(SUMMARY, task="generate"))


def language(rows: int | None, evil: str = "a rhyme") -> LanguageEvaluation:
    memorised = None
    if rows is not None:
        kinds = ["from nothing"] * (rows - 1) + ["held-out text, to compare"] * (rows > 0)
        memorised = pd.DataFrame(
            {"kind": kinds, "characters": range(90 + rows, 90, -1), "words": 1, "row": evil, "text": evil}
        )
    return LanguageEvaluation(8, 1.4, 4.06, 0.98, 9000, 2 if rows else 0, memorised)


def test_an_evaluation_of_a_language_model() -> None:
    page = Page(language_html(language(None)))
    assert page.text == "rowstokensperplexitybits per characterloss" + "89,0004.0600.98001.400"
    text = Page(language_html(language(30))).text
    assert "2 prompts lost the beginning" in text
    assert "120 characters, 1 word" in text
    assert "held-out text, to compare: 91 characters" in text
    assert "and 22 more in .memorised" in text
    assert "No passage" in Page(language_html(language(0))).text


@pytest.mark.parametrize("evil", EVIL, ids=lambda evil: ascii(evil[:20]))
def test_what_was_memorised_is_only_ever_text(evil: str) -> None:
    page = Page(language_html(language(3, evil.encode("utf-8", "replace").decode())).replace("<br>", "<br></br>"))
    assert {tag for tag, _ in page.tags} <= TAGS | {"bdi", "br"}
    assert {name for _, attributes in page.tags for name in attributes} <= ATTRIBUTES | {"dir"}


def test_an_evaluation_shows_a_small_confusion_matrix_and_the_mistakes_of_a_large_one() -> None:
    small = Page(evaluation_html(evaluation(["no", "yes"])))
    assert "Confusion matrix" in small.text
    assert "3 rows were longer" in small.text
    large = Page(evaluation_html(evaluation([f"class {i}" for i in range(40)])))
    assert "most frequent mistakes" in large.text
    assert "and 10 more" in large.text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((None, "–"), (float("nan"), "–"), (float("inf"), "inf"), (float("-inf"), "-inf"), (0, "0.0")),
        *((0.2087, "0.2087"), (0.00123456, "0.0012"), (1.5, "1.500"), (12.3456, "12.35"), (1234.5, "1,234")),
        *((123456.0, "123,456"), (1e-5, "1.00e-05"), (1e7, "1.00e+07"), (-3.14159, "-3.142")),
    ],
)
def test_numbers(value: float | None, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "–"), (0, "0:00"), (41.4, "0:41"), (725, "12:05"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_times(seconds: float | None, said: str) -> None:
    assert clock(seconds) == said


def test_long_words_of_labels_may_break_and_no_others() -> None:
    assert narrow("spam") == "spam"
    assert narrow("not quite what it says") == "not quite what it says"
    assert narrow("<script>pwned()</script>") == "&lt;script&gt;<wbr>pwned()&lt;<wbr>/script&gt;"
    assert narrow("\u0936\u092c\u094d\u0926" * 9) == "\u0936\u092c\u094d\u0926" * 9  # marks stay with their letters


def test_long_text_is_cut_in_the_middle_and_joiners_stay() -> None:
    assert clean("a" * 50 + "z" * 50, 10) == "aaaaaa…zzz"
    assert clean("می\u200cخواهم") == "می\u200cخواهم"
    assert clean(3.5) == "3.5"
