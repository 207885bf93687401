"""Keeping a run while it goes on, so that it can be taken up where it was cut, also after its kernel was killed."""

import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpt_magic.data.frames import write_frame
from gpt_magic.engine import ragged
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.checkpoint import Checkpoints
from gpt_magic.engine.events import Warned
from gpt_magic.engine.parts import trained
from gpt_magic.errors import DataError
from gpt_magic.models.find import as_pair
from gpt_magic.models.load import quiet
from gpt_magic.options import Options
from gpt_magic.recorder import Recorder
from gpt_magic.run_folders import BASE, CHECKPOINT, DATA_ENDING, Place, folder, new_place, write_options
from gpt_magic.store import FOLDER, fingerprint, said_bytes

if TYPE_CHECKING:
    import pandas as pd

FIRST_SECONDS = 10.0  # of training before the first checkpoint: a shorter run leaves no trace on the disk
_KERNEL_SECONDS = 3 * 3600.0  # that a kernel is taken to live on average
_BYTES_A_SECOND = 200e6  # of a slow disk, until the first checkpoint has measured it
_RESERVE = 2**28  # bytes that a disk keeps free
_PIECE = 10_000  # rows hashed at a time


@dataclass
class Origin:
    """What a run was begun from, all that its folder must hold to go on without the notebook.

    Attributes:
        name: what the folder is to be called.
        title: as in the pre-flight.
        data_name, output: see `run.Run`.
        options: the run's.
        columns: role -> column, as they were settled.
        task: as it was settled.
        classes: what the model tells apart; empty for most tasks.
        tables: those that are objects in memory, by their options.
        train, valid: the rows as tokens.
        keeps: whether what the frozen blocks make of the rows is kept.
    """

    name: str
    title: str
    data_name: str | None
    output: str | None
    options: Options
    columns: Mapping[str, str]
    task: str
    classes: str
    tables: "Mapping[str, pd.DataFrame]"
    train: Encoded
    valid: Encoded
    keeps: bool = False

    def fingerprint(self) -> str:
        """The same for the same rows, in the same order, only: tokens, what is expected of them, and classes."""
        parts = [self.classes]
        for rows in (self.train, self.valid):
            for kind in (rows.ids, rows.scored, rows.targets):
                for start in range(0, len(kind), _PIECE):
                    some = kind[start : start + _PIECE]
                    parts.append(fingerprint(ragged.lengths(some).tobytes(), ragged.flat(some).tobytes()))
        return fingerprint(*parts)

    @property
    def size(self) -> int:
        """About the bytes of what is written once: the base where it is an object, and the tables' columns in use."""
        base = self.options.base
        weights = [] if base is None or isinstance(base, str | Path) else as_pair(base)[0].parameters()
        used = (table[_columns(self.columns, table)] for table in self.tables.values())
        sizes: list[int] = [weight.numel() * weight.element_size() for weight in weights]
        return sum(sizes) + sum(int(table.memory_usage(deep=True).sum()) for table in used)


