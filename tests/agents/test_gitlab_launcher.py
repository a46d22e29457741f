"""The launcher of provider `gitlab` with the stub runner in a container: who steps are, signs, stopping."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.agent_plan import job_variables
from mayfly.core.model import Generation, SlotName, SlotSpec
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.edge.vault import Vault
from mayfly.edge.witness import Witnesses
from mayfly.providers.gitlab.lines import judge, read
from mayfly.providers.gitlab.provider import GitLab
from tests.agents.container import CAPABILITIES, Agent
from tests.engine.https_server import https_server
from tests.engine.private_engine import PrivateEngine
from tests.fakes import authority
from tests.fakes.gitlab import FINAL, FakeGitLab
from tests.fakes.proxy import FakeProxy
from tests.images import ROOT, stub_image
from tests.providers.contract import HOST, HOST_ID, pool, secret_file
from tests.service_agent import service_agent

pytestmark = pytest.mark.engine
Until = Callable[..., Any]
# All that the launcher, gitlab-bash and the shells under them have ever read, as a job would set it.
EVIL = {
    "MAYFLY_AS": "--reuid 0 --regid 0 --clear-groups",
    "MAYFLY_PATH": "/tmp",
    "MAYFLY_ROOT": "",
    "MAYFLY_USER": "0",
    "MAYFLY_SUDO": "1",
    "MAYFLY_GROUPS": "0",
    "_as": "--reuid 0 --regid 0 --clear-groups",
    "_job_uid": "0",
    "BASH_ENV": "/tmp/none",
    "ENV": "/tmp/none",
    "HOME": "/root",
}


@pytest.fixture(scope="session")
def image(worker_engine: PrivateEngine) -> str:
    tag = stub_image("gitlab")
    worker_engine.fetch(tag)
    return tag


@pytest.fixture
def fake(worker_engine: PrivateEngine) -> Iterator[FakeGitLab]:
    with FakeGitLab(hold=2.0) as service:
        service.start_on(worker_engine.listen(service.port))
        yield service


@pytest.fixture
def enter(start: Callable[..., Agent], image: str, fake: FakeGitLab, tmp_path: Path) -> Any:
    """`enter(change, …)`: an agent whose runner listens, with what the provider gives it."""
    token = fake.person("create_runner", "manage_runner", "read_api")
    spec = pool(
        provider="gitlab",
        url=f"{fake.url}/ourlab",
        token=secret_file(tmp_path, "token", token),
        labels=("gpu",),
    )
    provider = GitLab(spec, HOST, HOST_ID, Vault(tmp_path / "vault"))

    def entered(change: Callable[[bytes], bytes] = bytes, **options: Any) -> Agent:
        files = dict(provider.enrol(service_agent(spec.name), ()).files)
        files["config.toml"] = change(files["config.toml"])
        agent = start(image=image, network_mode="host", **options)
        agent.open(files)
        return agent

    return entered


def ended(fake: FakeGitLab, job: int, until: Until) -> str:
    until(lambda: fake.jobs[job].state in FINAL, 90)
    return fake.jobs[job].state


def outcome(agent: Agent) -> Outcome:
    """What the provider makes of the witness."""
    told = Witnesses(agent.witness.parents[1]).read(Generation(agent.witness.name))
    assert told is not None
    return judge(End(committed=True, opened=True, exit=told.exit), told.signs)


def unpinned(config: bytes) -> bytes:
    """The configuration without what keeps a job from having its scripts begun by the runner itself."""
    assert b"FF_CONCRETE = false" in config
    return config.replace(b"FF_CONCRETE = false\n", b"")


# The worlds in which root may make a directory where builds are, which is what a runner that begins steps
# itself needs first: who the job user is, and what else is asked of the container.
WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "no home": ("65534", {"environment": {"MAYFLY_USER": "nobody"}}),
    "a power of root's": ("1000", {"cap_add": [*CAPABILITIES, "DAC_OVERRIDE"]}),
    "an open cache": ("1000", {}),
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Who the job user is there, and the container's options."""
    user, options = WORLDS[request.param]
    if request.param == "an open cache":
        cache = tmp_path / "cache"
        cache.mkdir()
        cache.chmod(0o777)
        options = {"binds": {str(cache): {"bind": "/home/runner/builds", "mode": "rw"}}}
    return user, options


