"""The images, built: the local target, and a stand-in provider's on the same base, as one would be added.

On the host's Engine, since a build fetches packages; under tags of their own, which are removed.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import GATE_PROTOCOL, LABEL_GATE
from mayfly.engines.docker import builder
from tests.engine.agents import HOST_ENGINE
from tests.engine.private_engine import PrivateEngine

ROOT = Path(__file__).parents[2]
BASE = "debian:bookworm-slim"

STAGE = """
FROM agent AS standin
ARG CLIENT_VERSION
ARG CLIENT_SHA256
ARG CLIENT_URL
# hadolint ignore=DL3008
RUN apt-get update \\
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends curl \\
    && name="client-linux-x64-${CLIENT_VERSION}.tar.gz" \\
    && curl -fsSL -o /tmp/client.tar.gz "${CLIENT_URL}/v${CLIENT_VERSION}/$name" \\
    && echo "${CLIENT_SHA256}  /tmp/client.tar.gz" >/tmp/client.sum \\
    && sha256sum -c /tmp/client.sum \\
    && mkdir /opt/client \\
    && tar -xzf /tmp/client.tar.gz -C /opt/client --no-same-owner \\
    && rm -rf /tmp/client.tar.gz /tmp/client.sum /var/lib/apt/lists/*
LABEL io.mayfly.provider="standin" io.mayfly.client="${CLIENT_VERSION}"
ENTRYPOINT ["/opt/mayfly/gate", "standin"]
"""


def docker(*words: str, check: bool = True, cwd: Path | None = None) -> str:
    done = subprocess.run(
        ["docker", "-H", HOST_ENGINE, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture
def tag(request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"mayfly-test/{re.sub('[^a-z]+', '-', request.node.name.lower())[:40]}:{os.getpid()}"
    yield name
    docker("rmi", name, check=False)


def labels(tag: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .Config}}", tag))
    return found


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_the_local_target_is_built_from_what_the_package_carries(tag: str) -> None:
    code = builder.build(
        HOST_ENGINE,
        target="local",
        tag=tag,
        # What jobs find tests/pool/test_world.py looks at.
        arguments={"BASE": BASE, "UID": "1234", "PACKAGES": "", "UV": ""},
        labels={"io.mayfly.cuda": "12.8"},
    )
    assert code == 0
    config = labels(tag)
    assert config["Labels"][LABEL_GATE] == GATE_PROTOCOL
    assert config["Labels"]["io.mayfly.provider"] == "local"
    assert config["Labels"]["io.mayfly.cuda"] == "12.8"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    assert config["Entrypoint"] == ["/opt/mayfly/gate", "local"]
    shell = ("run", "--rm", "--network", "none", "--entrypoint", "sh", tag, "-c")
    script = "id -u runner; test -r /opt/mayfly/probe && echo probe; command -v git uv || echo bare"
    assert docker(*shell, script).split() == ["1234", "probe", "bare"]


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_a_build_that_fails_says_so_with_docker_s_exit_code(tag: str) -> None:
    code = builder.build(
        HOST_ENGINE, target="nonesuch", tag=tag, arguments={"BASE": BASE}, labels={}
    )
    assert code != 0


@pytest.mark.timeout(600)
def test_a_build_that_fails_leaves_no_container(engine: PrivateEngine, tag: str) -> None:
    before = set(engine.docker("ps", "-aq").split())
    # (Nothing is on it that could take the first step.)
    arguments = {"BASE": "scratch"}
    assert builder.build(engine.url, target="local", tag=tag, arguments=arguments, labels={}) != 0
    assert set(engine.docker("ps", "-aq").split()) <= before


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server with a client's archive, laid out as a service publishes it; its address and the checksum."""
    place = tmp_path / "v1.2.3" / "client-linux-x64-1.2.3.tar.gz"
    place.parent.mkdir()
    with tarfile.open(place, "w:gz") as made:
        for name, text in (("run.sh", "#!/bin/sh\necho client\n"), ("bin/Client", "client")):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(text)
            made.addfile(entry, io.BytesIO(text.encode()))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        checksum = hashlib.sha256(place.read_bytes()).hexdigest()
        yield f"http://127.0.0.1:{server.server_port}", checksum
        server.shutdown()


def build_standin(tag: str, url: str, checksum: str) -> str:
    with builder.context() as place:
        dockerfile = place / "dockerfiles" / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text() + STAGE)
        return docker(
            *("build", "--force-rm", "--network", "host", "--file", "dockerfiles/Dockerfile"),
            *("--target", "standin", "--tag", tag, "--build-arg", f"BASE={BASE}"),
            *("--build-arg", "WANTED=standin"),
            *("--build-arg", "CLIENT_VERSION=1.2.3", "--build-arg", f"CLIENT_URL={url}"),
            *("--build-arg", f"CLIENT_SHA256={checksum}", "."),
            cwd=place,
        )


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_a_provider_adds_one_stage_and_its_archive_is_checked(
    tag: str, archive: tuple[str, str]
) -> None:
    url, checksum = archive
    build_standin(tag, url, checksum)
    config = labels(tag)
    assert config["Labels"][LABEL_GATE] == GATE_PROTOCOL
    assert config["Labels"]["io.mayfly.client"] == "1.2.3"
    shell = ("run", "--rm", "--network", "none", "--entrypoint", "sh", tag, "-c")
    assert docker(*shell, "/opt/client/run.sh; stat -c %U /opt/client/run.sh") == "client\nroot"
    with pytest.raises(AssertionError, match="did NOT match"):
        build_standin(tag, url, "0" * 64)


def test_the_package_carries_what_a_build_needs() -> None:
    data = files("mayfly") / "data"
    assert (data / "dockerfiles" / "Dockerfile").is_file()
    assert (data / "dockerfiles" / "images.toml").is_file()
    assert (data / "agents" / "gate").is_file()


def test_the_dockerfile_asks_nothing_of_buildkit() -> None:
    text = (ROOT / "dockerfiles" / "Dockerfile").read_text()
    for word in ("--mount=", "<<", "--checksum", "# syntax"):
        assert word not in text, f"the classic builder does not know {word}"
