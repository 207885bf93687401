"""A tagging run over a table that does not fit: the same bits as in memory, and its tokens found again."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import gpt_magic
from gpt_magic import store
from gpt_magic.data import readers
from gpt_magic.errors import RunAbandoned
from gpt_magic.options import Options
from gpt_magic.run import Run
from gpt_magic.tasks import keys
from tests.places import base, places, spans
from tests.test_run_size import Heard, large, run

__all__ = ["large"]


def table(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.{'parquet' if kind == 'tokens' else 'jsonl'}"
    if kind == "tokens":
        places().to_parquet(path)
    else:
        spans().to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("kind", ["tokens", "spans"])
def test_the_same_bits_from_memory_from_a_file_and_found_again(
    kind: str, repeat: bool, tmp_path: Path, large: pytest.MonkeyPatch
) -> None:
    path = table(kind, tmp_path)
    options: dict[str, Any] = {"repeat": repeat, "max_length": 15 if repeat else 7, "baselines": True}  # windows
    made, phases = run(path, **options)
    found, again = run(path, **options)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((store, "IN_MEMORY"), (readers, "BIG"), (keys, "_SMALL")):
            patch.setattr(module, name, 10**9)
        small, _ = run(path, **options)
    results = [one.result for one in (made, found, small)]
    for name, value in results[0].model.state_dict().items():  # type: ignore[union-attr]
        for other in results[1:]:
            assert torch.equal(value, other.model.state_dict()[name]), name  # type: ignore[union-attr]
    facts = [dict(one.preflight.facts) for one in (made, found, small)]  # type: ignore[union-attr]
    cached = [one.pop("cache", "") for one in facts]
    for one in facts:
        del one["memory"]  # says how much is free
    assert facts[0] == facts[1] == facts[2]
    assert "that overlap by half" in facts[0]["windows"]
    assert "kept for the next run" in cached[0]
    assert "found from an earlier run" in cached[1]
    assert cached[2] == ""
    assert made.preflight.warnings == found.preflight.warnings == small.preflight.warnings  # type: ignore[union-attr]
    tables = [one.summary.scores for one in (made, found, small)]  # type: ignore[union-attr]
    assert tables[0] == tables[1] == tables[2]
    assert [phase for phase in phases if phase.startswith("making tokens, ")] == ["making tokens, 50 of 96 rows"]
    assert not [phase for phase in again if phase.startswith("making tokens, ")]
    assert gpt_magic.cache().entries == 2


def other_names(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(tags=[[tag.replace("LOC", "A") for tag in tags] for tags in frame["tags"]])


def one_tag_less(frame: pd.DataFrame) -> pd.DataFrame:
    frame.at[0, "tags"] = ["O"] * len(frame.at[0, "tags"])
    return frame


def one_word_less(frame: pd.DataFrame) -> pd.DataFrame:
    """Two words are one, in the same text."""
    (first, second, *tokens), (_, *tags) = frame.at[0, "tokens"], frame.at[0, "tags"]
    frame.at[0, "tokens"], frame.at[0, "tags"] = [f"{first} {second}", *tokens], tags
    return frame


@pytest.mark.parametrize(
    ("change", "options", "shared"),
    [
        (None, {}, 2),
        (None, {"epochs": 9, "learning_rate": 0.1, "batch_size": 3}, 2),
        (None, {"repeat": True}, 0),
        (None, {"max_length": 12}, 0),
        (other_names, {}, 2),  # of the same numbers
        (one_tag_less, {}, 1),
        (one_word_less, {}, 1),
        (lambda frame: frame.set_index(frame.index + 1), {}, 1),  # names stand beside the tokens
    ],
)
def test_what_makes_other_tokens(
    change: Any, options: dict[str, Any], shared: int, tmp_path: Path, large: pytest.MonkeyPatch
) -> None:
    frame, held = places().reset_index(drop=True), places(16, seed=5)
    given = {"dry_run": True, "valid": held}
    frame.to_parquet(tmp_path / "a.parquet")
    run(tmp_path / "a.parquet", **given)
    before = {*(tmp_path / "cache").iterdir()}
    if change is other_names:
        given["valid"] = other_names(held)
    (change(frame) if change else frame).to_parquet(tmp_path / "b.parquet")
    run(tmp_path / "b.parquet", **given, **options)
    assert len({*(tmp_path / "cache").iterdir()} - before) == 2 - shared


def test_words_that_are_too_long_are_named_from_found_tokens_too(tmp_path: Path, large: pytest.MonkeyPatch) -> None:
    long = places().reset_index(drop=True)
    long.at[7, "tokens"] = ["x1" * 200, *long.at[7, "tokens"][1:]]
    long.to_parquet(tmp_path / "long.parquet")
    first, again = (run(tmp_path / "long.parquet", dry_run=True, valid_fraction=0.0)[0].preflight for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.warnings == again.warnings
    assert first.warnings[-1].endswith(
        "with a word that is longer than what is read at once, so only its end is read (rows 7)"
    )
    assert first.lengths == again.lengths


def test_an_evaluation_is_the_same_from_a_file(tmp_path: Path, large: pytest.MonkeyPatch) -> None:
    made, _ = run(table("tokens", tmp_path))
    streamed = made.result.evaluate(table("spans", tmp_path))  # type: ignore[union-attr]
    large.setattr(store, "IN_MEMORY", 10**9)
    assert str(made.result.evaluate(spans())) == str(streamed)  # type: ignore[union-attr]


def test_a_stop_ends_the_check_of_a_large_table() -> None:
    rows = places(200)
    options = Options()
    options.update({"data": pd.concat([rows] * 400, ignore_index=True), "base": base(), "quiet": True})
    made, seen = Run(options), list[Any]()

    def hear(event: Any) -> None:
        name = getattr(event, "name", "")
        if name.startswith("checking sentences, ") and not made.control.stop.is_set():
            seen.extend([name, time.perf_counter()])
            made.stop()

    made.recorder = Heard(made.recorder, hear)  # type: ignore[assignment]
    made.start()
    assert made.done.wait(60)
    assert time.perf_counter() - seen.pop() < 2  # seconds
    assert seen == ["checking sentences, 1,000 of 80,000 rows"]
    assert isinstance(made.error, RunAbandoned)
    assert made.preflight is None
