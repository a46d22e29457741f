"""GitHub's particulars: places, refusals and their sentences, names taken, Apps, groups, lists."""

from __future__ import annotations

import copy
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.memory import Agent
from mayfly.core.model import HostSpec, Severity
from mayfly.edge.faults import Passing, Refused
from mayfly.providers.github.client_release import handed_out
from mayfly.providers.github.place import place_of
from mayfly.providers.github.provider import GitHub
from tests.fakes.github import FakeGitHub, Token
from tests.fakes.http import Fault
from tests.providers import contract
from tests.providers.contract import HOST, HOST_ID, OTHER_ID, agent, entry_of
from tests.providers.test_github_contract import (
    AppBench,
    GitHubBench,
    RepositoryBench,
    TokenBench,
    blob,
)
from tests.waiting import rest

pytestmark = [
    pytest.mark.seen(
        "github",
        "registration",
        "list of agents",
        "removal",
        "GitHub App",
        "runner groups",
        with_="fake",
    ),
]

MINT = ("POST", "/api/v3/orgs/acme/actions/runners/generate-jitconfig")


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub() as service:
        yield service


@pytest.fixture
def bench(fake: FakeGitHub, tmp_path: Path) -> GitHubBench:
    return GitHubBench(fake, tmp_path)


def changed(bench: GitHubBench, **keys: Any) -> GitHub:
    """The provider of the bench's pool with other keys."""
    return GitHub(contract.changed(bench.pool, **keys), HOST, HOST_ID)


@pytest.mark.parametrize(
    ("url", "kind", "name", "api"),
    [
        ("https://github.com/acme", "organisation", "acme", "https://api.github.com"),
        ("https://github.com/acme/", "organisation", "acme", "https://api.github.com"),
        ("https://github.com/acme/app", "repository", "acme/app", "https://api.github.com"),
        ("https://github.com/acme/app.git", "repository", "acme/app", "https://api.github.com"),
        ("https://github.com/enterprises/works", "enterprise", "works", "https://api.github.com"),
        ("https://lab.ghe.com/acme", "organisation", "acme", "https://api.lab.ghe.com"),
        ("https://git.lab.org/acme/app", "repository", "acme/app", "https://git.lab.org/api/v3"),
        ("http://127.0.0.1:81/acme", "organisation", "acme", "http://127.0.0.1:81/api/v3"),
    ],
)
def test_a_url_names_a_repository_an_organisation_or_an_enterprise_wherever_github_runs(
    url: str, kind: str, name: str, api: str
) -> None:
    place = place_of(url)
    assert (place.kind, place.name, place.api) == (kind, name, api)


@pytest.mark.parametrize(
    "url", ["https://github.com", "https://github.com/a/b/c", "https://github.com/"]
)
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="names no place for runners"):
        place_of(url)


def test_a_registration_is_for_one_agent_with_all_that_jobs_may_ask_for(bench: GitHubBench) -> None:
    provider = changed(bench, labels=("big",), gpus=1, cuda="12.8")
    enrolment = provider.enrol(agent(), ("H100", "BIG"))
    runner = bench.fake.runner(enrolment.registration or "")
    assert runner is not None
    assert runner.name == "box-gpu-0-l0000000abcde"
    assert runner.group == 3
    wanted = {"self-hosted", "linux", "gpu", "cuda-12.8", "big", "h100", f"mayfly-{HOST_ID}-gpu"}
    assert wanted <= set(runner.labels)
    assert blob(enrolment)[".runner"]["AgentName"] == runner.name


# -- what is refused, and in which words ------------------------------------------------------------


