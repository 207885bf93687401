"""Pretrain nano on the folder that corpus.py wrote, with gpt_magic's own generation task; resumes after a cut.

    python corpus.py --out work/corpus
    OMP_WAIT_POLICY=passive python train.py --corpus work/corpus --run work/run --tokens 12e6

Started again with the same --run folder it goes on where it was; SIGTERM and SIGINT write a checkpoint and leave.
Stopping and continuing the process (SIGSTOP, SIGCONT) is safe. `--base FOLDER` starts from an earlier model instead of
random weights, `--seed` then draws the text in another order.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from gpt_magic.engine.checkpoint import Checkpoints
from gpt_magic.engine.events import Control, Evaluated, Event, Phase, Stepped
from gpt_magic.engine.job import Job, Settings
from gpt_magic.engine.loop import train
from gpt_magic.engine.packing import hidden_packed
from gpt_magic.engine.precision import choose_machine
from gpt_magic.tasks.language import Learned, NextToken, encode, metrics, total_nats

NANO = Path(__file__).resolve().parents[2] / "gpt_magic" / "models" / "nano"


def documents(corpus: Path, end: int, seed: int) -> Iterator[Learned]:
    """Every document as often as its source's share says, with end-of-text before and after it."""
    for number, row in enumerate(json.loads((corpus / "table.json").read_text(encoding="utf-8"))):
        tokens = np.load(corpus / f"{row['source']}.npy")
        ends = np.flatnonzero(tokens == end)
        drawn = np.random.default_rng([seed, number]).random(len(ends))
        whole, fraction = divmod(row["passes"], 1)
        for start, stop, chance in zip(np.r_[0, ends[:-1] + 1], ends + 1, drawn, strict=True):
            for _ in range(int(whole) + int(chance < fraction)):
                yield learned(tokens[start:stop], end, row["source"])


def learned(tokens: np.ndarray, end: int, name: str) -> Learned:
    """A document (ending with end-of-text) after an end-of-text; all but that is learned."""
    return Learned(np.r_[end, tokens].astype(np.int32), np.r_[False, np.ones(len(tokens), dtype=bool)], name)


def held_out(corpus: Path, tokenizer: AutoTokenizer, characters: int) -> tuple[list[Learned], int]:
    """The first ``characters`` of the speeches after 2008 (all for 0), and how many that are."""
    texts = json.loads((corpus / "held_out.json").read_text(encoding="utf-8"))
    rows, taken = [], 0
    for number, text in enumerate(texts):
        part = text[: characters - taken] if characters else text
        if part:
            rows.append(learned(np.array(tokenizer(part, verbose=False).input_ids), tokenizer.eos_token_id, number))
            taken += len(part)
    return rows, taken


def new_model(base: Path | None, nano: Path, shape: list[int] | None) -> GPT2LMHeadModel:
    """Random weights in the shape of the config in ``nano`` or another, or an earlier model."""
    if base:
        return GPT2LMHeadModel.from_pretrained(base, dtype=torch.float32)
    config = GPT2Config.from_pretrained(nano)
    if shape:
        config.n_layer, config.n_embd, config.n_head = shape
    return GPT2LMHeadModel(config)


