from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_magic.errors import OptionError
from gpt_magic.notebook import cell
from gpt_magic.notebook.cell import Request, parse_value, read_body, read_cell, read_line, split_line
from gpt_magic.notebook.tables import find_data, tables
from gpt_magic.options import Options, table

REVIEWS = pd.DataFrame({"review": ["fine"], "sentiment": ["good"]})
HELD_OUT = [{"review": "dull", "sentiment": "bad"}]
MODEL = object()
NAMES: dict[str, Any] = {
    "reviews": REVIEWS,
    "held_out": HELD_OUT,
    "splits": SimpleNamespace(train=REVIEWS, test=HELD_OUT),
    "my_model": MODEL,
    "rate": 5e-5,
    "path": "folder/reviews.csv",
    "np": np,
}


def values(line: str, body: str | None = None) -> dict[str, Any]:
    return read_cell(line, body, NAMES).values


def refused(line: str, body: str | None = None) -> str:
    with pytest.raises(OptionError) as caught:
        read_cell(line, body, NAMES)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# --- the line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("reviews", {"data": REVIEWS}),
        ("reviews -o clf", {"data": REVIEWS, "output": "clf"}),
        ("-o clf reviews", {"data": REVIEWS, "output": "clf"}),
        ("reviews -o=clf", {"data": REVIEWS, "output": "clf"}),
        ("--data reviews", {"data": REVIEWS}),
        ("splits.train --valid splits.test", {"data": REVIEWS, "valid": HELD_OUT}),
        ("path", {"data": "folder/reviews.csv"}),
        ("reviews.csv", {"data": "reviews.csv"}),
        ("reviews.csv.gz", {"data": "reviews.csv.gz"}),
        ("other.parquet --valid more.tsv", {"data": "other.parquet", "valid": "more.tsv"}),
        ("~/a.csv", {"data": "~/a.csv"}),
        ("'a folder/a file.csv'", {"data": "a folder/a file.csv"}),
        ("--epochs 3 --batch-size=8 --learning_rate 5e-5", {"epochs": 3, "batch_size": 8, "learning_rate": 5e-5}),
        ("--text review --label sentiment", {"text": "review", "label": "sentiment"}),
        ('--text "my column" --label "3"', {"text": "my column", "label": "3"}),
        ("--text=a=b", {"text": "a=b"}),
        ("--text 7", {"text": "7"}),
        ("--text None", {"text": "None"}),
        ("--max-length None", {"max_length": None}),
        ("--learning-rate -1", {"learning_rate": -1}),
        ("--learning-rate .5", {"learning_rate": 0.5}),
        ("--schedule cosine --device cuda:1", {"schedule": "cosine", "device": "cuda:1"}),
        ("--class-weights balanced", {"class_weights": "balanced"}),
        ("--class-weights \"{'a': 1, 'b': 2}\"", {"class_weights": {"a": 1, "b": 2}}),
        ("--base gpt2", {"base": "gpt2"}),
        ("--base my_model", {"base": MODEL}),
        ("--base org/model-2.5", {"base": "org/model-2.5"}),
        ("--base 2024", {"base": "2024"}),
        ("--dry-run reviews", {"dry_run": True, "data": REVIEWS}),
        ("reviews --dry-run", {"dry_run": True, "data": REVIEWS}),
        ("reviews --dry-run -o clf", {"dry_run": True, "data": REVIEWS, "output": "clf"}),
        ("--quiet False --baselines=false reviews", {"quiet": False, "baselines": False, "data": REVIEWS}),
        ("--quiet true", {"quiet": True}),
        ("reviews --quiet maybe", {"quiet": "maybe", "data": REVIEWS}),  # Options says what it takes
    ],
)
def test_lines(line: str, expected: dict[str, Any]) -> None:
    found = values(line)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] is value or found[name] == value
        assert type(found[name]) is type(value)


