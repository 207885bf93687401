"""Does memory stay flat? Peak memory and time of the pre-flight for ever more rows, and of a few training steps.

    python -m benchmarks.size
    python -m benchmarks.size --rows 10000 100000

Each cell is a fresh process. Its memory is looked at from outside, 50 times a second: what it has for itself alone
(RssAnon), and with the pages of mapped files, which the system takes back when it needs them (VmHWM). Linux only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import machine, read_json, table, write_json

HERE = Path(__file__).resolve().parent
ROWS = (10_000, 100_000, 1_000_000)
SOURCES = ("csv", "parquet", "words with tags", "questions")
SETTINGS = {"base": "nano", "baselines": False, "quiet": True}
PIECE = 10_000  # rows that are written at once
VALID = 2_000  # rows that the runs with steps validate on, whatever the number of rows to train
CHILD = """
import json, sys, time
import gpt_magic
path, options = sys.argv[1], json.loads(sys.argv[2])
began = time.perf_counter()
found = gpt_magic.finetune(path, **options)
print(json.dumps({"seconds": time.perf_counter() - began, "facts": dict(getattr(found, "report", found).facts)}))
"""

Cell = dict[str, Any]


def write_rows(rows: int, folder: Path) -> dict[str, Path]:
    """The same made-up texts, some 80 characters each and with few copies, as CSV and as Parquet."""
    import pandas as pd

    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(3000)]
    paths = {name: folder / f"{rows}.{name}" for name in ("csv", "parquet")}
    with paths["csv"].open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            writer.writerow([" ".join(rng.choices(words, k=rng.randint(6, 20))), rng.choice(["good", "bad"])])
    pd.read_csv(paths["csv"]).to_parquet(paths["parquet"])
    return paths


def write_sentences(rows: int, folder: Path) -> Path:
    """Made-up sentences, 6 to 20 words each with one or two entities, as lists of tokens and tags in Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(3000)]
    tags = [["B-PER"], ["B-LOC", "I-LOC"], ["O", "O", "B-ORG", "O", "B-PER"]]
    lists = pa.list_(pa.string())
    path = folder / f"{rows}.tagged.parquet"
    with pq.ParquetWriter(path, pa.schema([("tokens", lists), ("tags", lists)])) as writer:
        for start in range(0, rows, PIECE):
            lengths = [rng.randint(6, 20) for _ in range(min(PIECE, rows - start))]
            marked = [["O"] * rng.randint(0, 1) + rng.choice(tags) for _ in lengths]
            columns = {
                "tokens": [rng.choices(words, k=length) for length in lengths],
                "tags": [(marks + ["O"] * length)[:length] for marks, length in zip(marked, lengths, strict=True)],
            }
            writer.write_table(pa.table(columns, schema=writer.schema))
    return path


def write_questions(rows: int, folder: Path) -> Path:
    """Made-up questions, five about each context of 40 to 120 words, with an answer of one to three of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(3000)]
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    schema = pa.schema([("question", pa.string()), ("context", pa.string()), ("answers", answers)])
    path = folder / f"{rows}.asked.parquet"
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, PIECE):
            made = []
            for _ in range(start, min(start + PIECE, rows), 5):
                about = rng.choices(words, k=rng.randint(40, 120))
                for _ in range(5):
                    first, length = rng.randrange(len(about) - 3), rng.randint(1, 3)
                    place = {"text": [" ".join(about[first : first + length])]}
                    place["answer_start"] = [len(" ".join([*about[:first], ""]))]
                    made.append({"question": " ".join(rng.choices(words, k=8)), "context": " ".join(about)})
                    made[-1]["answers"] = place
            writer.write_table(pa.Table.from_pylist(made, schema=schema))
    return path


def measure(path: Path, cache: Path, **options: Any) -> Cell:
    """Seconds of a run in a fresh process, imports apart, and its peak memory in MB."""
    environment = {**os.environ, "GPT_MAGIC_CACHE": str(cache)}
    command = [sys.executable, "-c", CHILD, str(path), json.dumps({**SETTINGS, **options})]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE.parent)
    alone = whole = 0
    while child.poll() is None:
        seen = memory(child.pid)
        alone, whole = max(alone, seen.get("RssAnon", 0)), max(whole, seen.get("VmHWM", 0))
        time.sleep(0.02)
    assert child.stdout is not None
    said = child.stdout.read()
    if child.returncode:
        raise RuntimeError(f"{path.name} {options}: the run ended with {child.returncode}")
    found = json.loads(said.splitlines()[-1])
    return {
        "seconds": round(found["seconds"], 1),
        "seconds_with_start": round(time.perf_counter() - began, 1),
        "anonymous_mb": alone // 1024,
        "peak_mb": whole // 1024,
        "cache": found["facts"].get("cache", "").partition(" of tokens")[0],
    }


def memory(process: int) -> dict[str, int]:
    """Lines of ``/proc/PID/status`` in kB; empty when the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}


