"""A tuned model on disk: what transformers can load, plus a record of the run and a model card."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt_magic.engine.adapters import adapted, base_of, check_peft
from gpt_magic.engine.events import Evaluated, Sampled, Stepped
from gpt_magic.engine.packing import hidden_packed, hidden_padded
from gpt_magic.errors import DataError, ModelError, markdown, short
from gpt_magic.models.find import SHIPPED, find_base, shipped
from gpt_magic.models.load import quiet
from gpt_magic.recorder import Progress, tried_from
from gpt_magic.summary import Lengths, Preflight, Scores, Summary
from gpt_magic.tuned import KINDS, TunedModel

_RECORD = "gpt_magic.json"
_CARD = "README.md"
_FORMAT = 1
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_MODEL_FILES = ("config.json", "model*.safetensors*")
_HUB_ID = re.compile(r"(?=.{1,96}$)\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # as long as the hub allows


def save(tuned: TunedModel, folder: str | Path) -> Path:
    """Write model, tokenizer, record and model card into ``folder``, which is made when it is not there.

    Raises:
        DataError: the path is empty, a file, or a folder with another README.md or adapter.
    """
    from safetensors import SafetensorError

    path = _folder(folder)
    if path.is_file():
        raise DataError(f"cannot save into '{path}': it is a file, give a folder")
    if (path / _CARD).exists() and not (path / _RECORD).exists():
        raise DataError(f"cannot save into '{path}': it has a {_CARD} of its own; give a new folder")
    if (path / _ADAPTER_FILES[0]).exists() and not (path / _RECORD).exists():
        raise DataError(f"cannot save into '{path}': it has an adapter of its own; give a new folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        _clear(path, _MODEL_FILES if adapted(tuned.model) else _ADAPTER_FILES)
        with quiet():
            tuned.model.save_pretrained(path)
            tuned.tokenizer.save_pretrained(path)
        (path / _RECORD).write_text(json.dumps(_record(tuned), ensure_ascii=False, indent=1), encoding="utf-8")
        (path / _CARD).write_text(model_card(tuned), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot save into '{path}': {getattr(error, 'strerror', None) or error}") from error
    return path


def _folder(name: str | Path) -> Path:
    """A path; ``Path("")`` would be the folder here.

    Raises:
        DataError: it is none.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        raise DataError(f"{short(name)} names no folder: give its path, such as 'clf'")
    return Path(name).expanduser()


def _plain(tuned: TunedModel, auto_class: str) -> list[str]:
    """Lines of Python that load the plain model."""
    if not adapted(tuned.model):
        return [f'model = {auto_class}.from_pretrained("this folder")  # the plain model']
    shape = tuned.model.config
    head = f", num_labels={shape.num_labels}, pad_token_id={shape.pad_token_id}" if "CausalLM" not in auto_class else ""
    return [
        "from peft import PeftModel",
        f"base = {auto_class}.from_pretrained({_adapter(tuned.model)['base']!r}{head})  # where it is on this machine",
        'model = PeftModel.from_pretrained(base, "this folder")  # the plain model with the adapter',
    ]


def _clear(path: Path, patterns: Sequence[str]) -> None:
    """Remove what an earlier model of the other kind left: transformers would take the two for one."""
    if (path / _RECORD).is_file():
        for file in (file for pattern in patterns for file in path.glob(pattern)):
            file.unlink()


def load(folder: str | Path) -> TunedModel:
    """Load what `TunedModel.save` wrote.

    Raises:
        ModelError: the folder is not there, was not written by gpt_magic, or is damaged; or it is an adapter, and
            its base is not found or peft is not installed.
        DataError: the path is empty.
    """
    path = _folder(folder)
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
    model, tokenizer = _model_and_tokenizer(path, auto_class, record.get("adapter"))
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
            *_plain(tuned, auto_class),
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


def _model_and_tokenizer(path: Path, auto_class: str, adapter: dict[str, Any] | None) -> tuple[Any, Any]:
    import transformers
    from safetensors import SafetensorError

    auto, here = getattr(transformers, auto_class), {"local_files_only": True, "trust_remote_code": False}
    if adapter is not None:
        check_peft()
        source = find_base(adapter["base"]).source
    try:
        with quiet():
            if adapter is None:
                model = auto.from_pretrained(path, use_safetensors=True, **here)
            else:
                shape = transformers.AutoConfig.for_model(**adapter["config"])
                model = auto.from_pretrained(
                    source, config=shape, use_safetensors=True, ignore_mismatched_sizes=True, **here
                )
                model.load_adapter(str(path))
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
        **({"adapter": _adapter(tuned.model)} if adapted(tuned.model) else {}),
        "options": tuned.options,
        "metrics": tuned.metrics,
        "report": asdict(tuned.report),
        "summary": asdict(tuned.summary),
        "progress": asdict(tuned.progress),
    }


def _adapter(model: Any) -> dict[str, Any]:
    """Where the base of an adapter is found, and what its config is with the head that the adapter brings."""
    base = base_of(model)
    shipped_as = next((name for name in shipped() if base == str(SHIPPED / name)), base)
    return {"base": shipped_as, "config": json.loads(model.config.to_json_string(use_diff=False))}


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
    read = {"steps_log": steps, "evaluations": evaluations, "samples": samples, "tried": tried}
    return Progress(**{**record, **read, "warnings": tuple(record.get("warnings", ()))})


def _pairs(items: list[list[Any]]) -> list[tuple[Any, Any]]:
    return [(first, second) for first, second in items]
