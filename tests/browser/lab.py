"""Drive JupyterLab in a headless Chromium, one synchronous call a step.

The browser lives on a thread with an event loop of its own: playwright's synchronous interface would leave a
running loop in the tests' thread, where jupyter_client, nbclient and asyncio.run then misbehave. And a
future has a time-out, which ``page.evaluate`` has not.
"""

import asyncio
import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psutil

from tests.browser.server import LabServer, end_processes

if TYPE_CHECKING:
    from playwright.async_api import Browser, ElementHandle, Page, Playwright

T = TypeVar("T")

STEP_SECONDS = 30.0  # an interface action
OPEN_SECONDS = 60.0  # a page or a kernel starts
CELL_SECONDS = 120.0
LARGEST_PIXELS = 16_000  # Chromium's limit for one side of a picture is 16,384

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
DRIVER = (Path(__file__).parent / "driver.js").read_text(encoding="utf-8")
# Hover buttons, the selection bar and the active cell's frame belong to the person at the screen.
PICTURE_STYLE = """
.jp-cell-menu, .jp-cell-toolbar, .jp-Toast { display: none !important }
.jp-Collapser { visibility: hidden !important }
.jp-Cell { box-shadow: none !important }
.jp-InputPrompt { color: var(--jp-cell-prompt-not-active-font-color) !important }
"""


