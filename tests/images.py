"""Images of the services' agents with a stub client, made from the real Dockerfile and a local archive.

    tag = stub_image("github", archive(), version="2.336.0")

The client's archive comes over HTTP from this process, as it comes from its maker otherwise. Nothing is built
where an image of the same inputs is there.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[1]


def stub_image(provider: str, archive: bytes, version: str, **arguments: str) -> str:
    """The image `mayfly/PROVIDER:stub-VERSION`; `arguments` go to the build beside the client's own three."""
    client = "AGENT" if provider == "azure" else "RUNNER"
    tag = f"mayfly/{provider}:stub-{version}"
    base = _said(str(ROOT / "scripts/base-image"))
    inputs = _digest(archive, base.encode(), repr(sorted(arguments.items())).encode())
    label = '{{index .Config.Labels "io.mayfly.inputs"}}'
    if _said("docker", "image", "inspect", "--format", label, tag, check=False) == inputs:
        return tag
    with _served(archive) as url:
        given = {
            "BASE": base,
            "WANTED": provider,
            f"{client}_VERSION": version,
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
    return tag


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
def _served(archive: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            self.wfile.write(archive)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/client.tar.gz"
    finally:
        server.shutdown()
        server.server_close()
