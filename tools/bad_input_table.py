"""Write ``docs/bad_input.md``, the table of bad input and the lines it gives, from ``tests/bad_input.py``.

``python tools/bad_input_table.py`` writes the page; with ``-`` it is printed.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.bad_input import NOTEBOOK, SECTIONS, Bad  # noqa: E402

INTRODUCTION = f"""\
# Bad input

A cell that cannot run ends with one line that says what is wrong, where, and what to write instead. It is a real
error: a Run All stops, nbval and nbclient fail. `--traceback` on the line of the magic shows where it was raised.

This page is made from `tests/bad_input.py` by `python tools/bad_input_table.py`; the tests run every cell of it,
without a network, in a notebook that begins so and holds two tuned models, `clf` and `writer`, and a small GPT-2,
`model` and `tokenizer`:

```python
{NOTEBOOK.strip()}
```
"""


def main() -> None:
    if sys.argv[1:] == ["-"]:
        print(page(), end="")
    else:
        (ROOT / "docs" / "bad_input.md").write_text(page(), encoding="utf-8")


def page() -> str:
    parts = [INTRODUCTION.rstrip()]
    for title, section in SECTIONS.items():
        parts += [f"\n## {title}\n", "| | what was written | the line it gives |", "|---|---|---|"]
        parts += [f"| {bad.what} | {written(bad)} | {code(bad.line)} |" for bad in section]
    return "\n".join(parts) + "\n"


def written(bad: Bad) -> str:
    cell = "<br>".join(code(line) for line in bad.cell.splitlines() if line)
    given = "<br>".join(code(line) for line in bad.given.splitlines())
    return f"after {given}:<br>{cell}" if given else cell


def code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return fence + pad + text.replace("|", "\\|") + pad + fence


if __name__ == "__main__":
    main()
