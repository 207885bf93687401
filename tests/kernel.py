"""Run code in a real ipykernel, as a notebook does, and see every message that comes back."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any, Self

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

START_SECONDS = 60.0
RUN_SECONDS = 120.0
SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.2


@dataclass
class Reply:
    """What one cell has sent so far; complete once ``status`` is no longer ``running``.

    Attributes:
        status: ``running``, ``ok``, ``error`` or ``aborted``.
        outputs: as the saved notebook would hold them, updates of displays applied.
        displays: contents of the ``display_data`` messages, in order.
        updates: contents of the ``update_display_data`` messages, in order.
        messages: all messages of the cell on the iopub channel, ``comm_open`` and ``status`` among them.
        closed: all comms that the kernel has closed.
        error_name, error_value, traceback: of the error, empty without one.
        seconds: from the kernel's busy to its idle, by the kernel's own clock; 0 while running.
        interrupt_seconds: from the last `Kernel.interrupt` to idle; None where there was no interrupt.
    """

    message_id: str
    status: str = "running"
    outputs: list[dict[str, Any]] = field(default_factory=list)
    displays: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    error_name: str = ""
    error_value: str = ""
    traceback: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupt_seconds: float | None = None
    idle: bool = False
    _busy_at: float = 0.0
    _clear_next: bool = False

    @property
    def stdout(self) -> str:
        """Everything printed, cleared text left out."""
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        """Everything written to standard error, cleared text left out."""
        return self._stream("stderr")

    @property
    def result(self) -> dict[str, Any]:
        """The cell's value as a MIME bundle, empty without one."""
        return next((o["data"] for o in self.outputs if o["output_type"] == "execute_result"), {})

    def _stream(self, name: str) -> str:
        return "".join(o["text"] for o in self.outputs if o["output_type"] == "stream" and o["name"] == name)

    def take(self, message: dict[str, Any]) -> None:
        """Take in one message of this cell on the iopub channel."""
        self.messages.append(message)
        kind, content = message["msg_type"], message["content"]
        match kind:
            case "status":
                self._take_status(content["execution_state"], message["header"]["date"].timestamp())
            case "display_data":
                self.displays.append(content)
                self._add({"output_type": kind, "data": content["data"], "metadata": content["metadata"]})
            case "update_display_data":
                self.updates.append(content)
            case "error":
                self.error_name, self.error_value = content["ename"], content["evalue"]
                self.traceback = content["traceback"]
                self._add({"output_type": kind, **content})
            case "stream" | "execute_result":
                self._add({"output_type": kind, **content})
            case "clear_output":
                self._clear_next = content["wait"]
                if not self._clear_next:
                    self.outputs.clear()

    def _take_status(self, state: str, when: float) -> None:
        if state == "busy":
            self._busy_at = when
        elif state == "idle":
            self.idle = True
            self.seconds = when - self._busy_at

    def _add(self, output: dict[str, Any]) -> None:
        if self._clear_next:
            self.outputs.clear()
            self._clear_next = False
        last = self.outputs[-1] if self.outputs else {}
        if output["output_type"] == "stream" == last.get("output_type") and output["name"] == last["name"]:
            last["text"] += output["text"]
        else:
            self.outputs.append(output)


