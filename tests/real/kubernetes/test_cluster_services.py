"""Pools of services on a cluster: their fakes run beside it, and pods reach them on this host.

(Not Azure's: but for a loopback address it takes no token over plain HTTP, and its fake has no certificate.)
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FINAL, FakeGitLab
from tests.fakes.http import Fake
from tests.harness import until
from tests.images import stub_image
from tests.providers.gitlab_pool import SCOPES
from tests.real.kubernetes.cluster import Cluster
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.namespace import Namespace

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(400)]

JOBS = 3


@contextmanager
def reached(cluster: Cluster, fake: Fake) -> Iterator[None]:
    """The fake, as pods and this host alike find it."""
    fake.address = cluster.machine.host
    fake.start_on(socket.create_server((fake.address, fake.port), backlog=128))
    yield


@pytest.fixture(params=["github", "gitlab"])
def provider(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """A service, whose image the cluster has."""
    name = str(request.param)
    cluster.load(stub_image(name))
    return name


@pytest.fixture
def service(
    provider: str, space: Namespace
) -> Iterator[tuple[ClusterManager, FakeGitHub | FakeGitLab]]:
    """Its fake, and a manager of two slots there that is not yet started."""
    with (
        FakeGitHub() if provider == "github" else FakeGitLab(hold=2.0) as fake,
        reached(space.cluster, fake),
        ClusterManager(space, "") as manager,
    ):
        token = manager.home / "token"
        token.write_text(fake.person(*SCOPES) if isinstance(fake, FakeGitLab) else "ghp_good")
        token.chmod(0o600)
        place = (
            f'url = "{fake.url}"\nscope = "group:10"\n'
            if isinstance(fake, FakeGitLab)
            else f'url = "{fake.url}/acme"\nrunner_group = "gpu"\n'
        )
        keys = (
            f'labels = ["gpu"]\nplain_http = true\n[pool.env]\nSTUB_PACE = "20"\n'
            f'[pool.{provider}]\n{place}token = {{ file = "{token}" }}\ncalls_per_hour = 36000\n'
        )
        pools = pool(2, keys, name="ci", provider=provider, image=stub_image(provider))
        manager.configure(pools)
        yield manager, fake


def _ran(fake: FakeGitHub | FakeGitLab) -> list[bool]:
    """Have the service's jobs run; of each whether it succeeded, and by its log its script ran."""
    script = "echo it is $(id -u)"
    if isinstance(fake, FakeGitHub):
        runs = [fake.queue(script) for _ in range(JOBS)]
        until(lambda: all(run.state == "completed" for run in runs), "all jobs have ended")
        return [run.conclusion == "succeeded" and "it is 1000" in run.log for run in runs]
    numbers = [fake.submit(script, tags=["gpu"]) for _ in range(JOBS)]
    until(lambda: all(fake.jobs[one].state in FINAL for one in numbers), "all jobs have ended")
    jobs = [fake.jobs[one] for one in numbers]
    return [job.state == "success" and "it is 1000" in job.log for job in jobs]


def test_each_agent_of_a_service_does_one_job_and_is_gone(
    service: tuple[ClusterManager, FakeGitHub | FakeGitLab],
) -> None:
    manager, fake = service
    manager.start()
    assert _ran(fake) == [True] * JOBS

    def ended() -> bool:
        rows = [row for row in manager.json("history")["agents"] if row["opened"] is not None]
        done = [row for row in rows if row["outcome"] == "job_done"]
        return len(done) == len({row["agent"] for row in done}) == JOBS

    until(ended, "an agent for each job has ended")
    done = manager.cli("drain", "--all", "--wait", "--timeout", "100")
    assert done.returncode == 0, done.stderr
    assert manager.containers() == []


def test_an_agent_whose_pod_is_deleted_is_replaced(
    service: tuple[ClusterManager, FakeGitHub | FakeGitLab],
) -> None:
    manager, fake = service
    manager.start()
    before = manager.pod_of("ci-0")
    manager.space.cluster.api.delete(f"{manager.space.path}/pods/{before}", grace=1)
    until(lambda: before not in manager.containers(), "it is gone")
    until(lambda: manager.pod_of("ci-0") not in ("ci-0-None", before), "another has its slot")
    until(manager.rests, "every slot is idle again")
    assert _ran(fake) == [True] * JOBS
