"""A model that classifies by words before it was trained."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from gpt_magic.errors import DataError, OptionError, nearest, short

_TAKES = ("base", "text", "label", "template", "max_length", "truncate", "device")

if TYPE_CHECKING:
    from gpt_magic.tuned import TunedWords


def zero_shot(classes: Sequence[Hashable], **options: Any) -> "TunedWords":
    """Classify with a base as it is, by how likely it finds the name of each class behind a text.

    Fine-tuning with ``style = "words"`` starts from just this model, and its card shows how well it did.

    Args:
        classes: the labels, two at least.
        **options: the options of ``%%finetune`` that matter here, by the same names: ``base``, ``template``,
            ``label`` (a word for what the classes are, which the default template asks for), ``text`` (the column of
            tables to predict), ``max_length``, ``truncate``, ``device``.

    Returns:
        A `TunedWords` like those that were trained, to predict, evaluate and save.

    Raises:
        OptionError, DataError, ModelError: something is wrong with the input.
    """
    import numpy as np
    import pandas as pd

    from gpt_magic.data.classes import plain_labels
    from gpt_magic.data.columns import SECOND_TEXT
    from gpt_magic.engine.collecting import collect
    from gpt_magic.engine.packing import fits_packed, hidden_packed, hidden_padded
    from gpt_magic.engine.precision import choose_machine
    from gpt_magic.models.find import find_base
    from gpt_magic.models.load import load_language_model
    from gpt_magic.models.tokenizer import load_tokenizer
    from gpt_magic.notebook.live import defaults
    from gpt_magic.prepare import longest
    from gpt_magic.summary import Preflight, Summary
    from gpt_magic.tasks.words import check_template, label_ids, prompt_room, prompts
    from gpt_magic.tuned import TunedWords

    for name in options:
        if name not in _TAKES:
            raise OptionError(f"zero_shot has no option {name!r}{nearest(name, _TAKES)}; it takes {', '.join(_TAKES)}")
    settings = defaults().copy_with(**options, task="classify", style="words")
    given = [classes] if isinstance(classes, str) else list(classes)
    labels = list(plain_labels(pd.Series(given, dtype=object), "classes", "classes"))
    if len(set(labels)) < max(len(labels), 2):
        raise DataError(f"classes = {short(given)}: give two labels or more, each once")
    if not all(str(label).strip() for label in labels):
        raise DataError(f"classes = {short(given)}: a label without a character cannot be found behind a text")
    texts = settings.text if isinstance(settings.text, list) else [settings.text or "text"]
    columns = dict(zip(("text", SECOND_TEXT), texts, strict=False)) | {"label": settings.label or "label"}
    template = check_template(settings.template, columns["label"])
    base = find_base(settings.base, lambda _: None)
    tokenizer, limit = load_tokenizer(base), longest(settings, base)
    model = load_language_model(base, None).to(choose_machine(settings.device, settings.precision).device)
    named = label_ids(labels, tokenizer, template)
    names = [str(label) for label in labels]
    sample, _ = prompts(names, tokenizer, template, prompt_room(limit, named), "head", names)
    rows = collect((ids, np.array([len(ids) - 1]), np.zeros(1), name) for ids, name in zip(sample, names, strict=True))
    title = f"classify · {base.name}"
    facts = [("classes", ", ".join(names)), ("words", f"behind {short(template)}"), ("base", base.name)]
    return TunedWords(
        classes=labels,
        template=template,
        model=model,
        tokenizer=tokenizer,
        options=settings.plain(),
        columns=columns,
        max_length=limit,
        metrics={},
        report=Preflight(title, facts),
        summary=Summary(title, "not trained", ok=True, name=None, scores=None, facts=facts),
        hidden=hidden_packed if fits_packed(model, rows) else hidden_padded,
    )
