"""What every provider must keep, told once; each runs it against its own fake.

    class TestGitHub(ProviderContract):
        @pytest.fixture
        def bench(self, tmp_path):
            with FakeGitHub() as fake:
                yield GitHubBench(fake, tmp_path)

A ``Bench`` knows how its service's client behaves; the tests know only the provider.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from mayfly.core import naming
from mayfly.core.memory import Agent
from mayfly.core.model import (
    Exit,
    Generation,
    HostId,
    HostSpec,
    PoolName,
    PoolSpec,
    RosterEntry,
    Severity,
    SlotName,
)
from mayfly.core.outcomes import End, Result
from mayfly.core.quantities import LATEST, rfc3339, spoken_age
from mayfly.core.signs import LINGER
from mayfly.core.stimuli import RosterFailed
from mayfly.core.token_end import token_conditions
from mayfly.edge import service_json, web
from mayfly.edge.faults import WAIT_MOST, Passing, Refused
from mayfly.providers import Answering, Counting, Enrolment, Expiring, Provider, Queueing
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.gitea.settings import GiteaSettings
from mayfly.providers.github.settings import GitHubSettings
from mayfly.providers.gitlab.settings import GitLabSettings
from tests.fakes.http import Answer, Fake, Fault
from tests.harness import until
from tests.providers.outage import SLOTS, AtService, Client, at_service
from tests.waiting import rest

HOST = HostSpec(name="box")
HOST_ID = HostId("0123456789ab")
OTHER_ID = HostId("zzzzzzzzzzzz")
POOL = PoolName("gpu")


@dataclass(frozen=True)
class Outage:
    """What a service does to every call, and what is to be told of it."""

    fault: Fault | None  # None: nobody listens
    code: str
    says: str
    timeout: float | None = None  # seconds that an answer is waited for


OUTAGES = {
    "refused": Outage(None, "service.down", "refused"),
    "lost": Outage(Fault(lost="before", times=None), "service.down", "no answer"),
    "silent": Outage(Fault(slow=0.3, times=None), "service.down", "no answer", 0.02),
    "503": Outage(
        Fault(status=503, body={"message": "unicorn"}, times=None), "service.down", "503"
    ),
    "429": Outage(
        Fault(status=429, headers={"Retry-After": "1"}, times=None), "service.down", "rate limit"
    ),
    "garbage": Outage(Fault(garbage=b'{"total_cou', times=None), "service.down", "unreadable"),
    "401": Outage(Fault(status=401, times=None), "service.refused", "401"),
    "a web page": Outage(
        Fault(status=200, body=b"<html>sign in</html>", times=None), "service.refused", "web page"
    ),
}


class Bench(Protocol):
    """One provider beside its fake."""

    fake: Fake
    client: Client  # the official one
    knows_busy: bool  # whether dismissing an agent that runs a job is refused
    secrets: tuple[str, ...]  # what must never reach an agent, a message or a file of the gate

    def provider(self, host_id: HostId = HOST_ID, host: HostSpec = HOST) -> Provider:
        """The provider as a manager with that id makes it at its start."""

    def online(self, enrolment: Enrolment) -> None:
        """The client of that agent has come up and listens."""

    def offline(self, enrolment: Enrolment) -> None:
        """The client is gone without a word."""

    def take_job(self, enrolment: Enrolment) -> None:
        """The client runs a job."""

    def end_job(self, enrolment: Enrolment) -> None:
        """The job is done, and the client has ended as it does after one."""

    def lose_job(self, enrolment: Enrolment) -> None:
        """The service takes the job back before it has begun, and the client listens on."""

    def enrolling(self) -> tuple[str, str]:
        """Method and beginning of the path of the call that makes a registration."""

    def listing(self) -> tuple[str, str]:
        """Method and beginning of the path of the call that the roster is made of."""

    def spoil_token(self) -> None:
        """From now on the service refuses our token."""

    def registrations(self) -> list[Any]:
        """All that the service has registered, whoever's it is."""

    def fresh(self) -> None:
        """The service's lists are up to date, where it serves stale ones."""


