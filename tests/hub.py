"""A model hub on this machine: the part of the hub's HTTP interface that huggingface_hub downloads with."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SLOW_SECONDS = 1.5  # longer than the caller waits
HABITS: dict[str, tuple[Any, ...]] = {
    "org/gated": (403, b"{}", {"X-Error-Code": "GatedRepo"}),
    "org/broken": (503, b""),
    "org/portal": (200, b"<html>Please log in</html>"),
    "org/slow": (),
}


@contextmanager
def serve(models: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve folders as hub models by their ids; yields the endpoint and the paths that were asked for.

    Other ids have habits of their own: ``org/gated`` is gated, ``org/broken`` answers 503, ``org/portal`` with a web
    page, ``org/slow`` with nothing; all else does not exist.
    """
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, models, asked))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, models: dict[str, Path], asked: list[str], *request: Any) -> None:
        self.models, self.asked = models, asked
        super().__init__(*request)

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.asked.append(path)
        habit = next((name for name in HABITS if name in path), None)
        name = next((name for name in self.models if name in path), None)
        if habit == "org/slow":
            time.sleep(SLOW_SECONDS)
            self.close_connection = True
        elif habit is not None:
            self.answer(*HABITS[habit])
        elif name is None:
            self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith(("api/models/", "api/datasets/")):
            self.answer(
                200, json.dumps(tree(self.models[name]) if "/tree/" in path else about(name, self.models)).encode()
            )
        else:
            self.send_file(self.models[name] / path.rpartition("/")[2])

    def send_file(self, file: Path) -> None:
        if file.is_file():
            self.answer(200, file.read_bytes(), {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(file)}"'})
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def about(name: str, models: dict[str, Path]) -> dict[str, Any]:
    """What the hub tells of a model."""
    return {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files(models[name])]}


def tree(folder: Path) -> list[dict[str, Any]]:
    """What the hub tells of a model's files."""
    return [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": etag(f)} for f in files(folder)]


def files(folder: Path) -> list[Path]:
    """The files of a model."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def etag(file: Path) -> str:
    """Git's name of a file's content, as the hub has it."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
