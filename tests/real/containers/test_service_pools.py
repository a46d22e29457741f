"""Whole pools of services whose jobs have containers: a manager, its gateway, the service, and its client.

Gitea is Gitea's own server and runner. GitHub and GitLab are the fakes and the stub runners: the job of one
makes the calls of GitHub's own one by one, the other does what its configuration says of a docker executor.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import command
from tests.fakes import github_runner
from tests.fakes.forwarding import Forwarder
from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FINAL, FakeGitLab
from tests.harness import until
from tests.images import Stub, image_with, stub_image
from tests.providers.github_pool import BRIDGE
from tests.providers.gitlab_pool import SCOPES
from tests.real.containers.lab import AGENT_IMAGE, Lab, clients
from tests.real.containers.service_clients.images import JOB, SERVICE, make
from tests.real.gitea.real_pool import TAG, GiteaPool, image
from tests.real.gitea.real_server import GiteaServer, parts

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(900)]

GITHUB = "mayfly/github:containers"
RUNNER = "/opt/actions-runner"
# Gitea's runner has a volume in /var/run/act. Where /var/run is a link, Debian's Engine 28.5.2 copies nothing
# into such a container: "mkdirat var/run/act: path escapes from parent".
OWN_RUN = "base:job-run"
WORKFLOW = f"""on: workflow_dispatch
jobs:
  contained:
    runs-on: [gpu]
    container:
      image: {OWN_RUN}
      env: {{OWN: mine}}
    services:
      web:
        image: {SERVICE}
        env: {{GREETING: hello}}
    steps:
      - run: |
          echo "own=$OWN"
          curl -fsS --retry 30 --retry-connrefused --retry-delay 1 http://web:8080/
          echo made > here
      - run: echo "again $(cat here) in $PWD"
  beside:
    runs-on: [gpu]
    needs: [contained]
    steps:
      - run: echo "in the agent, $PWD" && test -S /var/run/docker.sock
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab({"cpu": 1}) as made:
        make(AGENT_IMAGE, {"DOCKER_HOST": made.engine.url})
        command.build(made.engine.url, OWN_RUN, f"FROM {JOB}\nRUN rm /var/run && mkdir /var/run\n")
        yield made


