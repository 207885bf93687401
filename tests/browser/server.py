"""A JupyterLab server of this interpreter, with folders of its own and an end that leaves nothing behind."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

START_SECONDS = 90.0
STOP_SECONDS = 10.0
FORGOTTEN_SECONDS = 300  # a server whose tests were killed ends its kernels, then itself, after so long without work

# What a person meets once and clicks away, or what makes two screenshots differ.
SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "docmanager-extension/plugin": {"autosave": False},
    # "none": every cell is in the page, the ones out of sight too, so a picture can hold the whole notebook.
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
}


class LabServer:
    """``jupyter lab`` on a free port of this machine; nothing of the user's Jupyter set-up is read or written.

    Args:
        folder: empty folder for everything: notebooks in ``work``, settings, the log. Created if missing.
        classic: Notebook 7 in place of JupyterLab.
    """

    def __init__(self, folder: Path, *, classic: bool = False) -> None:
        self.folder = folder
        self.classic = classic
        self.work = folder / "work"
        self.log = folder / "server.log"
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self._process: psutil.Popen | None = None

    @property
    def url(self) -> str:
        """Address of the server, with the slash at its end."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the process; `wait_ready` tells when it answers."""
        self.work.mkdir(parents=True)
        for name, values in SETTINGS.items():
            path = self.folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "notebook" if self.classic else "jupyterlab", "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"),
            f"--ServerApp.root_dir={self.work}",
            f"--ServerApp.shutdown_no_activity_timeout={FORGOTTEN_SECONDS}",
            f"--MappingKernelManager.cull_idle_timeout={FORGOTTEN_SECONDS}",
            "--MappingKernelManager.cull_interval=60",
            *(
                "--ServerApp.terminals_enabled=False",
                f"--{'JupyterNotebookApp' if self.classic else 'LabApp'}.expose_app_in_browser=True",
            ),
            *([] if self.classic else ["--LabApp.news_url=None"]),
        ]
        with self.log.open("wb") as log:
            self._process = psutil.Popen(
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; the message has the end of its log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"JupyterLab ended while starting:\n{self._log_tail()}")
            if self._answers():
                return
            time.sleep(0.1)
        raise RuntimeError(f"JupyterLab did not answer within {seconds:.0f} s:\n{self._log_tail()}")

    def stop(self) -> None:
        """End the server and its kernels, by force where asking does not help."""
        if self._process is None:
            return
        kernels = self._process.children(recursive=True) if self._process.is_running() else []
        end_processes([self._process])  # on SIGTERM it shuts its kernels down itself
        end_processes(kernels)
        self._process = None

    def _environment(self) -> dict[str, str]:
        places = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
            "GPT_MAGIC_CACHE": "cache",
        }
        values = {key: str(self.folder / place) for key, place in places.items()}
        return kernel_environment() | values | {"JUPYTER_TOKEN": self.token, "JUPYTER_PLATFORM_DIRS": "1"}

    def _answers(self) -> bool:
        request = urllib.request.Request(f"{self.url}api/status", headers={"Authorization": f"token {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def kernel_environment() -> dict[str, str]:
    """The environment of a user's kernel: the tests' own, less the plotting backend that tests set for themselves.

    With ``MPLBACKEND`` set, ipykernel does not switch its inline backend on, and a figure that ends a cell
    would show as text only.
    """
    return {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}


def end_processes(processes: Iterable[psutil.Process], seconds: float = STOP_SECONDS) -> None:
    """Ask the processes to end, kill those that have not within ``seconds``, and wait for them."""
    alive = list(processes)
    for signal in ("terminate", "kill"):
        for process in alive:
            try:
                getattr(process, signal)()
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(alive, timeout=seconds)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
