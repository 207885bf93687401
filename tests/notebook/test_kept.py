"""What a web page that strips styles, as GitHub's does, leaves of a kept notebook's outputs."""

from collections.abc import Iterator

import bleach
import pytest

from gpt_magic.engine.events import Sampled
from gpt_magic.notebook.entities import marked_html
from gpt_magic.notebook.samples import samples_html
from gpt_magic.recorder import Progress
from tests.noisy import noisy_run
from tests.notebook.test_cards import Page, everything

# The elements and attributes of github/html-pipeline's sanitisation filter, as far as they concern text and tables;
# links and pictures are not in our HTML. Styles and classes go.
TAGS = "h1 h2 h3 h4 h5 h6 br b i strong em a pre code img tt div ins del sup sub p ol ul li table thead tbody tfoot "
TAGS += "blockquote dl dt dd kbd q samp var hr ruby rt rp tr td th s strike summary details caption figure figcaption "
TAGS += "abbr bdo cite dfn mark small span time wbr"
ATTRIBUTES = ["title", "scope", "dir", "align", "colspan", "rowspan", "open", "aria-label", "role"]
EVIL = "<script>alert(1)</script> & <img src=x onerror=alert(1)> $x$"


def outputs(text: str) -> Iterator[str]:
    yield from everything(text)
    yield marked_html(f"Ada {text}", [{"start": 0, "end": 3, "label": text, "confidence": 0.5}])
    yield samples_html(Progress(samples=tuple(Sampled(i, ((text, f"{i} {text}"),)) for i in range(4))), final=True)


def words(markup: str) -> list[str]:
    return Page(markup.replace("<br>", "")).text.split()


def shapes(markup: str) -> list[str]:
    tags = [tag for tag, _ in Page(markup.replace("<br>", "")).tags]
    return [
        tag for tag in tags if tag in ("table", "tr", "th", "td", "ul", "li", "details", "summary", "strong", "code")
    ]


@pytest.mark.parametrize("text", ["plain", EVIL])
def test_all_that_is_said_is_left_where_styles_are_not(text: str) -> None:
    for markup in outputs(text):
        left = bleach.clean(markup, tags=TAGS.split(), attributes=ATTRIBUTES, strip=True)
        assert words(left) == words(markup)
        assert shapes(left) == shapes(markup)


def test_what_moves_is_left_too() -> None:
    from gpt_magic.notebook.status import progress_html

    left = bleach.clean(progress_html(noisy_run(at=312)), tags=TAGS.split(), attributes=ATTRIBUTES, strip=True)
    assert "training" in left
    assert "312 / 672" in left
    assert "%finetune --show" in left
