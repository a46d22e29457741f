"""Kubernetes keeps the engines' contract, on a real cluster and with no more rights than a manager has."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.edge.cluster import Cluster as Settings
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.protocol import Engine
from tests.engine.contract import CLAIMS, EngineContract, World
from tests.engine.leading import LINES, goes_its_own_way
from tests.real.kubernetes.cluster import IMAGES, Cluster
from tests.real.kubernetes.namespace import Namespace
from tests.real.kubernetes.rights import rules
from tests.waiting import Until

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(300)]

CLAIMING = "image/that-claims:much"
LEADING = "image/that-leads:elsewhere"


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

    def test_nothing_of_roots_goes_by_what_an_image_says(
        self, world: World, until: Until, leading_image: str
    ) -> None:
        """What a job has left where an image has programs searched for runs as no other."""
        container = world.started(replace(world.plan(), image=leading_image), until)
        goes_its_own_way(world.engine, container)


@pytest.fixture(scope="module")
def claiming_image(cluster: Cluster) -> Iterator[str]:
    """An agent image with each label of ours."""
    labels = "".join(f"LABEL {name}={value}\n" for name, value in CLAIMS.items())
    yield from loaded(cluster, CLAIMING, labels)


@pytest.fixture(scope="module")
def leading_image(cluster: Cluster) -> Iterator[str]:
    """An agent image in which programs are searched for where anybody may write."""
    yield from loaded(cluster, LEADING, LINES)


def loaded(cluster: Cluster, name: str, lines: str) -> Iterator[str]:
    """An agent image with those lines more; this host's Engine has it while it is loaded."""
    subprocess.run(
        ["docker", "build", "-q", "-t", name, "-"],
        input=f"FROM {IMAGES[0]}\n{lines}",
        text=True,
        capture_output=True,
        check=True,
    )
    try:
        cluster.load(name)
    finally:
        subprocess.run(["docker", "rmi", name], capture_output=True, check=False)
    yield name
    cluster.ctr("images", "rm", f"docker.io/{name}")
