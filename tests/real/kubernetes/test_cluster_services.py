"""Pools of all four services on a cluster: the services are beside it, and pods reach them on this host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import until
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.cluster_services import SERVICES, ClusterService
from tests.real.kubernetes.namespace import Namespace

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(600)]

JOBS = 3


@pytest.fixture(params=SERVICES)
def service(
    request: pytest.FixtureRequest, space: Namespace, tmp_path: Path
) -> Iterator[ClusterService]:
    """A service, whose image the cluster has."""
    with SERVICES[request.param](space.cluster, tmp_path) as one:
        space.cluster.load(one.image)
        yield one


@pytest.fixture
def manager(space: Namespace, service: ClusterService) -> Iterator[ClusterManager]:
    """A manager of two slots there that is not yet started."""
    with ClusterManager(space, "") as one:
        token = one.home / "token"
        token.write_text(service.token)
        token.chmod(0o600)
        keys = (
            f'{service.keys}[pool.env]\nSTUB_PACE = "20"\n[pool.{service.provider}]\n{service.table}'
            f'token = {{ file = "{token}" }}\ncalls_per_hour = 36000\n'
        )
        one.configure(pool(2, keys, name="ci", provider=service.provider, image=service.image))
        yield one


def test_each_agent_of_a_service_does_one_job_and_is_gone(
    manager: ClusterManager, service: ClusterService
) -> None:
    manager.start()
    assert service.ran(JOBS) == [True] * JOBS

    def ended() -> bool:
        rows = [row for row in manager.json("history")["agents"] if row["opened"] is not None]
        done = [row for row in rows if row["outcome"] == "job_done"]
        return len(done) == len({row["agent"] for row in done}) == JOBS

    until(ended, "an agent for each job has ended")
    done = manager.cli("drain", "--all", "--wait", "--timeout", "100")
    assert done.returncode == 0, done.stderr
    assert manager.containers() == []


def test_an_agent_whose_pod_is_deleted_is_replaced(
    manager: ClusterManager, service: ClusterService
) -> None:
    manager.start()
    before = manager.pod_of("ci-0")
    manager.space.cluster.api.delete(f"{manager.space.path}/pods/{before}", grace=1)
    until(lambda: before not in manager.containers(), "it is gone")
    until(lambda: manager.pod_of("ci-0") not in ("ci-0-None", before), "another has its slot")
    until(manager.rests, "every slot is idle again")
    assert service.ran(JOBS) == [True] * JOBS
