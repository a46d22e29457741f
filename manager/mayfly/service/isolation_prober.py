"""Has the engine try what agents must not be able to, when asked, on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue

from mayfly.core.actions import Prepare
from mayfly.core.agent_plan import AgentPlan, agent_plan
from mayfly.core.model import Generation, HostId
from mayfly.core.requests import ProbeIsolation
from mayfly.core.stimuli import IsolationProbed
from mayfly.edge.faults import Fault
from mayfly.edge.lasting_thread import LastingThread
from mayfly.engines.protocol import Engine
from mayfly.service.bugs import Bug, bug

GRACE = 15.0  # seconds that a manager that stops waits for a probe


class IsolationProber:
    """One probe after the other; ``send`` receives what was seen."""

    def __init__(
        self, engine: Engine, host: HostId, send: Callable[[IsolationProbed | Bug], None]
    ) -> None:
        self._engine = engine
        self._host = host
        self._send = send
        self._stopping = False
        self._asked: SimpleQueue[ProbeIsolation | None] = SimpleQueue()
        self._thread = LastingThread(self._run, "isolation-prober")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the probe under way, which is waited for: its containers are in the pool's network."""
        self._stopping = True
        self._asked.put(None)
        self._thread.join(GRACE)

    def probe(self, request: ProbeIsolation) -> None:
        """Try it soon."""
        self._asked.put(request)

    def _run(self) -> None:
        while (request := self._asked.get()) is not None and not self._stopping:
            pool = request.spec.pool.name
            try:
                self._send(IsolationProbed(pool, self._engine.isolation(self._plan(request))))
            except Fault as fault:
                self._send(IsolationProbed(pool, None, str(fault)))
            except Exception as error:  # noqa: BLE001  a bug in here must not hold a pool without a word
                self._send(bug("a probe of isolation", error))
                self._send(IsolationProbed(pool, None, f"{type(error).__name__}: {error}"))

    def _plan(self, request: ProbeIsolation) -> AgentPlan:
        prepare = Prepare(Generation("probe"), request.spec, "probe", "isolation is looked at")
        return agent_plan(prepare, host=self._host, witness="/", log_max_size=1024 * 1024)
