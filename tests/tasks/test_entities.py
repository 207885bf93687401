"""Scores of entities as seqeval has them, and the baselines by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score

from gpt_magic.data.schemes import TagCount, bio_labels, to_bio
from gpt_magic.data.tagged import Sentences
from gpt_magic.data.words import join_words
from gpt_magic.tasks.entities import Found, TagEvaluation, frequent_tags, nothing_found, tag_numbers

TYPES = ["LOC", "ORG", "PER"]
NAMES = bio_labels(TYPES)
TAGS = st.lists(st.sampled_from(["O", "O", *NAMES]), min_size=1, max_size=12)


def bio(tags: list[str]) -> list[str]:
    return to_bio(tags, TagCount(set()))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TAGS, st.integers(0, 2**32)), min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_seqeval(rows: list[tuple[list[str], int]]) -> None:
    truth = [bio(tags) for tags, _ in rows]
    said = []
    for tags, seed in rows:  # some of them right
        rng = np.random.default_rng(seed)
        said.append(bio([tag if rng.random() < 0.7 else NAMES[rng.integers(0, len(NAMES))] for tag in tags]))
    found = Found(TYPES)
    for one, other in zip(truth, said, strict=True):
        found.add(tag_numbers(one, TYPES), tag_numbers(other, TYPES))
    scores = found.scores()
    for name, theirs in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert scores[name] == pytest.approx(theirs(truth, said, zero_division=0))
    assert scores["token_accuracy"] == pytest.approx(accuracy_score(truth, said))
    if any(tag != "O" for tags in [*truth, *said] for tag in tags):
        report = classification_report(truth, said, output_dict=True, zero_division=0)
        table = found.per_type()
        for kind in {*TYPES} & {*report}:
            theirs_row = report[kind]
            ours = [table.loc[kind, name] for name in ("precision", "recall", "f1", "support")]
            assert ours == pytest.approx([theirs_row[n] for n in ("precision", "recall", "f1-score", "support")])
        assert table["support"].sum() == report["micro avg"]["support"]
        assert all(table.loc[kind, "support"] == 0 for kind in {*TYPES} - {*report})
    assert found.words == sum(map(len, truth))


def test_nothing_at_all_scores_nothing() -> None:
    assert Found(TYPES).scores() == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "token_accuracy": 0.0}


def sentences(rows: list[tuple[str, str]]) -> Sentences:
    joined = [join_words(words.split()) for words, _ in rows]
    tags = [tags.split() for _, tags in rows]
    return Sentences([text for text, _ in joined], [words for _, words in joined], tags, list(range(len(rows))))


def test_the_most_frequent_tag_of_each_word() -> None:
    train = sentences(
        [("Ada saw York", "B-PER O B-LOC"), ("New York", "B-LOC I-LOC"), ("near York", "O B-LOC"), ("saw", "O")]
    )
    valid = sentences([("Ada New York Bob", "B-PER B-LOC I-LOC B-PER"), ("York saw", "B-LOC O")])
    # Said are B-PER B-LOC B-LOC O and B-LOC O: of four entities said two are right, and of four that are there.
    assert frequent_tags(train, valid, TYPES).scores() == {
        "f1": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "token_accuracy": 4 / 6,
    }
    assert nothing_found(valid) == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "token_accuracy": 1 / 6}


def test_the_usual_tags_make_valid_entities() -> None:
    train = sentences([("of York", "B-LOC I-LOC")])
    found = frequent_tags(train, sentences([("York", "B-LOC")]), TYPES)
    assert found.scores()["f1"] == 1.0  # I-LOC alone is read as an entity


def test_the_text_says_it_all() -> None:
    found = Found(TYPES)
    found.add(tag_numbers(["B-PER", "O"], TYPES), tag_numbers(["B-PER", "B-LOC"], TYPES))
    evaluation = TagEvaluation(1, 2, 0.25, **found.scores(), per_type=found.per_type())
    said = "1 row, 2 words: F1 0.6667, precision 0.5000, recall 1.0000, token accuracy 0.5000, loss 0.2500"
    assert str(evaluation).startswith(said)
    assert "PER" in repr(evaluation)
