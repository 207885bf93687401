"""How fast is a training step? gpt_magic beside transformers' Trainer and two plain loops, on the same rows.

    python -m benchmarks.train
    python -m benchmarks.train --shapes nano --kinds short --rounds 5

Weights are random and dropout is 0; times do not depend on what a model knows. The sides take turns in one process, a
few steps a round, of other rows each round. Only real tokens count, not padding. CPU seconds stand beside wall time,
which other work on the machine stretches. Everything runs on the GPU where torch sees one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.allocator import allocated
from benchmarks.report import machine, middle, read_json, table, write_json
from gpt_magic.engine import capture
from gpt_magic.engine.batching import Encoded, plan
from gpt_magic.engine.events import Control, Stepped
from gpt_magic.engine.heap import kept_heap
from gpt_magic.engine.job import Job, Settings
from gpt_magic.engine.kernels import _onednn, has_onednn
from gpt_magic.engine.loop import train
from gpt_magic.engine.precision import choose_machine
from gpt_magic.engine.vocabulary import leave_out_unused, put_unused_back, used_rows
from gpt_magic.tasks.classify import Classify
from gpt_magic.tasks.language import Learned, NextToken, encode

RESULTS = Path(__file__).resolve().parent / "results"
SHAPES = {
    "nano": {"n_layer": 6, "n_embd": 256, "n_head": 8, "n_positions": 1024, "vocab_size": 8192},
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
}
KINDS = ("short", "completion", "stream")
ROWS, BATCH, STREAM_BATCH, BLOCK = 256, 16, 4, 256
CLASSES = 2
HEAD = """# A training step, side by side

