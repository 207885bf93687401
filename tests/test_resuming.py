"""A run that was cut goes on as if it had never been: stopped, failed, or with its kernel killed."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from transformers import GPT2LMHeadModel

import gpt_magic
from gpt_magic import fit, keeping, run_folders, store
from gpt_magic.errors import DataError, ModelError, TrainingError
from gpt_magic.options import Options
from gpt_magic.resuming import resumable, resume
from gpt_magic.run import Run
from gpt_magic.tasks import baselines
from tests.films import base, films

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def elsewhere(folder: Path, *how: str, killed: bool = False, **options: Any) -> dict[str, Any]:
    """`tests.cut` in a process of its own; what it wrote, nothing where it was killed."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "CUT_OPTIONS": json.dumps(options)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.cut", str(folder), *how],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == (-9 if killed else 0), done.stderr
    said: dict[str, Any] = {} if killed else json.loads((folder / "said.json").read_text())
    return said


def begun(data: Any = None, **options: Any) -> Run:
    settings = Options()
    given = {
        "base": base(),
        "max_steps": 12,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "baselines": False,
        "dropout": 0.1,
    }
    settings.update({"data": films() if data is None else data, **given, **options})
    return Run(settings, "films", "clf")


def stopped(run: Run, step: int, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run, stopped at the end of a step."""
    from gpt_magic.engine import step as engine_step

    real = engine_step.clip

    def clip(*args: Any) -> float:
        if args[2] == step:
            run.control.stop.set()
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(engine_step, "clip", clip)
        return finished(run)


def finished(run: Run) -> Run:
    run.start()
    assert run.done.wait(120)
    return run


def same(one: Any, other: Any) -> bool:
    """Whether two results are the same to the bit: weights, history, metrics."""
    first, second = one.model.state_dict(), other.model.state_dict()
    weights = all(torch.equal(first[name], second[name]) for name in first)
    history = one.history.drop(columns="seconds").equals(other.history.drop(columns="seconds"))
    metrics = [{k: v for k, v in result.metrics.items() if k != "train_seconds"} for result in (one, other)]
    return weights and history and metrics[0] == metrics[1]


CUTS = [[("evaluation", "3")], [("step", "14"), ("evaluation", "1")], [("step", "14")]]


@pytest.mark.parametrize(
    ("cuts", "options"),
    [
        (CUTS[0], {}),
        (CUTS[1], {"epochs": "auto"}),
        (CUTS[2], {"train": "top:1"}),
        (CUTS[2], {"train": "head", "batch_size": "auto"}),
        (CUTS[2], {"train": "lora"}),
        (CUTS[2], {"optimizer": "muon", "learning_rate": "auto"}),
    ],
    ids=str,
)
def test_a_killed_kernel_costs_nothing_but_time(
    cuts: list[tuple[str, str]], options: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    """SIGKILL in mid-epoch and inside an evaluation; then another process goes on, bit for bit."""
    whole = elsewhere(tmp_path / "whole", "new", **options)
    assert not list((cache / "runs").iterdir())
    for number, how in enumerate(cuts):
        elsewhere(tmp_path / "cut", "resume" if number else "new", *how, killed=True, **options)
    (kept,) = resumable()
    assert (kept.name, kept.title) == ("clf", "classify · GPT2LMHeadModel · films")
    assert 3 <= kept.step <= 15
    assert kept.size == sum(file.stat().st_size for file in (cache / "runs").rglob("*") if file.is_file())
    again = elsewhere(tmp_path / "cut", "resume")
    first, second = (torch.load(tmp_path / name / "weights.pt") for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again["facts"].pop("resumed").startswith(f"from step {kept.step:,}, kept at 20")
    for said in (whole, again):
        del said["facts"]["time"], said["facts"]["memory"]  # which says what is free now
        said["facts"].pop("batch", None)  # with "auto" it says why: "as before it was cut"
        said["facts"]["columns"] = said["facts"]["columns"].replace(" (found by name)", "")
    assert again == whole
    assert whole["best"]
    assert not list((cache / "runs").iterdir())  # nothing is left of a run that ended well


def test_a_stopped_run_goes_on_in_the_same_kernel(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    whole = finished(begun())
    run = stopped(begun(), 5, monkeypatch)
    said = dict(run.summary.facts)["to go on"]
    assert said.startswith("%finetune --resume clf goes on; ")
    assert str(cache / "runs" / "clf") in said
    assert "gpt_magic.cache().clear()" in said
    again = stopped(run.resume(), 9, monkeypatch)
    last = finished(again.resume())
    assert last.error is None
    assert dict(last.summary.facts)["resumed"].startswith("from step 9, kept at ")
    assert same(whole.result, last.result)
    assert resumable() == []
    with pytest.raises(DataError, match="the run has ended: there is nothing to resume"):
        last.resume()


def test_what_makes_a_run_go_on_otherwise_than_before_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(begun(base=base(n_layer=2), train="top:1", dropout=0), 5, monkeypatch)
    monkeypatch.setattr(store, "lacks_room", lambda _: "the disk is full")
    monkeypatch.setattr(keeping, "versions", lambda: "torch 9")
    last = finished(run.resume())
    assert last.error is None
    said = dict(last.summary.facts)["resumed"]
    assert "; begun with gpt_magic " in said
    how = "what the frozen blocks make of the rows is now computed whenever a row is read"
    assert said.endswith(f" and {how}, so not bit for bit what it would have been")


def test_a_run_that_failed_goes_on_from_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt_magic.engine import step as engine_step

    whole = finished(begun())
    real = engine_step.clip
    monkeypatch.setattr(keeping.Keeping, "due", lambda self: self.recorder.progress().step % 4 == 0)

    def clip(*args: Any) -> float:
        if args[2] == 7:
            raise RuntimeError("the cat sat on the switch")
        return real(*args)

    monkeypatch.setattr(engine_step, "clip", clip)
    run = finished(begun())
    assert isinstance(run.error, TrainingError)
    assert resumable()[0].step == 4
    monkeypatch.setattr(engine_step, "clip", real)
    last = finished(run.resume())
    assert dict(last.summary.facts)["resumed"].startswith("from step 4, kept at ")
    assert same(whole.result, last.result)


def test_without_a_checkpoint_it_begins_again(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    whole = finished(begun())
    assert not (cache / "runs").exists()  # a short run leaves no trace
    run = begun()
    run.start()
    run.stop()
    assert run.done.wait(60)
    last = finished(run.resume())
    assert same(whole.result, last.result)
    assert "resumed" not in dict(last.summary.facts)


@pytest.mark.parametrize("options", [{"baselines": True}, {"valid_fraction": 0}], ids=["baselines", "last step"])
def test_a_stop_after_all_is_trained_leaves_nothing_to_resume(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(**options)
    monkeypatch.setattr(baselines, "tfidf", lambda *_: run.control.stop.set())
    assert stopped(run, 0 if "baselines" in options else 12, monkeypatch).state == "done"
    assert run.control.stop.is_set()
    with pytest.raises(DataError, match="the run has ended: there is nothing to resume"):
        run.resume()


def test_a_run_that_was_left_during_the_baselines_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finished(begun())
    monkeypatch.setattr(keeping.Keeping, "due", lambda self: self.recorder.progress().step == 4)
    run = begun(baselines=True)
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "tfidf", lambda *_: run.abandon())
        finished(run)
    assert (run.result, run.state) == (None, "stopped")
    last = finished(run.resume())
    assert dict(last.summary.facts)["resumed"].startswith("from step 4, ")
    assert all(map(torch.equal, *(one.result.model.state_dict().values() for one in (whole, last))))


def test_rows_at_a_time_stay_as_they_were_before_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """``batch_size = "auto"`` is not measured again: timings could settle on others, and the card would name those."""

    def settled_on(rows: int, why: str) -> Any:
        def settle(job: Any, _: Any) -> str:
            job.passes.rows = rows
            return why

        return settle

    monkeypatch.setattr(fit, "settle_rows_at_once", settled_on(4, "measured"))
    whole = finished(begun(batch_size="auto"))
    run = stopped(begun(batch_size="auto"), 5, monkeypatch)
    assert dict(run.summary.facts)["batch"].startswith(
        "auto: 16 rows a step, at most 4 at a time (measured); batch_size = 4"
    )
    monkeypatch.setattr(fit, "settle_rows_at_once", settled_on(8, "measured again"))
    last = finished(run.resume())
    assert dict(last.summary.facts)["batch"] == (
        "auto: 16 rows a step, at most 4 at a time (as before it was cut); batch_size = 4, accumulate = 4 "
        "makes the same run"
    )
    assert same(whole.result, last.result)


def test_a_live_run_can_not_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping.Keeping, "due", lambda self: self.recorder.progress().step == 2)
    run = begun(max_steps=2000)
    run.start()
    assert run.resume() is run  # which lets a paused one go on
    while not (run_folders.folder() / "clf" / "checkpoint.pt").exists():
        assert not run.done.wait(0.02)
    assert resumable() == []
    with pytest.raises(DataError, match="there is no run to resume"):
        resume("clf")
    run.stop()
    assert run.done.wait(60)
    assert [one.name for one in resumable()] == ["clf"]


def test_the_door_and_a_path_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    (tmp_path / "data").mkdir()
    films().to_csv(tmp_path / "data" / "films.csv", index=False)
    films().head(20).to_csv(tmp_path / "held.csv", index=False)
    monkeypatch.chdir(tmp_path)
    given = {"data": "data/films.csv", "valid": "held.csv", "base": "scratch", "max_steps": 4}
    whole = finished(begun(**given))
    stopped(begun(**given), 2, monkeypatch)
    assert not list((cache / "runs" / "clf").glob("*.arrow"))  # the file stays where it is
    monkeypatch.chdir(cache)
    tuned = gpt_magic.resume("clf")
    assert same(whole.result, tuned)
    assert tuned.summary.title == whole.summary.title
    assert tuned.summary.name is None  # no variable of that name comes of it


@pytest.mark.parametrize("change", ["a row", "a label"])
def test_data_that_changed_are_one_clear_line(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "films.csv"
    table = films()
    table.to_csv(path, index=False)
    stopped(begun(str(path)), 3, monkeypatch)
    if change == "a row":
        table.iloc[0, 0] += " again"
    else:
        table["sentiment"] = table["sentiment"].replace("good", "glad")
    table.to_csv(path, index=False)
    run = finished(resume())
    assert str(run.error) == (
        "cannot resume 'clf': the data are not those that it began with; bring them back as they were, or train anew"
    )
    films().to_csv(path, index=False)
    assert finished(resume()).error is None


def test_a_file_that_is_gone_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "films.csv"
    films().to_csv(path, index=False)
    stopped(begun(str(path)), 3, monkeypatch)
    path.unlink()
    with pytest.raises(DataError) as caught:
        resume()
    assert str(caught.value) == f"cannot resume 'clf': data = '{path}' is no longer there"
    assert resumable()  # its folder was let go


def test_names_are_told_apart_and_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError) as caught:
        resume()
    assert str(caught.value).startswith("there is no run to resume")
    for step in (2, 3):
        stopped(begun(), step, monkeypatch)
    last, first = resumable()
    assert [(one.name, one.step, one.steps) for one in (first, last)] == [("clf", 2, 12), ("clf-2", 3, 12)]
    assert abs(last.when.timestamp() - datetime.now().astimezone().timestamp()) < 60
    with pytest.raises(DataError) as caught:
        resume("clg")
    assert str(caught.value) == "there is no run 'clg' to resume (did you mean 'clf'?)"
    with pytest.raises(DataError) as caught:
        resume("zebra")
    assert str(caught.value) == "there is no run 'zebra' to resume; there are clf-2, clf"
    assert resume("clf").output == "clf"


def test_the_cache_shows_and_clears_them(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    stopped(begun(), 3, monkeypatch)
    shown = gpt_magic.cache()
    assert shown.runs == 1
    assert shown.runs_size == resumable()[0].size
    assert "1 run, " in repr(shown)
    assert shown.clear().runs == 0
    assert not (cache / "runs" / "clf").exists()


def test_runs_are_removed_when_they_are_old_or_too_many(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    stopped(begun(), 3, monkeypatch)
    old = time.time() - 31 * 86_400
    for path in (cache / "runs" / "clf", *(cache / "runs" / "clf").iterdir()):
        os.utime(path, (old, old))
    stopped(begun(), 4, monkeypatch)
    assert [(one.name, one.step) for one in resumable()] == [("clf", 4)]
    monkeypatch.setenv(store.CAP, "0.000001")
    stopped(begun(), 5, monkeypatch)
    assert [(one.name, one.step) for one in resumable()] == [("clf", 5)]


def no_room(*_: Any, **__: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def cut_short(_: Any, path: Path) -> None:
    path.write_bytes(b"half")
    raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


@pytest.mark.parametrize("why", ["full", "cut short", "no base", "no folder"])
def test_a_run_that_cannot_be_kept_goes_on_and_says_so(why: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(keeping.Keeping, "due", lambda self: not self.problem)
    if why == "full":
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    elif why == "cut short":
        monkeypatch.setattr(torch, "save", cut_short)
    elif why == "no base":
        monkeypatch.setattr(GPT2LMHeadModel, "save_pretrained", no_room)
    else:
        cache.write_text("a file")
    run = finished(begun())
    assert run.error is None
    (said,) = [warning for warning in run.summary.warnings if warning.startswith("not kept to be resumed: ")]
    assert "\n" not in said
    if why == "full":
        assert "whose disk has 1.0 MB free; free some, or set the environment variable GPT_MAGIC_CACHE" in said
    assert "to go on" not in dict(run.summary.facts)
    assert resumable() == []


@pytest.mark.parametrize(
    ("where", "name", "fails"), [(GPT2LMHeadModel, "save_pretrained", no_room), (torch, "save", cut_short)]
)
def test_a_stop_that_cannot_be_kept_hands_the_model_back(
    where: Any, name: str, fails: Any, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(where, name, fails)
    run = stopped(begun(), 5, monkeypatch)
    assert (run.error, run.state) == (None, "stopped")
    assert run.result is not None
    assert run.result.metrics["steps"] == 5
    (said,) = run.summary.warnings
    assert said.startswith("not kept to be resumed: ")
    assert list((cache / "runs").iterdir()) == []  # what could not be made whole takes no room


def test_a_checkpoint_outlives_one_that_fails_after_it(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(keeping.Keeping, "due", lambda self: self.recorder.progress().step == 2)
    save = torch.save
    saved: list[int] = []

    def save_once(state: Any, path: Path) -> None:
        (cut_short if saved else save)(state, path)
        saved.append(state["step"])

    monkeypatch.setattr(torch, "save", save_once)
    run = stopped(begun(), 5, monkeypatch)
    (said,) = run.summary.warnings
    assert said.startswith("its last steps are not kept to be resumed: ")
    assert not list((cache / "runs" / "clf").glob("*.part"))
    assert [one.step for one in resumable()] == [2]
    assert "to go on" in dict(run.summary.facts)


def test_a_run_that_cannot_be_kept_for_a_while_says_so_at_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(keeping.Keeping, "due", lambda self: self.recorder.progress().step in (2, 4, 6))
    save = torch.save
    seen: list[tuple[str, ...]] = []

    def save_third(state: Any, path: Path) -> None:
        seen.append(run.progress().warnings)
        (save if len(seen) == 3 else cut_short)(state, path)

    monkeypatch.setattr(torch, "save", save_third)
    run = begun()
    finished(run)
    first, *others = seen
    assert first == ()
    assert [len(lines) for lines in others] == [1, 1]  # said while it trains, once
    assert run.summary.warnings[0].startswith("not kept to be resumed: PytorchStreamWriter failed")
    assert run.summary.warnings[1] == "from step 6 on it is kept to be resumed"


def test_the_base_and_the_table_need_room_too(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    usage = shutil.disk_usage("/")
    model, tokenizer = base()
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    monkeypatch.setattr(fit, "checkpoint_bytes", lambda _: 10**6)
    free = keeping._RESERVE + 10**6 + weights // 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    run = stopped(begun(base=(model, tokenizer)), 5, monkeypatch)
    (said,) = run.summary.warnings
    assert said.startswith("not kept to be resumed: it takes about 2.1 MB in")
    assert not (cache / "runs").exists()
    free += weights
    run = stopped(begun(base=(model, tokenizer)), 5, monkeypatch)
    assert not run.summary.warnings
    assert [one.step for one in resumable()] == [5]


def test_what_no_file_can_hold_is_kept_for_this_kernel_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_frame(*_: Any) -> None:
        raise TypeError("sentiment holds what cannot be kept in a file (a set)")

    monkeypatch.setattr(keeping, "write_frame", no_frame)
    whole = finished(begun())
    run = stopped(begun(), 5, monkeypatch)
    said = dict(run.summary.facts)["to go on"]
    assert said.startswith(
        "run.resume() goes on, in this kernel only, as sentiment holds what cannot be kept in a file"
    )
    assert resumable() == []
    assert same(whole.result, finished(run.resume()).result)


def test_damaged_folders_are_not_offered_or_one_clear_line(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    stopped(begun(), 3, monkeypatch)
    folder = cache / "runs" / "clf"
    table = (folder / "data.arrow").read_bytes()
    (folder / "data.arrow").write_bytes(table[:100])
    with pytest.raises(ModelError, match=f"cannot resume 'clf': its table is damaged; delete '{folder}'"):
        resume()
    (folder / "data.arrow").write_bytes(table)
    content = (folder / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt").write_bytes(content[: len(content) // 2])
    assert "the file is damaged" in str(finished(resume()).error)
    (folder / "run.json").write_text("{")
    assert resumable() == []


@dataclass
class Clocked:
    """A run's checkpoints by a clock that is set by hand; each takes ``cost`` seconds once it is written."""

    size: float
    cost: float
    left: float | None = None
    now: float = 0.0

    def __post_init__(self) -> None:
        recorder: Any = SimpleNamespace(progress=lambda: SimpleNamespace(left=self.left))
        origin: Any = None
        self.kept = keeping.Keeping(origin, recorder, size=int(self.size))
        self.kept._saved = 0.0

    def due(self, now: float, left: float | None = None) -> bool:
        self.now, self.left = now, left
        return self.kept.due()

    def saved(self) -> None:
        self.kept._saved, self.kept._cost = self.now, self.cost


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(*given: Any) -> Clocked:
        clock = Clocked(*given)
        monkeypatch.setattr(keeping, "time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock

    return made


def test_a_checkpoint_is_worth_its_time(clocked: Any) -> None:
    """Young's interval for a kernel of three hours, a slow disk assumed before the first and measured by it."""
    clock = clocked(100e6, 0.3)  # 0.5 s at first: every 103.9 s, then every 80.5 s
    for now, left, due in (
        (9.0, 1e9, False),
        (11.0, 1e9, True),
        (11.0, 93.0, True),
        (11.0, 92.8, False),
        (11.0, None, False),
        (103.8, None, False),
        (104.0, None, True),
    ):
        assert clock.due(now, left) is due, (now, left)
    clock.saved()
    for now, due in ((184.4, False), (184.6, True)):
        assert clock.due(now, 1e9) is due, now
    clock.kept.problem, clock.kept._saved = "no", 184.6  # it failed: the next try comes when the next one would
    for now, due in ((265.0, False), (265.2, True)):
        assert clock.due(now, 1e9) is due, now


@pytest.mark.parametrize(("open_end", "cost"), [(False, 3.0), (True, 3.0), (True, 10.0)])
def test_gpt2_loses_minutes_at_most(open_end: bool, cost: float, clocked: Any) -> None:
    """25 minutes of training 124 million parameters: two gigabytes a checkpoint."""
    clock, saved = clocked(16 * 124.4e6, cost), [0]
    for now in range(25 * 60):
        if clock.due(now, None if open_end else 25 * 60 - now):
            clock.saved()
            saved.append(now)
    assert saved[1] == (464 if open_end else 10)
    assert max(np.diff([*saved, 25 * 60])) <= 8 * 60
    assert len(saved[1:]) * cost <= 0.025 * 25 * 60


def test_options_with_odd_values_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    given = {
        "class_weights": {1: 2.0, "1": 3.0, np.int64(7): 0.5},
        "template": "a/[b] {text}",
        "samples": ["The moon", "/"],
        "text": ["one", "two"],
        "data": "imdb:train",
        "base": "model",
        "valid": "*.csv",
    }
    read = run_folders.read_options(json.loads(json.dumps(run_folders.write_options(given))))
    assert read == {
        **given,
        "base": str(tmp_path / "model"),
        "valid": str(tmp_path / "*.csv"),
    }
