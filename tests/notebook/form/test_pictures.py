"""The form's pictures: transparent, of few bytes, and drawn whatever the losses are."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from gpt_magic.engine.events import Evaluated, Stepped
from gpt_magic.notebook.form.pictures import image, overlay_png, schedule_png
from gpt_magic.recorder import Progress


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


def test_an_image_has_words_and_no_markup_in_them() -> None:
    markup = image(b"png", '"><script>x</script>', 300)
    assert "<script" not in markup
    assert 'alt="&quot;&gt;&lt;script&gt;x' in markup
