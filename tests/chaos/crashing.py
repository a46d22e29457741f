"""`mayfly run` that kills itself with SIGKILL at a named point, as a power cut or the OOM killer would, or
that loses the kernel's word on its agents.

    python tests/chaos/crashing.py POINT        (the configuration comes from MAYFLY_CONFIG, as ever)

The points lie on our own seams: a commit of the history, the sending of a frame, the making of a container.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from mayfly.core import facts
from mayfly.edge.history import History
from mayfly.edge.process_end import ProcessEnds
from mayfly.engines.docker.engine import DockerEngine as Engine
from mayfly.engines.docker.gate_socket import GateSocket

before_death: list[Callable[[], None]] = []  # what is done just before


def die() -> NoReturn:
    """End at once; nothing is flushed, closed or unwound."""
    for done in before_death:
        done()
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
    raise AssertionError


def around_commit(kind: type, *, after: bool) -> None:
    """Die at the first commit that holds a fact of this kind, just before it or just after it."""
    commit = History.commit

    def dying(self: History, told: Sequence[Any], *args: Any, **more: Any) -> int:
        meant = any(isinstance(fact, kind) for fact in told)
        if meant and not after:
            die()
        seq = commit(self, told, *args, **more)
        if meant:
            die()
        return seq

    History.commit = dying  # type: ignore[method-assign,assignment]


def in_gate(share: float) -> None:
    """Die when this share of the frame's bytes has been sent."""
    send = GateSocket.send

    def dying(self: GateSocket, data: bytes, **more: Any) -> None:
        if share:
            send(self, data[: int(len(data) * share)], **more)
        die()

    GateSocket.send = dying  # type: ignore[method-assign]


def around_engine(method: str, *, after: bool) -> None:
    """Die just before, or just after, the Engine is asked for something."""
    asked = getattr(Engine, method)

    def dying(self: Engine, *args: Any, **more: Any) -> Any:
        if not after:
            die()
        asked(self, *args, **more)
        die()

    setattr(Engine, method, dying)


def without_pidfds() -> None:
    """Of each three agents the kernel's word is had of one, is not to be had of one, and is lost of one: it
    is waited for, and never comes.
    """
    watch, turns = ProcessEnds.watch, itertools.count()

    def losing(self: ProcessEnds, *of: Any) -> bool:
        turn = next(turns) % 3
        if turn == 0:
            return watch(self, *of)
        if turn == 1:
            return False
        generation, container, process = of
        self._tried.add(container)
        self._awaited[generation] = (container, process)
        return True

    ProcessEnds.watch = losing  # type: ignore[method-assign,assignment]


# In the order in which an agent's life passes them.
POINTS: Mapping[str, Callable[[], None]] = {
    "before agent.created": lambda: around_commit(facts.AgentCreated, after=False),
    "after agent.created": lambda: around_commit(facts.AgentCreated, after=True),
    "container made": lambda: around_engine("create", after=True),
    "container started": lambda: around_engine("start", after=True),
    "before gate.opening": lambda: around_commit(facts.GateOpening, after=False),
    "after gate.opening": lambda: around_commit(facts.GateOpening, after=True),
    "before the first byte": lambda: in_gate(0.0),
    "after half of the bytes": lambda: in_gate(0.5),
    "after all bytes": lambda: in_gate(1.0),
    "before agent.opened": lambda: around_commit(facts.AgentOpened, after=False),
    "after agent.opened": lambda: around_commit(facts.AgentOpened, after=True),
    "before job.ended": lambda: around_commit(facts.JobEnded, after=False),
    "after job.ended": lambda: around_commit(facts.JobEnded, after=True),
    "before agent.removed": lambda: around_commit(facts.AgentRemoved, after=False),
}


# Where an agent has containers of its own.
WITH_CONTAINERS: Mapping[str, Callable[[], None]] = {
    "before the grant": lambda: around_engine("grant", after=False),
    "before agent.exited": lambda: around_commit(facts.AgentExited, after=False),
    "after agent.exited": lambda: around_commit(facts.AgentExited, after=True),
    "before the clearing": lambda: around_engine("clear", after=False),
    "after the clearing": lambda: around_engine("clear", after=True),
    "before agent.cleared": lambda: around_commit(facts.AgentCleared, after=False),
    "after agent.cleared": lambda: around_commit(facts.AgentCleared, after=True),
    "with nothing beside it": lambda: around_engine("give_up", after=True),
}

NO_PIDFDS = "pidfds lost"


if __name__ == "__main__":
    every = {**POINTS, **WITH_CONTAINERS, NO_PIDFDS: without_pidfds}
    every[sys.argv[1]]()
    from mayfly.cli.app import main

    sys.argv = ["mayfly", "run"]
    main()