@pytest.mark.seen("gitea", "a job with containers", with_="client")
@pytest.mark.seen("gitea", "a job with containers", with_="server")
def test_a_job_of_gitea_runs_in_its_container_with_a_service_beside_it(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    built = parts()
    image(built)
    lab.engine.fetch(TAG)
    with GiteaServer(built, tmp_path_factory.mktemp("gitea")) as server:
        # The same address leads there from out here and from the agents.
        ways = [
            Forwarder(socket.create_server((BRIDGE, server.port)), server.port),
            Forwarder(lab.engine.listen(server.port, BRIDGE), server.port),
        ]
        repository = server.make_repository("ourlab", "contained")
        server.add_workflow(repository, "contained.yml", WORKFLOW)
        pool = GiteaPool(lab.engine, server, lab.manager, repository, f"repo:{repository}")
        pool.secret(server.token("write:repository"))
        lab.manager.configure(
            lab.pools()
            + f"""
[[pool]]
name = "g"
provider = "gitea"
slots = 1
image = "{TAG}"
labels = ["gpu"]
containers = true
plain_http = true
allowed_images = ["base:*"]
[pool.gitea]
url = "http://{BRIDGE}:{server.port}"
scope = "repo:{repository}"
token = {{ file = "{lab.manager.home}/token" }}
"""
        )
        lab.manager.cli("reload")
        run = server.run(repository, "contained.yml")
        try:
            until(
                lambda: all(job["status"] == "completed" for job in server.jobs(repository, run)),
                "both jobs end",
                240,
            )
            first, second = server.jobs(repository, run)
            log = server.log_of_job(repository, first["id"]) + lab.gateway.log()[-2000:]
            assert first["conclusion"] == "success", log
            for line in ("own=mine", "hello", "again made in /workspace/"):
                assert line in log, log
            log = server.log_of_job(repository, second["id"])
            assert second["conclusion"] == "success", log
            assert "in the agent, /workspace/host/" in log, log
        finally:
            lab.manager.configure(lab.pools())
            lab.manager.cli("reload")
            for way in ways:
                way.close()
    lab.clean()


@pytest.mark.seen("github", "a job with containers", with_="fake")
def test_a_job_of_github_runs_in_its_container_with_a_service_beside_it(lab: Lab) -> None:
    client = Stub(github_runner.VERSION, github_runner.archive, {"BASE": AGENT_IMAGE})
    lab.engine.fetch(image_with("github", client, GITHUB))
    # What the runner's own archive brings along, which its job containers find as /__e.
    brings = f"RUN mkdir -p {RUNNER}/externals && echo node >{RUNNER}/externals/node"
    command.build(lab.engine.url, f"{GITHUB}-1", f"FROM {GITHUB}\n{brings}\n")
    with FakeGitHub() as fake:
        fake.start_on(lab.engine.listen(fake.port, "0.0.0.0"))
        fake.agents_url = f"http://{BRIDGE}:{fake.port}"
        token = lab.manager.home / "github-token"
        token.write_text("ghp_good")
        token.chmod(0o600)
        lab.manager.configure(
            lab.pools()
            + f"""
[[pool]]
name = "gh"
provider = "github"
slots = 1
image = "{GITHUB}-1"
labels = ["gpu"]
containers = true
allowed_images = ["base:*"]
[pool.github]
url = "{fake.url}/acme"
runner_group = "gpu"
token = {{ file = "{token}" }}
calls_per_hour = 36000
[[pool.dataset]]
source = "{clients()}"
target = "/clients"
[[pool.dataset]]
source = "{Path(__file__).parent}"
target = "/lab/tests/real/containers"
[pool.env]
STUB_PACE = "20"
"""
        )
        lab.manager.cli("reload")
        try:
            script = (
                "export PATH=/clients/bin:$PATH DOCKER_CONFIG=/clients/config PYTHONPATH=/lab\n"
                f"export WORK={RUNNER}/_work EXTERNALS={RUNNER}/externals CLIENTS=/clients\n"
                f"export PYTHONDONTWRITEBYTECODE=1 IMAGE={JOB} SERVICE={SERVICE}\n"
                "python3 -m tests.real.containers.service_clients.github\n"
            )
            job = fake.queue(script)
            until(lambda: job.state == "completed", "the job ends", 240)
            log = job.log + lab.manager.cli("logs", "gh-0", "--previous").stdout
            assert job.conclusion == "succeeded", log
            assert '{"step": "done"}' in log, log
        finally:
            lab.manager.configure(lab.pools())
            lab.manager.cli("reload")
    lab.clean()


@pytest.mark.seen("gitlab", "a job with containers", with_="fake")
def test_a_job_of_gitlab_runs_in_its_image_with_a_service_beside_it(lab: Lab) -> None:
    tag = stub_image("gitlab")
    lab.engine.fetch(tag)
    with FakeGitLab(hold=2.0) as fake:
        fake.start_on(lab.engine.listen(fake.port, BRIDGE))
        way = Forwarder(socket.create_server((BRIDGE, fake.port)), fake.port)
        token = lab.manager.home / "gitlab-token"
        token.write_text(fake.person(*SCOPES))
        token.chmod(0o600)
        lab.manager.configure(
            lab.pools()
            + f"""
[[pool]]
name = "gl"
provider = "gitlab"
slots = 1
image = "{tag}"
labels = ["gpu"]
containers = true
plain_http = true
allowed_images = ["base:*"]
env = {{ TZ = "CET" }}
[pool.gitlab]
url = "http://{BRIDGE}:{fake.port}"
scope = "group:10"
token = {{ file = "{token}" }}
default_image = "{JOB}"
calls_per_hour = 36000
[[pool.dataset]]
source = "{clients()}"
target = "/clients"
"""
        )
        lab.manager.cli("reload")
        try:
            web = {
                "name": SERVICE,
                "alias": "web",
                "variables": [{"key": "GREETING", "value": "hello"}],
            }
            well = fake.submit(
                "pwd; id -u; echo $TZ; ls /clients/bin; echo made >here",
                "curl -fsS --retry 30 --retry-connrefused --retry-delay 1 http://web:8080/; cat here",
                'DOCKER_HOST= /clients/bin/docker run --rm -v "$PWD:/w" base:job cat /w/here',
                tags=["gpu"],
                image=JOB,
                services=[web],
            )
            plain = fake.submit("exit 3", tags=["gpu"])
            missing = fake.submit("true", tags=["gpu"], image="base:none")
            jobs = fake.jobs
            for job in (well, plain, missing):
                until(lambda job=job: jobs[job].state in FINAL, f"job {job} ends", 240)  # type: ignore[misc]
            assert jobs[well].state == "success", jobs[well].log
            for line in ("/builds/", "hello", "CET", "docker", "made"):
                assert line in jobs[well].log, jobs[well].log
            assert (jobs[plain].state, jobs[plain].exit_code) == ("failed", 3), jobs[plain].log
            for job in (well, plain):
                # (Each line begins with its time; the runner shows the script, too.)
                lines = re.findall(r"^\S+ 01O (mayfly: .*)", jobs[job].log, re.MULTILINE)
                assert lines, jobs[job].log
                assert lines[0].startswith("mayfly: slot gl-0 of "), lines
                assert re.fullmatch(r"mayfly: memory: [0-9]+ MiB at most, .*", lines[-1]), lines
            assert jobs[missing].failure == "runner_system_failure", jobs[missing].log
            rows = lab.manager.json("history")["agents"]
            told = [row["outcome"] for row in rows if row["slot"] == "gl-0" and row["opened"]]
            assert told == ["job_done"] * 3
        finally:
            lab.manager.configure(lab.pools())
            lab.manager.cli("reload")
            way.close()
    lab.clean()
