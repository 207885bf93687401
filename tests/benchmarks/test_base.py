import json

import pandas as pd
import pytest

from benchmarks.base import EPOCHS, made_from, measure, run, show, still_valid, summary
from benchmarks.report import read_json

WANTED = [("toy", size, contender, seed) for seed in (0, 1) for size in ("200", "all") for contender in ("tfidf",)]


def labelled(name="toy", text="good film"):
    from benchmarks.sets import LabelledSet

    rows = pd.DataFrame({"text": [text, "bad film", "good", "bad"] * 2, "label": ["p", "n"] * 4})
    return LabelledSet(name, "a task", "a source", "a licence", rows, rows[:4])


def cell(contender, seed, accuracy, name="spam", size="200", **more):
    return {
        "set": name,
        "size": size,
        "contender": contender,
        "seed": seed,
        "accuracy": accuracy,
        "macro_f1": accuracy / 2,
        **more,
    }


class Measured:
    """Stands for `measure`; fails at the cell it is told to."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def __call__(self, data, size, contender, seed):
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append((data.name, size, contender, seed))
        return {"train_rows": 8, "accuracy": 0.5, "macro_f1": 0.5, "train_seconds": 0.1}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr("benchmarks.base.machine", lambda: "a machine")  # the real one imports torch


@pytest.fixture
def nano(tmp_path):
    folder = tmp_path / "nano"
    folder.mkdir()
    shape = {"n_layer": 1, "n_embd": 4, "n_head": 1, "n_positions": 8, "vocab_size": 9}
    (folder / "config.json").write_text(json.dumps(shape))
    (folder / "model.safetensors").write_bytes(b"old")
    return folder


def test_summary_groups_by_all_but_the_seed():
    rows = summary([cell("tfidf", 0, 0.8), cell("nano", 0, 0.6), cell("tfidf", 1, 0.9), cell("tfidf", 0, 0.1, "films")])
    assert [(row["set"], row["size"], row["contender"]) for row in rows] == [
        ("spam", "200", "nano"),
        ("spam", "200", "tfidf"),
        ("films", "200", "tfidf"),
    ]
    assert rows[1]["accuracy"] == pytest.approx({"count": 2, "mean": 0.85, "sd": 0.0707107, "min": 0.8, "max": 0.9})
    assert rows[1]["macro_f1"]["mean"] == pytest.approx(0.425)


def test_table_has_a_column_a_contender():
    lines = show(summary([cell("nano", seed, 0.5 + seed / 10) for seed in range(3)] + [cell("tfidf", 0, 1.0)]))
    row = [part.strip() for part in lines.splitlines()[2].split("|")[1:-1]]
    assert row == ["spam", "200", "0.600 ± 0.100 / 0.300 ± 0.050", "", "1.000 / 0.500 (1 seed)"]


def test_a_cut_run_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "base.json"
    with pytest.raises(KeyboardInterrupt):
        run(out, [labelled()], WANTED, Measured(fail_at=2))
    assert len(read_json(out)["cells"]) == 2
    rest = Measured()
    results = run(out, [labelled()], WANTED, rest)
    assert rest.calls == WANTED[2:]
    assert read_json(out) == results
    assert [row["accuracy"]["count"] for row in results["summary"]] == [2, 2]
    assert "| toy | 200 " in out.with_suffix(".md").read_text()


def test_other_rows_are_measured_again_and_other_sets_kept(tmp_path):
    out = tmp_path / "base.json"
    run(out, [labelled(), labelled("other")], [WANTED[0], ("other", "200", "tfidf", 0)], Measured())
    again = Measured()
    results = run(out, [labelled(text="fine film")], WANTED[:1], again)
    assert again.calls == WANTED[:1]
    assert {cell["set"] for cell in results["cells"]} == {"toy", "other"}


def test_new_weights_drop_only_the_cells_of_nano(nano):
    data = labelled()
    cells = [
        cell(contender, 0, 0.5, "toy", made_from=made_from(data, "200", contender, nano))
        for contender in ("nano", "scratch", "tfidf")
    ]
    assert still_valid(cells, [data], nano) == cells
    (nano / "model.safetensors").write_bytes(b"new")
    assert still_valid(cells, [data], nano) == cells[1:]


def test_other_epochs_drop_what_was_trained(nano, monkeypatch):
    data = labelled()
    cells = [cell(name, 0, 0.5, "toy", made_from=made_from(data, "200", name, nano)) for name in ("scratch", "tfidf")]
    monkeypatch.setitem(EPOCHS, "200", EPOCHS["200"] + 1)
    assert still_valid(cells, [data], nano) == cells[1:]


def test_tfidf_learns():
    found = measure(labelled(), "all", "tfidf", 0)
    assert (found["accuracy"], found["macro_f1"], found["train_rows"]) == (1.0, 1.0, 8)
