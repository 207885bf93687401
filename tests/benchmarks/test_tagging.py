import numpy as np
import pandas as pd
import pytest

from benchmarks.report import read_json
from benchmarks.tagging import corpus, draw, first_tokens, frequent, main, run

WANTED = [("nano", 0), ("frequent", 0), ("nano", 1)]
SCORES = {
    "f1": 0.5,
    "precision": 0.5,
    "recall": 0.5,
    "token_accuracy": 0.9,
    "per_type": dict.fromkeys(("LOC", "ORG", "PER"), 0.25),
}


def tweets(rows=8):
    return pd.DataFrame({"tokens": [["Ada", str(i)] for i in range(rows)], "tags": [["B-PER", "O"]] * rows})


class Measured:
    """Stands for `measure`; fails at the cell it is told to."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def __call__(self, train, test, contender, seed):
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append((contender, seed))
        return SCORES


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr("benchmarks.tagging.machine", lambda: "a machine")  # the real one imports torch


def test_a_cut_run_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "tagging.json"
    with pytest.raises(KeyboardInterrupt):
        run(out, tweets(), tweets(2), WANTED, Measured(fail_at=2))
    rest = Measured()
    results = run(out, tweets(), tweets(2), WANTED, rest)
    assert rest.calls == WANTED[2:]
    assert read_json(out) == results
    page = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| nano, fine-tuned " in page
    assert "0.500 ± 0.000" in page


def test_other_tweets_are_measured_again(tmp_path):
    out = tmp_path / "tagging.json"
    run(out, tweets(), tweets(2), WANTED, Measured())
    again = Measured()
    run(out, tweets(), tweets(3), WANTED, again)
    assert again.calls == WANTED


def test_draws_follow_the_seed(monkeypatch):
    monkeypatch.setattr("benchmarks.tagging.TWEETS", 5)
    first, again, other = (draw(tweets(40), seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    assert len(first) == 5


def test_where_words_begin():
    assert first_tokens([[7], [8, 9, 10], [11, 12]]).tolist() == [0, 1, 4]
    assert np.array_equal(first_tokens([[1]]), [0])


def test_the_usual_tag_learns():
    assert frequent(tweets(), tweets(2))["per_type"] == {"LOC": 0.0, "ORG": 0.0, "PER": 1.0}


def test_the_corpus_is_read_where_it_is(tmp_path, monkeypatch, capsys):
    for section in "abefgh":
        (tmp_path / f"{section}.conll").write_text(f"Ada\tB-PER\n{section}\tO\n\n")
    train, test = corpus(tmp_path)
    assert (train["tokens"].str[1].tolist(), test["tokens"].str[1].tolist()) == ([*"abefg"], ["h"])
    monkeypatch.setattr("sys.argv", ["tagging", "--corpus", str(tmp_path / "nowhere")])
    main()
    assert capsys.readouterr().out.startswith("skipped: there is no Broad Twitter Corpus in ")