@pytest.mark.parametrize("name", [name for name, trait in table().items() if trait.metadata["group"] != "data"])
def test_every_option_is_a_flag(name: str) -> None:
    default = table()[name].default_value
    assert values(f"--{name.replace('_', '-')}={default}") == {name: default}


@pytest.mark.parametrize("line", ["-h", "--help", "reviews -h", "nonsense --epohcs -h", "-h --epochs"])
def test_help_is_given_whatever_else_is_said(line: str) -> None:
    assert read_cell(line, "neither = right", NAMES) == Request(switches={"help"})


def test_a_traceback_can_be_asked_for() -> None:
    assert read_line("reviews --traceback", NAMES).switches == {"traceback"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("revews", "there is no 'revews' in this notebook (did you mean 'reviews'?)"),
        (
            "xyz",
            "there is no 'xyz' in this notebook; name a DataFrame of this notebook, the path of a file, or a data set "
            "of the hub as xyz:train",
        ),
        (
            "--valid xyz",
            "there is no 'xyz' in this notebook; name a DataFrame of this notebook, the path of a file, or a data set "
            "of the hub as xyz:train",
        ),
        (
            "ds['train']",
            "there is no 'ds[train]' in this notebook; an expression goes into the body of a %%finetune cell: "
            "data = ...",
        ),
        (
            "reviews[:9]",
            "there is no 'reviews[:9]' in this notebook; an expression goes into the body of a %%finetune cell: "
            "data = ...",
        ),
        ("splits.tset", "splits.tset: a SimpleNamespace has no 'tset' (did you mean 'test'?)"),
        (
            "reviews.train",
            "reviews.train: a DataFrame has no 'train', and no file that gpt_magic reads has such a name",
        ),
        ("reviews.xlsx", "reviews.xlsx: a DataFrame has no 'xlsx', and no file that gpt_magic reads has such a name"),
        ("reviews held_out", "data is given twice on the line of the magic, again as 'held_out'"),
        ("reviews --data held_out", "data is given twice on the line of the magic, again as 'held_out'"),
        ("--epochs 3 --epochs 4", "epochs is given twice on the line of the magic, again as '4'"),
        ("--learning-rate 1 --learning_rate 1", "learning_rate is given twice on the line of the magic, again as '1'"),
        ("-o a --output b", "output is given twice on the line of the magic, again as 'b'"),
        ("--epohcs 3", "no option 'epohcs' (did you mean 'epochs'?)"),
        ("--lr 3", "no option 'lr' (did you mean 'learning_rate'?)"),
        ("--qqq", "no option 'qqq'; see %finetune -h for the list"),
        ("--no-baselines", "no option '--no-baselines': write --baselines False"),
        ("-x", "no flag '-x'; flags are -o, -h and the options with two dashes, such as --epochs 3"),
        ("-seed 3", "no flag '-seed'; flags are -o, -h and the options with two dashes, such as --seed"),
        ("--epochs", "--epochs needs a value: a whole number from 1 to 1,000 or auto"),
        ("--epochs --quiet", "--epochs needs a value: a whole number from 1 to 1,000 or auto"),
        ("--text -o clf", "--text needs a value: the name of a column, a list of two, or None"),
        ("-o", "-o needs a value: a Python name, such as clf"),
        ("--valid", "--valid needs a value: the name of a DataFrame or the path of a file"),
        (
            "it's",
            'cannot read the line of the magic: no closing quotation; a text with \' in it stands between " and "',
        ),
    ],
)
def test_bad_lines_say_what_is_wrong(line: str, said: str) -> None:
    assert refused(line) == said


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda text: "'" not in text))
@settings(deadline=None)
def test_any_quoted_text_is_one_word(text: str) -> None:
    assert split_line(f"a '{text}' b") == ["a", text, "b"]


