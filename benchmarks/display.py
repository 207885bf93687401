"""What does the live display cost? The same run in a real kernel with its plot and numbers moving, and without.

python -m benchmarks.display
python -m benchmarks.display --rounds 5 --steps 100
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import machine, middle, table, write_json
from benchmarks.startup import DATA, RESULTS, run
from gpt_magic.notebook.plot import LossPlot
from tests.kernel import Kernel, Reply
from tests.noisy import noisy_run

SIDES = {
    "without": "clf = gpt_magic.finetune(films, base='nano', max_steps={steps}, baselines=False, quiet=True)",
    "with": "%%finetune films -o clf\nbase = 'nano'\nmax_steps = {steps}\nbaselines = False\n",
}
BEFORE = "import time\ncpu = time.process_time()"
AFTER = "print(clf.metrics['train_seconds'], time.process_time() - cpu)"


def measure(rounds: int, steps: int) -> tuple[dict[str, dict[str, list[float]]], list[tuple[float, float]]]:
    """Wall seconds of the steps and CPU seconds of the run, with and without the display, in turns; and `paces`."""
    times: dict[str, dict[str, list[float]]] = {side: {"steps": [], "cpu": []} for side in SIDES}
    moved = []
    with Kernel() as kernel:
        run(kernel, "%load_ext gpt_magic\nimport gpt_magic")
        run(kernel, DATA)
        for code in SIDES.values():
            run(kernel, code.format(steps=2))  # imports
        for turn in range(rounds):
            for side in list(SIDES)[:: 1 if turn % 2 else -1]:
                run(kernel, BEFORE)
                reply = run(kernel, SIDES[side].format(steps=steps))
                if side == "with":
                    moved.append(paces(reply))
                seconds, cpu = run(kernel, AFTER).stdout.split()[-2:]
                times[side]["steps"].append(float(seconds))
                times[side]["cpu"].append(float(cpu))
    return times, moved


def paces(reply: Reply) -> tuple[float, float]:
    """Pictures and progress lines a second, from the first update of each to the last, by the kernel's clock."""
    updates = [message for message in reply.messages if message["msg_type"] == "update_display_data"]
    found = []
    for kind, words in (("image/png", ""), ("text/plain", "elapsed")):
        of_kind = [update for update in updates if kind in update["content"]["data"]]
        times = [update["header"]["date"] for update in of_kind if words in update["content"]["data"][kind]]
        found.append((len(times) - 1) / (times[-1] - times[0]).total_seconds())
    return found[0], found[1]


def repaints(moments: int = 200) -> tuple[float, float]:
    """CPU milliseconds of a repaint and of one that draws new axes: medians over a run of 672 steps."""
    plot, costs = LossPlot(), {False: [], True: []}
    whole = noisy_run()
    for at in range(2, 672, 672 // moments):
        frame = plot._frame
        evaluations = tuple(e for e in whole.evaluations if e.step <= at)
        now = replace(whole, step=at, steps_log=whole.steps_log[:at], evaluations=evaluations)
        began = time.thread_time()
        plot.update(now)
        if frame is not None:  # the first pays for imports and fonts
            costs[plot._frame != frame].append(1000 * (time.thread_time() - began))
    return statistics.median(costs[False]), statistics.median(costs[True])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write it and its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--results", type=Path, default=RESULTS / "display.json")
    args = parser.parse_args(arguments)
    times, moved = measure(args.rounds, args.steps)
    rows, content = [], {"machine": machine(), "steps": args.steps, "rounds": args.rounds}
    what = {"steps": "wall seconds of the steps", "cpu": "CPU seconds of the run"}
    for clock, said in what.items():
        without, with_it = (times[side][clock] for side in ("without", "with"))
        more = [100 * (b / a - 1) for a, b in zip(without, with_it, strict=True)]
        middles: list[Any] = [f"{statistics.median(v):.2f}" for v in (without, with_it)]
        rows.append([said, *middles, f"{statistics.median(more):+.1f} ({min(more):+.1f} to {max(more):+.1f})"])
        content[clock] = {"without": middle(without), "with": middle(with_it), "more_percent": middle(more)}
    shown = table(["what", "without", "with", "% more"], rows)
    pictures, lines = (middle([pair[i] for pair in moved]) for i in (0, 1))
    usual, anew = repaints()
    content |= {"pictures_a_second": pictures, "lines_a_second": lines, "repaint_ms": usual, "new_axes_ms": anew}
    shown += f"\n\nPictures a second {_said(pictures)}, progress lines a second {_said(lines)}. "
    shown += f"CPU milliseconds of a picture {usual:.1f}, with new axes {anew:.0f}."
    print(f"{machine()}\n\n{shown}")
    write_json(args.results, content | {"table": shown})
    page = f"# The live display\n\nMade by `python -m benchmarks.display`; {machine()}; median of {args.rounds} rounds "
    page += f"of {args.steps} steps (smallest to largest).\n\n{shown}\n"
    args.results.with_suffix(".md").write_text(page, encoding="utf-8")


def _said(value: dict[str, float]) -> str:
    return f"{value['median']:.2f} ({value['min']:.2f} to {value['max']:.2f})"


if __name__ == "__main__":
    main()
