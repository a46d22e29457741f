"""A process's streams over one connection: attached to a pod's own process, or to one started beside it.

The subprotocols are ``v5.channel.k8s.io``, where one stream can be closed alone, and ``v4`` of older servers:
each message begins with its stream's number (0 in, 1 out, 2 error, 3 how it ended, 4 the terminal's size; 255
in v5: that stream is closed). Nothing here waits for longer than it is told.
"""

from __future__ import annotations

import json
import math
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlencode

import websocket

from mayfly.edge.faults import Fault, Passing
from mayfly.engines.kubernetes.access import Access
from mayfly.engines.kubernetes.api import fault_of
from mayfly.engines.kubernetes.manifest import CONTAINER

IN, OUT, ERROR, END, SIZE, CLOSED = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PIECE = 32 * 1024
# bytes after which whoever reads a process's streams is asked whether more is wanted
READ = 64 * 1024
MESSAGES = 64  # as many, where they are small
# Of an attachment, and of a command (findContainer of pkg/kubelet/kubelet_pods.go asks for those that run). A
# kubelet that does not know the pod yet says another thing.
_NOT_RUNNING = re.compile(
    rf'container {CONTAINER} not found in pod|container not found \("{CONTAINER}"\)'
)
CONNECTING = 10.0
SENDING = 30.0  # seconds for a piece to be taken


class NotRunning(Passing):
    """Its container does not run, as its kubelet says, which has just asked the runtime."""


class Streams:
    """One connection; used by one thread."""

    def __init__(self, opened: websocket.WebSocket, doing: str) -> None:
        self._socket = opened
        assert opened.sock is not None
        self._sock: socket.socket = opened.sock
        self._doing = doing
        self.exit: dict[str, Any] | None = None  # how it ended, as a Status; None: it has not said
        self.over = False

    @property
    def closes_input(self) -> bool:
        """Whether its input can be closed alone."""
        return self._socket.getsubprotocol() == V5

    def fileno(self) -> int:
        """Of the connection."""
        return self._sock.fileno()

    def send(self, data: bytes, stream: int = IN) -> None:
        """All of the bytes; ``Passing`` where they are not taken."""
        try:
            self._socket.settimeout(SENDING)
            for at in range(0, len(data), PIECE):
                self._socket.send_binary(bytes((stream,)) + data[at : at + PIECE])
        except (OSError, websocket.WebSocketException) as error:
            raise self._broken(error) from error

    def end_input(self) -> None:
        """No more will be sent; where that cannot be said alone, all of it is over."""
        try:
            if self.closes_input:
                self._socket.send_binary(bytes((CLOSED, IN)))
            else:
                self.close()
        except (OSError, websocket.WebSocketException) as error:
            raise self._broken(error) from error

    def receive(self, within: float) -> tuple[int, bytes] | None:
        """The next of what its process writes; ``None``: nothing came in that time, it is over, or much came
        that says nothing.
        """
        deadline = time.monotonic() + within
        for _ in range(MESSAGES):
            if self.over:
                return None
            left = max(0.0, deadline - time.monotonic())
            if not self._readable(left):
                return None
            try:
                self._socket.settimeout(max(left, 1.0))
                kind, data = self._socket.recv_data()
            except websocket.WebSocketTimeoutException:
                return None
            except (OSError, websocket.WebSocketException):
                self.over = True
                return None
            if kind == websocket.ABNF.OPCODE_CLOSE:
                self.over = True
            elif data and data[0] == END:
                self.exit = _status(data[1:])
            elif data and data[0] in (OUT, ERROR) and len(data) > 1:
                return data[0], bytes(data[1:])
        return None

    def has_more(self) -> bool:
        """Whether bytes were deciphered already that nobody has read."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _readable(self, within: float) -> bool:
        if self.has_more():
            return True
        # (Not select, which takes no descriptor beyond 1023.)
        looked = select.poll()
        looked.register(self.fileno(), select.POLLIN)
        return bool(looked.poll(within * 1000))

    @property
    def exit_code(self) -> int | None:
        """Of a process that was started here and has ended; ``None``: it has not, or nobody said."""
        if self.exit is None:
            return None
        if self.exit.get("status") == "Success":
            return 0
        for cause in (self.exit.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                with suppress(ValueError):
                    return int(cause.get("message"))
        return None

    def close(self) -> None:
        """Let go of it."""
        self.over = True
        with suppress(OSError, websocket.WebSocketException):
            self._socket.close(timeout=0)

    def _broken(self, error: Exception) -> Passing:
        return Passing(f"{self._doing}: the connection broke off ({error})")


def _status(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def connect(
    access: Access,
    path: str,
    query: Sequence[tuple[str, str]],
    doing: str,
    *,
    within: float = CONNECTING,
    may_change: Callable[[], float] = lambda: math.inf,
) -> Streams:
    """The streams; a ``Fault`` where the server, or the node, does not let anybody to them.

    ``may_change`` says how many seconds a change may take; it raises where nothing may be changed. It is
    asked once it is known who we are, which may take its time.
    """
    target = f"{access.server.replace('http', 'ws', 1)}{path}?{urlencode(query)}"
    headers = access.headers()
    try:
        opened = websocket.create_connection(
            target,
            timeout=min(within, may_change()),
            subprotocols=[V5, V4],
            header=[f"{name}: {value}" for name, value in headers.items()],
            sslopt={} if access.context is None else {"context": access.context},
            suppress_origin=True,
            skip_utf8_validation=True,
            enable_multithread=False,
            http_no_proxy=["*"],
            redirect_limit=0,  # who we are is for that server alone
        )
    except websocket.WebSocketBadStatusException as error:
        text = bytes(error.resp_body or b"")
        said = _status(text) or {"message": text[:300].decode(errors="replace")}
        again = (error.resp_headers or {}).get("retry-after")
        raise _unlet(error.status_code, said, doing, again) from error
    except (OSError, websocket.WebSocketException, ValueError) as error:
        raise Passing(f"{doing}: there is no connection to the API server ({error})") from error
    return Streams(opened, doing)


def _unlet(status: int, said: dict[str, Any], doing: str, again: str | None) -> Fault:
    """A process that is not there (yet, or any more) is told as a bad request, or as the server's error."""
    if status in (400, 500):
        text = str(said.get("message") or f"HTTP {status}")
        kind = NotRunning if _NOT_RUNNING.search(text) else Passing
        return kind(f"{doing}: {text}")
    return fault_of(status, said, doing, again)


