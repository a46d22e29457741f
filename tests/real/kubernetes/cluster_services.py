"""The services of pools on a cluster: outside of it, where pods and manager reach them at one address.

GitHub's, GitLab's and Azure's are fakes, with their stub clients; Azure's speaks TLS, since over plain HTTP
it takes no token. Gitea's are its own server and its own runner.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes import authority
from tests.fakes.azure import FakeAzure
from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FINAL, FakeGitLab
from tests.fakes.http import Fake
from tests.harness import until
from tests.images import stub_image
from tests.providers.gitlab_pool import SCOPES
from tests.real.gitea.real_pool import image as gitea_image
from tests.real.gitea.real_server import GiteaServer, parts
from tests.real.kubernetes.cluster import Cluster

SCRIPT = "echo it is $(id -u)"
SAID = "it is 1000"


@dataclass
class ClusterService:
    """One service, and how a pool of it is configured."""

    provider: str
    image: str
    token: str
    keys: str  # of the pool
    table: str  # of the provider
    ran: Callable[
        [int], list[bool]
    ]  # has so many jobs run: of each, whether it ended well and did something


def _reached(fake: Fake, host: str, listener: socket.socket) -> None:
    """The fake, as pods and this host alike find it."""
    fake.address = host
    fake.start_on(listener)


@contextmanager
def github(cluster: Cluster, place: Path) -> Iterator[ClusterService]:
    """GitHub's fake."""
    with FakeGitHub() as fake:
        host = cluster.machine.host
        _reached(fake, host, socket.create_server((host, fake.port), backlog=128))

        def ran(count: int) -> list[bool]:
            runs = [fake.queue(SCRIPT) for _ in range(count)]
            until(lambda: all(run.state == "completed" for run in runs), "all jobs have ended")
            return [run.conclusion == "succeeded" and SAID in run.log for run in runs]

        table = f'url = "{fake.url}/acme"\nrunner_group = "gpu"\n'
        keys = 'labels = ["gpu"]\nplain_http = true\n'
        yield ClusterService("github", stub_image("github"), "ghp_good", keys, table, ran)


@contextmanager
def gitlab(cluster: Cluster, place: Path) -> Iterator[ClusterService]:
    """GitLab's fake."""
    with FakeGitLab(hold=2.0) as fake:
        host = cluster.machine.host
        _reached(fake, host, socket.create_server((host, fake.port), backlog=128))

        def ran(count: int) -> list[bool]:
            numbers = [fake.submit(SCRIPT, tags=["gpu"]) for _ in range(count)]
            jobs = [fake.jobs[one] for one in numbers]
            until(lambda: all(job.state in FINAL for job in jobs), "all jobs have ended")
            return [job.state == "success" and SAID in job.log for job in jobs]

        table = f'url = "{fake.url}"\nscope = "group:10"\n'
        keys = 'labels = ["gpu"]\nplain_http = true\n'
        image = stub_image("gitlab")
        yield ClusterService("gitlab", image, fake.person(*SCOPES), keys, table, ran)


@contextmanager
def azure(cluster: Cluster, place: Path) -> Iterator[ClusterService]:
    """Azure's fake, with a certificate that manager and agents trust by the pool's `ca`."""
    with FakeAzure() as fake:
        host, certificate = cluster.machine.host, place / "ca.crt"
        context = authority.made(certificate, host)
        listener = socket.create_server((host, fake.port), backlog=128)
        fake.scheme = "https"
        fake.lapse, fake.renewal, fake.hold = 12.0, 60.0, 4.0
        _reached(fake, host, context.wrap_socket(listener, server_side=True))

        def ran(count: int) -> list[bool]:
            jobs = [fake.queue(SCRIPT) for _ in range(count)]
            until(lambda: all(job.result for job in jobs), "all jobs have ended")
            return [job.result == "succeeded" and SAID in job.log for job in jobs]

        table = f'url = "{fake.organisation}"\nagent_pool = "gpu"\n'
        keys = f'ca = "{certificate}"\n'
        yield ClusterService("azure", stub_image("azure"), "pat-good", keys, table, ran)


@contextmanager
def gitea(cluster: Cluster, place: Path) -> Iterator[ClusterService]:
    """Gitea itself."""
    built = parts()
    with GiteaServer(built, place, zombie=20, address=cluster.machine.host) as server:
        repository = server.make_repository("ourlab", "on-a-cluster")

        def ran(count: int) -> list[bool]:
            runs = [server.dispatch(repository, SCRIPT) for _ in range(count)]

            def ended() -> bool:
                return all(server.job(repository, run)["status"] == "completed" for run in runs)

            until(ended, "all jobs have ended")
            return [
                server.job(repository, run)["conclusion"] == "success"
                and SAID in server.log_of(repository, run)
                for run in runs
            ]

        table = f'url = "{server.url}"\nscope = "repo:{repository}"\n'
        keys = 'labels = ["gpu"]\nplain_http = true\n'
        token = server.token("write:repository")
        yield ClusterService("gitea", gitea_image(built), token, keys, table, ran)


SERVICES: Mapping[str, Callable[[Cluster, Path], AbstractContextManager[ClusterService]]] = {
    "azure": azure,
    "gitea": gitea,
    "github": github,
    "gitlab": gitlab,
}
