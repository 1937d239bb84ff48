"""A hub on this machine: its REST layout over loopback for a folder of repositories, with faults on demand.

Only what its client asks for when it downloads: what a repository is at a revision, the tree of its files, and the
files themselves, whole or from a byte on. The real client runs against it (``HF_ENDPOINT``).
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/(.*))?)?")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """What is served, and what goes wrong.

    Attributes:
        models, datasets: repositories by ``OWNER/NAME``.
        license: what the card of each states.
        gated: whether an unknown caller is refused (401), as where a licence has to be accepted.
        down: whether every answer is 503.
        cut: files that end after half of their bytes, once each; by name.
        spoiled: files with a wrong byte; by name.
        asked: every request line, in order.
        tokens: every Authorization header that came.
    """

    models: dict[str, Path] = field(default_factory=dict)
    datasets: dict[str, Path] = field(default_factory=dict)
    gated: bool = False
    down: bool = False
    cut: set[str] = field(default_factory=set)
    spoiled: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    endpoint: str = ""

    def folder(self, kind: str, name: str) -> Path | None:
        """Give a repository's folder."""
        return (self.datasets if kind == "datasets" else self.models).get(name)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a free port; its `endpoint` is set."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Say nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        if token := self.headers.get("Authorization"):
            self.hub.tokens.add(token)
        path = unquote(urlsplit(self.path).path)
        if self.hub.down:
            self._json({"error": "Service Unavailable"}, 503)
        elif api := _API.fullmatch(path):
            self._api(*api.groups())
        elif file := _FILE.fullmatch(path):
            self._file("datasets" if file[1] else "models", *file.groups()[1:])
        else:
            self._json({"error": "not found"}, 404)

    def _repository(self, kind: str, name: str, revision: str | None) -> Path | None:
        folder = self.hub.folder(kind, name)
        if folder is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in (None, "main", COMMIT):
            self._json({"error": f"Invalid rev id: {revision}"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return folder

    def _api(self, kind: str, name: str, what: str | None, revision: str | None, inside: str | None) -> None:
        if (folder := self._repository(kind, name, revision)) is None:
            return
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if what == "tree":
            top, deep = folder / (inside or ""), "recursive=true" in self.path.lower()
            found = sorted(top.rglob("*") if deep else top.glob("*"))
            if top.is_dir():
                self._json([_entry(path, folder) for path in found])
            else:
                self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            names = [{"rfilename": path.relative_to(folder).as_posix()} for path in files]
            facts = {"id": name, "sha": COMMIT, "siblings": names, "private": False, "gated": self.hub.gated}
            self._json({**facts, "tags": [], "downloads": 0, "likes": 0})

    def _file(self, kind: str, name: str, revision: str, inside: str) -> None:
        if (folder := self._repository(kind, name, revision)) is None:
            return
        if self.hub.gated and "Authorization" not in self.headers:
            said = {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to {name} is restricted."}
            self._json({"error": said["X-Error-Message"]}, 401, said)
            return
        path = folder / inside
        if not path.is_file():
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        data, entry = path.read_bytes(), _entry(path, folder)
        headers = {"ETag": f'"{entry.get("lfs", entry)["oid"]}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start, status = 0, 200
        if (asked := re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))) is not None:
            start, status = int(asked[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if path.name in self.hub.spoiled:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self._send(data[start:], status, headers, cut=path.name if path.name in self.hub.cut else None)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str], cut: str | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is not None:
            self.hub.cut.discard(cut)
            data, self.close_connection = data[: len(data) // 2], True
        self.wfile.write(data)


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    """A file in a tree: git's own object id, and for weights and tables that of their large-file pointer too."""
    if path.is_dir():
        return {"type": "directory", "path": path.relative_to(folder).as_posix(), "size": 0, "oid": "0" * 40}
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry = {"type": "file", "path": path.relative_to(folder).as_posix(), "size": len(data), "oid": blob}
    if path.suffix in (".safetensors", ".parquet"):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry
