"""From `mayfly init` to the first job: the image that the new configuration names is built on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine, why_not
from tests.harness import Manager

pytestmark = [pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(300)]

IMAGE = "mayfly/local:cpu"


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """An Engine without an agent image. It fetches nothing, so its base has the packages already."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine(images=(IMAGE,)) as started:
        started.docker("tag", IMAGE, "debian:bookworm-slim")
        started.docker("rmi", IMAGE)
        yield started


def init(engine: PrivateEngine, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`mayfly init`, as on a host whose Engine this is."""
    return subprocess.run(
        [sys.executable, "-m", "mayfly.cli.app", "init", "--config", config, *words],
        env={**os.environ, "DOCKER_HOST": engine.url},
        capture_output=True,
        text=True,
        check=False,
    )


def images(engine: PrivateEngine) -> list[str]:
    """The agent images that are there."""
    return engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "mayfly/*").split()


def test_without_images_it_says_the_line_that_builds_them_and_with_them_a_job_runs(
    engine: PrivateEngine,
) -> None:
    with Manager(engine.url) as manager:
        manager.config.unlink()
        left = init(engine, manager.config, "--no-images", "--slots", "1")
        assert left.returncode == 0, left.stderr
        assert (
            f"still to be built:\n  mayfly --config {manager.config} images build cpu\n"
            in left.stderr
        )
        assert images(engine) == []
        built = init(engine, manager.config, "--force", "--slots", "1")
        assert built.returncode == 0, built.stderr
        assert built.stdout == f"{IMAGE}\n"
        last = built.stderr.splitlines()[-1]
        assert last.startswith(f"mayfly: next: mayfly --config {manager.config} doctor")
        assert images(engine) == [IMAGE]
        again = init(engine, manager.config, "--force", "--slots", "1")
        assert "building" not in again.stderr
        drop_in = manager.config.with_name("conf.d") / "own.toml"
        drop_in.parent.mkdir()
        drop_in.write_text(f'[host]\nstate_dir = "{manager.state}"\nsocket = "{manager.socket}"\n')
        manager.start()
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"


@pytest.mark.parametrize("provider", ["github", "azure"])
def test_an_image_with_a_service_s_client_is_not_built_where_nobody_looked_at_the_service(
    engine: PrivateEngine, tmp_path: Path, provider: str
) -> None:
    words = ("--provider", provider, "--agent-pool", "gpu", "--url", "https://example.org/lab")
    done = init(engine, tmp_path / "config.toml", "--unchecked", *words)
    assert done.returncode == 0, done.stderr
    assert f"images build cpu --provider {provider}" in done.stderr
    assert f"mayfly/{provider}:cpu" not in images(engine)


def test_a_build_that_fails_leaves_the_configuration_and_says_so(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    engine.docker("tag", "debian:bookworm-slim", "aside:1")
    engine.docker("rmi", "--force", "debian:bookworm-slim", check=False)
    engine.docker("rmi", IMAGE, check=False)
    try:
        done = init(engine, tmp_path / "config.toml")
        assert done.returncode == 1
        assert (tmp_path / "config.toml").exists()
        assert "mayfly/local:cpu was not built" in done.stderr.splitlines()[-1] + done.stderr
    finally:
        engine.docker("tag", "aside:1", "debian:bookworm-slim")