def test_no_variable_of_a_job_makes_its_steps_root(
    enter: Any, fake: FakeGitLab, world: tuple[str, dict[str, Any]]
) -> None:
    user, options = world
    script = "id -u; id -G; cat /run/mayfly/gitlab/config.toml || grep NoNewPrivs /proc/self/status"
    flags = {"FF_CONCRETE": "true", "FF_SCRIPT_TO_STEP_MIGRATION": "true"}
    job = fake.submit(script, tags=["gpu"], variables={**EVIL, **flags})
    agent = enter(**options)
    assert agent.wait(90) == 0
    log = fake.jobs[job].log
    words = [line.partition(" 01O ")[2] for line in log.splitlines()]
    assert user in words, log
    assert "0" not in words, log
    assert "NoNewPrivs:\t1" in words, log
    assert "ermission denied" in log
    assert "glrt-" not in log


def test_were_a_runner_to_begin_steps_itself_they_would_not_run(
    enter: Any, fake: FakeGitLab, world: tuple[str, dict[str, Any]]
) -> None:
    variables = {**EVIL, "FF_CONCRETE": "true"}
    job = fake.submit("echo $((40 + 2)) as $(id -u)", tags=["gpu"], variables=variables)
    agent = enter(unpinned, **world[1])
    assert agent.wait(90) == 0
    assert fake.jobs[job].state == "failed"
    # The runner has made its files where the builds are; it is the job user's bash that may not read them.
    assert re.search(r"/bin/bash: /\S+/builds/\S+: Permission denied", fake.jobs[job].log)
    assert "42 as" not in fake.jobs[job].log


def _judged_without_an_end(agent: Agent) -> Result:
    told = Witnesses(agent.witness.parents[1]).read(Generation(agent.witness.name))
    assert told is not None
    return judge(
        End(committed=True, opened=True, exit=None, engine_stopped=True), told.signs
    ).result


@pytest.mark.parametrize("state", ["canceled", "failed", "canceling"])
def test_a_job_that_is_taken_back_before_it_begins_is_no_job(
    enter: Any, fake: FakeGitLab, until: Until, state: str
) -> None:
    """The lines say so to who reads them as they come, and in the witness to who judges the end."""
    gone = fake.submit("true", tags=["gpu"], taken_back=state)
    agent = enter()
    until(lambda: "job_dropped" in kinds(agent))
    until(lambda: _judged_without_an_end(agent) is Result.NO_JOB)  # a line is printed, then noted
    job = fake.submit("true", tags=["gpu"])
    assert agent.wait(60) == 0
    assert fake.jobs[job].state == "success"
    assert fake.jobs[gone].log == ""
    assert kinds(agent) == [
        "listening",
        "job_started",
        "job_dropped",
        *(["job_begun"] if state == "canceling" else []),
        "job_started",
        "job_begun",
        "job_ended",
        "job_begun",
    ]
    assert outcome(agent).detail == f"job {job} succeeded"


