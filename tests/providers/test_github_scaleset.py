"""GitHub's scale sets as one pool speaks with them: sets, sessions, messages, runners, what goes wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.delivery import Delivery
from mayfly.core.model import PoolName, Severity
from mayfly.core.requests import Listen
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.web import Budget
from mayfly.providers import ClientRefusing, Dispatching, Expiring
from mayfly.providers.github import make
from mayfly.providers.github.actions_service import MOVED, ActionsService
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.scale_provider import LASTS, REOPEN, UNHEARD, ScaleSetGitHub
from mayfly.providers.github.settings import GitHubSettings
from tests.fakes.github_scale_sets import AGENTS, QUEUE, SETS, FakeScaleSets
from tests.fakes.http import Fault
from tests.harness import until
from tests.providers.contract import HOST, HOST_ID, OTHER_ID, agent, changed, pool, secret_file

POOL = PoolName("gpu")
REGISTER = ("POST", "/api/v3/actions/runner-registration")


@pytest.fixture
def fake() -> Iterator[FakeScaleSets]:
    with FakeScaleSets() as service:
        service.poll_hold = 0.2
        yield service


class Bench:
    """A pool with a scale set beside its fake."""

    def __init__(self, fake: FakeScaleSets, home: Path) -> None:
        self.fake, self.home = fake, home
        self.pool = pool(
            provider="github",
            url=f"{fake.url}/acme",
            runner_group="gpu",
            token=secret_file(home, "token", "ghp_good"),
            enrolment="scaleset",
        )

    def provider(self, host_id: Any = HOST_ID, **keys: Any) -> ScaleSetGitHub:
        return ScaleSetGitHub(changed(self.pool, **keys), HOST, host_id)


@pytest.fixture
def bench(fake: FakeScaleSets, tmp_path: Path) -> Bench:
    return Bench(fake, tmp_path)


def word(
    room: int = 2,
    acknowledge: tuple[int, ...] = (),
    labels: tuple[str, ...] = (),
    turn: int = 1,
) -> Listen:
    return Listen(POOL, room, acknowledge, labels, turn)


def begun(provider: ScaleSetGitHub, turn: int = 1) -> Delivery:
    """A session is open."""
    delivery = provider.listen(word(turn=turn))
    assert delivery.begins
    return delivery


def test_a_pool_with_a_scale_set_is_handed_jobs_and_any_other_is_not(
    bench: Bench, tmp_path: Path
) -> None:
    made = make(bench.pool, HOST, HOST_ID, tmp_path)
    assert isinstance(made, Dispatching)
    assert made.traits.dispatches
    ordinary = make(changed(bench.pool, enrolment="jit"), HOST, HOST_ID, tmp_path)
    assert not ordinary.traits.dispatches


def test_a_set_is_made_once_with_all_that_jobs_may_ask_for(bench: Bench) -> None:
    provider = bench.provider(labels=("big",), gpus=1)
    delivery = provider.listen(word(labels=("H100",)))
    assert delivery.begins
    assert delivery.counts is not None
    one = bench.fake.the_set("box-gpu")
    assert one is not None
    assert one.group == 3
    wanted = {"box-gpu", "self-hosted", "Linux", "gpu", "big", "H100", f"mayfly-{HOST_ID}-gpu"}
    assert wanted <= set(one.labels)
    assert one.setting == {"disableUpdate": True}
    provider.leave(1)
    again = bench.provider(labels=("big",), gpus=1)
    assert again.listen(word(labels=("H100",))).begins
    assert bench.fake.count("POST", SETS) == 3  # the set, and two sessions
    assert len(bench.fake.sets) == 1


def test_labels_that_were_changed_are_given_to_the_set_that_is_there(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    provider.leave(1)
    bench.provider(labels=("big",)).listen(word())
    one = bench.fake.the_set("box-gpu")
    assert one is not None
    assert "big" in one.labels


def test_a_label_that_is_not_true_any_more_is_taken_from_the_set(bench: Bench) -> None:
    provider = bench.provider()
    provider.listen(word(labels=("driver-570", "driver-latest")))
    provider.listen(word(labels=("driver-570",)))
    one = bench.fake.the_set("box-gpu")
    assert one is not None
    assert "driver-570" in one.labels
    assert "driver-latest" not in one.labels


def test_a_server_that_drops_labels_is_told_of_with_what_reaches_the_set(bench: Bench) -> None:
    bench.fake.labels_kept = False
    provider = bench.provider(scale_set="lab")
    delivery = provider.listen(word())
    assert "has not got the labels self-hosted" in delivery.warning
    assert "`runs-on: lab`" in delivery.warning
    found = provider.check()
    assert [one.severity for one in found if "has not got" in one.text] == [Severity.WARNING]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([f"mayfly-{OTHER_ID}-gpu"], "another Mayfly's"),
        (["arc-gpu"], "not made by Mayfly"),
    ],
)
def test_a_set_of_that_name_that_is_not_ours_is_left_alone(
    bench: Bench, labels: list[str], says: str
) -> None:
    ours = bench.provider()
    begun(ours)
    ours.leave(1)
    one = bench.fake.the_set("box-gpu")
    assert one is not None
    one.labels = ["box-gpu", *labels]
    with pytest.raises(Refused, match=f"{says}.*another `scale_set`"):
        bench.provider().listen(word())
    assert one.labels == ["box-gpu", *labels]
    assert one.session is None
    assert any(says in finding.text for finding in bench.provider().check())


def test_offered_jobs_are_acquired_and_then_ours(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    first, second = bench.fake.queue_job(), bench.fake.queue_job()
    offered = provider.listen(word())
    assert [one.job for one in offered.offers] == [first.id, second.id]
    assert offered.counts is not None
    assert (offered.counts.available, offered.counts.assigned) == (2, 0)
    bench.fake.snatch(second)
    won = provider.acquire(tuple(one.id for one in offered.offers))
    assert won == (offered.offers[0].id,)
    assert provider.acquire(won) == won  # safe to repeat
    ours = provider.listen(word(acknowledge=(offered.message or 0,)))
    assert ours.assigned == {offered.offers[0].id}
    assert ours.counts is not None
    assert ours.counts.assigned == 1


def test_a_service_that_assigns_by_itself_is_told_the_room_and_offers_nothing(bench: Bench) -> None:
    bench.fake.hosted = True
    for _ in range(3):
        bench.fake.queue_job()
    provider = bench.provider()
    begun(provider)
    delivery = provider.listen(word(room=2))
    assert delivery.offers == ()
    assert delivery.counts is not None
    assert delivery.counts.assigned == 2
    assert provider.acquire((77,)) == ()  # which it does not know


def test_a_message_comes_until_it_is_acknowledged_to_the_next_session_too(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    bench.fake.queue_job()
    first = provider.listen(word())
    assert provider.listen(word()).empty  # this session has had it
    provider.leave(1)
    begun(provider, 2)
    assert provider.listen(word(turn=2)).message == first.message
    assert provider.listen(word(acknowledge=(first.message or 0,), turn=2)).empty
    provider.leave(2)
    begun(provider, 3)
    assert provider.listen(word(turn=3)).empty


def test_messages_that_are_numbered_anew_are_heard(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    bench.fake.queue_job()
    first = provider.listen(word())
    assert provider.listen(word(acknowledge=(first.message or 0,))).empty
    bench.fake.restart_numbers("box-gpu")
    job = bench.fake.queue_job()
    assert [one.job for one in provider.listen(word()).offers] == [job.id]


def test_a_queue_that_refuses_its_token_gets_another_one_in_the_same_session(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    one = bench.fake.the_set("box-gpu")
    assert one is not None
    assert one.session is not None
    session, one.session.token = one.session.id, "another"
    bench.fake.queue_job()
    delivery = provider.listen(word())
    assert len(delivery.offers) == 1
    assert one.session.id == session
    one.session.token = "yet another"
    assert len(provider.acquire(tuple(offer.id for offer in delivery.offers))) == 1
    one.session.token = "and another"
    assert provider.listen(word(acknowledge=(delivery.message or 0,))).assigned


def test_a_token_of_ours_that_ends_or_is_refused_is_got_anew(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    bench.fake._admins.clear()
    assert provider.enrol(agent(), ()).registration is not None
    bench.fake.admin_life = (
        0.0  # it says of itself that it is over, and is made use of all the same
    )
    bench.fake._admins.clear()
    with pytest.raises(Refused, match="401"):
        provider.roster()
    bench.fake.admin_life = 3600.0
    assert provider.roster() is not None


def test_a_session_that_is_lost_is_opened_anew_and_what_was_said_in_it_stands_no_more(
    bench: Bench,
) -> None:
    provider = bench.provider()
    begun(provider)
    bench.fake.expire_session("box-gpu")
    assert provider.listen(word()).begins


def test_a_session_that_is_lost_as_soon_as_it_is_opened_is_opened_less_and_less_often(
    bench: Bench,
) -> None:
    now = time.time()
    provider = ScaleSetGitHub(bench.pool, HOST, HOST_ID, lambda: now)
    begun(provider)
    bench.fake.expire_session("box-gpu")
    assert provider.listen(word()).begins, "once may happen to anybody"
    waits = []
    for _ in range(3):
        bench.fake.expire_session("box-gpu")
        with pytest.raises(Passing, match="as soon as it is opened") as told:
            provider.listen(word())
        waits.append(told.value.retry_after)
        now += waits[-1] or 0.0
        assert provider.listen(word()).begins
    assert waits == [REOPEN, 2 * REOPEN, 4 * REOPEN]
    now += LASTS
    bench.fake.expire_session("box-gpu")
    assert provider.listen(word()).begins


def test_sessions_that_answer_and_are_lost_are_each_opened_anew_at_once(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    for number in range(3):
        bench.fake.queue_job(f"echo {number}")
        assert provider.listen(word()).message is not None
        bench.fake.expire_session("box-gpu")
        assert provider.listen(word()).begins


def connections_to(port: int) -> int:
    """How many connections of this host to that port are open, as the kernel has them."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def test_a_service_that_names_another_address_with_each_session_has_the_others_closed(
    bench: Bench,
) -> None:
    now = time.time()
    provider = ScaleSetGitHub(bench.pool, HOST, HOST_ID, lambda: now)
    ports = []
    for _ in range(4):
        bench.fake.start_on(other := socket.create_server(("127.0.0.1", 0)))
        ports.append(other.getsockname()[1])
        bench.fake.queue_at = f"http://127.0.0.1:{ports[-1]}"
        begun(provider)
        provider.listen(word())
        assert connections_to(ports[-1]) == 1
        bench.fake.expire_session("box-gpu")
        now += LASTS
    calls = provider.calls()
    until(lambda: not any(map(connections_to, ports[:-1])), "the others are closed")
    assert calls["wait for jobs", "202"] == 4


