"""Every setting once: type, default, range, choices, group and the reason for its default.

The magic's flags and body, ``-h``, ``%config``, the keywords of ``finetune(...)`` and the completer are
all made from this table.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Bool, Dict, Enum, Float, Int, List, TraitError, TraitType, Unicode, Union
from traitlets.config import Configurable

from gpt_magic.errors import OptionError, nearest, short
from gpt_magic.values import as_json, choices, coerce, expected, shown

GROUPS = ("data", "model", "training", "evaluation", "machine", "output")
# What most runs leave alone; the form folds it away, with the groups machine and output.
RARE = (
    *("valid", "split", "style", "template", "missing", "truncate", "dropout", "repeat", "max_steps", "accumulate"),
    *("checkpointing", "optimizer", "weight_decay", "grad_clip", "class_weights", "eval_every", "log_every"),
    *("calibrate", "sample_tokens", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "merge"),
)

# What transformers, scikit-learn and habit call an option, where the name is too different to be a near miss.
_OTHER_NAMES = {
    "df": "data",
    "early_stopping_patience": "early_stop",
    "eval_steps": "eval_every",
    "frac": "valid_fraction",
    "gradient_accumulation_steps": "accumulate",
    "logging_steps": "log_every",
    "lr": "learning_rate",
    "lr_scheduler_type": "schedule",
    "max_grad_norm": "grad_clip",
    "model": "base",
    "model_name": "base",
    "name": "output",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "problem_type": "task",
    "random_state": "seed",
    "target": "label",
    "test_size": "valid_fraction",
    "text_pair": "text",
    "y": "label",
}


class Trained(Unicode[str, Any]):
    """What of a model is trained: ``all``, ``lora``, ``head``, or ``top:k`` with a whole number k from 1 up."""

    expects = "all, lora, head or top:k, such as top:2"

    def validate(self, obj: Any, value: Any) -> Any:
        """Refuse any other text."""
        value = super().validate(obj, value)
        if re.fullmatch("all|lora|head|top:[1-9][0-9]{0,3}", value) is None:
            raise TraitError(self.expects)
        return value


class Options(Configurable):
    """What a run is told. Values are checked when they are set, with one clear line on a bad one.

    The tag ``tasks`` names the tasks that an option does something for, where it does not for all; ``lines`` marks
    a text that may have several.
    """

    # --- data ---------------------------------------------------------------------------------------
    data = AnyTrait(
        None,
        help="DataFrame, list of dicts or of texts, datasets.Dataset, a CSV, TSV, JSONL, TXT, Parquet or CoNLL path, a "
        "pattern such as 'data/*.csv', a folder of .txt files, or a data set of the hub such as 'imdb:train'.",
    ).tag(group="data", kind="table", expects="the name of a DataFrame or the path of a file")
    valid = AnyTrait(None, help="Validation data, in any form that data takes; its columns have the same names.").tag(
        group="data", kind="table", expects="the name of a DataFrame or the path of a file"
    )
    valid_fraction = Float(
        0.1, min=0.0, max=0.5, help="Share of the rows set aside to validate when valid is not given; 0 = none."
    ).tag(group="data", config=True)
    split = Unicode(
        None,
        allow_none=True,
        help="Which split of a datasets.DatasetDict or of a data set of the hub to train on; default: train.",
    ).tag(group="data", expects="the name of a split, such as 'train'")
    task = Enum(
        ["auto", "classify", "multilabel", "regress", "tag", "answer", "generate"],
        "auto",
        help="What to learn: a label a text, several labels a text, a number a text, entities in a "
        "text, answers to questions about it, or to write on from it; auto decides from the columns.",
    ).tag(group="data", config=True)
    style = Enum(
        ["auto", "head", "words", "extract", "write"],
        "auto",
        help="classify: head is a new layer, one number a class (auto); words lets the language model score the names "
        "of the labels behind each text, which needs few rows or none. answer: extract marks the answer in the "
        "context (auto), write writes it.",
    ).tag(group="data", config=True)
    text = Union(
        [Unicode(), List(Unicode(), minlen=2, maxlen=2)],
        default_value=None,
        allow_none=True,
        help="Column with the texts, or a list of two columns with pairs of texts to label; found by name when not "
        "given.",
    ).tag(group="data", kind="column", config=True, expects="the name of a column, a list of two, or None")
    label = Unicode(
        None,
        allow_none=True,
        help="Column with the labels: one a row, a list of them a row (multilabel), or numbers with a fraction "
        "(regress); found by name when not given.",
    ).tag(group="data", kind="column", config=True)
    template = Unicode(
        None,
        allow_none=True,
        help="style words: what the model reads before a label's name, with {text} for the text; default: the text, a "
        "line break, the label's column and a colon.",
    ).tag(group="data", tasks=("classify",), config=True, lines=True)
    prompt = Unicode(
        None, allow_none=True, help="generate: column with the prompts, which are read and not learned."
    ).tag(group="data", kind="column", config=True)
    completion = Unicode(
        None, allow_none=True, help="generate: column with the completions to learn, each with its end."
    ).tag(group="data", kind="column", config=True)
    messages = Unicode(
        None, allow_none=True, help="generate: column with lists of {role, content}; the assistant's are learned."
    ).tag(group="data", kind="column", config=True)
    tokens = Unicode(None, allow_none=True, help="tag: column with lists of words.").tag(
        group="data", kind="column", config=True
    )
    tags = Unicode(
        None, allow_none=True, help="tag: column with lists of the words' tags: BIO, IOB1, BIOES, BILOU or IO."
    ).tag(group="data", kind="column", config=True)
    entities = Unicode(
        None, allow_none=True, help="tag: column with lists of {start, end, label}, in characters of the text."
    ).tag(group="data", kind="column", config=True)
    question = Unicode(
        None, allow_none=True, help="answer: column with the questions; found by name when not given."
    ).tag(group="data", kind="column", config=True)
    context = Unicode(None, allow_none=True, help="answer: column with the texts that the questions are about.").tag(
        group="data", kind="column", config=True
    )
    answer = Unicode(
        None,
        allow_none=True,
        help="answer: column with a text, a list of reference answers (empty: there is none), or SQuAD's answers.",
    ).tag(group="data", kind="column", config=True)
    answer_start = Unicode(
        None,
        allow_none=True,
        help="answer: column with the character of the context at which the answer begins; without it answers are "
        "searched for.",
    ).tag(group="data", kind="column", config=True)
    missing = Enum(
        ["error", "drop"],
        "error",
        help="Rows with an empty column in use, or an answer that is not in its context: stop and name them, or leave "
        "them out and say so.",
    ).tag(group="data", config=True)
    max_length = Int(
        None,
        allow_none=True,
        min=2,
        max=1_000_000,
        help="Longest text in tokens (generate: longest block of one); default: all that the model can read.",
    ).tag(group="data", config=True)
    truncate = Enum(
        ["head", "tail", "error"],
        "head",
        help="A text over max_length keeps its head or its tail (said in the report), or is an error; generate cuts "
        "texts into blocks instead, and of a long prompt keeps the end; a long context is read in windows.",
    ).tag(group="data", tasks=("classify", "multilabel", "regress", "answer", "generate"), config=True)

    # --- model --------------------------------------------------------------------------------------
    base = AnyTrait(
        "gpt2", help="Hub id, local folder, (model, tokenizer) pair, or a model that ships with gpt_magic."
    ).tag(group="model", kind="base", config=True, expects="a hub id, a folder or the name of a model")
    dropout = Float(
        None,
        allow_none=True,
        min=0.0,
        max=0.9,
        help="Dropout probability while training; default: the model's own (gpt2 0.1, nano 0).",
    ).tag(group="model", config=True)

    repeat = Bool(
        False,
        help="tag: read every text twice and tag the second reading, so that each word is seen with what follows it.",
    ).tag(group="model", tasks=("tag",), config=True)

    # --- training -----------------------------------------------------------------------------------
    train = Trained(
        "all",
        help="What learns: all; lora (small matrices beside the large ones); top:k (the last k blocks and the head) or "
        "head alone, where the rest reads each row once, so that later epochs are fast.",
    ).tag(group="training", config=True, choices=("all", "lora", "top:1", "top:2", "head"), expects=Trained.expects)
    lora_rank = Int(
        8, min=1, max=1024, help="train lora: rank of the small matrices; higher learns more and saves less."
    ).tag(group="training", config=True)
    lora_alpha = Int(
        None,
        allow_none=True,
        min=1,
        max=65_536,
        help="train lora: what they give is multiplied by lora_alpha / lora_rank; default: twice the rank.",
    ).tag(group="training", config=True)
    lora_dropout = Float(
        0.0, min=0.0, max=0.9, help="train lora: dropout of what the small matrices read, beside the model's own."
    ).tag(group="training", config=True)
    lora_targets = List(
        Unicode(),
        None,
        allow_none=True,
        help="train lora: names of the layers that get small matrices; default: all in the blocks (GPT-2: c_attn, "
        "c_proj, c_fc).",
    ).tag(group="training", config=True, expects="a list of names of layers, or None")
    merge = Bool(
        True,
        help="train lora: add what was learned to the base's weights, so that a plain model comes back; False keeps "
        "the adapter, and save writes it alone, for peft.",
    ).tag(group="training", config=True)
    epochs = Union(
        [Int(3, min=1, max=1000), Enum(["auto"])],
        default_value=3,
        help="Passes over the training rows; 3 is usual, more helps when rows are few; auto goes on until early_stop "
        "(or 2) epochs bring nothing better on the validation rows, then lets the rate fall over one more, 30 at most.",
    ).tag(group="training", config=True, choices=("auto",))
    max_steps = Int(
        0,
        min=0,
        max=100_000_000,
        help="Make exactly this many optimizer steps, whatever epochs says; 0 = go by epochs.",
    ).tag(group="training", config=True)
    batch_size = Union(
        [Int(min=1, max=65_536), Enum(["auto"])],
        default_value=16,
        help="Most rows in one forward pass, fewer where texts are long; 16 learns well on small data and fits in "
        "4 GB. auto learns from 16 rows a step too (times accumulate), in passes as large as fit and, where a run has "
        "100 steps or more, are not slower: the same curve up to rounding.",
    ).tag(group="training", config=True, choices=("auto",))
    accumulate = Int(
        1, min=1, max=65_536, help="Batches added up before a step: a larger effective batch in the same memory."
    ).tag(group="training", config=True)
    checkpointing = Enum(
        ["auto", "on", "off"],
        "auto",
        help="Compute the blocks a second time for the gradients and keep less: a third slower; auto: where one row "
        "alone does not fit in memory.",
    ).tag(group="training", config=True)
    learning_rate = Union(
        [Float(1e-3, min=1e-8, max=1.0), Enum(["auto"])],
        default_value=None,
        allow_none=True,
        help="Peak step size; default by model size and by what is trained: 5e-5 for gpt2, 9e-4 for nano, 1e-3 from "
        "random weights; auto tries five around it in short runs first and shows them.",
    ).tag(group="training", config=True, choices=("auto",))
    optimizer = Enum(
        ["adamw", "muon"],
        "adamw",
        help="adamw is right for fine-tuning; muon learns more from the same text from random weights.",
    ).tag(group="training", config=True)
    schedule = Enum(
        ["linear", "cosine", "constant"],
        "linear",
        help="How the learning rate falls after the warm-up; with epochs = auto, once nothing gets better.",
    ).tag(group="training", config=True)
    warmup = Float(
        0.1,
        min=0.0,
        max=1e8,
        help="Steps in which the learning rate rises: below 1 a share of all steps, else a count.",
    ).tag(group="training", config=True)
    weight_decay = Float(
        0.01, min=0.0, max=10.0, help="AdamW's pull of the matrices to zero; biases and layer norms are left out."
    ).tag(group="training", config=True)
    grad_clip = Float(1.0, min=0.0, max=1e6, help="Largest gradient norm; 0 = no clipping.").tag(
        group="training", config=True
    )
    class_weights = Union(
        [Enum(["none", "balanced"]), Dict()],
        default_value="none",
        help="Weight of each class in the loss: none, balanced (rare classes count more), or a dict label -> weight; "
        "multilabel: of the rows that have the label.",
    ).tag(
        group="training",
        tasks=("classify", "multilabel"),
        config=True,
        choices=("none", "balanced"),
        expects="none, balanced, or a dict label -> weight",
    )
    early_stop = Int(
        0, min=0, max=1000, help="End after this many epochs without doing better on the validation rows; 0 = never."
    ).tag(group="training", config=True)
    seed = Int(42, min=0, max=2**32 - 1, help="Fixes split, order, new weights and dropout.").tag(
        group="training", config=True
    )

    # --- evaluation ---------------------------------------------------------------------------------
    eval_every = Int(
        0, min=0, max=100_000_000, help="Evaluate every so many steps too; 0 = only at the end of each epoch."
    ).tag(group="evaluation", config=True)
    log_every = Int(1, min=1, max=1_000_000, help="Steps between two rows of the history.").tag(
        group="evaluation", config=True
    )
    baselines = Bool(
        True,
        help="Compare on the same split: with the majority class (or mean) and TF-IDF + a linear model; tag with the "
        "usual tag of each word, answer with the sliding window, generate and style words with the base as it was.",
    ).tag(group="evaluation", config=True)
    calibrate = Bool(
        True,
        help="classify, multilabel: fit a temperature on the validation rows, so that of predictions with confidence "
        "0.8 eight in ten are right.",
    ).tag(group="evaluation", tasks=("classify", "multilabel"), config=True)
    samples = List(
        Unicode(),
        None,
        allow_none=True,
        help="generate: prompts that the model continues at each evaluation, to see it learn.",
    ).tag(group="evaluation", tasks=("generate",), config=True, expects="a list of texts")
    sample_tokens = Int(
        40, min=1, max=1024, help="generate: most tokens that each of the samples is continued by."
    ).tag(group="evaluation", tasks=("generate",), config=True)

    # --- machine ------------------------------------------------------------------------------------
    device = Unicode("auto", help="auto, cpu, cuda, cuda:N or mps; auto takes a GPU when there is one.").tag(
        group="machine", config=True, choices=("auto", "cpu", "cuda", "mps")
    )
    precision = Enum(
        ["auto", "fp32", "bf16"],
        "auto",
        help="Number format of the matrix products in training; auto: bf16 on GPUs and CPUs that have it.",
    ).tag(group="machine", config=True)
    threads = Int(0, min=0, max=1024, help="CPU threads; 0 = torch's choice, one a physical core.").tag(
        group="machine", config=True
    )

    # --- output -------------------------------------------------------------------------------------
    output = Unicode("tuned", help="Name that the result gets in the notebook; -o for short.").tag(
        group="output", expects="a Python name, such as clf"
    )
    dry_run = Bool(False, help="Check the data, print what would happen, train nothing.").tag(group="output")
    background = Bool(
        False,
        help="The cell returns at once and goes on showing the run; output is the run until it is the model.",
    ).tag(group="output", config=True)
    quiet = Bool(False, help="No live display; the result's card can still be shown by its name.").tag(
        group="output", config=True
    )

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several options.

        Raises:
            OptionError: a name is unknown or a value cannot be taken; the line names the nearest or the range.
        """
        for name, value in values.items():
            self.put(name, value)

    def put(self, name: str, value: Any) -> None:
        """Set one option, or raise an `OptionError` that says what the option takes."""
        trait = find(name)
        if name == "output" and isinstance(value, str) and (not value.isidentifier() or iskeyword(value)):
            raise OptionError(f"output = {short(value)}: must be {expected(trait)}")
        try:
            setattr(self, name, coerce(trait, value))
        except (TraitError, OverflowError, TypeError, ValueError):  # arrays and tables do not compare
            hint = nearest(value, choices(trait)) if isinstance(value, str) else ""
            raise OptionError(f"{name} = {shown(value)}: must be {expected(trait)}{hint}") from None

    def values(self) -> dict[str, Any]:
        """Every option with its value, in the order of this page."""
        return {name: getattr(self, name) for name in table()}

    def plain(self) -> dict[str, Any]:
        """The options as JSON can hold them: tables and models are named by their type."""
        tables = {name for name, trait in table().items() if trait.metadata.get("kind") == "table"}
        return {
            name: f"<{type(value).__name__}>"
            if name in tables and not isinstance(value, str | Path | None)
            else as_json(value)
            for name, value in self.values().items()
        }

    def copy_with(self, **values: Any) -> "Options":
        """A new `Options` with the same values but for those given."""
        new = Options()
        for name, value in self.values().items():
            if name not in values:  # a trait compares what it gets with what it had, and tables do not compare
                setattr(new, name, value)
        new.update(values)
        return new


