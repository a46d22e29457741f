"""`mayfly images build` for a service: which client goes in, who said so, and what is held to afterwards.

`docker` is a program of the test's own that writes down what it was asked, as a build would come to it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import copies
from tests.fakes.azure import FakeAzure
from tests.fakes.github import FakeGitHub, Token
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.releases import FakeReleases

ID = f"sha256:{'1' * 64}"
DOCKER = f"""#!/bin/sh
case "$1" in
  buildx) exit 1 ;;
  image) echo "{ID} $(tr '\\0' '\\n' <"$ASKED" | sed -n 's/^io.mayfly.build=//p')"; exit ${{HAS_IT:-0}} ;;
esac
printf '%s\\0' "$@" >"$ASKED"
exit ${{ENDS_WITH:-0}}
"""


class Host:
    """A host with a configuration, a state directory and that `docker`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / "state"
        self.asked = home / "asked"
        self.pools = ""
        program = home / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(DOCKER)
        program.chmod(0o755)
        (home / "token").write_text("")

    def pool(self, provider: str, token: str, more: str = "", **keys: str) -> None:
        file = self.home / f"{provider}-token"
        file.write_text(token)
        file.chmod(0o600)
        lines = [f'{key} = "{value}"' for key, value in keys.items()]
        self.pools += "\n".join(
            [
                f'[[pool]]\nname = "{provider}"\nprovider = "{provider}"\nplain_http = true',
                more,
                f'[pool.{provider}]\ntoken = {{ file = "{file}" }}',
                *lines,
                "",
            ]
        )

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        config = self.home / "config.toml"
        config.write_text(f'[host]\nname = "box"\nstate_dir = "{self.state}"\n{self.pools}')
        path = f"{self.home / 'bin'}:{os.environ['PATH']}"
        self.asked.unlink(missing_ok=True)
        around = {"PATH": path, "ASKED": str(self.asked), **environment}
        return copies.command("--config", config, "images", *words, environment=around)

    def given(self, option: str) -> dict[str, str]:
        """The build's arguments, or its labels."""
        words = self.asked.read_text().split("\0")
        pairs = (words[at + 1] for at, word in enumerate(words) if word == option)
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def builds(self) -> list[dict[str, Any]]:
        found = json.loads((self.state / "builds.json").read_text())["builds"]
        assert isinstance(found, list)
        return found

    @property
    def records(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "clients.json").read_text())
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def github(host: Host) -> Iterator[FakeGitHub]:
    with FakeGitHub() as service:
        service.tokens["ghp_good"] = Token()
        host.pool("github", "ghp_good", url=f"{service.url}/acme")
        yield service


def test_a_build_needs_no_argument(host: Host, github: FakeGitHub) -> None:
    done = host.run("build", "12.8", "--provider", "github")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mayfly/github:cuda12.8\n"
    arguments = host.given("--build-arg")
    assert arguments["RUNNER_VERSION"] == github.hands_out
    assert arguments["RUNNER_SHA256"] == "a" * 64
    assert arguments["RUNNER_URL"].startswith(github.url)
    labels = host.given("--label")
    assert labels["io.mayfly.client.sha256"] == "a" * 64
    assert json.loads(labels["io.mayfly.build"]) == {
        "name": "12.8",
        "provider": "github",
        "tag": "mayfly/github:cuda12.8",
    }
    assert f"GitHub's runner {github.hands_out}, checksum aaaaaaaaaaaa… as told by" in done.stderr
    (pin,) = host.records["pins"].values()
    assert pin["sha256"] == "a" * 64
    assert (host.state / "clients.json").stat().st_mode & 0o077 == 0


