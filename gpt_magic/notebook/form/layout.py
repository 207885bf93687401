"""How the form looks: its groups, its style sheet, and what folds."""

from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets

from gpt_magic.notebook.form.fields import Field
from gpt_magic.options import GROUPS, RARE, table

# Colours and fonts are the page's own, so that both themes fit; a narrow page gets one column.
STYLE = """<style>
.gpt-magic-form { max-width: 1000px; width: 100%; padding: 0 2px 8px; box-sizing: border-box; overflow: visible; }
.gpt-magic-form, .gpt-magic-form .widget-html-content { font-size: var(--jp-ui-font-size1, 13px); line-height: 1.4; }
.gpt-magic-form .widget-html { min-width: 0; height: auto; margin: 0; }
.gpt-magic-form .widget-html-content { width: 100%; min-width: 0; overflow-wrap: break-word; }
.gpt-magic-form h3 { margin: 4px 0 0; font-size: 1.25em; }
.gpt-magic-form h4 { margin: 14px 0 6px; font-size: 1.05em; padding-bottom: 3px;
  border-bottom: 1px solid rgba(128,128,128,.35); }
.gpt-magic-grid { display: grid !important; width: 100%; gap: 12px 20px; overflow: visible;
  grid-template-columns: repeat(auto-fill, minmax(min(215px, 100%), 1fr)); align-items: start; }
.gpt-magic-field, .gpt-magic-form .widget-vbox, .gpt-magic-form .widget-hbox { overflow: visible; min-width: 0; }
.gpt-magic-field .widget-inline-hbox { flex-direction: column; align-items: stretch; height: auto; margin: 0; }
.gpt-magic-field .widget-inline-hbox > .widget-label { width: auto; max-width: none; text-align: left;
  font-weight: 600; line-height: 1.5; height: auto; font-family: var(--jp-code-font-family, monospace); }
.gpt-magic-field .widget-inline-hbox > input, .gpt-magic-field .widget-inline-hbox > select { flex: none;
  height: 28px; box-sizing: border-box; width: 100%; }
.gpt-magic-field .widget-checkbox { flex-direction: row; width: auto; margin: 4px 0; }
.gpt-magic-field .widget-checkbox .widget-label-basic span { font-weight: 600;
  font-family: var(--jp-code-font-family, monospace); }
.gpt-magic-field .widget-html-content { font-size: .88em; line-height: 1.35; color: var(--jp-ui-font-color1, inherit); }
.gpt-magic-field details > summary { cursor: pointer; list-style: none; }
.gpt-magic-field details > summary::-webkit-details-marker { display: none; }
.gpt-magic-takes { display: block; opacity: .85; font-variant-numeric: tabular-nums; }
.gpt-magic-wrong .widget-inline-hbox > input, .gpt-magic-wrong .widget-inline-hbox > select,
.gpt-magic-wrong .widget-inline-hbox > textarea { border: 2px solid #d55e00 !important; }
.gpt-magic-wrong [role=alert] { border-left: 3px solid #d55e00; padding-left: 7px; font-weight: 600; margin: 3px 0; }
.gpt-magic-actions { flex-flow: row wrap !important; gap: 6px; align-items: center; margin: 8px 0 4px; }
.gpt-magic-actions .widget-button { width: auto; padding: 0 14px; margin: 0; }
.gpt-magic-form .widget-button:focus-visible, .gpt-magic-form input:focus-visible, .gpt-magic-form select:focus-visible,
.gpt-magic-form textarea:focus-visible, .gpt-magic-form summary:focus-visible,
.gpt-magic-form [tabindex]:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
.gpt-magic-rate { flex-flow: row wrap !important; gap: 4px 24px; max-width: 820px;
  min-height: 136px; }
.gpt-magic-track { max-width: 412px; }
.gpt-magic-track .widget-html { padding: 0 16px; }
.gpt-magic-track .widget-slider { margin: 0; }
.gpt-magic-track .slider-container { margin: 0 16px; }
.gpt-magic-track .widget-html-content > div:has(> span) { display: flex; justify-content: space-between; opacity: .85; }
.gpt-magic-track .widget-html-content span { width: 0; display: flex; justify-content: center; white-space: nowrap; }
.gpt-magic-fold { align-self: flex-start; width: auto !important; margin: 14px 0 4px !important; padding: 0 10px; }
.gpt-magic-copy textarea { width: 100%; box-sizing: border-box; font-family: var(--jp-code-font-family, monospace);
  font-size: var(--jp-code-font-size, 13px); color: inherit; background: transparent; padding: 8px;
  border: 1px solid rgba(128,128,128,.6); border-radius: 3px; }
.gpt-magic-copy button { font: inherit; color: inherit; background: transparent; padding: 3px 12px; cursor: pointer;
  border: 1px solid rgba(128,128,128,.7); border-radius: 3px; }
</style>"""

