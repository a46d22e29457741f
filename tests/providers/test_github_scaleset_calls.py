"""A GitHub that stops in the middle of each call of a scale set: no job is lost or twice, nothing is left.

The real provider speaks with the fake, the machine decides, and the host is simulated: a client that passes
its gate connects at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mayfly.core.actions import AcquireJobs, Dismiss, Enrol
from mayfly.core.dispatch import Dispatch
from mayfly.core.model import PoolName, Roster, Traits
from mayfly.core.requests import Leave, Listen
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    JobsTold,
    JobsUntold,
    RosterFailed,
    RosterSeen,
)
from mayfly.edge.faults import Fault as Trouble
from mayfly.providers.github.scale_provider import ScaleSetGitHub
from mayfly.service.failures import failure_of
from tests.core.handed_out import HANDS_OUT, POOL, slots
from tests.core.simulator import Fate, Host, Manager
from tests.fakes.github_scale_sets import AGENTS, QUEUE, SETS, TENANT, FakeScaleSets
from tests.fakes.http import Fault
from tests.providers.contract import HOST, HOST_ID, changed, pool, secret_file

TOKEN = "/api/v3/orgs/acme/actions/runners/registration-token"
CALLS = {
    "a registration token": ("POST", TOKEN),
    "being let in": ("POST", "/api/v3/actions/runner-registration"),
    "the runner group": ("GET", f"{TENANT}/_apis/runtime/runnergroups"),
    "looking for the set": ("GET", SETS),
    "making the set": ("POST", SETS),
    "a session": ("POST", f"{SETS}/7/sessions"),
    "a session renewed": ("PATCH", f"{SETS}/7/sessions"),
    "a session's end": ("DELETE", f"{SETS}/7/sessions"),
    "a message": ("GET", QUEUE),
    "an acknowledgement": ("DELETE", QUEUE),
    "acquiring": ("POST", f"{SETS}/7/acquirejobs"),
    "a runner": ("POST", f"{SETS}/7/generatejitconfig"),
    "the list": ("GET", AGENTS),
    "a removal": ("DELETE", AGENTS),
}


@dataclass
class OnFake(Manager):
    """A manager on a simulated host that speaks with the fake by the real provider."""

    fake: FakeScaleSets = field(default_factory=FakeScaleSets)
    provider: ScaleSetGitHub | None = None
    word: Listen | None = None

    def begins(self) -> None:
        super().begins()
        self.state = replace(self.state, dispatches={POOL: Dispatch(self.now)})
        self.word = None

    def services(self) -> Mapping[PoolName, Traits]:
        return HANDS_OUT

    def finish(self, subject: str, fate: Fate = Fate.DONE) -> None:
        action = self.flight[subject]
        assert self.provider is not None
        if not isinstance(action, Enrol | Dismiss | AcquireJobs):
            super().finish(subject, fate)
            return
        del self.flight[subject]
        try:
            match action:
                case Enrol(generation=generation):
                    given = self.provider.enrol(self.memory.agents[generation], ())
                    known = (given.registration, given.registered)
                    done = ActionDone(action, registration=known[0], registered=known[1])
                case Dismiss(registration=registration):
                    done = ActionDone(action, busy=self.provider.dismiss(registration).busy)
                case AcquireJobs(jobs=jobs):
                    done = ActionDone(action, acquired=self.provider.acquire(jobs))
        except Trouble as trouble:
            self.inbox.append(ActionFailed(action, failure_of(trouble)))
        else:
            self.inbox.append(done)

    def ask_service(self) -> None:
        assert self.provider is not None
        try:
            roster = self.provider.roster()
            self.inbox.append(RosterSeen(POOL, roster or Roster((), self.now)))
        except Trouble as trouble:
            self.inbox.append(RosterFailed(POOL, failure_of(trouble)))

    def round(self) -> None:
        """A step, and all that comes of it."""
        assert self.provider is not None
        self.turn()
        for request in self.asked:
            if isinstance(request, Listen):
                self.word = request
            elif isinstance(request, Leave):
                with suppress(Trouble):
                    self.provider.leave(request.turn)
        for subject in list(self.flight):
            self.finish(subject)
        self.host.progress()
        self._clients()
        self.ask_service()
        if self.word is not None:
            word, self.word = self.word, None
            try:
                self.inbox.append(JobsTold(POOL, self.provider.listen(word), word.acknowledge))
            except Trouble as trouble:
                self.inbox.append(JobsUntold(POOL, failure_of(trouble)))
        self.host.now += 2.0

    def _clients(self) -> None:
        """Each client that has passed its gate takes a job that is the set's and does it."""
        for generation, box in list(self.host.boxes.items()):
            agent = self.memory.agents.get(generation)
            if not box.running or agent is None or agent.registered is None:
                continue
            with self.fake.lock:
                runner = self.fake.runner(agent.registered)
                if runner is None:
                    self.host.ends(generation, 0)
                    continue
                if runner.session is None:
                    self.fake.connect(runner.id)
                job = next((one for one in self.fake.jobs if one.state == "queued"), None)
                if job is None:
                    continue
                job.state, job.runner, job.acquired = "running", runner.name, job.acquired + 1
                runner.job = job
                self.fake.finish(job)
                self.fake._tell_ends()
            self.host.ends(generation, 0)


@pytest.fixture
def fake() -> Iterator[FakeScaleSets]:
    with FakeScaleSets() as service:
        service.poll_hold, service.linger = 0.0, 0.0
        yield service


def of(fake: FakeScaleSets, home: Path) -> Callable[[], OnFake]:
    settings = pool(
        provider="github",
        url=f"{fake.url}/acme",
        runner_group="gpu",
        token=secret_file(home, "token", "ghp_good"),
        enrolment="scaleset",
        calls_per_hour=1_000_000,
    )
    ours = changed(settings, name=POOL, labels=("gpu",))

    def made() -> OnFake:
        provider = ScaleSetGitHub(ours, HOST, HOST_ID)
        return OnFake(Host(), slots(2), fake=fake, provider=provider)

    return made


@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_broken_off_costs_no_job_and_leaves_nothing(
    fake: FakeScaleSets, tmp_path: Path, call: str, lost: str
) -> None:
    one = of(fake, tmp_path)()
    hit = fake.fail(*CALLS[call], Fault(lost=lost, times=2))
    jobs = []
    for number in range(40):
        if number in (3, 9, 20):
            jobs += [fake.queue_job() for _ in range(2)]
        if number == 12:
            with fake.lock:  # so that the session is to be renewed
                for known in fake.sets.values():
                    if known.session is not None:
                        known.session.token = "another"
        if number == 16:
            one.pause()
        if number == 19:
            one.resume()
        one.round()
    for _ in range(120):
        if all(job.state == "completed" for job in jobs) and not fake.runners:
            break
        one.round()
    assert [(job.state, job.acquired, job.completed) for job in jobs] == [("completed", 1, 1)] * 6
    assert fake.runners == {}
    removal = call == "a removal"  # each runner goes with its job here
    assert removal or hit.times is None or hit.times < 2, "it was never made"
