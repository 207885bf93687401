"""A fine-tuned model that answers questions about a context."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_magic.data.checks import Findings, blank, check_texts, rows
from gpt_magic.data.questions import Question, Questions, check_questions
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError, OptionError, a_kind, plural
from gpt_magic.options import Options
from gpt_magic.tuned.base import TruncationWarning, TunedModel

if TYPE_CHECKING:
    import pandas as pd

    from gpt_magic.tasks.evaluation import AnswerEvaluation
    from gpt_magic.tasks.reading import Answered

_PREDICTED = ["answer", "start", "end", "score", "runner_up", "no_answer"]
_AUTO_CLASSES = {"extract": "AutoModelForQuestionAnswering", "write": "AutoModelForCausalLM"}


@dataclass(frozen=True)
class Answer:
    """An answer with its question and context; a notebook shows the context with the answer marked.

    Attributes:
        question, context: as they were asked.
        answer: the answer, empty for none.
        start, end: the characters of the context that it stands at; None for no answer, or a written one that does not
            stand there.
        score: its probability.
        runner_up: the likeliest answer beside it; None where there is none, and of models that write.
        no_answer: the probability that the context does not answer; None where no training question lacked an answer.
    """

    question: str
    context: str
    answer: str
    start: int | None
    end: int | None
    score: float
    runner_up: str | None
    no_answer: float | None

    def __str__(self) -> str:
        from gpt_magic.notebook.answers import answer_text

        return answer_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from gpt_magic.notebook.answers import answer_html

        return answer_html(self)


@dataclass(repr=False, kw_only=True)
class TunedAnswerer(TunedModel):
    """A fine-tuned model that answers questions; see `TunedModel` for what every tuned model has.

    Attributes:
        style: ``extract`` marks the answer in the context, ``write`` writes it.
        longest: most tokens of an answer: those of the longest in the training data.
        rejects: what "no answer here" was learned from: ``questions`` without an answer, ``windows`` of long contexts,
            or ``nothing``.
    """

    task = "answer"
    auto_class = _AUTO_CLASSES["extract"]
    kept = ("style", "longest", "rejects")
    headline = {"exact_match": "exact match", "f1": "f1"}  # noqa: RUF012  # declared in TunedModel

    style: str
    longest: int
    rejects: str

    @classmethod
    def auto_class_of(cls, known: Mapping[str, Any]) -> str:
        """See `TunedModel.auto_class_of`."""
        return _AUTO_CLASSES[known["style"]]

    def ask(self, question: str, context: str) -> Answer:
        """Answer one question.

        Raises:
            DataError: question or context are no texts, or empty.
        """
        for name, text in (("question", question), ("context", context)):
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"the {name} is {a_kind(text) if not isinstance(text, str) else 'empty'}: give a text")
        (found,), cut = self._answers([Question(question, context, (), "", None)], [0])
        self._warn_cut_answers(cut)
        start, end = found.place or (None, None)
        return Answer(question, context, found.text, start, end, found.score, found.runner_up, found.no_answer)

    def predict(self, x: Any = None, *, question: Any = None, context: Any = None) -> "pd.DataFrame":
        """Answer questions.

        Args:
            x: a table with the columns of questions and contexts, in any form that ``data`` takes; or
            question: a text or several, with
            context: a text for each, or one for all.

        Returns:
            A table with the index of ``x``: its columns, or ``question`` and ``context``; then ``answer``, empty for
            none, ``start`` and ``end`` (characters of the context; missing for no answer, or a written one that does
            not stand there), ``score`` (the answer's probability), ``runner_up`` (the likeliest answer beside it, of
            models that extract) and, where training questions lacked an answer, ``no_answer`` (the probability that
            there is none). A row without question or context gets no answer. Columns of these names that the table has
            are replaced.

        Raises:
            OptionError: a table and questions are given, or neither.
            DataError: a column is missing, holds no texts, or there is nothing to answer.
        """
        import pandas as pd

        frame, asked, about = self._asked(x, question, context)
        for role, texts in (("question", asked), ("context", about)):
            if texts.notna().any():
                check_texts(texts, f"column {texts.name!r}" if x is not None else f"the {role}", "data")
        empty = blank(asked) | blank(about)
        chosen: list[int] = np.flatnonzero(~empty.to_numpy()).tolist()
        questions = [Question(str(asked.iloc[i]), str(about.iloc[i]), (), "", None) for i in chosen]
        found, cut = self._answers(questions, [frame.index[i] for i in chosen])
        out = frame.drop(columns=_PREDICTED, errors="ignore")
        columns: dict[str, list[Any]] = {
            "answer": [one.text for one in found],
            "start": [one.place[0] if one.place else None for one in found],
            "end": [one.place[1] if one.place else None for one in found],
            "score": [one.score for one in found],
        }
        if self.style == "extract":
            columns["runner_up"] = [one.runner_up for one in found]
        if self.rejects == "questions":
            columns["no_answer"] = [one.no_answer for one in found]
        kinds: dict[str, Any] = {"start": "Int64", "end": "Int64", "score": float, "no_answer": float}
        for name, values in columns.items():
            spread = np.full(len(out), None, dtype=object)
            spread[chosen] = values
            out[name] = pd.Series(spread, out.index, dtype=object).astype(kinds.get(name, object))
        self._warn_cut_answers(cut)
        if empty.any():
            warnings.warn(
                f"no answer where there is no question or no context: {rows(frame.index[empty])}", stacklevel=2
            )
        return out

    def evaluate(self, data: Any, missing: str = "error") -> "AnswerEvaluation":
        """Compare answers with reference answers, which need not stand in the context.

        Args:
            data: a table with the columns of the training data, in any form that ``data`` takes.
            missing: ``error`` or ``drop`` for rows in which something is missing; an empty list of answers is not.

        Raises:
            OptionError: ``missing`` is neither.
            DataError: a column is missing or a row cannot be used.
        """
        from gpt_magic.tasks.evaluation import evaluate_answers

        Options().put("missing", missing)
        frame = read_table(data)
        columns = {role: self._column(frame, role) for role in ("question", "context", "answer")}
        questions = check_questions(frame, columns, missing, Findings(), "data", extracts=False)
        found, cut = self._answers(questions.rows, questions.index)
        return evaluate_answers([one.text for one in found], questions.references, len(cut))

    def card_words(self) -> tuple[str, Sequence[str], Sequence[str]]:
        """See `TunedModel.card_words`."""
        limits = [
            "Figures hold for questions and contexts like those of the training data. An answer's probability is the",
            "model's own and was not calibrated. The model repeats the biases of its base and of its training data.",
        ]
        if self.style == "extract":
            return "question-answering", _extract_words(self.longest), limits
        return "text-generation", _write_words(self.longest), limits

    def _asked(self, x: Any, question: Any, context: Any) -> "tuple[pd.DataFrame, pd.Series[Any], pd.Series[Any]]":
        import pandas as pd

        if (x is None) == (question is None and context is None):
            raise OptionError("give a table with questions and contexts, or question = ... and context = ...")
        if x is not None:
            frame = read_table(x)
            return frame, frame[self._column(frame, "question")], frame[self._column(frame, "context")]
        if question is None or context is None:
            raise OptionError(f"{'question' if question is None else 'context'} = ... is not given")
        questions = [question] if isinstance(question, str) else list(question)
        contexts = [context] * len(questions) if isinstance(context, str) else list(context)
        if len(questions) != len(contexts):
            raise DataError(f"{plural(len(questions), 'question')}, but {plural(len(contexts), 'context')}")
        if not questions:
            raise DataError("nothing to answer: no questions were given")
        frame = pd.DataFrame({"question": questions, "context": contexts}, dtype=object)
        return frame, frame["question"], frame["context"]

    def _answers(self, questions: Sequence[Question], index: Sequence[Any]) -> "tuple[list[Answered], list[Any]]":
        from gpt_magic.tasks.reading import read_answers
        from gpt_magic.tasks.write import write_answers

        if not questions:
            return [], []
        answers = read_answers if self.style == "extract" else write_answers
        return answers(
            self.model,
            Questions(questions, index),
            self.tokenizer,
            self.max_length,
            "tail" if self.options.get("truncate") == "tail" else "head",
            self.longest,
            self.rejects,
            self.hidden,
        )

    def _warn_cut_answers(self, cut: list[Any]) -> None:
        if cut:
            what = "question" if self.style == "extract" else "context or question"
            warnings.warn(
                f"{plural(len(cut), 'row')} with a {what} too long for {self.max_length:,} tokens: only a part was "
                f"read ({rows(cut)})",
                TruncationWarning,
                stacklevel=3,
            )


def _extract_words(longest: int) -> list[str]:
    return [
        "It answers a question by marking the answer in a context. It reads the question, a line break, the context",
        "and a line break, each tokenised by itself; start and end of the answer are tokens of the context, and both",
        "on the last line break mean that the answer is not in it. `gpt_magic` reads a longer context in windows.",
        "",
        "```python",
        "import torch",
        "",
        "def answer(model, tokenizer, question, context):",
        '    texts = [question, "\\n", context, "\\n"]',
        '    parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]',
        "    first, end = len(parts[0] + parts[1]), len(parts[0] + parts[1] + parts[2])",
        "    with torch.no_grad():",
        "        out = model(input_ids=torch.tensor([sum(parts, [])]))",
        "    start, stop = out.start_logits[0].tolist(), out.end_logits[0].tolist()",
        f"    spans = [(i, j) for i in range(first, end) for j in range(i, min(i + {longest}, end))]",
        "    i, j = max(spans, key=lambda span: start[span[0]] + stop[span[1]])",
        "    places = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)",
        '    characters = places["offset_mapping"]',
        "    return context[characters[i - first][0] : characters[j - first][1]].strip()",
        "```",
    ]


def _write_words(longest: int) -> list[str]:
    return [
        "It answers a question about a context by writing on from a prompt, of which the three parts are tokenised",
        "each by itself. It ends with the end-of-text token, which alone means that the context does not answer.",
        "",
        "```python",
        "import torch",
        "",
        "def answer(model, tokenizer, question, context):",
        '    parts = [f"Question: {question}\\nContext:", f" {context}", "\\nAnswer:"]',
        '    ids = [i for text in parts for i in tokenizer(text)["input_ids"]]',
        "    told = model.generate(",
        "        input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),",
        f"        max_new_tokens={longest}, do_sample=False, pad_token_id=tokenizer.eos_token_id,",
        "    )",
        "    return tokenizer.decode(told[0, len(ids):], skip_special_tokens=True).strip()",
        "```",
    ]
