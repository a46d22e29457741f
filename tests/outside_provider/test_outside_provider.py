"""A provider that Mayfly does not know: found by its entry point, it keeps the contract and fills a pool."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.model import HostId, HostSpec
from mayfly.edge.config import ConfigError
from mayfly.edge.provider_keys import secrets_of
from mayfly.providers import Enrolment, Provider, configuration, installed
from tests.cli.conftest import COMMAND
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until
from tests.outside_provider.installing import SOURCE, install, on_the_path
from tests.outside_provider.service import AtQueue, ParcelQueue
from tests.providers.contract import HOST, HOST_ID, ProviderContract, secret_file
from tests.providers.outage import Client
from tests.terminal import ROOT, environment

IMAGE = "parcel/agent:cpu"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("parcel"))


@pytest.fixture
def fake() -> Iterator[ParcelQueue]:
    with ParcelQueue() as service:
        yield service


def pool(fake: ParcelQueue, home: Path, name: str = "gpu") -> str:
    token = secret_file(home, "token", "parcel-token")["file"]
    return (
        f'[[pool]]\nname = "{name}"\nprovider = "parcel"\nslots = 2\nnetwork = "host"\n'
        f'[pool.parcel]\nurl = "{fake.url}"\nqueue = "q"\ntoken = {{ file = "{token}" }}\n'
    )


class ParcelBench:
    """The parcel queue beside a provider that is installed and configured."""

    client = Client(100.0)
    knows_busy = True
    secrets = ("parcel-token",)

    def __init__(self, fake: ParcelQueue, home: Path) -> None:
        self.fake = fake
        self.home = home
        path = home / "config.toml"
        path.write_text('[host]\nname = "box"\n' + pool(fake, home))
        (self.pool,) = configuration.load(path, environ={}).config.pools

    def provider(self, host_id: HostId = HOST_ID, host: HostSpec = HOST) -> Provider:
        return installed.load(self.pool, host, host_id, self.home)

    def _agent(self, enrolment: Enrolment) -> AtQueue:
        found = self.fake.by_ticket(enrolment.files["ticket"].decode().strip())
        assert found is not None
        return found

    def online(self, enrolment: Enrolment) -> None:
        self._agent(enrolment).online = True

    def offline(self, enrolment: Enrolment) -> None:
        self._agent(enrolment).online = False

    def take_job(self, enrolment: Enrolment) -> None:
        self._agent(enrolment).parcel = self.fake.send("true").number

    def end_job(self, enrolment: Enrolment) -> None:
        del self.fake.agents[self._agent(enrolment).id]

    def lose_job(self, enrolment: Enrolment) -> None:
        self._agent(enrolment).parcel = None

    def enrolling(self) -> tuple[str, str]:
        return "POST", "/tickets"

    def listing(self) -> tuple[str, str]:
        return "GET", "/agents"

    def spoil_token(self) -> None:
        self.fake.token = "another"

    def registrations(self) -> list[AtQueue]:
        return list(self.fake.agents.values())

    def fresh(self) -> None:
        """Its lists are never old."""


def test_init_sets_a_pool_of_it_up_by_what_its_package_says(
    site: Path, fake: ParcelQueue, tmp_path: Path
) -> None:
    path = tmp_path / "etc" / "config.toml"

    def init(token: str, *words: str) -> subprocess.CompletedProcess[str]:
        typed = [
            "init",
            "--no-images",
            "--config",
            str(path),
            "--provider",
            "parcel",
            "--plain-http",
        ]
        return subprocess.run(
            [*COMMAND, *typed, "--url", fake.url, "--token-file", "-", *words],
            input=token,
            env=environment(PYTHONPATH=f"{ROOT}:{site}"),
            capture_output=True,
            text=True,
            check=False,
        )

    wrong = init("nonsense", "--agent-pool", "q")
    assert (wrong.returncode, path.exists()) == (1, False)
    assert "token is wrong" in wrong.stderr
    assert wrong.stderr.rstrip().endswith("nothing is written")
    bare = init("parcel-token")
    assert (bare.returncode, path.exists()) == (1, False)
    assert "queue: is missing; provider parcel needs it" in bare.stderr
    done = init("parcel-token", "--agent-pool", "q")
    assert done.returncode == 0, done.stderr
    with on_the_path(site):
        (made,) = configuration.load(path, environ={}).config.pools
        assert [*secrets_of(made.settings)] == [
            {"file": str(path.parent / "credentials" / "parcel-token")}
        ]


class TestParcel(ProviderContract):
    pages = False

    @pytest.fixture
    def bench(self, site: Path, fake: ParcelQueue, tmp_path: Path) -> Iterator[ParcelBench]:
        with on_the_path(site):
            yield ParcelBench(fake, tmp_path)


def test_it_is_there_where_it_is_installed_and_nowhere_else(
    site: Path, fake: ParcelQueue, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(pool(fake, tmp_path))
    assert "parcel" not in installed.packages()
    with pytest.raises(ConfigError, match="there is no provider 'parcel'"):
        configuration.load(path, environ={})
    with on_the_path(site):
        assert list(installed.packages()) == [
            "local",
            "azure",
            "gitea",
            "github",
            "gitlab",
            "parcel",
        ]
        (found,) = configuration.load(path, environ={}).config.pools
        assert not found.embedded
        assert list(secrets_of(found.settings)) == [{"file": str(tmp_path / "token")}]
        assert "ParcelTable" in configuration.schema()["$defs"]
        path.write_text(pool(fake, tmp_path).replace("queue =", "queu ="))
        with pytest.raises(ConfigError) as caught:
            configuration.load(path, environ={})
    assert '[[pool]] "gpu" . parcel queu: there is no such key; did you mean queue?' in str(
        caught.value
    )


class Beside(Manager):
    """A manager whose Python has the package."""

    site: Path

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.site), os.environ.get("PYTHONPATH", "")])
        return {**super().environment(), "PYTHONPATH": path}


@pytest.mark.engine
@pytest.mark.timeout(240)
def test_it_fills_a_pool_with_an_image_of_its_own(
    site: Path, engine: PrivateEngine, fake: ParcelQueue
) -> None:
    words = ["docker", "build", "-q", "-t", IMAGE, str(SOURCE / "mayfly_parcel")]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(words, env=environment, check=True, capture_output=True)
    engine.fetch(IMAGE)
    fake.start_on(engine.listen(fake.port))
    with Beside(engine.url) as manager:
        manager.site = site
        manager.configure(pool(fake, manager.home, "pq"))
        manager.start()
        parcels = [fake.send(command) for command in ("exit 0", "exit 3", "hostname", "true")]
        delivered = lambda: all(parcel.code is not None for parcel in parcels)  # noqa: E731
        until(delivered, "every parcel is delivered", 120)
        assert [parcel.code for parcel in parcels] == [0, 3, 0, 0]
        agents = {parcel.agent for parcel in parcels}
        assert len(agents) == len(parcels), "an agent takes one parcel"
        until(lambda: len(told(manager)) >= len(parcels), "their ends are told", 60)
        assert {row["outcome"] for row in told(manager)} == {"job_done"}
        assert {row["detail"] for row in told(manager)} == {"code 0", "code 3"}
        assert {row["provider"] for row in manager.json("status")["slots"]} == {"parcel"}


def told(manager: Manager) -> list[dict[str, str]]:
    """The agents that did a job."""
    rows = manager.get("/v1/history")["agents"]
    return [row for row in rows if row["outcome"] != "no_job"]
