"""How long until something is seen? ``%load_ext``, import, and Run to the first loss point on screen, in a real kernel.

    python -m benchmarks.startup
    python -m benchmarks.startup --rounds 5

The first run of a kernel is the cold one; the others are those of a user who changes a setting and runs the cell
again.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import machine, middle, table, write_json
from tests.kernel import Kernel, Reply

RESULTS = Path(__file__).resolve().parent / "results"
SECONDS = 600.0
DATA = """
films = [{"text": f"a {w} film, number {n}", "label": w} for n in range(100) for w in ("good", "bad")]
"""
CELL = "%%finetune films -o clf\nbase = 'nano'\nmax_steps = {steps}\nbaselines = False\n"
_STEP = re.compile(r"step ([1-9]\d*) of")


def run(kernel: Kernel, code: str) -> Reply:
    """One cell, which must not fail.

    Raises:
        RuntimeError: it did.
    """
    reply = kernel.run(code, SECONDS)
    if reply.status != "ok":
        raise RuntimeError(f"{reply.error_name}: {reply.error_value}")
    return reply


def shown_after(reply: Reply) -> dict[str, float]:
    """Seconds from Run to the first output, first step in numbers and first loss point, by the kernel's clock."""
    began = next(message["header"]["date"] for message in reply.messages if message["msg_type"] == "status")
    found: dict[str, float] = {}
    for message in reply.messages:
        data = message["content"].get("data", {})
        after = (message["header"]["date"] - began).total_seconds()
        if data:
            found.setdefault("first output", after)
        if _STEP.search(str(data.get("text/html", ""))):
            found.setdefault("first step in numbers", after)
        if "image/png" in data and "first step in numbers" in found:
            found.setdefault("first loss point", after)
    return found


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each thing, one a round; ``cold`` ones are of fresh kernels."""
    times: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    with Kernel() as kernel:
        note("%load_ext gpt_magic, cold", run(kernel, "%load_ext gpt_magic").seconds)
        run(kernel, DATA)
        for name, seconds in shown_after(run(kernel, CELL.format(steps=10))).items():
            note(f"{name}, first run of a kernel", seconds)
        for _ in range(rounds):
            for name, seconds in shown_after(run(kernel, CELL.format(steps=10))).items():
                note(f"{name}, warm kernel", seconds)
    for _ in range(rounds - 1):
        with Kernel() as kernel:
            note("%load_ext gpt_magic, cold", run(kernel, "%load_ext gpt_magic").seconds)
    for _ in range(rounds):
        with Kernel() as kernel:
            note("import gpt_magic, cold", run(kernel, "import gpt_magic").seconds)
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write it and its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS / "startup.json")
    args = parser.parse_args(arguments)
    times = measure(args.rounds)
    rows = [
        [name, str(len(v)), f"{statistics.median(v):.2f}", f"{min(v):.2f}-{max(v):.2f}"] for name, v in times.items()
    ]
    shown = table(["what", "rounds", "seconds", "smallest-largest"], rows)
    print(f"{machine()}\n\n{shown}")
    content: dict[str, Any] = {"machine": machine(), "times": {name: middle(v) for name, v in times.items()}}
    write_json(args.results, content | {"table": shown})
    page = (
        f"# Until something is seen\n\nMade by `python -m benchmarks.startup`; {machine()}; wall seconds.\n\n{shown}\n"
    )
    args.results.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
