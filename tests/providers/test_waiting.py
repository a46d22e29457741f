"""Jobs that wait at each service: which are seen, by how many calls, and how one is cancelled; and when
the token ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import Severity
from mayfly.core.waiting import WaitingJob
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.vault import Vault
from mayfly.providers import Expiring, Queueing
from mayfly.providers.azure.provider import Azure
from mayfly.providers.github.provider import GitHub
from mayfly.providers.github.settings import GitHubApp
from mayfly.providers.gitlab.provider import GitLab
from tests.fakes.azure import FakeAzure
from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.http import Fault
from tests.providers.contract import HOST, HOST_ID, pool, secret_file
from tests.providers.test_github_contract import make_key, public_numbers

pytestmark = [
    pytest.mark.seen(
        "github", "jobs that wait", "cancelling a job that waits", "the token's end", with_="fake"
    ),
    pytest.mark.seen(
        "gitlab", "jobs that wait", "cancelling a job that waits", "the token's end", with_="fake"
    ),
    pytest.mark.seen("azure", "jobs that wait", "cancelling a job that waits", with_="fake"),
]

HOUR = 3600.0
HOST_GIVES = (("a100", "cuda-12.8"),)


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        yield fake


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab(hold=0.0) as fake:
        yield fake


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure() as fake:
        yield fake


def at_github(fake: FakeGitHub, home: Path, place: str = "acme", **keys: Any) -> GitHub:
    home.mkdir(exist_ok=True)
    token = secret_file(home, "token", "ghp_good")
    keys = {"labels": ("lab",), "gpus": 1, "token": token, **keys}
    spec = pool(provider="github", url=f"{fake.url}/{place}", **keys)
    return GitHub(spec, HOST, HOST_ID)


def at_gitlab(fake: FakeGitLab, home: Path, *scopes: str, **keys: Any) -> GitLab:
    home.mkdir(exist_ok=True)
    token = secret_file(home, "token", fake.person(*(scopes or ("api",))))
    keys = {"labels": ("lab",), "gpus": 1, "url": f"{fake.url}/ourlab", **keys}
    spec = pool(provider="gitlab", token=token, **keys)
    return GitLab(spec, HOST, HOST_ID, Vault(home / "gitlab"))


def at_azure(fake: FakeAzure, home: Path) -> Azure:
    home.mkdir(exist_ok=True)
    token = secret_file(home, "token", "pat-good")
    spec = pool(provider="azure", url=fake.organisation, agent_pool="gpu", token=token)
    return Azure(spec, HOST, HOST_ID, pause=lambda _: None)


def seen(provider: Queueing) -> list[WaitingJob]:
    return list(provider.waiting(HOST_GIVES))


# -- GitHub ----------------------------------------------------------------------------------------------


def test_an_app_sees_and_cancels_jobs_that_wait_once_it_has_the_right_for_it(
    github: FakeGitHub, tmp_path: Path
) -> None:
    pem = make_key(tmp_path)
    key = public_numbers(pem)
    github.apps["4711"] = (key.n, key.e)
    github.token_life = 60.0  # so that each call has a token of its own
    provider = at_github(
        github, tmp_path, token=None, app=GitHubApp("4711", {"file": str(tmp_path / "app.pem")})
    )
    job = github.queue("true", ("self-hosted", "lab"))
    with pytest.raises(Refused, match="the repository right Actions"):
        seen(provider)
    github.app_permissions["actions"] = "read"
    (waiting,) = seen(provider)
    with pytest.raises(Refused, match="the repository right Actions"):
        provider.cancel_waiting(waiting.id)
    github.app_permissions["actions"] = "write"
    provider.cancel_waiting(waiting.id)
    assert job.conclusion == "cancelled"


@pytest.mark.parametrize(
    ("labels", "fits", "lacks"),
    [
        (("self-hosted", "LAB"), True, ()),
        (("self-hosted", "Linux", "gpu", "a100", "cuda-12.8"), True, ()),
        (("lab", "h200"), False, ("h200",)),
        (("a100", "windows"), False, ("windows",)),
        (("self-hosted", "h200"), None, ()),  # somebody else's
        (("ubuntu-latest",), None, ()),  # GitHub's own
        ((), None, ()),  # by its group alone, which a job does not tell
    ],
)
def test_which_jobs_wait_for_the_pool_at_github(
    github: FakeGitHub,
    tmp_path: Path,
    labels: tuple[str, ...],
    fits: bool | None,
    lacks: tuple[str, ...],
) -> None:
    job = github.queue("true", labels)
    job.queued_at = time.time() - 2 * HOUR
    found = seen(at_github(github, tmp_path))
    assert [one.fits for one in found] == ([] if fits is None else [fits])
    for one in found:
        assert one.url == f"{github.url}/acme/app/actions/runs/{job.run}"
        assert 2 * HOUR - 60 < time.time() - one.since < 2 * HOUR + 60
        assert (one.lacks, one.alone) == (lacks, True)


def test_what_another_runner_of_the_place_can_take_is_not_unserved(
    github: FakeGitHub, tmp_path: Path
) -> None:
    github._add("orgs/acme", "other-box", 1, ["lab", "h200"])
    github.queue("true", ("lab", "h200"))
    provider = at_github(github, tmp_path)
    provider.roster()
    assert seen(provider) == []


def test_a_run_at_github_is_cancelled_once_and_what_is_over_is_no_trouble(
    github: FakeGitHub, tmp_path: Path
) -> None:
    provider, job = at_github(github, tmp_path), github.queue("true", ("lab",))
    (one,) = seen(provider)
    provider.cancel_waiting(one.id)
    assert job.conclusion == "cancelled"
    assert seen(provider) == []
    provider.cancel_waiting(one.id)
    provider.cancel_waiting("acme/app/1")


def test_a_look_at_github_costs_a_bounded_number_of_calls(
    github: FakeGitHub, tmp_path: Path
) -> None:
    """Of an organisation with many repositories and runs, and little of GitHub's limit a second time."""
    for number in range(30):
        pushed = f"2026-01-{number + 1:02}T00:00:00Z"
        github.repos[f"acme/r{number}"] = {"id": number, "private": True, "pushed_at": pushed}
        github.queue("true", ("lab",)).repo = f"acme/r{29 - number % 10}"
    provider, before = at_github(github, tmp_path), len(github.calls)
    assert len(seen(provider)) == 20
    assert len(github.calls) - before == 1 + 2 * 10 + 20
    used = github._used
    seen(provider)
    assert github._used == used


