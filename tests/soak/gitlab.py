"""GitLab under the soak: what goes wrong there, and how its jobs are told."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.engine.private_engine import PrivateEngine
from tests.fakes.gitlab import FINAL, Runner
from tests.fakes.http import Fault
from tests.harness import until
from tests.providers.gitlab_pool import GitLabPool, gitlab_pool
from tests.soak.service import LASTS, Account

API = "/api/v4"
MAKE = ("POST", f"{API}/user/runners")
VERIFY = ("POST", f"{API}/runners/verify")
CHANGE = ("PUT", f"{API}/runners/")
LIST = ("GET", f"{API}/groups/10/runners")
POLL = ("POST", f"{API}/jobs/request")
REPORT = ("PUT", f"{API}/jobs/")
TRACE = ("PATCH", f"{API}/jobs/")
LIMIT = {"Retry-After": "2"}


@dataclass
class GitLabService(GitLabPool):
    """A pool that can be soaked."""

    slots: int = 0

    def configure(self, slots: int = 2, keys: str = "", scope: str | None = "group:10") -> None:
        self.slots = slots
        super().configure(slots, keys, scope)

    def submit(self, script: str) -> None:
        self.fake.submit(script, tags=["gpu"])

    def accounts(self) -> list[Account]:
        """All jobs but those that no runner has begun and that the service has put again."""
        with self.fake.lock:
            self.fake.sweep()
            return [
                Account(
                    job.id,
                    job.begun,
                    job.ended,
                    job.failure == "stuck_or_timeout_failure",
                    job.state in FINAL,
                )
                for job in self.fake.jobs.values()
                if job.retried is None
            ]

    def registrations(self) -> list[str]:
        """What is there and should not be: a runner and a manager id a slot stay."""
        with self.fake.lock:
            names = sorted(runner.description for runner in self.fake.runners.values())
            wrong = sorted(set(names) - {f"box-gl-{number}" for number in range(self.slots)})
            wrong += [f"{name} twice" for name in set(names) if names.count(name) > 1]
            wrong += [
                f"manager {system} of {runner.description}"
                for runner in self.fake.runners.values()
                for system in list(runner.managers)[1:]
            ]
            return wrong

    def finish(self) -> list[str]:
        """Every slot gets its runner again, and then the pool is taken out; what is wrong of it all."""
        names = [f"gl-{number}" for number in range(self.slots)]
        self.manager.cli("uncordon", *names)
        for name in names:
            self.manager.in_phase("idle", name)
        until(lambda: len(self.fake.seen_managers()) == self.slots, "a manager id a slot")
        wrong = self.registrations()
        if len(self.fake.runners) != self.slots:
            wrong.append(f"{len(self.fake.runners)} runners for {self.slots} slots")
        self.manager.configure('[[pool]]\nname = "other"\nslots = 0\n')
        self.manager.cli("reload")
        until(lambda: not self.manager.containers(), "no container is left")
        until(lambda: not self.fake.runners, "no runner is left")
        return wrong + [path.name for path in (self.manager.state / "gitlab").iterdir()]

    def calls(self) -> Mapping[str, int]:
        """The manager's calls, by method and path."""
        found: dict[str, int] = {}
        with self.fake.lock:
            for call in self.fake.calls:
                if "mayfly" in call.headers.get("user-agent", ""):
                    path = re.sub(r"/[0-9]+", "/ID", call.path.removeprefix(API))
                    found[f"{call.method} {path}"] = found.get(f"{call.method} {path}", 0) + 1
        return dict(sorted(found.items()))

    def trouble(self, chance: random.Random) -> str:
        """A fault that GitLab or the way there has."""
        name, where, fault = chance.choice(
            [
                ("502 where a runner is made", MAKE, Fault(status=502, body=b"<html>no</html>")),
                ("lost reply of a made runner", MAKE, Fault(lost="after")),
                ("503 where a token is verified", VERIFY, Fault(status=503)),
                ("lost request to verify a token", VERIFY, Fault(lost="before")),
                ("garbage for a verified token", VERIFY, Fault(garbage=b'{"id": 7')),
                ("502 where a runner is changed", CHANGE, Fault(status=502)),
                ("lost reply of a changed runner", CHANGE, Fault(lost="after")),
                ("503 on the list", LIST, Fault(status=503, times=2)),
                ("429 on the list", LIST, Fault(status=429, headers=LIMIT)),
                ("lost request for a job", POLL, Fault(lost="before")),
                ("lost reply with a job", POLL, Fault(lost="after")),
                ("503 where a job is asked for", POLL, Fault(status=503)),
                ("503 where a job is reported", REPORT, Fault(status=503)),
                ("lost reply of a report", REPORT, Fault(lost="after")),
                ("503 where a log is sent", TRACE, Fault(status=503)),
                ("lost reply where a log is sent", TRACE, Fault(lost="after")),
                ("an idle runner's token revoked", ("", ""), None),
                ("an idle runner deleted by hand", ("", ""), None),
                ("a log asked for again", ("", ""), None),
            ]
        )
        if fault is not None:
            self.fake.fail(*where, fault, lasts=LASTS)
        elif "log" in name:
            self._ask_again(chance)
        else:
            self._take_away(chance, delete="deleted" in name)
        return name

    def _ask_again(self, chance: random.Random) -> None:
        with self.fake.lock:
            open_ones = [job for job in self.fake.jobs.values() if job.state not in FINAL]
            if open_ones:
                chance.choice(open_ones).forced += [416, 412, 202]

    def _take_away(self, chance: random.Random, *, delete: bool) -> None:
        with self.fake.lock:
            idle: list[Runner] = [
                runner
                for runner in self.fake.runners.values()
                if not any(
                    job.runner == runner.id and job.state not in FINAL
                    for job in self.fake.jobs.values()
                )
            ]
            if not idle:
                return
            gone = chance.choice(idle)
            if delete:
                del self.fake.runners[gone.id]
            else:
                self.fake.revoke(gone.id)
            self.fake.lock.notify_all()


@contextmanager
def open_service() -> Iterator[GitLabService]:
    """The service, ready to be configured."""
    with PrivateEngine() as engine, gitlab_pool(engine) as pool:
        pool.fake.acknowledged_within, pool.fake.stuck_after = 6.0, 12.0
        yield GitLabService(pool.engine, pool.fake, pool.manager, pool.tag)