def chromium() -> str | None:
    """Path of the browser: the environment's CHROMIUM, or the ``chromium`` on the path."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


def missing() -> str:
    """What is not installed that a `Lab` needs, with how to install it; empty when all is there."""
    packages = [name for name in ("jupyterlab", "playwright", "psutil") if importlib.util.find_spec(name) is None]
    lines = [f"{', '.join(packages)}: pip install {' '.join(packages)}"] if packages else []
    if chromium() is None:
        lines.append("chromium: apt-get install chromium, or set CHROMIUM to the path of one")
    return "; ".join(lines)


class LabTimeoutError(AssertionError):
    """Something was not done in time; the message says what, and how the kernel and the page stand."""


class Lab:
    """One JupyterLab or Notebook 7, one browser page, one notebook at a time. Use it in a ``with`` statement.

    Cells are counted from 0, Markdown cells included. The notebook is always a copy; see `open`.

    Args:
        folder: empty folder for the server's files and the copies; created if missing.
        width, height: of the page, in CSS pixels.
        scale: device pixels a CSS pixel; 2 for pictures to be shown on fine screens.
        classic: Notebook 7, which has a page for each notebook.
    """

    def __init__(
        self, folder: Path, *, width: int = 1280, height: int = 900, scale: float = 1.0, classic: bool = False
    ) -> None:
        self.server = LabServer(folder, classic=classic)
        self.notebook: Path | None = None
        self._size = (width, height)
        self._scale = scale
        self._copies = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._processes: list[psutil.Process] = []
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._page: Page | None = None

    def __enter__(self) -> Self:
        """Start the server and the browser, side by side, and load JupyterLab."""
        self._thread.start()
        try:
            self.server.start()
            self.wait_for(self._launch(), OPEN_SECONDS, "starting Chromium")
            self.server.wait_ready()
            if not self.server.classic:
                self.wait_for(self._load("lab"), OPEN_SECONDS, "loading JupyterLab")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """End the browser, the server and its kernels."""
        self.close()

    def close(self) -> None:
        """End everything, by force where asking does not help; harmless when repeated."""
        if self._loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._quit(), self._loop).result(STEP_SECONDS)
        except Exception as error:  # whatever it was, the processes are ended below
            print(f"closing the browser: {error!r}")
        end_processes(self._processes)
        self.server.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STEP_SECONDS)
        self._loop.close()

    @property
    def page(self) -> "Page":
        """Playwright's asynchronous page, for what has no method here: ``lab.wait_for(lab.page.click(...))``."""
        if self._page is None:
            raise RuntimeError("the lab is not open; use it in a with statement")
        return self._page

    def wait_for(self, action: Coroutine[Any, Any, T], seconds: float = STEP_SECONDS, what: str = "an action") -> T:
        """Run one of playwright's coroutines in the browser's thread and return its result.

        Raises:
            LabTimeoutError: not done within ``seconds``.
        """
        future = asyncio.run_coroutine_threadsafe(action, self._loop)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise LabTimeoutError(f"{what}: not done within {seconds:g} s; {self._state()}") from None

    def until(self, happened: Callable[[], object], seconds: float = CELL_SECONDS, what: str = "an event") -> None:
        """Look twenty times a second until ``happened()`` is true.

        Raises:
            LabTimeoutError: it was not within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                raise LabTimeoutError(f"{what}: not seen within {seconds:g} s; {self._state()}")
            time.sleep(0.05)

    def call(self, expression: str, argument: object = None, seconds: float = STEP_SECONDS, what: str = "") -> Any:
        """Evaluate a JavaScript function in the page (``driver`` is that of driver.js), promises awaited."""
        return self.wait_for(self.page.evaluate(expression, argument), seconds, what or expression)

    # The notebook

    def open(self, notebook: Path) -> Path:
        """Open a copy of a notebook, in a folder of its own, with a fresh kernel; returns the copy's path.

        The notebook that was open is closed without saving and its kernel ended.
        """
        self._copies += 1
        self.notebook = self.server.work / str(self._copies) / notebook.name
        self.notebook.parent.mkdir()
        shutil.copyfile(notebook, self.notebook)
        self._open()
        return self.notebook

    def _open(self) -> None:
        assert self.notebook is not None
        path = self.notebook.relative_to(self.server.work).as_posix()
        if self.server.classic:
            self.wait_for(self._load(f"notebooks/{path}"), OPEN_SECONDS, "loading Notebook 7")
        self.call("path => driver.open(path)", path, OPEN_SECONDS, f"opening {path}")

    def reload(self) -> None:
        """Reload the page and open the same copy again, its kernel as it is."""
        if not self.server.classic:
            self.wait_for(self._load("lab"), OPEN_SECONDS, "reloading JupyterLab")
        self._open()

    def start_cell(self, index: int) -> None:
        """Start a cell as the Run button does, and return at once."""
        self.call("index => driver.start('notebook:run-cell', index)", index)

    def run_cell(self, index: int, seconds: float = CELL_SECONDS) -> None:
        """Run a cell to its end, be it a result or an error."""
        self.start_cell(index)
        self.wait_idle(seconds)

    def start_all(self) -> None:
        """Start all cells, and return at once."""
        self.call("() => driver.start('notebook:run-all-cells')")

    def run_all(self, seconds: float = CELL_SECONDS) -> None:
        """Run all cells; like a person's Run All, it ends at the first error."""
        self.start_all()
        self.wait_idle(seconds)

    def running(self) -> bool:
        """Whether something that was started has not ended."""
        return bool(self.call("() => driver.running > 0"))

    def wait_idle(self, seconds: float = CELL_SECONDS) -> None:
        """Wait until all that was started has ended, its outputs have arrived and the page shows them."""
        self.call("() => driver.idle()", None, seconds, "running cells")

    def interrupt(self) -> None:
        """JupyterLab's own interrupt command, the one behind the stop button."""
        self.call("() => driver.command('notebook:interrupt-kernel')", None, STEP_SECONDS, "interrupting the kernel")

    def add_cell(self, source: str) -> int:
        """Append a code cell; returns its index."""
        return int(self.call("source => driver.add(source)", source))

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell in the notebook's model, as they would be saved (texts are single strings)."""
        outputs: list[dict[str, Any]] = self.call("index => driver.cell(index).model.toJSON().outputs ?? []", index)
        return [_joined(output) for output in outputs]

    def shown(self, index: int) -> str:
        """The text that the page shows below a cell now."""
        return str(self.call("index => driver.cell(index).outputArea.node.innerText", index))

    def save(self) -> Path:
        """Save the copy; returns its path."""
        self.call("() => driver.panel.context.save()", None, STEP_SECONDS, "saving")
        assert self.notebook is not None
        return self.notebook

    # The looks

    def set_theme(self, theme: str) -> None:
        """Switch to JupyterLab's ``light`` or ``dark`` theme."""
        name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[theme]
        self.call("name => driver.theme(name)", name, STEP_SECONDS, f"switching to {name}")

    def resize(self, width: int, height: int | None = None) -> None:
        """Give the page another width, and height if told, in CSS pixels."""
        self._size = (width, height or self._size[1])
        self._view(*self._size)

    def screenshot(self, path: Path, cell: int | None = None) -> Path:
        """Save a PNG of the whole notebook, from its first cell to its last, or of one cell; returns the path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = int(self.call("async () => { await driver.painted(); return driver.hiddenHeight(); }"))
        if hidden:
            self._view(self._size[0], min(self._size[1] + hidden, int(LARGEST_PIXELS / self._scale)))
        self.wait_for(self._shoot(path, cell), STEP_SECONDS, f"taking {path.name}")
        if hidden:
            self._view(*self._size)
        return path

    def _view(self, width: int, height: int) -> None:
        self.wait_for(self.page.set_viewport_size({"width": width, "height": height}), STEP_SECONDS, "resizing")
        self.call("() => driver.painted()")

    async def _shoot(self, path: Path, cell: int | None) -> None:
        handle = await self.page.evaluate_handle("index => driver.node(index)", cell)
        element: ElementHandle | None = handle.as_element()
        assert element is not None
        await element.screenshot(path=path, animations="disabled", caret="hide", style=PICTURE_STYLE)

    # The browser

    async def _launch(self) -> None:
        from playwright.async_api import async_playwright  # here: `missing` must work without it

        before = set(psutil.Process().children(recursive=True))
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        self._processes = [p for p in psutil.Process().children(recursive=True) if p not in before]
        width, height = self._size
        context = await self._browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=self._scale
        )
        await context.add_init_script(DRIVER)
        self._page = await context.new_page()

    async def _load(self, path: str) -> None:
        await self.page.goto(f"{self.server.url}{path}?token={self.server.token}", wait_until="commit")
        await self.page.wait_for_function("window.jupyterapp !== undefined", timeout=OPEN_SECONDS * 1000)
        await self.page.evaluate("driver.ready()")

    async def _quit(self) -> None:
        if self._browser is not None:
            await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()

    def _state(self) -> str:
        """How the page stands, for the message of a time-out; itself bounded."""
        if self._page is None:
            return "no page yet"
        future = asyncio.run_coroutine_threadsafe(self._page.evaluate("() => driver.state()"), self._loop)
        try:
            return str(future.result(5))
        except Exception as error:  # the time-out is the news, not this
            return f"the page does not answer ({type(error).__name__})"


def _joined(output: dict[str, Any]) -> dict[str, Any]:
    """Join the lists of lines that nbformat allows for texts."""
    data = {mime: "".join(v) if isinstance(v, list) else v for mime, v in output.get("data", {}).items()}
    text = output.get("text", "")
    return output | ({"data": data} if "data" in output else {}) | ({"text": "".join(text)} if text else {})
