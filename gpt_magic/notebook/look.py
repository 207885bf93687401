"""What all pictures of a run share: size, colours, and a style that is not the user's."""

from typing import Any

import matplotlib as mpl

WIDTH, HEIGHT = 720, 290  # CSS pixels
SCALE = 2  # PNG pixels in a CSS pixel
DPI = 100  # CSS pixels in an inch

# Grey: the same contrast, 4.3:1, on white and on JupyterLab's dark #111. Curves: those of Okabe and Ito's colours
# (https://jfly.uni-koeln.de/color/) that have 3:1 on both.
GREY = "#7a7a7a"
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
COLOURS = (GREY, BLUE, VERMILION, GREEN, PURPLE)


def own_style() -> Any:
    """Matplotlib's own defaults for all that shapes the picture, so that the user's style does not."""
    kinds = ("axes.", "font.", "grid.", "legend.", "lines.", "markers.", "path.", "text.", "xtick.", "ytick.")
    return {key: value for key, value in mpl.rcParamsDefault.items() if key.startswith(kinds)}
