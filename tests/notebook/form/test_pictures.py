"""The form's pictures: transparent, of few bytes, and drawn whatever the losses are."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gpt_magic.engine.events import Evaluated, Stepped
from gpt_magic.notebook.form.pictures import RATES_WIDTH, image, overlay_png, rates_png, schedule_png
from gpt_magic.recorder import Progress
from tests.notebook.test_trials import TRIED


def run(seed: int, steps: int = 60, bad: float | None = None) -> Progress:
    rng = np.random.default_rng(seed)
    losses = [float(value) for value in np.exp(-np.arange(steps) / 20) + rng.random(steps) / 5]
    if bad is not None:
        losses[steps // 2] = bad
    log = tuple(Stepped(i, i / 20, loss, 1e-3, 1.0, 100, 0.1) for i, loss in enumerate(losses, start=1))
    evaluated = tuple(Evaluated(i, i / 20, {"loss": losses[i - 1]}, i == 60, 0.1) for i in (20, 40, 60) if i <= steps)
    return Progress("done", steps, steps, 20, steps_log=log, evaluations=evaluated)


def ink(png: bytes) -> Image.Image:
    """The picture, which must be transparent at its corners."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    assert {picture.getpixel(at)[3] for at in ((0, 0), (picture.width - 1, picture.height - 1))} == {0}
    return picture


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, 1e30])
def test_runs_over_one_another(bad: float | None) -> None:
    picture = ink(overlay_png([(number, run(number, bad=bad)) for number in range(1, 8)]))
    assert picture.size == (1440, 520)
    assert len(overlay_png([(1, run(1)), (2, run(2))])) < 200_000


def test_two_runs_that_are_the_same_are_both_seen() -> None:
    one = ink(overlay_png([(1, run(1))]))
    both = ink(overlay_png([(1, run(1)), (2, run(1))]))
    colours = [{both.getpixel((x, y))[:3] for x in range(both.width) for y in range(0, both.height, 2)}]
    assert (0, 114, 178) in colours[0]  # the first run's blue, between the dashes of the second's vermilion
    assert (213, 94, 0) in colours[0]
    assert one.tobytes() != both.tobytes()


@pytest.mark.parametrize("rates", [[1e-3, 5e-4, 0.0], [1e-8, 1e-8], [0.0, 0.0, 0.0]])
def test_a_schedule(rates: list[float]) -> None:
    assert ink(schedule_png([*range(1, len(rates) + 1)], rates)).size == (680, 260)


@pytest.mark.parametrize("kept", [4, 1, 0])
def test_rates_stand_where_a_slider_as_wide_has_them(kept: int) -> None:
    tried = replace(TRIED, trials=(*TRIED.trials[1 : 1 + kept], TRIED.trials[-1]))
    picture = np.asarray(ink(rates_png(tried, -6, -2)))
    assert picture.shape[1] == 2 * RATES_WIDTH
    diamond = np.argwhere((np.abs(picture[..., :3].astype(int) - (213, 94, 0)).max(-1) < 9) & (picture[..., 3] == 255))
    if not kept:
        assert not len(diamond)
        return
    place = (math.log10(9e-4) + 6) / 4 * picture.shape[1]
    assert (diamond[:, 1].min() + diamond[:, 1].max()) / 2 == pytest.approx(place, abs=2)


def test_an_image_has_words_and_no_markup_in_them() -> None:
    markup = image(b"png", '"><script>x</script>', 300)
    assert "<script" not in markup
    assert 'alt="&quot;&gt;&lt;script&gt;x' in markup
