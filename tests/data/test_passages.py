"""Tables to passages: the three styles, what is refused, and which rows or ends of texts validate."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.data import passages as module
from gpt_magic.data.passages import (
    Part,
    Passage,
    PassageData,
    Passages,
    conversation,
    conversation_prompt,
    document,
    passage_roles,
    prompt_and_completion,
    read_passages,
)
from gpt_magic.data.sources import read_table
from gpt_magic.errors import DataError, OptionError
from gpt_magic.options import Options

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(lambda text: text.strip())
USER, ASSISTANT, SYSTEM = (
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Hi."},
    {"role": "system", "content": "Be brief."},
)


def options(**given_options: Any) -> Options:
    made = Options()
    made.update(given_options)
    return made


def read(frame: Any, **given_options: Any) -> PassageData:
    return read_passages(options(**given_options), read_table(frame))


# --- columns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "given_columns", "roles", "found"),
    [
        (["text", "id"], {}, {"text": "text"}, ("text",)),
        (["id", "verse"], {"text": "verse"}, {"text": "verse"}, ()),
        (["verse"], {}, {"text": "verse"}, ("text",)),
        (["title", "review"], {}, {"text": "review"}, ("text",)),
        (["Prompt", "Completion"], {}, {"prompt": "Prompt", "completion": "Completion"}, ("prompt", "completion")),
        (["prompt", "completion"], {"text": "completion"}, {"text": "completion"}, ()),
        (["q", "answer"], {"prompt": "q"}, {"prompt": "q", "completion": "answer"}, ("completion",)),
        (["instruction", "a"], {"completion": "a"}, {"prompt": "instruction", "completion": "a"}, ("prompt",)),
        (["messages", "text"], {}, {"messages": "messages"}, ("messages",)),
        (["talk", "text"], {"messages": "talk"}, {"messages": "talk"}, ()),
        (["messages", "text"], {"text": "text"}, {"text": "text"}, ()),
        (["question", "answer"], {}, {"prompt": "question", "completion": "answer"}, ("prompt", "completion")),
        (["input", "output"], {}, {"prompt": "input", "completion": "output"}, ("prompt", "completion")),
        (
            ["title", "instruction", "response"],
            {},
            {"prompt": "instruction", "completion": "response"},
            ("prompt", "completion"),
        ),
        (["question", "answer"], {"text": "answer"}, {"text": "answer"}, ()),
        (["text", "question", "answer"], {}, {"text": "text"}, ("text",)),
        (["content", "source", "target"], {}, {"text": "content"}, ("text",)),
        (["question", "id"], {}, {"text": "question"}, ("text",)),
    ],
)
def test_roles(columns: list[str], given_columns: Any, roles: dict[str, str], found: tuple[str, ...]) -> None:
    made = passage_roles(pd.DataFrame([["a"] * len(columns)], columns=columns), options(**given_columns))
    assert (made.columns, made.found) == (roles, found)


@pytest.mark.parametrize("name", ["conversations", "Dialogue", "chat"])
def test_lists_under_a_usual_name_are_conversations(name: str) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    for frame in (pd.DataFrame({name: [talk] * 3}), pd.DataFrame({"id": range(3), "title": "x", name: [talk] * 3})):
        assert passage_roles(frame, options()).columns == {"messages": name}
    assert passage_roles(pd.DataFrame({name: ["a text"]}), options()).columns == {"text": name}


@pytest.mark.parametrize(
    ("columns", "given_columns", "kind", "line"),
    [
        (
            ["a", "b"],
            {"text": "a", "messages": "b"},
            OptionError,
            "text and messages are both given: give text, or prompt and completion, or messages",
        ),
        (
            ["a", "b"],
            {"text": "a", "completion": "b"},
            OptionError,
            "text and completion are both given: give text, or prompt and completion, or messages",
        ),
        (
            ["a", "b", "c"],
            {"prompt": "a", "completion": "b", "messages": "c"},
            OptionError,
            "prompt and completion are both given: give text, or prompt and completion, or messages",
        ),
        (["prompt", "answer"], {"prompt": "prompts"}, DataError, "prompt = 'prompts': no such column (did you mean"),
        (
            ["messages"],
            {"messages": "chat"},
            DataError,
            "messages = 'chat': no such column; the columns are 'messages'",
        ),
        (["a", "b"], {"prompt": "a"}, DataError, "no column is plainly the completion: say completion = ... with one"),
        (["a"], {"prompt": "a"}, DataError, "no column is left for the completion: the table has only 'a'"),
        (["a"], {"prompt": "a", "completion": "a"}, DataError, "prompt and completion are both the column 'a'"),
        (["a", "b"], {}, DataError, "no column is plainly the text: say text = ... with one of 'a', 'b'"),
        (
            ["instruction", "input", "output"],
            {},
            DataError,
            "which column is the prompt: 'instruction' or 'input'? Say prompt = 'instruction'",
        ),
    ],
)
def test_columns_that_do_not_fit(columns: list[str], given_columns: Any, kind: type[Exception], line: str) -> None:
    with pytest.raises(kind) as caught:
        passage_roles(pd.DataFrame([["x"] * len(columns)], columns=columns), options(**given_columns))
    assert str(caught.value).startswith(line)


# --- the styles -----------------------------------------------------------------------------------------


def test_what_is_learned_of_each_style() -> None:
    assert document("It was.") == Passage((Part("It was.", learned=True, ends=True),), begins=True)
    assert prompt_and_completion("Q: ", "A") == Passage((Part("Q: ", False), Part("A", learned=True, ends=True)))
    talk = conversation([SYSTEM, USER, ASSISTANT, USER, ASSISTANT], "row 0")
    assert talk.text == "System: Be brief.\nUser: Hello?\nAssistant: Hi.\nUser: Hello?\nAssistant: Hi."
    assert [part.text for part in talk.parts if part.learned] == [" Hi.", " Hi."]
    assert [part.text for part in talk.parts if part.ends] == [" Hi.", " Hi."]
    assert talk.prompt.text == "System: Be brief.\nUser: Hello?\nAssistant:"
    assert talk.characters == 8
    assert not talk.begins


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([SYSTEM, USER, ASSISTANT]), max_size=6),
    UNICODE,
    UNICODE,
)
def test_a_conversation_is_asked_in_the_pieces_in_which_it_was_learned(
    before: list[dict[str, str]], question: str, answer: str
) -> None:
    asked = [*before, {"role": "user", "content": question}]
    learned = conversation([*asked, {"role": "assistant", "content": answer}], "row 0")
    prompt = conversation_prompt(asked, "row 0")
    assert [(p.text, p.ends) for p in prompt.parts] == [(p.text, p.ends) for p in learned.parts[:-1]]
    assert not any(part.learned for part in prompt.parts)
    assert learned.parts[-1] == Part(f" {answer}", learned=True, ends=True)


@pytest.mark.parametrize(
    ("messages", "line"),
    [
        ("Hello?", "row 3: 'Hello?' is a str, not a list of {'role', 'content'} messages"),
        (7, "row 3: 7 is an int, not a list of {'role', 'content'} messages"),
        ([], "row 3: [] is empty, not a list of {'role', 'content'} messages"),
        (["Hello?"], "row 3: message 0 is 'Hello?'; write {'role': 'user', 'content': '...'}"),
        ([USER, {"role": "user"}], "row 3: message 1 is {'role': 'user'}; write {'role': 'user', 'content': '...'}"),
        (
            [USER, {"role": "bot", "content": "Hi."}],
            "row 3: message 1 has the role 'bot'; roles are system, user, assistant",
        ),
        ([{"role": None, "content": "Hi."}], "row 3: message 0 has the role None; roles are system, user, assistant"),
        ([USER, {"role": "assistant", "content": ""}], "row 3: message 1 has no text in 'content'"),
        ([USER, {"role": "assistant", "content": " \n"}], "row 3: message 1 has no text in 'content'"),
        ([USER, {"role": "assistant", "content": None}], "row 3: message 1 has no text in 'content'"),
        ([{"role": "user", "content": ["Hi."]}], "row 3: message 0 has no text in 'content'"),
        ([SYSTEM, USER], "row 3: the assistant says nothing in this conversation, so there is nothing to learn"),
    ],
)
def test_conversations_that_are_none(messages: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        conversation(messages, "row 3")
    assert str(caught.value) == line
    frame = pd.DataFrame({"messages": [[USER, ASSISTANT], messages]}, index=[2, 3])
    with pytest.raises(DataError) as caught:
        read(frame)
    assert str(caught.value) == f"data, {line}"


def test_conversations_of_a_parquet_file(tmp_path: Path) -> None:
    talks = [[USER, {**ASSISTANT, "content": f"Number {i}."}] for i in range(20)]
    pd.DataFrame({"messages": talks}).to_parquet(tmp_path / "talks.parquet")
    frame = pd.read_parquet(tmp_path / "talks.parquet")
    assert isinstance(frame["messages"][0], np.ndarray)
    plain, stored = read(pd.DataFrame({"messages": talks})), read(tmp_path / "talks.parquet")
    assert stored.train == plain.train
    assert stored.valid == plain.valid
    assert stored.style == "messages"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(UNICODE, UNICODE), min_size=1, max_size=12))
def test_texts_go_through_unchanged(pairs: list[tuple[str, str]]) -> None:
    frame = pd.DataFrame(pairs, columns=["prompt", "completion"], dtype=object)
    pair = read(frame, valid_fraction=0)
    assert [tuple(part.text for part in passage.parts) for passage in pair.train.passages] == pairs
    assert pair.train.characters == sum(len(completion) for _, completion in pairs)
    alone = read(frame[["prompt"]].set_axis(["text"], axis=1), valid_fraction=0)
    assert alone.train.texts == [prompt for prompt, _ in pairs]
    talks = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in pairs]
    assert read({"messages": talks}, valid_fraction=0).train.texts == [
        f"User: {prompt}\nAssistant: {completion}" for prompt, completion in pairs
    ]


@pytest.mark.parametrize(
    ("prompt", "completion", "warned"),
    [("Q: 1", "one", True), ("Q: 1\n", "one", False), ("Q: 1", " one", False), ("Q: 1?", "one", False)],
)
def test_prompts_that_run_into_their_completions(prompt: str, completion: str, warned: bool) -> None:
    rows = [{"prompt": f"{prompt}", "completion": f"{completion}{i}"} for i in range(12)]
    rows[0] = {"prompt": "secret", "completion": " x"}
    said = [line for line in read(rows).findings.warnings if "without a space" in line]
    assert bool(said) is warned
    if warned:
        assert said[0].startswith("prompts run into their completions without a space (rows 1, 2, 3, 4, 5, 6, 7, 8 and")
        assert "one" not in said[0].replace("completions", "")  # warnings are saved with the model: no training text


# --- rows with gaps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ({"text": ["a", None, " "]}, "column 'text' is empty in rows 11, 12"),
        (
            {"prompt": ["a ", "", "c"], "completion": ["a", "b", None]},
            "column 'prompt' is empty in row 11; column 'completion' is empty in row 12",
        ),
        ({"messages": [[USER, ASSISTANT], None, np.nan]}, "column 'messages' is empty in rows 11, 12"),
    ],
)
def test_missing_values(frame: dict[str, Any], line: str) -> None:
    table = pd.DataFrame(frame, index=[10, 11, 12])
    with pytest.raises(DataError) as caught:
        read(table)
    assert str(caught.value) == f"data: {line}. Fill them, or say missing = 'drop' to leave such rows out"
    left = read(table, missing="drop", valid_fraction=0)
    assert left.train.index == [10]
    assert (left.rows, left.findings.dropped) == (3, 2)
    named = " and ".join(repr(column) for column in frame)
    assert left.findings.warnings == [f"data: 2 rows with nothing in {named} left out: rows 11, 12"]
    with pytest.raises(DataError) as caught:
        read(table.iloc[1:], missing="drop")
    assert str(caught.value) == f"data: no row has anything in {named}"


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ({"text": [1, 2]}, "data: column 'text' holds int64 values, not texts: is it the right one?"),
        ({"text": ["a", 2]}, "data, row 1: column 'text' holds an int, not a text"),
        ({"prompt": ["a"], "completion": [["b"]]}, "data, row 0: column 'completion' holds a list, not a text"),
    ],
)
def test_what_is_no_text(frame: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError) as caught:
        read(pd.DataFrame(frame))
    assert str(caught.value) == line


# --- training and validation ----------------------------------------------------------------------------


def test_a_share_of_the_rows_is_set_aside_with_copies_on_one_side() -> None:
    texts = [f"Sonnet {i // 2}" + " " * (i % 2) for i in range(60)]  # each twice, but for white space
    data = read(pd.DataFrame({"text": texts}, index=range(100, 160)))
    assert data.split == "random split of 10%, seed 42, copies kept on one side (30)"
    assert len(data.valid) == 6
    assert sorted(data.train.index + data.valid.index) == list(range(100, 160))
    assert not {text.strip() for text in data.train.texts} & {text.strip() for text in data.valid.texts}
    assert [passage.begins for passage in data.valid.passages] == [True] * 6
    again, other = (read({"text": texts}, seed=seed) for seed in (42, 7))
    assert again.valid.texts == data.valid.texts != other.valid.texts


def test_validation_that_is_given_and_leaks_into_it() -> None:
    train = pd.DataFrame({"prompt": ["Q1", "Q2"], "completion": [" a", " b"]})
    valid = pd.DataFrame({"completion": [" a", " B", " c"], "prompt": ["Q1", "q2 ", "Q1"]}, index=[7, 8, 9])
    data = read(train, valid=valid)
    assert (data.split, len(data.train), len(data.valid)) == ("given", 2, 3)
    assert data.findings.warnings == [
        "2 of 3 rows to validate also in the training data (1 exactly, 1 but for case and space), so validation looks "
        "better than it is: rows 7, 8"
    ]
    with pytest.raises(DataError, match=r"valid has no column 'completion' for the completion; it has 'prompt'"):
        read(train, valid=valid[["prompt"]])
    with pytest.raises(DataError, match=r"valid: column 'prompt' is empty in row 8"):
        read(train, valid=valid.replace("q2 ", ""))


WORDS = st.sampled_from(
    ["word", "Wörter 🎉", "a  b", "line\nline", "end.\n\nNext", "\n", "x" * 300, "文本没有空格" * 20]
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=60).map(" ".join).filter(lambda text: text.strip()), max_size=2),
    st.sampled_from([0.05, 0.1, 0.16]),
    st.sampled_from([1, 50, 2000]),
)
def test_the_ends_of_a_few_texts_validate(texts: list[str], fraction: float, shortest: int) -> None:
    """Nothing is lost and nothing stands on both sides: head and tail are the text."""
    texts = [*texts, "Once upon a time. " * 40]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SHORTEST_TAIL", shortest)
        data = read(pd.DataFrame({"text": texts}, index=[f"r{i}" for i in range(len(texts))]), valid_fraction=fraction)
    tails = dict(zip(data.valid.index, data.valid.texts, strict=True))
    assert data.train.index == [f"r{i}" for i in range(len(texts))]
    for row, head, text in zip(data.train.index, data.train.passages, texts, strict=True):
        assert head.text + tails.get(row, "") == text
        assert head.begins
        assert head.parts[0].ends is (row not in tails)  # a head goes on
        if row in tails:
            assert head.text.strip()
            assert len(tails[row]) >= shortest
            assert len(tails[row]) <= round(len(text) * fraction * 1.5) + 2
    for tail in data.valid.passages:
        assert tail.begins
        assert tail.parts[0].ends
    assert data.split == (
        f"the last {fraction:.0%} of each text" if tails else "no validation: the texts are too few and too short"
    )


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        ("word " * 500 + "\n\nA paragraph. " * 40, "A paragraph. "),
        ("word word\n" * 300, "word word\n"),
        ("word " * 600, "word "),
        ("字" * 3000, "字"),
    ],
)
def test_a_text_is_cut_at_a_seam(text: str, tail: str) -> None:
    data = read([text])
    assert data.valid.texts[0].startswith(tail)
    assert 0.1 * len(text) <= len(data.valid.texts[0]) <= 0.1 * len(text) + 20


def test_short_texts_are_not_cut_and_it_is_said() -> None:
    data = read(["Too short to cut.", "So is this."], early_stop=2)
    assert len(data.valid) == 0
    assert data.findings.warnings == [
        "no validation: the texts are too few and too short; give valid = ... to measure what was learned",
        "early_stop and eval_every do nothing without validation rows",
    ]
    whole = read(["word " * 5000], valid_fraction=0)
    assert (len(whole.valid), whole.train.texts) == (0, ["word " * 5000])
    assert whole.findings.warnings == []


def test_few_prompts_are_not_cut() -> None:
    data = read([{"prompt": "Q? ", "completion": "word " * 900}] * 3)
    assert data.train.texts == ["Q? " + "word " * 900] * 3
    assert len(data.valid) == 0


def test_passages_can_be_taken_by_position() -> None:
    some = Passages([document("a"), document("b"), document("c")], ["x", "y", "z"])
    assert some.take([2, 0]) == Passages([document("c"), document("a")], ["z", "x"])
    assert (len(some), some.texts, some.characters) == (3, ["a", "b", "c"], 3)
