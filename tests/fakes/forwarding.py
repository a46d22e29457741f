"""Bytes carried between two connections, as they come, until each side has ended."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Forwarder:
    """Carries connections from a listener, in another network namespace, to a port out here."""

    def __init__(self, listener: socket.socket, port: int) -> None:
        self._listener, self._port = listener, port
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(inside,), daemon=True).start()

    def _carry(self, inside: socket.socket) -> None:
        with inside:
            try:
                outside = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            except OSError:
                return
            outside.settimeout(None)
            with outside:
                joined(inside, outside)


def joined(near: socket.socket, far: socket.socket) -> None:
    """Pass everything on in both directions until both have ended."""
    back = threading.Thread(target=_one_way, args=(far, near), daemon=True)
    back.start()
    _one_way(near, far)
    back.join()


def _one_way(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