def test_another_checksum_for_the_same_version_builds_nothing(
    host: Host, github: FakeGitHub
) -> None:
    assert host.run("build", "cpu", "--provider", "github").returncode == 0
    github.checksum = "c" * 64
    again = host.run("build", "cpu", "--provider", "github")
    assert again.returncode == 1
    assert not host.asked.exists()
    assert "tells another checksum" in again.stderr
    assert str(host.state / "clients.json") in again.stderr
    github.hands_out = "2.999.0"
    assert host.run("build", "cpu", "--provider", "github").returncode == 0


def test_a_version_and_a_checksum_that_a_person_gives_ask_nobody(
    host: Host, github: FakeGitHub
) -> None:
    words = ("--build-arg", "RUNNER_VERSION=2.1.0", "--build-arg", f"RUNNER_SHA256={'d' * 64}")
    assert host.run("build", "cpu", "--provider", "github", *words).returncode == 0
    assert not github.calls
    assert host.given("--build-arg")["RUNNER_VERSION"] == "2.1.0"
    assert "arguments" not in json.loads(host.given("--label")["io.mayfly.build"])


def test_further_arguments_are_kept_for_the_next_build(host: Host, github: FakeGitHub) -> None:
    words = ("--build-arg", "PACKAGES=git python3", "--flavour", "base", "--uid", "1234")
    assert host.run("build", "12.8", "--provider", "github", *words).returncode == 0
    assert json.loads(host.given("--label")["io.mayfly.build"]) == {
        "name": "12.8",
        "provider": "github",
        "tag": "mayfly/github:cuda12.8",
        "flavour": "base",
        "uid": 1234,
        "arguments": {"PACKAGES": "git python3"},
    }


def test_what_was_built_is_kept_by_the_image_s_id_for_root_alone(
    host: Host, github: FakeGitHub
) -> None:
    words = ("--build-arg", "PACKAGES=git", "--base", "lab/base:1", "--tag", "lab/agent:1")
    assert host.run("build", "cpu", "--provider", "github", *words).returncode == 0
    plan = {
        "name": "cpu",
        "provider": "github",
        "tag": "lab/agent:1",
        "base": "lab/base:1",
        "arguments": {"PACKAGES": "git"},
    }
    assert host.builds == [{"image": ID, "plan": plan}]
    assert (host.state / "builds.json").stat().st_mode & 0o077 == 0


def test_an_argument_of_a_builder_s_own_is_built_with_and_not_kept(
    host: Host, github: FakeGitHub
) -> None:
    """It names a program that the builder fetches and runs."""
    words = ("--build-arg", "BUILDKIT_SYNTAX=lab/frontend", "--build-arg", "UV=")
    assert host.run("build", "cpu", "--provider", "github", *words).returncode == 0
    assert host.given("--build-arg")["BUILDKIT_SYNTAX"] == "lab/frontend"
    assert host.builds[0]["plan"]["arguments"] == {"UV": ""}


def test_an_image_that_the_engine_does_not_have_afterwards_is_told(
    host: Host, github: FakeGitHub
) -> None:
    done = host.run("build", "cpu", "--provider", "github", HAS_IT="1")
    assert done.returncode == 0
    assert "`mayfly images refresh` will not build mayfly/github:cpu again" in done.stderr
    assert not (host.state / "builds.json").exists()


def test_a_proxy_that_a_person_gives_stays_out_of_the_image(host: Host, github: FakeGitHub) -> None:
    given = "HTTPS_PROXY=http://alice:hunter22@proxy.lab:3128"
    words = ("--build-arg", given, "--build-arg", "PACKAGES=git")
    assert host.run("build", "cpu", "--provider", "github", *words).returncode == 0
    assert host.given("--build-arg")["HTTPS_PROXY"] == given.partition("=")[2]
    labels = host.given("--label")
    assert json.loads(labels["io.mayfly.build"])["arguments"] == {"PACKAGES": "git"}
    assert "hunter22" not in "".join(labels.values())


def test_without_a_pool_it_says_what_comes_first(host: Host) -> None:
    host.pools = '[[pool]]\nname = "own"\n'
    done = host.run("build", "cpu", "--provider", "azure")
    assert done.returncode == 2
    assert "First `mayfly init`" in done.stderr
    assert "AGENT_VERSION" in done.stderr


