"""The way into one container's standard input over the Engine's socket. It must never read."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from mayfly.core.model import ContainerId
from mayfly.edge.faults import Passing


class GateSocket:
    """The way into one container's standard input; what it closes on leaves the gate as it was."""

    def __init__(self, conn: socket.socket, cid: ContainerId) -> None:
        self._socket = conn
        self.container = cid

    def alive(self) -> bool:
        """Whether the Engine still holds the other end; it does so after the agent's end, too."""
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def send(self, data: bytes, *, timeout: float = 10) -> None:
        """Hand all the bytes to the Engine; ``Passing`` where that fails, and then some may have
        gone through.
        """
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(data)
        except OSError as error:
            why = (
                "it was not read in time"
                if isinstance(error, TimeoutError)
                else "the Engine closed it"
            )
            raise Passing(
                f"writing to the gate of container {self.container[:12]}: {why};"
                " the agent is replaced"
            ) from error

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
