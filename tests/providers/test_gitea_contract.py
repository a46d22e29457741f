"""Gitea keeps the contract of all providers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.facts import AgentDoomed
from mayfly.core.model import DoomReason, HostId, HostSpec, PoolSpec, SlotName
from mayfly.providers import Enrolment, Provider
from mayfly.providers.gitea.provider import Gitea
from tests.fakes.gitea import REGISTER, FakeGitea, Runner
from tests.providers.contract import HOST, HOST_ID, POOL, ProviderContract, pool, secret_file
from tests.providers.outage import Client, at_service


class GiteaBench:
    """Gitea beside its fake, as an organisation with an owner's token."""

    client = Client(
        30.0
    )  # (what the enrolment says: one that is not answered asks again, without a word)
    knows_busy = True

    def __init__(self, fake: FakeGitea, home: Path) -> None:
        self.fake = fake
        # Hours may pass by the manager's clock, and minutes by the fake's.
        fake.offline_after = 86400.0
        token = fake.person("write:organization")
        self.pool = pool(
            provider="gitea",
            url=f"{fake.url}/ourlab",
            token=secret_file(home, "token", token),
            slots=2,
        )
        self._token = token

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self._token, *self.fake.registration.values())

    def provider(self, host_id: HostId = HOST_ID, host: HostSpec = HOST) -> Gitea:
        return Gitea(self.pool, host, host_id)

    def _runner(self, enrolment: Enrolment) -> Runner:
        return self.fake.by_key(json.loads(enrolment.files["runner"])["token"])

    def online(self, enrolment: Enrolment) -> None:
        self.fake.declare(self._runner(enrolment))

    def offline(self, enrolment: Enrolment) -> None:
        self.fake.vanish(self._runner(enrolment))

    def take_job(self, enrolment: Enrolment) -> None:
        self.job = self.fake.submit("gpu")
        assert self.fake.give(self.job, self._runner(enrolment))

    def end_job(self, enrolment: Enrolment) -> None:
        self.fake.finish(self.job)

    def lose_job(self, enrolment: Enrolment) -> None:
        self.fake.finish(self.job, "cancelled")

    def enrolling(self) -> tuple[str, str]:
        return "POST", REGISTER

    def listing(self) -> tuple[str, str]:
        return "GET", "/api/v1/orgs/ourlab/actions/runners"

    def spoil_token(self) -> None:
        with self.fake.lock:
            self.fake.people.clear()
            self.fake.registration.clear()

    def registrations(self) -> list[Any]:
        return list(self.fake.runners.values())

    def fresh(self) -> None:
        """Its lists are never old."""


@pytest.fixture
def fake() -> Iterator[FakeGitea]:
    with FakeGitea() as service:
        yield service


class TestGitea(ProviderContract):
    @pytest.fixture
    def bench(self, fake: FakeGitea, tmp_path: Path) -> GiteaBench:
        return GiteaBench(fake, tmp_path)

    def test_an_agent_whose_job_is_taken_back_before_it_begins_is_idle_again(
        self, bench: Any, provider: Provider
    ) -> None:
        """Not at Gitea: its runner goes with the job, so that the slot's next agent waits for another."""
        manager = at_service(bench, provider, PoolSpec(POOL, "of-the-contract", embedded=False))
        of = SlotName("gpu-0")
        _until(manager, lambda: manager.well)
        own = manager.own(of)
        bench.take_job(manager.given[own])
        _until(manager, lambda: manager.phases(of)[0] == "busy")
        bench.lose_job(manager.given[own])
        _until(manager, lambda: manager.well and manager.own(of) != own)
        facts = (*manager.journal, *manager.drafting)
        dooms = [fact.reason for fact in facts if isinstance(fact, AgentDoomed)]
        assert dooms == [DoomReason.TAKEN_BACK]


def _until(manager: Any, look: Any) -> None:
    start = manager.now
    while not look():
        assert manager.now < start + 120.0, manager.phases("gpu-0")
        manager.one_second()
