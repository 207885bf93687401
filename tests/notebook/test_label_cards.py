"""Views of evaluations of labels and numbers, and the reliability picture."""

import io

import numpy as np
import pytest
from matplotlib import colors as mcolors
from matplotlib.text import Text
from PIL import Image

from gpt_magic.inference.calibration import Calibration, calibrate
from gpt_magic.notebook.look import COLOURS, GREY
from gpt_magic.notebook.reliability import reliability_figure
from gpt_magic.tasks.evaluation import evaluate_classes
from gpt_magic.tasks.label_evaluation import evaluate_label_sets, evaluate_numbers


def test_labels_are_text_and_no_markup() -> None:
    names = ["<script>", "a & b", "食物"]
    found = evaluate_label_sets(
        np.eye(3, dtype=np.float32), [("<script>",), (), ("食物",)], names, [0.5] * 3, truncated=1
    )
    page = found._repr_html_()
    assert "<script>" not in page
    for part in ("&lt;script&gt;", "a &amp; b", "食物", "threshold", "micro F1", "1 rows were longer"):
        assert part in page


def test_a_page_shows_the_first_labels_and_says_how_many_more() -> None:
    names = list(range(40))
    found = evaluate_label_sets(np.zeros((2, 40), dtype=np.float32), [(1,), (2,)], names, [0.5] * 40)
    assert "and 10 more in <code>.per_label</code>" in found._repr_html_()
    assert len(found.per_label) == 40


def test_numbers_are_a_line() -> None:
    page = evaluate_numbers(np.array([1.0, 2.0]), [1.0, 1.0])._repr_html_()
    assert "RMSE" in page
    assert "–" in page  # R² of numbers that are all one


def test_the_calibration_error_stands_beside_the_loss() -> None:
    found = evaluate_classes(np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32), ["a", "a"], ["a", "b"])
    assert "calibration error" in found._repr_html_()
    sure = [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))]
    assert found.calibration_error == pytest.approx((1 - sure[0] + sure[1]) / 2)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 3))
    truth = (logits + rng.gumbel(size=(300, 3))).argmax(axis=1)
    found = calibrate(logits * 3, truth, seed=0)
    assert found is not None
    return found


def test_the_picture_shows_both_curves_and_how_many(calibration: Calibration) -> None:
    above, below = reliability_figure(vars(calibration)).axes
    _, before, after = above.get_lines()
    for line, bins in ((before, calibration.before), (after, calibration.after)):
        points = [(said, came) for count, said, came in bins if count]
        np.testing.assert_allclose(np.array(line.get_xydata()), points)
    assert before.get_linestyle() != after.get_linestyle()  # not told apart by colour alone
    assert before.get_marker() != after.get_marker()
    assert [bar.get_height() for bar in below.patches] == [count for count, _, _ in calibration.after]
    words = [text.get_text() for text in above.get_legend().get_texts()]
    assert words[1:] == [f"before, error {calibration.ece_before:.1%}", f"after, error {calibration.ece_after:.1%}"]


def test_the_picture_is_for_light_and_dark_pages(calibration: Calibration) -> None:
    buffer = io.BytesIO()
    figure = reliability_figure(vars(calibration))
    figure.savefig(buffer, format="png")
    pixels = np.asarray(Image.open(buffer).convert("RGBA"))
    assert (pixels[..., 3] == 0).mean() > 0.7  # the page shines through
    words = figure.findobj(lambda one: isinstance(one, Text) and bool(one.get_text()))
    assert len(words) > 20
    assert {mcolors.to_hex(word.get_color()) for word in words} == {GREY}
    assert {line.get_color() for line in figure.axes[0].get_lines()} <= set(COLOURS)


def test_the_picture_shows_itself_with_words_beside_it(calibration: Calibration) -> None:
    data, metadata = reliability_figure(vars(calibration))._repr_mimebundle_()
    width, height = Image.open(io.BytesIO(data["image/png"])).size
    assert metadata["image/png"] == {"width": width // 2, "height": height // 2, "alt": data["text/plain"]}
    assert data["text/plain"] == (
        f"reliability of {calibration.rows:,} predictions: calibration error {calibration.ece_before:.1%} before, "
        f"{calibration.ece_after:.1%} after"
    )
