"""Azure Pipelines under the soak: what goes wrong there, and how its jobs are told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.engine.private_engine import PrivateEngine
from tests.fakes.azure import DT, LAB
from tests.fakes.http import Fault
from tests.harness import until
from tests.providers.azure_pool import AzurePool, azure_pool
from tests.soak.service import LASTS, Account

AGENTS = f"{DT}/pools/2/agents"
MESSAGES = f"{DT}/pools/2/messages"
HUB = f"{DT}/hubs/"
LIMIT = {"Retry-After": "2"}


@dataclass
class AzureService(AzurePool):
    """A pool that can be soaked."""

    slots: int = 0

    def configure(self, slots: int = 2, keys: str = "") -> None:
        self.slots = slots
        super().configure(slots, keys)

    def submit(self, script: str) -> None:
        """Queue a job: a pool that has never had an agent would reject it."""
        until(self.fake.names, "the first entry")
        self.fake.queue(script)

    def accounts(self) -> list[Account]:
        with self.fake.lock:
            self.fake._sweep()
            return [
                Account(
                    job.id,
                    len(job.begun_by),
                    job.completed,
                    job.result == "abandoned",
                    job.result is not None,
                )
                for job in self.fake.jobs.values()
            ]

    def registrations(self) -> list[str]:
        """What is there and should not be, or is not and should: the slots' names stay."""
        wanted = {f"box-az-{number}" for number in range(self.slots)}
        return sorted(wanted.symmetric_difference(self.fake.names()))

    def settle(self) -> None:
        """Wait for the entries that somebody deleted last: their slots take them anew."""
        until(lambda: not self.registrations(), "every slot has its entry again", 120)

    def disagreements(self) -> list[str]:
        """Where Mayfly's history tells another story of a job than the service does."""
        told = self.manager.json("history", "--limit", "100000")
        rows = next(value for value in told.values() if isinstance(value, list))
        by_agent = {row["agent"]: row for row in rows}
        found = []
        for job in self.fake.jobs.values():
            for agent in job.begun_by:
                row = by_agent.get(agent, {"outcome": "not in the history", "detail": ""})
                did = row["outcome"] == "job_done" and row["detail"].lower() == job.result
                # Killed after it had told the service and before it told us: nobody here can know.
                cut_off = (row["outcome"], row.get("cause")) == ("unknown", "killed")
                if not did and not cut_off and job.result != "abandoned":
                    found.append(f"job {job.id} {job.result}, agent {agent}: {row['outcome']}")
        return found

    def trouble(self, chance: random.Random) -> str:
        """A fault that the service or the way there has."""
        name, where, fault = chance.choice(
            [
                ("502 on the list", ("GET", AGENTS), Fault(status=502, body=b"<html>no</html>")),
                ("503 on the list", ("GET", AGENTS), Fault(status=503, times=2)),
                ("lost reply of the list", ("GET", AGENTS), Fault(lost="after")),
                ("garbage from the list", ("GET", AGENTS), Fault(garbage=b'{"count": 4, "val')),
                ("429 on the list", ("GET", AGENTS), Fault(status=429, headers=LIMIT)),
                ("500 where a key is changed", ("PUT", AGENTS), Fault(status=500)),
                ("lost reply of a changed key", ("PUT", AGENTS), Fault(lost="after")),
                ("502 where an entry is enabled", ("PATCH", AGENTS), Fault(status=502)),
                ("lost reply of a deletion", ("DELETE", AGENTS), Fault(lost="after")),
                ("503 to an agent's question", ("GET", MESSAGES), Fault(status=503)),
                ("lost message to an agent", ("GET", MESSAGES), Fault(lost="before")),
                ("503 to config", ("GET", f"{LAB}/_apis/connectionData"), Fault(status=503)),
                ("503 when a job is reported done", ("POST", HUB), Fault(status=503)),
                ("lost reply when a job is reported done", ("POST", HUB), Fault(lost="after")),
                ("an idle agent's session lapses", ("", ""), None),
                ("an idle agent's entry is deleted by hand", ("", ""), None),
            ]
        )
        if fault is not None:
            self.fake.fail(*where, fault, lasts=LASTS)
        elif "session" in name:
            self._lapse(chance)
        else:
            self._delete(chance)
        return name

    def _lapse(self, chance: random.Random) -> None:
        with self.fake.lock:
            idle = [
                session.id
                for session in self.fake.sessions.values()
                if session.agent in self.fake.agents
                and self.fake.agents[session.agent].request is None
            ]
            if idle:
                del self.fake.sessions[chance.choice(idle)]

    def _delete(self, chance: random.Random) -> None:
        with self.fake.lock:
            idle = [
                entry.id
                for entry in self.fake.agents.values()
                if entry.request is None and self.fake.online(entry)
            ]
            if len(idle) > 1:
                gone = chance.choice(idle)
                del self.fake.agents[gone]
                self.fake.sessions = {
                    key: held for key, held in self.fake.sessions.items() if held.agent != gone
                }


@contextmanager
def open_service() -> Iterator[AzureService]:
    """The service, ready to be configured."""
    with PrivateEngine() as engine, azure_pool(engine) as pool:
        pool.fake.lapse, pool.fake.renewal, pool.fake.hold = 8.0, 10.0, 2.0
        yield AzureService(pool.engine, pool.fake, pool.manager, pool.tag)
