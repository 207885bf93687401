"""A tuned model on disk: what transformers can load, plus a record of the run and a model card."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt_magic.engine.events import Evaluated, Sampled, Stepped
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.errors import DataError, ModelError, markdown
from gpt_magic.models.find import shipped
from gpt_magic.models.load import quiet
from gpt_magic.recorder import Progress, tried_from
from gpt_magic.summary import Lengths, Preflight, Scores, Summary
from gpt_magic.tuned import KINDS, TunedModel

_RECORD = "gpt_magic.json"
_CARD = "README.md"
_FORMAT = 1
_HUB_ID = re.compile(r"(?=.{1,96}$)\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # as long as the hub allows


def save(tuned: TunedModel, folder: str | Path) -> Path:
    """Write model, tokenizer, record and model card into ``folder``, which is made when it is not there.

    Raises:
        DataError: the path is a file, or a folder with another README.md.
    """
    path = Path(folder).expanduser()
    if path.is_file():
        raise DataError(f"cannot save into '{path}': it is a file, give a folder")
    if (path / _CARD).exists() and not (path / _RECORD).exists():
        raise DataError(f"cannot save into '{path}': it has a {_CARD} of its own; give a new folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with quiet():
            tuned.model.save_pretrained(path)
            tuned.tokenizer.save_pretrained(path)
        (path / _RECORD).write_text(json.dumps(_record(tuned), ensure_ascii=False, indent=1), encoding="utf-8")
        (path / _CARD).write_text(model_card(tuned), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot save into '{path}': {error.strerror or error}") from error
    return path


def load(folder: str | Path) -> TunedModel:
    """Load what `TunedModel.save` wrote.

    Raises:
        ModelError: the folder is not there, was not written by gpt_magic, or is damaged.
    """
    path = Path(folder).expanduser()
    if not (path / _RECORD).is_file():
        what = f"the folder has no {_RECORD}, so gpt_magic did not write it" if path.is_dir() else "no such folder"
        raise ModelError(f"cannot load '{path}': {'this is a file, give its folder' if path.is_file() else what}")
    try:
        record = json.loads((path / _RECORD).read_text(encoding="utf-8"))
        if record["format"] > _FORMAT:
            raise ModelError(f"cannot load '{path}': a newer gpt_magic wrote it: upgrade gpt_magic")
        kind = KINDS[record["task"]]
        known = _known(record, kind)
        auto_class = kind.auto_class_of(record)
    except (ValueError, TypeError, KeyError):
        raise ModelError(f"cannot load '{path}': its {_RECORD} is damaged; save the model again") from None
    model, tokenizer = _model_and_tokenizer(path, auto_class)
    return kind(model=model, tokenizer=tokenizer, **known)


def model_card(tuned: TunedModel) -> str:
    """The README.md of a saved model, with the metadata block that model hubs read."""
    from gpt_magic.notebook.cards import card_text

    base = tuned.options.get("base")
    pipeline, does, limits = tuned.card_words()
    auto_class = tuned.auto_class_of(vars(tuned))
    front = ["---", "library_name: transformers", f"pipeline_tag: {pipeline}", "tags: [gpt_magic]"]
    if isinstance(base, str) and _HUB_ID.fullmatch(base) and base not in shipped() and not Path(base).exists():
        front.append(f"base_model: {json.dumps(base)}")
    return "\n".join(
        [
            *front,
            "---",
            "",
            f"# {markdown(tuned.report.title)}",
            "",
            *does,
            "",
            "```python",
            "import gpt_magic",
            'tuned = gpt_magic.load("this folder")        # with metrics, history and all that it can do',
            f"from transformers import {auto_class}",
            f'model = {auto_class}.from_pretrained("this folder")  # the plain model',
            "```",
            "",
            "## The run",
            "",
            *("    " + line for line in card_text(tuned.summary).splitlines()),
            "",
            "## Limits",
            "",
            *limits,
            "",
        ]
    )


def _model_and_tokenizer(path: Path, auto_class: str) -> tuple[Any, Any]:
    import transformers
    from safetensors import SafetensorError

    try:
        with quiet():
            here = {"local_files_only": True, "trust_remote_code": False}
            model = getattr(transformers, auto_class).from_pretrained(path, use_safetensors=True, **here)
            return model.eval(), transformers.AutoTokenizer.from_pretrained(path, **here)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot load '{path}': {str(error).strip().splitlines()[0]}") from error


def _record(tuned: TunedModel) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "task": tuned.kind or tuned.task,
        **{name: getattr(tuned, name) for name in tuned.kept},
        "columns": tuned.columns,
        "max_length": tuned.max_length,
        "packed": tuned.hidden is hidden_packed,
        "options": tuned.options,
        "metrics": tuned.metrics,
        "report": asdict(tuned.report),
        "summary": asdict(tuned.summary),
        "progress": asdict(tuned.progress),
    }


def _known(record: dict[str, Any], kind: type[TunedModel]) -> dict[str, Any]:
    """The fields of a `TunedModel` beside its model and tokenizer."""
    own = [name for name in kind.kept if name in record or not hasattr(kind, name)]  # else the default, of older files
    return {
        **{name: record[name] for name in (*own, "columns", "max_length", "options", "metrics")},
        "hidden": hidden_packed if record["packed"] else hidden_padded,
        "report": _preflight(record["report"]),
        "summary": _summary(record["summary"]),
        "progress": _progress(record["progress"]),
    }


def _preflight(record: dict[str, Any]) -> Preflight:
    lengths = record["lengths"]
    if lengths:
        lengths = Lengths(**{**lengths, "edges": tuple(lengths["edges"]), "counts": tuple(lengths["counts"])})
    return Preflight(**{**record, "facts": _pairs(record["facts"]), "lengths": lengths})


def _summary(record: dict[str, Any]) -> Summary:
    scores = Scores(**{**record["scores"], "rows": _pairs(record["scores"]["rows"])}) if record["scores"] else None
    return Summary(**{**record, "facts": _pairs(record["facts"]), "scores": scores})


def _progress(record: dict[str, Any]) -> Progress:
    steps = tuple(Stepped(**step) for step in record["steps_log"])
    evaluations = tuple(Evaluated(**evaluation) for evaluation in record["evaluations"])
    samples = tuple(Sampled(one["step"], tuple(_pairs(one["texts"]))) for one in record.get("samples", ()))
    tried = tried_from(record["tried"]) if record.get("tried") else None
    return Progress(**{**record, "steps_log": steps, "evaluations": evaluations, "samples": samples, "tried": tried})


def _pairs(items: list[list[Any]]) -> list[tuple[Any, Any]]:
    return [(first, second) for first, second in items]
