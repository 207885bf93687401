"""The learning rate as a slider on a log scale, and how it will move in the run."""

import math
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from gpt_magic.errors import plural
from gpt_magic.notebook.form.fields import Written

if TYPE_CHECKING:
    from gpt_magic.engine.events import Tried
    from gpt_magic.engine.job import Settings  # torch comes with it

_LOW, _HIGH = -6.0, -2.0  # powers of ten that fine-tuning is usually tried with
_STEP = 0.05
# ipywidgets gives the handle of a slider no name; a screen reader needs one.
_NAMING = """<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
style="display:none" onload="(function name(node, tries) {
  const handle = node.closest('.gpt-magic-rate')?.querySelector('.noUi-handle');
  if (handle) handle.setAttribute('aria-label', 'learning rate, on a log scale');
  else if (tries) setTimeout(() => name(node, tries - 1), 100);
})(this, 50)">"""


class Rate:
    """A slider that moves the field ``learning_rate``, and a picture that follows all that shapes the schedule."""

    def __init__(self, field: Written) -> None:
        self._field = field
        self._at = 1e-4
        self.slider = widgets.FloatLogSlider(
            value=self._at, base=10, min=_LOW, max=_HIGH, step=_STEP, readout=False, continuous_update=True,
            tooltip="The learning rate on a log scale; the field has the exact number.",
        )  # fmt: skip
        self.slider.layout.width = "100%"
        self.slider.observe(self._moved, "value")
        self._words = widgets.HTML()
        self._picture = widgets.HTML()
        self._trials = widgets.HTML()
        head = widgets.HTML("<strong>learning rate</strong>, on a log scale")
        track = widgets.VBox([self._trials, self.slider, widgets.HTML(f"<div>{_marks()}</div>{_NAMING}")])
        track.add_class("gpt-magic-track")
        left = widgets.VBox([head, track, self._words])
        left.layout.flex = "1 1 260px"
        self.box = widgets.HBox([left, self._picture])
        self.box.add_class("gpt-magic-rate")

    @property
    def words(self) -> str:
        """What is said below the slider, as markup."""
        return str(self._words.value)

    @property
    def tried(self) -> str:
        """The trials of learning rates behind the slider, as markup."""
        return str(self._trials.value)

    def show_trials(self, tried: "Tried") -> None:
        """Show what came of the rates that a run has tried, each where the slider has it."""
        from gpt_magic.notebook.form.pictures import RATES_WIDTH, image, rates_png
        from gpt_magic.notebook.trials import trials_words

        said = f"Held-out loss of the rates that were tried; the diamond was chosen. {trials_words(tried)}"
        picture = image(rates_png(tried, _LOW, _HIGH), said, RATES_WIDTH)
        self._trials.value = f"{picture}<div>held-out loss of the rates tried; \u25c6 was chosen</div>"

    def follow(self, settings: "Settings", rows: int) -> None:
        """Show the rate and the schedule that a run over so many rows would have."""
        from gpt_magic.engine.batching import steps_per_epoch
        from gpt_magic.engine.schedule import learning_rates
        from gpt_magic.notebook.form.pictures import image, schedule_png

        self._set(settings.learning_rate)
        self._field.hint(f"{settings.learning_rate:g}")
        if settings.steps < 2:
            self._picture.value = self._words.value = ""
            return
        steps, rates = learning_rates(settings, steps_per_epoch(rows, settings.rows_per_step))
        words = schedule_words(settings)
        self._words.value = f"<div>{words}</div>"
        self._picture.value = image(schedule_png(steps, rates), words, 340)

    def _set(self, rate: float) -> None:
        self._at = min(max(rate, 10**_LOW), 10**_HIGH)
        self.slider.value = self._at

    def _moved(self, change: Any) -> None:
        # The browser moves a value that was set here to the next step of the slider, and sends it back.
        if abs(math.log10(change["new"] / self._at)) > 0.51 * _STEP:
            self._at = change["new"]
            self._field.type(f"{self._at:.2g}")


def schedule_words(settings: "Settings") -> str:
    """What the picture shows, in a sentence."""
    from gpt_magic.engine.schedule import warmup_steps

    peak, falls = f"{settings.learning_rate:g}", {"linear": "in a straight line", "cosine": "along a cosine"}
    if settings.open_end:
        fall = falls.get(settings.schedule)
        ends = f"then falls {fall} to 0 over one epoch" if fall else "then the run ends"
        return f"The rate rises to {peak} and stays there until the validation rows do no better, {ends}."
    warm = warmup_steps(settings.warmup, settings.steps)
    begins = f"rises over {plural(warm, 'step')} to {peak}" if warm else f"is {peak}"
    then = f", then falls {falls[settings.schedule]} to 0" if settings.schedule in falls else " and stays there"
    return f"The rate {begins}{then}, {plural(settings.steps, 'step')} in all."


def _marks() -> str:
    """The powers of ten, each in the middle below its place on the slider."""
    marks = range(math.ceil(_LOW), math.floor(_HIGH) + 1)
    return "".join(f"<span>1e{mark}</span>" for mark in marks)
