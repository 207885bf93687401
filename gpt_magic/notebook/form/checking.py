"""What a run would do, looked at while a form is filled in: in a thread, and only of what was typed last."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpt_magic.data.sources import read_table
from gpt_magic.engine.events import Phase, StopRequested
from gpt_magic.errors import GptMagicError, in_one_line
from gpt_magic.options import Options, find, table

if TYPE_CHECKING:
    import pandas as pd

    from gpt_magic.prepare import Prepared

# What neither tokens nor, with the second line, the reading and checking of a table depend on. An option that is not
# named here is taken to matter.
_FOR_TRAINING = (
    *("dropout", "epochs", "max_steps", "batch_size", "accumulate", "learning_rate", "optimizer", "schedule", "warmup"),
    *("weight_decay", "grad_clip", "log_every", "baselines", "calibrate", "device", "precision", "threads", "output"),
    *("quiet", "dry_run"),
)
_FOR_TOKENS = ("base", "repeat", "samples", "sample_tokens", "max_length", "truncate")
PAUSE_SECONDS = 0.35  # without a change, before anything is looked at
Check = Callable[[], None]


@dataclass
class Looked:
    """What was found of some options.

    Attributes:
        options: these.
        frame: the table; None when it cannot be read.
        task: the task that the columns mean; empty when they mean none.
        roles: role -> column in use.
        found: the roles that were found by name.
        prepared: what a run would begin with, its pre-flight among it; None when it could not begin.
        error: why not.
    """

    options: Options
    frame: "pd.DataFrame | None" = None
    task: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    found: tuple[str, ...] = ()
    prepared: "Prepared | None" = None
    error: GptMagicError | None = None


class Newest:
    """Does one thing at a time in a thread of its own: the last that was asked for; what is not begun is forgotten.

    Args:
        work: is given what was asked for and a function that raises `StopRequested` when something newer is.
    """

    def __init__(self, work: Callable[[Any, Check], None], pause: float = PAUSE_SECONDS) -> None:
        self._work, self._pause = work, pause
        self._wake = threading.Condition()
        self._asked: Any = None
        self._at = 0.0
        self._number = 0
        self._busy = self._closed = False
        self._thread: threading.Thread | None = None

    def ask(self, what: Any) -> None:
        """Ask for the work; returns at once."""
        with self._wake:
            if self._closed:
                return
            self._asked, self._at = what, time.monotonic() + self._pause
            self._number += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="gpt_magic form", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def forget(self) -> None:
        """End what is being done, and begin nothing until something is asked for."""
        with self._wake:
            self._asked = None
            self._number += 1

    def idle(self, seconds: float) -> bool:
        """Wait until all that was asked for is done; whether it is."""
        with self._wake:
            return self._wake.wait_for(lambda: self._asked is None and not self._busy, seconds)

    def close(self) -> None:
        """Begin nothing more, and end what is being done."""
        with self._wake:
            self._closed = True
            self.forget()
            self._wake.notify_all()

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                while not self._closed and (self._asked is None or time.monotonic() < self._at):
                    self._wake.wait(None if self._asked is None else self._at - time.monotonic())
                if self._closed:
                    return
                what, self._asked, number, self._busy = self._asked, None, self._number, True
            try:
                self._work(what, lambda number=number: self._check(number))  # type: ignore[misc]
            except StopRequested:
                continue

    def _check(self, number: int) -> None:
        if number != self._number:
            raise StopRequested


class Looker:
    """Looks at options, and keeps what an earlier look has read and checked as long as it stands."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Any, Any]] = {}  # what was read, and for which options it holds

    def __call__(self, options: Options, name: str | None, say: Callable[[str], None], check: Check) -> Looked:
        """All that can be found out without training.

        Args:
            name: how the user calls the data.
            say: told what is being done.
            check: may raise to end the work.
        """
        looked = Looked(options)
        try:
            self._look(looked, name, say, check)
        except StopRequested:
            raise
        except Exception as failure:  # a form says what is wrong, whatever it is
            looked.error = in_one_line(failure, "this cannot be looked at")
        return looked

    def _look(self, looked: Looked, name: str | None, say: Callable[[str], None], check: Check) -> None:
        def tell(what: str) -> None:
            check()
            say(what)

        options = looked.options
        tell("reading the data")
        known = self._kept("table", _sight(options, ["data", "split"]), lambda: _tables(options, tell))
        looked.frame = known
        from gpt_magic.data.read import choose_task, read_data

        check()
        looked.task = choose_task(options, known)
        tell("checking the data")
        data = self._kept(
            "data", _sight(options, _all_but(*_FOR_TRAINING, *_FOR_TOKENS)), lambda: read_data(options, tell)
        )
        looked.roles, looked.found = data.roles.columns, data.roles.found
        tell("importing torch and transformers")
        from gpt_magic.run import import_libraries

        import_libraries()
        from gpt_magic.prepare import encode, prepare

        def encoding(*arguments: Any) -> Any:
            task, rows = self._kept("tokens", _sight(options, _all_but(*_FOR_TRAINING)), lambda: encode(*arguments))
            task.options = arguments[0]
            return task, rows

        def emit(event: Any) -> None:
            if isinstance(event, Phase):
                tell(event.name)

        looked.prepared = prepare(options.copy_with(dry_run=True), data, name, emit, check, encoding)

    def _kept(self, what: str, sight: Any, make: Callable[[], Any]) -> Any:
        if what in self._read and self._read[what][0] == sight:
            return self._read[what][1]
        made = make()
        self._read[what] = (sight, made)
        return made


def _tables(options: Options, say: Callable[[str], None]) -> "pd.DataFrame":
    if options.data is None:
        from gpt_magic.errors import DataError

        raise DataError("no data: name a DataFrame, as in gpt_magic.form(reviews), or say data = ...")
    return read_table(options.data, say=say, split=options.split)


def _all_but(*names: str) -> list[str]:
    return [name for name in table() if name not in names]


def _sight(options: Options, names: Iterable[str]) -> list[Any]:
    """What tells that options are the same as before, and a table not another one."""
    values = {name: getattr(options, name) for name in names}
    return [_seen(value) if find(name).metadata.get("kind") == "table" else value for name, value in values.items()]


def _seen(data: Any) -> Any:
    columns = getattr(data, "columns", None)
    size = len(data) if hasattr(type(data), "__len__") else 0
    return str(data) if isinstance(data, str) else (id(data), size, None if columns is None else [*map(str, columns)])
