"""A gateway as a process of its own, in front of any Engine, and clients of an agent's socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Self

from tests.harness import until

MODULE = "mayfly.engines.docker.gateway"


class Gateway:
    """A context manager that starts it; ``enter`` is what a command begins with that is to be elsewhere."""

    def __init__(self, state: Path, engine: str, enter: Iterable[str] = ()) -> None:
        self.state = state
        self._words = [*enter, sys.executable, "-P", "-m", MODULE, str(state), engine]
        self._process: subprocess.Popen[bytes] | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # By a path, which is short: a name of its own would be seen in this network namespace alone.
        self._folder = tempfile.mkdtemp(prefix="mfg-")
        self._notify.bind(f"{self._folder}/notify")
        # Whoever is told of many signs of life and reads none would have the gateway wait.
        self._told: SimpleQueue[bytes] = SimpleQueue()
        self._listens = threading.Thread(target=self._listen, daemon=True)
        self._listens.start()
        self._log: IO[bytes] = (state / "gateway.log").open("ab")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._notify.shutdown(socket.SHUT_RDWR)
        self._listens.join()
        self._notify.close()
        shutil.rmtree(self._folder)
        self._log.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        address = self._notify.getsockname()
        self._process = subprocess.Popen(
            self._words, env={**os.environ, "NOTIFY_SOCKET": address}, stderr=self._log
        )
        while b"READY=1" not in self.told():
            pass

    def told(self) -> bytes:
        """What it tells systemd next."""
        return self._told.get(timeout=30)

    def _listen(self) -> None:
        while said := self._notify.recv(4096):
            self._told.put(said)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end; its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(sig)
        code = self._process.wait(30)
        self._process = None
        return code

    def said(self) -> str:
        """What it wrote."""
        return (self.state / "gateway.log").read_text()

    def control(self, method: str, path: str) -> Any:
        """What its control socket answers."""
        return asked_control(self.state, method, path)


class Client:
    """One connection, which asks by hand; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.end.settimeout(60)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            self.end.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        self._held = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end.close()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: docker"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.end.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def ask(
        self, method: str, path: str, document: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and the document of a whole answer, or its bytes."""
        body = json.dumps(document).encode() if document is not None else None
        self.send(method, path, body, headers)
        status, told = self.head()
        content = b"" if method == "HEAD" else self.content(told, status)
        if told.get("content-type", "").startswith("application/json") and content.strip():
            return status, told, json.loads(content)
        return status, told, content

    def head(self) -> tuple[int, dict[str, str]]:
        """The head of an answer."""
        while b"\r\n\r\n" not in self._held:
            self._held += self._more()
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def content(self, told: Mapping[str, str], status: int = 200) -> bytes:
        """The whole body of an answer with that head."""
        if told.get("transfer-encoding") == "chunked":
            whole = b""
            while piece := self.chunk():
                whole += piece
            return whole
        if status in (204, 304):
            return b""
        return self.exactly(int(told["content-length"]))

    def chunk(self) -> bytes:
        """The next piece of a body in chunks; empty at its end."""
        while b"\r\n" not in self._held:
            self._held += self._more()
        size, _, self._held = self._held.partition(b"\r\n")
        piece = self.exactly(int(size, 16))
        self.exactly(2)
        return piece

    def exactly(self, size: int) -> bytes:
        """So many bytes of what comes next."""
        while len(self._held) < size:
            self._held += self._more()
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def rest(self) -> bytes:
        """All that comes until the other side is closed."""
        whole, self._held = self._held, b""
        while piece := self.end.recv(65536):
            whole += piece
        return whole

    def _more(self) -> bytes:
        piece = self.end.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        return piece


def asked_control(state: Path, method: str, path: str) -> Any:
    """What the control socket of the gateway there answers."""
    with Client(state / "gateway/control.sock") as client:
        return client.ask(method, path)[2]


def door_of(place: Path) -> Path:
    """The agent's socket, once it is there."""
    door = place / "door/docker.sock"
    until(door.exists, "the gateway has made the socket")
    return door
