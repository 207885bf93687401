import os
import subprocess
import sys

import pandas as pd
import pytest

from benchmarks.size import PIECE, measure, memory, page, write_questions, write_rows, write_sentences


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_is_that_of_the_process():
    code = "import time; keep = bytearray(b'x' * 200_000_000); print('ready', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        found = memory(child.pid)
        assert 195_000 < found["RssAnon"] < 300_000
        assert found["VmHWM"] >= found["RssAnon"]
    finally:
        child.kill()
        child.wait()
    assert memory(child.pid) == {}


def test_the_same_rows_as_csv_and_as_parquet(tmp_path):
    paths = write_rows(50, tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(paths["csv"]), pd.read_parquet(paths["parquet"]))
    again = write_rows(50, tmp_path / os.curdir)
    assert again["csv"].read_text(encoding="utf-8") == paths["csv"].read_text(encoding="utf-8")


def test_sentences_have_a_tag_a_word_and_an_entity(tmp_path):
    table = pd.read_parquet(write_sentences(PIECE + 5, tmp_path))
    assert len(table) == PIECE + 5
    assert (table["tokens"].map(len) == table["tags"].map(len)).all()
    assert table["tags"].map(lambda tags: any(tag.startswith("B-") for tag in tags)).all()


def test_questions_have_their_answers_in_their_contexts(tmp_path):
    table = pd.read_parquet(write_questions(PIECE + 5, tmp_path))
    assert len(table) == PIECE + 5
    assert table["context"].nunique() == (PIECE + 5) // 5
    for context, answers in zip(table["context"], table["answers"], strict=True):
        assert context.startswith(answers["text"][0], answers["answer_start"][0])


def test_a_cell_is_measured_and_shown(tmp_path):
    cell = {"rows": 60, "source": "csv", "file_mb": 0.1, "what": "pre-flight, first"}
    cell |= measure(write_rows(60, tmp_path)["csv"], tmp_path / "cache", dry_run=True)
    assert 0 < cell["seconds"] < cell["seconds_with_start"]
    assert 50 < cell["anonymous_mb"] < cell["peak_mb"]
    said = page({"machine": "this one", "date": "today", "settings": "none", "cells": [cell]})
    assert "| 60   | csv, 0.1 MB | pre-flight, first |" in said
    assert "in memory" in said
    with pytest.raises(RuntimeError, match="the run ended with 1"):
        measure(tmp_path / "none.csv", tmp_path / "cache", dry_run=True)
