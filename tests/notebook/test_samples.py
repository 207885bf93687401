"""What the model writes while it learns: what is shown, kept, and made harmless."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.engine.events import Evaluated, Sampled
from gpt_magic.notebook.samples import sampled_text, samples_html, samples_text
from gpt_magic.recorder import Progress
from tests.notebook.test_cards import ATTRIBUTES, EVIL, TAGS, Page

EXTRA = [
    "\u202eright to left override\u202c",
    "שלום עולם, מה שלומך?",
    "one\n\n\n\n\n\ntwo\r\nthree\u2028four\n" + "five\n" * 60,
    "👩‍👩‍👧‍👦 and 🏳️‍🌈 \ufffd",
    "\t\tindented\n    more",
    "",
    "   ",
    "\n",
]


def sampled(steps: int, prompts: tuple[str, ...] = ("Jack and", "Mary"), best: int | None = None) -> Progress:
    """A run of so many steps, sampled before and after each."""
    return Progress(
        samples=tuple(Sampled(i, tuple((p, f" text {i} of {p}") for p in prompts)) for i in range(steps + 1)),
        evaluations=tuple(Evaluated(i, 0.0, {"loss": 1.0}, i == best, 0.0) for i in range(steps + 1)),
    )


def test_while_it_runs_the_first_and_the_newest_are_shown() -> None:
    text = Page(samples_html(sampled(0))).text
    assert text == (
        "What it writes after each promptJack andbefore trainingtext 0 of Jack andMarybefore trainingtext 0 of Mary"
    )
    text = Page(samples_html(sampled(7))).text
    assert text.count("before training") == text.count("step 7") == 2
    assert "step 6" not in text
    assert samples_text(sampled(7)).splitlines() == [
        *('after "Jack and":', "  before training: text 0 of Jack and", "  step 7: text 7 of Jack and"),
        *('after "Mary":', "  before training: text 0 of Mary", "  step 7: text 7 of Mary"),
    ]


def test_when_it_is_over_all_are_there_and_the_older_ones_are_folded() -> None:
    page = Page(samples_html(sampled(5), final=True))
    assert [page.text.count(f"step {i}") for i in range(1, 6)] == [2] * 5
    assert sum(tag == "details" for tag, _ in page.tags) == 2
    assert page.text.count("4 in between") == 2
    kept = Page(samples_html(sampled(5, best=2), final=True)).text
    assert kept.count("3 in between") == 2
    assert kept.index("step 4") < kept.index("step 2 (kept)") < kept.index("step 5")
    few = Page(samples_html(sampled(2), final=True))
    assert "details" not in [tag for tag, _ in few.tags]
    assert samples_html(Progress(), final=True) == samples_text(Progress()) == ""


@pytest.mark.parametrize("steps", [7, 8, 9, 50, 1001])
@pytest.mark.parametrize("best", [None, 3, 7])
def test_long_runs_are_thinned_but_first_last_and_kept_stay(steps: int, best: int | None) -> None:
    lines = samples_text(sampled(steps, ("a",), best), final=True).splitlines()[1:]
    assert 5 <= len(lines) <= 8
    assert lines[0].startswith("  before training: ")
    assert lines[-1].startswith(f"  step {steps:,}: ")
    kept = [line for line in lines if "(kept)" in line]
    assert kept == ([] if best in (None, steps) else [f"  step {best} (kept): text {best} of a"])


def test_a_run_without_validation_has_no_kept_step() -> None:
    assert "(kept)" not in samples_html(replace(sampled(5), evaluations=()), final=True)


def test_room_is_kept_for_the_longest() -> None:
    run = sampled(1)
    long = Sampled(2, (("Jack and", "one\ntwo\nthree"), ("Mary", "x")))
    heights = {attributes.get("style") for _, attributes in Page(samples_html(run)).tags} & {"min-height:1.35em"}
    assert heights
    later = replace(run, samples=(*run.samples, long, *run.samples[1:]))
    assert samples_html(later).count("min-height:4.05em") == 1
    assert "min-height" not in samples_html(later, final=True)


def test_what_a_terminal_prints() -> None:
    one = Sampled(40, (("Jack and", " Jill\nwent"), ("", "A\x1b[31m\x07 new")))
    assert sampled_text(one) == 'what it writes at step 40:\n  "Jack and": Jill ↵ went\n  nothing: A [31m new'
    assert sampled_text(Sampled(0, ())) == "what it writes before training:"


def wild(text: str) -> list[str]:
    run = sampled(3, (text, "b"))
    texts = tuple(Sampled(i, ((text, text), ("b", text))) for i in range(4))
    run = replace(run, samples=texts)
    return [samples_html(run), samples_html(run, final=True)]


@pytest.mark.parametrize("text", [*EVIL, *EXTRA], ids=lambda text: ascii(text[:20]))
def test_wild_texts_are_only_ever_text(text: str) -> None:
    harmless(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="<>&\"'$\\\n\r\t\u202e\u2067\u200d👩א `!-", max_size=60))
def test_any_text_is_only_ever_text(text: str) -> None:
    harmless(text)


def harmless(text: str) -> None:
    for markup, plain in zip(wild(text), wild("plain"), strict=True):
        page = Page("".join(markup).replace("<br>", "<br></br>"))
        assert {tag for tag, _ in page.tags} <= TAGS | {"bdi", "br"}
        assert {name for _, attributes in page.tags for name in attributes} <= ATTRIBUTES | {"dir"}
        for tag in ("table", "div", "tr", "td", "strong", "details"):
            assert markup.count(f"<{tag}") == plain.count(f"<{tag}")
        assert not any(c in page.text for c in "\x00\x1b\x07\u202e\u2067\u2066\u2028")
        assert len(markup) < 120_000
        markup.encode()
    run = replace(sampled(1), samples=(Sampled(0, ((text, text),)), Sampled(1, ((text, text),))))
    assert len(samples_text(run).splitlines()) == 3
    samples_text(run).encode()


def test_directions_are_isolated_and_line_breaks_stand() -> None:
    run = replace(sampled(0), samples=(Sampled(0, (("שלום", " עולם\nשני"),)),))
    markup = samples_html(run, final=True)
    assert markup.count('<bdi dir="auto"') == 2
    assert "עולם<br>שני" in markup
    many = replace(sampled(0), samples=(Sampled(0, (("a", "x\n" * 100),)),))
    assert samples_html(many, final=True).count("<br>") == 23
    gaps = replace(sampled(0), samples=(Sampled(0, (("a", "x" + "\n" * 100 + "y"),)),))
    assert "x<br><br>" + "↵" * 98 + "y" in samples_html(gaps, final=True)


def test_no_formula_to_mathjax() -> None:
    run = replace(sampled(0), samples=(Sampled(0, (("a", "$x$ and \\(y\\)"),)),))
    assert "<span>$</span>x<span>$</span> and <span>\\</span>(y<span>\\</span>)" in samples_html(run)
