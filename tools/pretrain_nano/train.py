"""Pretrain nano on the folder that corpus.py wrote. Plans by the clock, resumes after a cut.

    python corpus.py --out work/corpus
    OMP_WAIT_POLICY=passive nice -n 19 python train.py --corpus work/corpus --run work/run --stop-at 17:05

The learning rate warms up, stays, then falls in a line to zero at --stop-at (or after --minutes), so a run on
a busy machine simply sees fewer tokens. Stopping and continuing the process (SIGSTOP, SIGCONT) is safe; SIGTERM
writes a checkpoint and leaves. Started again with the same --run folder it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import torch
from blocks import BLOCK, Blocks
from measure import bits_per_character, loss_of
from memory import keep_freed_memory
from muon import Muon
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

NANO = Path(__file__).resolve().parents[2] / "gpt_magic" / "models" / "nano"


@dataclass
class Progress:
    """All that a resumed run must know besides weights and optimizer state."""

    step: int = 0
    blocks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    long: bool = False  # blocks of 512 instead of 256


def new_model(shape: list[int] | None) -> GPT2LMHeadModel:
    config = GPT2Config.from_pretrained(NANO)
    if shape:
        config.n_layer, config.n_embd, config.n_head = shape
    config.activation_function = "gelu_pytorch_tanh"  # the same function as gelu_new, in one native call
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    return GPT2LMHeadModel(config).train()


def lengthen(model: GPT2LMHeadModel) -> None:
    """Before the first long block: the second half of the positions starts as a copy of the first."""
    with torch.no_grad():
        table = model.transformer.wpe.weight
        table[BLOCK // 2 :] = table[: BLOCK // 2]


class Run:
    """Model, optimizers and progress, and the folder where they are kept."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.model = new_model(asked.shape)
        named = list(self.model.named_parameters())
        matrices = [weight for name, weight in named if weight.ndim == 2 and ".h." in name]
        self.others = [weight for name, weight in named if weight.ndim != 2 or ".h." not in name]
        adam = {"lr": asked.lr_rest, "betas": (0.9, 0.95), "fused": True}
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(self.others, weight_decay=0.0, **adam)]
        if asked.optimizer == "muon":
            self.optimizers.append(Muon(matrices, lr=asked.lr_matrices, weight_decay=asked.decay))
        else:
            self.optimizers.append(torch.optim.AdamW(matrices, weight_decay=0.1, **adam))
        self.peaks = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.progress = Progress()
        asked.run.mkdir(parents=True, exist_ok=True)
        self.checkpoint = asked.run / "checkpoint.pt"
        if self.checkpoint.exists():
            self.load()

    def load(self) -> None:
        """Go on where the checkpoint was written."""
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])

    def save(self) -> None:
        """Written beside and moved into place, so that a cut never leaves half a file."""
        part = self.checkpoint.with_suffix(".part")
        state = {"model": self.model.state_dict(), "progress": asdict(self.progress)}
        torch.save({**state, "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}, part)
        part.replace(self.checkpoint)

    def log(self, **figures: float | str) -> None:
        """One line of JSON."""
        with (self.asked.run / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(self.progress), **figures}) + "\n")

    def step(self, batch: torch.Tensor, share: float) -> float:
        """One update at `share` of the peak learning rates; the loss before it."""
        window = BLOCK if self.progress.long else BLOCK // 2
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * share
        loss = loss_of(self.model, batch[:, :-1].reshape(-1, window), batch[:, 1:].reshape(-1, window))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.blocks += len(batch)
        self.progress.tokens += batch[:, 1:].numel()
        return loss.item()


def schedule(now: float, begin: float, end: float, decay_from: float) -> float:
    """The share of the peak learning rate after the warm-up: flat, then a line to zero, by the clock."""
    turn = begin + decay_from * (end - begin)
    return 1.0 if now < turn else max(0.0, (end - now) / (end - turn))


def end_time(asked: argparse.Namespace) -> float:
    if not asked.stop_at:
        return time.time() + 60 * asked.minutes
    now = datetime.now().astimezone()
    hour, minute = map(int, asked.stop_at.split(":"))
    end = now.replace(hour=hour, minute=minute, second=0)
    return (end if end > now else end + timedelta(days=1)).timestamp()


def train(asked: argparse.Namespace) -> None:
    torch.manual_seed(asked.seed)
    torch.set_num_threads(asked.threads)
    keep_freed_memory()
    run, blocks, tokenizer = Run(asked), Blocks(asked.corpus, asked.seed), AutoTokenizer.from_pretrained(NANO)
    held_out = json.loads((asked.corpus / "held_out.json").read_text(encoding="utf-8"))
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: signals.append(caught))

    def held_out_bits() -> float:
        window = BLOCK if run.progress.long else BLOCK // 2
        return round(bits_per_character(run.model, tokenizer, held_out, window, window, asked.measure), 4)

    begin, end = time.time() - run.progress.seconds, end_time(asked)
    saved = measured = time.time()
    recent: list[float] = []
    while time.time() < end and not signals:
        now = time.time()
        if not run.progress.long and now > begin + asked.long_from * (end - begin):
            lengthen(run.model)
            run.progress.long = True
        share = schedule(now, begin, end, asked.decay_from) * min(1.0, (run.progress.step + 1) / asked.warmup)
        recent.append(run.step(blocks.take(run.progress.blocks, asked.batch // BLOCK), share))
        run.progress.seconds = time.time() - begin
        if run.progress.step % asked.log_every == 0:
            figures = {"loss": round(sum(recent) / len(recent), 4), "lr": round(share, 4)}
            recent.clear()
            if time.time() - measured > 60 * asked.measure_minutes:
                measured = time.time()
                figures["held_out"] = held_out_bits()
            run.log(**figures)
        if time.time() - saved > 60 * asked.save_minutes:
            run.save()
            saved = time.time()
    run.save()
    run.log(held_out=held_out_bits(), left="signal" if signals else "end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--corpus", type=Path, required=True)
    option("--run", type=Path, required=True, help="folder of checkpoint.pt and log.jsonl")
    option("--stop-at", help="HH:MM, the clock time at which the decay ends")
    option("--minutes", type=float, default=90)
    option("--shape", type=int, nargs=3, metavar=("LAYERS", "WIDTH", "HEADS"), help="for trials")
    option("--optimizer", choices=("muon", "adamw"), default="muon", help="of the matrices in the blocks")
    option("--lr-matrices", type=float, default=0.02)
    option("--lr-rest", type=float, default=3e-3)
    option("--decay", type=float, default=0.01, help="weight decay of the matrices under Muon")
    option("--batch", type=int, default=2048, help="tokens a step, a multiple of 512")
    option("--warmup", type=int, default=100, help="steps")
    option("--decay-from", type=float, default=0.4, help="share of the time after which the rate falls")
    option("--long-from", type=float, default=0.75, help="share of the time after which blocks are 512 long")
    option("--measure", type=int, default=80_000, help="held-out characters measured during the run")
    option("--measure-minutes", type=float, default=6)
    option("--save-minutes", type=float, default=3)
    option("--log-every", type=int, default=20, help="steps")
    option("--threads", type=int, default=2)
    option("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
