"""python-gitlab reads all that the fake GitLab says of runners, groups, projects, jobs and tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.gitlab import FakeGitLab
from tests.real.sdk.sdks import Raised, Sdk, sdk

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.seen(
        "gitlab",
        "registration",
        "list of agents",
        "no new job",
        "removal",
        "jobs that wait",
        "cancelling a job that waits",
        "the token's end",
        with_="sdk",
    ),
]
SYSTEM = "s_0123456789ab"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeGitLab]:
    with FakeGitLab(hold=0.0) as one:
        yield one


@pytest.fixture(scope="module")
def ask(python: str, fake: FakeGitLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    token = fake.person("api", "create_runner", "manage_runner", admin=True)
    fake.people[token].expires = "2027-11-29"
    with sdk(python, "gitlab", tmp_path_factory.mktemp("gitlab"), fake.url, token) as one:
        yield one


def make(ask: Sdk, *tags: str) -> dict[str, object]:
    """A runner of the group."""
    made: dict[str, object] = ask(
        "make_runner",
        runner_type="group_type",
        group_id=10,
        description="box-gpu-0",
        tag_list=list(tags),
        run_untagged=False,
        paused=True,
    )
    return made


def test_who_the_token_is_and_when_it_ends(ask: Sdk) -> None:
    assert ask("user")["username"] == "somebody"
    assert ask("version")[0].startswith("19.")
    own = ask("own_token")
    assert own["expires_at"] == "2027-11-29"
    assert own["scopes"] == ["api", "create_runner", "manage_runner"]


def test_a_runner_is_made_changed_rotated_and_deleted(ask: Sdk, fake: FakeGitLab) -> None:
    made = make(ask, "gpu")
    number = made["id"]
    assert str(made["token"]).startswith("glrt-")
    looked = ask("runner", number=number)
    assert (looked["paused"], looked["tag_list"]) == (True, ["gpu"])
    changed = ask("change_runner", number=number, paused=False, tag_list=["gpu", "a100"])
    assert (changed["paused"], changed["tag_list"]) == (False, ["gpu", "a100"])
    ask("verify", token=made["token"])
    rotated = ask("rotate", number=number)
    assert rotated["token"] != made["token"]
    with pytest.raises(Raised) as old:
        ask("verify", token=made["token"])
    assert old.value.status == 403
    ask("delete_runner", number=number)
    with pytest.raises(Raised) as gone:
        ask("runner", number=number)
    assert gone.value.status == 404


def test_lists_of_runners_by_place_and_tag_over_several_pages(ask: Sdk) -> None:
    numbers = [make(ask, "gpu", f"n{count}")["id"] for count in range(5)]
    listed = ask("runners", of="group", number=10)
    assert [one["id"] for one in listed if one["id"] in numbers] == numbers
    found = ask("runners", of="group", number=10, tags=["n3"])
    assert [one["id"] for one in found] == [numbers[3]]
    assert ask("runners", of="project", number=7) == []
    assert ask("runners", of="all") == []
    assert {one["id"] for one in ask("runners", of="mine")} >= set(numbers)
    for number in numbers:
        ask("delete_runner", number=number)


def test_what_a_runner_runs_and_who_uses_its_token(ask: Sdk, fake: FakeGitLab) -> None:
    number = int(str(make(ask, "busy")["id"]))
    job = fake.submit("true", tags=["busy"])
    fake.hear(number, SYSTEM)
    assert [one["system_id"] for one in ask("managers", number=number)] == [SYSTEM]
    assert ask("runner_jobs", number=number, status="running") == []
    fake.give(job, number, SYSTEM)
    (running,) = ask("runner_jobs", number=number, status="running")
    assert running["id"] == job
    fake.finish(job)
    assert ask("runner_jobs", number=number, status="running") == []


def test_places_by_number_and_by_path(ask: Sdk) -> None:
    assert ask("group", name="ourlab/vision")["id"] == 11
    assert ask("group", name=10)["full_path"] == "ourlab"
    assert ask("project", name="ourlab/library")["id"] == 7
    assert [one["id"] for one in ask("group_projects", number=10)] == [7]
    with pytest.raises(Raised) as none:
        ask("group", name="nobody")
    assert none.value.status == 404


def test_jobs_that_wait_are_read_and_cancelled(ask: Sdk, fake: FakeGitLab) -> None:
    job = fake.submit("true", tags=["a100"])
    waiting = ask("jobs", project=7, scope=["pending", "running"])
    (shown,) = [one for one in waiting if one["id"] == job]
    assert (shown["tag_list"], shown["runner"]) == (["a100"], None)
    assert shown["queued_duration"] >= 0
    assert ask("job", project=7, number=job)["web_url"] == shown["web_url"]
    assert ask("trace", project=7, number=job) == ""
    assert ask("cancel", project=7, number=job)["status"] == "canceled"
    assert job not in [one["id"] for one in ask("jobs", project=7, scope=["pending"])]


def test_a_token_that_may_less_is_refused_as_gitlab_does(
    python: str, fake: FakeGitLab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home, token = tmp_path_factory.mktemp("less"), fake.person("read_api")
    with sdk(python, "gitlab", home, fake.url, token) as ask:
        assert ask("group", name=10)["id"] == 10
        with pytest.raises(Raised) as refused:
            make(ask, "gpu")
        assert refused.value.status == 403
