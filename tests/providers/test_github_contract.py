"""GitHub keeps the contract of all providers, by each of its ways in."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mayfly.core.model import HostId, HostSpec
from mayfly.providers import Enrolment
from mayfly.providers.github.provider import GitHub
from mayfly.providers.github.settings import GitHubApp
from tests.fakes.github import FakeGitHub, Job
from tests.providers.contract import HOST, HOST_ID, ProviderContract, changed, pool, secret_file
from tests.providers.outage import Client


class GitHubBench:
    """GitHub beside its fake, as an organisation with a token."""

    client = Client(
        100.0,
        "2026-11-29 00:00:00Z: Runner connect error: no answer. Retrying until reconnected.",
    )
    knows_busy = True
    keys: ClassVar[dict[str, Any]] = {}
    place = "acme"

    def __init__(self, fake: FakeGitHub, home: Path) -> None:
        self.fake = fake
        self.home = home
        self.secrets: tuple[str, ...] = ("ghp_good",)
        self.pool = pool(
            provider="github",
            url=f"{fake.url}/{self.place}",
            runner_group="gpu" if self.place == "acme" else None,
            token=secret_file(home, "token", "ghp_good"),
            **self.keys,
        )

    def provider(self, host_id: HostId = HOST_ID, host: HostSpec = HOST) -> GitHub:
        return GitHub(self.pool, host, host_id)

    def online(self, enrolment: Enrolment) -> None:
        self.fake.connect(enrolment.registered or "")

    def offline(self, enrolment: Enrolment) -> None:
        self.fake.disconnect(enrolment.registered or "")

    def take_job(self, enrolment: Enrolment) -> None:
        self.job: Job = self.fake.give(enrolment.registered or "")

    def end_job(self, enrolment: Enrolment) -> None:
        self.fake.finish(self.job)

    def lose_job(self, enrolment: Enrolment) -> None:
        self.fake.take_back(self.job)

    def enrolling(self) -> tuple[str, str]:
        return "POST", f"/api/v3/{self.path}/actions/runners/generate-jitconfig"

    @property
    def path(self) -> str:
        return f"repos/{self.place}" if "/" in self.place else f"orgs/{self.place}"

    def listing(self) -> tuple[str, str]:
        return "GET", f"/api/v3/{self.path}/actions/runners"

    def spoil_token(self) -> None:
        with self.fake.lock:
            self.fake.tokens.clear()

    def registrations(self) -> list[Any]:
        return list(self.fake.runners.values())

    def fresh(self) -> None:
        self.fake.renew_lists()


class RepositoryBench(GitHubBench):
    """A repository, which has no groups."""

    place = "acme/app"


class AppBench(GitHubBench):
    """An organisation where an App is installed."""

    def __init__(self, fake: FakeGitHub, home: Path) -> None:
        super().__init__(fake, home)
        pem = make_key(home)
        key = public_numbers(pem)
        fake.apps["4711"] = (key.n, key.e)
        fake.tokens.clear()
        self.secrets = (pem.splitlines()[1],)
        reference = {"file": str(home / "app.pem")}
        self.pool = changed(self.pool, token=None, app=GitHubApp("4711", reference))

    def spoil_token(self) -> None:
        with self.fake.lock:
            self.fake.tokens.clear()
            self.fake.apps.clear()


class TokenBench(GitHubBench):
    """Registration by config.sh, where one-use configurations are missing."""

    keys: ClassVar[dict[str, Any]] = {"enrolment": "token"}

    def enrolling(self) -> tuple[str, str]:
        return "POST", f"/api/v3/{self.path}/actions/runners/registration-token"

    def online(self, enrolment: Enrolment) -> None:
        """What config.sh does, then what the listener does."""
        name = enrolment.registered or ""
        if self.fake.runner(name) is None:
            words = enrolment.files["config.argv"].decode().split("\0")
            labels = words[words.index("--labels") + 1].split(",")
            with self.fake.lock:
                self.fake._add(self.path, name, 3, labels, proof="p")
        self.fake.connect(name)


def make_key(home: Path) -> str:
    """A PEM file as GitHub gives it, `app.pem`; its text, the same for all tests of a worker."""
    file = home / "app.pem"
    if not file.exists():
        file.touch(0o600)
        file.write_text(_pem())
    return file.read_text()


@cache
def _pem() -> str:
    words = ["openssl", "genrsa", "-traditional", "2048"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def public_numbers(pem: str) -> RSAPublicNumbers:
    """What a service knows of that key."""
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key.public_key().public_numbers()


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub() as service:
        yield service


class TestOrganisation(ProviderContract):
    @pytest.fixture
    def bench(self, fake: FakeGitHub, tmp_path: Path) -> GitHubBench:
        return GitHubBench(fake, tmp_path)


class TestRepository(ProviderContract):
    # A repository is another path of the calls of an organisation, of which outages are tried above.
    test_four_minutes_of_trouble_cost_little_are_told_and_are_over_soon_after = None  # type: ignore[assignment]
    test_a_service_that_is_silent_for_four_minutes_is_told_and_leaves_no_client_cut_off = None  # type: ignore[assignment]

    @pytest.fixture
    def bench(self, fake: FakeGitHub, tmp_path: Path) -> GitHubBench:
        return RepositoryBench(fake, tmp_path)


class TestApp(ProviderContract):
    @pytest.fixture
    def bench(self, fake: FakeGitHub, tmp_path: Path) -> GitHubBench:
        return AppBench(fake, tmp_path)


class TestConfigScript(ProviderContract):
    @pytest.fixture
    def bench(self, fake: FakeGitHub, tmp_path: Path) -> GitHubBench:
        return TokenBench(fake, tmp_path)

    def test_the_registration_token_is_got_once_an_hour_and_is_in_no_argument(
        self, bench: GitHubBench
    ) -> None:
        from tests.providers.contract import agent

        provider = bench.provider()
        first = provider.enrol(agent(0, "l0000000aaaaa"), ("gpu",))
        second = provider.enrol(agent(1, "l0000000bbbbb"), ("gpu",))
        assert bench.fake.count(*bench.enrolling()) == 1
        assert first.files["token"] == second.files["token"]
        assert first.files["token"] not in first.files["config.argv"]


def blob(enrolment: Enrolment) -> dict[str, Any]:
    """The files that a one-use configuration holds."""
    encoded = json.loads(base64.b64decode(enrolment.files["jitconfig"]))
    return {name: json.loads(base64.b64decode(text)) for name, text in encoded.items()}