def run(
    access: Access,
    path: str,
    argv: Sequence[str],
    doing: str,
    *,
    within: float,
    data: Iterable[bytes] | None = None,
    most: int = 64 * 1024,
    may_change: Callable[[], float] = lambda: math.inf,
) -> tuple[int, bytes]:
    """A short command beside a pod's own process: its exit code and what it wrote, at most so many bytes.

    ``data`` goes to its input, which is closed then; ``may_change`` as for `connect`.
    """
    deadline = time.monotonic() + within
    query = [("container", CONTAINER), ("stdout", "true"), ("stderr", "true")]
    query += [("stdin", "true")] if data is not None else []
    query += [("command", word) for word in argv]
    streams = connect(access, path, query, doing, may_change=may_change)
    try:
        written = bytearray()
        if data is not None:
            if not streams.closes_input:
                raise Passing(
                    f"{doing}: the API server is older than 1.30, and cannot end an input"
                )
            for piece in data:
                if time.monotonic() > deadline:
                    raise Passing(f"{doing}: it takes longer than {within:g} s")
                streams.send(piece)
            streams.end_input()
        while (left := deadline - time.monotonic()) > 0 and not streams.over:
            got = streams.receive(left)
            if got is not None:
                written += got[1][: most - len(written)]
        code = streams.exit_code
        if code is None:
            raise Passing(f"{doing}: nobody says how it ended")
        return code, bytes(written)
    finally:
        streams.close()


class PodExecution:
    """A process beside a pod's own, as ``engines.protocol.Execution``; used by one thread."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def fileno(self) -> int:
        """Of the connection."""
        return self._streams.fileno()

    def receive(self) -> tuple[tuple[int, bytes], ...] | None:
        """What has come; see ``engines.protocol``."""
        found: list[tuple[int, bytes]] = []
        size = 0
        while size < READ and len(found) < MESSAGES:
            if (got := self._streams.receive(0.0)) is None:
                break
            found.append(got)
            size += len(got[1])
        return None if self._streams.over and not found else tuple(found)

    def has_more(self) -> bool:
        """Whether something has come that the connection does not show."""
        return self._streams.has_more()

    def send(self, data: bytes) -> int:
        """How many of the bytes were taken; one that reads no more takes them all."""
        with suppress(Fault):
            self._streams.send(data[:PIECE])
            return min(len(data), PIECE)
        return len(data)

    def end_input(self) -> None:
        """No more will be sent."""
        with suppress(Fault):
            self._streams.end_input()

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""
        with suppress(Fault):
            size: dict[Literal["Width", "Height"], int] = {"Width": columns, "Height": rows}
            self._streams.send(json.dumps(size).encode(), SIZE)

    def begun(self) -> bool | None:
        """Whether there is a process: the connection stands only where one was started."""
        return True

    def exit_code(self) -> int | None:
        """Of one that has ended."""
        return self._streams.exit_code

    def close(self) -> None:
        """Let go of it."""
        self._streams.close()