class Log:
    """One line of JSON for every so many steps and every evaluation."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.recent: list[Stepped] = []
        self.tokens = self.seconds = 0.0
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else []):
            self.tokens, self.seconds = row.get("tokens", self.tokens), row.get("seconds", self.seconds)

    def __call__(self, event: Event) -> None:
        """Take an event of the loop."""
        if isinstance(event, Phase):
            print(event.name, flush=True)
        elif isinstance(event, Evaluated):
            self.write(step=event.step, held_out=round(event.metrics["bits_per_character"], 4))
        elif isinstance(event, Stepped):
            self.recent.append(event)
            self.tokens, self.seconds = self.tokens + event.tokens, self.seconds + event.seconds
            if event.step % self.every == 0:
                loss = sum(step.loss for step in self.recent) / len(self.recent)
                self.write(step=event.step, loss=round(loss, 4), lr=event.learning_rate)
                self.recent.clear()

    def write(self, **figures: float) -> None:
        """Add a line."""
        row = {**figures, "tokens": int(self.tokens), "seconds": round(self.seconds)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--corpus", type=Path, required=True)
    option("--run", type=Path, required=True, help="folder of the checkpoint, the log and the model")
    option("--tokens", type=float, default=12e6, help="training tokens, at which the learning rate reaches zero")
    option("--base", type=Path, help="folder of the model to go on from")
    option("--nano", type=Path, default=NANO, help="folder of another tokenizer and config, for trials")
    option("--shape", type=int, nargs=3, metavar=("LAYERS", "WIDTH", "HEADS"), help="for trials")
    option("--optimizer", choices=("muon", "adamw"), default="muon")
    option("--lr", type=float, default=4e-3)
    option("--decay", type=float, default=0.05, help="weight decay")
    option("--rows", type=int, default=12, help="blocks a step")
    option("--length", type=int, default=512, help="tokens of a block at most")
    option("--warmup", type=int, default=100, help="steps")
    option("--measure", type=int, default=80_000, help="held-out characters measured during the run")
    option("--measure-every", type=int, default=200, help="steps")
    option("--save-minutes", type=float, default=3)
    option("--log-every", type=int, default=20, help="steps")
    option("--seed", type=int, default=0)
    asked = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(asked.nano)
    rows = encode(list(documents(asked.corpus, tokenizer.eos_token_id, asked.seed)), asked.length)
    steps = int(asked.tokens / (rows.lengths().mean() * asked.rows))
    settings = Settings(
        steps=steps,
        batch_size=asked.rows,
        accumulate=1,
        learning_rate=asked.lr,
        schedule="linear",
        warmup=asked.warmup,
        weight_decay=asked.decay,
        grad_clip=1.0,
        early_stop=0,
        eval_every=asked.measure_every,
        seed=asked.seed,
        optimizer=asked.optimizer,
    )
    torch.manual_seed(asked.seed)
    model = new_model(asked.base, asked.nano, asked.shape)
    texts, characters = held_out(asked.corpus, tokenizer, asked.measure)
    valid = encode(texts, asked.length)
    asked.run.mkdir(parents=True, exist_ok=True)
    _same_plan(asked.run / "settings.json", {**asdict(settings), "rows": len(rows), "length": asked.length})

    def evaluate() -> dict[str, float]:
        return metrics(*total_nats(model, valid, hidden_packed), characters)

    control = Control()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stop.set())
    checkpoints = Checkpoints(asked.run, 60 * asked.save_minutes)
    machine = choose_machine("auto", "auto")
    model.to(machine.device)
    objective = NextToken(model.config.vocab_size)
    print(f"{len(rows):,} blocks, {rows.lengths().sum():,} tokens an epoch; {steps:,} steps", flush=True)
    job = Job(model, objective, rows, settings, machine, evaluate, checkpoints=checkpoints)
    outcome = train(job, Log(asked.run / "log.jsonl", asked.log_every), control)
    print(outcome.reason, outcome.step, outcome.kept_step, outcome.error, flush=True)
    if outcome.error is not None:
        raise SystemExit(f"failed at step {outcome.step + 1}: {outcome.error}")
    if outcome.reason == "done":
        model.save_pretrained(asked.run / "model")


def _same_plan(path: Path, plan: dict[str, object]) -> None:
    """Refuse to go on with other rows than those that the run began with; its length may change."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else plan
    other = [name for name, value in plan.items() if name != "steps" and before.get(name, value) != value]
    if other:
        raise SystemExit(f"{path.parent} was begun with another {', '.join(other)}: give the same, or another --run")
    path.write_text(json.dumps(plan, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
