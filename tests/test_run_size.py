"""A run over a table that does not fit: the same bits as in memory, its tokens found again, told as it goes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import gpt_magic
from gpt_magic import store
from gpt_magic.data import readers, streams
from gpt_magic.data.read import read_data
from gpt_magic.engine import collecting
from gpt_magic.options import Options
from gpt_magic.prepare import prepare
from gpt_magic.run import Run
from gpt_magic.tasks import keys, task
from tests.films import base, films

POEMS = [f"Line {number} of a poem, and {'more of it, ' * (number % 7)}then its end." for number in range(60)]


@pytest.fixture
def large(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Whatever is larger than nothing goes to a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_MAGIC_CACHE", str(tmp_path / "cache"))
        patch.setattr(readers, "BIG", -1)
        patch.setattr(streams, "_LOOK", 10)
        patch.setattr(store, "IN_MEMORY", -1)
        patch.setattr(collecting, "_ROWS", 16)
        patch.setattr(keys, "_SMALL", 0)
        patch.setattr(task, "_TOLD_EVERY", 50)
        yield patch


class Heard:
    """A recorder whose events are heard by someone else first."""

    def __init__(self, recorder: Any, hear: Callable[[Any], object]) -> None:
        self._recorder, self._hear = recorder, hear

    def __call__(self, event: Any) -> None:
        self._hear(event)
        self._recorder(event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder, name)


def run(path: Path, **options: Any) -> tuple[Run, list[str]]:
    """A finished run, and the phases that it told."""
    told = Options()
    told.update({"data": path, "base": base(), "quiet": True, "baselines": False, "max_steps": 3, **options})
    made, phases = Run(told), []
    made.recorder = Heard(made.recorder, lambda event: phases.append(getattr(event, "name", "")))  # type: ignore[assignment]
    made.start()
    assert made.done.wait(120)
    assert made.error is None, made.error
    return made, phases


def table(kind: str, folder: Path) -> Path:
    frame = films() if kind == "classify" else pd.DataFrame({"text": POEMS})
    frame.to_csv(folder / f"{kind}.csv", index=False)
    return folder / f"{kind}.csv"


@pytest.mark.parametrize("kind", ["classify", "words", "generate"])
def test_the_same_bits_from_memory_from_a_file_and_found_again(kind: str, tmp_path: Path, large: Any) -> None:
    how = {"style": "words"} if kind == "words" else {}
    path = table("generate" if kind == "generate" else "classify", tmp_path)
    made, phases = run(path, **how)
    found, again = run(path, **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "IN_MEMORY", 10**9)
        patch.setattr(readers, "BIG", 10**9)
        patch.setattr(keys, "_SMALL", 10**9)
        small, _ = run(path, **how)
    weights = [one.result.model.state_dict() for one in (made, found, small)]  # type: ignore[union-attr]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
        assert torch.equal(value, weights[2][name]), name
    facts = [dict(one.preflight.facts) for one in (made, found, small)]  # type: ignore[union-attr]
    cached = [one.pop("cache", "") for one in facts]
    for one in facts:
        del one["memory"]  # says how much is free
    assert facts[0] == facts[1] == facts[2]
    assert f"MB of tokens in {tmp_path / 'cache'}, kept for the next run; gpt_magic.cache() " in cached[0]
    assert "found from an earlier run" in cached[1]
    assert cached[2] == ""
    said = [phase for phase in phases if phase.startswith("making tokens, ")]
    rows = len(pd.read_csv(path))
    assert said == [f"making tokens, {number} of {rows} rows" for number in range(50, rows, 50)]
    assert not [phase for phase in again if phase.startswith("making tokens, ")]
    assert gpt_magic.cache().entries == 2
    assert made.preflight.warnings == found.preflight.warnings == small.preflight.warnings  # type: ignore[union-attr]


def test_tokens_that_are_found_have_the_names_of_the_rows_at_hand(large: Any) -> None:
    for first in (100, 500):
        told = Options()
        frame = films().set_index(pd.RangeIndex(first, first + len(films())))
        told.update({"data": frame, "style": "words", "base": base(), "max_steps": 1, "baselines": False})
        made = prepare(told, read_data(told), None, lambda _: None, lambda: None)
        assert {*made.train.index, *made.valid.index} == {*frame.index}
    assert "found from an earlier run" in dict(made.preflight.facts)["cache"]


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({}, 2),
        ({"seed": 7, "valid_fraction": 0.0}, 0),  # other rows train
        ({"max_length": 12}, 0),
        ({"truncate": "tail", "max_length": 31}, 0),
        ({"epochs": 9, "learning_rate": 0.1, "batch_size": 3, "class_weights": "balanced"}, 2),
    ],
)
def test_what_makes_other_tokens(change: dict[str, Any], shared: int, tmp_path: Path, large: Any) -> None:
    path = table("classify", tmp_path)
    run(path, dry_run=True)
    before = set((tmp_path / "cache").iterdir())
    run(path, dry_run=True, **change)
    parts = 1 if change.get("valid_fraction") == 0 else 2
    assert len(set((tmp_path / "cache").iterdir()) - before) == parts - shared


def test_cut_texts_and_prompts_are_named_from_found_tokens_too(tmp_path: Path, large: Any) -> None:
    riddles = pd.DataFrame({"prompt": ["Who? " * (number % 9 + 1) for number in range(40)], "completion": " It."})
    riddles.to_csv(tmp_path / "riddles.csv", index=False)
    for path, options in ((table("classify", tmp_path), {}), (tmp_path / "riddles.csv", {})):
        first, again = (run(path, dry_run=True, max_length=6, **options)[0].preflight for _ in range(2))
        assert first is not None
        assert again is not None
        assert any("rows " in warning for warning in first.warnings)
        assert first.warnings == again.warnings
        assert first.lengths == again.lengths


def test_the_card_of_the_cache(tmp_path: Path, large: Any) -> None:
    run(table("classify", tmp_path), dry_run=True)
    html = gpt_magic.cache()._repr_html_()
    assert str(tmp_path / "cache") in html
    assert "2, " in html
    assert "<code>gpt_magic.cache().clear()</code>" in html
