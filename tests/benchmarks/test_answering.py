import json

import pandas as pd
import pytest

from benchmarks.answering import CONTENDERS, folds, made_from, main, measure, page, run, show, summary
from benchmarks.report import read_json
from tests.quiz import quiz

WANTED = [(contender, seed) for seed in (0, 1) for contender in ("window", "extract nano")]


def articles(count=6):
    return pd.concat([quiz(4).assign(title=f"title {i}") for i in range(count)], ignore_index=True)


class Measured:
    """Stands for `measure`; fails at the cell it is told to."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def __call__(self, frame, contender, seed):
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append((contender, seed))
        return {"train_rows": 16, "test_rows": 8, "exact_match": 0.5 + seed / 10, "f1": 0.6, "train_seconds": 0.1}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr("benchmarks.answering.machine", lambda: "a machine")  # the real one imports torch


def test_three_seeds_test_every_article_once_and_share_none():
    frame = articles(8)
    tested = []
    for seed in range(3):
        train, test = folds(frame, seed)
        assert not set(train["title"]) & set(test["title"])
        assert len(train) + len(test) == len(frame)
        tested += list(test.index)
    assert sorted(tested) == list(frame.index)


def test_a_cut_run_goes_on_and_what_was_made_from_other_things_is_dropped(tmp_path):
    out, frame = tmp_path / "answering.json", articles()
    with pytest.raises(KeyboardInterrupt):
        run(out, frame, "a", WANTED, Measured(fail_at=3))
    again = Measured()
    results = run(out, frame, "a", WANTED, again)
    assert again.calls == WANTED[3:]
    assert [(cell["contender"], cell["seed"]) for cell in results["cells"]] == WANTED
    assert read_json(out) == json.loads(json.dumps(results))
    assert "24 questions" in out.with_suffix(".md").read_text(encoding="utf-8")
    other = Measured()
    run(out, frame, "b", WANTED[:1], other)
    assert other.calls == WANTED[:1]
    assert len(read_json(out)["cells"]) == 1


def test_the_table_says_mean_and_spread():
    cells = [{"contender": "window", "seed": seed, "exact_match": 0.1 * seed, "f1": 0.5} for seed in (1, 2, 3)]
    rows = summary([*cells, {"contender": "write nano", "seed": 0, "exact_match": 0.25, "f1": 0.5}])
    assert [row["contender"] for row in rows] == ["write nano", "window"]
    text = show(rows)
    assert "20.0 ± 10.0" in text
    assert "25.0 (1 seed)" in text


def test_what_a_cell_depends_on():
    assert made_from("window", "a") == {"questions": "a"}
    nano, scratch = made_from("extract nano", "a"), made_from("extract scratch", "a")
    assert set(nano) - set(scratch) == {"weights"}
    assert made_from("write nano", "b") != nano


def test_the_baseline_is_measured_and_every_contender_has_a_name(tmp_path):
    found = measure(articles(), "window", 1)
    assert (found["train_rows"], found["test_rows"]) == (16, 8)
    assert 0 <= found["exact_match"] <= found["f1"] <= 1
    cells = [
        {"contender": name, "seed": 0, **found, "made_from": {}, "machine": "m", "date": "2026-01-02T"}
        for name in CONTENDERS
    ]
    text = page(
        {"cells": cells, "summary": summary(cells), "settings": {"epochs": 3, "batch_size": 16}, "questions": 24}
    )
    assert all(name in text for name in CONTENDERS.values())


def test_without_the_data_nothing_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["answering", "--data", str(tmp_path / "x.json"), "--out", str(tmp_path / "o.json")]
    )
    main()
    assert capsys.readouterr().out == (
        f"nothing measured: {tmp_path / 'x.json'} is not there; give an English XQuAD in SQuAD's format as --data\n"
    )
    assert not (tmp_path / "o.json").exists()
