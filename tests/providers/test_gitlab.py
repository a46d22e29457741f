"""What Mayfly makes, keeps, changes and deletes at GitLab, and what it says when it may not."""

from __future__ import annotations

import stat
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
import pytest

from mayfly.core.model import Cache, Dataset, Limits, PoolName, PoolSpec, Severity, SlotName
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.vault import Vault
from mayfly.providers import Enrolment
from mayfly.providers.gitlab.provider import FEATURES, OWN_RUNNERS, GitLab
from mayfly.providers.gitlab.service import GitLabScope, place_of
from mayfly.providers.installed import left_behind, load
from tests.fakes.gitlab import REGISTRATION_TOKEN, FakeGitLab, Runner
from tests.fakes.http import Fault
from tests.providers.contract import HOST, HOST_ID, agent, pool, secret_file

pytestmark = [
    pytest.mark.seen(
        "gitlab", "registration", "list of agents", "no new job", "removal", with_="fake"
    ),
]

DAY = 86400.0
SCOPES = ("create_runner", "manage_runner", "read_api")


@pytest.fixture
def fake() -> Iterator[FakeGitLab]:
    with FakeGitLab() as service:
        yield service


class Maker:
    """Makes providers of a pool at the fake, all over the same state directory."""

    def __init__(self, fake: FakeGitLab, home: Path) -> None:
        self.fake = fake
        self.home = home
        self.now = time.time()

    def __call__(self, token: str | None = None, *scopes: str, **keys: Any) -> GitLab:
        token = token or self.fake.person(*(scopes or SCOPES))
        keys = {"url": f"{self.fake.url}/ourlab", "slots": 2, **keys}
        reference = secret_file(self.home, "token", token)
        spec = pool(provider="gitlab", token=reference, **keys)
        return self.of(spec)

    def of(self, spec: PoolSpec) -> GitLab:
        return GitLab(spec, HOST, HOST_ID, Vault(self.home / "gitlab"), lambda: self.now)


@pytest.fixture
def make(fake: FakeGitLab, tmp_path: Path) -> Maker:
    return Maker(fake, tmp_path)


def config_of(enrolment: Enrolment) -> dict[str, Any]:
    """The one runner of the configuration that gitlab-runner gets."""
    found: dict[str, Any] = tomllib.loads(enrolment.files["config.toml"].decode())["runners"][0]
    return found


def runner_of(fake: FakeGitLab, enrolment: Enrolment) -> Runner:
    return fake.runners[int(enrolment.registration or 0)]


# -- one runner a slot -------------------------------------------------------------------------------


def test_a_slot_has_one_runner_one_token_and_one_manager_id_for_all_its_agents(
    fake: FakeGitLab, make: Maker
) -> None:
    enrolments = [make().enrol(agent(0, f"l00000000{n:04}"), ()) for n in range(4)]
    assert len(fake.runners) == 1
    assert len({one.files["config.toml"] for one in enrolments}) == 1
    assert len({one.files["system_id"] for one in enrolments}) == 1
    assert enrolments[0].registered == "box-gpu-0"
    assert enrolments[0].files["system_id"].startswith(b"s_")
    assert len(enrolments[0].files["system_id"]) == 14


@pytest.mark.parametrize("token", ['glrt-a\\b"c', "glrt-😀", "glrt-a\x1b"])
def test_the_runner_reads_its_token_as_it_is(fake: FakeGitLab, make: Maker, token: str) -> None:
    files = make()._files(SlotName("gpu-0"), "box-gpu-0", Secret(token))
    found = tomllib.loads(files["config.toml"].decode())
    assert found["concurrent"] == 1
    assert found["runners"][0]["token"] == token


def test_jobs_of_a_pool_with_containers_run_in_their_images_by_the_agent_s_own_socket(
    make: Maker,
) -> None:
    found = config_of(make(containers=True, pull="always").enrol(agent(), ()))
    assert found["executor"] == "docker"
    assert found["builds_dir"] == OWN_RUNNERS.work
    assert found["feature_flags"]["FF_NETWORK_PER_BUILD"] is True
    assert found["feature_flags"].items() >= FEATURES.items()
    docker = found["docker"]
    assert docker["host"] == "unix:///run/mayfly-docker/docker.sock"
    # What a job stands in has the same name in the agent, where it is a volume that a `docker run` may mount.
    assert docker["volumes"] == [
        "/builds:/builds",
        "/var/run/docker.sock:/var/run/docker.sock",
        "/cache",
        "/run/mayfly-job:/run/mayfly-job:ro",  # what the lines of its log are
    ]
    assert found["pre_build_script"].startswith(": mayfly: what this job runs on\n")
    without = config_of(make(containers=True, job_lines=False).enrol(agent(), ()))
    assert "pre_build_script" not in without
    assert without["docker"]["volumes"] == docker["volumes"][:-1]
    assert docker["pull_policy"] == ["always"]
    assert not {"gpus", "image", "helper_image"} & set(docker)


