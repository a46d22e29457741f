"""Agents on the real Engine, for the tests of the gate and the launchers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest

from tests.agents.container import Agent, agent
from tests.engine.private_engine import PrivateEngine


@pytest.fixture(scope="session")
def engine(worker_engine: PrivateEngine) -> Iterator[docker.APIClient]:
    client = docker.APIClient(worker_engine.url, version="auto", timeout=60)
    yield client
    client.close()


@pytest.fixture
def start(
    engine: docker.APIClient, tmp_path: Path, until: Callable[..., object]
) -> Iterator[Callable[..., Agent]]:
    """`start(**host options)`: one more agent at its gate."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(agent(engine, tmp_path, until, **options))


@pytest.fixture
def at_gate(start: Callable[..., Agent]) -> Agent:
    """An agent with a default pool's options, waiting at its gate."""
    return start()
