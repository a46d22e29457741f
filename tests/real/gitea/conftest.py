"""The real Gitea of a module: one server, and a pool for each test."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.real.gitea.real_pool import GiteaPool, gitea_pool, image
from tests.real.gitea.real_server import GiteaServer, Parts, parts

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def built() -> Parts:
    """Gitea's server and runner, and the image with the runner."""
    found = parts()
    image(found)
    return found


@pytest.fixture(scope="module")
def server(built: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GiteaServer]:
    """One that gives up a job whose runner is silent after 20 s."""
    with GiteaServer(built, tmp_path_factory.mktemp("gitea"), zombie=20) as one:
        yield one


@pytest.fixture
def pool(
    engine: PrivateEngine, server: GiteaServer, request: pytest.FixtureRequest
) -> Iterator[GiteaPool]:
    """A repository of the test's own, and a manager that is not yet started."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    with gitea_pool(engine, server, f"{name}-{next(NUMBERS)}") as one:
        yield one