def test_such_jobs_have_the_pool_s_gpus_mounts_variables_and_default_images(make: Maker) -> None:
    provider = make(
        containers=True,
        gpus=2,
        env={"TZ": "UTC"},
        datasets=(Dataset("/srv/net", "/datasets/net", "NET"),),
        caches=(Cache("/srv/cache", "/cache"),),
        default_image="python:3.12",
        helper_image="lab/helper:1",
    )
    found = config_of(provider.enrol(agent(), ()))
    docker = found["docker"]
    assert (docker["gpus"], docker["service_gpus"]) == ("all", "all")
    assert docker["volumes"][2:4] == ["/cache:/cache", "/datasets/net:/datasets/net"]
    assert (docker["image"], docker["helper_image"]) == ("python:3.12", "lab/helper:1")
    assert found["environment"] == ["DOCKER_BUILDKIT=0", "TZ=UTC", "NET=/datasets/net"]


def test_a_pool_without_containers_runs_its_jobs_in_the_agent(make: Maker) -> None:
    found = config_of(make().enrol(agent(), ()))
    assert found["executor"] == "shell"
    assert "docker" not in found


def test_an_agent_costs_two_calls_once_its_slot_has_a_runner(fake: FakeGitLab, make: Maker) -> None:
    provider = make()
    enrolment = provider.enrol(agent(), ())
    before = len(fake.calls)
    provider.enrol(agent(), ())
    assert [call.path for call in fake.calls[before:]] == [
        "/api/v4/runners/verify",
        f"/api/v4/runners/{runner_of(fake, enrolment).id}/jobs",
    ]


def test_slots_do_not_share_anything(fake: FakeGitLab, make: Maker) -> None:
    provider = make()
    one, two = provider.enrol(agent(0), ()), provider.enrol(agent(1), ())
    assert len(fake.runners) == 2
    assert config_of(one)["token"] != config_of(two)["token"]
    assert one.files["system_id"] != two.files["system_id"]


