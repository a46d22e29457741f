"""The server's end of a websocket (RFC 6455), as far as an API server's streams need it."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from typing import BinaryIO

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(key: str) -> str:
    """What the handshake answers."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()


class WebSocketEnd:
    """One connection after its handshake; written from any thread."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._writing = threading.Lock()

    def receive(self) -> bytes | None:
        """The next message; ``None``: it is over."""
        try:
            return self._message()
        except (OSError, struct.error, ValueError):
            return None

    def _message(self) -> bytes | None:
        first, second = self._reader.read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._reader.read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._reader.read(8))
        mask = self._reader.read(4) if second & 0x80 else b"\0\0\0\0"
        data = self._reader.read(size)
        if len(data) < size or first & 0x0F == CLOSE:
            return None
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))

    def send(self, stream: int, data: bytes) -> None:
        """One message of that stream; nobody who has left is missed."""
        payload = bytes((stream,)) + data
        head = bytes((0x80 | BINARY,))
        if len(payload) < 126:
            head += bytes((len(payload),))
        else:
            head += bytes((126,)) + struct.pack(">H", len(payload))
        self._write(head + payload)

    def close(self) -> None:
        """Say that it is over."""
        self._write(bytes((0x80 | CLOSE, 0)))

    def _write(self, data: bytes) -> None:
        with self._writing:
            try:
                self._writer.write(data)
                self._writer.flush()
            except (OSError, ValueError):
                return
