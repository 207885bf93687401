"""The sliding-window baseline."""

import math
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.tasks.overlap import NAME, common_words, compare, slide
from tests.quiz import checked, quiz

COMMON = {"the", "is", "in", "was", "by"}


def test_the_run_of_rare_words_near_the_questions_words_is_taken() -> None:
    context = "The abbey was built by monks of Cluny in 1120. The bridge was built by Roman soldiers in the winter."
    assert slide("Who built the bridge?", context, COMMON) == "Roman soldiers"
    assert slide("Who built the abbey?", context, COMMON) == "monks of Cluny"


def test_windows_are_scored_as_written_down_by_hand() -> None:
    """Richardson et al. 2013, algorithm 1, with the window's size and weights of this context."""
    context = "owl fox. hen owl pig owl cow. elk, hen"
    # Candidates: fox, hen, pig, cow, elk, hen. Of owl a window has as many words as it and the candidate: two. All that
    # stand beside an owl are worth log(1 + 1/3), and the first is taken.
    assert slide("owl", context, set()) == "fox"
    # With hen asked for too a window has three words: {hen owl pig} holds both, log(1 + 1/2) + log(1 + 1/3).
    assert slide("owl hen", context, set()) == "pig"
    # A sentence of its own has no owl; hen is worth more than owl there.
    assert math.log(1 + 1 / 2) > math.log(1 + 1 / 3)
    assert slide("hen", context, {"owl", "fox", "pig"}) == "elk"
    assert slide("owl hen", context, {"owl", "pig", "fox"}) == "elk"


def test_common_words_are_those_of_many_contexts() -> None:
    contexts = [f"the owl number {i}" for i in range(8)] + ["the fox", "a hen"]
    assert common_words(contexts) == {"the", "owl", "number"}
    assert common_words(["one text"]) == frozenset()


def test_chinese_is_read_by_characters() -> None:
    assert slide("谁住在红房子里？", "狐狸住在红房子里。猫头鹰住在树上。", frozenset("住在里上")) == "狐狸"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), st.text(min_size=1, max_size=60), st.sets(st.sampled_from("abc")))
def test_it_answers_whatever_it_is_asked_with_a_part_of_the_context(
    question: str, context: str, common: set[str]
) -> None:
    assert slide(question, context, common) in context


def test_the_row_of_the_table_of_scores() -> None:
    questions = checked(quiz(40))
    ((name, values),), said = compare(questions, questions, threading.Event())
    assert (name, said) == (NAME, [])
    assert len(values) == 2
    assert 0 <= values[0] <= values[1] <= 1
    stopped = threading.Event()
    stopped.set()
    assert compare(questions, questions, stopped) == ([], ["no sliding-window baseline: stopped while it was computed"])