def test_what_is_remembered_can_be_read_by_root_alone(tmp_path: Path, make: Maker) -> None:
    make().enrol(agent(), ())
    for path in ((tmp_path / "gitlab"), *(tmp_path / "gitlab").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_runner_has_the_tags_of_its_pool_and_no_untagged_jobs(
    fake: FakeGitLab, make: Maker
) -> None:
    provider = make(labels=("a100", "lab"), gpus=1, cuda="12.8", limits=Limits(job_timeout=7200.0))
    runner = runner_of(fake, provider.enrol(agent(), ("nvlink",)))
    assert runner.tags == ("a100", "lab", "nvlink", "gpu", "cuda-12.8", f"mayfly-{HOST_ID}-gpu")
    assert not runner.run_untagged
    assert runner.maximum_timeout == 7200 - 660
    assert (runner.kind, runner.owner) == ("group_type", 10)


def test_a_changed_configuration_changes_the_runner_with_its_next_agent(
    fake: FakeGitLab, make: Maker
) -> None:
    first = make().enrol(agent(), ())
    again = make(labels=("h200",)).enrol(agent(), ())
    assert first.registration == again.registration
    assert "h200" in runner_of(fake, again).tags


def test_a_runner_that_was_deleted_at_gitlab_is_made_anew(fake: FakeGitLab, make: Maker) -> None:
    provider = make()
    first = provider.enrol(agent(), ())
    del fake.runners[int(first.registration or 0)]
    second = provider.enrol(agent(), ())
    assert list(fake.runners) == [int(second.registration or 0)]


def test_a_token_that_was_reset_at_gitlab_is_replaced_by_one_that_is_good(
    fake: FakeGitLab, make: Maker
) -> None:
    provider = make()
    first = provider.enrol(agent(), ())
    fake.revoke(int(first.registration or 0))
    second = provider.enrol(agent(), ())
    assert second.registration == first.registration
    assert config_of(second)["token"] == runner_of(fake, second).token


def test_a_token_that_expires_soon_is_rotated_between_two_agents(
    fake: FakeGitLab, make: Maker
) -> None:
    fake.token_life = 30 * DAY
    provider = make()
    first = config_of(provider.enrol(agent(), ()))["token"]
    assert config_of(provider.enrol(agent(), ()))["token"] == first
    make.now += 25 * DAY
    enrolment = provider.enrol(agent(), ())
    assert config_of(enrolment)["token"] != first
    assert config_of(enrolment)["token"] == runner_of(fake, enrolment).token
    assert "expires" not in enrolment.files["config.toml"].decode()


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_lost_reply_leaves_no_second_runner_behind(
    fake: FakeGitLab, make: Maker, lost: str
) -> None:
    fake.fail("POST", "/api/v4/user/runners", Fault(lost=lost))
    with pytest.raises(Passing):
        make().enrol(agent(), ())
    enrolment = make().enrol(agent(), ())
    assert list(fake.runners) == [int(enrolment.registration or 0)]


def test_what_a_token_that_may_not_list_has_lost_stays_and_the_check_says_so(
    fake: FakeGitLab, make: Maker
) -> None:
    token = fake.person("create_runner", "manage_runner")
    provider = make(token, scope="group:10", url=fake.url)
    enrolment = provider.enrol(agent(), ())
    roster = provider.roster()
    assert roster is not None
    assert [entry.id for entry in roster.entries] == [enrolment.registration]
    found = provider.check()
    assert {finding.severity for finding in found} == {Severity.INFO}, found
    assert any("read_api" in finding.fix for finding in found)


def test_a_pool_that_moves_to_another_group_leaves_no_runner_in_the_old_one(
    fake: FakeGitLab, make: Maker
) -> None:
    make(scope="group:10", url=fake.url).enrol(agent(), ())
    make(scope="group:11", url=fake.url).enrol(agent(), ())
    assert [runner.owner for runner in fake.runners.values()] == [11]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/ourlab", GitLabScope("group", 10)),
        ("/ourlab/vision", GitLabScope("group", 11)),
        ("/ourlab/library", GitLabScope("project", 7)),
    ],
)
def test_an_address_names_a_group_or_a_project(
    fake: FakeGitLab, make: Maker, path: str, place: GitLabScope
) -> None:
    runner = runner_of(fake, make(url=fake.url + path).enrol(agent(), ()))
    assert (runner.kind, runner.owner) == (f"{place.kind}_type", place.id)


def test_a_scope_names_its_place_by_number() -> None:
    assert place_of("instance") == GitLabScope("instance", None)
    assert place_of("group:10") == GitLabScope("group", 10)
    assert place_of("project:7") == GitLabScope("project", 7)
    with pytest.raises(Refused, match="scope"):
        place_of("group:ourlab")


# -- what the client gets ----------------------------------------------------------------------------


def test_the_client_gets_the_instances_address_the_shell_and_nothing_of_an_expiry(
    fake: FakeGitLab, make: Maker
) -> None:
    config = config_of(make().enrol(agent(), ()))
    assert config.pop("token").startswith("glrt-")
    assert config == {
        "name": "box-gpu-0",
        "url": fake.url,
        "executor": "shell",
        "shell": "bash",
        # A job's own variable must not set these: its steps would begin as the runner's user, which is root.
        "feature_flags": {"FF_CONCRETE": False, "FF_SCRIPT_TO_STEP_MIGRATION": False},
    }


def test_a_private_authority_and_a_shared_cache_are_in_the_clients_configuration(
    make: Maker,
) -> None:
    provider = make(caches=(Cache("/srv/cache", "/cache"),), ca=certifi.where())
    config = config_of(provider.enrol(agent(), ()))
    assert config["tls-ca-file"] == "/etc/mayfly/ca.pem"
    assert config["cache_dir"] == "/cache"


# -- pausing, deleting -------------------------------------------------------------------------------


def test_a_cordoned_slots_runner_is_paused_and_its_next_agent_resumes_it(
    fake: FakeGitLab, make: Maker
) -> None:
    provider = make()
    enrolment = provider.enrol(agent(), ())
    provider.cordon(enrolment.registration or "", on=True)
    assert runner_of(fake, enrolment).paused
    make().enrol(agent(), ())
    assert not runner_of(fake, enrolment).paused