def agent(number: int = 0, generation: str = "l0000000abcde") -> Agent:
    """An agent at its gate in slot ``gpu-NUMBER``."""
    return Agent(
        generation=Generation(generation),
        slot=naming.slot(POOL, number),
        pool=POOL,
        serial=number + 1,
        fingerprint="f",
        image="sha256:1",
        lease=(),
        born=0.0,
        embedded=False,
    )


def entry_of(provider: Provider, enrolment: Enrolment) -> RosterEntry | None:
    """The agent's entry in the roster: by registration, else by name; None where it is in none."""
    roster = provider.roster()
    assert roster is not None
    for entry in roster.entries:
        if entry.foreign:
            continue
        if entry.id == enrolment.registration or entry.name == enrolment.registered:
            return entry
    return None


def page(path: str, further: str) -> Fault:
    """A page of a list of any service, which names a place for what comes after it."""
    entry = {"id": 1, "name": "n"}
    listed = {"total_count": 10**9, "runners": [entry], "value": [entry], "jobs": [entry]}
    named = {"Link": f'<{further}>; rel="next"', "Location": further}
    named["x-ms-continuationtoken"] = further
    return Fault(200, [entry] if "/api/v4/" in path else listed, named, times=None)


# A date as a service writes it, and what it says in its place: times that no calendar has, or hardly.
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
ENDS = ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z")


def ended(answer: Answer, end: str) -> Answer:
    """The answer with that time in place of each of its own, and a date and a number like it in headers."""

    def twisted(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: twisted(one) for key, one in value.items()}
        if isinstance(value, list):
            return [twisted(one) for one in value]
        return end if isinstance(value, str) and _DATED.match(value) else value

    more = {
        "Date": f"Mon, 20 Jan {'9' * 20 if end[0] == '9' else '0001'} 00:00:00 +2359",
        "X-RateLimit-Reset": "1e308",
        "GitHub-Authentication-Token-Expiration": f"{end[:10]} {end[11:19]} {end[19:].replace(':', '')}",
    }
    return Answer(answer.status, twisted(answer.body), answer.headers | more)


