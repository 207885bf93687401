"""What is imported when: %load_ext is instant, and the rooms of the package depend on each other one way only."""

import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gpt_magic"
HEAVY = ["torch", "transformers", "datasets", "pandas", "matplotlib", "ipywidgets", "sklearn", "scipy", "pyarrow"]
LOAD = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
before = set(sys.modules)
began = time.perf_counter()
shell.run_line_magic("load_ext", "gpt_magic")
took = time.perf_counter() - began
print(json.dumps({"seconds": took, "modules": sorted(set(sys.modules) - before)}))
"""
MODULES = sorted(PACKAGE.rglob("*.py"))


def load_ext() -> tuple[float, set[str]]:
    """Seconds of ``%load_ext gpt_magic`` in a fresh process, and the modules that it imported."""
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], set(found["modules"])


def test_load_ext_is_instant_and_imports_nothing_heavy() -> None:
    runs = [load_ext() for _ in range(3)]
    for _, modules in runs:
        assert "gpt_magic.notebook.magics" in modules
        assert not {name.partition(".")[0] for name in modules} & {*HEAVY, "numpy"}
    median = statistics.median(seconds for seconds, _ in runs)
    print(f"%load_ext: {median * 1000:.0f} ms")
    assert median < 0.150  # 50 ms is the aim; test machines are busy


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = "import gpt_magic, sys; dir(gpt_magic); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {*HEAVY, "numpy", "IPython", "traitlets"}


def imports(path: Path, everywhere: bool) -> Iterator[str]:
    """Modules that a file imports: at module level, or ``everywhere``; those for type checkers alone do not count."""
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                todo.extend(node.orelse)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() if not everywhere:
                pass
            case _:
                todo.extend(ast.iter_child_nodes(node))


def room(name: str) -> str:
    """``gpt_magic.data.checks.rows`` -> ``data``; another library's name as it is."""
    parts = name.split(".")
    return parts[1] if parts[0] == "gpt_magic" and len(parts) > 1 else parts[0]


def within(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_notebook_imports_what_notebooks_need(path: Path) -> None:
    if within(path) == "notebook":
        return
    assert not {name.partition(".")[0] for name in imports(path, everywhere=True)} & {"IPython", "ipywidgets"}
    top = set(map(room, imports(path, everywhere=False)))
    assert not top & {"matplotlib", "notebook"}


@pytest.mark.parametrize(
    ("rooms", "never"),
    [
        (["engine"], {"notebook", "run", "door", "data", "tasks", "models", "tuned", "saved", "prepare", "options"}),
        (["models"], {"notebook", "run", "door", "data", "tasks", "engine", "inference", "tuned", "saved", "prepare"}),
        (["data", "tasks", "inference"], {"run", "door", "tuned", "saved", "prepare", "recorder"}),
        (["options", "errors", "summary"], {"run", "door", "data", "tasks", "engine", "models", "tuned", "saved"}),
        (["run", "prepare", "recorder"], {"notebook", "door", "saved"}),
    ],
)
def test_imports_point_one_way(rooms: list[str], never: set[str]) -> None:
    files = [path for path in MODULES if within(path) in rooms]
    assert files
    for path in files:
        assert not set(map(room, imports(path, everywhere=True))) & never, path
    for name in {"data", "tasks", "inference"} & set(rooms):
        for path in (path for path in files if within(path) == name):
            assert "notebook" not in map(room, imports(path, everywhere=False)), path