def test_a_steps_git_and_curl_trust_the_pools_authority(
    enter: Any, worker_engine: PrivateEngine, fake: FakeGitLab, tmp_path: Path
) -> None:
    """Debian's git is made with another library than what reads the variables of the rest."""
    with https_server(worker_engine, authority.made(tmp_path / "ca.pem")) as port:
        url = f"https://127.0.0.1:{port}/x"
        script = (
            f"set +e; git ls-remote {url} 2>&1; curl -sS -o /dev/null -w 'curl: %{{http_code}}\\n' {url}; "
            f"env -u GIT_SSL_CAINFO git ls-remote {url} 2>&1; true"
        )
        job = fake.submit(script, tags=["gpu"])
        mine = {str(tmp_path / "ca.pem"): {"bind": "/etc/mayfly/ca.pem", "mode": "ro"}}
        assert enter(binds=mine).wait(90) == 0
    git, curl, bare = [
        line.partition(" 01O ")[2]
        for line in fake.jobs[job].log.splitlines()
        if " 01O fatal: " in line or " 01O curl: " in line
    ]
    # What answers knows no GET: everything but TLS is wrong with it.
    assert "501" in git
    assert curl == "curl: 501"
    assert "certificate verification failed" in bare


def test_manager_runner_and_steps_go_through_the_pools_proxy(
    start: Callable[..., Agent], image: str, worker_engine: PrivateEngine, tmp_path: Path
) -> None:
    """GitLab has a name that the proxy alone knows, and is nowhere that an agent reaches by itself."""
    with (
        FakeGitLab(hold=2.0) as fake,
        FakeProxy() as outside,
        FakeProxy(listener=worker_engine.listen(outside.port)) as inside,
    ):
        outside.names = inside.names = {"gitlab.lab": "127.0.0.1"}
        site = f"http://gitlab.lab:{fake.port}"
        token = fake.person("create_runner", "manage_runner", "read_api")
        spec = replace(
            pool(
                provider="gitlab",
                url=f"{site}/ourlab",
                token=secret_file(tmp_path, "token", token),
                labels=("gpu",),
            ),
            proxy=outside.url,
            no_proxy="mirror.lab",
        )
        provider = GitLab(spec, HOST, HOST_ID, Vault(tmp_path / "vault"))
        files = provider.enrol(service_agent(spec.name), ()).files
        environment = job_variables(SlotSpec(SlotName("gpu-0"), 0, spec, image, "0"))
        agent = start(image=image, network_mode="host", environment=environment)
        agent.open(files)
        look = f"curl -s -o /dev/null -w 'by %{{http_code}}\\n' {site}/nothing"
        alone = f"env -u http_proxy -u HTTP_PROXY {look} || true"
        job = fake.submit(f"{look}; {alone}; echo except $no_proxy", tags=["gpu"])
        assert agent.wait(90) == 0
    assert fake.jobs[job].state == "success", fake.jobs[job].log
    found = re.findall(r"01O (by \d+|except \S+)", fake.jobs[job].log)
    assert found == ["by 404", "by 000", "except mirror.lab"]
    assert set(outside.asked) == set(inside.asked) == {f"gitlab.lab:{fake.port}"}


def kinds(agent: Agent) -> list[str]:
    """What the runner's lines mean, in their order; without troubles."""
    signs = map(read, agent.raw(stderr=True).decode().splitlines())
    return [sign.kind for sign in signs if sign is not None and sign.kind != "trouble"]


def test_gitlab_is_told_of_a_job_whose_steps_ignore_that_they_are_to_end(
    enter: Any, fake: FakeGitLab, until: Until, tmp_path: Path
) -> None:
    """They are killed while the runner, which goes 30 s after it was told to, still can say so."""
    hasty = tmp_path / "gitlab"
    text = (ROOT / "agents/gitlab").read_text()
    assert "_patience=17 " in text
    hasty.write_text(text.replace("_patience=17 ", "_patience=1 "))
    job = fake.submit("trap '' TERM; echo up; while :; do sleep 0.1; done", tags=["gpu"])
    agent = enter(binds={str(hasty): {"bind": "/opt/mayfly/gitlab", "mode": "ro"}})
    until(lambda: " up\n" in fake.jobs[job].log, 60)
    agent.signal("TERM")
    assert agent.wait(60) == 0
    assert (fake.jobs[job].state, fake.jobs[job].failure) == ("failed", "runner_interrupted")
    assert outcome(agent).detail == f"job {job} failed: aborted: terminated"
