"""The cluster of a session, and a namespace for each test."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.real.kubernetes.cluster import Cluster
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
