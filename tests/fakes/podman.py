"""A socket that says of itself what Podman 4.3.1 says on Debian 12, and does nothing else.

The answers are recorded from ``podman system service``, and shortened where nobody looks.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.fakes.ending import EndsAtOnce

VERSION = {
    "Platform": {"Name": "linux/amd64/debian-12"},
    "Components": [
        {
            "Name": "Podman Engine",
            "Version": "4.3.1",
            "Details": {
                "APIVersion": "4.3.1",
                "Arch": "amd64",
                "MinAPIVersion": "4.0.0",
                "Os": "linux",
            },
        },
        {
            "Name": "Conmon",
            "Version": "conmon version 2.1.6, commit: unknown",
            "Details": {"Package": "Unknown"},
        },
    ],
    "Version": "4.3.1",
    "ApiVersion": "1.41",
    "MinAPIVersion": "1.24",
    "Os": "linux",
    "Arch": "amd64",
    "KernelVersion": "6.1.0-18-amd64",
}
INFO = {
    "ID": "6da6cb1f-c544-4e57-87df-4dec4a7f685c",
    "Driver": "overlay",
    "DriverStatus": [],
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "KernelVersion": "6.1.0-18-amd64",
    "DockerRootDir": "/var/lib/containers/storage",
    "ServerVersion": "4.3.1",
    "Runtimes": {"crun": {"path": "/usr/bin/crun"}, "runc": {"path": "/usr/bin/runc"}},
    "LiveRestoreEnabled": False,
    "BuildahVersion": "1.28.2",
}
ANSWERS: dict[str, Any] = {"/version": VERSION, "/info": INFO}


class _Answers(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        target = re.sub(r"^/v\d+\.\d+|\?.*", "", self.path)
        self.asked.append(f"{self.command} {target}")
        if target == "/_ping":
            self._answer(200, "text/plain; charset=utf-8", b"OK")
        elif target in ANSWERS:
            self._answer(200, "application/json", json.dumps(ANSWERS[target]).encode())
        else:
            gone = {"cause": "not found", "message": "not found", "response": 404}
            self._answer(404, "application/json", json.dumps(gone).encode())

    do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815 (the names that the library calls)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", kind)
        self.send_header("Libpod-Api-Version", "4.3.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "Libpod/4.3.1 (linux)"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


class _Server(EndsAtOnce, socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def podman(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Podman on a socket there: its address, and what it was asked, as in ``GET /version``."""
    asked: list[str] = []
    handler = type("Podman", (_Answers,), {"asked": asked})
    with _Server(str(path), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{path}", asked
        server.shutdown()
