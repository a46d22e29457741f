"""A server that ends at once: `socketserver`'s own looks every half a second whether it is to."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from typing import Any


class EndsAtOnce(socketserver.BaseServer):
    """Beside a server on a stream socket; ``shutdown`` waits until ``serve_forever`` has returned."""

    socket: socket.socket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ending = False
        self._ended = threading.Event()
        super().__init__(*args, **kwargs)

    def serve_forever(self, poll_interval: float = 0.0) -> None:
        try:
            while not self._ending:
                self.handle_request()
        finally:
            self._ended.set()

    def shutdown(self) -> None:
        self._ending = True
        with suppress(OSError):  # whoever waits for a connection is told that none comes
            self.socket.shutdown(socket.SHUT_RDWR)
        self._ended.wait()
