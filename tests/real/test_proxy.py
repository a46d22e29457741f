"""A real proxy on the way out, Debian's tinyproxy: jobs, what is posted, and the building of an image.

What went through it stands in its own log; what did not is in nobody's.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mayfly.edge import webhook
from mayfly.edge.faults import Fault
from tests import copies
from tests.engine.private_engine import PrivateEngine
from tests.fakes.http import Answer, Fake
from tests.harness import NETWORKED, Manager, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
BRIDGE = "172.17.0.1"  # the Engine's own bridge: every container reaches it
CONFIG = """
Port {port}
Listen {address}
Allow 0.0.0.0/0
MaxClients 50
Timeout 60
LogLevel Info
LogFile "{log}"
"""


@pytest.fixture(scope="module")
def program() -> str:
    """The proxy's."""
    found = subprocess.run(
        [ROOT / "scripts/tinyproxy"], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        pytest.skip(f"no tinyproxy: {found.stderr[-200:]}")
    return found.stdout.strip().splitlines()[-1]


@dataclass
class Proxy:
    """One that runs."""

    url: str
    log: Path

    def passed(self) -> str:
        """What it says of who asked for what."""
        return self.log.read_text()


@contextmanager
def tinyproxy(
    program: str, home: Path, address: str, more: str = "", enter: Sequence[str] = ()
) -> Iterator[Proxy]:
    """One at the address, in the network that ``enter`` leads to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = home / f"proxy-{port}.log"
    config = home / f"proxy-{port}.conf"
    config.write_text(CONFIG.format(port=port, address=address, log=log) + more)
    process = subprocess.Popen([*enter, program, "-d", "-c", str(config)])
    try:
        until(lambda: log.exists() and "Accepting" in log.read_text(), "the proxy listens")
        yield Proxy(f"http://{address}:{port}", log)
    finally:
        process.kill()
        process.wait()


@contextmanager
def server(home: Path, enter: Sequence[str]) -> Iterator[str]:
    """A web server of the box's network; its address."""
    log = (home / "server.log").open("wb")
    words = ["python3", "-u", "-m", "http.server", "--bind", BRIDGE, "8123"]
    process = subprocess.Popen([*enter, *words], cwd=home, stdout=log, stderr=log)
    try:
        until(lambda: "Serving" in (home / "server.log").read_text(), "the server listens")
        yield f"http://{BRIDGE}:8123"
    finally:
        process.kill()
        process.wait()
        log.close()


def test_a_job_goes_through_the_pool_s_proxy_and_past_it_where_no_proxy_says_so(
    engine: PrivateEngine, program: str, tmp_path: Path
) -> None:
    enter = engine.entering()
    (tmp_path / "here").write_text("found\n")
    with (
        tinyproxy(program, tmp_path, BRIDGE, enter=enter) as proxy,
        server(tmp_path, enter) as site,
    ):
        for no_proxy, counts in (("", 1), (f'no_proxy = "{BRIDGE}"\n', 0)):
            before = proxy.passed().count("GET http")
            with Manager(engine.url, f'{NETWORKED}proxy = "{proxy.url}"\n{no_proxy}') as manager:
                manager.start()
                job = manager.submit("curl", "-sSf", f"{site}/here")
                assert manager.ended(job)["exit_code"] == 0, manager.output(job)
                assert manager.output(job) == "found\n"
            assert proxy.passed().count("GET http") - before == counts, proxy.passed()


class Hook(Fake):
    """What a notice is posted to."""

    def __init__(self) -> None:
        super().__init__()
        self.route("POST", "/hook", lambda _: Answer(200, {}))


def posted(address: str) -> None:
    webhook.post(
        address, {"text": "x"}, "take a notice", key="webhook", whose="x", token=None, ca=None,
        timeout=20.0,
    )  # fmt: skip


def test_what_is_posted_goes_by_the_proxy_of_the_unit_also_with_a_login(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = "BasicAuth lab horse\n"
    with Hook() as hook, tinyproxy(program, tmp_path, "127.0.0.1", login) as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url.replace("//", "//lab:horse@"))
        posted(f"http://127.0.0.1:{hook.port}/hook")
        assert f"127.0.0.1:{hook.port}" in proxy.passed()
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        with pytest.raises(Fault, match="wants a login"):
            posted(f"https://127.0.0.1:{hook.port}/hook")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        before = proxy.passed()
        posted(f"http://127.0.0.1:{hook.port}/hook")
        assert proxy.passed() == before


def test_the_packages_of_an_image_come_through_the_pool_s_proxy(
    program: str, tmp_path: Path
) -> None:
    """On the Engine of this host, whose containers reach its bridge and, by the proxy, Debian."""
    config = tmp_path / "config.toml"
    with tinyproxy(program, tmp_path, BRIDGE) as proxy:
        config.write_text(f'{NETWORKED}proxy = "{proxy.url}"\n')
        tag = "mayfly-test/by-proxy"
        words = ["images", "build", "cpu", "--no-cache", "--tag", tag, "--config", str(config)]
        words += ["--build-arg", "UV="]  # the proxy of whoever runs this may look into TLS
        done = copies.run((*copies.MAYFLY, *words), os.environ, b"", timeout=1200)
        assert done.returncode == 0, (done.stdout, done.stderr)
        said = subprocess.run(
            ["docker", "image", "inspect", "--format", "{{.Config.Env}}", tag],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        subprocess.run(["docker", "rmi", tag], check=True, capture_output=True)
        assert "proxy" not in said.lower(), "an image keeps nothing of it"
        assert "/debian" in proxy.passed()
