"""The threads that perform actions, in lanes: what hangs holds up its own kind and its own pool alone.

A service that does not answer, a gate that nobody reads, a container that a job has filled with more files
than the Engine removes in time, an image that takes long to start: each is one pool's, so each pool has lanes
of its own. A lane has no more threads than it ever had to do at once; in it users take turns, so that nobody
waits for all that somebody else has waiting. Nothing here decides anything, and the loop's thread never waits
here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mayfly.core import naming
from mayfly.core.actions import (
    AcquireJobs,
    Action,
    CheckSandbox,
    Clear,
    Dismiss,
    Enrol,
    Forget,
    Freeze,
    LockClocks,
    MakeSandbox,
    Open,
    Prepare,
    Remove,
    RemoveSandbox,
    Rename,
    SetSchedulable,
    Signal,
    StartAgain,
    TakeResults,
    Thaw,
    UnlockClocks,
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
# Those of a pool whose engine has an image fetched while a pod is there for it, which may take half an hour:
# as many as the pool has slots, and no more than this.
MAKE_WAITING = 64
REMOVE = 4
SIGNAL = 2  # apart from what removes: an end that is asked for waits for nobody's files
OPEN = 2
SERVICE = 4
TAKE = 2  # apart from what removes: a gigabyte of results takes its time
CLEAR = 2  # apart from what removes: a gateway that hangs, or a container that does not die, takes its time
CLOCKS = 1  # NVML is asked one thing after the other anyway
BRING = 2  # apart from other openings: a tree of a gigabyte takes its time; by turns of their users

_Task = tuple[Action, Agent | None]


class _Turns:
    """What waits in a lane, in the order that it came, but by turns of those whose jobs it is for."""

    def __init__(self) -> None:
        self._waiting: dict[int | None, deque[_Task]] = {}  # whose turn is next first
        self._changed = threading.Condition()
        self._ended = False

    def put(self, task: _Task, of: int | None) -> None:
        """One more of that user's; ``None``: nobody's."""
        with self._changed:
            self._waiting.setdefault(of, deque()).append(task)
            self._changed.notify()

    def get(self) -> _Task | None:
        """The next, once there is one; ``None`` where no more come."""
        with self._changed:
            while not self._waiting:
                if self._ended:
                    return None
                self._changed.wait()
            of = next(iter(self._waiting))
            tasks = self._waiting.pop(of)
            task = tasks.popleft()
            if tasks:
                self._waiting[of] = tasks
            return task

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@dataclass(slots=True)
class _Lane:
    pool: PoolName
    queue: _Turns = field(default_factory=_Turns)
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
        self.queue.end()


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
        lane.queue.put((action, agent), action.uid if isinstance(action, Open) else None)

    def use_providers(
        self, providers: Mapping[PoolName, Provider], images_of_agents: tuple[str, ...] = ()
    ) -> None:
        """The providers of the pools, from the next action on; lanes of pools that are gone end.

        ``images_of_agents``: the patterns of what the agents of all pools are made of.
        """
        self._performer.providers = providers
        self._performer.images_of_agents = images_of_agents
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
        case (
            Enrol(pool=pool)
            | Dismiss(pool=pool)
            | SetSchedulable(pool=pool)
            | AcquireJobs(pool=pool)
        ):
            return f"service-{pool}", pool, SERVICE
        case Prepare() | MakeSandbox():
            of = action.spec.pool
            waits = action.spec.engine.preparing is not None
            most = max(MAKE, min(of.slots, MAKE_WAITING)) if waits else MAKE
            return f"make-{of.name}", of.name, most
        case StartAgain():
            pool = naming.pool_of(action.slot)
            return f"make-{pool}", pool, MAKE
        case CheckSandbox():  # the slot's next agent waits for it
            pool = naming.pool_of(action.slot)
            return f"make-{pool}", pool, MAKE
        case TakeResults():
            pool = naming.pool_of(action.slot)
            return f"take-{pool}", pool, TAKE
        case Signal() | Freeze() | Thaw() | Weigh():
            pool = naming.pool_of(action.slot)
            return f"signal-{pool}", pool, SIGNAL
        case Clear():
            pool = naming.pool_of(action.slot)
            return f"clear-{pool}", pool, CLEAR
        case LockClocks() | UnlockClocks():
            pool = naming.pool_of(action.slot)
            return f"clocks-{pool}", pool, CLOCKS
        case Rename() | Remove() | Forget() | RemoveSandbox():
            pool = naming.pool_of(action.slot)
            return f"remove-{pool}", pool, REMOVE
