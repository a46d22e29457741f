"""One pool at the parcel queue.

A ticket is good for one agent and one parcel. An agent is at the service from its ticket to the end of its
parcel; only what carries our mark is ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

from mayfly_parcel.settings import ParcelSettings

from mayfly.core import naming
from mayfly.core.memory import Agent
from mayfly.core.model import (
    Generation,
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    StopStep,
    Traits,
)
from mayfly.core.outcomes import End, Outcome
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing
from mayfly.edge.service_json import items, mapping, text
from mayfly.edge.web import ServiceReply, Web
from mayfly.providers import (
    Cordoned,
    Diagnosis,
    Dismissed,
    Enrolment,
    Finding,
    Sign,
    diagnosis,
)
from mayfly.providers.account import JobEnd, Told, account


class Parcel:
    """One pool at the parcel queue."""

    traits = Traits(stop_ladder=(StopStep("TERM", 10.0), StopStep("USR2", 5.0)))
    roster_interval = 15.0

    def __init__(self, pool: PoolSpec, host: HostSpec, host_id: HostId) -> None:
        assert isinstance(pool.settings, ParcelSettings)
        self._pool, self._settings, self._host = pool, pool.settings, host
        self._mark = f"{host_id}/{pool.name}"
        self._name = re.compile(
            rf"{re.escape(host.name)}-{re.escape(pool.name)}-(\d+)-([0-9a-z]{{13}})"
        )
        self._web = Web(
            pool.settings.url,
            "the parcel queue",
            f'pool "{pool.name}"',
            authorise=self._authorise,
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
        )

    def _authorise(self) -> Mapping[str, str | Secret]:
        return {
            "Authorization": Secret(f"Bearer {credentials.read(self._settings.token).reveal()}")
        }

    def check(self) -> Diagnosis:
        """Whether the queue answers and takes the token."""
        return diagnosis(self._findings())

    def _findings(self) -> Iterator[Finding]:
        self._agents()
        yield from ()

    def _agents(self) -> list[Mapping[str, object]]:
        query = {"queue": self._settings.queue}
        reply = self._web.call("GET", "/agents", "list the agents", query=query)
        return [mapping(one) for one in items(mapping(reply.body).get("agents"))]

    def answer(self) -> None:
        """The list, which is as small as anything at the queue."""
        self._agents()

    def roster(self) -> Roster | None:
        """Our agents, and others of our names."""
        at = time.time()
        found = (self._entry(agent) for agent in self._agents())
        return Roster(tuple(entry for entry in found if entry is not None), at)

    def _entry(self, agent: Mapping[str, object]) -> RosterEntry | None:
        name = text(agent.get("name"))
        named = self._name.fullmatch(name)
        ours = agent.get("mark") == self._mark
        if not ours and named is None:
            return None
        return RosterEntry(
            id=text(agent.get("id")),
            name=name,
            online=agent.get("online") is True,
            busy=agent.get("busy") is True,
            slot=naming.slot(self._pool.name, int(named.group(1))) if named else None,
            generation=Generation(named.group(2)) if named else None,
            foreign=not ours,
        )

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """A ticket for this agent alone."""
        del labels
        name = naming.registered(self._host.name, agent.slot, agent.generation)
        reply = self._ticket(name)
        if reply.status == 409:
            # A reply that was lost left it behind: nobody has its ticket.
            if self.dismiss(text(mapping(reply.body).get("id"))).busy:
                raise Passing(f"{name} runs a parcel before its gate was opened", 5.0)
            reply = self._ticket(name)
        if reply.status != 201:
            raise self._web.fault(reply, "get a ticket")
        made = mapping(reply.body)
        files = {
            "url": self._settings.url,
            "queue": self._settings.queue,
            "ticket": text(made.get("ticket")),
        }
        return Enrolment(
            files={key: f"{value}\n".encode() for key, value in files.items()},
            registration=text(made.get("id")),
            registered=name,
        )

    def _ticket(self, name: str) -> ServiceReply:
        body = {"name": name, "mark": self._mark, "queue": self._settings.queue}
        return self._web.call("POST", "/tickets", "get a ticket", body=body, accept=(201, 409))

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """The queue cannot be told: an idle agent is dismissed instead."""
        del registration, on
        return Cordoned()

    def dismiss(self, registration: str) -> Dismissed:
        """Take an agent's ticket back."""
        reply = self._web.call(
            "DELETE", f"/agents/{registration}", "take a ticket back", accept=(204, 404, 409)
        )
        return Dismissed(busy=reply.status == 409)

    def retire(self, registration: str) -> None:
        """There are no entries to keep."""

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls there were, by operation and status."""
        return self._web.calls()

    def read(self, line: str) -> Sign | None:
        """What a line of the client means."""
        match line.split(" ", 2)[:2]:
            case ["parcel:", "waits"]:
                return Sign("listening")
            case ["parcel:", "took"]:
                return Sign("job_started", line.removeprefix("parcel: took ")[:40])
            case ["parcel:", "done"]:
                return Sign("job_ended", line.removeprefix("parcel: done ")[:40])
            case _:
                return None

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        read = [sign for line in signs if (sign := self.read(line)) is not None]
        done = [sign.text for sign in read if sign.kind == "job_ended"]
        if done:
            return account(end, Told(ended=JobEnd(f"code {done[-1]}", succeeded=done[-1] == "0")))
        if any(sign.kind == "job_started" for sign in read):
            return account(end, Told(broken_off="its parcel was broken off"))
        return account(end, Told(why="the parcel client ended without a parcel"))
