"""The connections of a server: each has a place of its user's, and nobody keeps one for nothing.

A client that sends its request slowly, or does not read its answer, has its place while there are others.
Once there are none, somebody with more of them than who comes gives up the one that has been waited for
longest: slow clients that are begun again at once take nobody's way in. What the manager is at work for is
never given up.

Where many who come cannot be told apart, as behind one address, nobody has to have more: who comes gets the
place of whoever has been waited for longest.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mayfly.edge.places import Bounds

# A client that reads gets its answer at once: that it is waited for longer says that it does not.
READING = 1.0


@dataclass(slots=True)
class _Place:
    user: int
    awaited: (
        float | None
    )  # since when its client is waited for; None: the manager is at work for it
    asking: bool  # nothing has been done for it yet


HangUp = Callable[
    [socket.socket, bool], None
]  # whether it has asked nothing yet, so that it may be told


class Connections:
    """Who has a connection now. From any thread; nothing here waits."""

    def __init__(self, bounds: Bounds, hang_up: HangUp, *, longest_yields: bool = False) -> None:
        """``hang_up`` ends a connection from outside, without waiting; it is not closed meanwhile.
        ``longest_yields``: also to who has as many connections, or is the same.
        """
        self._bounds = bounds
        self._longest_yields = longest_yields
        self._hang_up = hang_up
        self._lock = threading.Lock()
        self._places: dict[socket.socket, _Place] = {}

    def admit(self, connection: socket.socket, user: int) -> bool:
        """Whether there is a place for one more of this user; it has it then."""
        with self._lock:
            taken = Counter(place.user for place in self._places.values())
            if not self._bounds.has_room(taken, user):
                given_up = self._to_give_up(taken, user)
                if given_up is None:
                    return False
                self._hang_up(given_up, self._places.pop(given_up).asking)
            self._places[connection] = _Place(user, time.monotonic(), asking=True)
            return True

    def _to_give_up(self, taken: Counter[int], user: int) -> socket.socket | None:
        """The connection that leaves room for one of this user; ``None``: none has to."""
        now = time.monotonic()
        waiting = [
            (-taken[place.user], place.awaited, connection)
            for connection, place in self._places.items()
            if place.awaited is not None
            and place.awaited <= now
            and (self._longest_yields or taken[place.user] > taken[user] + 1)
        ]
        for _, _, connection in sorted(waiting, key=lambda one: one[:2]):
            whose = self._places[connection].user
            if self._bounds.has_room(taken - Counter([whose]), user):
                return connection
        return None

    def works(self, connection: socket.socket) -> bool:
        """The request is here, or the answer away; False where the place was given up before."""
        with self._lock:
            place = self._places.get(connection)
            if place is not None:
                place.awaited = None
            return place is not None

    def waits(self, connection: socket.socket, *, asking: bool) -> None:
        """The client is waited for: to ask, or to read its answer."""
        with self._lock:
            place = self._places.get(connection)
            if place is not None and not (asking and place.asking and place.awaited is not None):
                place.asking = asking
                place.awaited = time.monotonic() + (0.0 if asking else READING)

    def leave(self, connection: socket.socket) -> None:
        """It is about to be closed."""
        with self._lock:
            self._places.pop(connection, None)
