"""From a finished run to the model folder that ships: half-precision weights, measured, with curve and samples.

    python export.py --corpus work/corpus --runs work/run

With several runs, each of which went on from the one before, the last one's model is exported and the curve shows all;
`--go-on` puts them behind those that curve.json shows already.
Writes model.safetensors beside the tokenizer in gpt_magic/models/nano, curve.json and curve.png here, and prints
the figures of the model card.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measure import bits_per_character
from train import NANO
from transformers import AutoTokenizer, GPT2LMHeadModel

HERE = Path(__file__).parent
BLOCK = 512
PROMPTS = (
    "My fellow Americans,",
    "The economy is",
    "She looked at him and",
    "The best way to learn a language is",
    "Once upon a time",
    "To open a file in Python,",
)


def write_weights(trained: Path, folder: Path) -> GPT2LMHeadModel:
    """Half precision on disk; config.json says float32, so that transformers computes in float32."""
    model = GPT2LMHeadModel.from_pretrained(trained, dtype=torch.float32)
    config = (folder / "config.json").read_text(encoding="utf-8")
    GPT2LMHeadModel.from_pretrained(trained, dtype=torch.float16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "generation_config.json").unlink(missing_ok=True)
    settings = {**json.loads(config), "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return model.eval()


def curve(logs: list[Path], rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """``rows`` and every logged line of all runs, in the few columns worth keeping; tokens and minutes add up."""
    for number, log in enumerate(logs, 1 + int(max((row["run"] for row in rows), default=0))):
        before = rows[-1] if rows else {"tokens": 0, "minutes": 0}
        for line in log.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            kept = {name: row[name] for name in ("step", "loss", "lr", "held_out") if name in row}
            tokens, minutes = before["tokens"] + row["tokens"], before["minutes"] + row["seconds"] / 60
            rows.append({"run": number, **kept, "tokens": tokens, "minutes": round(minutes, 1)})
    return rows


def draw(rows: list[dict[str, float]], path: Path) -> None:
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    trained = [row for row in rows if "loss" in row]
    measured = [row for row in rows if "held_out" in row]
    left.plot([row["tokens"] / 1e6 for row in trained], [row["loss"] for row in trained], color="tab:blue", lw=0.8)
    right.plot([row["tokens"] / 1e6 for row in measured], [row["held_out"] for row in measured], "o-", color="tab:red")
    left.set_xlabel("training tokens, millions")
    left.set_ylabel("training loss, nats a token", color="tab:blue")
    right.set_ylabel("held-out speeches, bits a character", color="tab:red")
    figure.savefig(path, dpi=100)


def samples(model: GPT2LMHeadModel, tokenizer: AutoTokenizer) -> dict[str, str]:
    found = {}
    for prompt in PROMPTS:
        torch.manual_seed(0)
        asked = tokenizer(prompt, return_tensors="pt")
        how = {"do_sample": True, "temperature": 0.7, "top_k": 40, "repetition_penalty": 1.1, "pad_token_id": 8191}
        (row,) = model.generate(**asked, max_new_tokens=50, **how)
        found[prompt] = tokenizer.decode(row, skip_special_tokens=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, nargs="+")
    parser.add_argument("--go-on", action="store_true", help="the first run went on from where curve.json ends")
    parser.add_argument("--folder", type=Path, default=NANO)
    parser.add_argument("--measure", type=int, default=0, help="held-out characters measured; 0 for all")
    parser.add_argument("--pictures", type=Path, default=HERE, help="where curve.json and curve.png go")
    asked = parser.parse_args()
    single = write_weights(asked.runs[-1] / "model", asked.folder)
    half = GPT2LMHeadModel.from_pretrained(asked.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(asked.folder)
    held_out = json.loads((asked.corpus / "held_out.json").read_text(encoding="utf-8"))
    shown = asked.pictures / "curve.json"
    before = json.loads(shown.read_text(encoding="utf-8")) if asked.go_on else []
    rows = curve([run / "log.jsonl" for run in asked.runs], before)
    shown.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")
    draw(rows, asked.pictures / "curve.png")
    bits = partial(bits_per_character, tokenizer=tokenizer, texts=held_out, window=BLOCK, limit=asked.measure)
    figures = {
        "parameters": sum(weight.numel() for weight in half.parameters()),
        "dtype in memory": str(half.dtype),
        "bits per character, single precision": bits(single, stride=BLOCK),
        "bits per character, as shipped": bits(half, stride=BLOCK),
        "the same, windows that overlap by half": bits(half, stride=BLOCK // 2),
        "bytes": {path.name: path.stat().st_size for path in sorted(asked.folder.iterdir()) if path.is_file()},
    }
    print(json.dumps({**figures, "samples": samples(half, tokenizer)}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