def test_a_service_that_does_not_say_is_told_with_the_way_around(
    host: Host, github: FakeGitHub
) -> None:
    github.tokens.clear()
    done = host.run("build", "cpu", "--provider", "github")
    assert done.returncode == 1
    assert "the token is wrong or has expired" in done.stderr
    assert "--build-arg RUNNER_VERSION=… --build-arg RUNNER_SHA256=…" in done.stderr


def test_azure_and_gitlab_are_asked_as_well(host: Host) -> None:
    with FakeAzure() as azure, FakeGitLab() as gitlab, FakeReleases() as maker:
        host.pool("azure", "pat-good", url=azure.organisation, agent_pool="gpu")
        token = gitlab.person("create_runner", "manage_runner", "read_api")
        host.pool("gitlab", token, url=f"{gitlab.url}/ourlab", releases=maker.url)
        maker.publish_gitlab("19.3.0", amd64="e" * 64, arm64="e" * 64)
        assert host.run("build", "cpu", "--provider", "azure").returncode == 0
        assert host.given("--build-arg")["AGENT_SHA256"] == "b" * 64
        assert host.run("build", "cpu", "--provider", "gitlab").returncode == 0
        arguments = host.given("--build-arg")
        assert arguments["RUNNER_SHA256"] == "e" * 64
        assert arguments["RUNNER_URL"].startswith(f"{maker.url}/v19.3.0/binaries/")


def test_a_build_goes_through_the_pool_s_proxy(host: Host, github: FakeGitHub) -> None:
    host.pools = ""
    host.pool(
        "github",
        "ghp_good",
        'proxy = "http://proxy.lab:3128"\nno_proxy = "127.0.0.1,.lab"',
        url=f"{github.url}/acme",
    )
    assert host.run("build", "cpu", "--provider", "github").returncode == 0
    arguments = host.given("--build-arg")
    assert arguments["https_proxy"] == arguments["HTTP_PROXY"] == "http://proxy.lab:3128"
    assert arguments["no_proxy"] == "127.0.0.1,.lab"
    assert "proxy" not in host.given("--label")["io.mayfly.build"]


def test_docker_goes_in_where_a_pool_s_jobs_have_containers_and_nobody_said_otherwise(
    host: Host, github: FakeGitHub
) -> None:
    assert host.run("build", "cpu", "--provider", "github").returncode == 0
    assert "DOCKER" not in host.given("--build-arg")
    host.pools = ""
    host.pool("github", "ghp_good", "containers = true", url=f"{github.url}/acme")
    assert host.run("build", "cpu", "--provider", "github").returncode == 0
    assert host.given("--build-arg")["DOCKER"] == "yes"
    assert "arguments" not in json.loads(host.given("--label")["io.mayfly.build"])
    assert host.run("build", "cpu", "--provider", "local").returncode == 0
    assert "DOCKER" not in host.given("--build-arg")
    words = ("build", "cpu", "--provider", "github", "--build-arg", "DOCKER=")
    assert host.run(*words).returncode == 0
    assert host.given("--build-arg")["DOCKER"] == ""


NEVER = (
    f'{{"schema": 1, "offers": {{}}, "pins": {{}}, "refusals": {{"gpu": {{"2.0": 1{"0" * 400}}}}}}}'
)


@pytest.mark.parametrize("text", ["{", "[]", NEVER], ids=["cut", "another", "no number"])
def test_a_damaged_record_is_told_and_not_replaced(
    host: Host, github: FakeGitHub, text: str
) -> None:
    host.state.mkdir()
    (host.state / "clients.json").write_text(text)
    done = host.run("build", "cpu", "--provider", "github")
    assert "is damaged" in done.stderr
    assert (host.state / "clients.json").read_text() == text
