"""The trials of learning rates as a picture and in words."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from gpt_magic.engine.events import Trial, Tried
from gpt_magic.notebook import live, look, trials
from gpt_magic.notebook.budget import Budget
from gpt_magic.notebook.live import NotebookView
from gpt_magic.recorder import Progress, Recorder
from gpt_magic.tuned.trials import Trials
from tests.noisy import PREFLIGHT, SUMMARY

TRIED = Tried(
    (
        Trial(1e-4, tuple(0.9 - 0.005 * n for n in range(20)), 0.8, 0.4, 0.02),
        Trial(9e-4, tuple(0.9 - 0.02 * n for n in range(20)), 0.41, 0.01, 0.02),
        Trial(2.7e-3, tuple(0.9 - 0.03 * n for n in range(20)), 0.4, 0.0, 0.0),
        Trial(1e-2, (0.9, 5.0), float("inf")),
    ),
    9e-4,
    "auto: of 4 rates, 20 steps each, its held-out loss, 0.41, cannot be told from the best, 0.4 at 2.7e-3",
    12.3,
)
WORDS = (
    "Learning rate 9e-4: of 4 rates, 20 steps each, its held-out loss, 0.41, cannot be told from the best, 0.4 at "
    "2.7e-3 (12 s)."
)


def test_in_words_and_as_a_table() -> None:
    assert repr(Trials(**vars(TRIED))).splitlines() == [
        WORDS,
        "learning rate  held-out loss  behind the best",
        "1e-4                  0.8000  0.4000 ± 0.0200",
        "★ 9e-4                0.4100  0.0100 ± 0.0200",
        "2.7e-3                0.4000                –",
        "1e-2                diverged                –",
    ]


def test_the_picture_is_transparent_has_words_and_contrast_on_both_themes() -> None:
    markup = Trials(**vars(TRIED))._repr_html_()
    (alt,) = re.findall(r'<img alt="([^"]*)"', markup)
    assert alt == WORDS
    (data,) = re.findall(r'src="data:image/png;base64,([^"]*)"', markup)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    assert picture.shape == (380, 1440, 4)
    assert (picture[..., 3] == 0).mean() > 0.8
    opaque = picture[picture[..., 3] == 255][:, :3].astype(int)
    for colour in (look.GREY, look.BLUE, look.VERMILION):
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(opaque - rgb).max(1) < 6).sum() > 50, colour
    assert markup.count("<tr") == 5


@pytest.mark.parametrize(
    "tried",
    [
        Tried((Trial(1e-4, (), float("inf")),), 1e-4, "all diverged", 1.0),
        Tried((Trial(1e-4, (0.0,), 0.0), Trial(1e-3, (0.0,), 0.0)), 1e-4, "equal", 1.0),
        Tried((Trial(1e-4, (1e9, 2e9), 1e9), Trial(1.0, (1e9,), 1e9 + 1)), 1e-4, "<b>$x$", 1.0),
    ],
    ids=["none is finite", "zero", "huge"],
)
def test_odd_trials_draw_without_a_warning(tried: Tried) -> None:
    markup = trials.trials_html(tried)
    assert "<b>" not in markup
    assert trials._png(tried).startswith(b"\x89PNG")


def test_a_log_that_is_restored_has_them() -> None:
    first, second = Recorder(), Recorder()
    first(TRIED)
    second.restore(first.log())
    assert second.progress().tried == TRIED


def test_they_stand_below_the_preflight_while_it_trains_and_below_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    def put(view: NotebookView, place: str, data: dict[str, str], _: object) -> None:
        view._handles[place] = place
        shown.append({"place": place, **data})

    monkeypatch.setattr(NotebookView, "_put", put)
    monkeypatch.setattr(live, "PLOT_SECONDS", 1e9)
    view = NotebookView(Budget(lambda: 0.0, lambda: 0.0))
    view.open()
    view.preflight(PREFLIGHT)
    for progress in (Progress(phase="trying"), Progress(tried=TRIED), Progress(tried=TRIED)):
        view.paint(progress)
    view.close(SUMMARY, Progress(tried=TRIED))
    cards = [one for one in shown if one["place"] == "card"]
    assert [one["text/html"].count("<img") for one in cards] == [0, 1, 1]
    assert WORDS in cards[1]["text/plain"]
    assert WORDS in cards[2]["text/plain"]
