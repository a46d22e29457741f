"""GitHub under the soak: what goes wrong there, and how its jobs are told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from tests.engine.private_engine import PrivateEngine
from tests.fakes.github import FakeGitHub
from tests.fakes.http import Fault
from tests.providers.github_pool import GitHubPool, github_pool
from tests.soak.service import LASTS, Account

MINT = ("POST", "/api/v3/orgs/acme/actions/runners/generate-jitconfig")
LIST = ("GET", "/api/v3/orgs/acme/actions/runners")
DELETE = ("DELETE", "/api/v3/orgs/acme/actions/runners/")
LIMIT = {"Retry-After": "2"}


def accounts_of(fake: FakeGitHub) -> list[Account]:
    """All jobs that were queued there."""
    with fake.lock:
        fake._pass_time()
        return [
            Account(
                job.number,
                job.acquired,
                job.completed,
                job.conclusion == "lost communication",
                job.state == "completed",
            )
            for job in fake.jobs
        ]


def registrations_of(fake: FakeGitHub) -> list[str]:
    """What is still registered there."""
    with fake.lock:
        return [runner.name for runner in fake.runners.values()]


class GitHubService(GitHubPool):
    """A pool that can be soaked."""

    def submit(self, script: str) -> None:
        self.fake.queue(script)

    def accounts(self) -> list[Account]:
        return accounts_of(self.fake)

    def registrations(self) -> list[str]:
        return registrations_of(self.fake)

    def trouble(self, chance: random.Random) -> str:
        """A fault that GitHub or the way there has."""
        name, where, fault = chance.choice(
            [
                ("502 on minting", MINT, Fault(status=502, body=b"<html>bad gateway</html>")),
                ("503 on minting", MINT, Fault(status=503, body={"message": "unicorn"}, times=2)),
                ("lost request to mint", MINT, Fault(lost="before")),
                ("lost reply of minting", MINT, Fault(lost="after")),
                ("garbage from minting", MINT, Fault(garbage=b'{"runner": {"id"')),
                ("503 on the list", LIST, Fault(status=503, times=2)),
                ("lost reply of the list", LIST, Fault(lost="after")),
                (
                    "429 on the list",
                    LIST,
                    Fault(status=429, headers=LIMIT, body={"message": "slow down"}),
                ),
                (
                    "secondary limit on minting",
                    MINT,
                    Fault(status=403, headers=LIMIT, body=SECONDARY),
                ),
                ("lost reply of a removal", DELETE, Fault(lost="after")),
                ("502 on a removal", DELETE, Fault(status=502)),
                ("lost reply to a runner's poll", ("GET", "/broker/message"), Fault(lost="before")),
                ("503 to a runner", ("", "/broker/"), Fault(status=503)),
                (
                    "503 when a job is reported done",
                    ("POST", "/run/completejob"),
                    Fault(status=503),
                ),
                (
                    "lost reply when a job is reported done",
                    ("POST", "/run/completejob"),
                    Fault(lost="after"),
                ),
                ("an idle runner taken back", ("", ""), None),
            ]
        )
        if fault is None:
            self._take_back(chance)
        else:
            self.fake.fail(*where, fault, lasts=LASTS)
        return name

    def _take_back(self, chance: random.Random) -> None:
        with self.fake.lock:
            idle = [
                r for r in self.fake.runners.values() if r.job is None and r.session is not None
            ]
            if idle:
                self.fake._remove(chance.choice(idle))


SECONDARY = {"message": "You have exceeded a secondary rate limit."}


@contextmanager
def open_service() -> Iterator[GitHubService]:
    """The service, ready to be configured."""
    with PrivateEngine() as engine, github_pool(engine) as pool:
        yield GitHubService(pool.engine, pool.fake, pool.manager, pool.tag)
