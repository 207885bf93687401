"""Where snapshots and results of runs go, and which names they leave alone."""

from types import SimpleNamespace
from typing import Any

from gpt_magic.notebook.names import put_result, put_snapshot
from tests.noisy import SUMMARY


class TunedModel:
    """Known by its name, as `cell.is_tuned` does."""

    summary = SimpleNamespace(status="snapshot at step 4 of 9")


def test_a_snapshot_takes_the_place_of_an_earlier_one_and_of_nothing_else() -> None:
    names: dict[str, Any] = {"clf": "mine"}
    first, second = TunedModel(), TunedModel()
    assert put_snapshot(names, "clf", first) == "clf_snapshot: at step 4 of 9"
    put_snapshot(names, "clf", second)
    assert names == {"clf": "mine", "clf_snapshot": second}
    names["clf_snapshot"] = "mine too"
    assert put_snapshot(names, "clf", first).startswith("clf_snapshot_2: ")
    assert names["clf_snapshot"] == "mine too"
    assert names["clf_snapshot_2"] is first


def test_a_result_takes_the_place_of_its_run_and_leaves_a_name_that_was_given_away_alone() -> None:
    holder, model = object(), TunedModel()
    names: dict[str, Any] = {"clf": holder}
    assert put_result(names, "clf", holder, model, SUMMARY) is SUMMARY
    assert names == {"clf": model}
    names = {"clf": "mine", "clf_2": "mine too"}
    said = put_result(names, "clf", holder, model, SUMMARY)
    assert names == {"clf": "mine", "clf_2": "mine too", "clf_3": model}
    assert said.name == "clf_3"
    assert said.warnings[-1].endswith("so the model is clf_3")
    gone: dict[str, Any] = {}
    put_result(gone, "clf", holder, model, SUMMARY)
    assert gone == {"clf": model}
