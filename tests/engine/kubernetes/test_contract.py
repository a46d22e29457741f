"""Kubernetes keeps the contract, on a cluster that speaks an API server's protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.protocol import Engine
from tests.engine.contract import IMAGE, EngineContract, World
from tests.fakes.kubernetes import FakeCluster


class TestKubernetes(EngineContract):
    @pytest.fixture
    def engine(
        self, fake: FakeCluster, engine_of: Callable[[FakeCluster], KubernetesEngine]
    ) -> Engine:
        return engine_of(fake)

    @pytest.fixture
    def claiming(self) -> str:
        """Any: what an image says reaches no pod's annotations."""
        return IMAGE

    @pytest.fixture
    def prints(self) -> Callable[[World, AgentPlan], None]:
        """Nothing: the job itself does."""
        return lambda world, plan: None
