"""Which client each service, or its maker, says that goes into images, and by which checksum."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.client_release import ClientRelease
from mayfly.edge.catalogue import client
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.published import WayOut, checksum
from mayfly.providers import ClientRefusing, ClientSource
from mayfly.providers.installed import load, packages
from tests.fakes.azure import FakeAzure
from tests.fakes.gitea import FakeGitea
from tests.fakes.github import FakeGitHub, Token
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.http import Fault
from tests.fakes.releases import FakeReleases
from tests.providers.contract import HOST, HOST_ID, pool, secret_file

pytestmark = [
    pytest.mark.seen("github", "updates", with_="fake"),
    pytest.mark.seen("azure", "updates", with_="fake"),
]

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def maker() -> Iterator[FakeReleases]:
    with FakeReleases() as place:
        yield place


def source(home: Path, provider: str, token: str, **keys: object) -> ClientSource:
    spec = pool(provider=provider, token=secret_file(home, "token", token), **keys)
    found = load(spec, HOST, HOST_ID, home)
    assert isinstance(found, ClientSource)
    return found


def test_every_service_can_be_asked() -> None:
    assert {name for name, one in packages().items() if one.client is not None} == {
        "azure",
        "gitea",
        "github",
        "gitlab",
    }


class TestGitHub:
    @pytest.fixture
    def fake(self) -> Iterator[FakeGitHub]:
        with FakeGitHub() as service:
            service.tokens["ghp_good"] = Token()
            yield service

    def at(self, fake: FakeGitHub, home: Path) -> ClientSource:
        return source(home, "github", "ghp_good", url=f"{fake.url}/acme")

    def test_its_place_hands_out_one_with_its_checksum(
        self, fake: FakeGitHub, tmp_path: Path
    ) -> None:
        fake.hands_out = "2.340.1"
        found = self.at(fake, tmp_path).client_release("arm64")
        assert (found.version, found.sha256) == ("2.340.1", "a" * 64)
        assert found.url == f"{fake.url}/actions-runner-linux-arm64-2.340.1.tar.gz"

    def test_of_another_version_it_tells_no_checksum(
        self, fake: FakeGitHub, tmp_path: Path
    ) -> None:
        there = self.at(fake, tmp_path)
        assert there.client_release("amd64", fake.hands_out).version == fake.hands_out
        with pytest.raises(Refused, match="tells the checksum of no other"):
            there.client_release("amd64", "2.1.0")

    @pytest.mark.parametrize("told", [None, "", "sha256:nothing", "a" * 63])
    def test_without_a_checksum_it_says_where_one_stands(
        self, fake: FakeGitHub, tmp_path: Path, told: str | None
    ) -> None:
        fake.checksum = told
        with pytest.raises(Refused, match="RUNNER_SHA256, which stands in the release's notes"):
            self.at(fake, tmp_path).client_release("amd64")

    def test_an_enterprise_is_told_until_when_a_runner_is_good(
        self, fake: FakeGitHub, tmp_path: Path
    ) -> None:
        fake.deprecated = {"2.330.0": "2026-12-01T00:00:00Z", "2.331.0": "soon"}
        url = f"{fake.url}/enterprises/works"
        works = source(tmp_path, "github", "ghp_good", url=url)
        acme = self.at(fake, tmp_path)
        assert isinstance(works, ClientRefusing)
        assert isinstance(acme, ClientRefusing)
        assert works.client_refused("2.330.0") == 1796083200.0
        assert works.client_refused("2.331.0") is None
        assert works.client_refused("2.332.0") is None
        assert acme.client_refused("2.330.0") is None

    def test_another_architecture_is_not_there(self, fake: FakeGitHub, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="no runner for Linux on riscv64"):
            self.at(fake, tmp_path).client_release("riscv64")


class TestAzure:
    @pytest.fixture
    def fake(self) -> Iterator[FakeAzure]:
        with FakeAzure() as service:
            yield service

    def at(self, fake: FakeAzure, home: Path) -> ClientSource:
        return source(home, "azure", "pat-good", url=fake.organisation, agent_pool="gpu")

    def test_it_offers_one_with_its_hash(self, fake: FakeAzure, tmp_path: Path) -> None:
        fake.newest = "4.300.2"
        found = self.at(fake, tmp_path).client_release("amd64")
        assert (found.version, found.sha256) == ("4.300.2", "b" * 64)
        assert found.url == f"{fake.url}/vsts-agent-linux-x64-4.300.2.tar.gz"

    def test_a_version_is_asked_for_by_name(self, fake: FakeAzure, tmp_path: Path) -> None:
        there = self.at(fake, tmp_path)
        assert there.client_release("arm64", fake.newest).version == fake.newest
        with pytest.raises(Refused, match=r"offers no agent 4\.1\.0 for Linux on arm64"):
            there.client_release("arm64", "4.1.0")

    def test_without_a_hash_it_says_where_one_stands(self, fake: FakeAzure, tmp_path: Path) -> None:
        fake.checksum = None
        with pytest.raises(Refused, match="AGENT_SHA256, which stands in the release's notes"):
            self.at(fake, tmp_path).client_release("amd64")


class TestGitLab:
    @pytest.fixture
    def fake(self) -> Iterator[FakeGitLab]:
        with FakeGitLab() as service:
            yield service

    def at(
        self, fake: FakeGitLab, home: Path, maker: FakeReleases, token: str | None = None
    ) -> ClientSource:
        token = token or fake.person("create_runner", "manage_runner", "read_api")
        return source(
            home, "gitlab", token, url=f"{fake.url}/ourlab", releases=f"{maker.url}/mirror"
        )

    def publish(self, maker: FakeReleases, version: str, **checksums: str) -> None:
        maker.publish_gitlab(version, **checksums)
        maker.files = {
            path if path.startswith("mirror/") else f"mirror/{path}": content
            for path, content in maker.files.items()
        }

    def test_it_is_the_runner_of_the_server_s_release(
        self, fake: FakeGitLab, maker: FakeReleases, tmp_path: Path
    ) -> None:
        fake.version = "19.6.2-ee"
        self.publish(maker, "19.6.0", amd64=ONE, arm64=TWO)
        found = self.at(fake, tmp_path, maker).client_release("arm64")
        place = f"{maker.url}/mirror/v19.6.0/binaries/gitlab-runner-linux-arm64"
        assert found == ClientRelease("19.6.0", TWO, place, f"127.0.0.1:{maker.port}")

    @pytest.mark.parametrize("why", ["it may not ask", "a runner's token", "no such release"])
    def test_else_it_is_the_one_that_was_tried(
        self, fake: FakeGitLab, maker: FakeReleases, tmp_path: Path, why: str
    ) -> None:
        tried = client("gitlab").version
        assert tried is not None
        self.publish(maker, tried, amd64=ONE)
        fake.version = "19.9.0"
        token = {
            "it may not ask": fake.person("create_runner", "manage_runner"),
            "a runner's token": "glrt-something",
            "no such release": fake.person("api"),
        }[why]
        found = self.at(fake, tmp_path, maker, token).client_release("amd64")
        assert (found.version, found.sha256) == (tried, ONE)

    def test_a_version_that_is_not_there_is_refused(
        self, fake: FakeGitLab, maker: FakeReleases, tmp_path: Path
    ) -> None:
        with pytest.raises(Refused, match=r"no runner 1\.2\.3 for amd64 at .*mirror"):
            self.at(fake, tmp_path, maker).client_release("amd64", "1.2.3")


def test_gitea_s_is_the_one_that_was_tried_and_stands_beside_its_checksum(
    maker: FakeReleases, tmp_path: Path
) -> None:
    with FakeGitea() as fake:
        token = fake.person("write:organization")
        there = source(tmp_path, "gitea", token, url=f"{fake.url}/ourlab", releases=maker.url)
        maker.publish_gitea("1.0.8", "amd64", ONE)
        found = there.client_release("amd64")
        assert (found.version, found.sha256) == ("1.0.8", ONE)
        assert found.url == f"{maker.url}/1.0.8/gitea-runner-1.0.8-linux-amd64"
        with pytest.raises(Refused, match=r"no runner 1\.0\.8 for arm64"):
            there.client_release("arm64")


class TestList:
    """A list of checksums, as somebody's place has it."""

    def read(self, maker: FakeReleases, text: str, name: str = "client") -> str | None:
        maker.files["list"] = text.encode()
        return checksum(f"{maker.url}/list", name, WayOut())

    @pytest.mark.parametrize(
        "text",
        [
            f"{ONE}  client\n",
            f"{TWO} *deb/client.deb\n{ONE} *binaries/client\n",
            f"# a list\r\n{ONE.upper()}  ./client\r\n{TWO}  client2\r\n",
            f"{ONE}\n",
        ],
    )
    def test_the_file_s_own_line_is_read(self, maker: FakeReleases, text: str) -> None:
        assert self.read(maker, text) == ONE

    @pytest.mark.parametrize(
        "text", ["", "<html>sign in</html>", f"{ONE}  other\n", f"{ONE}\n{TWO}\n"]
    )
    def test_one_without_the_file_is_refused(self, maker: FakeReleases, text: str) -> None:
        with pytest.raises(Refused, match="has no checksum of client"):
            self.read(maker, text)

    def test_it_is_followed_to_where_it_is(self, maker: FakeReleases) -> None:
        maker.moved["old"] = "/list"
        maker.files["list"] = f"{ONE}  client".encode()
        assert checksum(f"{maker.url}/old", "client", WayOut()) == ONE
        maker.moved["list"] = "/old"
        with pytest.raises(Refused, match="leads on and on"):
            checksum(f"{maker.url}/old", "client", WayOut())
        maker.moved["old"] = "file:///etc/passwd"
        with pytest.raises(Refused, match="not followed"):
            checksum(f"{maker.url}/old", "client", WayOut())

    def test_a_place_that_does_not_answer_is_a_passing_fault(self, maker: FakeReleases) -> None:
        maker.fail("GET", "/list", Fault(status=500, times=1))
        with pytest.raises(Passing, match="answered 500"):
            self.read(maker, "")
        maker.fail("GET", "/list", Fault(status=407, times=1))
        with pytest.raises(Refused, match="wants a login"):
            self.read(maker, "")
        maker.fail("GET", "/list", Fault(lost="before", times=None))
        with pytest.raises(Passing, match="gave no answer"):
            self.read(maker, "")
