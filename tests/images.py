"""Images of the services' agents with a stub client, made from the real Dockerfile and a local archive.

    tag = stub_image("github")

The client's archive comes over HTTP from this process, as it comes from its maker otherwise. Nothing is built
where an image of the same inputs is there. `python -m tests.images` makes all of them.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fakes import azure_agent, github_runner, gitlab_runner

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Stub:
    """A service's stub client."""

    version: str
    archive: Callable[[], bytes]
    arguments: Mapping[str, str] = field(default_factory=dict)  # of the build, beside its own three


STUBS = {
    "azure": Stub(azure_agent.VERSION, azure_agent.archive),
    "github": Stub(github_runner.VERSION, github_runner.archive),
    "gitlab": Stub(gitlab_runner.version(), gitlab_runner.binary, {"PACKAGES": "python3"}),
}


def stub_tag(provider: str) -> str:
    """The name of the image."""
    return f"mayfly/{provider}:stub-{STUBS[provider].version}"


@functools.cache
def stub_image(provider: str) -> str:
    """The name of the image, which is there afterwards; who comes while it is being built waits."""
    return image_with(provider, STUBS[provider], stub_tag(provider))


def image_with(provider: str, client: Stub, tag: str) -> str:
    """The same, with that client, under that name."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / f"build/stub-{provider}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _build(provider, client, tag)
    return tag


def _build(provider: str, stub: Stub, tag: str) -> None:
    client = "AGENT" if provider == "azure" else "RUNNER"
    archive, arguments = stub.archive(), stub.arguments
    base = _said(str(ROOT / "scripts/base-image"))
    inputs = _digest(archive, base.encode(), repr(sorted(arguments.items())).encode())
    label = '{{index .Config.Labels "io.mayfly.inputs"}}'
    if _said("docker", "image", "inspect", "--format", label, tag, check=False) == inputs:
        return
    with served(archive) as url:
        given = {
            "BASE": base,
            "WANTED": provider,
            f"{client}_VERSION": stub.version,
            f"{client}_SHA256": hashlib.sha256(archive).hexdigest(),
            f"{client}_URL": url,
            "PACKAGES": "",
            **arguments,
        }
        words = ["docker", "build", "-q", "--network", "host", "-f", "dockerfiles/Dockerfile"]
        words += ["--target", provider, "--label", f"io.mayfly.inputs={inputs}", "-t", tag]
        for name, value in given.items():
            words += ["--build-arg", f"{name}={value}"]
        environment = {**os.environ, **({} if _has_buildx() else {"DOCKER_BUILDKIT": "0"})}
        done = subprocess.run(
            [*words, "."], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _digest(*parts: bytes) -> str:
    """A checksum over everything that an image is made from."""
    found = hashlib.sha256()
    files = [ROOT / "dockerfiles/Dockerfile", *sorted((ROOT / "agents").iterdir())]
    for content in (*parts, *(file.read_bytes() for file in files if file.is_file())):
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()[:16]


def _said(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=check)
    return done.stdout.strip()


def _has_buildx() -> bool:
    done = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def served(archive: bytes, address: str = "127.0.0.1") -> Iterator[str]:
    """Where a build fetches these bytes meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            self.wfile.write(archive)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silence."""

    server = ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_address[1]}/client.tar.gz"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    for one in STUBS:
        stub_image(one)