class ProviderContract:
    """The tests; a subclass gives the fixture ``bench``."""

    labels: tuple[str, ...] = ("gpu",)
    pages = True  # its service's lists come in pages

    @pytest.fixture
    def provider(self, bench: Bench) -> Provider:
        """The provider under test."""
        return bench.provider()

    def test_a_service_that_is_set_up_right_gives_no_complaint(self, provider: Provider) -> None:
        found = [finding for finding in provider.check() if finding.severity is not Severity.INFO]
        assert found == []

    def test_a_check_tells_what_is_wrong_and_raises_nothing(
        self, bench: Bench, provider: Provider
    ) -> None:
        bench.fake.stop()
        *_, finding = provider.check()
        assert finding.severity is Severity.ERROR
        assert "could not be asked" in finding.text
        assert (finding.passing, finding.untrusted) == (True, False)
        bench.fake.start()
        bench.spoil_token()
        *_, finding = bench.provider().check()
        assert finding.severity is Severity.ERROR
        assert "token" in finding.text or "key" in finding.text
        assert finding.fix
        assert (finding.passing, finding.untrusted) == (False, False)
        for secret in bench.secrets:
            assert secret not in finding.text

    def test_a_secret_that_hangs_keeps_nobody_who_asks_nothing_of_the_service(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        """The loop's thread makes a pool's provider, and asks what it says of itself at each step."""
        secrets = [path for path in tmp_path.iterdir() if path.is_file()]
        assert secrets
        with ExitStack() as stack:
            for path in secrets:
                stack.enter_context(hanging(path))
            done: list[Provider] = []

            def make() -> None:
                provider = bench.provider()
                assert provider.traits == provider.traits
                assert provider.roster_interval > 0
                done.append(provider)

            thread = threading.Thread(target=make, daemon=True)
            thread.start()
            thread.join(20)
            assert done, "it waits for a secret that cannot be read"
        assert done[0].roster() is not None

    def test_an_enrolment_carries_files_and_does_not_show_them(self, provider: Provider) -> None:
        enrolment = provider.enrol(agent(), self.labels)
        assert enrolment.files
        for content in enrolment.files.values():
            text = content.decode(errors="replace")
            assert text not in repr(enrolment)

    def test_the_agent_gets_no_secret_of_the_pool(self, bench: Bench, provider: Provider) -> None:
        enrolment = provider.enrol(agent(), self.labels)
        carried = b"\n".join(enrolment.files.values()).decode(errors="replace")
        for secret in bench.secrets:
            assert secret not in carried

    def test_an_enrolled_agent_is_in_the_roster_and_online_once_its_client_listens(
        self, bench: Bench, provider: Provider
    ) -> None:
        enrolment = provider.enrol(agent(), self.labels)
        bench.online(enrolment)
        bench.fresh()
        entry = entry_of(provider, enrolment)
        assert entry is not None
        assert entry.online
        assert not entry.busy

    def test_an_agent_with_a_job_is_busy_in_the_roster(
        self, bench: Bench, provider: Provider
    ) -> None:
        enrolment = provider.enrol(agent(), self.labels)
        bench.online(enrolment)
        bench.take_job(enrolment)
        bench.fresh()
        entry = entry_of(provider, enrolment)
        assert entry is not None
        assert entry.busy

    def test_two_agents_have_two_registrations(self, bench: Bench, provider: Provider) -> None:
        first = provider.enrol(agent(0, "l0000000aaaaa"), self.labels)
        second = provider.enrol(agent(1, "l0000000bbbbb"), self.labels)
        bench.online(first)
        bench.online(second)
        bench.fresh()
        one, two = entry_of(provider, first), entry_of(provider, second)
        assert one is not None
        assert two is not None
        assert one.id != two.id

    @pytest.mark.parametrize("how", ["before", "after"])
    def test_enrolling_again_after_a_lost_reply_gives_one_agent_its_one_registration(
        self, bench: Bench, provider: Provider, how: str
    ) -> None:
        method, path = bench.enrolling()
        bench.fake.fail(method, path, Fault(lost=how))
        enrolment = self._enrolled(provider)
        bench.online(enrolment)
        bench.fresh()
        assert len(bench.registrations()) == 1
        entry = entry_of(provider, enrolment)
        assert entry is not None
        assert entry.online

    def _enrolled(self, provider: Provider) -> Enrolment:
        """Enrol as the manager does: again, as long as the fault is a passing one."""
        for _ in range(4):
            try:
                return provider.enrol(agent(), self.labels)
            except Passing:
                continue
        return provider.enrol(agent(), self.labels)

    def test_a_dismissed_agent_is_gone_and_dismissing_it_again_is_fine(
        self, bench: Bench, provider: Provider
    ) -> None:
        enrolment = provider.enrol(agent(), self.labels)
        bench.online(enrolment)
        bench.fresh()
        entry = entry_of(provider, enrolment)
        assert entry is not None
        assert not provider.dismiss(entry.id).busy
        assert not provider.dismiss(entry.id).busy
        bench.fresh()
        assert entry_of(provider, enrolment) is None

    def test_an_agent_with_a_job_is_not_dismissed(self, bench: Bench, provider: Provider) -> None:
        if not bench.knows_busy:
            pytest.skip("this service does not tell")
        enrolment = provider.enrol(agent(), self.labels)
        bench.online(enrolment)
        bench.take_job(enrolment)
        bench.fresh()
        entry = entry_of(provider, enrolment)
        assert entry is not None
        assert provider.dismiss(entry.id).busy
        assert len(bench.registrations()) == 1

    def test_the_next_agent_of_a_slot_is_not_busy_with_what_the_last_one_died_of(
        self, bench: Bench, provider: Provider
    ) -> None:
        """The service goes on counting the job for a while; the next agent has said no word of one."""
        if not bench.knows_busy:
            pytest.skip("it does not tell who is busy")
        first = provider.enrol(agent(), self.labels)
        bench.online(first)
        bench.take_job(first)
        bench.offline(first)
        if provider.traits.keeps_entries:
            provider.retire(first.registration or first.registered or "")
        second, waits = None, ""
        try:
            second = provider.enrol(agent(generation="l0000000bcdef"), self.labels)
        except Passing as passing:
            waits = str(passing)
        if second is None:
            assert "still counts a job" in waits  # it is not enrolled before that is over
            return
        found = entry_of(provider, second)
        assert found is None or not found.busy

    def test_another_manager_of_the_same_host_id_sees_the_same_agents(self, bench: Bench) -> None:
        enrolment = bench.provider().enrol(agent(), self.labels)
        bench.online(enrolment)
        bench.fresh()
        assert entry_of(bench.provider(), enrolment) is not None

    def test_a_roster_is_of_the_moment_before_the_service_was_asked(self, bench: Bench) -> None:
        provider = bench.provider()
        provider.roster()  # what it asks for once is known
        before = len(bench.fake.calls)
        roster = provider.roster()
        assert roster is not None
        asked = bench.fake.calls[before].when + time.time() - time.monotonic()
        assert roster.at <= asked, "an agent that registers meanwhile is not missed"

    def test_the_agents_of_another_host_are_not_ours(self, bench: Bench) -> None:
        other = bench.provider(OTHER_ID, replace(HOST, name="other"))
        theirs = other.enrol(agent(generation="l0000000zzzzz"), self.labels)
        bench.online(theirs)
        bench.fresh()
        roster = bench.provider().roster()
        assert roster is not None
        assert [entry for entry in roster.entries if not entry.foreign] == []

    def test_a_refused_token_is_said_in_one_sentence_without_the_token(
        self, bench: Bench, provider: Provider
    ) -> None:
        bench.spoil_token()
        for call in (provider.roster, lambda: provider.enrol(agent(), self.labels)):
            with pytest.raises(Refused) as caught:
                call()
            sentence = str(caught.value)
            assert "\n" not in sentence
            assert "token" in sentence or "key" in sentence
            for secret in bench.secrets:
                assert secret not in sentence

    def test_a_service_in_trouble_is_a_passing_thing(
        self, bench: Bench, provider: Provider
    ) -> None:
        bench.fake.fail(*bench.listing(), Fault(status=503, body={"message": "unicorn"}))
        with pytest.raises(Passing, match="503"):
            provider.roster()
        bench.fake.fail(*bench.enrolling(), Fault(status=502, body=b"<html>bad gateway</html>"))
        with pytest.raises(Passing, match="502"):
            provider.enrol(agent(), self.labels)

    def test_a_service_that_is_down_is_a_passing_thing(
        self, bench: Bench, provider: Provider
    ) -> None:
        bench.fake.stop()
        with pytest.raises(Passing):
            provider.roster()
        with pytest.raises(Passing):
            provider.enrol(agent(), self.labels)
        bench.fake.start()
        assert provider.roster() is not None

    def test_a_small_question_is_one_call_and_tells_whether_the_service_answers(
        self, bench: Bench, provider: Provider
    ) -> None:
        assert isinstance(provider, Answering)
        provider.roster()
        before = len(bench.fake.calls)
        provider.answer()
        assert len(bench.fake.calls) == before + 1
        bench.fake.fail("", "", Fault(status=503))
        with pytest.raises(Passing):
            provider.answer()
        bench.spoil_token()
        with pytest.raises(Refused):
            provider.answer()

    def test_garbage_is_a_passing_thing(self, bench: Bench, provider: Provider) -> None:
        bench.fake.fail(*bench.listing(), Fault(garbage=b'{"total_cou'))
        with pytest.raises(Passing):
            provider.roster()
        assert provider.roster() is not None

    def test_a_list_that_goes_on_and_on_is_a_passing_thing(
        self, bench: Bench, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each page is as good as any, and names one more: nobody is taken for gone who may stand behind."""
        if not self.pages:
            pytest.skip("its lists come at once")
        monkeypatch.setattr(service_json, "STALE_MOST", 3)
        method, path = bench.listing()
        bench.fake.fail(method, path, page(path, f"{bench.fake.url}{path}"))
        with pytest.raises(Passing, match="3 pages bring nothing new"):
            provider.roster()
        assert bench.fake.count(method, path) == 5

    def test_a_list_that_is_too_long_needs_a_person_and_is_read_again_once_it_is_not(
        self, bench: Bench, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not self.pages:
            pytest.skip("its lists come at once")
        method, path = bench.listing()
        with monkeypatch.context() as smaller:
            smaller.setattr(service_json, "ENTRIES_MOST", 0)
            bench.fake.fail(method, path, page(path, f"{bench.fake.url}{path}"))
            with pytest.raises(Refused, match="too many to be read: point the pool at a narrower"):
                provider.roster()
        bench.fake.heal()
        assert provider.roster() is not None

    def test_nobody_else_is_asked_whatever_place_a_reply_names(
        self, bench: Bench, provider: Provider
    ) -> None:
        _, path = bench.listing()
        with socket.create_server(("127.0.0.1", 0)) as other:
            elsewhere = f"http://127.0.0.1:{other.getsockname()[1]}/more"
            for status, further in (
                *((status, elsewhere) for status in (200, 201, 301, 307, 401)),
                *((status, "https://[x/") for status in (200, 307)),  # which is no address
            ):
                bench.fake.heal()
                bench.fake.fail("", "", replace(page(path, further), status=status))
                for call in (provider.roster, lambda: provider.enrol(agent(), self.labels)):
                    before = len(bench.fake.calls)
                    with suppress(Passing, Refused):
                        call()
                    assert len(bench.fake.calls) > before
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.accept()

    @pytest.mark.parametrize("end", ENDS)
    def test_times_that_no_calendar_has_are_faults_or_can_be_shown(
        self, bench: Bench, provider: Provider, end: str
    ) -> None:
        """Whatever is said of when: nothing but a fault comes out, and what comes can be told by `status`."""
        bench.fake.spoil = lambda answer: ended(answer, end)
        queueing = provider.waiting if isinstance(provider, Queueing) else lambda _: ()
        for _ in (1, 2):
            for call in (
                provider.roster,
                lambda: provider.enrol(agent(), self.labels),
                provider.check,
            ):
                with suppress(Passing, Refused):
                    call()
            with suppress(Passing, Refused):
                for job in queueing((self.labels,)):
                    assert rfc3339(job.since)
                    assert len(spoken_age(time.time() - job.since)) <= 5
            if isinstance(provider, Expiring):
                told = provider.token_end()
                assert told is None or 0 <= told <= LATEST
                token_conditions({POOL: told} if told is not None else {}, time.time())
        bench.fake.spoil = lambda answer: answer
        assert provider.roster() is not None

    def test_no_wait_that_a_service_asks_for_is_longer_than_a_limit_lasts(
        self, bench: Bench, provider: Provider
    ) -> None:
        for wish in ("31536000000", "inf", "nan", "1e308", "Fri, 31 Dec 9999 23:59:59 GMT"):
            said = Fault(status=503, headers={"Retry-After": wish}, body={"message": "unicorn"})
            bench.fake.fail(*bench.listing(), said)
            with pytest.raises(Passing, match="503") as caught:
                provider.roster()
            assert caught.value.retry_after is None or caught.value.retry_after <= WAIT_MOST
        assert provider.roster() is not None

    def test_a_rate_limit_is_obeyed_before_the_next_call(
        self, bench: Bench, provider: Provider
    ) -> None:
        limit = Fault(status=429, headers={"Retry-After": "77"}, body={"message": "slow down"})
        bench.fake.fail(*bench.listing(), limit)
        began = time.monotonic()
        with pytest.raises(Passing) as caught:
            provider.roster()
        assert caught.value.retry_after == rest(77, began)
        before = len(bench.fake.calls)
        with pytest.raises(Passing) as caught:
            provider.roster()
        assert caught.value.retry_after == rest(77, began)
        assert len(bench.fake.calls) == before

    @pytest.mark.parametrize("name", OUTAGES)
    def test_four_minutes_of_trouble_cost_little_are_told_and_are_over_soon_after(
        self,
        bench: Bench,
        provider: Provider,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
    ) -> None:
        manager = at_service(bench, provider, PoolSpec(POOL, "of-the-contract", embedded=False))
        _until_well(manager, 30.0)
        outage = OUTAGES[name]
        if outage.fault is None:
            bench.fake.stop()
        else:
            bench.fake.fail("", "", replace(outage.fault))
        if outage.timeout is not None:
            monkeypatch.setattr(web, "READ_TIMEOUT", outage.timeout)
        # One agent dies: it is to be let go of, and its slot's next wants an enrolment.
        manager.host.ends(manager.own("gpu-0"), 1)
        before, start, failed = manager.calls(), manager.now, 0.0
        while manager.now < start + 240.0:
            manager.one_second(3.0)
            failed = failed or (manager.now if manager.calls() > before else 0.0)
            if failed and manager.now >= failed + 30.0:
                (told,) = manager.conditions()
                assert told.code == outage.code
                assert told.pool == POOL
                assert outage.says in told.text
                assert "\n" not in told.text
                for secret in bench.secrets:
                    assert secret not in told.text
        made = manager.calls() - before
        assert 0 < made <= SLOTS * 240 / 30, made
        monkeypatch.undo()
        if outage.fault is None:
            bench.fake.start()
        bench.fake.heal()
        until(lambda: not isinstance(manager.listed(POOL), RosterFailed), "no limit holds")
        _until_well(manager, 60.0)

    @pytest.mark.parametrize("began", [11.0, 41.0])
    def test_a_service_that_is_silent_for_four_minutes_is_told_and_leaves_no_client_cut_off(
        self,
        bench: Bench,
        provider: Provider,
        monkeypatch: pytest.MonkeyPatch,
        began: float,
    ) -> None:
        """Whenever it falls silent; calls that hang then are answered by nobody, also when it is back."""
        manager = at_service(bench, provider, PoolSpec(POOL, "of-the-contract", embedded=False))
        _until_well(manager, 30.0)
        rest = manager.now + began
        while manager.now < rest:
            manager.one_second()
        manager.falls_silent()
        silence = Fault(slow=0.3, lost="before", times=None)
        bench.fake.fail("", "", silence)
        monkeypatch.setattr(web, "READ_TIMEOUT", 0.02)
        before, start = manager.calls(), manager.now
        while manager.now < start + 240.0:
            manager.one_second()
            if manager.now >= start + 30.0:
                assert "service.down" in [told.code for told in manager.conditions()]
        made = manager.calls() - before
        assert 0 < made <= SLOTS * 240 / 30, made
        monkeypatch.undo()
        bench.fake.heal()
        manager.silent = False
        _until_well(manager, 60.0)
        # And it stays so: what is still hanging by then says nothing new.
        back = manager.now
        while manager.now < back + 120.0:
            manager.one_second()
            assert manager.well

    def test_trouble_of_a_client_that_never_says_that_it_is_back_is_not_told_for_ever(
        self, bench: Bench, provider: Provider
    ) -> None:
        if bench.client.cut_off is None:
            pytest.skip("its client does not tell of it")
        manager = at_service(bench, provider, PoolSpec(POOL, "of-the-contract", embedded=False))
        _until_well(manager, 30.0)
        own = manager.own(SlotName("gpu-0"))
        manager.hears(own, bench.client.cut_off)
        manager.one_second(20.0)
        (told,) = manager.conditions()
        assert told.code == "service.unreachable"
        start = manager.now
        while manager.now < start + LINGER + 60.0:
            manager.one_second(10.0)
        assert manager.well
        assert manager.own(SlotName("gpu-0")) == own

    def test_an_agent_whose_job_is_taken_back_before_it_begins_is_idle_again(
        self, bench: Bench, provider: Provider
    ) -> None:
        """Though its client says nothing of it: the service's own list does."""
        manager = at_service(bench, provider, PoolSpec(POOL, "of-the-contract", embedded=False))
        _until_well(manager, 30.0)
        of = SlotName("gpu-0")
        own = manager.own(of)
        for lost in (True, False):
            bench.take_job(manager.given[own])
            bench.fresh()
            _until(manager, 120.0, lambda: manager.phases(of)[0] == "busy")
            if lost:
                bench.lose_job(manager.given[own])
                bench.fresh()
                _until(manager, 180.0, lambda: manager.phases(of)[0] == "idle")
        assert manager.own(of) == own
        assert manager.phases(of)[0] == "busy"

    def test_every_call_is_counted(self, bench: Bench, provider: Provider) -> None:
        provider.enrol(agent(), self.labels)
        provider.roster()
        assert isinstance(provider, Counting)
        assert sum(provider.calls().values()) == len(bench.fake.calls)

    def test_an_agent_that_ended_at_its_gate_died_young_or_was_wanted(
        self, provider: Provider
    ) -> None:
        end = End(committed=True, opened=False, exit=Exit(64))
        assert provider.judge(end, ()).result in (Result.DIED_YOUNG, Result.NO_JOB, Result.UNKNOWN)

    def test_lines_that_mean_nothing_and_hostile_ones_are_read_without_harm(
        self, provider: Provider
    ) -> None:
        for line in ("", "hello", "\x1b[31mred", "a" * 100_000, "mayfly: ended 0", "\ud800"):
            assert provider.read(line) is None


def _until_well(manager: AtService, seconds: float) -> None:
    """Let so many seconds pass at the most, by the manager's clock."""
    _until(manager, seconds, lambda: manager.well)


def _until(manager: AtService, seconds: float, look: Callable[[], bool]) -> None:
    start = manager.now
    while not look():
        assert manager.now < start + seconds, [manager.phases("gpu-0"), manager.conditions()]
        manager.one_second()


SETTINGS: dict[str, Any] = {
    "azure": AzureSettings,
    "gitea": GiteaSettings,
    "github": GitHubSettings,
    "gitlab": GitLabSettings,
}


def pool(provider: str, **keys: Any) -> PoolSpec:
    """A pool named ``gpu`` with those keys, its own or its provider's."""
    return changed(PoolSpec(name=POOL, provider=provider, embedded=False), **keys)


def changed(spec: PoolSpec, **keys: Any) -> PoolSpec:
    """The pool with other keys, its own or its provider's."""
    kind = SETTINGS[spec.provider]
    own = {field.name: keys.pop(field.name) for field in fields(kind) if field.name in keys}
    made: Any = spec.settings
    settings = replace(made, **own) if made is not None else kind(**own)
    return replace(spec, settings=settings, **keys)


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """Whoever opens the file meanwhile waits, as on a network mount whose server is away."""
    held = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGURG)  # who waits is told us by a signal
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(held)


def secret_file(home: Path, name: str, text: str) -> dict[str, str]:
    """A reference to a new file with that secret in it."""
    path = home / name
    path.write_text(text)
    path.chmod(0o600)
    return {"file": str(path)}
