"""An engine on a fake cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.edge.cluster import Cluster
from mayfly.engines.kubernetes.engine import KubernetesEngine
from tests.fakes.kubernetes import NAMESPACE, FakeCluster


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with FakeCluster() as one:
        yield one


@pytest.fixture
def engine_of(tmp_path: Path) -> Callable[[FakeCluster], KubernetesEngine]:
    """What makes an engine on that cluster."""

    def made(fake: FakeCluster) -> KubernetesEngine:
        file = tmp_path / "kubeconfig"
        file.write_text(fake.kubeconfig())
        file.chmod(0o600)
        return KubernetesEngine(
            Cluster(namespace=NAMESPACE, kubeconfig=str(file), start_seconds=5.0), timeout=5
        )

    return made
