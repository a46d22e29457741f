"""Docker Engine keeps the contract, on an Engine of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.engines.docker.engine import DockerEngine
from mayfly.engines.protocol import Engine
from tests.engine.contract import CLAIMS, IMAGE, EngineContract, World
from tests.engine.private_engine import PrivateEngine

pytestmark = pytest.mark.engine

CLAIMING = "image/that-claims:much"


@pytest.fixture(scope="module")
def living() -> Iterator[PrivateEngine]:
    with PrivateEngine(images=(IMAGE,)) as started:
        yield started


class TestDocker(EngineContract):
    @pytest.fixture
    def engine(self, living: PrivateEngine) -> Engine:
        return DockerEngine(living.url)

    @pytest.fixture
    def claiming(self, living: PrivateEngine) -> str:
        made = living.docker("create", IMAGE)
        labels = [
            word
            for claim in CLAIMS.items()
            for word in ("--change", f"LABEL {claim[0]}={claim[1]}")
        ]
        living.docker("commit", *labels, made, CLAIMING)
        living.docker("rm", made)
        return CLAIMING

    @pytest.fixture
    def prints(self) -> Callable[[World, AgentPlan], None]:
        """Nothing: the job itself does."""
        return lambda world, plan: None
