"""A forward proxy: absolute requests and CONNECT (RFC 9110, 9112), and what a bad one does.

    with FakeProxy() as proxy:
        ...                      # speak through proxy.url
        assert proxy.asked == ["127.0.0.1:4711"]

It passes bytes on and reads none of them. ``login`` wants "user:password"; ``answer`` is said to everything
in place of passing it on; ``secure`` answers a CONNECT by itself, with its own certificate, as a proxy does
that looks into TLS.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from tests.fakes.ending import EndsAtOnce
from tests.fakes.forwarding import joined

HOP = frozenset({"proxy-connection", "proxy-authorization", "connection", "keep-alive"})


class FakeProxy:
    """On 127.0.0.1, or on an address of one's own."""

    def __init__(self, address: str = "127.0.0.1", listener: socket.socket | None = None) -> None:
        self.login: str | None = None
        self.answer: tuple[int, bytes] | None = None  # status and body
        self.secure: ssl.SSLContext | None = None
        self.names: dict[str, str] = {}  # hosts that it alone knows, and their addresses
        self.asked: list[str] = []  # HOST:PORT of each request
        self._server = _Server((address, 0), listener)
        self._server.proxy = self
        self.port: int = self._server.server_address[1]
        self.url = f"http://{address}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(EndsAtOnce, ThreadingHTTPServer):
    daemon_threads = True
    proxy: FakeProxy

    def __init__(self, address: tuple[str, int], listener: socket.socket | None) -> None:
        super().__init__(address, _Handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket = listener
            self.server_address = listener.getsockname()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_CONNECT(self) -> None:
        self.close_connection = True
        if not self._let_through(self.path):
            return
        if self.server.proxy.secure is not None:
            self._said(200, "Connection established")
            with suppress(OSError):
                self.server.proxy.secure.wrap_socket(self.connection, server_side=True)
            return
        far = self._reach(self.path)
        if far is None:
            return
        self._said(200, "Connection established")
        with far:
            joined(self.connection, far)

    def _absolute(self) -> None:
        self.close_connection = True
        target = urlsplit(self.path)
        place = f"{target.hostname}:{target.port or 80}"
        if not self._let_through(place):
            return
        far = self._reach(place)
        if far is None:
            return
        path = f"{target.path or '/'}{f'?{target.query}' if target.query else ''}"
        head = [f"{self.command} {path} HTTP/1.1"]
        head += [
            f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in HOP
        ]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with far:
            far.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)
            while piece := far.recv(65536):
                self.connection.sendall(piece)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _absolute  # noqa: N815

    def _let_through(self, place: str) -> bool:
        proxy = self.server.proxy
        proxy.asked.append(place)
        given = self.headers.get("Proxy-Authorization", "")
        if proxy.login is not None:
            wanted = "Basic " + base64.b64encode(proxy.login.encode()).decode()
            if given != wanted:
                self._said(407, "Proxy Authentication Required", b"<html>log in</html>")
                return False
        if proxy.answer is not None:
            self._said(proxy.answer[0], "As it is", proxy.answer[1])
            return False
        return True

    def _reach(self, place: str) -> socket.socket | None:
        host, _, port = place.rpartition(":")
        address = self.server.proxy.names.get(host, host.strip("[]"))
        try:
            return socket.create_connection((address, int(port)), 10)
        except OSError:
            self._said(502, "Bad Gateway", b"<html>it does not answer</html>")
            return None

    def _said(self, status: int, reason: str, body: bytes = b"") -> None:
        head = f"HTTP/1.1 {status} {reason}\r\n"
        if status == 407:
            head += 'Proxy-Authenticate: Basic realm="lab"\r\n'
        if status != 200 or body:
            head += f"Content-Type: text/html\r\nContent-Length: {len(body)}\r\n"
        with suppress(OSError):
            self.connection.sendall(head.encode() + b"\r\n" + body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""