def test_backslashes_of_windows_paths_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_line(r"a\ b c") == ["a b", "c"]
    monkeypatch.setattr(cell.os, "name", "nt")
    words = split_line(r"C:\data\reviews.csv -o clf")
    monkeypatch.undo()
    assert words == [r"C:\data\reviews.csv", "-o", "clf"]


# --- the body -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", {}),
        ("\n\n# only a comment\n", {}),
        ("epochs = 3", {"epochs": 3}),
        ("epochs = 3  # why\nbatch_size = 8", {"epochs": 3, "batch_size": 8}),
        ("epochs = 3; batch_size = 8", {"epochs": 3, "batch_size": 8}),
        ('text, label = "review", "sentiment"', {"text": "review", "label": "sentiment"}),
        ("[text, label] = reviews.columns", {"text": "review", "label": "sentiment"}),
        ("epochs = batch_size = 4", {"epochs": 4, "batch_size": 4}),
        ("batch_size = 4\nepochs = batch_size * 2", {"batch_size": 4, "epochs": 8}),
        ("valid = held_out", {"valid": HELD_OUT}),
        ("data = reviews[reviews.sentiment == 'good'].sample(1)", {"data": REVIEWS}),
        ("base = (\n    my_model,\n    None,\n)", {"base": (MODEL, None)}),
        ("learning_rate = rate if rate < 1 else 1", {"learning_rate": 5e-5}),
        ("epochs = max(i for i in range(4))", {"epochs": 3}),
        ("epochs = len([np.sqrt(4) for _ in range(3)])", {"epochs": 3}),
        ("class_weights = {'a': 1, 'b': 2}", {"class_weights": {"a": 1, "b": 2}}),
        ('text = """{a} $b %c\n!d"""', {"text": "{a} $b %c\n!d"}),
        ("text = r'\\d'", {"text": "\\d"}),
        ("epochs = (lambda n: n)(3)", {"epochs": 3}),
    ],
)
def test_bodies(body: str, expected: dict[str, Any]) -> None:
    found = values("", body)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found[name], value)
        else:
            assert found[name] == value


@given(st.text(st.characters(exclude_categories=("Cs",))))
@settings(max_examples=200, deadline=None)
def test_any_text_in_quotes_arrives_verbatim(text: str) -> None:
    assert read_body(f"text = {text!r}\nepochs = 3\n", {}) == {"text": (text, repr(text)), "epochs": (3, "3")}


@given(st.text(st.sampled_from("a{}$%!?;#@ \t\n中'"), max_size=30))
@settings(deadline=None)
def test_braces_dollars_and_newlines_arrive_verbatim(text: str) -> None:
    assert read_body(f'text = """{text}"""', {})["text"][0] == text


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_body_is_read_or_refused(body: str) -> None:
    with suppress(OptionError):  # one line, see test_errors
        read_body(body, {})


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_line_is_read_or_refused(line: str) -> None:
    with suppress(OptionError):
        read_line(line, NAMES)


def test_the_notebook_is_not_changed() -> None:
    names = dict(NAMES)
    read_cell("reviews", "epochs = 3\nseed = [n := 1, n][0]\nvalid = held_out", names)
    assert names == NAMES
    assert "__builtins__" not in names


