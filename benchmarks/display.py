"""What does the live display cost? The same run in a real kernel with its plot and numbers moving, and without.

python -m benchmarks.display
python -m benchmarks.display --rounds 5 --steps 100
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import machine, middle, table, write_json
from benchmarks.startup import DATA, RESULTS, run
from tests.kernel import Kernel

SIDES = {
    "without": "clf = gpt_magic.finetune(films, base='nano', max_steps={steps}, baselines=False, quiet=True)",
    "with": "%%finetune films -o clf\nbase = 'nano'\nmax_steps = {steps}\nbaselines = False\n",
}
BEFORE = "import time\ncpu = time.process_time()"
AFTER = "print(clf.metrics['train_seconds'], time.process_time() - cpu)"


def measure(rounds: int, steps: int) -> dict[str, dict[str, list[float]]]:
    """Wall seconds of the steps and CPU seconds of the whole run, with and without the display, in turns."""
    times: dict[str, dict[str, list[float]]] = {side: {"steps": [], "cpu": []} for side in SIDES}
    with Kernel() as kernel:
        run(kernel, "%load_ext gpt_magic\nimport gpt_magic")
        run(kernel, DATA)
        for code in SIDES.values():
            run(kernel, code.format(steps=2))  # imports
        for turn in range(rounds):
            for side in list(SIDES)[:: 1 if turn % 2 else -1]:
                run(kernel, BEFORE)
                run(kernel, SIDES[side].format(steps=steps))
                seconds, cpu = run(kernel, AFTER).stdout.split()[-2:]
                times[side]["steps"].append(float(seconds))
                times[side]["cpu"].append(float(cpu))
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write it and its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--results", type=Path, default=RESULTS / "display.json")
    args = parser.parse_args(arguments)
    times = measure(args.rounds, args.steps)
    rows, content = [], {"machine": machine(), "steps": args.steps, "rounds": args.rounds}
    what = {"steps": "wall seconds of the steps", "cpu": "CPU seconds of the run"}
    for clock, said in what.items():
        without, with_it = (times[side][clock] for side in ("without", "with"))
        more = [100 * (b / a - 1) for a, b in zip(without, with_it, strict=True)]
        middles: list[Any] = [f"{statistics.median(v):.2f}" for v in (without, with_it)]
        rows.append([said, *middles, f"{statistics.median(more):+.1f} ({min(more):+.1f} to {max(more):+.1f})"])
        content[clock] = {"without": middle(without), "with": middle(with_it), "more_percent": middle(more)}
    shown = table(["what", "without", "with", "% more"], rows)
    print(f"{machine()}\n\n{shown}")
    write_json(args.results, content | {"table": shown})
    page = f"# The live display\n\nMade by `python -m benchmarks.display`; {machine()}; median of {args.rounds} rounds "
    page += f"of {args.steps} steps (smallest to largest).\n\n{shown}\n"
    args.results.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
