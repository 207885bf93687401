"""Events in, a consistent picture out: the fields, the estimate, the history, and many threads at once."""

import threading

import pytest

from gpt_magic.engine.events import Evaluated, Phase, Planned, Stepped
from gpt_magic.recorder import Progress, Recorder, history


def step(number: int, seconds: float = 0.5, tokens: int = 100) -> Stepped:
    return Stepped(number, number / 10, 2.0 / number, 1e-4 * number, 1.0, tokens, seconds)


def evaluated(number: int, seconds: float = 2.0) -> Evaluated:
    return Evaluated(number, number / 10, {"loss": 0.5, "accuracy": 0.75}, best=True, seconds=seconds)


def recorder(*events: Phase | Planned | Stepped | Evaluated) -> Recorder:
    made = Recorder()
    for event in (Phase("training"), Planned(steps=20, steps_per_epoch=10, rows=160), *events):
        made(event)
    return made


def test_before_the_first_step() -> None:
    fresh = Recorder().progress()
    assert (fresh.phase, fresh.steps, fresh.step, fresh.loss, fresh.left) == ("starting", 0, 0, None, None)
    planned = recorder().progress()
    assert (planned.phase, planned.steps, planned.steps_per_epoch, planned.step) == ("training", 20, 10, 0)
    assert planned.tokens_per_second is None
    assert planned.elapsed >= 0


def test_the_fields_are_those_of_the_last_step() -> None:
    run = recorder(step(1), step(2), evaluated(2), step(3))
    run(Phase("fitting the baselines"))
    now = run.progress()
    assert (now.phase, now.step, now.epoch) == ("fitting the baselines", 3, 0.3)
    assert (now.loss, now.learning_rate) == (2.0 / 3, pytest.approx(3e-4))
    assert [s.step for s in now.steps_log] == [1, 2, 3]
    assert [e.step for e in now.evaluations] == [2]


def test_the_rate_is_that_of_the_last_fifty_steps() -> None:
    slow = [step(i, seconds=10.0) for i in range(1, 101)]
    fast = [step(i, seconds=0.1) for i in range(101, 151)]
    assert recorder(*slow, *fast).progress().tokens_per_second == pytest.approx(1000)
    assert recorder(step(1, seconds=0.0)).progress().tokens_per_second is not None


def test_a_remaining_time_is_said_after_three_steps() -> None:
    assert recorder(step(1), step(2)).progress().left is None
    # the first step is slow and does not count; 17 steps of half a second remain
    assert recorder(step(1, seconds=30.0), step(2), step(3)).progress().left == pytest.approx(8.5)


def test_evaluations_still_to_come_are_in_the_remaining_time() -> None:
    steps = [step(i) for i in range(1, 11)]
    # one evaluation of 2 s in 10 steps, so one more in the other 10
    assert recorder(*steps, evaluated(10)).progress().left == pytest.approx(10 * 0.5 + 2.0)
    assert recorder(*steps, *[step(i) for i in range(11, 21)], evaluated(20)).progress().left == 0


def test_an_earlier_picture_does_not_change() -> None:
    run = recorder(step(1))
    before = run.progress()
    run(step(2))
    run(evaluated(2))
    assert (before.step, len(before.steps_log), len(before.evaluations)) == (1, 1, 0)


@pytest.mark.parametrize(
    ("log_every", "kept"), [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 4, 6, 7]), (5, [4, 5, 7]), (100, [4, 7])]
)
def test_the_history_has_logged_evaluated_and_last_steps(log_every: int, kept: list[int]) -> None:
    rows = history(recorder(*[step(i) for i in range(1, 8)], evaluated(4)).progress(), log_every)
    assert [row["step"] for row in rows] == kept
    assert [row["step"] for row in rows if "valid_loss" in row] == [4]
    at = next(row for row in rows if row["step"] == 4)
    assert (at["valid_loss"], at["valid_accuracy"], at["loss"]) == (0.5, 0.75, 0.5)


def test_no_history_without_steps() -> None:
    assert history(Progress()) == []


def test_many_threads_may_look_while_one_works() -> None:
    run = recorder()
    wrong: list[Progress] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            now = run.progress()
            steps = [s.step for s in now.steps_log]
            ahead = bool(now.evaluations) and now.evaluations[-1].step > now.step
            if steps != list(range(1, len(steps) + 1)) or now.step != len(steps) or ahead:
                wrong.append(now)

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    for number in range(1, 1001):
        run(step(number))
        if number % 50 == 0:
            run(evaluated(number))
    over.set()
    for looker in lookers:
        looker.join()
    assert not wrong
    assert run.progress().step == 1000
    assert len(run.progress().evaluations) == 20