def test_only_assignments_are_run() -> None:
    ran: list[int] = []
    names = {"run": ran.append}
    for body in ("run(1)", "epochs = 3\nrun(1)\n", "if run(1): pass", "epochs += run(1)", "epochs: run(1) = 3"):
        with pytest.raises(OptionError, match="is not an assignment to an option"):
            read_body(body, names)
    for body in ("epohcs = run(1)", "x = run(1)", "a.b = run(1)", "text, other = run(1)", "epochs = batches = run(1)"):
        with pytest.raises(OptionError):
            read_body(body, names)
    assert ran == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("epohcs = 3", "line 2 of the cell: no option 'epohcs' (did you mean 'epochs'?)"),
        ("\n\nx = 3", "line 4 of the cell: no option 'x'; see %finetune -h for the list"),
        ("zeta, alpha = 1, 2", "line 2 of the cell: no option 'zeta'; see %finetune -h for the list"),
        ("epochs = 3\nepochs = 4", "epochs is given twice, again on line 3 of the cell"),
        ("epochs = epochs = 4", "epochs is given twice, again on line 2 of the cell"),
        ("epochs, epochs = 3, 4", "epochs is given twice, again on line 2 of the cell"),
        (
            "print(1)",
            "line 2 of the cell, 'print(1)', is not an assignment to an option: write lines such as epochs = 3, and "
            "other code in a cell of its own",
        ),
        ("epochs = 3\n  batch_size = 4", "line 3 of the cell is not Python: 'batch_size = 4' (unexpected indent)"),
        ("label = 'x", 'line 2 of the cell is not Python: "label = \'x" (unterminated string literal)'),
        ("epochs = (3", "line 2 of the cell is not Python: 'epochs = (3' ('(' was never closed)"),
        (
            "--epochs 3",
            "line 2 of the cell is not Python: '--epochs 3' (invalid syntax); flags stand on the first line",
        ),
        ("%time", "line 2 of the cell is not Python: '%time' (invalid syntax)"),
        ("a.b = 3", "line 2 of the cell, 'a.b = 3': only option names can be assigned to"),
        ("epochs[0] = 3", "line 2 of the cell, 'epochs[0] = 3': only option names can be assigned to"),
        ("text, *label = 'ab'", "line 2 of the cell, \"text, *label = 'ab'\": only option names can be assigned to"),
        ("text, label = 'a'", "line 2 of the cell, \"text, label = 'a'\": 2 names need 2 values"),
        ("text, label = 3", "line 2 of the cell, 'text, label = 3': 2 names need 2 values"),
        (
            "label = sentiment",
            "line 2 of the cell, 'label = sentiment': NameError: name 'sentiment' is not defined; "
            "a text stands in quotes: label = 'sentiment'",
        ),
        (
            "schedule = cosine",
            "line 2 of the cell, 'schedule = cosine': NameError: name 'cosine' is not defined; "
            "a text stands in quotes: schedule = 'cosine'",
        ),
        (
            "valid = heldout",
            "line 2 of the cell, 'valid = heldout': NameError: name 'heldout' is not defined "
            "(did you mean 'held_out'?)",
        ),
        ("epochs = 1 / 0", "line 2 of the cell, 'epochs = 1 / 0': ZeroDivisionError: division by zero"),
        ("data = await f()", "line 2 of the cell, 'data = await f()': SyntaxError: 'await' outside function"),
        ("epochs = yield", "line 2 of the cell, 'epochs = yield': SyntaxError: 'yield' outside function"),
        (
            "epochs = *[1],\0",
            "line 2 of the cell is not Python: 'epochs = *[1],\\x00' (source code string cannot contain",
        ),
        ("text = '\ud800'", "the cell is not Python: 'utf-8' codec can't encode character"),
    ],
)
def test_bad_bodies_say_what_is_wrong(body: str, said: str) -> None:
    assert refused("", body).startswith(said)


def test_long_statements_are_cut() -> None:
    line = refused("", f"text = '{'x' * 1000}'.nothing")
    assert len(line) < 200


def test_line_and_body_together() -> None:
    assert values("reviews -o clf", "epochs = 3").keys() == {"data", "output", "epochs"}
    assert refused("reviews --epochs 3", "epochs = 3") == (
        "epochs is given twice: on the line of the magic and in the cell's body"
    )
    assert refused("reviews", "data = held_out") == (
        "data is given twice: on the line of the magic and in the cell's body"
    )


