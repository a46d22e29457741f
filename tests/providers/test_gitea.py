"""What is Gitea's alone: where runners are registered, what one gets, how one is let go of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.core.model import Severity
from mayfly.edge.faults import Passing, Refused
from mayfly.providers.gitea.place import place_of
from mayfly.providers.gitea.provider import Gitea
from tests.fakes.gitea import REGISTER, FakeGitea, Runner
from tests.fakes.http import Fault
from tests.providers.contract import HOST, HOST_ID, OTHER_ID, agent, changed, pool, secret_file

pytestmark = [
    pytest.mark.seen(
        "gitea", "registration", "list of agents", "no new job", "removal", with_="fake"
    ),
]

SITE = "https://gitea.lab"
MARK = f"mayfly-{HOST_ID}-gpu"


@pytest.mark.parametrize(
    ("url", "scope", "said", "path", "site"),
    [
        (f"{SITE}/ourlab", None, "org:ourlab", "orgs/ourlab", SITE),
        (f"{SITE}/ourlab/train.git", None, "repo:ourlab/train", "repos/ourlab/train", SITE),
        (f"{SITE}/git/", "org:ourlab", "org:ourlab", "orgs/ourlab", f"{SITE}/git"),
        (SITE, "user", "user", "user", SITE),
        (SITE, "instance", "instance", "admin", SITE),
        (SITE, "repo:ourlab/train", "repo:ourlab/train", "repos/ourlab/train", SITE),
    ],
)
def test_runners_are_registered_where_the_configuration_says(
    url: str, scope: str | None, said: str, path: str, site: str
) -> None:
    place = place_of(url, scope)
    assert (str(place), place.path, place.site) == (said, path, site)


class Place:
    """A pool at the fake."""

    def __init__(self, fake: FakeGitea, home: Path) -> None:
        self.fake, self.home = fake, home
        self.pool = pool("gitea", url=f"{fake.url}/ourlab", token=self.token("write:organization"))

    def token(self, *scopes: str) -> dict[str, str]:
        return secret_file(self.home, "token", self.fake.person(*scopes))

    @property
    def provider(self) -> Gitea:
        return Gitea(self.pool, HOST, HOST_ID)

    def runner(self, files: dict[str, bytes]) -> Runner:
        return self.fake.by_key(json.loads(files["runner"])["token"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with FakeGitea() as fake:
        yield Place(fake, tmp_path)


def test_a_runner_is_for_one_job_and_has_the_labels_that_jobs_ask_for(place: Place) -> None:
    place.pool = replace(place.pool, labels=("gpu-big",), cuda="12.8", gpus=1)
    given = place.provider.enrol(agent(), ("nvidia-h100",))
    (runner,) = place.fake.runners.values()
    assert runner.ephemeral
    wanted = ["gpu-big", "nvidia-h100", "self-hosted", "gpu", "cuda-12.8", MARK]
    assert [label for label in runner.labels if label in wanted] == wanted
    shown = json.loads(given.files["runner"])
    assert shown["labels"] == [f"{label}:host" for label in runner.labels]
    assert shown["ephemeral"] is True
    assert shown["address"] == place.fake.url
    assert (shown["uuid"], shown["token"]) == (runner.uuid, runner.token)
    assert runner.name == given.registered == "box-gpu-0-l0000000abcde"


def test_the_runner_s_own_limit_is_above_the_pools(place: Place) -> None:
    place.pool = replace(place.pool, limits=replace(place.pool.limits, job_timeout=7200.0))
    keys = json.loads(place.provider.enrol(agent(), ()).files["config.yaml"])["runner"]
    assert keys["timeout"] == "10800s"
    assert keys["shutdown_timeout"] == "1h"
    place.pool = replace(place.pool, limits=replace(place.pool.limits, job_timeout=None))
    keys = json.loads(place.provider.enrol(agent(), ()).files["config.yaml"])["runner"]
    assert int(keys["timeout"].removesuffix("s")) > 365 * 86400


def test_agents_of_large_pools_ask_for_jobs_less_often(place: Place) -> None:
    def pause(slots: int) -> str:
        place.pool = replace(place.pool, slots=slots)
        keys = json.loads(place.provider.enrol(agent(), ()).files["config.yaml"])["runner"]
        assert keys["fetch_interval"] == keys["fetch_interval_max"]
        return str(keys["fetch_interval"])

    assert (pause(2), pause(64)) == ("2.0s", "8.0s")


def test_a_place_that_is_not_there_is_told_with_the_keys_that_name_it(place: Place) -> None:
    place.pool = changed(place.pool, url=place.fake.url, scope="org:nobody")
    place.fake.fail(
        "GET",
        "/api/v1/orgs/nobody/actions/jobs",
        Fault(status=404, body={"message": "GetOrgByName"}),
    )
    with pytest.raises(Refused, match="check `scope` or `url`, and the token"):
        place.provider.roster()


def test_a_place_that_was_renamed_is_told_with_the_key_that_names_it(place: Place) -> None:
    path = "/api/v1/orgs/ourlab/actions/jobs"
    away = {"Location": path.replace("ourlab", "theirlab")}
    place.fake.fail("GET", path, Fault(status=307, headers=away))
    with pytest.raises(Refused, match=r"has moved .* into `scope` or `url`"):
        place.provider.roster()


def test_a_label_with_a_colon_is_refused_in_a_sentence(place: Place) -> None:
    place.pool = replace(place.pool, labels=("gpu:docker",))
    (finding,) = (one for one in place.provider.check() if one.severity is Severity.ERROR)
    assert 'cannot have the label "gpu:docker"' in finding.text
    with pytest.raises(Refused, match='cannot have the label "gpu:docker"'):
        place.provider.enrol(agent(), ())
    assert place.fake.runners == {}


def test_a_registration_token_that_was_reset_is_got_anew(place: Place) -> None:
    provider = place.provider
    provider.enrol(agent(0), ())
    place.fake.registration.clear()
    provider.enrol(agent(1), ())
    assert len(place.fake.runners) == 2


def test_a_registration_token_that_is_never_taken_passes(place: Place) -> None:
    said = {"code": "unknown", "message": "runner registration token not found"}
    place.fake.fail("POST", REGISTER, Fault(status=500, body=said, times=None))
    with pytest.raises(Passing, match="does not take the registration token"):
        place.provider.enrol(agent(), ())


@pytest.mark.parametrize("scope", ["read:organization", "all:nothing"])
def test_a_token_with_too_few_scopes_is_told_which_it_needs(place: Place, scope: str) -> None:
    place.pool = changed(place.pool, token=place.token(scope))
    with pytest.raises(
        Refused, match="write:organization, and has to be that of an owner of org:ourlab"
    ):
        place.provider.enrol(agent(), ())
    *_, finding = place.provider.check()
    assert finding.severity is Severity.ERROR
    assert ":organization" in finding.text


def test_a_good_token_that_is_refused_once_is_asked_with_again(place: Place) -> None:
    """Gitea answers 401 where its database is busy, too."""
    provider = place.provider
    for path in ("orgs/ourlab/actions/runners", "orgs/ourlab/actions/runners/registration-token"):
        place.fake.fail("", f"/api/v1/{path}", Fault(status=401, times=1))
        provider.enrol(agent(), ())
        assert provider.roster() is not None


def test_a_token_that_is_refused_again_and_again_is_asked_with_once_from_then_on(
    place: Place,
) -> None:
    provider = place.provider
    provider.roster()
    place.fake.people.clear()
    for calls in (3, 1, 1):
        before = len(place.fake.calls)
        with pytest.raises(Refused, match="the token is wrong or has expired"):
            provider.answer()
        assert len(place.fake.calls) == before + calls


def test_a_runner_that_got_a_job_in_the_last_moment_is_left_to_it(place: Place) -> None:
    """Gitea would delete it in the middle of its job, and does not call it busy before it reports."""
    provider = place.provider
    given = provider.enrol(agent(), ())
    runner = place.runner(dict(given.files))
    place.fake.declare(runner)
    job = place.fake.submit(MARK)
    assert place.fake.give(job, runner)
    assert place.fake.runners[runner.id].active == 0.0
    assert provider.dismiss(given.registration or "").busy
    assert provider.cordon(given.registration or "", on=True).busy
    place.fake.finish(job)
    assert not provider.dismiss(given.registration or "").busy


def test_a_runner_that_is_let_go_of_gets_no_job_meanwhile(place: Place) -> None:
    provider = place.provider
    given = provider.enrol(agent(), ())
    runner = place.runner(dict(given.files))
    place.fake.declare(runner)
    assert not provider.cordon(given.registration or "", on=True).busy
    assert not place.fake.give(place.fake.submit(MARK), runner)
    assert not provider.cordon(given.registration or "", on=False).busy
    assert place.fake.give(place.fake.submit(MARK), runner)


def test_a_runner_that_reported_a_moment_ago_is_left_alone(place: Place) -> None:
    provider = place.provider
    given = provider.enrol(agent(), ())
    place.fake.report(place.runner(dict(given.files)))
    assert provider.dismiss(given.registration or "").busy


def test_a_gitea_that_cannot_disable_a_runner_deletes_none(place: Place) -> None:
    provider = place.provider
    given = provider.enrol(agent(), ())
    place.fake.may_disable = False
    with pytest.raises(Refused, match=r"older than 1\.26"):
        provider.dismiss(given.registration or "")
    assert len(place.fake.runners) == 1


def test_one_that_the_pages_leave_out_is_looked_for_before_it_is_missed(place: Place) -> None:
    """The list is in the order in which runners were heard of last, and moves between two pages."""
    place.fake.page_most = 1
    provider = place.provider
    for number in (0, 1):
        provider.enrol(agent(number, f"l0000000aaaa{number}"), ())
    first, second = place.fake.runners.values()
    place.fake.declare(first)
    # What stands on the second page moves to the first one, which has been read.
    whole = Fault(status=200, times=1, skip=1)
    whole.body = {"runners": [place.fake._row(first)], "total_count": 2}
    place.fake.fail("GET", "/api/v1/orgs/ourlab/actions/runners", whole)
    roster = provider.roster()
    assert roster is not None
    assert {entry.id for entry in roster.entries} == {str(first.id), str(second.id)}
    del place.fake.runners[second.id]
    roster = provider.roster()
    assert roster is not None
    assert [entry.id for entry in roster.entries] == [str(first.id)]


def test_runners_of_others_are_not_touched_and_a_namesake_is_shown(place: Place) -> None:
    theirs = Gitea(place.pool, HOST, OTHER_ID).enrol(agent(), ())
    place.fake.declare(place.runner(dict(theirs.files)))
    roster = place.provider.roster()
    assert roster is not None
    (entry,) = roster.entries
    assert entry.foreign
    assert entry.slot == "gpu-0"


def test_a_name_that_is_in_use_before_its_gate_opened_passes(place: Place) -> None:
    provider = place.provider
    place.fake.fail("POST", REGISTER, Fault(lost="after"))
    with pytest.raises(Passing):
        provider.enrol(agent(), ())
    (runner,) = place.fake.runners.values()
    place.fake.declare(runner)
    with pytest.raises(Passing, match="online before its gate"):
        provider.enrol(agent(), ())


@pytest.mark.parametrize(
    ("version", "wrong"),
    [
        ("1.26.0", None),
        ("1.27.3", None),
        ("1.26.0+dev-12-gabc", None),
        ("1.25.4", "only from 1.26 on"),
        ("15.0.1+gitea-1.22.0", "is a Forgejo"),
        ("nonsense", "only from 1.26 on"),
    ],
)
def test_the_doctor_is_told_of_a_version_that_will_not_do(
    place: Place, version: str, wrong: str | None
) -> None:
    place.fake.version = version
    errors = [one.text for one in place.provider.check() if one.severity is Severity.ERROR]
    assert len(errors) == (wrong is not None)
    assert wrong is None or wrong in errors[0]


def test_the_doctor_is_told_of_another_address_and_of_gitea_s_own_limit(place: Place) -> None:
    place.fake.root_url = "https://gitea.elsewhere/"
    found = {one.severity: one.text for one in place.provider.check()}
    assert "calls itself https://gitea.elsewhere/" in found[Severity.WARNING]
    assert "allows jobs of 6 h" in found[Severity.INFO]
    place.fake.root_url = None
    place.pool = replace(place.pool, limits=replace(place.pool.limits, job_timeout=3600.0))
    assert place.provider.check() == ()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404, body=b"404 page not found\n", times=None),  # without OAuth2
        Fault(status=403, body=b"<html>no</html>", times=None),
        Fault(status=302, headers={"Location": "/user/login"}, times=None),
        Fault(status=200, body=[], times=None),
        Fault(lost="after", times=None),
    ],
)
def test_a_gitea_that_does_not_tell_its_address_is_no_finding(place: Place, fault: Fault) -> None:
    place.pool = replace(place.pool, limits=replace(place.pool.limits, job_timeout=3600.0))
    place.fake.fail("GET", "/.well-known/openid-configuration", fault)
    assert place.provider.check() == ()


def test_the_runner_of_a_pool_with_containers_speaks_to_the_agent_s_own_socket(
    place: Place,
) -> None:
    keys = json.loads(place.provider.enrol(agent(), ()).files["config.yaml"])
    assert not {"container", "host"} & set(keys)
    place.pool = replace(place.pool, containers=True)
    keys = json.loads(place.provider.enrol(agent(), ()).files["config.yaml"])
    assert keys["container"]["docker_host"] == "unix:///run/mayfly-docker/docker.sock"
    work = Gitea.traits.work
    assert keys["container"]["workdir_parent"] == work
    assert keys["container"]["bind_workdir"] is True
    assert keys["host"]["workdir_parent"].startswith(f"{work}/")
    # Only numbers are cleared away there as a task's.
    assert not keys["host"]["workdir_parent"].removeprefix(f"{work}/").isdecimal()


def test_a_token_of_the_person_goes_nowhere_but_to_the_api(place: Place) -> None:
    provider = place.provider
    provider.enrol(agent(), ())
    provider.check()
    for call in place.fake.calls:
        api = call.path.startswith("/api/v1/")
        assert ("authorization" in call.headers) is api, call.path
