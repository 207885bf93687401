"""Runs that were cut go on: in the kernel that began them or in another."""

import glob
from pathlib import Path
from typing import Any

from gpt_magic.errors import DataError, ModelError
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.run_folders import BASE, Place, read_options, resumable, take_place

__all__ = ["resumable", "resume"]


def resume(name: str | None = None) -> Run:
    """A run that goes on where it was cut, not started yet.

    It is the run that was never cut, bit for bit on a CPU: rows, dropout, schedule, best weights and curve go on.

    Args:
        name: what `resumable` calls it; None takes the last that was cut.

    Raises:
        DataError: there is no such run, it is still going on, or its data are not where they were.
        ModelError: its files are damaged.
    """
    place = take_place(name)
    try:
        note = place.note
        options = _options(place, note)
    except BaseException:
        place.release()
        raise
    return Run(options, note["data_name"], note["output"], place)


def _options(place: Place, note: dict[str, Any]) -> Options:
    from gpt_magic.data.frames import read_frame

    values = read_options(note["options"])
    try:
        values |= {name: read_frame(place.path / file) for name, file in note["tables"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot resume {place.name!r}: its table is damaged; delete '{place.path}'") from error
    if note["base"]:
        values["base"] = _base(place.path / BASE)
    for option in ("data", "valid"):
        value = values[option]
        if isinstance(value, str) and Path(value).is_absolute() and not glob.glob(value):  # noqa: PTH207
            raise DataError(f"cannot resume {place.name!r}: {option} = '{value}' is no longer there")
    options = Options()
    options.update(values)
    return options


def _base(path: Path) -> tuple[Any, Any]:
    """The (model, tokenizer) pair that a run was begun with."""
    import transformers

    from gpt_magic.models.load import quiet

    with quiet():
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        kind = getattr(transformers, config.architectures[0])
        model = kind.from_pretrained(path, local_files_only=True, use_safetensors=True)
        return model, transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
