"""GitHub's scale sets under the soak: what goes wrong there, and how its jobs are told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.engine.private_engine import PrivateEngine
from tests.fakes.github_scale_sets import AGENTS, QUEUE, SETS, TENANT
from tests.fakes.http import Fault
from tests.providers.scaleset_pool import ScaleSetPool, scaleset_pool
from tests.soak.github import accounts_of, registrations_of
from tests.soak.service import LASTS, Account

LIMIT = {"Retry-After": "1"}
TOKEN = ("POST", "/api/v3/orgs/acme/actions/runners/registration-token")


@dataclass
class ScaleSetService(ScaleSetPool):
    """A pool that can be soaked."""

    def submit(self, script: str) -> None:
        self.fake.queue_job(script)

    def accounts(self) -> list[Account]:
        return accounts_of(self.fake)

    def registrations(self) -> list[str]:
        return registrations_of(self.fake)

    def trouble(self, chance: random.Random) -> str:
        """A fault that GitHub or the way there has."""
        mint, acquire = ("POST", f"{SETS}/7/generate"), ("POST", f"{SETS}/7/acquire")
        name, where, fault = chance.choice(
            [
                ("502 on a runner", mint, Fault(status=502, body=b"<html>no</html>")),
                ("lost reply of a runner", mint, Fault(lost="after")),
                ("lost request for a runner", mint, Fault(lost="before")),
                ("503 on acquiring", acquire, Fault(status=503)),
                ("lost reply of acquiring", acquire, Fault(lost="after")),
                ("garbage from acquiring", acquire, Fault(garbage=b'{"count": 1, "va')),
                ("503 on a message", ("GET", QUEUE), Fault(status=503)),
                ("a message lost", ("GET", QUEUE), Fault(lost="after")),
                ("an empty message", ("GET", QUEUE), Fault(status=200, body=b"")),
                ("429 on a message", ("GET", QUEUE), Fault(status=429, headers=LIMIT)),
                ("lost reply of an acknowledgement", ("DELETE", QUEUE), Fault(lost="after")),
                ("503 on an acknowledgement", ("DELETE", QUEUE), Fault(status=503)),
                ("401 on a message", ("GET", QUEUE), Fault(status=401)),
                ("409 on a session", ("POST", f"{SETS}/7/sessions"), Fault(status=409)),
                ("503 on the list", ("GET", AGENTS), Fault(status=503)),
                ("lost reply of a removal", ("DELETE", AGENTS), Fault(lost="after")),
                ("503 on a token", TOKEN, Fault(status=503)),
                ("503 to a runner", ("", "/broker/"), Fault(status=503)),
                ("401 to all of ours", ("", f"{TENANT}/_apis"), Fault(status=401)),
                ("a message twice", ("", ""), None),
                ("the session lapses", ("", ""), None),
                ("our token ends", ("", ""), None),
            ]
        )
        if fault is not None:
            self.fake.fail(*where, fault, lasts=LASTS)
        else:
            self._disturb(name)
        return name

    def _disturb(self, name: str) -> None:
        with self.fake.lock:
            if name == "a message twice":
                self.fake.duplicates += 1
            elif name == "our token ends":
                self.fake._admins.clear()
            elif self.fake.the_set("box-gh") is not None:
                self.fake.expire_session("box-gh")


@contextmanager
def open_service() -> Iterator[ScaleSetService]:
    """The service, ready to be configured."""
    with PrivateEngine() as engine, scaleset_pool(engine) as pool:
        yield ScaleSetService(pool.engine, pool.fake, pool.manager, pool.tag)
