"""What a run trains of its base: settled and counted beforehand, set up for the first step, undone after the last."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from gpt_magic import store
from gpt_magic.engine.adapters import Lora, add_adapter, check_peft, large_layers, merge_adapter
from gpt_magic.engine.batching import Encoded
from gpt_magic.engine.parts import Part, blocks_of, count, freeze, head_of, parse, thaw
from gpt_magic.engine.trunk import can_keep, size
from gpt_magic.engine.vocabulary import leave_out_unused, put_unused_back, used_rows
from gpt_magic.errors import OptionError, listing, plural
from gpt_magic.models.find import Base, shipped
from gpt_magic.options import Options, find
from gpt_magic.tasks.task import Task

_OF_LORA = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "merge")


@dataclass(frozen=True)
class Learner:
    """What is trained of the base, settled.

    Attributes:
        part: which part.
        lora: the small matrices of ``train = "lora"``.
        merge: whether they go into the base's weights at the end.
        base: where peft finds the base, a hub id or a folder; None where nothing could.
        count: how many parameters are trained.
        keeps: whether what the frozen trunk makes of each row is kept, see `engine.trunk`.
        used: of all that is trained, the rows of the embedding that have gradients, ``(used,)``, see
            `engine.vocabulary`; None where its rows are not told apart.
    """

    part: Part
    lora: Lora | None
    merge: bool
    base: str | None
    count: int = 0
    keeps: bool = False
    used: np.ndarray | None = None

    def begin(self, model: Any) -> list[nn.Module]:
        """Leave of ``model`` only what is trained; the modules that compute without dropout."""
        if self.lora is not None:
            add_adapter(model, self.lora, self.base)
        if self.used is not None:
            leave_out_unused(model, self.used)
        return freeze(model, self.part) if self.part.freezes else []

    def end(self, model: Any) -> None:
        """Make ``model`` whole again, or leave the adapter in it."""
        if self.part.freezes:
            thaw(model)
        if self.used is not None:
            put_unused_back(model)
        if self.lora is not None and self.merge:
            merge_adapter(model)


def settle_learner(options: Options, base: Base) -> Learner:
    """What the options say is trained.

    Raises:
        OptionError: two options do not go together.
        ModelError: peft is needed and not installed.
    """
    part = parse(options.train)
    if options.optimizer == "muon" and part.kind in ("lora", "head"):
        has = "small matrices, for which it is not made" if part.kind == "lora" else "no matrices of blocks"
        raise OptionError(
            f"optimizer = 'muon' is for the matrices in the blocks, and train = {options.train!r} has {has}: say "
            "optimizer = 'adamw'"
        )
    if part.kind != "lora":
        return Learner(part, None, merge=True, base=None)
    check_peft()
    if not options.merge and base.again is None:
        what = "has random weights" if base.name in shipped() else "is an object in memory"
        raise OptionError(
            f"merge = False: an adapter needs a base that is found again, and base = {base.name!r} {what}; save it and "
            "give the folder, or say merge = True"
        )
    alpha = options.lora_alpha if options.lora_alpha is not None else 2 * options.lora_rank
    lora = Lora(options.lora_rank, alpha, options.lora_dropout, options.lora_targets)
    return Learner(part, lora, options.merge, base.again_for_peft)


def idle(options: Options) -> list[str]:
    """Options that were given and do nothing, as warnings."""
    if options.train == "lora":
        return []
    given = [name for name in _OF_LORA if getattr(options, name) not in (find(name).default_value, [])]
    return [f"{name} does nothing for train = {options.train!r}" for name in given]


def skeleton(task: Task, base: Base) -> Any:
    """The model of ``task`` without weights: its shape alone, which takes no memory."""
    import torch

    with torch.device("meta"):
        return task.load(replace(base, pretrained=False))


def plan_learner(
    learner: Learner, model: Any, train: Encoded, valid: Encoded, repeated: bool
) -> tuple[Learner, list[tuple[str, str]]]:
    """The learner with what is kept settled, and the facts for the report.

    Args:
        model: the `skeleton`, of which the part that is trained is left to be trained.
        train, valid: the rows that are read.
        repeated: whether training rows are read more than once.

    Raises:
        OptionError, ModelError: the model has no such part.
    """
    said, (_, every) = _said(learner, model), count(model)
    learner.begin(model)
    some, _ = count(model)
    learner = replace(learner, count=some)
    if learner.part.kind == "all":
        used = used_rows(model, train)
        said = f"all {every:,} parameters"
        if used is not None:
            others = model.get_input_embeddings().num_embeddings - len(used)
            said += f"; no gradients for {others:,} rows of the embedding that no training text uses"
        return replace(learner, used=used), [("trained", said)]
    facts = [("trained", f"{some:,} of {every:,} parameters ({some / every:.2%}): {said}")]
    if not learner.part.freezes:
        return learner, facts
    blocks, width = learner.part.blocks, int(model.config.hidden_size)
    below = len(blocks_of(model)[0]) - blocks
    if not below:
        return learner, facts
    need = size(train, blocks, width) + size(valid, blocks, width)
    if not can_keep(model, blocks):
        why = f"kept for GPT-2 alone, not for {model.config.model_type}"
    elif not repeated:
        why = "each row is read once"
    else:
        why = store.lacks_room(need) or ""
    how = f"computed whenever a row is read: {why}"
    if not why:
        there = f"in {store.folder()} while the run lasts" if need > store.IN_MEMORY else "in memory"
        how = f"computed once a row and kept {there}, {store.said_bytes(need)}"
    return replace(learner, keeps=not why), [*facts, ("frozen part", f"{plural(below, 'block')}, {how}")]


def _said(learner: Learner, model: Any) -> str:
    """What is trained, in words."""
    own, part = bool(head_of(model)), learner.part
    if learner.lora is not None:
        names = listing(learner.lora.targets or large_layers(model))
        said = f"LoRA of rank {learner.lora.rank} at {names}" + (", the last norm and the head" if own else "")
        return said + (", merged at the end" if learner.merge else ", kept as an adapter")
    if part.kind == "head":
        return "the last norm and the head"
    last = "the last block" if part.blocks == 1 else f"the last {part.blocks} of {len(blocks_of(model)[0])} blocks"
    head = "and the head" if own else "; the head is the embedding's matrix and stays as it is"
    return f"{last}, the last norm {head}".replace(" ;", ";")
