"""The threads that perform actions, in lanes: what hangs holds up its own kind and its own pool alone.

A service that does not answer, a gate that nobody reads, a container that a job has filled with more files
than the Engine removes in time, an image that takes long to start: each is one pool's, so each pool has lanes
of its own. A lane has no more threads than it ever had to do at once. Nothing here decides anything, and the
loop's thread never waits here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue

from mayfly.core import naming
from mayfly.core.actions import (
    Action,
    Dismiss,
    Enrol,
    Forget,
    Freeze,
    MakeSandbox,
    Open,
    Prepare,
    Remove,
    RemoveSandbox,
    Rename,
    SetSchedulable,
    Signal,
    TakeResults,
    Thaw,
    Weigh,
    action_name,
)
from mayfly.core.memory import Agent
from mayfly.core.model import PoolName
from mayfly.edge.faults import Passing
from mayfly.edge.lasting_thread import begun
from mayfly.providers import Provider
from mayfly.service.bugs import Bug, bug
from mayfly.service.perform import ActionResult, Failed, Performer

BUG_REST = 10.0  # seconds before an action in which a bug struck is tried again
THREAD_REST = 5.0  # seconds before one is tried again for which no thread was to be had
# How many actions of a lane of one pool are performed at once.
MAKE = 8
REMOVE = 4
SIGNAL = 2  # apart from what removes: an end that is asked for waits for nobody's files
OPEN = 2
SERVICE = 4
TAKE = 2  # apart from what removes: a gigabyte of results takes its time
BRING = 2  # apart from other openings: a tree of a gigabyte takes its time

_Task = tuple[Action, Agent | None]


@dataclass(slots=True)
class _Lane:
    pool: PoolName
    queue: SimpleQueue[_Task | None] = field(default_factory=SimpleQueue)
    threads: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    under_way: int = 0  # actions that wait or are performed

    def begun(self) -> int:
        """One more is to be performed; how many that makes."""
        return self._count(1)

    def ended(self) -> None:
        """One was."""
        self._count(-1)

    def _count(self, more: int) -> int:
        with self.lock:
            self.under_way += more
            return self.under_way

    def end(self) -> None:
        """Let its threads end, once all that was begun is done."""
        for _ in self.threads:
            self.queue.put(None)


class Workers:
    """Performs actions, each on a thread of its lane; to be used from the loop's thread."""

    def __init__(self, performer: Performer, send: Callable[[ActionResult | Bug], None]) -> None:
        self._performer = performer
        self._send = send
        self._lanes: dict[str, _Lane] = {}

    def begin(self, action: Action, agent: Agent | None) -> None:
        """Have the action performed; its outcome is sent."""
        name, pool, most = _lane(action)
        lane = self._lanes.setdefault(name, _Lane(pool))
        wanted = min(most, lane.begun())
        if len(lane.threads) < wanted and not self._widen(name, lane) and not lane.threads:
            lane.ended()
            self._send(Failed(action, Passing("no thread is to be had for it", THREAD_REST)))
            return
        lane.queue.put((action, agent))

    def use_providers(self, providers: Mapping[PoolName, Provider]) -> None:
        """The providers of the pools, from the next action on; lanes of pools that are gone end."""
        self._performer.providers = providers
        for name, lane in [*self._lanes.items()]:
            if lane.pool not in providers:
                del self._lanes[name]
                lane.end()

    def stop(self, timeout: float) -> None:
        """Let each thread end after what it does now; at most ``timeout`` seconds are waited for all."""
        for lane in self._lanes.values():
            lane.end()
        deadline = time.monotonic() + timeout
        for lane in self._lanes.values():
            for thread in lane.threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _widen(self, name: str, lane: _Lane) -> bool:
        number = len(lane.threads)
        thread = threading.Thread(
            target=self._work, args=(lane,), name=f"{name}-{number}", daemon=True
        )
        if not begun(thread):
            return False
        lane.threads.append(thread)
        return True

    def _work(self, lane: _Lane) -> None:
        while (task := lane.queue.get()) is not None:
            action, agent = task
            try:
                outcome = self._performer.perform(action, agent)
            except Exception as error:  # noqa: BLE001  a bug must not leave the action in flight for ever
                name = action_name(action)
                self._send(bug(f"{name} of {action.slot or action.subject}", error))
                outcome = Failed(action, Passing(f"{type(error).__name__}: {error}", BUG_REST))
            lane.ended()
            self._send(outcome)


def _lane(action: Action) -> tuple[str, PoolName, int]:
    """The lane's name, whose it is, and how many threads it has at most."""
    match action:
        case Open(pool=pool, brings=True):
            return f"bring-{pool}", pool, BRING
        case Open(pool=pool):
            return f"open-{pool}", pool, OPEN
        case Enrol(pool=pool) | Dismiss(pool=pool) | SetSchedulable(pool=pool):
            return f"service-{pool}", pool, SERVICE
        case Prepare() | MakeSandbox():
            pool = action.spec.pool.name
            return f"make-{pool}", pool, MAKE
        case TakeResults():
            pool = naming.pool_of(action.slot)
            return f"take-{pool}", pool, TAKE
        case Signal() | Freeze() | Thaw() | Weigh():
            pool = naming.pool_of(action.slot)
            return f"signal-{pool}", pool, SIGNAL
        case Rename() | Remove() | Forget() | RemoveSandbox():
            pool = naming.pool_of(action.slot)
            return f"remove-{pool}", pool, REMOVE
