import pytest

from benchmarks.report import middle, read_json, spread, table, write_json


def test_spread():
    found = spread([0.5, 0.7, 0.9])
    assert found == pytest.approx({"count": 3, "mean": 0.7, "sd": 0.2, "min": 0.5, "max": 0.9})


def test_one_value_has_no_spread():
    assert spread([0.25]) == {"count": 1, "mean": 0.25, "sd": 0.0, "min": 0.25, "max": 0.25}


def test_the_middle_of_times_is_not_moved_by_an_outlier():
    assert middle([1.0, 90.0, 2.0]) == {"count": 3, "median": 2.0, "min": 1.0, "max": 90.0}


def test_table_lines_up():
    assert table(["set", "a"], [["spam", "1"], ["x", "0.25"]]) == (
        "| set  | a    |\n| ---- | ---- |\n| spam | 1    |\n| x    | 0.25 |"
    )


def test_json_comes_back(tmp_path):
    path = tmp_path / "new" / "base.json"
    assert read_json(path) == {}
    write_json(path, {"cells": [{"set": "Ü"}]})
    assert read_json(path) == {"cells": [{"set": "Ü"}]}
    assert [file.name for file in path.parent.iterdir()] == ["base.json"]
