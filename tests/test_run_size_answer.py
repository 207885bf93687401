"""An answering run over a table that does not fit: the same bits as in memory, and its tokens found again."""

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
import torch

import gpt_magic
from gpt_magic import store
from gpt_magic.data import readers, sources, streams
from gpt_magic.data.read import read_data
from gpt_magic.options import Options
from gpt_magic.tasks import keys
from tests.quiz import base, quiz
from tests.test_run_size import large, run

__all__ = ["large"]


def table(kind: str, folder: Path, frame: pd.DataFrame | None = None) -> Path:
    frame = (quiz(64, unanswerable=True) if frame is None else frame).reset_index(drop=True)
    if kind == "csv":
        answers = [one["text"][0] if one["text"] else "[]" for one in frame["answers"]]
        frame.assign(answers=answers).to_csv(folder / "quiz.csv", index=False)
    elif kind == "jsonl":
        frame.to_json(folder / "quiz.jsonl", orient="records", lines=True)
    else:
        frame.to_parquet(folder / "quiz.parquet")
    return folder / f"quiz.{kind}"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("style", ["extract", "write"])
def test_the_same_bits_from_memory_from_a_file_and_found_again(
    kind: str, style: str, tmp_path: Path, large: pytest.MonkeyPatch
) -> None:
    path = table(kind, tmp_path)
    # So few tokens that contexts are read in several windows, or cut.
    options: dict[str, Any] = {"style": style, "max_length": 28, "baselines": True, "base": base()}
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
    assert "kept for the next run" in cached[0]
    assert "found from an earlier run" in cached[1]
    assert cached[2] == ""
    assert made.preflight.warnings == found.preflight.warnings == small.preflight.warnings  # type: ignore[union-attr]
    tables = [one.summary.scores for one in (made, found, small)]  # type: ignore[union-attr]
    assert tables[0] == tables[1] == tables[2]
    assert [phase for phase in phases if phase.startswith("making tokens, ")] == ["making tokens, 50 of 64 rows"]
    assert not [phase for phase in again if phase.startswith("making tokens, ")]
    assert gpt_magic.cache().entries == 2
    kept = [one.own["longest"] if hasattr(one, "own") else one.longest for one in results]  # type: ignore[union-attr]
    assert kept[0] == kept[1] == kept[2]


@pytest.mark.parametrize(
    ("column", "value", "options", "shared"),
    [
        ("", "", {}, 2),
        ("", "", {"epochs": 9, "learning_rate": 0.1}, 2),
        ("", "", {"max_length": 40}, 0),
        ("", "", {"truncate": "tail"}, 0),
        ("", "", {"style": "write"}, 0),
        ("question", "What colour is it?", {}, 1),
        ("answers", {"text": [], "answer_start": []}, {}, 1),
    ],
)
def test_what_makes_other_tokens(
    column: str, value: Any, options: dict[str, Any], shared: int, tmp_path: Path, large: pytest.MonkeyPatch
) -> None:
    given = {"dry_run": True, "valid": quiz(8).assign(context="It lives in house 7. House 8 is grey, and brown. 9 10")}
    given["valid"]["answers"] = [{"text": ["house 7"], "answer_start": [12]}] * 8
    frame = quiz(64).reset_index(drop=True)
    run(table("parquet", tmp_path, frame), base=base(), **given)
    before = {*(tmp_path / "cache").iterdir()}
    if column:
        frame.at[0, column] = value
    run(table("parquet", tmp_path, frame), **{"base": base(), **given, **options})
    assert len({*(tmp_path / "cache").iterdir()} - before) == 2 - shared


@pytest.mark.parametrize("streamed", [False, True])
def test_rows_in_are_rows_used_and_rows_reported(streamed: bool, tmp_path: Path, large: pytest.MonkeyPatch) -> None:
    """Without a question, with an answer that is not in its context, with one that is somewhere else, with none."""
    large.setattr(sources, "BIG", -1)
    large.setattr(streams, "_MOST_ROWS", 3)
    rows = quiz(40).to_dict("records")
    rows[3]["question"] = " "
    rows[5]["answers"] = {"text": ["a purple house"], "answer_start": [0]}
    rows[7]["answers"] = {"text": ["Number"], "answer_start": [4]}
    rows[9]["answers"] = {"text": [], "answer_start": []}
    data = datasets.Dataset.from_list(rows)
    told = Options()
    source = data.to_iterable_dataset() if streamed else data
    told.update({"data": source, "missing": "drop", "valid_fraction": 0.3})
    found: Any = read_data(told)
    assert (len(found.train) + len(found.valid), found.findings.dropped) == (38, 2)
    assert sorted([*found.train.index, *found.valid.index]) == [i for i in range(40) if i not in (3, 5)]
    assert found.findings.warnings == [
        "data: 1 row without one of 'question', 'context' and 'answers' left out: row 3",
        "data: 1 row whose answer does not stand in the context left out: row 5",
        "data: 1 answer not at answer_start; the nearest place was taken (row 7)",
        "1 row to validate without an answer and none to train: when to give no answer is not learned",
    ]
    by_row = {name: row for part in (found.train, found.valid) for name, row in zip(part.index, part.rows, strict=True)}
    assert (by_row[7].start, by_row[9].answers) == (0, ())
    for name, row in by_row.items():
        assert (row.question, row.context) == (rows[name]["question"], rows[name]["context"])
        assert row.answers == tuple(rows[name]["answers"]["text"])
        assert row.start is None or row.context.startswith(row.answer, row.start)