def test_what_a_person_has_paused_at_gitlab_stays_paused_and_the_check_says_so(
    fake: FakeGitLab, make: Maker
) -> None:
    provider = make()
    enrolment = provider.enrol(agent(), ())
    runner_of(fake, enrolment).paused = True
    provider.enrol(agent(), ())
    assert runner_of(fake, enrolment).paused
    (finding,) = provider.check()
    assert "paused at GitLab, and not by Mayfly" in finding.text


def test_a_runner_with_a_job_is_paused_but_not_said_to_be_free(
    fake: FakeGitLab, make: Maker
) -> None:
    provider = make()
    enrolment = provider.enrol(agent(), ())
    _busy(fake, enrolment)
    assert provider.cordon(enrolment.registration or "", on=True).busy
    assert runner_of(fake, enrolment).paused


def _busy(fake: FakeGitLab, enrolment: Enrolment) -> int:
    runner = runner_of(fake, enrolment)
    job = fake.submit("true", tags=runner.tags[:1])
    fake.give(job, runner.id, enrolment.files["system_id"].decode())
    return job


@pytest.mark.parametrize("started", [-3600.0, -0.1, 4.0])
def test_a_job_that_an_earlier_agent_left_running_does_not_make_the_next_one_busy(
    fake: FakeGitLab, make: Maker, started: float
) -> None:
    """However soon before the next enrolment it was begun, and whatever the two clocks make of that."""
    provider = make()
    enrolment = provider.enrol(agent(), ())
    job = _busy(fake, enrolment)
    fake.jobs[job].started = make.now + 60 + started
    make.now += 60
    fake.skew = 60.0
    provider.enrol(agent(), ())
    for again in (provider, make()):
        roster = again.roster()
        assert roster is not None
        assert [entry.busy for entry in roster.entries] == [False]
    _busy(fake, enrolment)
    roster = provider.roster()
    assert roster is not None
    assert [entry.busy for entry in roster.entries] == [True]


def test_the_runner_of_a_slot_that_is_gone_is_deleted_and_forgotten(
    fake: FakeGitLab, make: Maker, tmp_path: Path
) -> None:
    provider = make()
    enrolment = provider.enrol(agent(), ())
    provider.dismiss(enrolment.registration or "")
    assert fake.runners == {}
    assert Vault(tmp_path / "gitlab").names() == ()


def test_the_runners_of_a_pool_that_is_gone_delete_themselves(
    fake: FakeGitLab, make: Maker, tmp_path: Path
) -> None:
    provider = make()
    provider.enrol(agent(0), ())
    provider.enrol(agent(1), ())
    fake.people.clear()
    (spec,) = left_behind(tmp_path)
    assert spec.name == PoolName("gpu")
    left = load(spec, HOST, HOST_ID, tmp_path)
    roster = left.roster()
    assert roster is not None
    for entry in roster.entries:
        left.dismiss(entry.id)
    assert fake.runners == {}
    assert left_behind(tmp_path) == ()


# -- a runner that a person has made -----------------------------------------------------------------


def test_all_slots_share_a_runner_that_a_person_has_made(fake: FakeGitLab, make: Maker) -> None:
    runner = fake.runner("gpu")
    provider = make(runner.token, url=fake.url)
    one, two = provider.enrol(agent(0), ()), provider.enrol(agent(1), ())
    assert config_of(one)["token"] == config_of(two)["token"] == runner.token
    assert one.registration is None
    assert one.files["system_id"] != two.files["system_id"]
    assert provider.roster() is None
    assert not provider.traits.can_cordon
    assert not provider.traits.keeps_entries
    assert len(fake.runners) == 1


def test_the_expiry_of_a_shared_token_is_told_a_week_before(fake: FakeGitLab, make: Maker) -> None:
    runner = fake.runner("gpu")
    runner.expires = make.now + 3 * DAY
    (finding,) = make(runner.token, url=fake.url).check()
    assert "expires in 3 days" in finding.text


# -- what a person must put right --------------------------------------------------------------------


def _revoked(fake: FakeGitLab, make: Maker) -> GitLab:
    runner = fake.runner("gpu")
    provider = make(runner.token, url=fake.url)
    fake.revoke(runner.id)
    return provider


