"""Kubernetes keeps the engines' contract, on a real cluster and with no more rights than a manager has."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.edge.cluster import Cluster as Settings
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.protocol import Engine
from tests.engine.contract import CLAIMS, EngineContract, World
from tests.real.kubernetes.cluster import IMAGES, Cluster
from tests.real.kubernetes.namespace import Namespace
from tests.real.kubernetes.rights import rules

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(300)]

CLAIMING = "image/that-claims:much"


class TestKubernetes(EngineContract):
    @pytest.fixture
    def engine(self, space: Namespace, tmp_path: Path) -> Engine:
        kubeconfig = tmp_path / "kubeconfig"
        space.account("manager", rules(), kubeconfig)
        return KubernetesEngine(Settings(namespace=space.name, kubeconfig=str(kubeconfig)))

    @pytest.fixture
    def claiming(self, claiming_image: str) -> str:
        return claiming_image

    @pytest.fixture
    def prints(self) -> Callable[[World, AgentPlan], None]:
        """Nothing: the job itself does."""
        return lambda world, plan: None


@pytest.fixture(scope="module")
def claiming_image(cluster: Cluster) -> Iterator[str]:
    """An agent image with each label of ours; this host's Engine has it while it is loaded."""
    labels = "".join(f"LABEL {name}={value}\n" for name, value in CLAIMS.items())
    subprocess.run(
        ["docker", "build", "-q", "-t", CLAIMING, "-"],
        input=f"FROM {IMAGES[0]}\n{labels}",
        text=True,
        capture_output=True,
        check=True,
    )
    try:
        cluster.load(CLAIMING)
    finally:
        subprocess.run(["docker", "rmi", CLAIMING], capture_output=True, check=False)
    yield CLAIMING
    cluster.ctr("images", "rm", f"docker.io/{CLAIMING}")
