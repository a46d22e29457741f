"""Programs that nobody here wrote, in an agent with a private authority: they trust it and the public roots.

As Debian has them: curl, git, Node, pip and Python with its own `ssl` and with requests. What takes no
authority from a variable (wget, which reads the system's file alone) is held to that: the page says so.
"""

from __future__ import annotations

import hashlib
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
    "git": "git ls-remote URL/repo",
    "node": """node -e 'require("https").get("URL", r => process.exit(0))
        .on("error", e => { console.log(e.code); process.exit(1) })'""",
    "pip": "pip download --disable-pip-version-check --retries 0 -i URL nothing",
    "python": "python3 -c 'import urllib.request as r; r.urlopen(\"URL\")'",
    "requests": "python3 -c 'import requests; requests.get(\"URL\")'",
    "wget": "wget -nv -t 1 -O /dev/null URL",
}
UNTRUSTED = "certificate|SELF_SIGNED|UNABLE_TO_|issuer"
ALONE = {"wget"}  # that trust the system's file, whatever a variable says


class Handler(BaseHTTPRequestHandler):
    """Answers 404 to everything but its root."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


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


def test_every_tool_trusts_the_pools_authority_beside_the_public_ones(
    start: Callable[..., Agent],
    worker_engine: PrivateEngine,
    image: str,
    public: tuple[Path, ssl.SSLContext],
    tmp_path: Path,
) -> None:
    private = authority.made(tmp_path / "ca.pem")
    with (
        https_server(worker_engine, private, Handler) as ours,
        https_server(worker_engine, public[1], Handler) as theirs,
    ):
        found = {}
        for case, binds in (
            ("with", {str(tmp_path / "ca.pem"): {"bind": "/etc/mayfly/ca.pem", "mode": "ro"}}),
            ("without", {}),
        ):
            script = "cd /tmp\n" + "".join(
                f"said=$(timeout 60 {look.replace('URL', f'https://127.0.0.1:{port}')} 2>&1); "
                f'if printf %s "$said" | grep -qE "{UNTRUSTED}"; then echo {name} {where} untrusted; '
                f"elif [ $? -eq 1 ]; then echo {name} {where} trusted; fi\n"
                for name, look in LOOKS.items()
                for where, port in (("ours", ours), ("theirs", theirs))
            )
            one = start(image=image, network_mode="host", binds=binds)
            one.take("bash", "-c", script)
            one.wait(900)
            for line in one.output().splitlines():
                name, where, told = line.split()
                found[case, name, where] = told
    for name in LOOKS:
        both = "untrusted" if name in ALONE else "trusted"
        assert found["with", name, "ours"] == both, name
        assert found["with", name, "theirs"] == "trusted", name
        assert found["without", name, "ours"] == "untrusted", name
        # (Node has roots of its own, as Debian builds it the system's.)
        assert found["without", name, "theirs"] == "trusted", name
