"""What it costs to train less than all of a model, in time and in quality; the frozen blocks read each row once.

    python -m benchmarks.frozen
    python -m benchmarks.frozen --parts quality --sets films --epochs 1 3
    python -m benchmarks.frozen --parts speed --rounds 5

Every cell is written as soon as it is measured; a second run measures only what is missing, or was measured with other
settings, rows or weights. The sides take turns, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import gpt_magic
from benchmarks.base import NANO
from benchmarks.report import machine, read_json, table, write_json
from benchmarks.sets import MAX_CHARACTERS, SETS, LabelledSet

ROWS, TEST_ROWS = 400, 500
EPOCHS = (1, 3, 5)
TRAINED = ("all", "top:2", "top:1", "head", "lora")
TUNING: dict[str, Any] = {"base": "nano", "max_length": 128, "batch_size": 16, "precision": "fp32"}
ALONE: dict[str, Any] = {"valid_fraction": 0.0, "baselines": False, "calibrate": False, "quiet": True}
METRICS = ("accuracy", "macro_f1")

# The shape of GPT-2 small with random weights, and rows as long as short texts are.
SHAPE = {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
SPEED: dict[str, Any] = {"rows": 16, "batch_size": 16, "epochs": 5, "median_tokens": 24}
SIDES = ("trainer", "all", "lora", "top:2")

Cell = dict[str, Any]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Wanted:
    """One cell to measure: of ``quality`` a run, of ``speed`` a round, which then is the seed, on no set."""

    part: str
    trained: str
    epochs: int
    set: str = ""
    seed: int = 0

    def made_from(self, data: LabelledSet | None) -> dict[str, Any]:
        """All that the cell's numbers depend on, its seed and the code aside."""
        if data is None:
            return {**SHAPE, **SPEED}
        weights = hashlib.sha256((NANO / "model.safetensors").read_bytes()).hexdigest()
        return {**TUNING, "rows": ROWS, "test_rows": TEST_ROWS, "digest": data.digest, "weights": weights}


def wanted(
    parts: Sequence[str],
    sets: Sequence[str],
    epochs: Sequence[int],
    trained: Sequence[str],
    seeds: Sequence[int],
    rounds: int,
) -> list[Wanted]:
    """The cells, sides next to each other."""
    quality = [
        Wanted("quality", part, count, name, seed)
        for seed in seeds
        for count in epochs
        for name in sets
        for part in trained
    ]
    speed = [Wanted("speed", side, SPEED["epochs"], seed=number) for number in range(rounds) for side in SIDES]
    return [cell for cell in [*speed, *quality] if cell.part in parts]


def measure(cell: Wanted, data: LabelledSet | None) -> Cell:
    """Train and, of ``quality``, score the test rows; seconds are processor time."""
    return quality(cell, data) if data is not None else speed(cell)


def quality(cell: Wanted, data: LabelledSet) -> Cell:
    given = {**TUNING, **ALONE, "epochs": cell.epochs, "seed": cell.seed, "train": cell.trained}
    began = time.process_time()
    tuned: Any = gpt_magic.finetune(data.draw(str(ROWS), cell.seed), text="text", label="label", **given)
    took = time.process_time() - began
    scored = tuned.evaluate(data.test[:TEST_ROWS])
    return {
        **{metric: getattr(scored, metric) for metric in METRICS},
        "cpu_seconds": round(took, 2),
        "learning_rate": float(tuned.history["learning_rate"].max()),
        "parameters": dict(tuned.summary.facts)["trained"],
    }


