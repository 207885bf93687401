"""What does the live display cost? A run in a real kernel whose plot moves for two seconds, then rests for two.

    python -m benchmarks.display
    python -m benchmarks.display --rounds 5 --steps 2000

Both sides are of one run: from one run to the next, a step takes several per cent more or less on its own.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import machine, table, write_json
from benchmarks.startup import CELL, DATA, RESULTS, run
from gpt_magic.notebook.plot import LossPlot
from tests.kernel import Kernel, Reply
from tests.noisy import noisy_run


class Stretch(NamedTuple):
    """A window of a run: whether the display moved in it, mean wall and CPU seconds of its steps."""

    shown: bool
    wall: float
    cpu: float


# In the kernel: when each step ended, wall and processor time; and a display that rests in every second window.
WATCH = """
import time
from gpt_magic.notebook.live import NotebookView
from gpt_magic.recorder import Recorder
taken, painted, ended = Recorder.__call__, NotebookView.paint, []
def take(self, event):
    if type(event).__name__ == "Stepped":
        ended.append((time.monotonic(), time.process_time()))
    taken(self, event)
def paint(self, progress):
    if int(time.monotonic() / {window}) % 2:
        painted(self, progress)
Recorder.__call__, NotebookView.paint = take, paint
"""
SAY = "print(ended); ended.clear()"


def measure(rounds: int, steps: int, window: float) -> tuple[list[list[Stretch]], tuple[float, float]]:
    """Of each round: what a step cost in each window of its run, oldest first; and `paces` of one run apart."""
    found: list[list[Stretch]] = []
    with Kernel() as kernel:
        run(kernel, "%load_ext gpt_magic")
        run(kernel, DATA)
        run(kernel, CELL.format(steps=2))  # imports
        moved = paces(run(kernel, CELL.format(steps=min(steps, 500))))
        run(kernel, WATCH.format(window=window))
        for _ in range(rounds):
            run(kernel, CELL.format(steps=steps))
            found.append(stretches(ast.literal_eval(run(kernel, SAY).stdout), window))
    return found, moved


def stretches(ended: list[tuple[float, float]], window: float) -> list[Stretch]:
    """Whole windows but the first, in which axes are new: whether it was shown, wall and CPU seconds of a step."""
    within: dict[int, list[tuple[float, float]]] = {}
    for (wall, cpu), (later, more) in itertools.pairwise(ended):
        if int(wall / window) == int(later / window):
            within.setdefault(int(wall / window), []).append((later - wall, more - cpu))
    return [
        Stretch(bool(number % 2), *(statistics.fmean(column) for column in zip(*steps, strict=True)))
        for number, steps in sorted(within.items())[1:-1]
    ]


def dearer(found: list[Stretch], clock: str) -> list[float]:
    """Percent that a step takes longer in each window with the display than in the two beside it without."""
    cost = [getattr(stretch, clock) for stretch in found]
    return [
        100 * (2 * cost[at] / (cost[at - 1] + cost[at + 1]) - 1)
        for at in range(1, len(found) - 1)
        if found[at].shown and not found[at - 1].shown and not found[at + 1].shown
    ]


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
    plot = LossPlot()
    costs: dict[bool, list[float]] = {False: [], True: []}
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
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--window", type=float, default=2.0, help="seconds with the display, and as many without")
    parser.add_argument("--results", type=Path, default=RESULTS / "display.json")
    args = parser.parse_args(arguments)
    found, (pictures, lines) = measure(args.rounds, args.steps, args.window)
    rows: list[list[str]] = []
    content: dict[str, Any] = {"machine": machine(), "steps": args.steps, "rounds": args.rounds, "window": args.window}
    for clock, said in {"wall": "wall seconds of a step", "cpu": "CPU seconds of a step"}.items():
        more = [one for of_round in found for one in dearer(of_round, clock)]
        low, median, high = statistics.quantiles(more, n=4)
        medians = [statistics.median(dearer(of_round, clock)) for of_round in found]
        spread = [f"{low:+.1f} to {high:+.1f}", f"{min(medians):+.1f} to {max(medians):+.1f}"]
        rows.append([said, str(len(more)), f"{median:+.1f}", *spread])
        content[clock] = {"windows": len(more), "more_percent": median, "half_within": [low, high], "runs": medians}
    shown = table(["what", "windows", "% more, median", "half of them within", "medians of the runs"], rows)
    usual, anew = repaints()
    content |= {"pictures_a_second": pictures, "lines_a_second": lines, "repaint_ms": usual, "new_axes_ms": anew}
    shown += f"\n\nPictures a second {pictures:.2f}, progress lines a second {lines:.2f}. "
    shown += f"CPU milliseconds of a picture {usual:.1f}, with new axes {anew:.0f}."
    print(f"{machine()}\n\n{shown}")
    write_json(args.results, content | {"table": shown})
    how = f"{args.rounds} runs of {args.steps} steps, the display on and off for {args.window:g} seconds in turns"
    page = f"# The live display\n\nMade by `python -m benchmarks.display`; {machine()}; {how}; "
    page += f"a step in a window with it against the mean of the windows before and after.\n\n{shown}\n"
    args.results.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