def test_a_token_that_may_not_read_runs_is_told_by_the_doctor_alone(
    github: FakeGitHub, tmp_path: Path
) -> None:
    github.tokens["ghp_good"].actions = "none"
    provider = at_github(github, tmp_path)
    with pytest.raises(Refused, match="Actions: read-only"):
        seen(provider)
    (told,) = [one for one in provider.check() if "are not seen" in one.text]
    assert told.severity is Severity.INFO
    quiet = at_github(github, tmp_path, stuck_after=0.0)
    assert not [one for one in quiet.check() if "are not seen" in one.text]


def test_a_token_that_may_not_cancel_at_github_says_so(github: FakeGitHub, tmp_path: Path) -> None:
    github.tokens["ghp_good"].actions = "read"
    github.queue("true", ("lab",))
    provider = at_github(github, tmp_path)
    (one,) = seen(provider)
    with pytest.raises(Refused, match="read and write to cancel"):
        provider.cancel_waiting(one.id)


def test_github_tells_when_a_token_ends(github: FakeGitHub, tmp_path: Path) -> None:
    provider = at_github(github, tmp_path)
    provider.roster()
    assert provider.token_end() is None
    github.tokens["ghp_good"].expires = end = float(int(time.time()) + 20 * 86400)
    provider.roster()
    assert isinstance(provider, Expiring)
    assert provider.token_end() == end
    github.tokens["ghp_good"].expires = None
    provider.roster()
    assert provider.token_end() is None


# -- GitLab ----------------------------------------------------------------------------------------------


def test_which_jobs_wait_for_the_pool_at_gitlab(gitlab: FakeGitLab, tmp_path: Path) -> None:
    ours = gitlab.submit("true", tags=["lab"])
    gitlab.jobs[ours].created = time.time() - 2 * HOUR
    gitlab.submit("true", tags=["lab", "h200"])
    gitlab.submit("true")
    (one,) = seen(at_gitlab(gitlab, tmp_path))
    assert one.url == f"{gitlab.url}/ourlab/library/-/jobs/{ours}"
    assert 2 * HOUR - 60 < time.time() - one.since < 2 * HOUR + 60
    project = at_gitlab(gitlab, tmp_path / "p", url=f"{gitlab.url}/ourlab/library")
    assert [found.id for found in seen(project)] == [one.id]


@pytest.mark.parametrize("queued", [1e18, -1e18, 3e9])
def test_a_wait_at_gitlab_that_no_calendar_has_is_counted_from_when_the_job_was_made(
    gitlab: FakeGitLab, tmp_path: Path, queued: float
) -> None:
    ours = gitlab.submit("true", tags=["lab"])
    gitlab.spoil = lambda answer: replace(
        answer,
        body=[{**job, "queued_duration": queued} for job in answer.body]
        if isinstance(answer.body, list) and answer.body and "tag_list" in answer.body[0]
        else answer.body,
    )
    (one,) = seen(at_gitlab(gitlab, tmp_path))
    assert abs(one.since - gitlab.jobs[ours].created) < 60