Made by `python -m benchmarks.train`; median (smallest-largest) of the rounds. Real tokens; peak memory is what a step
allocates beside the weights, gradients and the optimizer's state included. `of limit`: the products that no side can do
without (those of positions that are not scored end at the last block's keys and values), as a share of what the machine
computes of them in the side's own number format, in CPU time; attention's are not counted.
"""
LOSSES = "Largest difference of the losses over 50 steps in fp32 between gpt_magic and the Trainer"
RATE = 1e-4

Timed = tuple[int, float, float]  # real tokens, wall seconds, CPU seconds of one step


@dataclass
class Work:
    """One shape and kind of rows: a model, and the rows as each side wants them."""

    model: nn.Module
    rows: Encoded
    plain: list[dict[str, Any]]
    objective: Any
    batch: int
    device: torch.device
    seed: int = 0  # another one each round: sizes that come again are faster than those of a run

    def order(self, steps: int) -> list[list[int]]:
        """The rows of each step, the same for all sides."""
        return list(plan(len(self.rows), self.batch, steps, self.seed))

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Padded to the longest, as transformers' own collators do."""
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        ids = [torch.from_numpy(row["input_ids"]).long() for row in rows]
        batch = {"input_ids": pad(ids, padding_value=self.model.config.pad_token_id)}
        batch["attention_mask"] = pad([torch.ones_like(row) for row in ids])
        if np.ndim(rows[0]["labels"]) == 0:
            batch["labels"] = torch.tensor([int(row["labels"]) for row in rows])
        else:
            batch["labels"] = pad([torch.from_numpy(row["labels"]).long() for row in rows], padding_value=-100)
        return batch


def make_work(shape: str, kind: str, device: torch.device) -> Work:
    """A model with random weights and random rows of like lengths as real ones."""
    rng = np.random.default_rng(0)
    sizes = SHAPES[shape]
    pad = sizes["vocab_size"] - 1
    config = GPT2Config(
        **sizes, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, num_labels=CLASSES, pad_token_id=pad, bos_token_id=pad,
        eos_token_id=pad,
    )  # fmt: skip
    torch.manual_seed(0)
    make = GPT2ForSequenceClassification if kind == "short" else GPT2LMHeadModel
    model = make(config).to(device)
    if kind == "short":  # a median of 24 tokens, a tenth of them over 60
        ids = [rng.integers(0, pad, n) for n in np.clip(rng.lognormal(np.log(24), 0.7, ROWS).astype(int), 4, 256)]
        labels = [np.int64(label) for label in rng.integers(0, CLASSES, ROWS)]
        rows = Encoded(ids, [np.array([len(r) - 1]) for r in ids], [np.array([label]) for label in labels], range(ROWS))
        objective: Any = Classify(list(range(CLASSES)), np.ones(CLASSES))
    else:
        ids, learned = [], []
        for _ in range(ROWS):
            prompt, rest = (rng.integers(20, 100), rng.integers(8, 40)) if kind == "completion" else (1, BLOCK - 1)
            ids.append(rng.integers(0, pad, prompt + rest))
            learned.append(np.arange(prompt + rest) >= prompt)
        labels = [np.where(some, row, -100) for row, some in zip(ids, learned, strict=True)]
        sequences = [Learned(row, some, i) for i, (row, some) in enumerate(zip(ids, learned, strict=True))]
        rows = encode(sequences, sizes["n_positions"])
        objective = NextToken(sizes["vocab_size"])
    plain = [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]
    return Work(model, rows, plain, objective, STREAM_BATCH if kind == "stream" else BATCH, device)


class Clock:
    """Wall and CPU time of what lies between two calls; waits for the GPU."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Count from now."""
        self._at = self._now()

    def lap(self) -> tuple[float, float]:
        """Seconds since the last call."""
        before, self._at = self._at, self._now()
        return self._at[0] - before[0], self._at[1] - before[1]

    @staticmethod
    def _now() -> tuple[float, float]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def ours(precision: str, work: Work, steps: int, captures: bool = True) -> tuple[list[Timed], list[float]]:
    """gpt_magic's loop; on a GPU its steps are captured, which a round is too short for otherwise."""
    settings = Settings(steps, work.batch, 1, RATE, "linear", 0.0, 0.0, 1.0, 0, 0, work.seed)
    job = Job(work.model, work.objective, work.rows, settings, choose_machine(str(work.device), precision))
    times: list[Timed] = []
    losses: list[float] = []
    clock = Clock()

    def hear(event: Any) -> None:
        if isinstance(event, Stepped):
            times.append((event.tokens, *clock.lap()))
            losses.append(event.loss)

    if (used := used_rows(work.model, work.rows)) is not None:  # as a run does
        leave_out_unused(work.model, used)
    with kept_heap(), patch.object(capture, "LEAST_STEPS", 1 if captures else steps + 1):
        clock.start()
        outcome = train(job, hear, Control())
    put_unused_back(work.model)
    if outcome.error is not None:
        raise outcome.error
    if outcome.how:
        print(f"steps were {outcome.how}")
    if captures and job.machine.device.type == "cuda" and not outcome.how.startswith("captured"):
        raise RuntimeError("steps were not captured")
    return times, losses


def trainer(tuned: bool, work: Work, steps: int, compiles: bool = False) -> tuple[list[Timed], list[float]]:
    """transformers' Trainer with its defaults, or with what its documentation advises for speed; also compiled."""
    times: list[Timed] = []
    order = work.order(steps)
    tokens: list[int] = []
    clock = Clock()

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append((tokens[len(times)], *clock.lap()))

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        tokens.append(sum(len(row["input_ids"]) for row in rows))
        return work.collate(rows)

    class SameOrder(Trainer):
        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(work.plain, batch_sampler=order, collate_fn=collate)  # type: ignore[arg-type]

    native = choose_machine(str(work.device), "auto").precision == "bf16"
    arguments = TrainingArguments(
        output_dir=tempfile.gettempdir(),
        max_steps=steps,
        per_device_train_batch_size=work.batch,
        learning_rate=RATE,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=work.device.type == "cpu",
        disable_tqdm=True,
        bf16=tuned and native,
        train_sampling_strategy="group_by_length" if tuned else "random",
        seed=work.seed,
        dataloader_pin_memory=work.device.type == "cuda",
        torch_compile=compiles,
    )
    # Rows in groups of like lengths are another order: the tuned one uses the Trainer's own loader.
    kind = Trainer if tuned else SameOrder
    made = kind(model=work.model, args=arguments, train_dataset=work.plain, data_collator=collate, callbacks=[Watch()])  # type: ignore[arg-type]
    made.pop_callback(PrinterCallback)
    made.train()
    return times, [entry["loss"] for entry in made.state.log_history if "loss" in entry]


def loop(nanogpt: bool, work: Work, steps: int) -> tuple[list[Timed], list[float]]:
    """A plain padded loop as in many tutorials; nanoGPT's adds autocast to bf16 where it is native and fused AdamW."""
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=RATE, weight_decay=0.0, fused=nanogpt or None)
    native = choose_machine(str(work.device), "auto").precision == "bf16"
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    if nanogpt and native:
        context = partial(torch.autocast, work.device.type, dtype=torch.bfloat16)
    times: list[Timed] = []
    losses = []
    work.model.train()
    clock = Clock()
    for rows in work.order(steps):
        batch = {name: part.to(work.device) for name, part in work.collate([work.plain[r] for r in rows]).items()}
        with context():
            loss = work.model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(work.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        times.append((sum(len(work.plain[r]["input_ids"]) for r in rows), *clock.lap()))
    return times, losses


SIDES: dict[str, Callable[[Work, int], tuple[list[Timed], list[float]]]] = {
    "gpt_magic": partial(ours, "auto"),
    "gpt_magic, fp32": partial(ours, "fp32"),
    "gpt_magic, not captured": partial(ours, "auto", captures=False),
    "Trainer, defaults": partial(trainer, False),
    "Trainer, tuned": partial(trainer, True),
    "Trainer, tuned, compiled": partial(trainer, True, compiles=True),
    "padded loop": partial(loop, False),
    "nanoGPT's loop": partial(loop, True),
}


# Take bf16 where it is native.
FASTEST = ("gpt_magic", "gpt_magic, not captured", "Trainer, tuned", "Trainer, tuned, compiled", "nanoGPT's loop")


@dataclass
class Rate:
    """What one side did in each round: real tokens a second."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, steps: Sequence[Timed]) -> None:
        """Take in one round."""
        tokens = sum(step[0] for step in steps)
        self.wall.append(tokens / sum(step[1] for step in steps))
        self.cpu.append(tokens / sum(step[2] for step in steps))


def measure(work: Work, sides: Sequence[str], rounds: int, steps: int, warm_up: int) -> dict[str, Rate]:
    """Let the sides take turns; the first steps of a turn warm up and are not counted."""
    found = {side: Rate() for side in sides}
    for turn in range(rounds):
        work.seed = turn
        for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
            found[side].add(SIDES[side](work, warm_up + steps)[0][warm_up:])
    return found


def product_limit(sizes: dict[str, int], tokens: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations a CPU second (on a GPU: a second) in products with a block's largest matrix, by the faster routine."""
    width = sizes["n_embd"]
    x, weight = (torch.randn(*s, device=device).to(dtype) for s in ((tokens, width), (4 * width, width)))
    ways = [lambda: x @ weight.t()]
    if device.type == "cpu" and dtype == torch.float32 and has_onednn():
        ways.append(lambda: _onednn(x, weight))
    turns = max(int(4e10 / (8 * tokens * width**2)), 3)
    best = 0.0
    for multiply in ways:
        multiply()
        for _ in range(7):
            clock = Clock()
            for _ in range(turns):
                multiply()
            wall, cpu = clock.lap()
            best = max(best, turns * 8 * tokens * width**2 / (wall if device.type == "cuda" else cpu))
    return best


def operations_a_token(rows: Encoded, sizes: dict[str, int], head: bool) -> float:
    """Floating point operations a token that the products cannot do without, forward and backward; not attention's.

    Positions that are not scored need no more of the last block than their keys and values, and nothing of the head:
    who computes all of it does more, and is not credited for it.
    """
    width = sizes["n_embd"]
    every = (12 * (sizes["n_layer"] - 1) + 2) * width**2
    scored = 10 * width**2 + (width * sizes["vocab_size"] if head else 0)
    return 6.0 * (every + scored * rows.scored_counts().sum() / rows.lengths().sum())


def same_losses(shape: str, kind: str, device: torch.device, steps: int = 50) -> float:
    """The largest difference between our losses in fp32 and the Trainer's over the same steps."""
    sides = ("gpt_magic, fp32", "Trainer, defaults")
    curves = [SIDES[side](make_work(shape, kind, device), steps)[1] for side in sides]
    return float(np.abs(np.subtract(*curves)).max())


def report(shape: str, kind: str, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Measure one shape and kind and print its table."""
    work = make_work(shape, kind, device)
    sides = args.sides
    rates = measure(work, sides, args.rounds, args.steps, args.warm_up)
    tokens = int(np.mean([len(row) for row in work.rows.ids]) * work.batch)
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    limits = {name: product_limit(SHAPES[shape], tokens, dtype, device) for name, dtype in kinds.items()}
    operations = operations_a_token(work.rows, SHAPES[shape], head=kind != "short")
    native = choose_machine(str(device), "auto").precision
    content: dict[str, Any] = {"limits": limits, "sides": {}}
    base = rates["Trainer, defaults"]
    rows = []
    for side in sides:
        on_gpu = device.type == "cuda"
        peak = None if on_gpu or not args.memory else allocated(partial(SIDES[side], work, 1))[1]
        own, limit = (
            rates[side],
            limits[native if side in FASTEST else "fp32"],
        )
        ratios = {
            clock: [a / b for a, b in zip(getattr(own, clock), getattr(base, clock), strict=True)]
            for clock in ("wall", "cpu")
        }
        used = statistics.median(own.wall if on_gpu else own.cpu) * operations / limit
        content["sides"][side] = {
            "tokens_a_second": middle(own.wall),
            "tokens_a_cpu_second": middle(own.cpu),
            "against_trainer": {clock: middle(some) for clock, some in ratios.items()},
            "share_of_limit": used,
            "peak_bytes": peak,
        }
        said = [f"{statistics.median(v):,.0f}" for v in (own.wall, own.cpu)]
        against = [f"{statistics.median(v):.2f} ({min(v):.2f}-{max(v):.2f})" for v in (ratios["wall"], ratios["cpu"])]
        rows.append([side, *said, *against, f"{used:.0%}", f"{peak / 2**20:,.0f}" if peak else ""])
    head = ["side", "tokens/s", "tokens/CPU s", "x Trainer, wall", "x Trainer, CPU time", "of limit", "peak MiB"]
    content["table"] = table(head, rows)
    print(f"\n{shape}, {kind}: {tokens} tokens a step, products {limits['fp32'] / 1e9:.0f} GFLOP a CPU second in fp32, "
          f"{limits['bf16'] / 1e9:.0f} in bf16\n\n{content['table']}")  # fmt: skip
    if args.losses:
        content["largest_difference_of_losses"] = same_losses(shape, kind, device)
        print(
            f"\nlargest difference of the losses over 50 steps in fp32: {content['largest_difference_of_losses']:.1e}"
        )
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for; other cells, and those of other machines, stay in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    on_gpu = torch.cuda.is_available()
    # Compiling takes minutes on a CPU: name that side with --sides, and with a longer --warm-up.
    usual = [side for side in SIDES if on_gpu or side not in ("gpt_magic, not captured", "Trainer, tuned, compiled")]
    parser.add_argument("--sides", nargs="+", default=usual, choices=SIDES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="counted steps a round")
    # Sizes of passes are captured when they come again, within some epochs; how long that took is printed.
    parser.add_argument("--warm-up", type=int, default=64 if on_gpu else 1, help="steps a turn that are not counted")
    parser.add_argument("--memory", action="store_true", help="measure the peak of a step's allocations too")
    parser.add_argument("--losses", action="store_true", help="compare 50 losses with the Trainer's too")
    parser.add_argument("--results", type=Path, default=RESULTS / "train.json")
    args = parser.parse_args(arguments)
    if "Trainer, defaults" not in args.sides:
        parser.error("--sides needs 'Trainer, defaults', which the others are compared with")
    import transformers

    transformers.logging.set_verbosity_error()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(machine())
    content = read_json(args.results)
    for shape in args.shapes:
        for kind in args.kinds:
            cell = report(shape, kind, args, device)
            cell |= {
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "rounds": args.rounds,
                "steps": args.steps,
            }
            content.setdefault(machine(), {})[f"{shape}, {kind}"] = cell
            write_json(args.results, content)
            args.results.with_suffix(".md").write_text(as_page(content), encoding="utf-8")


def as_page(content: dict[str, Any]) -> str:
    """All cells as one Markdown page, those of each machine together."""
    parts = [HEAD]
    for machine_name, cells in sorted(content.items()):
        parts.append(f"## {machine_name}\n")
        for name, cell in cells.items():
            how = f"{cell['rounds']} rounds of {cell['steps']} counted steps, {cell['when'][:10]}"
            parts.append(f"### {name}\n\n{how}.\n\n{cell['table']}\n")
            if "largest_difference_of_losses" in cell:
                parts.append(f"{LOSSES}: {cell['largest_difference_of_losses']:.1e}.\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