REFUSALS: list[tuple[str, Callable[[FakeGitHub], object], str]] = [
    ("a wrong token", lambda f: f.tokens.clear(), "401.*token is wrong or has expired"),
    (
        "reading only",
        lambda f: setattr(f.tokens["ghp_good"], "runners", "read"),
        "403.*lacks a permission",
    ),
    (
        "no rights",
        lambda f: setattr(f.tokens["ghp_good"], "runners", "none"),
        "404.*may not see it",
    ),
    ("an unknown group", lambda f: f.groups.pop(3), 'no runner group "gpu".*"Default"'),
    ("no such organisation", lambda f: f.orgs.clear(), "404.*check `url`"),
    ("a full group", lambda f: f.groups[3].update(full=True), "422.*max limit of 10000"),
    ("GHES without JIT", lambda f: setattr(f, "jit", False), '3.19.0.*set enrolment = "token"'),
]
UNSEEN = ("a full group",)  # only the next runner of that group is refused


@pytest.mark.parametrize(("what", "change", "words"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_what_needs_a_person_is_refused_in_one_sentence_that_says_what_to_do(
    bench: GitHubBench, what: str, change: Callable[[FakeGitHub], None], words: str
) -> None:
    change(bench.fake)
    provider = bench.provider()
    with pytest.raises(Refused, match=words) as caught:
        provider.enrol(agent(), ())
    assert "\n" not in str(caught.value)
    assert "ghp_good" not in str(caught.value)


@pytest.mark.parametrize(
    ("what", "change", "words"),
    [row for row in REFUSALS if row[0] not in UNSEEN],
    ids=[row[0] for row in REFUSALS if row[0] not in UNSEEN],
)
def test_the_check_tells_it_in_the_same_words_and_makes_no_runner(
    bench: GitHubBench, what: str, change: Callable[[FakeGitHub], None], words: str
) -> None:
    change(bench.fake)
    (finding,) = bench.provider().check()
    assert finding.severity is Severity.ERROR
    assert re.search(words, finding.text)
    assert bench.fake.registered == 0


def test_the_check_of_a_good_pool_makes_no_runner(bench: GitHubBench) -> None:
    assert bench.provider().check() == ()
    assert bench.fake.registered == 0


@pytest.mark.parametrize(("what", "change", "words"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_what_was_put_right_is_seen_at_the_next_enrolment(
    bench: GitHubBench, what: str, change: Callable[[FakeGitHub], None], words: str
) -> None:
    provider = bench.provider()
    provider.enrol(agent(1, "l0000000bbbbb"), ())
    fake = bench.fake
    before = copy.deepcopy((fake.tokens, fake.groups, fake.orgs, fake.jit))
    change(fake)
    with pytest.raises(Refused, match=words):
        provider.enrol(agent(), ())
    fake.tokens, fake.groups, fake.orgs, fake.jit = before
    assert provider.enrol(agent(), ()).registration


def test_a_token_with_more_rights_is_used_though_the_old_one_is_still_good(
    bench: GitHubBench,
) -> None:
    bench.fake.tokens["ghp_good"].runners = "read"
    provider = bench.provider()
    with pytest.raises(Refused, match="lacks a permission"):
        provider.enrol(agent(), ())
    bench.fake.tokens["ghp_more"] = Token()
    (bench.home / "token").write_text("ghp_more")
    assert provider.enrol(agent(), ()).registration


def test_a_group_that_was_made_anew_is_found_by_its_name(bench: GitHubBench) -> None:
    provider = bench.provider()
    provider.enrol(agent(1, "l0000000bbbbb"), ())
    bench.fake.groups[9] = bench.fake.groups.pop(3)
    with pytest.raises(Passing, match="was made anew"):
        provider.enrol(agent(), ())
    made = bench.fake.runner(provider.enrol(agent(), ()).registration or "")
    assert made is not None
    assert made.group == 9


def test_a_renamed_repository_is_told_with_its_new_name(fake: FakeGitHub, tmp_path: Path) -> None:
    bench = RepositoryBench(fake, tmp_path)
    fake.repos["acme/new"] = fake.repos.pop("acme/app")
    fake.renamed["acme/app"] = "acme/new"
    for call in (bench.provider().roster, lambda: bench.provider().enrol(agent(), ())):
        with pytest.raises(
            Refused, match=f'is called acme/new now: set url = "{fake.url}/acme/new"'
        ):
            call()


def test_self_hosted_runners_that_are_disabled_are_told_in_githubs_words(
    fake: FakeGitHub, tmp_path: Path
) -> None:
    bench = RepositoryBench(fake, tmp_path)
    fake.repos["acme/app"]["disabled"] = True
    with pytest.raises(Refused, match="Self-hosted runners are disabled"):
        bench.provider().enrol(agent(), ())


def test_a_token_that_was_replaced_in_its_file_is_used_from_the_next_call_on(
    bench: GitHubBench,
) -> None:
    provider = bench.provider()
    provider.roster()
    bench.fake.tokens = {"ghp_other": bench.fake.tokens["ghp_good"]}
    with pytest.raises(Refused, match="401"):
        provider.roster()
    (bench.home / "token").write_text("ghp_other")
    assert provider.roster() is not None


def test_a_pool_without_credentials_is_refused_and_not_asked_for_at_github(
    bench: GitHubBench,
) -> None:
    provider = changed(bench, token=None)
    with pytest.raises(Refused, match="neither `token` nor `app`"):
        provider.roster()
    assert bench.fake.calls == []


# -- names ----------------------------------------------------------------------


def test_a_name_that_a_stranger_has_is_refused_and_left_alone(bench: GitHubBench) -> None:
    stranger = bench.fake._add("orgs/acme", "box-gpu-0-l0000000abcde", 1, ["self-hosted"])
    with pytest.raises(Refused, match="not ours is registered"):
        bench.provider().enrol(agent(), ())
    assert bench.fake.runner(stranger.id) is stranger


def test_a_name_that_an_old_list_does_not_show_yet_is_waited_for(bench: GitHubBench) -> None:
    bench.fake.stale = 60.0
    provider = bench.provider()
    looked = {"name": "box-gpu-0-l0000000abcde"}
    provider._connection.call("GET", "orgs/acme/actions/runners", "look before", query=looked)
    bench.fake.fail(*MINT, Fault(lost="after"))
    with pytest.raises(Passing):
        provider.enrol(agent(), ())
    with pytest.raises(Passing, match="does not list it yet") as caught:
        provider.enrol(agent(), ())
    assert caught.value.retry_after == 15
    bench.fake.renew_lists()
    enrolment = provider.enrol(agent(), ())
    assert len(bench.fake.runners) == 1
    assert bench.fake.runner(enrolment.registration or "") is not None


@pytest.mark.parametrize(
    "fault", [Fault(lost="after"), Fault(garbage=b"{")], ids=["lost", "garbage"]
)
def test_a_registration_that_never_reached_us_is_taken_back_at_the_next_roster(
    bench: GitHubBench, fault: Fault
) -> None:
    provider = bench.provider()
    kept = provider.enrol(agent(1, "l0000000bbbbb"), ())
    bench.fake.fail(*MINT, fault)
    with pytest.raises(Passing):
        provider.enrol(agent(), ())
    assert len(bench.fake.runners) == 2
    provider.roster()
    assert [runner.name for runner in bench.fake.runners.values()] == [kept.registered]


def test_a_registration_that_came_at_the_second_try_is_kept(bench: GitHubBench) -> None:
    provider = bench.provider()
    bench.fake.fail(*MINT, Fault(lost="after"))
    with pytest.raises(Passing):
        provider.enrol(agent(), ())
    enrolment = provider.enrol(agent(), ())
    provider.roster()
    assert bench.fake.runner(enrolment.registration or "") is not None


def test_a_lost_registration_that_runs_a_job_already_is_not_taken_back(bench: GitHubBench) -> None:
    provider = bench.provider()
    first = provider.enrol(agent(), ())
    bench.fake.connect(first.registered or "")
    bench.fake.give(first.registered or "")
    with pytest.raises(Passing, match="online before its gate"):
        provider.enrol(agent(), ())
    assert len(bench.fake.runners) == 1


def test_a_namesake_of_another_host_is_foreign_and_holds_its_slot_when_online(
    bench: GitHubBench,
) -> None:
    other = bench.provider(OTHER_ID)
    theirs = other.enrol(agent(1, "l0000000zzzzz"), ())
    bench.fake.connect(theirs.registered or "")
    roster = bench.provider().roster()
    assert roster is not None
    (entry,) = roster.entries
    assert entry.foreign
    assert entry.online
    assert entry.slot == "gpu-1"


def test_a_pool_whose_name_ends_like_ours_is_not_ours(bench: GitHubBench) -> None:
    big = GitHub(replace(bench.pool, name="big-gpu"), HOST, HOST_ID)  # type: ignore[arg-type]
    theirs = replace(agent(), slot="big-gpu-0")  # type: ignore[arg-type]
    assert isinstance(theirs, Agent)
    enrolment = big.enrol(theirs, ("gpu",))
    bench.fake.connect(enrolment.registered or "")
    roster = bench.provider().roster()
    assert roster is not None
    assert roster.entries == ()
    assert entry_of(big, enrolment) is not None


def test_ours_stay_ours_when_the_host_is_called_otherwise(bench: GitHubBench) -> None:
    enrolment = bench.provider().enrol(agent(), ())
    renamed = bench.provider(host=HostSpec(name="new"))
    entry = entry_of(renamed, enrolment)
    assert entry is not None
    assert entry.generation == "l0000000abcde"
    assert entry.slot == "gpu-0"


# -- lists ----------------------------------------------------------------------


def test_a_list_of_many_is_read_page_by_page_and_asked_for_less_often(bench: GitHubBench) -> None:
    for number in range(250):
        bench.fake._add("orgs/acme", f"other-{number}", 1, ["self-hosted"])
    provider = bench.provider()
    enrolment = provider.enrol(agent(), ())
    assert entry_of(provider, enrolment) is not None
    assert bench.fake.count(*bench.listing()) == 3
    assert provider.roster_interval == 90


def test_a_groups_name_puts_no_line_to_type_into_our_words(bench: GitHubBench) -> None:
    for group in bench.fake.groups.values():
        group["name"] = "`sudo make it so` " + "word " * 1000
    with pytest.raises(Refused, match="no runner group") as refused:
        bench.provider().enrol(agent(), ())
    assert "`sudo" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_number_without_end_in_a_name_is_none_of_ours(bench: GitHubBench) -> None:
    bench.fake._add("orgs/acme", f"box-gpu-{'9' * 5000}-l0000000abcde", 1, ["self-hosted"])
    roster = bench.provider().roster()
    assert roster is not None
    assert roster.entries == ()
    listed = [{"filename": f"b-{'9' * 5000}.1.1.tar.gz"}, {"filename": "a-2.300.1.tar.gz"}, {}]
    assert list(handed_out(listed)) == ["2.300.1"]


def test_a_list_that_has_not_changed_costs_nothing_of_the_hourly_limit(bench: GitHubBench) -> None:
    provider = bench.provider()
    enrolment = provider.enrol(agent(), ())
    provider.roster()
    used = bench.fake._used
    for _ in range(5):
        assert entry_of(provider, enrolment) is not None
    assert bench.fake._used == used
    assert provider.calls()["list the runners", "304"] == 5
    bench.fake.connect(enrolment.registered or "")
    entry = entry_of(provider, enrolment)
    assert entry is not None
    assert entry.online


# -- limits ----------------------------------------------------------------------


def test_the_hourly_limit_is_waited_for_until_github_says_it_is_over(bench: GitHubBench) -> None:
    bench.fake.hourly = 2
    began = time.monotonic()
    bench.fake._window = time.time() + 600
    provider = bench.provider()
    provider.enrol(agent(), ())
    before = len(bench.fake.calls)
    with pytest.raises(Passing, match="rate limit") as caught:
        provider.roster()
    assert caught.value.retry_after == rest(600, began, 5)
    assert len(bench.fake.calls) == before


def test_a_secondary_limit_without_a_time_is_waited_for_a_minute_and_then_longer(
    bench: GitHubBench,
) -> None:
    body = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
    bench.fake.fail(*bench.listing(), Fault(status=403, body=body))
    provider, began = bench.provider(), time.monotonic()
    with pytest.raises(Passing) as caught:
        provider.roster()
    assert caught.value.retry_after == rest(60, began)


def test_what_github_still_allows_is_known_after_a_call_and_a_wrong_url_harms_nobody(
    bench: GitHubBench,
) -> None:
    provider = bench.provider()
    assert provider.remaining() is None
    provider.roster()
    assert provider.remaining() == 4999
    wrong = changed(bench, url="https://github.com/a/b/c")
    assert (wrong.calls(), wrong.remaining()) == ({}, None)
    with pytest.raises(Refused, match="names no place"):
        wrong.roster()


def test_a_pool_that_has_used_its_budget_waits_and_asks_nobody(bench: GitHubBench) -> None:
    provider, began = changed(bench, calls_per_hour=60), time.monotonic()
    for _ in range(30):
        provider.roster()
    before = len(bench.fake.calls)
    with pytest.raises(Passing, match="budget of 60 calls an hour") as caught:
        provider.roster()
    assert caught.value.retry_after == rest(60, began, 3)
    assert len(bench.fake.calls) == before


# -- Apps ----------------------------------------------------------------------


@pytest.fixture
def app(fake: FakeGitHub, tmp_path: Path) -> AppBench:
    return AppBench(fake, tmp_path)


def test_an_app_finds_its_installation_and_gets_one_token_for_many_calls(app: AppBench) -> None:
    provider = app.provider()
    for _ in range(3):
        provider.roster()
    assert app.fake.count("GET", "/api/v3/orgs/acme/installation") == 1
    assert app.fake.count("POST", "/api/v3/app/installations/71/access_tokens") == 1
    (issued,) = [call for call in app.fake.calls if call.path.endswith("access_tokens")]
    assert issued.json == {"permissions": {"organization_self_hosted_runners": "write"}}


def test_an_apps_token_is_renewed_before_it_ends(app: AppBench) -> None:
    app.fake.token_life = 200.0  # less than the five minutes before its end
    provider = app.provider()
    provider.roster()
    provider.roster()
    assert app.fake.count("POST", "/api/v3/app/installations/71/access_tokens") == 2


def test_an_apps_token_that_github_has_revoked_is_replaced_at_once(app: AppBench) -> None:
    provider = app.provider()
    provider.roster()
    app.fake.tokens.clear()
    assert provider.roster() is not None


@pytest.mark.parametrize("skew", [-400.0, 400.0])
def test_an_app_works_though_the_hosts_clock_is_wrong_and_the_check_says_so(
    app: AppBench, skew: float
) -> None:
    app.fake.skew = skew
    provider = app.provider()
    found = [finding.text for finding in provider.check() if finding.severity is Severity.WARNING]
    assert len(found) == 1
    assert re.search(r"clock is (399|400|401) s (behind|ahead of) GitHub's", found[0])


def test_a_suspended_app_is_told(app: AppBench) -> None:
    app.fake.suspended = True
    with pytest.raises(Refused, match="App 4711 is suspended at orgs/acme"):
        app.provider().roster()


def test_an_app_that_is_suspended_later_is_told_too(app: AppBench) -> None:
    provider = app.provider()
    provider.roster()
    app.fake.suspended = True
    app.fake.tokens.clear()
    with pytest.raises(Refused, match="is suspended"):
        provider.roster()


def test_an_app_that_is_not_installed_is_told(app: AppBench) -> None:
    app.fake.installed.clear()
    with pytest.raises(Refused, match="is not installed at orgs/acme"):
        app.provider().roster()


def test_an_app_without_the_permission_is_told_which(app: AppBench) -> None:
    app.fake.app_permissions = {"metadata": "read"}
    with pytest.raises(Refused, match="organization_self_hosted_runners: write"):
        app.provider().roster()


def test_an_apps_wrong_key_is_told(app: AppBench) -> None:
    app.fake.apps.clear()
    with pytest.raises(Refused, match="does not take the key of App 4711"):
        app.provider().roster()


def test_an_apps_key_that_was_replaced_in_its_file_is_used(app: AppBench) -> None:
    good = (app.home / "app.pem").read_bytes()
    words = ["openssl", "genrsa", "-traditional", "-out", str(app.home / "app.pem"), "2048"]
    subprocess.run(words, check=True, capture_output=True)
    provider = app.provider()
    with pytest.raises(Refused, match="does not take the key"):
        provider.roster()
    (app.home / "app.pem").write_bytes(good)
    assert provider.roster() is not None


def test_an_app_that_was_given_a_permission_later_gets_a_token_that_has_it(app: AppBench) -> None:
    provider = app.provider()
    provider.roster()
    for token in app.fake.tokens.values():
        token.runners = "read"
    with pytest.raises(Refused, match="lacks a permission"):
        provider.enrol(agent(), ())
    assert provider.enrol(agent(), ()).registration


def test_an_app_cannot_manage_an_enterprise_and_is_told_before_any_call(app: AppBench) -> None:
    provider = changed(app, url=f"{app.fake.url}/enterprises/works")
    with pytest.raises(Refused, match="no App manage the runners of an enterprise"):
        provider.roster()
    assert app.fake.calls == []


def test_a_key_file_that_others_can_read_is_refused(app: AppBench) -> None:
    (app.home / "app.pem").chmod(0o644)
    with pytest.raises(Refused, match="can be read by others"):
        app.provider().roster()


# -- the check ----------------------------------------------------------------------


def test_the_check_warns_of_a_public_repository(fake: FakeGitHub, tmp_path: Path) -> None:
    fake.repos["acme/app"]["private"] = False
    (finding,) = RepositoryBench(fake, tmp_path).provider().check()
    assert finding.severity is Severity.WARNING
    assert "is public" in finding.text


def test_the_check_warns_of_a_group_that_public_repositories_may_use(bench: GitHubBench) -> None:
    bench.fake.groups[3]["allows_public_repositories"] = True
    (finding,) = bench.provider().check()
    assert "open to public repositories" in finding.text


def test_the_check_warns_of_a_runner_that_is_older_than_what_github_hands_out(
    bench: GitHubBench,
) -> None:
    provider = bench.provider()
    enrolment = provider.enrol(agent(), ())
    bench.fake.connect(enrolment.registered or "")
    runner = bench.fake.runner(enrolment.registered or "")
    assert runner is not None
    runner.version = "2.99.1"
    (finding,) = bench.provider().check()  # the doctor's, which has asked for nothing before
    assert "2.99.1" in finding.text
    assert "2.336.0" in finding.text
    assert finding.fix == "sudo mayfly images refresh --newest"


def test_the_check_complains_of_a_token_that_may_only_read(bench: GitHubBench) -> None:
    bench.fake.tokens["ghp_good"].runners = "read"
    (finding,) = bench.provider().check()
    assert finding.severity is Severity.ERROR
    assert "lacks a permission" in finding.text


def test_an_enterprise_is_served_with_a_token(bench: GitHubBench) -> None:
    provider = changed(bench, url=f"{bench.fake.url}/enterprises/works")
    enrolment = provider.enrol(agent(), ())
    runner = bench.fake.runner(enrolment.registration or "")
    assert runner is not None
    assert runner.scope == "enterprises/works"


# -- by registration token ----------------------------------------------------------------------


def test_config_sh_is_told_everything_but_the_token(fake: FakeGitHub, tmp_path: Path) -> None:
    bench = TokenBench(fake, tmp_path)
    enrolment = bench.provider().enrol(agent(), ())
    words = enrolment.files["config.argv"].decode().split("\0")[:-1]
    for flag in (
        "--unattended",
        "--ephemeral",
        "--disableupdate",
        "--no-default-labels",
        "--replace",
    ):
        assert flag in words
    assert words[words.index("--name") + 1] == "box-gpu-0-l0000000abcde"
    assert words[words.index("--runnergroup") + 1] == "gpu"
    assert words[words.index("--url") + 1] == f"{fake.url}/acme"
    assert enrolment.registration is None
    assert "--token" not in words
