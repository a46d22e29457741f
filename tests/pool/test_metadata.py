"""A cloud's metadata address that agents reach: the doctor says so, and what it says to type mends it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine, why_not
from tests.harness import NETWORKED, Manager, until

pytestmark = pytest.mark.engine

ADDRESS = "169.254.169.254"


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """An Engine whose network is the tests' to change, each of which leaves it as it was."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine() as started:
        yield started


@contextmanager
def answering(namespace: str, empty: Path) -> Iterator[None]:
    """An HTTP server at the address in that network namespace."""
    enter = ["nsenter", f"--net={namespace}"]
    server = subprocess.Popen(
        [*enter, "python3", "-m", "http.server", "80", "--bind", ADDRESS, "--directory", empty],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        listening = [*enter, "sh", "-c", f"ss -Hltn src {ADDRESS} | grep -q ."]
        until(lambda: subprocess.run(listening, check=False).returncode == 0, "it listens")
        yield
    finally:
        server.kill()
        server.wait()


@contextmanager
def on_the_host(engine: PrivateEngine, empty: Path) -> Iterator[None]:
    """As where a proxy on the host itself stands for the cloud."""
    engine.sh(f"ip address add {ADDRESS}/32 dev lo")
    try:
        with answering(engine.namespace, empty):
            yield
    finally:
        engine.sh(f"ip address del {ADDRESS}/32 dev lo")


@contextmanager
def beyond_the_host(engine: PrivateEngine, empty: Path) -> Iterator[None]:
    """As on a cloud: the address is another machine's, and the host passes packets on to it."""
    cloud = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE
    )
    try:
        assert cloud.stdout is not None
        cloud.stdout.readline()
        engine.sh(f"ip link add up0 type veth peer name down0 netns {cloud.pid}")
        engine.sh("ip address add 169.254.0.1/16 dev up0 && ip link set up0 up")
        there = f"/proc/{cloud.pid}/ns/net"
        words = f"ip address add {ADDRESS}/16 dev down0 && ip link set down0 up"
        subprocess.run(["nsenter", f"--net={there}", "sh", "-c", words], check=True)
        with answering(there, empty):
            yield
    finally:
        cloud.kill()
        cloud.wait()


def seen(manager: Manager) -> dict[str, Any]:
    """What the doctor says of the address."""
    checks = json.loads(manager.cli("doctor", "--json").stdout)["checks"]
    (row,) = [row for row in checks if row["code"] == "agent.metadata"]
    return dict(row)


@pytest.mark.parametrize("where", [on_the_host, beyond_the_host])
def test_an_address_that_agents_reach_is_told_and_what_is_to_be_typed_mends_it(
    engine: PrivateEngine, tmp_path: Path, where: Callable[..., Any]
) -> None:
    with ExitStack() as stack:
        stack.enter_context(where(engine, tmp_path))
        manager = stack.enter_context(Manager(engine.url, NETWORKED))
        manager.start()
        row = seen(manager)
        assert row["state"] == "warn"
        assert ADDRESS in row["text"]
        strict = manager.cli("doctor", "--strict")
        assert strict.returncode == 1
        assert f"    fix: {row['fix']}" in strict.stdout.splitlines()
        engine.sh(row["fix"].removeprefix("sudo "))
        stack.callback(engine.sh, row["fix"].removeprefix("sudo ").replace(" -I ", " -D "))
        assert seen(manager)["state"] == "ok"
        # The host itself still reaches it.
        engine.sh(f"python3 -c 'import socket; socket.create_connection((\"{ADDRESS}\", 80), 5)'")


def test_an_image_that_cannot_try_it_says_nothing_of_it(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    with on_the_host(engine, tmp_path), Manager(engine.url) as manager:
        made = engine.docker("create", "--entrypoint", "rm", "mayfly/local:cpu", "/usr/bin/timeout")
        engine.docker("start", "--attach", made)
        gate = 'ENTRYPOINT ["/opt/mayfly/gate", "local"]'
        engine.docker("commit", "--change", gate, "--change", "CMD []", made, "mayfly/local:bare")
        engine.docker("rm", "-f", made)
        manager.configure('[[pool]]\nname = "local"\nimage = "mayfly/local:bare"\n')
        manager.start()
        assert seen(manager)["state"] == "skip"
