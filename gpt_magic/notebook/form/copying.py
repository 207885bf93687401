"""The form's settings as text to take away: shown in a box to select, and copied where the browser allows it."""

import html

import ipywidgets as widgets

from gpt_magic.notebook.markup import say

# Runs in the browser, so that a copy needs no kernel. It says what it did, in words.
_COPY = """<button type="button" onclick="(function(button) {
  const area = button.parentNode.querySelector('textarea'), said = button.parentNode.querySelector('[role=status]');
  area.focus(); area.select();
  const done = () => said.textContent = ' copied', failed = () => said.textContent = ' press Ctrl+C (or Cmd+C)';
  try { navigator.clipboard.writeText(area.value).then(done, () => document.execCommand('copy') ? done() : failed()); }
  catch (error) { document.execCommand('copy') ? done() : failed(); }
})(this)">Copy</button><span role="status"></span>"""


class CopyBox:
    """A read-only box with the text that was asked for; empty until then."""

    def __init__(self) -> None:
        self._box = widgets.HTML()
        self._box.add_class("gpt-magic-copy")
        self.text = ""

    @property
    def box(self) -> widgets.HTML:
        """The widget to lay out."""
        return self._box

    def show(self, text: str, what: str) -> None:
        """Show a text; ``what`` says what it is, for the label."""
        self.text = text
        rows = min(text.count("\n") + 1, 24)
        written = "\n" + html.escape(text.rstrip("\n"))  # HTML drops a line break right after the tag
        area = f'<textarea readonly rows="{rows}" aria-label="{html.escape(what)}" spellcheck="false">{written}'
        self._box.value = f"<div>{say(what)}</div>{area}</textarea>{_COPY}"

    def refuse(self, line: str) -> None:
        """Say why there is no text."""
        self.text = ""
        self._box.value = f'<div role="alert">\u2717 {say(line, 400)}</div>'

    def hide(self) -> None:
        """Take the box away: what it said no longer holds."""
        self.text = self._box.value = ""
