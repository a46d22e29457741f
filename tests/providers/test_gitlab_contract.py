"""GitLab keeps the contract of all providers, by a token that may list runners and by one that may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import HostId, HostSpec
from mayfly.edge.vault import Vault
from mayfly.providers import Enrolment
from mayfly.providers.gitlab.provider import GitLab
from tests.fakes.gitlab import FakeGitLab, Runner
from tests.providers.contract import HOST, HOST_ID, ProviderContract, pool, secret_file
from tests.providers.outage import Client


class GitLabBench:
    """GitLab beside its fake, as a group with a personal access token."""

    client = Client(600.0)  # (gitlab-runner's bound for the head of an answer)
    knows_busy = True

    def __init__(self, fake: FakeGitLab, home: Path) -> None:
        self.fake = fake
        self.home = home
        token = fake.person("create_runner", "manage_runner", "read_api")
        self.secrets: tuple[str, ...] = (token,)
        self.pool = pool(
            provider="gitlab",
            url=f"{fake.url}/ourlab",
            token=secret_file(home, "token", token),
            slots=2,
        )

    def provider(self, host_id: HostId = HOST_ID, host: HostSpec = HOST) -> GitLab:
        # Each host has a state directory of its own, which managers that follow one another share.
        return GitLab(self.pool, host, host_id, Vault(self.home / host_id))

    def _runner(self, enrolment: Enrolment) -> Runner:
        return self.fake.runners[int(enrolment.registration or 0)]

    def online(self, enrolment: Enrolment) -> None:
        system = enrolment.files["system_id"].decode()
        self.fake.hear(self._runner(enrolment).id, system)

    def offline(self, enrolment: Enrolment) -> None:
        """GitLab is told nothing."""

    def take_job(self, enrolment: Enrolment) -> None:
        runner = self._runner(enrolment)
        self.job = self.fake.submit("true", tags=runner.tags[:1])
        self.fake.give(self.job, runner.id, enrolment.files["system_id"].decode())

    def end_job(self, enrolment: Enrolment) -> None:
        self.fake.finish(self.job)

    def lose_job(self, enrolment: Enrolment) -> None:
        self.fake.finish(self.job, "canceled")

    def enrolling(self) -> tuple[str, str]:
        return "POST", "/api/v4/user/runners"

    def listing(self) -> tuple[str, str]:
        return "GET", "/api/v4/groups/10/runners"

    def spoil_token(self) -> None:
        with self.fake.lock:
            self.fake.people.clear()

    def registrations(self) -> list[Any]:
        return list(self.fake.runners.values())

    def fresh(self) -> None:
        """Its lists are never old."""


@pytest.fixture
def fake() -> Iterator[FakeGitLab]:
    with FakeGitLab() as service:
        yield service


class TestGitLab(ProviderContract):
    @pytest.fixture
    def bench(self, fake: FakeGitLab, tmp_path: Path) -> GitLabBench:
        return GitLabBench(fake, tmp_path)