class Kernel:
    """An ipykernel of this interpreter, without the user's IPython profile. Use it in a ``with`` statement.

    Args:
        folder: the kernel's working folder, by default that of the tests.
        profile: files of the user's IPython profile, name -> text, such as ``ipython_config.py``.
        packages: a folder of packages that come before those of this interpreter, such as another ipykernel.
        served: whether a Jupyter server has started it, and so somebody may click.
    """

    def __init__(
        self,
        folder: Path | None = None,
        profile: Mapping[str, str] | None = None,
        packages: Path | None = None,
        *,
        served: bool = False,
    ) -> None:
        self._private = tempfile.TemporaryDirectory(prefix="kernel-")
        for name, text in (profile or {}).items():
            file = Path(self._private.name) / "profile_default" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        # No folders to look in: what remains is ipykernel's own specification with this interpreter.
        specs = KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True)
        self._manager = KernelManager(
            kernel_spec_manager=specs, connection_file=str(Path(self._private.name) / "connection.json")
        )
        self._folder, self._packages, self._served = folder, packages, served
        self._log = Path(self._private.name) / "kernel.log"
        self._client: BlockingKernelClient | None = None
        self._shown: dict[str, list[dict[str, Any]]] = {}
        self._closed: list[str] = []
        self._current: Reply | None = None
        self._interrupted_at: float | None = None

    def __enter__(self) -> Self:
        """Start the kernel and wait until it answers."""
        # With MPLBACKEND set, ipykernel leaves its inline backend off, which no user's kernel does.
        environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
        environment["IPYTHONDIR"] = self._private.name
        environment.pop("JPY_SESSION_NAME", None)
        if self._served:
            environment["JPY_SESSION_NAME"] = "films.ipynb"
            environment["GPT_MAGIC_CACHE"] = str(Path(self._private.name) / "cache")  # for runs that are stopped
        if self._packages is not None:
            paths = [str(self._packages), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        try:
            with self._log.open("wb") as log:
                self._manager.start_kernel(
                    env=environment,
                    cwd=None if self._folder is None else str(self._folder),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self._client = self._manager.blocking_client()
            self._client.start_channels()
            self._client.wait_for_ready(timeout=START_SECONDS)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Shut the kernel down, busy or not."""
        self.close()

    def close(self) -> None:
        """Kill the kernel, close the channels, remove the private folder; harmless when repeated."""
        if self._client is not None:
            self._client.stop_channels()
            self._client = None
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        self._private.cleanup()

    @property
    def client(self) -> BlockingKernelClient:
        """The channels, for messages that this class has no method for (comm messages, completion)."""
        if self._client is None:
            raise RuntimeError("the kernel is not running; use it in a with statement")
        return self._client

    def run(self, code: str, seconds: float = RUN_SECONDS) -> Reply:
        """Run a cell to its end; an error is a reply with status ``error``, not an exception here.

        Raises:
            TimeoutError: not done within ``seconds``; the cell has been interrupted.
        """
        reply = self.start(code)
        try:
            return self.wait(seconds)
        except TimeoutError:
            self.interrupt()
            self._settle(reply)
            raise

    def complete(self, code: str) -> list[str]:
        """The texts that Tab at the end of ``code`` would leave, in the order offered."""
        content = self.client.complete(code, reply=True, timeout=RUN_SECONDS)["content"]
        return [code[: content["cursor_start"]] + text + code[content["cursor_end"] :] for text in content["matches"]]

    def start(self, code: str) -> Reply:
        """Send a cell and return at once; the reply fills while `wait` or `wait_until` is called."""
        self._interrupted_at = None
        message_id = self.client.execute(code, allow_stdin=False, stop_on_error=True)
        self._current = Reply(message_id, closed=self._closed)
        return self._current

    def interrupt(self) -> None:
        """Interrupt the running cell, as the notebook's stop button does.

        A kernel that has not begun the cell ignores it: wait for a first output (`wait_until`) before.
        """
        self._interrupted_at = time.time()
        self._manager.interrupt_kernel()

    def wait(self, seconds: float = RUN_SECONDS) -> Reply:
        """Wait for the end of the cell that was started."""
        reply = self.wait_until(lambda reply: reply.idle, seconds)
        message = self.client.get_shell_msg(timeout=seconds)
        while message["parent_header"].get("msg_id") != reply.message_id:
            message = self.client.get_shell_msg(timeout=seconds)
        reply.status = message["content"]["status"]
        self._current = None
        return reply

    def wait_until(self, happened: Callable[[Reply], object], seconds: float = RUN_SECONDS) -> Reply:
        """Take messages until ``happened(reply)`` is true.

        Raises:
            TimeoutError: it was not within ``seconds``, or the cell ended before.
            RuntimeError: the kernel died.
        """
        reply = self._current
        if reply is None:
            raise RuntimeError("no cell was started")
        deadline = time.monotonic() + seconds
        while not happened(reply):
            if reply.idle or time.monotonic() > deadline:
                why = "the cell ended before it happened" if reply.idle else f"did not happen within {seconds:g} s"
                raise TimeoutError(f"{why}; outputs: {str(reply.outputs)[-2000:]}")
            try:
                message = self.client.get_iopub_msg(timeout=_POLL_SECONDS)
            except Empty:
                if not self._manager.is_alive():
                    end = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
                    raise RuntimeError(f"the kernel died; the end of its log:\n{end}") from None
                continue
            self._take(reply, message)
        return reply

    def watch(self, happened: Callable[[], object], seconds: float = RUN_SECONDS) -> None:
        """Take messages between two cells, such as those of a thread, until ``happened()`` is true.

        Raises:
            TimeoutError: it was not within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                raise TimeoutError(f"did not happen within {seconds:g} s")
            try:
                self._take(Reply(""), self.client.get_iopub_msg(timeout=_POLL_SECONDS))
            except Empty:
                continue

    def shut_down(self) -> None:
        """End the kernel as the notebook's menu does: it is asked first."""
        self._manager.shutdown_kernel(now=False)

    def click(self, comm_id: str, subshell_id: str | None = None) -> float:
        """Click a button as a frontend does, over a subshell or not; returns when."""
        content = {"comm_id": comm_id, "data": {"method": "custom", "content": {"event": "click"}}}
        message = self.client.session.msg("comm_msg", content)
        if subshell_id is not None:
            message["header"]["subshell_id"] = subshell_id
        when = time.time()
        self.client.shell_channel.send(message)
        return when

    def make_subshell(self) -> str:
        """Make a subshell, as JupyterLab does when it first hears of a widget; returns its id."""
        return str(self._control("create_subshell_request", {})["subshell_id"])

    def end_subshell(self, subshell_id: str) -> None:
        """End a subshell, as a page that is closed does."""
        self._control("delete_subshell_request", {"subshell_id": subshell_id})

    def _control(self, request: str, content: dict[str, Any]) -> dict[str, Any]:
        self.client.control_channel.send(self.client.session.msg(request, content))
        reply: dict[str, Any] = self.client.control_channel.get_msg(timeout=START_SECONDS)["content"]
        return reply

    def _settle(self, reply: Reply) -> None:
        """Give an interrupted cell a moment to end, so that the next one does not wait behind it."""
        try:
            self._current = reply
            self.wait(SETTLE_SECONDS)
        except (TimeoutError, Empty):
            self._current = None

    def _take(self, reply: Reply, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":  # also from a thread, after the cell that first displayed it
            for output in self._shown.get(content["transient"]["display_id"], []):
                output.update(data=content["data"], metadata=content["metadata"])
        if kind == "comm_close":  # from whichever thread
            self._closed.append(content["comm_id"])
        if message["parent_header"].get("msg_id") != reply.message_id:
            return
        reply.take(message)
        display_id = content.get("transient", {}).get("display_id")
        if kind == "display_data" and display_id is not None:
            self._shown.setdefault(display_id, []).append(reply.outputs[-1])
        if reply.idle and self._interrupted_at is not None:
            reply.interrupt_seconds = message["header"]["date"].timestamp() - self._interrupted_at