def table() -> dict[str, TraitType[Any, Any]]:
    """Every option's trait by name, group by group."""
    traits = Options.class_traits(group=lambda group: group is not None)
    order = list(vars(Options))
    return dict(sorted(traits.items(), key=lambda item: order.index(item[0])))


def find(name: str) -> TraitType[Any, Any]:
    """The trait of one option.

    Raises:
        OptionError: there is no such option; the line names the nearest.
    """
    traits = table()
    if name not in traits:
        hint = nearest(_OTHER_NAMES.get(name, name), traits) or "; see %finetune -h for the list"
        raise OptionError(f"no option {name!r}{hint}")
    return traits[name]


def help_text() -> str:
    """The full option list, as ``-h`` prints it."""
    lines = []
    for group in GROUPS:
        lines.append(f"\n{group}:")
        lines.extend(_help_lines(group))
    return "\n".join(lines).strip("\n")


def signature() -> inspect.Signature:
    """The signature of ``finetune(data, *, text=None, ...)``."""
    kinds = inspect.Parameter
    parameters = [kinds("data", kinds.POSITIONAL_OR_KEYWORD, default=None)]
    parameters += [
        kinds(name, kinds.KEYWORD_ONLY, default=trait.default_value)
        for name, trait in table().items()
        if name not in ("data", "output")
    ]
    return inspect.Signature(parameters)


def _help_lines(group: str) -> Iterator[str]:
    for name, trait in table().items():
        if trait.metadata["group"] != group:
            continue
        flag = "--" + name.replace("_", "-")
        default = "" if trait.default_value is None else f" [{trait.default_value}]"
        yield f"  {flag:<18} {trait.help}{default}"
        if not isinstance(trait, AnyTrait | Unicode | Bool) or choices(trait):
            yield f"  {'':<18} takes {expected(trait) if not isinstance(trait, Unicode) else ', '.join(choices(trait))}"
