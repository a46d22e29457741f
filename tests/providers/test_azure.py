"""What is particular to Azure Pipelines: entries that stay, keys that do not, sentences for mistakes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from mayfly.core.model import Cause, DoomReason, Exit, HostId, HostSpec, Severity
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.web import Web
from mayfly.providers import Enrolment, Sign
from mayfly.providers.azure.agent_pool import MARK
from mayfly.providers.azure.lines import CLOCK, judge, read
from mayfly.providers.azure.lost_key import LOST_KEY
from mayfly.providers.azure.provider import BORN, Azure
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.azure.version import version_of
from tests.fakes.azure import DIGEST, DT, LAB, FakeAzure, verified
from tests.fakes.http import Fault
from tests.providers.contract import HOST, HOST_ID, OTHER_ID, agent, changed
from tests.providers.test_azure_contract import AzureBench
from tests.waiting import rest

pytestmark = [
    pytest.mark.seen(
        "azure",
        "registration",
        "list of agents",
        "no new job",
        "removal",
        "service principal",
        with_="fake",
    ),
]

NAME = "box-gpu-0"
AGENTS = f"{DT}/pools/2/agents"


@pytest.fixture
def fake() -> Iterator[FakeAzure]:
    with FakeAzure() as service:
        yield service


@pytest.fixture
def bench(fake: FakeAzure, tmp_path: Path) -> AzureBench:
    return AzureBench(fake, tmp_path)


@pytest.fixture
def provider(bench: AzureBench) -> Azure:
    return bench.provider()


def token_of(bench: AzureBench) -> str:
    """The file with its token."""
    assert isinstance(bench.pool.settings, AzureSettings)
    return bench.pool.settings.token["file"]


def enrolled(bench: AzureBench, provider: Azure, generation: str = "l0000000abcde") -> Enrolment:
    """An agent that listens."""
    enrolment = provider.enrol(agent(generation=generation), ())
    bench.online(enrolment)
    return enrolment


# -- a server of some years ago ----------------------------------------------------------------------


@pytest.mark.parametrize("latest", ["5.0", "6.0", "7.0"])
def test_a_server_that_knows_an_older_interface_alone_is_asked_by_that(
    bench: AzureBench, fake: FakeAzure, latest: str
) -> None:
    """Azure DevOps Server 2019, 2020 and 2022; one more call, once."""
    fake.latest = latest
    provider = bench.provider()
    assert [one.text for one in provider.check() if one.severity is Severity.ERROR] == []
    enrolment = enrolled(bench, provider)
    roster = provider.roster()
    assert roster is not None
    assert [entry.name for entry in roster.entries] == [NAME]
    provider.cordon(enrolment.registration or "", on=True)
    provider.retire(enrolment.registration or "")
    provider.dismiss(enrolment.registration or "")
    assert fake.names() == []
    asked = [version for call in fake.calls if (version := call.query.get("api-version"))]
    assert asked.count("7.1") == 1
    assert set(asked) == {"7.1", latest}


@pytest.mark.parametrize(
    ("said", "is_one"),
    [
        ("4.255.0", True),
        ({"major": 4, "minor": 255, "patch": 0}, True),
        ({"major": True, "minor": 255, "patch": 0}, False),
        ({"major": 4, "minor": "255", "patch": 0}, False),
        ({"major": 4, "minor": 255}, False),
        ("9" * 5000 + ".1.1", False),
        (None, False),
    ],
)
def test_a_version_is_three_numbers_and_anything_else_is_none(said: object, is_one: bool) -> None:
    assert (version_of(said) == (4, 255, 0)) == is_one
    assert (version_of(said) is None) != is_one


def test_a_server_whose_words_name_no_version_is_refused_with_them(
    provider: Azure, fake: FakeAzure
) -> None:
    fake.latest = "1"
    with pytest.raises(Refused, match="out of range for this server"):
        provider.roster()


# -- entries ---------------------------------------------------------------------------------------


def test_an_agent_bears_its_slots_name_and_that_is_its_registration(provider: Azure) -> None:
    enrolment = provider.enrol(agent(), ())
    assert enrolment.registered == enrolment.registration == NAME


def test_config_gets_the_service_the_pool_the_name_and_a_limit(
    provider: Azure, fake: FakeAzure
) -> None:
    files = provider.enrol(agent(), ()).files
    said = {name: text.decode().splitlines() for name, text in files.items()}
    assert said["url"] == [fake.organisation]
    assert said["pool"] == ["gpu"]
    assert said["agent"] == [NAME]
    assert said["limit"] == ["150"]


def test_labels_and_what_marks_an_entry_as_ours_are_all_that_is_to_be_shown(
    bench: AzureBench,
) -> None:
    bench.pool = replace(bench.pool, labels=("gpu", "cuda=12.8"))
    files = bench.provider().enrol(agent(), ("gpu",)).files
    assert files["capabilities"].decode().splitlines() == [
        f"{MARK}={HOST_ID}/gpu",
        f"{BORN}=l0000000abcde",
        "gpu",
        "cuda=12.8",
    ]


def test_a_roster_is_one_call(bench: AzureBench, provider: Azure, fake: FakeAzure) -> None:
    enrolled(bench, provider)
    provider.roster()
    before = len(fake.calls)
    provider.roster()
    assert [(call.method, call.path) for call in fake.calls[before:]] == [("GET", AGENTS)]


def test_an_assigned_job_is_busy_before_the_agent_has_fetched_it(
    bench: AzureBench, provider: Azure
) -> None:
    enrolment = enrolled(bench, provider)
    bench.take_job(enrolment)
    assert not bench.job.received
    roster = provider.roster()
    assert roster is not None
    assert [entry.busy for entry in roster.entries] == [True]


def test_an_entry_stays_when_its_agent_ends_so_that_jobs_wait_for_the_next(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolment = enrolled(bench, provider)
    bench.take_job(enrolment)
    bench.end_job(enrolment)
    provider.retire(NAME)
    waiting = fake.queue("true")
    assert waiting.result is None
    assert fake.queue("true", demands=("nobody-has-this",)).result == "rejected"
    enrolled(bench, provider, "l0000000fffff")
    assert waiting.agent == NAME


def test_an_entry_that_somebody_disabled_is_enabled_when_it_is_taken_again(
    provider: Azure, bench: AzureBench, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    fake.leave(NAME)
    fake.entry(NAME).enabled = False
    provider.enrol(agent(), ())
    assert fake.entry(NAME).enabled


def test_a_killed_agents_session_is_got_rid_of_by_taking_the_entry_anew(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    before = fake.entry(NAME)
    provider.enrol(agent(generation="l0000000fffff"), ())
    after = fake.entry(NAME)
    assert after.id != before.id
    assert not fake.online(after)
    assert after.capabilities == before.capabilities
    assert fake.names() == [NAME]


def test_a_killed_agent_that_still_counts_as_busy_keeps_its_slot_waiting(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    bench.take_job(enrolled(bench, provider))
    with pytest.raises(Passing, match="still counts a job on box-gpu-0"):
        provider.enrol(agent(generation="l0000000fffff"), ())
    fake.finish(bench.job, "abandoned")
    assert provider.enrol(agent(generation="l0000000fffff"), ()).registration == NAME


def test_a_foreign_agent_of_the_name_is_left_alone_while_it_is_online(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    fake.configure(NAME, {MARK: f"{OTHER_ID}/gpu"})
    fake.connect(NAME)
    entry = fake.entry(NAME)
    roster = provider.roster()
    assert roster is not None
    assert [(one.foreign, one.online, one.slot) for one in roster.entries] == [
        (True, True, "gpu-0")
    ]
    with pytest.raises(Passing, match="not this Mayfly's"):
        provider.enrol(agent(), ())
    provider.dismiss(NAME)
    provider.retire(NAME)
    assert fake.entry(NAME) is entry
    assert entry.keys == 1
    assert entry.enabled


def test_two_pools_of_one_host_do_not_take_each_others_agents_for_their_own(
    bench: AzureBench,
) -> None:
    enrolment = bench.provider().enrol(agent(), ())
    bench.online(enrolment)
    other = Azure(replace(bench.pool, name=type(bench.pool.name)("cpu")), HOST, HOST_ID)
    roster = other.roster()
    assert roster is not None
    assert roster.entries == ()


def test_an_agent_of_ours_under_a_name_that_the_host_no_longer_has_is_an_orphan(
    bench: AzureBench,
) -> None:
    enrolled(bench, bench.provider())
    roster = bench.provider(host=HostSpec(name="renamed")).roster()
    assert roster is not None
    assert [(entry.id, entry.slot, entry.foreign) for entry in roster.entries] == [
        (NAME, None, False)
    ]


def test_lists_in_pages_are_read_to_their_end(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    fake.page = 1
    enrolment = provider.enrol(agent(1, "l0000000bbbbb"), ())
    bench.online(enrolment)
    roster = provider.roster()
    assert roster is not None
    assert len(roster.entries) == 2


# -- cordon, dismissal -----------------------------------------------------------------------------


def test_a_cordoned_agent_gets_no_job_and_an_uncordoned_one_does(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    provider.cordon(NAME, True)
    job = fake.queue("true")
    assert job.agent is None
    provider.cordon(NAME, False)
    assert job.agent == NAME


def test_a_cordon_that_came_after_a_job_says_so_and_leaves_the_job_alone(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    bench.take_job(enrolled(bench, provider))
    assert provider.cordon(NAME, True).busy
    assert not fake.entry(NAME).enabled
    assert bench.job.result is None


def test_a_job_that_was_on_its_way_when_its_agent_was_cordoned_is_seen_at_the_second_look(
    bench: AzureBench, fake: FakeAzure
) -> None:
    def meanwhile(seconds: float) -> None:
        fake.entry(NAME).enabled = True
        fake.queue("true")

    provider = Azure(bench.pool, HOST, HOST_ID, pause=meanwhile)
    enrolled(bench, provider)
    assert provider.cordon(NAME, True).busy


def test_an_agent_that_config_has_not_registered_yet_cannot_be_cordoned_yet(
    provider: Azure,
) -> None:
    with pytest.raises(Passing, match="not in the agent pool yet"):
        provider.cordon(NAME, True)


def test_a_refusal_to_delete_is_known_by_its_type_whatever_its_status(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    bench.take_job(enrolled(bench, provider))
    for status in (400, 403, 409, 500):
        fake.still_running = status
        assert not provider._agents.delete(NAME, {"id": fake.entry(NAME).id})
        assert provider.dismiss(NAME).busy


# -- keys ------------------------------------------------------------------------------------------


def assertion(fake: FakeAzure, name: str, modulus: int, private: int) -> int:
    """The status of asking for a token with that key, as a job could that kept it."""
    now = int(time.time())
    parts = ({"alg": "RS256"}, {"iss": fake.entry(name).client, "nbf": now, "exp": now + 300})
    words = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    signed = b".".join(words)
    digest = DIGEST + hashlib.sha256(signed).digest()
    padded = b"\0\1" + b"\xff" * (253 - len(digest)) + b"\0" + digest
    signature = pow(int.from_bytes(padded, "big"), private, modulus).to_bytes(256, "big")
    web = Web(fake.organisation, "Azure DevOps", "a job")
    form = {
        "grant_type": "client_credentials",
        "client_assertion": (
            signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
        ).decode(),
    }
    operation = "get a token"
    return web.call("POST", "/_apis/oauth2/token", operation, form=form, accept=(200, 400)).status


def test_an_ended_agents_key_opens_nothing(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    key = generate_private_key(65537, 2048).private_numbers()
    modulus, private = key.public_numbers.n, key.d
    fake.entry(NAME).key = (modulus, 65537)
    assert assertion(fake, NAME, modulus, private) == 200
    provider.retire(NAME)
    assert assertion(fake, NAME, modulus, private) == 400
    provider.retire(NAME)


def test_the_key_that_nobody_has_is_one_that_could_be_used(provider: Azure) -> None:
    modulus, exponent = (
        int.from_bytes(base64.b64decode(LOST_KEY[part]), "big") for part in ("modulus", "exponent")
    )
    assert modulus.bit_length() == 2048
    assert modulus % 2 == 1
    assert exponent == 65537
    assert not verified((modulus, exponent), b"anything", bytes(256))


def test_the_key_that_nobody_has_is_the_number_of_the_challenge() -> None:
    modulus = int.from_bytes(base64.b64decode(LOST_KEY["modulus"]), "big")
    digits = str(modulus)
    # The challenge gave its numbers with this sum, against slips.
    assert (len(digits), sum(map(int, digits))) == (617, 2738)
    assert (digits[:12], digits[-12:]) == ("251959084756", "822120720357")
    # No prime, which everybody could use, and no product that is easily taken apart.
    assert pow(2, modulus - 1, modulus) != 1
    assert all(modulus % number for number in range(2, 100_000))


def test_retiring_an_agent_that_was_cordoned_enables_its_entry_for_the_next(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    provider.cordon(NAME, True)
    fake.leave(NAME)
    provider.retire(NAME)
    assert fake.entry(NAME).enabled


# -- what is wrong, in one sentence ----------------------------------------------------------------


def sentence(provider: Azure) -> str:
    """What a person is told when the pool cannot be used."""
    with pytest.raises(Refused) as caught:
        provider.roster()
    text = str(caught.value)
    assert "\n" not in text
    assert "pat-" not in text
    assert [finding.text for finding in provider.check()] == [text]
    return text


def test_a_wrong_token(fake: FakeAzure, provider: Azure) -> None:
    fake.tokens.clear()
    assert "the token is wrong or has expired" in sentence(provider)


@pytest.mark.parametrize(
    ("how", "words"), [("redirect", "wants a login"), ("page", "sent a web page instead of data")]
)
def test_a_wrong_token_that_gets_a_sign_in_page(
    fake: FakeAzure, provider: Azure, how: str, words: str
) -> None:
    fake.tokens.clear()
    fake.sign_in = how
    assert words in sentence(provider)


def test_a_wrong_agent_pool(bench: AzureBench) -> None:
    bench.pool = changed(bench.pool, agent_pool="nowhere")
    assert 'has no agent pool named "nowhere"' in sentence(bench.provider())


def test_an_agent_pool_of_microsofts_own(fake: FakeAzure, provider: Azure) -> None:
    fake.hosted = {2}
    assert "Microsoft's own" in sentence(provider)


def test_an_agent_pool_that_is_gone_is_looked_up_anew(fake: FakeAzure, provider: Azure) -> None:
    assert provider.roster() is not None
    fake.pools = {7: "gpu"}
    with pytest.raises(Refused, match="404"):
        provider.roster()
    assert provider.roster() is not None


def test_a_token_that_may_look_and_not_manage(bench: AzureBench, fake: FakeAzure) -> None:
    Path(token_of(bench)).write_text("pat-reader")
    (found,) = (one for one in bench.provider().check() if one.severity is Severity.ERROR)
    assert "may see the agent pool" in found.text
    assert "not manage it" in found.text
    assert "Administrator" in found.fix
    fake.configure(NAME, {MARK: f"{HOST_ID}/gpu"})
    fake.entry(NAME).enabled = False
    with pytest.raises(Refused, match=r"403.*lacks a permission"):
        bench.provider().enrol(agent(), ())


@pytest.mark.parametrize("url", ["http://tfs.example/Lab", "http://10.1.2.3:8080/tfs/Lab"])
def test_a_server_over_plain_http(bench: AzureBench, fake: FakeAzure, url: str) -> None:
    bench.pool = changed(bench.pool, url=url)
    provider = bench.provider()
    assert "plain http" in sentence(provider)
    with pytest.raises(Refused, match="plain http"):
        provider.enrol(agent(), ())
    assert fake.calls == []


@pytest.mark.parametrize(
    ("seconds", "severity"), [(-3600.0, Severity.ERROR), (120.0, Severity.WARNING)]
)
def test_a_clock_that_is_wrong(
    fake: FakeAzure, provider: Azure, seconds: float, severity: Severity
) -> None:
    fake.skew = seconds
    (found,) = (one for one in provider.check() if "clock" in one.text)
    assert found.severity is severity
    assert found.fix == "sudo timedatectl set-ntp true"


def test_a_service_principal_whose_secret_is_wrong(bench: AzureBench, fake: FakeAzure) -> None:
    bench.pool = changed(bench.pool, tenant_id="t", client_id="c", authority=fake.url)
    assert "check `tenant_id`, `client_id`, and the client secret" in sentence(bench.provider())


def test_a_wish_to_be_left_alone_beside_a_good_answer_is_heeded(
    fake: FakeAzure, provider: Azure
) -> None:
    fake.retry_after = "50"
    began = time.monotonic()
    provider._agents.pools("look")
    before = len(fake.calls)
    with pytest.raises(Passing) as caught:
        provider.roster()
    assert caught.value.retry_after == rest(50, began)
    assert len(fake.calls) == before


# -- the check -------------------------------------------------------------------------------------


def test_an_agent_behind_the_services_newest_is_told(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    assert not [one for one in provider.check() if "version" in one.text]
    fake.newest = "5.1.0"
    (found,) = (one for one in provider.check() if "version" in one.text)
    assert "4.248.0, the service offers 5.1.0" in found.text
    assert found.severity is Severity.INFO


def test_an_agent_that_the_service_wants_to_be_newer_is_a_warning(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    fake.refresh(NAME, "4.300.1")
    (found,) = (one for one in provider.check() if one.severity is Severity.WARNING)
    assert "wants 4.300.1 on box-gpu-0" in found.text


@pytest.mark.parametrize(("days", "told"), [(0, []), (10, []), (340, [Severity.WARNING])])
def test_a_token_is_told_of_when_its_year_is_nearly_over(
    bench: AzureBench, provider: Azure, days: int, told: list[Severity]
) -> None:
    written = time.time() - days * 86400
    os.utime(token_of(bench), (written, written))
    found = [one for one in provider.check() if "days ago" in one.text]
    assert [one.severity for one in found] == told
    assert all(f"{days} days ago" in one.text for one in found)


def test_a_token_that_is_put_in_its_place_is_used_at_once(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    fake.tokens = {"pat-next": "manage"}
    with pytest.raises(Refused):
        provider.roster()
    Path(token_of(bench)).write_text("pat-next")
    assert provider.roster() is not None


# -- what the client says --------------------------------------------------------------------------

AT = "2026-11-21 22:21:00Z: "


@pytest.mark.parametrize(
    ("line", "sign"),
    [
        (f"{AT}Listening for Jobs", Sign("listening")),
        (f"{AT}Running job: build", Sign("job_started", "build")),
        (f"{AT}Running job: ", Sign("job_started", "")),
        (f"{AT}Job build completed with result: Succeeded", Sign("job_ended", "Succeeded")),
        (f"{AT}Job completed with result: Failed", Sign("job_ended", "Failed")),
        (
            f"{AT}Job a completed with result: Failed completed with result: Canceled",
            Sign("job_ended", "Canceled"),
        ),
        (f"{AT}Job x completed with result: Splendid", None),
        (
            f"{AT}Agent connect error: no route. Retrying until reconnected.",
            Sign("trouble", "Agent connect error: no route. Retrying until reconnected.", None),
        ),
        (
            f"{AT}Agent connect error: Current server time is 1. Retrying until reconnected.",
            Sign("trouble", CLOCK, None),
        ),
        (f"{AT}Agent reconnected.", Sign("reconnected")),
        ("Agent connect error: no route. Retrying until reconnected.", None),
        ("Listening for Jobs", None),
        (f"echo {AT}Listening for Jobs", None),
        ("Job build completed with result: Succeeded", None),
    ],
)
def test_lines_count_only_with_their_time_before_them(line: str, sign: Sign | None) -> None:
    assert read(line) == sign


@pytest.mark.parametrize(
    "line",
    [
        "Agent pool not found: 'gpu'",
        "Failed to replace the agent.  Try again or ctrl-c to quit",
        "A session for this agent already exists.",
        "Stop retry on SessionConflictException after retried for 240 seconds.",
        "VS30063: You are not authorized to access the organisation.",
        "Agent update in progress, do not shutdown agent.",
    ],
)
def test_trouble_is_told_in_our_own_words(line: str) -> None:
    sign = read(line)
    assert sign is not None
    assert sign.kind == "trouble"
    assert sign.text != line


DONE = f"{AT}Job completed with result: Succeeded"
FAILED = f"{AT}Job completed with result: Failed"
RUNNING = f"{AT}Running job: build"
LISTENING = f"{AT}Listening for Jobs"


def ended(code: int | None, oom: int = 0, **more: object) -> End:
    account = Exit(code, oom) if code is not None else None
    return End(committed=True, opened=True, exit=account, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("end", "signs", "result", "cause", "words"),
    [
        # 0 is any result, an idle stop and a key taken back: the lines tell.
        (ended(0), (LISTENING, RUNNING, DONE), Result.JOB_DONE, None, "Succeeded"),
        (ended(0), (RUNNING, FAILED), Result.JOB_DONE, None, "Failed"),
        (ended(0, oom=1), (RUNNING, FAILED), Result.JOB_DONE, Cause.OOM, "Failed"),
        (ended(0, oom=1), (RUNNING, DONE), Result.JOB_DONE, None, "Succeeded"),
        (ended(0), (LISTENING,), Result.DIED_YOUNG, None, "without a job"),
        (ended(0), (RUNNING,), Result.UNKNOWN, Cause.UNKNOWN, "taken back before it began"),
        (ended(0, signalled=True), (LISTENING,), Result.NO_JOB, None, "no job"),
        (ended(0, doom=DoomReason.STALE), (LISTENING,), Result.NO_JOB, None, "no job"),
        (ended(143, engine_stopped=True), (LISTENING,), Result.NO_JOB, None, "no job"),
        (
            ended(1),
            ("A session for this agent already exists.",),
            Result.DIED_YOUNG,
            None,
            "another agent of its name has a session",
        ),
        (ended(2), ("An error occurred: x",), Result.DIED_YOUNG, None, "it failed"),
        (ended(3), (), Result.IMAGE_TOO_OLD, None, "newer agent"),
        (ended(4), (LISTENING,), Result.IMAGE_TOO_OLD, None, "images refresh"),
        (ended(4), (RUNNING, DONE), Result.IMAGE_TOO_OLD, None, "Succeeded"),
        (ended(75), (), Result.DIED_YOUNG, None, "did not end within 150 s"),
        (
            ended(76),
            ("Agent pool not found: 'gpu'",),
            Result.DIED_YOUNG,
            None,
            "check `agent_pool`",
        ),
        (ended(None, death_seen=True), (RUNNING,), Result.UNKNOWN, Cause.KILLED, "not told"),
        (
            ended(None, engine_stopped=True),
            (RUNNING,),
            Result.UNKNOWN,
            Cause.ENGINE_STOPPED,
            "not told",
        ),
        (ended(None, death_seen=True), (LISTENING,), Result.UNKNOWN, Cause.KILLED, "killed"),
        (ended(137, oom=3), (RUNNING,), Result.UNKNOWN, Cause.OOM, "not told"),
        (
            End(committed=False, opened=False, exit=None, doom=DoomReason.OLD),
            (),
            Result.NO_JOB,
            None,
            "not taken a job",
        ),
    ],
)
def test_an_end_is_judged_by_code_and_lines(
    end: End, signs: tuple[str, ...], result: Result, cause: Cause | None, words: str
) -> None:
    outcome: Outcome = judge(end, signs)
    assert outcome.result is result
    assert outcome.cause is cause
    assert words in outcome.detail


def test_a_fault_of_the_service_is_passing_in_every_call_that_changes_something(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    enrolled(bench, provider)
    calls: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: provider.cordon(NAME, True), "PATCH"),
        (lambda: provider.retire(NAME), "PUT"),
    )
    for call, method in calls:
        fake.fail(method, AGENTS, Fault(status=500))
        with pytest.raises(Passing, match="500"):
            call()
        call()


def test_the_fake_shows_a_sign_in_page_to_whoever_does_not_ask_to_be_spared(
    fake: FakeAzure,
) -> None:
    reply = Web(fake.url, "Azure DevOps", "a browser").call(
        "GET", f"{LAB}/_apis/connectionData", "look", accept=(302,)
    )
    assert reply.status == 302


def test_the_fake_tells_where_its_calls_are_to_a_client_that_knows_them_by_their_ids(
    bench: AzureBench, provider: Azure, fake: FakeAzure
) -> None:
    """Microsoft's agent and its Python library ask so before anything else."""
    enrolled(bench, provider)
    basic = base64.b64encode(b":pat-good").decode()
    headers = {"Authorization": f"Basic {basic}"}
    web = Web(fake.url, "Azure DevOps", "a library", headers=headers)

    def asked(method: str, path: str) -> Any:
        return web.call(method, path, "look").body

    listed = asked("OPTIONS", f"{LAB}/_apis")["value"]
    (routes,) = [one["routeTemplate"] for one in listed if one["resourceName"] == "agents"]
    path = routes.format(area="distributedtask", resource="agents", poolId=2, agentId="")
    found = asked("GET", f"{LAB}/{path.rstrip('/')}")["value"]
    assert [entry["name"] for entry in found] == [NAME]
    told = asked("GET", f"{LAB}/_apis/connectionData")["locationServiceData"]
    assert {one["identifier"] for one in told["serviceDefinitions"]} == {
        one["id"] for one in listed
    }


def test_another_hosts_id_is_no_mark_of_ours(bench: AzureBench) -> None:
    enrolled(bench, bench.provider())
    roster = bench.provider(HostId("another00000")).roster()
    assert roster is not None
    assert [entry.foreign for entry in roster.entries] == [True]