@dataclass
class Keeping(Checkpoints):
    """The checkpoints of one run; nothing is written before the first.

    Attributes:
        origin: what it was begun from.
        recorder: its steps and evaluations go into the checkpoint.
        place: its folder, None before there is one.
        resumed: what the card says where the run was cut before; empty where it was not.
        passes: how its rows were cut into forward passes then, by the names of `engine.job.Passes`; empty otherwise.
        problem: why it cannot be kept, in one line; empty where it can.
        size: bytes of a checkpoint, as far as one can say.
    """

    origin: Origin
    recorder: Recorder
    place: Place | None = None
    resumed: str = ""
    passes: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    size: int = 0
    _cost: float = field(default=0.0, init=False)  # seconds that the last one took

    def __post_init__(self) -> None:
        super().__init__(self.place.path if self.place is not None else folder(), FIRST_SECONDS)

    def due(self) -> bool:
        """Whether one is worth its time: the first as early as the length of the run allows.

        Where writing takes ``c`` seconds and a kernel lives ``m``, writing and what a cut loses cost least together
        every ``sqrt(2 c m)`` seconds (Young 1974, doi 10.1145/361147.361115); a shorter run does best without any.
        """
        waited = time.monotonic() - self._saved
        if waited < self.every:
            return False
        cost = self._cost or self.size / _BYTES_A_SECOND
        interval = math.sqrt(2 * cost * _KERNEL_SECONDS)
        if waited >= interval:
            return True
        if self._cost:
            return False
        left = self.recorder.progress().left
        return left is not None and waited + left >= interval

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; where that fails, the run goes on, says why it is not kept, and tries again later."""
        try:
            if self.place is None:
                self._settle()
            began = time.monotonic()  # what was written once is no cost of the next
            self._make_room(self.size)
            log = self.recorder.log()
            steps = torch.tensor(log.pop("steps"), dtype=torch.float64)
            super().save({**state, "log": {"steps": steps, "rest": json.dumps(log, default=_plain)}})
            assert self.place is not None
            self.place.write(step=state["step"], steps=self.recorder.progress().steps)
            self._cost = max(time.monotonic() - began, 1e-3)
            if self.problem:
                self.recorder(Warned(f"from step {state['step']:,} on it is kept to be resumed"))
            self.problem = ""
        except Exception as failure:  # torch, safetensors and Arrow each have their own kind for a full disk
            what = "its last steps are not kept" if self.kept_in is not None else "not kept"
            if self.kept_in is None:
                self.end()
            line = f"{what} to be resumed: {' '.join(str(failure).split())[:300]}"
            if not self.problem:
                self.recorder(Warned(line))
            self.problem, self._saved = line, time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, None when there is none; puts the random numbers back where they were.

        Raises:
            DataError: the rows are not those that the run began with.
            ModelError: the file is damaged.
        """
        return super().load() if self.place is not None else None

    def restore_log(self) -> bool:
        """Give the recorder what it had recorded, before the run goes on; whether there is a checkpoint to go on from.

        Raises:
            DataError, ModelError: as `load`.
        """
        path = self.folder / CHECKPOINT
        if self.place is None or not path.exists():
            return False
        note = self.place.note
        if note["rows"] != self.origin.fingerprint():
            raise DataError(
                f"cannot resume {self.place.name!r}: the data are not those that it began with; bring them back as "
                "they were, or train anew"
            )
        state = self._read(mmap=True)
        log = {**json.loads(state["log"]["rest"]), "steps": state["log"]["steps"].tolist()}
        self.recorder.restore(log)
        self.passes = state.get("passes", {})
        when = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        self.resumed = f"from step {state['step']:,}, kept at {when:%Y-%m-%d %H:%M}"
        changed = [f"begun with {note['versions']}"] if note["versions"] != versions() else []
        if note.get("keeps", self.origin.keeps) != self.origin.keeps:
            now = "kept" if self.origin.keeps else "computed whenever a row is read"
            changed.append(f"what the frozen blocks make of the rows is now {now}")
        if changed:
            self.resumed += f"; {' and '.join(changed)}, so not bit for bit what it would have been"
        return True

    @property
    def kept_in(self) -> Path | None:
        """The folder with a checkpoint to go on from; None without one."""
        return self.folder if self.place is not None and (self.folder / CHECKPOINT).exists() else None

    def said(self) -> str:
        """Where it is kept and how to go on or be rid of it; empty where it is not."""
        if self.place is None or self.kept_in is None:
            return ""
        how = f"%finetune --resume {self.place.name} goes on"
        if only_here := self.place.note["only_here"]:
            how = f"run.resume() goes on, in this kernel only, as {only_here}"
        where = f"{said_bytes(self.place.size())} in {self.folder}, its data among them"
        return f"{how}; {where}; gpt_magic.cache().clear() deletes it"

    def end(self) -> None:
        """Leave nothing: the run ended well, or there is nothing to go on from."""
        if self.place is not None:
            self.place.remove()
            self.place = None

    def _settle(self) -> None:
        """Make the folder with all but the checkpoint."""
        self._make_room(self.size + self.origin.size)
        place = new_place(self.origin.name)
        try:
            self._fill(place)
        except BaseException:
            place.remove()
            raise
        self.place, self.folder = place, place.path

    def _fill(self, place: Place) -> None:
        origin, only_here = self.origin, ""
        given = origin.options.values()
        base, files = given.pop("base"), {}
        try:
            for name, table in origin.tables.items():
                files[name] = f"{name}{DATA_ENDING}"
                write_frame(table, _columns(origin.columns, table), place.path / files[name])
                given[name] = None
            if base is None or isinstance(base, str | Path):
                given["base"] = base
            else:
                _save_base(base, place.path / BASE)
            values = write_options({**given, **_settled(origin)})
        except TypeError as failure:
            only_here, values, files = str(failure), {}, {}
        place.write(
            title=origin.title,
            data_name=origin.data_name,
            output=origin.output,
            options=values,
            tables=files,
            base="" if isinstance(base, str | Path) else BASE,
            rows=origin.fingerprint(),
            only_here=only_here,
            versions=versions(),
            keeps=origin.keeps,
            began=datetime.now(UTC).isoformat(timespec="seconds"),
            step=0,
            steps=0,
        )

    def _make_room(self, need: int) -> None:
        where = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(where).free
        if free < need + _RESERVE:  # the old one stands until the new one does
            raise DataError(
                f"it takes about {said_bytes(need)} in '{self.folder}', whose disk has {said_bytes(free)} free; "
                f"free some, or set the environment variable {FOLDER} to a folder on another disk"
            )


def checkpoint_bytes(model: torch.nn.Module) -> int:
    """About what a checkpoint takes: trained weights, AdamW's two moments, and the best weights so far."""
    return 4 * sum(weight.numel() * weight.element_size() for _, weight in trained(model))


def versions() -> str:
    """The versions that a result depends on, in one line."""
    import transformers

    import gpt_magic

    return ", ".join(f"{module.__name__} {module.__version__}" for module in (gpt_magic, torch, transformers))


def _columns(columns: Mapping[str, str], table: "pd.DataFrame") -> list[str]:
    return [column for column in dict.fromkeys(columns.values()) if column in table.columns]


def _settled(origin: Origin) -> dict[str, Any]:
    """The options as the data had settled them, for a table that has only the columns in use."""
    from gpt_magic.data.columns import SECOND_TEXT

    roles = dict(origin.columns)
    if SECOND_TEXT in roles:
        roles["text"] = [roles["text"], roles.pop(SECOND_TEXT)]  # type: ignore[assignment]
    split = {"split": None} if "data" in origin.tables else {}
    return {"task": origin.task, **roles, **split}


def _save_base(base: Any, path: Path) -> None:
    model, tokenizer = as_pair(base)
    with quiet():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)


def _plain(value: Any) -> Any:
    return value.tolist()  # of numpy's numbers
