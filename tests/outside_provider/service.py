"""The parcel queue itself: tickets, agents and parcels, over HTTP."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass

from tests.fakes.http import Answer, Call, Fake, Wait

HOLD = 5.0  # seconds that a request for a parcel waits


@dataclass
class AtQueue:
    """An agent as the queue knows it."""

    id: str
    name: str
    mark: str
    ticket: str
    online: bool = False
    parcel: int | None = None


@dataclass
class Delivery:
    """A parcel: a line of shell, and what came of it."""

    number: int
    command: str
    agent: str | None = None
    code: int | None = None


class ParcelQueue(Fake):
    """The service."""

    token = "parcel-token"

    def __init__(self) -> None:
        super().__init__()
        self.agents: dict[str, AtQueue] = {}
        self.parcels: dict[int, Delivery] = {}
        self._ids = itertools.count(1)
        self.route("GET", "/agents", self._list)
        self.route("POST", "/tickets", self._ticket)
        self.route("DELETE", "/agents/{id}", self._dismiss)
        self.route("POST", "/hello", self._hello)
        self.route("POST", "/next", self._next)
        self.route("POST", "/parcels/{number}", self._done)

    def send(self, command: str) -> Delivery:
        """A new parcel."""
        with self.lock:
            parcel = Delivery(next(self._ids), command)
            self.parcels[parcel.number] = parcel
            self.lock.notify_all()
            return parcel

    def before(self, call: Call) -> Answer | None:
        """Managers have the token, agents their tickets."""
        known = call.headers.get("authorization") == f"Bearer {self.token}"
        managers = call.path.startswith(("/agents", "/tickets"))
        return Answer(401, {"message": "no"}) if managers and not known else None

    def _list(self, _: Call) -> Answer:
        shown = [
            {
                "id": one.id,
                "name": one.name,
                "mark": one.mark,
                "online": one.online,
                "busy": one.parcel is not None,
            }
            for one in self.agents.values()
        ]
        return Answer(200, {"agents": shown})

    def _ticket(self, call: Call) -> Answer:
        name = call.json["name"]
        for one in self.agents.values():
            if one.name == name:
                return Answer(409, {"id": one.id})
        made = AtQueue(f"a{next(self._ids)}", name, call.json["mark"], secrets.token_hex(8))
        self.agents[made.id] = made
        return Answer(201, {"id": made.id, "ticket": made.ticket})

    def _dismiss(self, call: Call) -> Answer:
        one = self.agents.get(call.at["id"])
        if one is None:
            return Answer(404, {})
        if one.parcel is not None:
            return Answer(409, {})
        del self.agents[one.id]
        self.lock.notify_all()
        return Answer(204)

    def by_ticket(self, ticket: str) -> AtQueue | None:
        """Whose ticket that is."""
        return next((one for one in self.agents.values() if one.ticket == ticket), None)

    def _hello(self, call: Call) -> Answer:
        one = self.by_ticket(call.headers.get("ticket", ""))
        if one is None or one.online:
            return Answer(403, {})
        one.online = True
        return Answer(200, {})

    def _next(self, call: Call) -> Answer | Wait:
        one = self.by_ticket(call.headers.get("ticket", ""))
        if one is None:
            return Answer(410)
        for parcel in self.parcels.values():
            if parcel.agent is None:
                parcel.agent, one.parcel = one.name, parcel.number
                return Answer(200, f"{parcel.number}\n{parcel.command}".encode())
        return Wait(HOLD, Answer(204))

    def _done(self, call: Call) -> Answer:
        one = self.by_ticket(call.headers.get("ticket", ""))
        if one is None or str(one.parcel) != call.at["number"]:
            return Answer(403, {})
        self.parcels[int(call.at["number"])].code = int(call.content)
        del self.agents[one.id]
        self.lock.notify_all()
        return Answer(204)
