"""Which rows train and which validate."""

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from gpt_magic.data.cells import groups, numbered, text_hashes
from gpt_magic.data.checks import Findings, Text, normalise
from gpt_magic.errors import OptionError
from gpt_magic.lazy import mapped
from gpt_magic.options import Options


def set_aside(
    texts: Sequence[Text],
    labels: Sequence[Hashable],
    fraction: float,
    seed: int,
    needed: Sequence[Collection[Hashable]] | None = None,
) -> tuple[np.ndarray, str]:
    """Set a share of the rows aside, stratified by label; copies of a text stay on one side.

    Texts that are equal after folding case and white space are one group and are split as one.

    Args:
        needed: of each row what some training row must have too before it may validate; its label when None.

    Returns:
        Whether each row validates, ``(rows,)``, and how it was decided, in words.
    """
    from sklearn.model_selection import train_test_split

    nobody = np.zeros(len(texts), dtype=bool)
    if fraction == 0:
        return nobody, "no validation (valid_fraction = 0)"
    group, firsts = groups(text_hashes(mapped(normalise, texts)))
    wanted = round(fraction * len(firsts))
    if wanted == 0:
        return nobody, f"no validation: too few different texts ({len(firsts)}) to set any aside"

    classes = numbered(labels)
    group_classes = classes[firsts]
    # A class with one group can be on one side only: it trains. The rest must have a seat on both sides.
    splittable = np.flatnonzero(np.bincount(group_classes)[group_classes] > 1)
    several = len(np.unique(group_classes[splittable]))
    stratified = 0 < several <= min(wanted, len(splittable) - wanted)
    pool = splittable if stratified else np.arange(len(firsts))
    if len(pool) <= wanted:
        return nobody, "no validation: too few rows to set any aside"
    _, chosen = train_test_split(
        pool, test_size=wanted, random_state=seed, stratify=group_classes[pool] if stratified else None
    )
    aside = np.zeros(len(firsts), dtype=bool)
    aside[chosen] = True
    # A label that no training row has, as of a small class without strata, could not be learned: its rows go back.
    aside[group[_unlearned(~aside[group], classes, needed)]] = False
    held = aside[group]
    if not held.any():
        return nobody, "no validation: too few rows of each class to set any aside"
    how = f"{'stratified' if stratified else 'random'} split of {fraction:.0%}, seed {seed}"
    if len(firsts) < len(texts):
        how += f", copies kept on one side ({len(texts) - len(firsts):,})"
    return held, how


def _unlearned(trains: np.ndarray, classes: np.ndarray, needed: Sequence[Collection[Hashable]] | None) -> np.ndarray:
    """Which rows need what no training row has, ``(rows,)``."""
    if needed is None:
        learned = np.zeros(classes.max() + 1, dtype=bool)
        learned[classes[trains]] = True
        unlearned: np.ndarray = ~learned[classes]
        return unlearned
    known = {one for needs, train in zip(needed, trains, strict=True) if train for one in needs}
    return np.fromiter((not known.issuperset(needs) for needs in needed), dtype=bool, count=len(needed))


def warn_unvalidated(options: Options, how: str, findings: Findings) -> None:
    """Say what it means that no row validates; ``how`` is what `set_aside` said.

    Raises:
        OptionError: the run's end would depend on them.
    """
    if options.valid_fraction and options.valid is None:
        findings.warnings.append(f"{how}; give valid = ... to measure what was learned")
    if options.epochs == "auto" and not options.max_steps:
        raise OptionError(
            "epochs = 'auto' ends when the validation rows bring nothing better, and there are none: give valid, a "
            "valid_fraction above 0, or a number of epochs"
        )
    if options.early_stop or options.eval_every:
        findings.warnings.append("early_stop and eval_every do nothing without validation rows")