@pytest.mark.parametrize(
    ("line", "body", "name"),
    [
        ("reviews", "", "reviews"),
        ("splits.train", "", "splits.train"),
        ("reviews.csv", "", "reviews.csv"),
        ("--data reviews", "", "reviews"),
        ("", "data = reviews", "reviews"),
        ("", "data = splits.train", "splits.train"),
        ("", "data = reviews.head(1)", None),
        ("", "epochs = 3", None),
    ],
)
def test_how_the_user_calls_the_data(line: str, body: str, name: str | None) -> None:
    assert read_cell(line, body, NAMES).data_name == name


def test_what_is_read_can_be_put() -> None:
    chosen = Options()
    chosen.update(values("reviews -o clf --dry-run", "text, label = 'review', 'sentiment'\nepochs = np.int64(2)"))
    assert (chosen.output, chosen.epochs, chosen.text, chosen.dry_run) == ("clf", 2, "review", True)


# --- names ----------------------------------------------------------------------------------------------


def test_tables_are_what_could_be_trained_on() -> None:
    namespace = {
        **NAMES,
        "_1": REVIEWS,
        "DataFrame": pd.DataFrame,
        "Dataset": datasets.Dataset,
        "dataset": datasets.Dataset.from_dict({"a": ["b"]}),
        "empty": [],
        "words": ["a"],
        "text": "reviews",
        "pandas": pd,
        "nothing": None,
    }
    assert tables(namespace) == ["reviews", "held_out", "dataset"]


def test_find_data_takes_paths_and_attributes() -> None:
    assert find_data("reviews", NAMES) is REVIEWS
    assert find_data("splits.test", NAMES) is HELD_OUT
    assert find_data("folder/x.csv", NAMES) == "folder/x.csv"
    frame = pd.DataFrame({"csv": ["a"]})
    assert list(find_data("frame.csv", {"frame": frame})) == ["a"]  # a column by that name


def test_a_folder_is_written_with_its_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poems").mkdir()
    with pytest.raises(OptionError) as caught:
        find_data("poems", NAMES)
    assert str(caught.value) == "there is no 'poems' in this notebook; the folder of this name is written poems/"
    assert find_data("poems/", NAMES) == "poems/"


def test_a_split_of_a_name_or_of_the_hub() -> None:
    parts = {name: datasets.Dataset.from_dict({"text": [name]}) for name in ("train", "test")}
    names = {"mails": datasets.DatasetDict(parts), "reviews": REVIEWS}
    assert find_data("mails:test", names) is parts["test"]
    assert read_line("mails:test --valid mails:train", names).values == {"data": parts["test"], "valid": parts["train"]}
    assert find_data("imdb:test[:10%]", names) == "imdb:test[:10%]"
    for word, line in {
        "mails:tset": "mails:tset: a DatasetDict has no split 'tset' (did you mean 'test'?)",
        "mails:x": "mails:x: a DatasetDict has no split 'x'; there are train, test",
        "reviews:train": "reviews:train: a DataFrame has no split 'train'",
    }.items():
        with pytest.raises(OptionError) as caught:
            find_data(word, names)
        assert str(caught.value) == line


def test_a_table_in_quotes_is_not_looked_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data", "valid"):
        with pytest.raises(OptionError) as caught:
            read_cell("", f"{name} = 'reviews'", {"reviews": REVIEWS})
        assert str(caught.value) == f"{name} = 'reviews': the name of a DataFrame has no quotes: {name} = reviews"
    assert read_cell("", "data = 'imdb'", {"reviews": REVIEWS}).values == {"data": "imdb"}
    (tmp_path / "reviews").mkdir()  # a folder is one
    assert read_cell("", "data = 'reviews'", {"reviews": REVIEWS}).values == {"data": "reviews"}


def test_parse_value_takes_literals_or_text() -> None:
    assert parse_value("epochs", "3", {}) == 3
    assert parse_value("epochs", "three", {}) == "three"
    assert parse_value("base", "path", NAMES) == "path"
    assert isinstance(parse_value("data", str(Path("a") / "b.csv"), {}), str)