def cells_of(rows: int, folder: Path, sources: Sequence[str] = SOURCES) -> list[Cell]:
    """What is measured for one number of rows."""
    found: list[Cell] = []
    paths = write_rows(rows, folder)
    steps = {"max_steps": 20, "valid": str(write_rows(VALID, folder)["csv"])}
    preflights = [("pre-flight, first", {"dry_run": True}), ("pre-flight, again", {"dry_run": True})]
    paths["words with tags"] = write_sentences(rows, folder)
    paths["questions"] = write_questions(rows, folder)
    runs = {
        "csv": [*preflights, (f"20 steps, {VALID:,} rows to validate", steps)],
        "parquet": preflights,
        "words with tags": preflights,
        "questions": preflights,
    }
    for kind in sources:
        path = paths[kind]
        cache = folder / f"cache-{rows}-{kind.replace(' ', '-')}"
        for what, options in runs[kind]:
            cell = {"rows": rows, "source": kind, "file_mb": round(path.stat().st_size / 1e6, 1), "what": what}
            cell |= measure(path, cache, **options)
            print(json.dumps(cell), flush=True)
            found.append(cell)
    return found


def show(cells: list[Cell]) -> str:
    head = ["rows", "source", "what", "seconds", "anonymous memory, MB", "peak with mapped files, MB", "tokens kept"]
    rows = [
        [
            f"{cell['rows']:,}",
            f"{cell['source']}, {cell['file_mb']} MB",
            cell["what"],
            f"{cell['seconds']}",
            f"{cell['anonymous_mb']:,}",
            f"{cell['peak_mb']:,}",
            cell["cache"] or "in memory",
        ]
        for cell in cells
    ]
    return table(head, rows)


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    return "\n".join(
        [
            "# Memory and time by number of rows",
            "",
            f"Made by `python -m benchmarks.size` on {results['machine']}, {results['date']}. {results['settings']}",
            "Every line is a fresh process; seconds without Python's start, with the import of torch.",
            *([results["note"]] if "note" in results else []),
            "",
            show(results["cells"]),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS))
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES), help="cells of others stay")
    parser.add_argument("--note", help="what else is to be said of the figures, such as what the machine did besides")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "size.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpt_magic_size_") as folder:
        new = [cell for rows in asked.rows for cell in cells_of(rows, Path(folder), asked.sources)]
    measured = {(cell["rows"], cell["source"]) for cell in new}
    kept = read_json(asked.out).get("cells", []) if asked.out.exists() else []
    cells = [*(cell for cell in kept if (cell["rows"], cell["source"]) not in measured), *new]
    cells.sort(key=lambda cell: (SOURCES.index(cell["source"]), cell["rows"]))
    settings = ", ".join(f"{name} = {value!r}" for name, value in SETTINGS.items())
    date = datetime.now(UTC).isoformat(timespec="seconds")
    results = {"machine": machine(), "date": date, "settings": settings, "cells": cells}
    if asked.note:
        results["note"] = asked.note
    write_json(asked.out, results)
    asked.out.with_suffix(".md").write_text(page(results), encoding="utf-8")
    print(show(cells))


if __name__ == "__main__":
    main()