FIRST_GROUPS = ("data", "model", "training", "evaluation")
_TITLES = {"data": "Data", "model": "Model", "training": "Training", "evaluation": "Evaluation"}


def is_folded(name: str) -> bool:
    """Whether an option is among the advanced ones."""
    return name in RARE or table()[name].metadata["group"] not in FIRST_GROUPS


def sections(fields: Mapping[str, Field], beside: Mapping[str, Sequence[widgets.Widget]]) -> list[widgets.Widget]:
    """The groups one below the other, the advanced ones folded.

    Args:
        beside: group -> what stands below its title, before its fields.
    """
    made: list[widgets.Widget] = []
    ordered = sorted(fields.items(), key=lambda item: _rank(item[0]))
    for group in FIRST_GROUPS:
        boxes = [field.box for name, field in ordered if _group(name) == group and not is_folded(name)]
        made += [title(_TITLES[group]), *beside.get(group, ()), grid(boxes)]
    inside: list[widgets.Widget] = []
    for group in GROUPS:
        boxes = [field.box for name, field in ordered if _group(name) == group and is_folded(name)]
        if boxes:
            inside += [title(_TITLES.get(group, group.capitalize())), grid(boxes)]
    return [*made, *fold("advanced options", inside)]


def title(text: str) -> widgets.HTML:
    """The heading of a group."""
    return widgets.HTML(f"<h4>{text}</h4>")


def grid(boxes: Sequence[widgets.Widget]) -> widgets.Box:
    """As many columns as there is room for."""
    box = widgets.Box(boxes)
    box.add_class("gpt-magic-grid")
    return box


def row(*parts: widgets.Widget) -> widgets.HBox:
    """Buttons beside each other, in several lines where it is narrow."""
    box = widgets.HBox(parts)
    box.add_class("gpt-magic-actions")
    return box


def button(words: str, tooltip: str, clicked: Callable[[], None]) -> widgets.Button:
    """A button that does one thing."""
    made = widgets.Button(description=words, tooltip=tooltip)
    made.on_click(lambda _: clicked())
    return made


def fold(what: str, inside: Sequence[widgets.Widget]) -> list[widgets.Widget]:
    """A button that says and changes whether something is shown, and the thing itself, not shown at first."""
    box = widgets.VBox(inside)
    box.layout.display = "none"

    def turn() -> None:
        shown = box.layout.display != "none"
        box.layout.display = "none" if shown else ""
        head.description = f"\u25b8 Show {what}" if shown else f"\u25be Hide {what}"
        head.tooltip = head.description[2:]

    head = button(f"\u25b8 Show {what}", f"Show {what}", turn)
    head.add_class("gpt-magic-fold")
    return [head, box]


def close(widget: widgets.Widget) -> None:
    """Close a widget with its layout and style, which are widgets too."""
    for part in (getattr(widget, "layout", None), getattr(widget, "style", None), widget):
        if part is not None:
            part.close()


def _rank(name: str) -> int:
    """What is to be learned comes first, then the columns that it is learned from."""
    return 0 if name == "task" else 1 if table()[name].metadata.get("kind") == "column" else 2


def _group(name: str) -> str:
    return str(table()[name].metadata["group"])
