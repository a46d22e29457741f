"""The manager's side of the gateway's own socket: how it fares, and a word to it that an agent has come.

Each look at the Engine wants to know, some eight for a job, and an answer is a millisecond of processor time.
So a connection on which it has answered is kept: that of a gateway that has ended is closed, which is seen
without asking, and one that hangs is found out a few seconds later. Nor is one that hangs waited for in each
look: that it does counts as long as an answer, unless another socket has taken the place of its own.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mayfly import __version__
from mayfly.core.admission.grant import known_keys
from mayfly.core.model import Condition, GatewayHealth, PoolName, Severity
from mayfly.edge import door_places

ANSWER = 2.0  # seconds for a gateway to say that it is well
ASKED_EVERY = 5.0  # seconds for which an answer counts while its connection stands
RINGING = 0.2  # seconds that a word to it may take; it looks by itself soon after


class GatewayControl:
    """The gateway below one directory, as it is asked; used from one thread."""

    def __init__(
        self, root: Path, clock: Callable[[], float] = time.monotonic, answer: float = ANSWER
    ) -> None:
        self._path = root / door_places.CONTROL
        self._clock = clock
        self._answer = answer
        self._kept: _Connection | None = None  # on which it has answered last that it is well
        self._hung: _Socket | None = None  # at which nobody answered in time
        self._told = 0.0  # when that was
        self._said = GatewayHealth()  # what it said

    def health(self) -> GatewayHealth:
        """How the gateway fares."""
        if self._clock() < self._told + ASKED_EVERY and self._is_as_it_was():
            return self._said
        self.close()
        at = _socket_at(self._path)
        connection = _Connection(self._path, self._answer)
        try:
            connection.request("GET", door_places.HEALTH)
            reply = connection.getresponse()
            said = reply.read(door_places.HEALTH_MOST)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return GatewayHealth("the gateway does not run")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            why = f"the gateway does not answer ({error or type(error).__name__})"
            if isinstance(error, TimeoutError):  # the others have cost no time
                self._hung, self._told, self._said = at, self._clock(), GatewayHealth(why)
            return GatewayHealth(why)
        if reply.status != http.client.OK:
            connection.close()
            return GatewayHealth(f"the gateway is not well (status {reply.status})")
        self._kept, self._told = connection, self._clock()
        told = _document(said)
        self._said = GatewayHealth(_strange(told), _conditions(told))
        return self._said

    def _is_as_it_was(self) -> bool:
        """Whether it can be seen without asking that what it said holds."""
        if self._kept is not None:
            return self._kept.stands()
        return self._hung is not None and self._hung == _socket_at(self._path)

    def close(self) -> None:
        """Keep no connection."""
        self._hung = None
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def rung(root: Path) -> None:
    """Tell the gateway below that directory that an agent's door is there; nobody waits for its answer."""
    with suppress(OSError), _connected(root / door_places.CONTROL, RINGING) as bell:
        bell.sendall(f"POST {door_places.LOOK} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())


_Socket = tuple[int, int, int]  # which it is, and when it was made


def _socket_at(path: Path) -> _Socket | None:
    """``None``: there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_ctime_ns


class _Connection(http.client.HTTPConnection):
    """To a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("gateway", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = _connected(self._path, self.timeout)

    def stands(self) -> bool:
        """Whether the other side has not closed it, and said nothing that it was not asked for."""
        if self.sock is None:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


def _connected(path: Path, timeout: float | None) -> socket.socket:
    """A connection to that socket; its directory is opened first, since the path of one may be too long."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.settimeout(timeout)
        handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            end.connect(f"/proc/self/fd/{handle}/{path.name}")
        finally:
            os.close(handle)
    except BaseException:
        end.close()
        raise
    return end


def _document(said: bytes) -> Mapping[str, Any]:
    """What it has answered; nothing where that is no document."""
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _strange(told: Mapping[str, Any]) -> str:
    """Why a gateway of another version cannot serve those whose grants this one writes; "": it can."""
    try:
        version, read = told["version"], set(told.get("grant") or ())
    except (KeyError, TypeError):
        return ""
    if known_keys() <= read:
        return ""
    return (
        f"the gateway is still of another version ({version}) than the manager ({__version__}); it begins "
        "anew by itself once no job speaks with it, and a restart breaks off what jobs do there"
    )


def _conditions(told: Mapping[str, Any]) -> tuple[Condition, ...]:
    """What a gateway tells of the host; one of another version may tell nothing that is known here."""
    try:
        return tuple(
            Condition(
                one["code"],
                Severity(one["severity"]),
                one["text"],
                one["fix"],
                None if one["pool"] is None else PoolName(one["pool"]),
            )
            for one in told.get("conditions", [])
        )
    except (ValueError, KeyError, TypeError):
        return ()
