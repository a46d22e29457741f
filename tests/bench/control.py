"""The control socket, asked directly: for what a bench does hundreds of times."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class Control(http.client.HTTPConnection):
    """One connection to a manager's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        """Over the unix socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, target: str, body: dict[str, object] | None = None) -> Any:
        """The answer's document."""
        text = json.dumps(body) if body is not None else None
        self.request(method, target, text, {"Content-Type": "application/json"})
        answer = self.getresponse()
        told = answer.read()
        assert answer.status < 300, told
        return json.loads(told)
