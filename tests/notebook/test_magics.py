"""The magics in an IPython shell: what they register and take back, what they return, bind, print and refuse."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from gpt_magic.errors import DataError, OptionError
from gpt_magic.notebook.magics import GptMagic
from gpt_magic.notebook.texts import SETTINGS, SWITCHES
from gpt_magic.options import table
from gpt_magic.tuned import TruncationWarning, TunedModel
from tests.cells import refused, run
from tests.films import base, films, tuned

QUIET = ["%config GptMagic.quiet = True", "%config GptMagic.max_steps = 1", "%config GptMagic.baselines = False"]
DULL = "a dull film, number 3"


@pytest.fixture(scope="module")
def trained() -> TunedModel:
    return tuned()


def new_shell(config: dict[str, Any] | None = None) -> InteractiveShell:
    settings = Config({"HistoryManager": {"enabled": False}, **(config or {})})
    return InteractiveShell(config=settings, colors="nocolor")


@pytest.fixture(scope="module")
def small() -> Any:
    return base()


@pytest.fixture(scope="module")
def one_shell() -> InteractiveShell:
    return new_shell()


@pytest.fixture
def shell(
    one_shell: InteractiveShell, trained: TunedModel, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InteractiveShell]:
    """An IPython with gpt_magic, a tuned model `clf`, a table `toy` and a small base; runs are short and quiet."""
    monkeypatch.chdir(tmp_path)
    before = dict(one_shell.user_ns)
    one_shell.user_ns.update(clf=trained, toy=films(), small=small)
    for cell in ("%load_ext gpt_magic", *QUIET, "%config GptMagic.base = small"):
        one_shell.run_cell(cell).raise_error()
    yield one_shell
    one_shell.run_cell("%unload_ext gpt_magic").raise_error()
    one_shell.config.pop("GptMagic", None)
    one_shell.user_ns.clear()
    one_shell.user_ns.update(before)


# --- %load_ext, %unload_ext -----------------------------------------------------------------------------


def registered(shell: InteractiveShell) -> dict[str, Any]:
    """All that an extension could leave behind."""
    manager = shell.magics_manager
    return {
        "line": dict(manager.magics["line"]),
        "cell": dict(manager.magics["cell"]),
        "registry": dict(manager.registry),
        "configurables": list(shell.configurables),
        "matchers": list(shell.Completer.custom_matchers),
        "cleanup": list(shell.input_transformers_cleanup),
        "post": list(shell.input_transformers_post),
        "tokens": list(shell.input_transformer_manager.token_transformers),
        "names": {name for name in shell.user_ns if not name.startswith("_")},
    }


def test_unload_takes_everything_back_and_load_may_be_repeated() -> None:
    shell = new_shell()
    run(shell, "%unload_ext gpt_magic")  # IPython registers its own magics when they are first used
    before = registered(shell)
    for _ in range(2):
        run(shell, "%load_ext gpt_magic")
        loaded = registered(shell)
        run(shell, "%load_ext gpt_magic")
        run(shell, "%reload_ext gpt_magic")
        again = registered(shell)
        assert {"finetune", "predict"} <= set(again["line"]) & set(again["cell"])
        assert {name: len(items) for name, items in again.items()} == {n: len(items) for n, items in loaded.items()}
        run(shell, "%unload_ext gpt_magic")
        assert registered(shell) == before
        run(shell, "%unload_ext gpt_magic")
        assert registered(shell) == before


def test_a_reload_keeps_working(shell: InteractiveShell) -> None:
    run(shell, "%reload_ext gpt_magic")
    assert run(shell, "%predict clf a fine film")["prediction"].tolist() == ["good"]
    run(shell, "%finetune toy --base scratch --quiet --max-steps 1 --baselines False -o new")
    assert isinstance(shell.user_ns["new"], TunedModel)


def test_other_magics_with_like_names_are_left_alone(shell: InteractiveShell) -> None:
    seen = []
    shell.register_magic_function(lambda line, cell: seen.append((line, cell)), "cell", "predictions")
    shell.run_cell("%%predictions a\nb")
    assert seen == [("a", "b\n")] or seen == [("a", "b")]
    body = shell.transform_cell("%%predictions")
    assert "\\n" not in body.replace("''", "").rstrip("\n")


# --- help -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["%finetune -h", "%%finetune toy --help", "%finetune toy --epohcs 3 -h", "%finetune?"])
def test_help_shows_every_option(
    shell: InteractiveShell, cell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    monkeypatch.setattr("IPython.core.page.page", lambda strng, *_a, **_k: pages.append(str(strng)))
    assert run(shell, cell) is None
    shown = capsys.readouterr().out + "".join(pages)
    for name in table():
        assert f"--{name.replace('_', '-')}" in shown, name
    assert "-o NAME" in shown
    assert "tuned" not in shell.user_ns


@pytest.mark.parametrize("cell", ["%predict", "%predict -h", "%predict --help", "%predict clf -h", "%%predict\na"])
def test_help_of_predict(shell: InteractiveShell, cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, cell) is None
    shown = capsys.readouterr().out
    for flag in (*SWITCHES[:2], *SETTINGS):
        assert flag in shown


# --- defaults -------------------------------------------------------------------------------------------


def test_config_is_used_by_the_next_run_and_a_line_goes_before_it(shell: InteractiveShell) -> None:
    run(shell, "%config GptMagic.max_steps = 2")
    run(shell, "%config GptMagic.label = 'sentiment'")
    assert run(shell, "%finetune toy").metrics["steps"] == 2
    assert run(shell, "%finetune toy --max-steps 3").metrics["steps"] == 3
    assert run(shell, "%finetune toy").metrics["steps"] == 2


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ("epochs = 0", "epochs = 0: must be a whole number from 1 to 1,000 or auto"),
        ("schedule = 'cosin'", "schedule = 'cosin': must be one of linear, cosine, constant (did you mean 'cosine'?)"),
        ("epohcs = 3", "no option 'epohcs' (did you mean 'epochs'?)"),
        ("valid_fraction = 20", "valid_fraction = 20: must be a number from 0 to 0.5"),
    ],
)
def test_a_bad_default_is_refused_and_forgotten(
    shell: InteractiveShell, bad: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    shell.run_cell(f"%config GptMagic.{bad}")
    assert [record.getMessage() for record in caplog.records] == [line]
    caplog.clear()
    run(shell, "%config GptMagic.epochs = 5")
    assert not caplog.records
    defaults = next(item for item in shell.configurables if isinstance(item, GptMagic))
    assert (defaults.epochs, defaults.schedule, defaults.valid_fraction) == (5, "linear", 0.1)
    run(shell, "%finetune toy -o new")


def test_config_lists_the_options(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%config GptMagic")
    shown = capsys.readouterr().out
    assert "GptMagic.learning_rate" in shown
    assert "GptMagic.data" not in shown


def test_a_bad_default_in_a_config_file_is_said_and_left_out() -> None:
    shell = new_shell({"GptMagic": {"epochs": 0, "batch_size": 4, "max_steps": 2}})
    with pytest.warns(
        UserWarning, match="^c.GptMagic.epochs = 0: must be a whole number from 1 to 1,000 or auto; it is left out$"
    ):
        run(shell, "%load_ext gpt_magic")
    defaults = next(item for item in shell.configurables if isinstance(item, GptMagic))
    assert (defaults.epochs, defaults.batch_size, defaults.max_steps) == (3, 4, 2)
    run(shell, "%config GptMagic.batch_size = 8")
    assert (defaults.epochs, defaults.batch_size, defaults.max_steps) == (3, 8, 2)


def test_a_reload_after_a_bad_default(shell: InteractiveShell) -> None:
    shell.run_cell("%config GptMagic.epochs = 0")
    with pytest.warns(UserWarning, match="c.GptMagic.epochs = 0"):
        run(shell, "%reload_ext gpt_magic")
    assert run(shell, "%finetune toy").metrics["steps"] == 1


def test_defaults_from_a_config_file() -> None:
    shell = new_shell({"GptMagic": {"max_steps": 2, "quiet": True, "baselines": False, "schedule": "cosine"}})
    shell.user_ns.update(toy=films(), small=base())
    run(shell, "%load_ext gpt_magic")
    made = run(shell, "%%finetune toy\nbase = small\n") or shell.user_ns["tuned"]
    assert (made.metrics["steps"], made.options["schedule"]) == (2, "cosine")


# --- %finetune ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "name", "returns"),
    [
        ("%%finetune toy -o new\nseed = 3", "new", False),
        ("%%finetune toy\nseed = 3", "tuned", False),
        ("%%finetune toy", "tuned", False),
        ("%%finetune\ndata = toy.head(20)\noutput = 'new'", "new", False),
        ("%finetune toy", "tuned", True),
        ("%finetune toy -o new", "new", False),
    ],
)
def test_where_the_result_goes(shell: InteractiveShell, cell: str, name: str, returns: bool) -> None:
    value = run(shell, cell)
    assert isinstance(shell.user_ns[name], TunedModel)
    assert (value is shell.user_ns[name]) if returns else (value is None)
    assert ("tuned" in shell.user_ns) == (name == "tuned")


def test_the_result_can_be_assigned(shell: InteractiveShell) -> None:
    run(shell, "own = %finetune toy --base scratch")
    assert shell.user_ns["own"] is shell.user_ns["tuned"]
    assert shell.user_ns["own"].options["base"] == "scratch"


def test_in_a_loop_and_in_a_function(shell: InteractiveShell) -> None:
    run(shell, "made = []\nfor seed in (1, 2):\n    one = %finetune toy\n    made.append(one)")
    first, second = shell.user_ns["made"]
    assert first is not second
    run(shell, "def train(table):\n    result = %finetune table --max-steps 2\n    return result\nown = train(toy)")
    assert shell.user_ns["own"].metrics["steps"] == 2
    run(shell, "def label(model, texts):\n    out = %predict model texts\n    return out")
    run(shell, "labelled = label(clf, ['a fine film'])")
    assert shell.user_ns["labelled"]["prediction"].tolist() == ["good"]


def test_a_dry_run_binds_nothing(shell: InteractiveShell) -> None:
    assert run(shell, "%finetune toy --dry-run") is None
    assert run(shell, "%%finetune toy -o new\ndry_run = True") is None
    assert "tuned" not in shell.user_ns
    assert "new" not in shell.user_ns


def test_a_bad_cell_binds_nothing_and_keeps_what_was_there(shell: InteractiveShell) -> None:
    assert refused(shell, "%finetune toy -o clf --epochs 0").startswith("epochs = 0")
    assert shell.user_ns["clf"].classes == ["bad", "good"]


def test_a_dataset_with_class_labels(shell: InteractiveShell) -> None:
    import datasets

    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["sad", "glad"]))
    rows = {"text": films()["review"].tolist(), "label": [1, 0] * 40}
    shell.user_ns["set"] = datasets.Dataset.from_dict(rows, features=features)
    made = run(shell, "%finetune set")
    assert made.classes == ["sad", "glad"]
    assert made.evaluate(shell.user_ns["set"]).rows == 80


@pytest.mark.parametrize(
    ("cell", "error"),
    [("%finetune toy --epochs 0", OptionError), ("%%finetune\ndata = [1]", DataError), ("%predict clf [1][", None)],
)
def test_one_line_unless_the_traceback_is_asked_for(
    shell: InteractiveShell, cell: str, error: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if error is None:
        cell, error = "%predict nobody a film", OptionError
    shell.run_cell(cell)
    short = capsys.readouterr().out.strip()
    assert len(short.splitlines()) == 1
    first, _, body = cell.partition("\n")
    first = first.replace("%predict ", "%predict --traceback ") if "predict" in first else f"{first} --traceback"
    shell.run_cell(f"{first}\n{body}" if body else first)
    long = capsys.readouterr().out
    assert long.strip().splitlines()[-1].endswith(short.partition(": ")[2])
    assert long.startswith("Traceback")
    assert "magics.py" in long


# --- %predict -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a fine film", "a fine film"),
        ('"a fine film"', "a fine film"),
        ("'a fine film'", "a fine film"),
        ("it's fine", "it's fine"),
        ('"it\'s fine"', "it's fine"),
        (r'"say \"fine\""', 'say "fine"'),
        (r"'it\'s'", "it's"),
        ('"fine" or "great"', '"fine" or "great"'),
        ('she said "fine', 'she said "fine'),
        ("a  fine   film", "a  fine   film"),
        ("{x} $HOME {clf} $toy {{y}}", "{x} $HOME {clf} $toy {{y}}"),
        (r"C:\new\table and \d+", r"C:\new\table and \d+"),
        ("fine # and more", "fine # and more"),
        ("fine -- and more", "fine -- and more"),
        ("fine --and-- more", "fine --and-- more"),
        ("-5 degrees", "-5 degrees"),
        ('"--probs"', "--probs"),
        ("'toy'", "toy"),
        ('"toy.review"', "toy.review"),
        ("toy is fine", "toy is fine"),
        ("toy.", "toy."),
        ("fine.", "fine."),
        ("...", "..."),
        ("3.5", "3.5"),
        ("fine", "fine"),
        ("I lost films.csv", "I lost films.csv"),
        ("'films.csv'", "films.csv"),
        ("is it fine?", "is it fine?"),
        ("isn't it fine?", "isn't it fine?"),
        ("what (is this?", "what (is this?"),
        ("fine??", "fine??"),
        ("fine; dull", "fine; dull"),
        ("fine!", "fine!"),
        ("苹果是一种什么", "苹果是一种什么"),
        ("g(x)", "g(x)"),
        ("toy (the film)", "toy (the film)"),
        ("'" + "\\" * 50 + "a", "'" + "\\" * 50 + "a"),
    ],
)
def test_one_text(shell: InteractiveShell, line: str, text: str) -> None:
    out = run(shell, f"%predict clf {line}")
    assert out["text"].tolist() == [text]
    run(shell, f"scored = %predict clf {line}")
    assert shell.user_ns["scored"]["text"].tolist() == [text]
    run(
        shell,
        f"def f():\n    x = 1\n    %predict clf {line}\n    scored = %predict clf {line}\n    return scored\ny = f()",
    )
    assert shell.user_ns["y"]["text"].tolist() == [text]


def test_questions_after_one_another(shell: InteractiveShell) -> None:
    run(shell, "a = %predict clf good?\nb = %predict clf is it dull?\nc = '''\n%predict clf why?\n'''")
    assert shell.user_ns["a"]["text"].tolist() == ["good?"]
    assert shell.user_ns["b"]["text"].tolist() == ["is it dull?"]
    assert shell.user_ns["c"] == "\n%predict clf why?\n"


@pytest.mark.parametrize("cell", ["%predict?", "clf?", "%predict clf?", "toy.head?", "%finetune?"])
def test_questions_to_ipython_stay_help(shell: InteractiveShell, cell: str) -> None:
    assert "pinfo" in shell.transform_cell(cell)


def test_names_that_hold_texts(shell: InteractiveShell) -> None:
    shell.user_ns.update(text="a fine film", some=["a fine film", DULL], records=[{"review": DULL}], Path=Path)
    assert run(shell, "%predict clf text")["text"].tolist() == ["a fine film"]
    assert run(shell, "%predict clf some")["prediction"].tolist() == ["good", "bad"]
    assert run(shell, "%predict clf records")["prediction"].tolist() == ["bad"]
    out = run(shell, "%predict clf toy")
    assert out.index.tolist() == films().index.tolist()
    assert run(shell, "%predict clf toy.review").index.tolist() == films().index.tolist()
    assert "there is" not in refused(shell, "%predict clf toy.reviw")


def test_files(shell: InteractiveShell, tmp_path: Path) -> None:
    table = films().head(3)
    for name in ("unseen.csv", "un seen.csv", "toy.csv"):
        table.to_csv(tmp_path / name, index=False)
    shell.user_ns["path"] = "unseen.csv"
    for line in (
        "unseen.csv",
        '"unseen.csv"',
        f"{tmp_path}/unseen.csv",
        "'un seen.csv'",
        "un seen.csv",
        "toy.csv",
        "path",
    ):
        out = run(shell, f"%predict clf {line}")
        assert out["review"].tolist() == table["review"].tolist(), line
    assert refused(shell, "%predict clf unsen.csv") == ("data = 'unsen.csv': no such file (did you mean 'unseen.csv'?)")
    assert refused(shell, "%predict clf folder/x.parquet") == "data = 'folder/x.parquet': no such file"
    assert "is a web address" in refused(shell, "%predict clf https://example.org/a.csv")
    long = "x" * 300 + ".csv"
    with pytest.warns(TruncationWarning):
        assert run(shell, f"%predict clf '{long}'")["text"].tolist() == [long]


def test_one_text_a_line(shell: InteractiveShell) -> None:
    body = "a fine film\n\n  {x} $HOME it's\u2028 \n" + DULL + "\nis it?\n--probs\n"
    out = run(shell, f"%%predict clf\n{body}")
    assert out["text"].tolist() == ["a fine film", "  {x} $HOME it's\u2028 ", DULL, "is it?", "--probs"]
    chances = run(shell, "%%predict clf --probabilities\na fine film")
    assert chances.columns.tolist() == ["text", "prediction", "confidence", "p(bad)", "p(good)"]


@pytest.mark.parametrize(
    "line",
    [
        "--probabilities clf a fine film",
        "clf --probabilities a fine film",
        "clf a fine film --probabilities",
        "clf 'a fine film' --probabilities",
        "clf  --traceback  --probabilities   a fine film --traceback",
    ],
)
def test_flags_stand_at_either_end(shell: InteractiveShell, line: str) -> None:
    out = run(shell, f"%predict {line}")
    assert out["text"].tolist() == ["a fine film"]
    assert "p(good)" in out.columns


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "clf toy --probs",
            "no flag '--probs' (did you mean '--probabilities'?); a text that begins or ends so stands in ",
        ),
        (
            "--probs clf toy",
            "no flag '--probs' (did you mean '--probabilities'?); a text that begins or ends so stands in ",
        ),
        (
            "clf --top-k=3 toy",
            "--top-k: for models that write, and clf labels; a text that begins or ends so stands in ",
        ),
        ("clf --topics=3 toy", "no flag '--topics'"),
        (
            "clf toy.review[:3]",
            "'toy.review[:3]' is an expression: write clf.predict(toy.review[:3]); a text stands in ",
        ),
        ("clf toy.head(3)", "'toy.head(3)' is an expression: write clf.predict(toy.head(3)); a text stands in quotes"),
        ("clv a film", "'clv' is not in this notebook (did you mean 'clf'?)"),
        ("toy a film", "'toy' is not a tuned model; tuned models here: clf"),
        ("clf", "nothing to predict: give a text or the name of a DataFrame after the model's name"),
    ],
)
def test_what_cannot_be_predicted(shell: InteractiveShell, line: str, said: str) -> None:
    assert refused(shell, f"%predict {line}").startswith(said)


def test_warnings_are_one_plain_line_each_time(shell: InteractiveShell) -> None:
    shell.user_ns["gaps"] = pd.Series(["fine", None])
    before = warnings.formatwarning
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            run(shell, "%predict clf gaps")
        assert [str(item.message) for item in caught] == ["no prediction where there is no text: row 1"]
    assert warnings.formatwarning is before


def test_what_a_terminal_shows() -> None:
    """The warning on standard error, one line, also the second time; the prediction as the cell's value."""
    code = """
import warnings
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

class TunedModel:
    classes = ["good", "bad"]
    def predict(self, x, probabilities):
        warnings.warn("no prediction where there is no text: row 0", stacklevel=2)
        return x

shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
shell.user_ns["clf"] = TunedModel()
for cell in ("%load_ext gpt_magic", "%predict clf a film", "%predict clf a film"):
    shell.run_cell(cell)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["no prediction where there is no text: row 0"] * 2
    assert done.stdout.count("'a film'") == 2


# --- pairs, several labels, numbers ---------------------------------------------------------------------

PAIRS = pd.DataFrame({"one": ["it rains", "it snows"] * 10, "other": ["it is wet", "it is hot"] * 10, "y": [1, 0] * 10})


@pytest.mark.parametrize(
    "cell",
    [
        '%%finetune pairs -o nli\ntext, label = ["one", "other"], "y"',
        '%%finetune pairs -o nli\ntext = "one", "other"\nlabel = "y"',
        """%finetune pairs -o nli --label y --text '["one", "other"]'""",
        """%finetune pairs -o nli --label=y --text="('one', 'other')" --task classify""",
    ],
)
def test_pairs_from_the_cell_and_by_flags(cell: str, shell: InteractiveShell) -> None:
    shell.user_ns["pairs"] = PAIRS
    run(shell, cell)
    nli = shell.user_ns["nli"]
    assert nli.columns == {"text": "one", "second text": "other", "label": "y"}
    found = run(shell, '%predict nli "it rains" "it is wet" --probabilities')
    assert found.columns.tolist() == ["one", "other", "prediction", "confidence", "p(0)", "p(1)"]
    assert len(run(shell, '%%predict nli\n"it rains" "it is wet"\n"it snows" "it is hot"')) == 2
    assert len(run(shell, "%predict nli pairs")) == 20


def test_labels_decide_the_task_of_a_cell(shell: InteractiveShell) -> None:
    shell.user_ns["tagged"] = films().assign(sentiment=[["good"], []] * 40)
    shell.user_ns["rated"] = films().assign(sentiment=[0.5, 1.5] * 40)
    for name, kind in (("tagged", "TunedMultilabel"), ("rated", "TunedRegressor"), ("toy", "TunedClassifier")):
        run(shell, f"%%finetune {name} -o made")
        assert type(shell.user_ns["made"]).__name__ == kind
    run(shell, "%finetune toy -o made --style words --template '{text} So it is'")
    assert type(shell.user_ns["made"]).__name__ == "TunedWords"
    assert shell.user_ns["made"].template == "{text} So it is"