def test_all_addresses_of_a_service_have_one_budget(bench: Bench) -> None:
    settings = bench.pool.settings
    assert isinstance(settings, GitHubSettings)
    connection = Connection(bench.pool, settings, time.time)
    service = ActionsService(bench.pool, connection, time.time, Budget(60, 2))
    bench.fake.start_on(other := socket.create_server(("127.0.0.1", 0)))
    for at in (bench.fake.url, f"http://127.0.0.1:{other.getsockname()[1]}"):
        service.web(f"{at}/q").call("GET", f"{at}/q", "wait for jobs", accept=(404,))
    with pytest.raises(Passing, match="used up its budget of 60 calls an hour"):
        service.call("GET", "runtime/runnerscalesets", "list the sets")


def test_who_began_a_job_is_kept_of_our_own_agents_alone(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    ours = agent()
    name = provider.enrol(ours, ()).registered
    entries = [
        {"messageType": "JobStarted", "runnerName": one}
        for one in [*(f"stranger-{number}" for number in range(900)), name]
    ]
    body = {"messageId": 5, "body": json.dumps(entries)}
    bench.fake.fail("GET", QUEUE, Fault(status=200, body=body))
    provider.listen(word())
    _, runners, _ = provider._of_set()
    assert runners._busy == {name}


def test_a_set_that_vanishes_is_made_anew_and_no_job_is_lost(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    job = bench.fake.queue_job()
    before = bench.fake.the_set("box-gpu")
    bench.fake.delete_set("box-gpu")
    assert provider.listen(word()).begins
    after = bench.fake.the_set("box-gpu")
    assert before is not None
    assert after is not None
    assert after.id != before.id
    assert [one.job for one in provider.listen(word()).offers] == [job.id]
    bench.fake.delete_set("box-gpu")
    with pytest.raises(Passing, match=r"is gone; .* makes it anew"):
        provider.enrol(agent(), ())
    assert provider.enrol(agent(), ()).registration is not None


def test_somebody_elses_session_is_waited_for_in_a_sentence(bench: Bench) -> None:
    first, second = bench.provider(), bench.provider()
    begun(first)
    with pytest.raises(
        Passing, match=r"listened to already \(409\).*`scale_set` of its own"
    ) as told:
        second.listen(word())
    assert told.value.retry_after == 10.0
    first.leave(1)
    assert second.listen(word()).begins


def test_whoever_leaves_ends_the_question_under_way_and_is_handed_nothing(bench: Bench) -> None:
    bench.fake.poll_hold = 60.0
    provider = bench.provider()
    begun(provider)
    heard: list[Delivery] = []
    listening = threading.Thread(target=lambda: heard.append(provider.listen(word())), daemon=True)
    listening.start()
    until(lambda: bench.fake.count("GET", QUEUE), "it is asked")
    provider.leave(1)
    listening.join(10)
    assert heard == [Delivery()]
    one = bench.fake.the_set("box-gpu")
    assert one is not None
    assert one.session is None
    assert provider.listen(word()) == Delivery(), "what is asked too late opens nothing"
    assert one.session is None
    assert provider.listen(word(turn=2)).begins  # and may come again
    provider.leave(1)  # late
    assert one.session is not None


def test_a_runner_is_made_for_one_agent_listed_and_taken_back(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    enrolment = provider.enrol(agent(), ())
    assert enrolment.registered == "box-gpu-0-l0000000abcde"
    assert set(enrolment.files) == {"jitconfig"}
    roster = provider.roster()
    assert roster is not None
    (entry,) = roster.entries
    assert (entry.id, entry.slot, entry.online, entry.busy) == (
        enrolment.registration,
        "gpu-0",
        False,
        False,
    )
    assert not provider.dismiss(entry.id).busy
    assert not provider.dismiss(entry.id).busy  # gone already
    assert bench.fake.runners == {}


def test_a_runner_that_runs_a_job_is_left_alone(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    enrolment = provider.enrol(agent(), ())
    runner = bench.fake.runner(enrolment.registration or "")
    assert runner is not None
    bench.fake.connect(runner.id)
    bench.fake.give(runner.id)
    assert provider.dismiss(enrolment.registration or "").busy
    roster = provider.roster()
    assert roster is not None
    assert [entry.busy for entry in roster.entries] == [True]


def test_a_runner_that_no_list_shows_is_asked_for_by_itself(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    enrolment = provider.enrol(agent(), ())
    bench.fake.fail("GET", AGENTS, Fault(status=200, body={"count": 0, "value": []}))
    roster = provider.roster()
    assert roster is not None
    assert [entry.id for entry in roster.entries] == [enrolment.registration]


def test_runners_of_another_set_are_not_ours(bench: Bench) -> None:
    begun(bench.provider(scale_set="other"))
    other = bench.provider(scale_set="other")
    enrolment = other.enrol(agent(), ())
    ours = bench.provider()
    begun(ours)
    roster = ours.roster()
    assert roster is not None
    assert [entry.foreign for entry in roster.entries] == [True]
    with pytest.raises(Refused, match="not of the scale set"):
        ours.enrol(agent(), ())
    assert bench.fake.runner(enrolment.registration or "") is not None


def test_a_runner_that_a_lost_reply_left_behind_is_replaced(bench: Bench) -> None:
    provider = bench.provider()
    begun(provider)
    bench.fake.fail("POST", f"{SETS}/7/generatejitconfig", Fault(lost="after"))
    with pytest.raises(Passing):
        provider.enrol(agent(), ())
    assert len(bench.fake.runners) == 1
    enrolment = provider.enrol(agent(), ())
    assert [str(one) for one in bench.fake.runners] == [enrolment.registration]


@pytest.mark.parametrize("fallback", ["jit", "token"])
def test_a_github_without_scale_sets_is_spoken_to_by_the_fall_back_and_that_is_said(
    bench: Bench, fallback: str
) -> None:
    bench.fake.has_sets = False
    provider = bench.provider(fallback=fallback)
    delivery = provider.listen(word())
    assert "has no runner scale sets (it answered 404)" in delivery.unsupported
    enrolment = provider.enrol(agent(), ())
    assert set(enrolment.files) == (
        {"jitconfig"} if fallback == "jit" else {"config.argv", "token"}
    )
    assert provider.roster() is not None
    if fallback == "jit":
        assert not provider.dismiss(enrolment.registration or "").busy


def test_a_github_without_scale_sets_is_refused_where_there_is_no_fall_back(bench: Bench) -> None:
    bench.fake.has_sets = False
    provider = bench.provider()
    with pytest.raises(Refused, match=r"no runner scale sets .*fallback = \"jit\""):
        provider.listen(word())
    with pytest.raises(Refused, match="no runner scale sets"):
        provider.roster()
    assert any("no runner scale sets" in found.text for found in provider.check())


def test_when_the_token_ends_is_known_of_a_set_too(bench: Bench, fake: FakeScaleSets) -> None:
    provider = bench.provider()
    assert isinstance(provider, Expiring)
    assert isinstance(provider, ClientRefusing)
    assert provider.token_end() is None
    end = float(int(time.time()) + 86_400)
    fake.tokens["ghp_good"] = replace(fake.tokens["ghp_good"], expires=end)
    begun(provider)
    assert provider.token_end() == end


def test_who_wants_waiting_jobs_cancelled_is_told_that_none_is(bench: Bench) -> None:
    said = "so none is cancelled"
    assert not [one for one in bench.provider().check() if said in one.text]
    wanting = replace(bench.pool, cancel_stuck=3600.0)
    found = ScaleSetGitHub(wanting, HOST, HOST_ID).check()
    assert [one.severity for one in found if said in one.text] == [Severity.WARNING]


def test_no_token_goes_to_an_address_that_is_readable_on_the_way(tmp_path: Path) -> None:
    place = pool(
        provider="github",
        url="https://git.lab.org/acme",
        token=secret_file(tmp_path, "token", "ghp_good"),
        enrolment="scaleset",
    )
    settings = place.settings
    assert isinstance(settings, GitHubSettings)
    connection = Connection(place, settings, time.time)
    service = ActionsService(place, connection, time.time, Budget(60))
    assert service.web("https://queue.lab.org/q/1").base == "https://queue.lab.org"
    with pytest.raises(Refused, match=r"http://queue\.lab\.org .* readable on the way"):
        service.web("http://queue.lab.org/q/1")


def test_a_service_that_moves_is_asked_where_it_is_now(bench: Bench) -> None:
    """Its address and its queue's are told with their tokens, which would live on for long."""
    now = time.time()
    bench.fake.start_on(old := socket.create_server(("127.0.0.1", 0)))
    bench.fake.service_at = f"http://127.0.0.1:{old.getsockname()[1]}"
    provider = ScaleSetGitHub(bench.pool, HOST, HOST_ID, lambda: now)
    begun(provider)
    bench.fake.leave_others()
    bench.fake.service_at = None
    job = bench.fake.queue_job()
    for _ in range(UNHEARD):
        with pytest.raises(Passing):
            provider.listen(word())
    before = bench.fake.count(*REGISTER)
    for later in (MOVED - 1.0, 1.0):
        now += later
        with pytest.raises(Passing):
            provider.roster()
    assert bench.fake.count(*REGISTER) == before
    assert provider.roster() is not None
    assert [one.job for one in provider.listen(word()).offers] == [job.id]
    assert bench.fake.count("POST", f"{SETS}/") == 1, "no other session"


def test_a_registration_token_that_is_refused_for_a_moment_is_no_trouble(bench: Bench) -> None:
    bench.fake.fail(*REGISTER, Fault(status=403, times=2))
    begun(bench.provider())
    bench.fake.fail(*REGISTER, Fault(status=401, times=3))
    with pytest.raises(Passing, match="fresh registration tokens"):
        bench.provider().listen(word())


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=2),
        Fault(status=429, headers={"Retry-After": "1"}),
        Fault(lost="before", times=2),
        Fault(lost="after", times=2),
        Fault(garbage=b'{"messageId": 1000'),
    ],
)
def test_a_question_that_fails_passes_and_loses_nothing(bench: Bench, fault: Fault) -> None:
    provider = bench.provider()
    begun(provider)
    job = bench.fake.queue_job()
    bench.fake.fail("GET", QUEUE, fault)
    with pytest.raises(Passing):
        provider.listen(word())
    bench.fake.heal()

    def heard() -> Delivery | None:
        try:
            return provider.listen(word())
        except Passing:
            return None  # its limit is heeded

    delivery = until(heard, "it is heard", 20)
    assert [one.job for one in delivery.offers] == [job.id]


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        [],
        {},
        {"messageId": "x"},
        {"messageId": 5, "messageType": "Other", "body": "{"},
        {"messageId": 5, "body": '[1, {"messageType": 7}, {"messageType": "JobAvailable"}]'},
        {"MessageID": 5, "Body": "[]", "Statistics": {"totalAssignedJobs": -3}},
    ],
)
def test_what_is_no_message_of_ours_is_nothing_and_may_be_acknowledged(
    bench: Bench, body: object
) -> None:
    provider = bench.provider()
    begun(provider)
    bench.fake.fail("GET", QUEUE, Fault(status=200, body=body))
    delivery = provider.listen(word())
    assert delivery.offers == ()
    assert delivery.counts is None or delivery.counts.assigned == 0
    if delivery.message is not None:
        provider.listen(word(acknowledge=(delivery.message,)))