def _elsewhere(fake: FakeGitLab, make: Maker) -> GitLab:
    fake.fail("", "/not-gitlab", Fault(status=404, body=b"<html>nginx</html>", times=None))
    return make(fake.runner("gpu").token, url=f"{fake.url}/not-gitlab")


def _proxied(fake: FakeGitLab, make: Maker) -> GitLab:
    fake.fail("", "", Fault(status=200, body=b"<html>Please sign in</html>", times=None))
    return make(scope="group:10", url=fake.url)


def _untagged(fake: FakeGitLab, make: Maker) -> GitLab:
    wrong = {
        "message": {
            "tags_list": ["can not be empty when runner is not allowed to pick untagged jobs"]
        }
    }
    fake.fail("POST", "/api/v4/user/runners", Fault(status=400, body=wrong, times=None))
    return make()


MISTAKES: dict[str, tuple[Callable[[FakeGitLab, Maker], GitLab], str]] = {
    "a registration token": (
        lambda fake, make: make(REGISTRATION_TOKEN),
        "is a registration token, which GitLab is giving up",
    ),
    "a revoked runner token": (_revoked, "it was revoked, has expired, or its runner was deleted"),
    "the wrong url": (_elsewhere, "sent a web page instead of data (404)"),
    "a page from a proxy": (_proxied, "sent a web page instead of data (200)"),
    "no tags": (_untagged, "GitLab refused the tags of"),
    "no right to make runners": (
        lambda fake, make: make(fake.person("read_api"), scope="group:10", url=fake.url),
        "give it the scopes create_runner and manage_runner",
    ),
    "a role too low": (
        lambda fake, make: make(scope="instance", url=fake.url),
        "for instance at",
    ),
    "a group that is not there": (
        lambda fake, make: make(url=f"{fake.url}/nobody"),
        "has no group or project nobody",
    ),
    "an address that names none": (lambda fake, make: make(url=fake.url), 'scope = "group:ID"'),
    "a token that may not look it up": (
        lambda fake, make: make(fake.person("create_runner", "manage_runner")),
        'scope = "group:ID"',
    ),
    "a token that is no token": (lambda fake, make: make("glpat-nobody"), "the token is wrong"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_that_says_what_to_do(
    fake: FakeGitLab, make: Maker, mistake: str
) -> None:
    build, words = MISTAKES[mistake]
    provider = build(fake, make)
    with pytest.raises(Refused) as caught:
        provider.enrol(agent(), ())
    sentence = str(caught.value)
    assert words in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400
    for secret in (*fake.people, *(runner.token for runner in fake.runners.values())):
        assert secret not in sentence


def test_a_token_file_that_others_can_read_is_refused_by_its_name(
    tmp_path: Path, make: Maker
) -> None:
    provider = make()
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        provider.roster()


def test_a_copied_token_shows_in_the_check(fake: FakeGitLab, make: Maker) -> None:
    provider = make()
    enrolment = provider.enrol(agent(), ())
    fake.hear(int(enrolment.registration or 0), enrolment.files["system_id"].decode())
    assert provider.check() == ()
    fake.hear(int(enrolment.registration or 0), "r_somebodyelse")
    (finding,) = provider.check()
    assert "used from elsewhere too (r_somebodyelse)" in finding.text


def test_another_token_is_read_at_the_next_try(
    fake: FakeGitLab, make: Maker, tmp_path: Path
) -> None:
    provider = make(fake.person("read_api"), scope="group:10", url=fake.url)
    with pytest.raises(Refused):
        provider.enrol(agent(), ())
    assert provider.roster() is not None  # which says nothing of enrolments
    secret_file(tmp_path, "token", fake.person(*SCOPES))
    provider.enrol(agent(), ())


def test_what_it_says_of_itself_needs_no_file_and_follows_the_token_once_that_was_read(
    fake: FakeGitLab, make: Maker, tmp_path: Path
) -> None:
    provider = make(fake.runner("gpu").token, url=fake.url)
    (tmp_path / "token").unlink()
    before = provider.traits
    secret_file(tmp_path, "token", fake.person(*SCOPES))
    assert provider.traits == before
    with suppress(Refused):
        provider.roster()
    after = provider.traits
    assert (before.can_cordon, before.keeps_entries) == (False, False)
    assert (after.can_cordon, after.keeps_entries) == (True, True)
