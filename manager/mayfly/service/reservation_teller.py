"""Has the job of a reservation learn in its agent that it ends later than it was begun for.

A file in its witness, which nobody in there can write, says to its launcher how long it lasts in all; another
in the agent says it to the job itself (``core/reserved_shell.py``). Where that fails it is tried again a
minute later, as long as somebody works there; else the job ends at the time that it knows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from mayfly.core.model import Generation
from mayfly.core.requests import TellReservation
from mayfly.core.reserved_shell import lasts, told_later
from mayfly.edge.faults import Fault
from mayfly.edge.lasting_thread import begun
from mayfly.engines.protocol import Engine

SECONDS = 10.0  # for the file to be written


@dataclass(frozen=True, slots=True)
class ReservationTeller:
    """Who can write into an agent, as its job's user."""

    engine: Engine
    user: Callable[[Generation], str | None]  # UID:GID; None: the launcher has not said
    lasts: Callable[[Generation, str], None]  # has its launcher know

    def tell(self, request: TellReservation) -> None:
        """Have it written soon; nobody waits for it."""
        begun(threading.Thread(target=self._tell, args=(request,), name="reserved", daemon=True))

    def _tell(self, request: TellReservation) -> None:
        with suppress(Fault):
            self.lasts(request.generation, lasts(request.seconds))
            user = self.user(request.generation)
            if user is not None:
                words = told_later(request.seconds)
                self.engine.exec_probe(request.container, words, SECONDS, user=user)
