"""Programs that nobody here wrote, in an agent with a private authority: they trust it and the public roots.

As Debian has them: curl, git, Node, pip and Python with its own `ssl` and with requests. That a tool trusts a
server is seen by its request there, that it does not by its own words: a tool that is missing, or cannot
connect, is neither. What takes no authority from a variable (wget, which reads the system's file alone) is
held to that: the page says so.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import docker
import pytest

from tests.agents.container import Agent, agent
from tests.engine.https_server import https_server
from tests.engine.private_engine import PrivateEngine
from tests.fakes import authority
from tests.images import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
TOOLS = "curl git nodejs python3 python3-pip python3-requests python3-venv wget"
LOOKS = {
    "curl": "curl -sS -o /dev/null URL",
    "git": "git ls-remote URL",
    "node": """node -e 'require("https").get("URL", r => process.exit(0))
        .on("error", e => { console.log(e.code); process.exit(1) })'""",
    "pip": "pip download --disable-pip-version-check --retries 0 -i URL nothing",
    "python": "python3 -c 'import urllib.request as r; r.urlopen(\"URL\")'",
    "requests": "python3 -c 'import requests; requests.get(\"URL\")'",
    "wget": "wget -nv -t 1 -O /dev/null URL",
}
# The words of each for a certificate of an authority that it does not know.
UNTRUSTED = re.compile("certificate|SELF_SIGNED|UNABLE_TO_|issuer", re.IGNORECASE)
ALONE = {"wget"}  # that trust the system's file, whatever a variable says


class Server:
    """One that remembers what it was asked for: a request that arrives has come through TLS."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Silence."""

        self.handler = Handler


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A root that the image trusts, as it does the public ones."""
    certificate = tmp_path_factory.mktemp("public") / "public.crt"
    return certificate, authority.made(certificate)


@pytest.fixture(scope="module")
def image(worker_engine: PrivateEngine, public: tuple[Path, ssl.SSLContext]) -> str:
    """Mayfly's own image with the tools, and that root beside the others."""
    tools = f"mayfly-test/tools:{hashlib.sha256(TOOLS.encode()).hexdigest()[:12]}"
    words = ("docker", "build", "-q", "--network", "host")
    if subprocess.run(
        ("docker", "image", "inspect", tools), capture_output=True, check=False
    ).returncode:
        text = (
            f"FROM mayfly/local:cpu\nRUN apt-get update && apt-get install -y "
            f"--no-install-recommends {TOOLS}\n"
        )
        subprocess.run((*words, "-t", tools, "-"), input=text, text=True, check=True, cwd=ROOT)
    home = public[0].parent
    (home / "Dockerfile").write_text(
        f"FROM {tools}\nCOPY public.crt /usr/local/share/ca-certificates/\nRUN update-ca-certificates\n"
    )
    tag = f"{tools}-rooted"
    subprocess.run((*words, "-t", tag, str(home)), check=True)
    worker_engine.fetch(tag)
    return tag


@pytest.fixture
def start(
    worker_engine: PrivateEngine, tmp_path: Path, until: Callable[..., object]
) -> Iterator[Callable[..., Agent]]:
    client = docker.APIClient(worker_engine.url, version="auto", timeout=900)
    with ExitStack() as stack:
        stack.callback(client.close)
        yield lambda **options: stack.enter_context(agent(client, tmp_path, until, **options))


def verdict(server: Server, path: str, said: str) -> str:
    """What a tool thinks of a server, by what arrived there and, of nothing, by its own words."""
    if any(one.startswith(path) for one in server.asked):
        return "trusted"
    return "untrusted" if UNTRUSTED.search(said) else f"neither asked nor refused: {said!r}"


def test_every_tool_trusts_the_pools_authority_beside_the_public_ones_and_nobody_elses(
    start: Callable[..., Agent],
    worker_engine: PrivateEngine,
    image: str,
    public: tuple[Path, ssl.SSLContext],
    tmp_path: Path,
) -> None:
    contexts = {
        "ours": authority.made(tmp_path / "ca.pem"),
        "theirs": public[1],
        "a stranger's": authority.made(tmp_path / "stranger.pem"),
    }
    servers = {whose: Server() for whose in contexts}
    found = {}
    with ExitStack() as stack:
        ports = {
            whose: stack.enter_context(https_server(worker_engine, context, servers[whose].handler))
            for whose, context in contexts.items()
        }
        mine = {str(tmp_path / "ca.pem"): {"bind": "/etc/mayfly/ca.pem", "mode": "ro"}}
        for case, binds in (("with", mine), ("without", {})):
            asked = [(name, whose, port) for name in LOOKS for whose, port in ports.items()]
            script = "cd /tmp\n" + "".join(
                f"said=$(timeout 60 {LOOKS[name].replace('URL', f'https://127.0.0.1:{port}/{case}/{name}')} "
                f"2>&1 | tr '\\n' ' ')\nprintf '%s\\n' \"$said\"\n"
                for name, _, port in asked
            )
            one = start(image=image, network_mode="host", binds=binds)
            one.take("bash", "-c", script)
            one.wait(900)
            lines = one.output().splitlines()
            assert len(lines) == len(asked), lines
            for (name, whose, _), said in zip(asked, lines, strict=True):
                found[case, name, whose] = verdict(servers[whose], f"/{case}/{name}", said)
    wanted = {
        (case, name, whose): "trusted"
        if whose == "theirs" or (case == "with" and whose == "ours" and name not in ALONE)
        else "untrusted"
        for case, name, whose in found
    }
    assert found == wanted
