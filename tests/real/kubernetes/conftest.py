"""The cluster of a session, and a namespace for each test."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.real.kubernetes.cluster import Cluster
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.lab_parts import lab_parts
from tests.real.kubernetes.namespace import Namespace


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One that all tests of this worker share: who hurts it heals it."""
    with Cluster(lab_parts()) as one:
        yield one


@pytest.fixture
def space(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    with cluster.namespace(name) as one:
        yield one


@pytest.fixture
def manager(space: Namespace) -> Iterator[ClusterManager]:
    """A manager of two slots without GPUs, which is not yet started."""
    with ClusterManager(space, pool(2)) as one:
        yield one