def test_a_job_at_gitlab_is_cancelled(gitlab: FakeGitLab, tmp_path: Path) -> None:
    number, provider = gitlab.submit("true", tags=["lab"]), at_gitlab(gitlab, tmp_path)
    (one,) = seen(provider)
    provider.cancel_waiting(one.id)
    assert gitlab.jobs[number].state == "canceled"
    assert seen(provider) == []
    less = at_gitlab(gitlab, tmp_path / "less", "read_api", "manage_runner")
    with pytest.raises(Refused, match="needs the scope api"):
        less.cancel_waiting(one.id)


def test_a_look_at_gitlab_costs_a_call_a_project_and_no_more_than_eleven(
    gitlab: FakeGitLab, tmp_path: Path
) -> None:
    gitlab.projects |= {number: f"ourlab/p{number}" for number in range(100, 130)}
    provider = at_gitlab(gitlab, tmp_path)
    assert provider._access.place.kind == "group"
    before = len(gitlab.calls)
    seen(provider)
    assert len(gitlab.calls) - before == 11


def test_gitlab_is_asked_when_a_token_ends_once_in_six_hours(
    gitlab: FakeGitLab, tmp_path: Path
) -> None:
    provider = at_gitlab(gitlab, tmp_path)
    gitlab.people[next(iter(gitlab.people))].expires = "2027-11-29"
    assert provider.token_end() is None
    provider.roster()
    provider.roster()
    assert time.gmtime(provider.token_end())[:4] == (2027, 11, 29, 0)
    assert gitlab.count("GET", "/api/v4/personal_access_tokens") == 1
    # A token in its place is another one: what was known of the first says nothing of it.
    secret_file(tmp_path, "token", gitlab.person("api"))
    provider.roster()
    assert provider.token_end() is None
    assert gitlab.count("GET", "/api/v4/personal_access_tokens") == 2


# -- Azure Pipelines -----------------------------------------------------------------------------------------


def test_which_jobs_wait_for_the_pool_at_azure(azure: FakeAzure, tmp_path: Path) -> None:
    """Those that the service says one of our agents matches."""
    provider = at_azure(azure, tmp_path)
    azure.configure("box-gpu-0", {"gpu": "1"})
    azure.configure("other-0", {"windows": "1"})
    ours = azure.queue("true", demands=("gpu",))
    ours.queued_at = time.time() - 2 * HOUR
    azure.queue("true", demands=("windows",))
    (one,) = seen(provider)
    project, _, number = one.id.partition("/")
    assert number == str(ours.id)
    assert one.url == f"{azure.organisation}/{project}/_build/results?buildId={ours.id}"
    assert 2 * HOUR - 60 < time.time() - one.since < 2 * HOUR + 60
    azure.connect("box-gpu-0")
    assert seen(provider) == []  # an agent has it


def test_a_build_at_azure_is_cancelled(azure: FakeAzure, tmp_path: Path) -> None:
    provider = at_azure(azure, tmp_path)
    azure.configure("box-gpu-0", {})
    job = azure.queue("true")
    (one,) = seen(provider)
    azure.build_rights = frozenset({"read"})
    with pytest.raises(Refused, match="Read & execute"):
        provider.cancel_waiting(one.id)
    azure.build_rights = frozenset({"read", "execute"})
    provider.cancel_waiting(one.id)
    assert job.result == "canceled"
    assert seen(provider) == []
    provider.cancel_waiting(one.id)


def test_what_has_begun_since_it_was_seen_to_wait_is_left_alone(
    github: FakeGitHub, gitlab: FakeGitLab, azure: FakeAzure, tmp_path: Path
) -> None:
    run, number = github.queue("true", ("lab",)), gitlab.submit("true", tags=["lab"])
    azure.configure("box-gpu-0", {})
    build = azure.queue("true")
    providers: tuple[Queueing, ...] = (
        at_github(github, tmp_path / "a"),
        at_gitlab(gitlab, tmp_path / "b"),
        at_azure(azure, tmp_path / "c"),
    )
    waited = [seen(provider) for provider in providers]
    run.state = gitlab.jobs[number].state = "running"
    gitlab.jobs[number].touched = time.time()
    azure.connect("box-gpu-0")
    for provider, (one,) in zip(providers, waited, strict=True):
        with pytest.raises(Refused, match="has begun meanwhile"):
            provider.cancel_waiting(one.id)
    assert (run.state, gitlab.jobs[number].state, build.result) == ("running", "running", None)


# -- all ---------------------------------------------------------------------------------------------------


def test_a_service_that_does_not_answer_is_a_fault_that_passes(
    github: FakeGitHub, gitlab: FakeGitLab, azure: FakeAzure, tmp_path: Path
) -> None:
    providers: tuple[Queueing, ...] = (
        at_github(github, tmp_path / "a"),
        at_gitlab(gitlab, tmp_path / "b", scope="group:10"),
        at_azure(azure, tmp_path / "c"),
    )
    for fake in (github, gitlab, azure):
        fake.fail("", "", Fault(status=503, times=None))
    for provider in providers:
        with pytest.raises(Passing):
            provider.waiting(())
