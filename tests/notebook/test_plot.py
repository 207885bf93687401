import io
import itertools
import math
import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from gpt_magic.engine.events import Evaluated, Stepped
from gpt_magic.notebook.curves import Curve, Limits, said_names, score_names, smoothing_window, thin
from gpt_magic.notebook.look import COLOURS, DPI, GREY, HEIGHT, SCALE, WIDTH, own_style
from gpt_magic.notebook.plot import LossPlot, figure
from gpt_magic.notebook.png import PaletteWriter
from gpt_magic.notebook.scene import Frame, Scene
from gpt_magic.recorder import Progress
from tests.noisy import noisy_run


def pixels(png: bytes) -> np.ndarray:
    """RGBA, (height, width, 4)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_picture_is_a_transparent_png_of_twice_the_size_with_all_curves() -> None:
    picture = pixels(LossPlot().update(noisy_run()))
    assert picture.shape == (2 * HEIGHT, 2 * WIDTH, 4)
    assert (picture[..., 3] == 0).mean() > 0.7
    for colour in COLOURS:
        solid = (np.abs(picture[..., :3].astype(int) - np.array(to_rgb(colour)) * 255).max(-1) <= 1) & (
            picture[..., 3] == 255
        )
        assert solid.sum() > 100, colour


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_has_contrast_on_light_and_dark_pages(colour: str, page: str) -> None:
    assert contrast(colour, page) >= 3
    if colour == GREY:  # text is read, not only seen
        assert contrast(colour, page) >= 4


def test_the_palette_changes_no_pixel_visibly() -> None:
    picture = figure(noisy_run())
    picture.set_dpi(200)
    picture.canvas.draw()
    canvas = np.asarray(picture.canvas.buffer_rgba())
    writer = PaletteWriter(COLOURS)
    writer.keep(np.zeros_like(canvas))
    written = pixels(writer.png(canvas, 1))

    def on_white(image: np.ndarray) -> np.ndarray:
        alpha = image[..., 3:] / 255
        return image[..., :3] * alpha + 255 * (1 - alpha)

    difference = np.abs(on_white(written) - on_white(canvas)).max(-1)
    assert np.quantile(difference[canvas[..., 3] > 0], 0.95) < 12  # of 255
    assert (difference > 40).mean() < 0.002  # where two colours cross


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**32 - 1), st.sampled_from([1, 9])), max_size=8))
def test_a_writer_that_keeps_rows_writes_what_a_fresh_one_writes(moments: list[tuple[bool, int, int]]) -> None:
    """Bands of rows that have not changed are not compressed again."""
    writer = PaletteWriter(COLOURS)
    canvas = np.zeros((37, 23, 4), np.uint8)
    writer.keep(canvas)
    for keep, seed, level in moments:
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, len(canvas), 2)
        colours = np.array([[0, 114, 178, 255], [213, 94, 0, 128], [0, 0, 0, 0]], np.uint8)
        canvas[min(rows) : max(rows)] = colours[rng.integers(0, 3, (max(rows) - min(rows), 23))]
        if keep:
            writer.keep(canvas)
        fresh = PaletteWriter(COLOURS)
        fresh.keep(np.zeros_like(canvas))
        assert (pixels(writer.png(canvas, level)) == pixels(fresh.png(canvas, level))).all()


def test_limits_stand_still_while_the_run_goes_on() -> None:
    live = LossPlot()
    whole = noisy_run()
    frames = []
    for at in range(2, 673, 8):
        live.update(replace(whole, step=at, steps_log=whole.steps_log[:at], evaluations=so_far(whole, at)))
        frames.append(live._frame)
    rights = [frame.right for frame in frames]
    assert sorted(set(rights)) == [336, 672]
    assert rights == sorted(rights)
    others = [replace(frame, right=0.0, epochs=()) for frame in frames]
    changes = sum(before != after for before, after in itertools.pairwise(others))
    assert changes <= 3


@pytest.mark.parametrize(
    ("steps", "made", "right"),
    [
        (196, 1, 196),
        (4200, 2, 262.5),
        (4200, 262, 262.5),
        (4200, 263, 525),
        (4200, 2101, 4200),
        (30, 31, 60),
        (0, 9, 100),
    ],
)
def test_the_axis_is_the_least_part_of_the_plan_that_holds_the_steps(steps: int, made: int, right: float) -> None:
    live = LossPlot()
    live.update(Progress(steps=steps, step=made, steps_log=(stepped(1, 0.7), stepped(made, 0.6))))
    assert live._frame.right == right


@pytest.mark.parametrize(("steps", "per_epoch", "stride"), [(4200, 14, 50), (600, 100, 1), (30, 1, 5), (9, 9, 1)])
def test_lines_stand_at_a_few_epochs_and_the_legend_says_which(steps: int, per_epoch: int, stride: int) -> None:
    log = tuple(stepped(i, 1.0) for i in range(1, steps + 1))
    axes = figure(Progress(steps=steps, step=steps, steps_per_epoch=per_epoch, steps_log=log)).axes[0]
    ends = [segment[0][0] for segment in axes.collections[0].get_segments()]
    assert ends == [per_epoch * k for k in range(stride, steps // per_epoch + 1, stride)]
    assert 1 <= len(ends) <= 12
    named = [text.get_text() for text in axes.get_legend().get_texts()][-1]
    assert named == ("epoch" if stride == 1 else f"{stride} epochs")


@pytest.mark.parametrize("names", [("accuracy", "macro_f1"), ("perplexity",), ("a_metric_with_a_long_name",), ()])
@pytest.mark.parametrize("steps", [672, 12_000, 1_000_000])
def test_drawn_in_parts_it_is_the_whole_picture(names: tuple[str, ...], steps: int) -> None:
    """No part cuts off what another draws: pixel for pixel as drawn at once, whatever was drawn before."""
    whole, live = noisy_run(), LossPlot()
    scores = [{"loss": 0.4, **dict.fromkeys(names, value)} for value in (1.0, 0.93, 12_345.6)]
    evaluations = [Evaluated(100 * (i + 1), i, some, best=i == 0, seconds=1.0) for i, some in enumerate(scores)]
    for seen, at, final in ((0, 10, False), (1, 300, False), (2, steps, False), (3, steps, True)):
        progress = replace(
            whole, steps=steps, steps_per_epoch=steps // 7, step=at, evaluations=tuple(evaluations[:seen])
        )
        live.update(progress, final=final)
        live._canvas.restore_region(live._standing)
        assert np.array_equal(live._canvas.buffer_rgba(), drawn_at_once(live._frame))


def drawn_at_once(frame: Frame) -> np.ndarray:
    picture = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI * SCALE)
    canvas = FigureCanvasAgg(picture)
    with mpl.rc_context(own_style()):
        scene = Scene(picture, frame.panels)
        for part in scene.parts(frame):
            part.arrange()
        for _, line in scene.curves:
            line.set_animated(True)
        canvas.draw()
    return np.array(canvas.buffer_rgba())


def so_far(run: Progress, step: int) -> tuple[Evaluated, ...]:
    return tuple(e for e in run.evaluations if e.step <= step)


def test_early_outliers_do_not_flatten_the_rest() -> None:
    live = LossPlot()
    live.update(noisy_run(at=2, wild=3))
    assert live._frame.loss.high >= 9
    live.update(noisy_run(wild=3))
    assert live._frame.loss.high < 2


def test_limits_follow_a_loss_that_explodes_and_one_that_stays_high() -> None:
    limits = Limits().around(3.2, 3.9)
    assert limits.low > 2
    assert limits.high >= 3.9
    assert limits.around(3.1, 3.8) is limits
    assert limits.around(3.1, 40).high >= 40


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (0.5, 0.5), (-1.0, -1.0), (1e-9, 2e-9), (0.0, 1e30), (1e12, 1e12)]
)
def test_limits_hold_any_range(low: float, high: float) -> None:
    limits = Limits().around(low, high)
    assert limits.low <= low <= high <= limits.high
    assert limits.low < limits.high
    assert 1 <= len(limits.ticks()) <= 10


def stepped(step: int, loss: float) -> Stepped:
    return Stepped(step, step / 10, loss, 1e-4, 1.0, 100, 0.1)


def evaluated(step: int, **metrics: object) -> Evaluated:
    return Evaluated(step, step / 10, metrics, best=True, seconds=0.1)


NAN, INF = math.nan, math.inf
ODD_RUNS = {
    "nothing": Progress(),
    "planned": Progress(steps=100, steps_per_epoch=10),
    "one step": Progress(steps=100, step=1, steps_log=(stepped(1, 0.7),)),
    "no plan": Progress(step=2, steps_log=(stepped(1, 0.7), stepped(2, 0.6))),
    "more than planned": Progress(steps=2, step=5, steps_log=tuple(stepped(i, 1.0) for i in range(1, 6))),
    "one planned": Progress(steps=1, steps_per_epoch=1, step=1, steps_log=(stepped(1, 0.0),)),
    "not finite": Progress(steps=3, step=3, steps_log=(stepped(1, NAN), stepped(2, INF), stepped(3, 0.5))),
    "never finite": Progress(steps=2, step=2, steps_log=(stepped(1, NAN), stepped(2, -INF))),
    "huge": Progress(steps=2, step=2, steps_log=(stepped(1, 1e30), stepped(2, 3.0))),
    "constant": Progress(steps=30, step=30, steps_log=tuple(stepped(i, 0.25) for i in range(1, 31))),
    "odd scores": Progress(steps=9, evaluations=(evaluated(3, loss=NAN, accuracy=INF, macro_f1=None, flag=True),)),
    "other scores": Progress(steps=9, evaluations=(evaluated(3, loss=1.0, perplexity=2.7, bits=1.4),)),
    "loss alone": Progress(steps=9, evaluations=(evaluated(3, loss=1.0),)),
    "odd names": Progress(steps=9, evaluations=(evaluated(3, **{"$x^2$ _a": 0.5, "_苹果": 0.4}),)),
    "many epochs": Progress(steps=100_000, steps_per_epoch=1, step=1, steps_log=(stepped(1, 1.0),)),
}


@pytest.mark.parametrize("name", ODD_RUNS)
def test_odd_runs_draw_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        live = LossPlot()
        for final in (False, True):
            assert pixels(live.update(ODD_RUNS[name], final=final)).shape[:2] == (2 * HEIGHT, 2 * WIDTH)
        figure(ODD_RUNS[name]).canvas.draw()


def test_a_name_with_dollars_stays_as_it_is() -> None:
    picture = figure(ODD_RUNS["odd names"])
    texts = [text for axes in picture.axes for text in axes.get_legend().get_texts()]
    assert "$x^2$ a" in [text.get_text() for text in texts]
    assert not any(text.get_parse_math() for text in texts)


def test_the_figure_says_in_words_what_it_shows_and_can_be_saved() -> None:
    picture = figure(noisy_run())
    assert isinstance(picture, Figure)
    loss, scores = picture.axes
    assert loss.get_ylabel() == "loss"
    assert [axes.get_xlabel() for axes in picture.axes] == ["step", "step"]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == [
        *("each step", "smoothed", "validation", "best", "epoch")
    ]
    assert [text.get_text() for text in scores.get_legend().get_texts()] == ["accuracy", "macro F1"]
    out = io.BytesIO()
    picture.savefig(out, format="svg")
    assert b"</svg>" in out.getvalue()


def test_the_figure_shows_itself_where_pyplot_was_never_imported() -> None:
    data, metadata = figure(noisy_run())._repr_mimebundle_()
    assert pixels(data["image/png"]).shape == (2 * HEIGHT, 2 * WIDTH, 4)
    assert metadata["image/png"] == {"width": WIDTH, "height": HEIGHT, "alt": "loss plot"}


def test_the_lines_differ_by_more_than_colour() -> None:
    loss, scores = figure(noisy_run()).axes
    looks = [(line.get_marker(), line.get_linestyle(), line.get_linewidth()) for line in loss.lines]
    looks += [(line.get_marker(), line.get_linestyle(), line.get_linewidth()) for line in scores.lines]
    assert len(set(looks)) == len(looks)


def test_a_run_without_validation_ends_with_one_panel_and_no_empty_legend() -> None:
    run = noisy_run(every=0)
    live = LossPlot()
    live.update(run)
    assert live._frame.panels == 2  # while it runs, scores may still come
    live.update(run, final=True)
    assert live._frame.panels == 1
    (axes,) = figure(run).axes
    assert "validation" not in [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_stopped_run_ends_with_the_steps_that_were_made() -> None:
    live = LossPlot()
    run = noisy_run(at=100)
    live.update(run)
    assert live._frame.right == 336
    live.update(run, final=True)
    assert live._frame.right == 100


def test_a_plot_made_before_the_plan_was_known_smooths_as_one_made_after() -> None:
    live, late = LossPlot(), LossPlot()
    live.update(Progress())
    for at in (2, 300):
        assert (pixels(live.update(noisy_run(at=at))) == pixels(late.update(noisy_run(at=at)))).all()


def test_repainting_is_drawing_anew() -> None:
    live = LossPlot()
    for at in (2, 50, 300):
        live.update(noisy_run(at=at))
    again = LossPlot()
    again.update(noisy_run(at=2))
    assert live._frame.loss == again._frame.loss  # same axes, so the pictures can be compared
    assert (pixels(live.update(noisy_run(at=300))) == pixels(again.update(noisy_run(at=300)))).all()


def test_the_users_style_changes_nothing() -> None:
    run = noisy_run()
    plain = LossPlot().update(run)
    before = dict(mpl.rcParams)
    with mpl.rc_context({"axes.facecolor": "black", "lines.linewidth": 9, "font.size": 30, "xtick.major.size": 20}):
        assert LossPlot().update(run) == plain
    assert dict(mpl.rcParams) == before


def test_smoothing_starts_at_the_first_loss_and_skips_what_is_not_finite() -> None:
    curve = Curve(window=9)
    log = [stepped(1, 2.0), stepped(2, NAN), stepped(3, 2.0), stepped(4, 1.0)]
    curve.extend(log[:2])
    curve.extend(log)
    assert list(curve.steps) == [1, 3, 4]
    # keep = 0.8 a step; after the gap of two steps 0.64. Weighted means, by hand:
    third = (0.8 * (0.64 * 0.2 * 2 + 0.36 * 2) + 0.2 * 1) / (0.8 * (0.64 * 0.2 + 0.36) + 0.2)
    assert list(curve.smoothed) == pytest.approx([2.0, 2.0, third])


def test_the_window_grows_with_the_run() -> None:
    assert [smoothing_window(steps) for steps in (0, 10, 150, 500, 672, 10**6)] == [20, 5, 15, 20, 22, 500]


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1003, 20_000])
def test_thinning_keeps_order_ends_and_extremes(count: int) -> None:
    x = np.arange(count, dtype=float)
    y = np.random.default_rng(0).normal(size=count)
    kept_x, kept_y = thin(x, y)
    assert len(kept_x) <= 600
    assert (np.diff(kept_x) >= 0).all()
    if count:
        assert kept_y.max() == y.max()
        assert kept_y.min() == y.min()
        assert kept_x[-1] >= count - 1 - math.ceil(2 * count / 500)
    assert all(y[int(i)] == value for i, value in zip(kept_x, kept_y, strict=True))


def test_scores_are_accuracy_and_macro_f1_or_the_first_two_numbers() -> None:
    assert score_names([]) == ()
    assert score_names([evaluated(1, loss=1, precision=0.5, macro_f1=0.5, accuracy=0.5)]) == ("accuracy", "macro_f1")
    assert score_names([evaluated(1, per_class={}, bleu=0.1, rouge=0.2, loss=1, third=3)]) == ("bleu", "rouge")


LANGUAGE = {"loss": 6.5, "perplexity": 700.0, "bits_per_character": 3.4, "tokens": 900}
LATER = {"loss": 1.4, "perplexity": 4.0, "bits_per_character": 0.9, "tokens": 900}


def test_of_a_language_model_the_bits_are_plotted() -> None:
    evaluations = [evaluated(0, **LANGUAGE), evaluated(40, **LATER)]
    assert score_names(evaluations) == ("bits_per_character",)
    assert said_names(evaluations) == ("perplexity", "bits_per_character")
    run = Progress(steps=40, step=40, steps_log=tuple(stepped(i, 2.0) for i in range(1, 41)))
    run = replace(run, evaluations=tuple(evaluations))
    loss, scores = figure(run).axes
    assert scores.get_ylabel() == "validation, lower is better"
    assert [text.get_text() for text in scores.get_legend().get_texts()] == ["bits per character"]
    assert loss.get_xlim()[0] == 0
    assert list(loss.lines[2].get_xdata()) == [0, 40]
    low, high = scores.get_ylim()
    assert low <= 0.9 < 3.4 <= high < 5


def test_bits_below_one_are_no_percentages() -> None:
    low = [evaluated(i, loss=1.0, bits_per_character=bits) for i, bits in ((1, 0.97), (2, 0.5))]
    run = replace(Progress(steps=2, step=2, steps_log=(stepped(1, 1.0), stepped(2, 1.0))), evaluations=tuple(low))
    picture = figure(run)
    picture.canvas.draw()
    ticks = [tick.get_text() for tick in picture.axes[1].get_yticklabels()]
    assert ticks
    assert not any("%" in tick for tick in ticks)
