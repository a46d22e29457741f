"""Azure Pipelines keeps the contract of all providers, with a person's token and as a service principal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import HostId, HostSpec
from mayfly.providers import Enrolment, Provider
from mayfly.providers.azure.provider import Azure
from tests.fakes.azure import DT, PRINCIPAL, TENANT, FakeAzure, Job
from tests.providers.contract import (
    HOST,
    HOST_ID,
    Bench,
    ProviderContract,
    agent,
    changed,
    pool,
    secret_file,
)
from tests.providers.outage import Client


class AzureBench:
    """Azure Pipelines beside its fake, with a personal access token."""

    client = Client(
        100.0,
        "2026-11-29 00:00:00Z: Agent connect error: no answer. Retrying until reconnected.",
        "2026-11-29 00:00:00Z: Agent reconnected.",
    )
    knows_busy = True
    secrets: tuple[str, ...] = ("pat-good",)

    def __init__(self, fake: FakeAzure, home: Path) -> None:
        self.fake = fake
        self.pool = pool(
            provider="azure",
            url=fake.organisation,
            agent_pool="gpu",
            token=secret_file(home, "token", "pat-good"),
        )

    def provider(self, host_id: HostId = HOST_ID, host: HostSpec = HOST) -> Azure:
        return Azure(self.pool, host, host_id, pause=lambda seconds: None)

    def configure(self, enrolment: Enrolment) -> None:
        """What `config` does with what came through the gate."""
        lines = enrolment.files["capabilities"].decode().splitlines()
        capabilities = dict(line.partition("=")[::2] for line in lines)
        self.fake.configure(enrolment.files["agent"].decode().strip(), capabilities)

    def online(self, enrolment: Enrolment) -> None:
        self.configure(enrolment)
        self.fake.connect(enrolment.registered or "")

    def offline(self, enrolment: Enrolment) -> None:
        """Gone without a word: the service does not know yet."""

    def take_job(self, enrolment: Enrolment) -> None:
        self.job: Job = self.fake.queue("true")
        assert self.job.agent == enrolment.registered

    def end_job(self, enrolment: Enrolment) -> None:
        self.fake.finish(self.job)
        self.fake.leave(enrolment.registered or "")

    def lose_job(self, enrolment: Enrolment) -> None:
        self.fake.finish(self.job, "canceled")

    def enrolling(self) -> tuple[str, str]:
        """The manager registers nothing itself: it looks at the entry that `config` will take."""
        return "GET", f"{DT}/pools/2/agents"

    def listing(self) -> tuple[str, str]:
        return "GET", f"{DT}/pools/2/agents"

    def spoil_token(self) -> None:
        with self.fake.lock:
            self.fake.tokens.clear()

    def registrations(self) -> list[Any]:
        return list(self.fake.agents.values())

    def fresh(self) -> None:
        """Its lists are never old."""


class PrincipalBench(AzureBench):
    """A service principal, whose secret stays with the manager."""

    secrets = ("principal-secret",)

    def __init__(self, fake: FakeAzure, home: Path) -> None:
        super().__init__(fake, home)
        fake.tokens.clear()
        self.pool = changed(
            self.pool,
            token=secret_file(home, "secret", "principal-secret"),
            tenant_id=TENANT,
            client_id=PRINCIPAL,
            authority=fake.url,
        )

    def spoil_token(self) -> None:
        with self.fake.lock:
            self.fake.client_secrets.clear()
            self.fake.bearers.clear()


@pytest.fixture
def fake() -> Iterator[FakeAzure]:
    with FakeAzure() as service:
        yield service


class TestToken(ProviderContract):
    @pytest.fixture
    def bench(self, fake: FakeAzure, tmp_path: Path) -> AzureBench:
        return AzureBench(fake, tmp_path)

    def test_the_agent_gets_no_secret_of_the_pool(self, bench: Bench, provider: Provider) -> None:
        """A personal access token is the exception: `config` cannot register without one.

        It stands in one file, which the launcher gives to that one process; what a job finds of it is hunted
        for on a real Engine, and a service principal's secret never gets here (docs/adr).
        """
        enrolment = provider.enrol(agent(), self.labels)
        assert [name for name, text in enrolment.files.items() if b"pat-good" in text] == ["token"]


class TestServicePrincipal(ProviderContract):
    @pytest.fixture
    def bench(self, fake: FakeAzure, tmp_path: Path) -> AzureBench:
        return PrincipalBench(fake, tmp_path)

    def test_config_gets_a_token_that_ends_by_itself(
        self, bench: Bench, provider: Provider
    ) -> None:
        token = provider.enrol(agent(), self.labels).files["token"].decode()
        assert token.startswith("eyJ")
        assert bench.fake.count("POST", f"/{TENANT}/oauth2/v2.0/token") == 1

    def test_one_token_serves_until_its_hour_is_nearly_over(
        self, bench: Bench, provider: Provider
    ) -> None:
        provider.enrol(agent(), self.labels)
        provider.roster()
        provider.enrol(agent(1, "l0000000bbbbb"), self.labels)
        assert bench.fake.count("POST", f"/{TENANT}/oauth2/v2.0/token") == 1