@cache
def _rows() -> tuple[list[np.ndarray], np.ndarray]:
    """Token ids and classes; lengths are spread as those of short texts are, by a lognormal."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(SPEED["median_tokens"]), 0.6, SPEED["rows"]), 4, 128).astype(int)
    return [rng.integers(0, 50256, length) for length in lengths], rng.integers(0, 2, SPEED["rows"])


def _model() -> Any:
    import torch
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    return GPT2ForSequenceClassification(GPT2Config(**SHAPE, num_labels=2, pad_token_id=50256))


def speed(cell: Wanted) -> Cell:
    model, run = _model(), _trainer if cell.trained == "trainer" else partial(_ours, trained=cell.trained)
    began, wall = time.process_time(), time.perf_counter()
    losses = run(model)
    return {
        "cpu_seconds": round(time.process_time() - began, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "steps": len(losses),
    }


def _trainer(model: Any) -> list[float]:
    """transformers' Trainer with its defaults but for the batch: padded batches, fused AdamW."""
    import torch
    from transformers import Trainer, TrainingArguments

    def padded(some: list[tuple[np.ndarray, int]]) -> dict[str, Any]:
        ids = [torch.from_numpy(row) for row, _ in some]
        tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=50256)
        return {
            "input_ids": tokens,
            "attention_mask": (tokens != 50256).long(),
            "labels": torch.tensor([int(label) for _, label in some]),
        }

    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"logging_steps": 1, "save_strategy": "no", "report_to": [], "disable_tqdm": True}
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=SPEED["batch_size"],
            num_train_epochs=SPEED["epochs"],
            use_cpu=not torch.cuda.is_available(),
            **how,
        )
        trainer = Trainer(model, arguments, train_dataset=list(zip(*_rows(), strict=True)), data_collator=padded)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _ours(model: Any, trained: str) -> list[float]:
    """The loop of a run, and before it what the frozen blocks make of the rows."""
    from gpt_magic.engine.adapters import Lora, add_adapter
    from gpt_magic.engine.events import Control, Event, Stepped
    from gpt_magic.engine.job import Job, Settings
    from gpt_magic.engine.loop import train
    from gpt_magic.engine.packing import hidden_packed
    from gpt_magic.engine.parts import freeze, parse
    from gpt_magic.engine.precision import choose_machine
    from gpt_magic.engine.trunk import hidden_from, keep_states
    from gpt_magic.tasks.classify import Classify
    from gpt_magic.tasks.labelled import encode

    ids, labels = _rows()
    batch, part, at = SPEED["batch_size"], parse(trained), choose_machine("auto", "fp32")
    steps = SPEED["epochs"] * -(-len(ids) // batch)
    settings = Settings(steps, batch, 1, 5e-5, "linear", 0.0, 0.01, 1.0, 0, 0, 0)
    model.to(at.device)
    if part.kind == "lora":
        add_adapter(model, Lora(8, 16, 0.0))
    frozen = freeze(model, part) if part.freezes else []
    rows = encode([row.astype(np.int32) for row in ids], labels, range(len(ids)))
    hidden: Any = hidden_packed
    if part.freezes:
        rows, hidden = keep_states(model, rows, part.blocks), partial(hidden_from, blocks=part.blocks)
    events: list[Event] = []
    job = Job(model, Classify([0, 1], np.ones(2)), rows, settings, at, hidden=hidden, frozen=frozen)
    outcome = train(job, events.append, Control())
    if outcome.error is not None:
        raise outcome.error
    return [event.loss for event in events if isinstance(event, Stepped)]


def show_speed(cells: Sequence[Cell]) -> str:
    """Median processor time a side, and how often it fits into that of the Trainer, round by round."""
    rounds: dict[int, dict[str, float]] = {}
    for cell in cells:
        rounds.setdefault(cell["seed"], {})[cell["trained"]] = cell["cpu_seconds"]
    lines = []
    for side in SIDES:
        took = [found[side] for found in rounds.values() if side in found]
        ratios = [found["trainer"] / found[side] for found in rounds.values() if {"trainer", side} <= found.keys()]
        if took:
            spread = f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})" if ratios else ""
            lines.append([side, f"{median(took):.1f}", spread, str(len(took))])
    return table(["side", "seconds", "times as fast as the Trainer", "rounds"], lines)


