"""The end of an agent as soon as its node's runtime knows it, a second or two before a pod's status has it.

A launcher prints its account last, behind a key that nobody in its job can know. That rings: from then on the
kubelet is asked whether the container runs, by attaching to its output. While it does, the attachment stands,
and mostly ends with the container's streams; once it does not, the kubelet, which asks the runtime each time,
has no such container to attach to. That answer alone is taken for the end, since a first process that is gone
has taken all of its namespace with it. What is not answered in time is said by the pod's status.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mayfly.core.doubling import doubling
from mayfly.core.model import Container, ContainerId, Generation
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.launcher_lines import OPENED
from mayfly.engines.kubernetes import sockets
from mayfly.engines.kubernetes.access import Access
from mayfly.engines.kubernetes.manifest import CONTAINER
from mayfly.engines.kubernetes.mirror import Mirror
from mayfly.engines.kubernetes.pods import VANISHED, Account, PodEnd, account_of, name_and_uid
from mayfly.engines.protocol import EngineEvent

ASKING = 3.0  # seconds after which the pod's status is waited for
AGAIN = 0.01  # seconds until the runtime is asked again whose streams have ended
# Seconds for which an attachment is waited for before it is asked once more, at first and at most: one that
# was begun while the container ended can stand for a second after that.
STANDS, STANDS_MOST = 0.04, 0.4
BACKOFF_MOST = 0.5  # seconds between two questions that were not answered
ANSWERED = 2.0  # seconds for the kubelet to answer
OPENING = 60.0  # seconds for which a gate may be about to open


class Ends:
    """Listens to what agents say of themselves, and tells of their ends; may be used from any thread."""

    def __init__(
        self,
        access: Access,
        path: str,
        mirror: Mirror,
        agent_of: Callable[[ContainerId], Container | None],
    ) -> None:
        self._access = access
        self._path = path
        self._mirror = mirror
        self._agent_of = agent_of
        self._ring: Callable[[EngineEvent], None] = lambda _: None
        self._listened = False  # whether anybody hears of ends yet
        self._stopping = threading.Event()
        self.asking: set[ContainerId] = set()  # whose runtimes are asked now whether they run
        self._opening: dict[Generation, threading.Event] = {}  # set once it is over
        self._rung: set[str] = set()  # ends that were told, until their pods are gone

    def tell(self, ring: Callable[[EngineEvent], None]) -> Callable[[EngineEvent], None]:
        """Who hears of ends from now on; the same for who watches the pods, but for what was told already."""
        self._ring = ring
        self._listened = True

        def once(event: EngineEvent) -> None:
            if event.action == "destroy":
                self._rung.discard(event.id)
            elif event.action == "die" and event.id in self._rung:
                return
            ring(event)

        return once

    def close(self) -> None:
        """Nobody waits here any more."""
        self._stopping.set()

    def heard(self, generation: Generation, line: str) -> None:
        """One of an agent's first lines, which are printed before it has a job."""
        if line == f"mayfly: at gate {generation}":
            self._mirror.ready(generation)
            return
        said = OPENED.fullmatch(line.encode() + b"\n")
        if said is not None and said[1].decode() == generation:
            # No more than that: its two outputs are copied apart, so that a line of its job's may stand
            # before its launcher's. Who its user is and what its account comes with is heard from root alone.
            self._mirror.opened(generation, None)

    @contextmanager
    def opening(self, generation: Generation) -> Iterator[None]:
        """While its gate is opened, and until it is written down what its launcher has said of that."""
        over = self._opening.setdefault(generation, threading.Event())
        try:
            yield
        finally:
            over.set()
            self._opening.pop(generation, None)

    def key(self, generation: Generation) -> str:
        """What the lines of its launcher's account begin with; ``""``: it has not said. (While its gate is
        opened this waits: a job may be over before that is written down.)
        """
        found, over = self._mirror.key(generation), self._opening.get(generation)
        if found or over is None:
            return found
        over.wait(OPENING)
        return self._mirror.key(generation)

    def told(self, generation: Generation, container: ContainerId, account: str) -> None:
        """Its launcher has given its account: as soon as its runtime has it ended, its witness says so, and
        whoever waits for it is rung.
        """
        said = account_of(account)
        # Why somebody ended it from outside is the cluster's to say, in the pod's status.
        if said.exit is None or said.signalled:
            return
        self.asking.add(container)
        try:
            self._told(generation, container, said, said.exit[0])
        finally:
            self.asking.discard(container)

    def _told(
        self, generation: Generation, container: ContainerId, said: Account, code: int
    ) -> None:
        if not self._ends_soon(container):
            return
        agent = self._agent_of(container)
        if agent is None:
            return  # its pod is gone, which the watch tells
        now = time.time_ns()
        self._mirror.ended(generation, PodEnd(code, now / 1e9, said))
        self._rung.add(container)  # not before: where the disk is full the pod's status tells it
        self._ring(
            EngineEvent(
                kind="container",
                action="die",
                id=container,
                time_nano=now,
                name=agent.name,
                host=agent.host,
                slot=agent.slot,
                generation=generation,
                exit_code=code,
            )
        )

    def vanished(self, generation: Generation) -> bool:
        """The pod of an earlier run's agent is gone and was not seen to go: somebody has deleted it. Whether
        anybody hears of it yet.
        """
        if not self._listened:
            return False
        known = self._mirror.pod(generation)
        if known is not None:
            container, host = known
            self._ring(
                EngineEvent(
                    kind="container",
                    action="die",
                    id=container,
                    time_nano=time.time_ns(),
                    host=host,
                    generation=generation,
                    why=VANISHED,
                )
            )
        return True

    def _ends_soon(self, container: ContainerId) -> bool:
        """Whether its node says in time that nothing of it runs any more."""
        last = time.monotonic() + ASKING
        name, _ = name_and_uid(container)
        query = [("container", CONTAINER), ("stdout", "true")]
        doing = f"asking whether pod {name} runs"
        tries = stood = 0
        while time.monotonic() < last and not self._stopping.is_set():
            try:
                streams = sockets.connect(
                    self._access, f"{self._path}/{name}/attach", query, doing, within=ANSWERED
                )
            except sockets.NotRunning:
                return True
            except Passing as fault:
                tries += 1
                pause = max(doubling(AGAIN, BACKOFF_MOST, tries), fault.retry_after or 0.0)
                if time.monotonic() + pause >= last:
                    return False
                self._stopping.wait(pause)
                continue
            except Fault:
                return False  # who may not attach need not ask again
            stood += 1
            until = min(last, time.monotonic() + doubling(STANDS, STANDS_MOST, stood))
            try:
                while not streams.over and (left := until - time.monotonic()) > 0:
                    streams.receive(left)
            finally:
                streams.close()
            self._stopping.wait(AGAIN)
        return False
