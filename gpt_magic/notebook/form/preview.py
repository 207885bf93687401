"""The first rows of a table, as a small table whose every cell is text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpt_magic.notebook.markup import BORDER, note, say

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 3
_MOST_COLUMNS = 12
_MOST_OF_A_CELL = 160  # characters


def preview_html(frame: "pd.DataFrame", roles: Mapping[str, str]) -> str:
    """Three rows.

    Args:
        frame: as `read_table` makes it.
        roles: role -> column, for the columns in use; these come first.
    """
    used = {column: role for role, column in roles.items() if column in frame.columns}
    columns = [*used, *(column for column in frame.columns if column not in used)]
    shown, left = columns[:_MOST_COLUMNS], len(columns) - _MOST_COLUMNS
    cell = f"text-align:left;vertical-align:top;padding:4px 10px;border-bottom:{BORDER};max-width:26em"
    head = "".join(
        f'<th scope="col" style="{cell}">{say(column, 60)}'
        + (f'<div style="font-weight:normal">= {say(used[column])}</div>' if column in used else "")
        + "</th>"
        for column in shown
    )
    rows = "".join(
        "<tr>"
        + "".join(f'<td style="{cell}"><bdi>{say(frame[c].iloc[i], _MOST_OF_A_CELL)}</bdi></td>' for c in shown)
        + "</tr>"
        for i in range(min(_ROWS, len(frame)))
    )
    more = [f"{len(frame):,} rows", *([f"{left:,} more columns"] if left > 0 else [])]
    return (
        '<div class="tex2jax_ignore mathjax_ignore" style="overflow-x:auto" tabindex="0" role="region" '
        'aria-label="the first rows of the data">'
        f'<table style="border-collapse:collapse;font-size:inherit"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note(', '.join(more))}"
    )