def show_quality(cells: Sequence[Cell]) -> str:
    """A row a set and number of epochs; mean accuracy / macro F1 of the seeds, and seconds; how many where not all."""
    seeds = len({cell["seed"] for cell in cells})
    groups: dict[tuple[str, int], dict[str, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault((cell["set"], cell["epochs"]), {}).setdefault(cell["trained"], []).append(cell)

    def text(some: list[Cell]) -> str:
        means = [float(np.mean([cell[metric] for cell in some])) for metric in METRICS]
        took, fewer = median(cell["cpu_seconds"] for cell in some), f" ({len(some)})" if len(some) < seeds else ""
        return " / ".join(f"{mean:.3f}" for mean in means) + f", {took:.0f} s{fewer}"

    order = sorted(groups, key=lambda group: (list(SETS).index(group[0]), group[1]))
    body = [
        [name, str(count), *(text(groups[name, count][t]) if t in groups[name, count] else "" for t in TRAINED)]
        for name, count in order
    ]
    return table(["set", "epochs", *TRAINED], body)


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    cells = results["cells"]
    speed_cells, quality_cells = ([c for c in cells if c["part"] == part] for part in ("speed", "quality"))
    seeds = sorted({cell["seed"] for cell in quality_cells})
    rates = {c["trained"]: f"{c['trained']} {c['learning_rate']:g}" for c in quality_cells}
    days = sorted({cell["date"][:10] for cell in cells})
    drawn = f"{'mean of seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}"
    return f"""# What it costs to train less than all

Processor seconds, one thread. `top:k` trains the last k blocks, the last norm and the head; what the blocks below make
of each row is computed once and kept, which is part of the seconds. `head` trains norm and head, `lora` small matrices
of rank 8 at every layer of the blocks.

## Time at the shape of GPT-2 small

12 layers x 768, random weights, {SPEED["rows"]} rows with a median of {SPEED["median_tokens"]} tokens,
batch {SPEED["batch_size"]}, {SPEED["epochs"]} epochs, classification; the sides take turns. `trainer` is transformers'
Trainer with its defaults.

{show_speed(speed_cells)}

## Quality and time of `nano`

Accuracy / macro F1 on {TEST_ROWS} test rows and seconds of the whole call, {ROWS} training rows cut at {MAX_CHARACTERS}
characters, batch {TUNING["batch_size"]}; {drawn}, or as many of them as stand in brackets.
Learning rates are the defaults: {", ".join(rates.values())}.

{show_quality(quality_cells)}

{"; ".join(sorted({cell["machine"] for cell in cells}))}; {" to ".join(dict.fromkeys([days[0], days[-1]]))}.
"""


def save(out: Path, cells: Sequence[Cell]) -> None:
    """Write the JSON and the page beside it."""
    write_json(out, {"settings": {"shape": SHAPE, "speed": SPEED, "tuning": TUNING}, "cells": list(cells)})
    if cells:
        out.with_suffix(".md").write_text(page({"cells": cells}), encoding="utf-8")


def run(out: Path, todo: Sequence[Wanted], folder: Path, measure: Callable[..., Cell] = measure) -> list[Cell]:
    """Measure what is wanted and missing, or stale, writing after every cell."""
    loaded = {name: SETS[name](folder) for name in dict.fromkeys(cell.set for cell in todo if cell.set)}
    made = {cell: cell.made_from(loaded.get(cell.set)) for cell in todo}
    names = list(asdict(todo[0]))
    known = {Wanted(**{name: cell[name] for name in names}): cell for cell in read_json(out).get("cells", [])}
    cells = {cell: found for cell, found in known.items() if made.get(cell, found["made_from"]) == found["made_from"]}
    for cell in (cell for cell in todo if cell not in cells):
        measured = measure(cell, loaded.get(cell.set))
        cells[cell] = {**asdict(cell), **measured, "made_from": made[cell], "machine": machine()}
        cells[cell]["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        save(out, list(cells.values()))
        print(cell, measured, flush=True)
    save(out, list(cells.values()))
    return list(cells.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("speed", "quality"), default=["speed", "quality"])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["spam", "films"])
    parser.add_argument("--epochs", nargs="+", type=int, default=list(EPOCHS))
    parser.add_argument("--trained", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "frozen.json")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "gpt_magic_benchmarks")
    asked = parser.parse_args()
    todo = wanted(asked.parts, asked.sets, asked.epochs, asked.trained, asked.seeds, asked.rounds)
    run(asked.out, todo, asked.cache.resolve())
    print(asked.out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
