"""The learning rates that were tried, as a result shows them."""

from dataclasses import dataclass

from gpt_magic.engine.events import Tried


@dataclass(frozen=True, repr=False)
class Trials(Tried):
    """What came of trying, with a picture in notebooks and a table elsewhere."""

    def __repr__(self) -> str:
        from gpt_magic.notebook.trials import trials_text

        return trials_text(self)

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.trials import trials_html

        return trials_html(self)
