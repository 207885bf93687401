"""Fine-tune GPT-2 in a notebook: ``%load_ext gpt_magic``, then one ``%%finetune`` cell over a DataFrame."""

from typing import TYPE_CHECKING, Any

from gpt_magic.errors import DataError, GptMagicError, ModelError, OptionError, RunAbandoned, TrainingError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpt_magic import samples
    from gpt_magic.door import finetune, resume
    from gpt_magic.notebook.form import form
    from gpt_magic.run_folders import resumable
    from gpt_magic.saved import load
    from gpt_magic.store import cache
    from gpt_magic.tuned import (
        TunedAnswerer,
        TunedClassifier,
        TunedGenerator,
        TunedModel,
        TunedMultilabel,
        TunedRegressor,
        TunedTagger,
        TunedWords,
    )
    from gpt_magic.untrained import zero_shot

__version__ = "0.1.0"
__all__ = [
    "DataError",
    "GptMagicError",
    "ModelError",
    "OptionError",
    "RunAbandoned",
    "TrainingError",
    "TunedAnswerer",
    "TunedClassifier",
    "TunedGenerator",
    "TunedModel",
    "TunedMultilabel",
    "TunedRegressor",
    "TunedTagger",
    "TunedWords",
    "cache",
    "finetune",
    "form",
    "load",
    "resumable",
    "resume",
    "samples",
    "zero_shot",
]

# Public names by the module they live in; imported when first used, so that %load_ext is instant.
_LAZY = {
    "finetune": "gpt_magic.door",
    "form": "gpt_magic.notebook.form",
    "resume": "gpt_magic.door",
    "resumable": "gpt_magic.run_folders",
    "load": "gpt_magic.saved",
    "cache": "gpt_magic.store",
    "zero_shot": "gpt_magic.untrained",
    **dict.fromkeys([name for name in __all__ if name.startswith("Tuned")], "gpt_magic.tuned"),
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "samples":
        return importlib.import_module("gpt_magic.samples")
    raise AttributeError(f"module 'gpt_magic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, "samples"])


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """What ``%load_ext gpt_magic`` does: register the magics, their completion and the defaults."""
    from gpt_magic.notebook import magics

    magics.load(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """What ``%unload_ext gpt_magic`` does: take everything back."""
    from gpt_magic.notebook import magics

    magics.unload(shell)
