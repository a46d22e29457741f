"""An agent whose job may have containers of its own: how the job finds its door."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agents.container import Agent

DOOR = Path(__file__).parents[2] / "agents/door"
INSIDE = "/run/mayfly-docker"
NO_GATEWAY = "so this job can have no containers"


def _sourced(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = ["/bin/sh", "-c", f". '{DOOR}'; {script}"]
    return subprocess.run(words, env=variables, capture_output=True, check=True, text=True)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Path]:
    """A directory with a socket that somebody listens on."""
    folder = tmp_path / "door"
    folder.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "docker.sock"))
        (folder / "docker.sock").chmod(0o666)
        listener.listen()
        yield folder


def test_a_socket_that_is_there_is_not_waited_for(door: Path) -> None:
    wait = '_stop=; _door="$AT"; sleep() { echo slept; }; await_door'
    said = _sourced(wait, AT=str(door / "docker.sock"))
    assert said.stdout == said.stderr == ""


def test_one_that_does_not_come_is_told_once_and_the_job_goes_on(tmp_path: Path) -> None:
    wait = '_stop=; _door="$AT"; sleep() { printf s; }; await_door; echo on'
    said = _sourced(wait, AT=str(tmp_path / "docker.sock"))
    assert said.stdout == "s" * 100 + "on\n"
    assert said.stderr.count(NO_GATEWAY) == 1


def test_a_signal_ends_the_waiting_without_a_word(tmp_path: Path) -> None:
    wait = '_stop=TERM; _door="$AT"; sleep() { echo slept; }; await_door; echo on'
    said = _sourced(wait, AT=str(tmp_path / "docker.sock"))
    assert (said.stdout, said.stderr) == ("on\n", "")


@pytest.mark.parametrize(
    ("pools", "found"),
    [
        ({}, f"unix://{INSIDE}/docker.sock 0 localhost docker_host true"),
        (
            {"MAYFLY_ENV_DOCKER_HOST": "tcp://10.0.0.1:1"},
            "tcp://10.0.0.1:1 0 localhost docker_host true",
        ),
        (
            {"MAYFLY_ENV_DOCKER_BUILDKIT": "1", "MAYFLY_ENV_TESTCONTAINERS_RYUK_DISABLED": "false"},
            f"unix://{INSIDE}/docker.sock 1 localhost docker_host false",
        ),
    ],
)
def test_what_the_pool_says_goes_before(pools: dict[str, str], found: str) -> None:
    tell = (
        'door_environment; echo "$DOCKER_HOST $DOCKER_BUILDKIT '
        "$TESTCONTAINERS_HOST_OVERRIDE $TESTCONTAINERS_CONNECTION_MODE "
        '$TESTCONTAINERS_RYUK_DISABLED"'
    )
    assert _sourced(tell, **pools).stdout == found + "\n"


@pytest.mark.engine
def test_a_job_finds_it_where_clients_look_and_works_in_a_volume_of_its_own(
    door: Path, start: Callable[..., Agent], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    tell = (
        "pwd; touch here; stat -c %u . here; readlink -f /var/run/docker.sock /run/docker.sock;"
        'echo "$DOCKER_HOST"; test -w "${DOCKER_HOST#unix://}" && echo open'
    )
    at_gate = start(binds=[f"{door}:{INSIDE}:ro", f"{tmp_path}/work:/workspace"])
    assert at_gate.root("/usr/bin/env").count("DOCKER_") == 0
    assert at_gate.run("sh", "-c", tell).splitlines() == [
        "/workspace",
        "1000",
        "1000",
        f"{INSIDE}/docker.sock",
        f"{INSIDE}/docker.sock",
        f"unix://{INSIDE}/docker.sock",
        "open",
    ]
    assert NO_GATEWAY not in at_gate.errors()


@pytest.mark.engine
def test_an_agent_without_one_is_as_it_was(at_gate: Agent) -> None:
    tell = 'pwd; ls /run/docker.sock 2>/dev/null || echo none; echo "${DOCKER_HOST:-unset}"'
    assert at_gate.run("sh", "-c", tell).splitlines() == ["/home/runner", "none", "unset"]
