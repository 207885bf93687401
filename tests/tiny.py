"""Tiny models and random rows, for logic that does not need a trained model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    GPT2LMHeadModel,
)

from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.job import Job, Settings
from gpt_magic.engine.precision import choose_machine
from gpt_magic.tasks.classify import Classify
from gpt_magic.tasks.language import Learned, NextToken

VOCABULARY = 100
PAD = VOCABULARY - 1  # never in the rows


def tiny_gpt2(classes: int = 3, seed: int = 0, dropout: float = 0.0, **config: Any) -> GPT2ForSequenceClassification:
    """A GPT-2 of 2 layers x 32 with random weights, larger than GPT-2's own so that every part matters."""
    torch.manual_seed(seed)
    return GPT2ForSequenceClassification(_config(dropout, **config, num_labels=classes)).eval()


def tiny_lm(seed: int = 0, dropout: float = 0.0, **config: Any) -> GPT2LMHeadModel:
    """The same with a language-model head."""
    torch.manual_seed(seed)
    return GPT2LMHeadModel(_config(dropout, **config)).eval()


def tiny_tagger(tags: int = 5, seed: int = 0, dropout: float = 0.0, **config: Any) -> GPT2ForTokenClassification:
    """The same with a head that tags tokens."""
    torch.manual_seed(seed)
    shape = _config(dropout, **config, num_labels=tags)
    shape.classifier_dropout = dropout
    return GPT2ForTokenClassification(shape).eval()


def tiny_extractor(seed: int = 0, dropout: float = 0.0, **config: Any) -> GPT2ForQuestionAnswering:
    """The same with a head for the start and the end of an answer."""
    torch.manual_seed(seed)
    return GPT2ForQuestionAnswering(_config(dropout, **config)).eval()


def _config(dropout: float, **config: Any) -> GPT2Config:
    shape = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64, "vocab_size": VOCABULARY}
    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    return GPT2Config(**{**shape, **drop, **config}, pad_token_id=PAD, initializer_range=0.1)


def random_rows(rows: int, seed: int, longest: int = 40, classes: int = 3) -> Encoded:
    """Rows of random tokens and lengths (1 among them), scored at the last token."""
    rng = np.random.default_rng(seed)
    lengths = [1, *rng.integers(1, longest + 1, rows - 1).tolist()]
    ids = [rng.integers(0, PAD, length).astype(np.int32) for length in lengths]
    return Encoded(
        ids=ids,
        scored=[np.array([len(row) - 1]) for row in ids],
        targets=[np.array([number]) for number in rng.integers(0, classes, rows)],
        index=list(range(rows)),
    )


def random_contexts(rows: int, seed: int, longest: int = 40) -> Encoded:
    """Rows of random tokens with the start and the end of an answer among their later ones, which are scored."""
    rng = np.random.default_rng(seed)
    ids, scored, targets = [], [], []
    for length in rng.integers(2, longest + 1, rows).tolist():
        at = np.arange(int(rng.integers(0, length - 1)), length)
        target = np.zeros((len(at), 3), dtype=np.int8)
        target[0, 0] = target[rng.integers(0, len(at)), 1] = target[rng.integers(0, len(at)), 2] = 1
        ids.append(rng.integers(0, PAD, length).astype(np.int32))
        scored.append(at)
        targets.append(target)
    return Encoded(ids=ids, scored=scored, targets=targets, index=list(range(rows)))


def random_sequences(rows: int, seed: int, longest: int = 40, share: float = 0.7) -> list[Learned]:
    """Sequences of 2 tokens to one more than ``longest``, of which about ``share`` are learned, the last always."""
    rng = np.random.default_rng(seed)
    made = []
    for row, length in enumerate([2, *rng.integers(2, longest + 2, rows - 1).tolist()]):
        learned = rng.random(length) < share
        learned[0], learned[-1] = False, True
        made.append(Learned(rng.integers(0, PAD, length).astype(np.int32), learned, row))
    return made


def with_labels(sequences: Sequence[Learned]) -> dict[str, Tensor]:
    """The same as transformers' models take it: padded, with ``labels`` of -100 where nothing is learned."""
    parts = {
        "input_ids": ([torch.from_numpy(s.ids).long() for s in sequences], PAD),
        "attention_mask": ([torch.ones(len(s.ids), dtype=torch.long) for s in sequences], 0),
        "labels": ([torch.from_numpy(np.where(s.learned, s.ids, -100)).long() for s in sequences], -100),
    }
    pad = torch.nn.utils.rnn.pad_sequence
    return {name: pad(some, batch_first=True, padding_value=value) for name, (some, value) in parts.items()}


def settings(**changes: Any) -> Settings:
    """Settings of a short run."""
    values: dict[str, Any] = {
        "steps": 6,
        "batch_size": 4,
        "accumulate": 1,
        "learning_rate": 1e-3,
        "schedule": "linear",
        "warmup": 0.0,
        "weight_decay": 0.01,
        "grad_clip": 1.0,
        "early_stop": 0,
        "eval_every": 0,
        "seed": 0,
    }
    return Settings(**{**values, **changes})


def objective(classes: int = 3, weights: Sequence[float] | None = None) -> Classify:
    """A classification objective over the numbers from 0."""
    return Classify(list(range(classes)), np.array(weights if weights is not None else np.ones(classes)))


def job(model: Any, rows: Encoded, evaluate: Any = None, classes: int = 3, **changes: Any) -> Job:
    """A job on the CPU in fp32."""
    return Job(model, objective(classes), rows, settings(**changes), choose_machine("cpu", "fp32"), evaluate)


def lm_job(model: Any, rows: Encoded, evaluate: Any = None, **changes: Any) -> Job:
    """A language model's job on the CPU in fp32."""
    return Job(model, NextToken(VOCABULARY), rows, settings(**changes), choose_machine("cpu", "fp32"), evaluate)
