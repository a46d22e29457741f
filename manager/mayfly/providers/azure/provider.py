"""Azure Pipelines: agents with stable names, whose entries in the agent pool stay between jobs.

A pool without a registered agent that fits rejects a job instead of letting it wait, so a slot keeps its
entry (``HOST-POOL-N``, which is also its registration here) and each agent takes it with a key of its own.
An entry is ours by the capability ``MAYFLY_ID``. The service never says "busy": an assigned request does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mayfly.core import naming
from mayfly.core.client_release import ClientRelease
from mayfly.core.memory import Agent
from mayfly.core.model import (
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    SlotName,
    StopStep,
    Traits,
)
from mayfly.core.outcomes import End, Outcome
from mayfly.core.waiting import WaitingJob
from mayfly.edge.faults import Passing
from mayfly.edge.service_json import text
from mayfly.providers import (
    Cordoned,
    Diagnosis,
    Dismissed,
    Enrolment,
    Finding,
    Sign,
    diagnosis,
    unseen_jobs,
)
from mayfly.providers.azure import check, client_release
from mayfly.providers.azure.agent_pool import MARK, AgentPool, Entry
from mayfly.providers.azure.lines import CONFIG_LIMIT, judge, read
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.azure.waiting import Waiting

BORN = "MAYFLY_AGENT"  # the capability that tells an agent's generation
# Where the agent is in its image. A job container gets its work folder as /__w, and what it brings along
# (Node for tasks) as /__a/externals.
AGENT = "/opt/azure-agent"
GHOST_REST = 5.0  # seconds before a dead agent's entry that cannot be freed yet is looked at again


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Azure:
    """The provider of an ``azure`` pool."""
    del state_dir
    return Azure(pool, host, host_id)


class Azure:
    """One agent pool of an organisation or of a collection of Azure DevOps Server."""

    traits = Traits(
        can_cordon=True,
        keeps_entries=True,
        enrol_deadline=420.0,
        stop_ladder=(StopStep("INT", 60.0), StopStep("TERM", 35.0), StopStep("USR2", 5.0)),
        work=f"{AGENT}/_work",
        shared=(f"{AGENT}/externals",),
    )
    roster_interval = 30.0

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        settings = pool.settings
        assert isinstance(settings, AzureSettings)
        self._pool, self._host, self._token = pool, host.name, settings.token
        self._mark = f"{host_id}/{pool.name}"
        self._names = re.compile(
            re.escape(f"{host.name}-{pool.name}-") + r"([0-9]{1,4})", re.IGNORECASE
        )
        self._clock = clock
        self._agents = AgentPool(pool, settings, self._mark, clock, pause)
        self._waiting = Waiting(self._agents, self._names)

    def check(self) -> Diagnosis:
        """Whether the pool is there and may be managed, what lags behind, and how old the token is."""
        return diagnosis(self._findings())

    def _findings(self) -> Iterator[Finding]:
        yield from check.findings(self._agents, self._token, self._clock())
        yield from unseen_jobs(self._pool, self.waiting)

    def waiting(self, labels: tuple[tuple[str, ...], ...]) -> tuple[WaitingJob, ...]:
        """The builds' jobs that wait for one of our agents, by one call for the whole pool."""
        del labels
        return self._waiting.look()

    def cancel_waiting(self, waiting: str) -> None:
        """Cancel a build whose jobs all wait."""
        self._waiting.cancel(waiting)

    def roster(self) -> Roster | None:
        """The agents under this host's names, by one call for the whole pool."""
        began = self._clock()
        found = (self._rostered(entry) for entry in self._agents.entries("list the agents"))
        return Roster(tuple(entry for entry in found if entry is not None), began)

    def answer(self) -> None:
        """One small call, to see whether the service answers."""
        self._agents.entry(self._registered(naming.slot(self._pool.name, 0)))

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """What `config` needs to take the slot's entry; whatever stands in its way there is cleared."""
        self._agents.refuse_plain_http()
        name = self._registered(agent.slot)
        entry = self._agents.entry(name)
        if entry is not None:
            self._clear(name, entry)
        capabilities = [f"{MARK}={self._mark}", f"{BORN}={agent.generation}"]
        capabilities += dict.fromkeys((*self._pool.labels, *labels))
        files = {
            "url": self._agents.url,
            "pool": self._agents.name,
            "agent": name,
            "limit": str(CONFIG_LIMIT),
            "capabilities": "\n".join(capabilities),
        }
        return Enrolment(
            files={
                **{key: f"{value}\n".encode() for key, value in files.items()},
                "token": f"{self._agents.config_token().reveal()}\n".encode(),
            },
            registration=name,
            registered=name,
        )

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Tell the service to give the agent no new job, and look whether it has one already."""
        entry = self._agents.entry(registration)
        if entry is None or not self._agents.ours(entry):
            raise Passing(
                f"{registration} is not in the agent pool yet, so nobody can be told of it; it is "
                "looked at again",
                GHOST_REST,
            )
        self._agents.enable(registration, entry, enabled=not on)
        return Cordoned(busy=on and self._agents.has_job(registration))

    def dismiss(self, registration: str) -> Dismissed:
        """Delete the entry; an agent that has a job keeps it."""
        entry = self._agents.entry(registration)
        if entry is None or not self._agents.ours(entry):
            return Dismissed()
        self._agents.enable(registration, entry, enabled=False)
        busy = self._agents.has_job(registration) or not self._agents.delete(registration, entry)
        return Dismissed(busy=busy)

    def retire(self, registration: str) -> None:
        """Put a key that nobody has in the place of the ended agent's; the entry waits for the next one."""
        entry = self._agents.entry(registration)
        if entry is None or not self._agents.ours(entry):
            return
        self._agents.lock_out(registration, entry)

    def client_release(self, architecture: str, version: str | None = None) -> ClientRelease:
        """The agent that the service offers, with its checksum."""
        return client_release.release(self._agents, architecture, version)

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls there were, by operation and status."""
        return self._agents.calls()

    def read(self, line: str) -> Sign | None:
        """What a line of the listener's own output means."""
        return read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent, from its exit code and its own lines; code 0 alone proves nothing."""
        return judge(end, signs)

    def _registered(self, slot: SlotName) -> str:
        return naming.registered(self._host, slot)

    def _rostered(self, entry: Entry) -> RosterEntry | None:
        """An entry as the core knows it; ``None`` where neither its name nor its mark is ours."""
        name = text(entry.get("name"))
        match = self._names.fullmatch(name)
        ours = self._agents.ours(entry)
        if match is None and not ours:
            return None
        slot = naming.slot(self._pool.name, int(match.group(1))) if match is not None else None
        known = slot is not None and name == self._registered(slot)
        return RosterEntry(
            id=name,
            name=name,
            online=entry.get("status") == "online",
            busy=entry.get("assignedRequest") is not None,
            slot=slot if known or not ours else None,
            foreign=not ours,
        )

    def _clear(self, name: str, entry: Entry) -> None:
        """Make the entry such that an agent can take it."""
        online = entry.get("status") == "online"
        if online and not self._agents.ours(entry):
            raise Passing(
                f"an agent named {name} that is not this Mayfly's is online in the agent pool: rename this "
                "host (host.name) or the pool, or stop that agent",
                30.0,
            )
        if entry.get("assignedRequest") is not None:
            raise self._still_counted(name)
        if online:
            # The slot's last agent is over, so this is what is left of its session, which would hold the next
            # one off for longer than its client waits. An entry of a new id has no session.
            self._renew(name, entry)
        else:
            self._agents.enable(name, entry, enabled=True)

    def _still_counted(self, name: str) -> Passing:
        return Passing(
            f"the service still counts a job on {name}, whose last agent is over; it gives it up after "
            "about five minutes, and the slot is filled then",
            GHOST_REST,
        )

    def _renew(self, name: str, entry: Entry) -> None:
        if not self._agents.delete(name, entry):
            raise self._still_counted(name)
        self._agents.make(name, entry)
