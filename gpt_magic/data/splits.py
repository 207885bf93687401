"""Which rows train and which validate."""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence

from gpt_magic.data.checks import Findings, Text, normalise
from gpt_magic.options import Options


def split(
    texts: Sequence[Text],
    labels: Sequence[Hashable],
    fraction: float,
    seed: int,
    needed: Sequence[Collection[Hashable]] | None = None,
) -> tuple[list[int], list[int], str]:
    """Set a share of the rows aside, stratified by label; copies of a text stay on one side.

    Texts that are equal after folding case and white space are one group and are split as one.

    Args:
        needed: of each row what some training row must have too before it may validate; its label when None.

    Returns:
        Positions of the training rows, of the validation rows (both ascending), and how it was done, in words.
    """
    from sklearn.model_selection import train_test_split

    everything = list(range(len(texts)))
    groups: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        groups.setdefault(normalise(text), []).append(position)
    members = list(groups.values())
    group_labels = [labels[group[0]] for group in members]
    wanted = round(fraction * len(members))
    if fraction == 0:
        return everything, [], "no validation (valid_fraction = 0)"
    if wanted == 0:
        return everything, [], f"no validation: too few different texts ({len(members)}) to set any aside"

    counts = Counter(group_labels)
    # A class with one group can be on one side only: it trains. The rest must have a seat on both sides.
    splittable = [i for i, label in enumerate(group_labels) if counts[label] > 1]
    classes = {group_labels[i] for i in splittable}
    stratified = len(classes) > 0 and len(classes) <= min(wanted, len(splittable) - wanted)
    pool = splittable if stratified else list(range(len(members)))
    if len(pool) <= wanted:
        return everything, [], "no validation: too few rows to set any aside"
    _, chosen = train_test_split(
        pool, test_size=wanted, random_state=seed, stratify=[group_labels[i] for i in pool] if stratified else None
    )
    # A label that no training row has, as of a small class without strata, could not be learned: its rows go back.
    aside, needs = set(chosen), needed or [(label,) for label in labels]
    learned = {one for i, group in enumerate(members) if i not in aside for p in group for one in needs[p]}
    held = {p for i in aside if all(learned.issuperset(needs[p]) for p in members[i]) for p in members[i]}
    if not held:
        return everything, [], "no validation: too few rows of each class to set any aside"
    how = f"{'stratified' if stratified else 'random'} split of {fraction:.0%}, seed {seed}"
    if len(members) < len(texts):
        how += f", copies kept on one side ({len(texts) - len(members):,})"
    return [i for i in everything if i not in held], sorted(held), how


def warn_unvalidated(options: Options, how: str, findings: Findings) -> None:
    """Say what it means that no row validates; ``how`` is what `split` said."""
    if options.valid_fraction and options.valid is None:
        findings.warnings.append(f"{how}; give valid = ... to measure what was learned")
    if options.early_stop or options.eval_every:
        findings.warnings.append("early_stop and eval_every do nothing without validation rows")
