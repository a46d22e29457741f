"""Jobs that wait at a service: when it is asked, which are stuck, and that each is cancelled once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from mayfly.core.apply import apply
from mayfly.core.facts import (
    ManagerPaused,
    ManagerResumed,
    WaitingCancelled,
    WaitingCancelling,
)
from mayfly.core.memory import Agent, Cordon, Memory, Pause, SlotMemory
from mayfly.core.model import Generation, Phase, PoolName, PoolSpec, Roster, SlotName, Traits
from mayfly.core.plan import Plan
from mayfly.core.requests import AskWaiting, CancelWaiting, Trial
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    Commanded,
    EnrolmentTried,
    Failure,
    Family,
    RosterSeen,
    Stimulus,
    WaitingAnswered,
    WaitingSeen,
    WaitingUnseen,
)
from mayfly.core.waiting import (
    DENIED,
    FIRST,
    IDLE_FOR,
    LACKS,
    MOST,
    OFTEN,
    SELDOM,
    Queue,
    Queues,
    WaitingJob,
    idle_slot,
    pause,
)
from tests.core.served import Served, ServiceAction
from tests.core.simulator import Host, desire, pool, specs

POOL = PoolName("gpu")
HOUR = 3600.0
SPEC = PoolSpec(POOL, provider="github", cancel_stuck=6 * HOUR)
NOW = 1_000_000.0
REFUSED = Failure(Family.REFUSED, "the token may not")


def job(waited: float, number: int = 1, *, fits: bool = True, alone: bool = True) -> WaitingJob:
    lacks = () if fits else ("h200",)
    url = f"https://service/runs/{number}"
    return WaitingJob(str(number), f"test ({number})", NOW - waited, url, fits, alone, lacks)


def agent(phase: Phase = Phase.IDLE, since: float = NOW - 600, **more: object) -> Agent:
    made = Agent(
        *(Generation("g0"), SlotName("gpu-0"), POOL, 1, "f", "i", (), since),
        embedded=False,
        opened=since,
        confirmed=phase,
        confirmed_at=since,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def memory(one: Agent | None = None, cordon: Cordon | None = None) -> Memory:
    held = one if one is not None else agent()
    return Memory(agents={held.generation: held}, slots={held.slot: SlotMemory(cordon=cordon)})


@pytest.mark.parametrize(
    ("one", "cordon", "idle"),
    [
        (agent(), None, True),
        (agent(since=NOW - IDLE_FOR / 2), None, False),
        (agent(Phase.BUSY), None, False),
        (agent(dismissed=True), None, False),
        (agent(cordoned_there=True), None, False),
        (agent(exited=NOW), None, False),
        (agent(), Cordon(NOW, "alice"), False),
    ],
)
def test_a_slot_is_idle_once_a_job_should_have_come_to_it(
    one: Agent, cordon: Cordon | None, idle: bool
) -> None:
    found = idle_slot(memory(one, cordon), POOL, NOW)
    assert found == (SlotName("gpu-0") if idle else None)


def conditions(*jobs: WaitingJob, of: Memory | None = None, at: float = NOW) -> list[str]:
    queues = Queues({POOL: Queue(0.0, jobs=jobs, seen=NOW)})
    found = queues.conditions((SPEC,), of if of is not None else memory(), at)
    return [f"{one.code}: {one.text}" for one in found]


def test_what_waits_although_a_slot_is_idle_is_told_with_its_address() -> None:
    (told,) = conditions(job(2 * HOUR), job(3 * HOUR, 2), job(60, 3))
    assert told.startswith("waiting.stuck: job test (2) has waited at the service for 3h")
    assert "although gpu-0 is idle (https://service/runs/2), and 1 more" in told


def test_what_waits_for_what_no_agent_has_is_told_whoever_is_idle() -> None:
    (told,) = conditions(job(2 * HOUR, fits=False), of=memory(agent(Phase.BUSY)))
    assert told.startswith("waiting.unserved: ")
    assert "for what no agent has: h200 (https://service/runs/1)" in told


@pytest.mark.parametrize(
    ("jobs", "of", "at"),
    [
        ((), memory(), NOW),
        ((job(600),), memory(), NOW),  # not for long
        ((job(2 * HOUR),), memory(agent(Phase.BUSY)), NOW),  # it waits its turn
        ((job(2 * HOUR),), memory(), NOW + 10 * SELDOM),  # nobody has looked since
    ],
)
def test_what_waits_its_turn_or_was_not_seen_of_late_is_not_told(
    jobs: tuple[WaitingJob, ...], of: Memory, at: float
) -> None:
    assert conditions(*jobs, of=of, at=at) == []


def test_a_job_is_cancelled_once_it_has_waited_so_long_and_once_alone() -> None:
    queues = Queues({POOL: Queue(0.0, asked=NOW)})
    jobs = (job(7 * HOUR), job(2 * HOUR, 2), job(9 * HOUR, 3, alone=False))
    queues, doomed = queues.looked(SPEC, jobs, SlotName("gpu-0"), NOW)
    assert [one.id for one in doomed] == ["1"]
    queues, asked = queues.cancelled()
    assert asked == ((POOL, "1"),)
    assert queues.cancelled()[1] == ()
    queues, again = queues.looked(SPEC, jobs, SlotName("gpu-0"), NOW + OFTEN)
    assert again == ()


def test_of_jobs_without_end_those_are_kept_that_have_waited_for_longest() -> None:
    jobs = tuple(job(9 * HOUR + number, number) for number in range(3 * MOST))
    queues, doomed = Queues({POOL: Queue(0.0)}).looked(SPEC, jobs, SlotName("gpu-0"), NOW)
    kept = queues.pools[POOL].jobs
    assert {one.id for one in kept} == {one.id for one in jobs[-MOST:]}
    assert set(doomed) == set(kept)


def test_a_job_that_asks_for_labels_without_end_is_told_in_a_sentence() -> None:
    greedy = replace(job(2 * HOUR, fits=False), lacks=tuple(f"label-{n}" for n in range(2_000)))
    (told,) = conditions(greedy)
    assert f"label-{LACKS - 1}, … (https" in told


def test_nothing_is_cancelled_that_waits_its_turn_or_where_nobody_asked_for_it() -> None:
    queues = Queues({POOL: Queue(0.0)})
    assert queues.looked(SPEC, (job(7 * HOUR),), None, NOW)[1] == ()
    told_alone = replace(SPEC, cancel_stuck=0.0)
    assert queues.looked(told_alone, (job(90 * HOUR),), SlotName("gpu-0"), NOW)[1] == ()


def test_what_was_not_cancelled_stays_a_condition_and_says_why() -> None:
    queues = Queues({POOL: Queue(0.0, asked=NOW)})
    queues, _ = queues.looked(SPEC, (job(7 * HOUR),), SlotName("gpu-0"), NOW)
    assert queues.conditions((SPEC,), memory(), NOW) == []  # it is being done
    queues = queues.ended(POOL, "1", "the token may not")
    (told,) = queues.conditions((SPEC,), memory(), NOW)
    assert told.text.endswith("it could not be cancelled: the token may not")


def test_a_service_is_asked_seldom_and_what_is_refused_more_seldom_still() -> None:
    assert pause(SPEC) == 1200.0
    assert pause(replace(SPEC, stuck_after=60.0)) == OFTEN
    assert pause(replace(SPEC, stuck_after=90 * HOUR)) == SELDOM
    queues = Queues().use((SPEC,), (POOL,), NOW)
    assert queues.ask(NOW, ())[1] == ()
    queues, asked = queues.ask(NOW + FIRST, ())
    assert asked == (POOL,)
    assert queues.ask(NOW + 2 * FIRST, ())[1] == ()  # it is being asked
    assert queues.unseen(POOL, NOW, lasting=True).next() == NOW + DENIED
    assert queues.unseen(POOL, NOW, lasting=False).next() == NOW + SELDOM
    away = Queues().use((SPEC,), (POOL,), NOW).ask(NOW + FIRST, (POOL,))
    assert away[1] == ()
    off = replace(SPEC, stuck_after=0.0)
    assert Queues().use((off,), (POOL,), NOW).next() is None


def test_a_look_that_failed_leaves_nothing_behind() -> None:
    queues = Queues({POOL: Queue(0.0, jobs=(job(9 * HOUR),), seen=NOW)})
    assert queues.unseen(POOL, NOW, lasting=False).conditions((SPEC,), memory(), NOW) == []


# -- the machine ---------------------------------------------------------------------------------------


@dataclass
class Waited(Served):
    """A service where a job waits, and what it was asked."""

    jobs: tuple[WaitingJob, ...] = ()
    unseen: bool = False
    refusal: Failure | None = None
    looks: list[float] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def traits(self) -> Traits:
        return Traits()

    def services(self) -> Mapping[PoolName, Traits]:
        return {spec.pool.name: Traits() for spec in self.desired.slots}

    def listed(self, of: PoolName) -> Stimulus | None:
        return RosterSeen(of, Roster(tuple(self.host.entries.values()), self.now), 30.0)

    def called(self, action: ServiceAction) -> ActionDone | ActionFailed | None:
        return None

    def tried(self, of: PoolName, trial: Trial) -> EnrolmentTried:
        return EnrolmentTried(of, None)

    def turn(self, *, recorded: bool = True, sights: Sequence[Stimulus] | None = None) -> Plan:
        plan = super().turn(recorded=recorded, sights=sights)
        for request in self.asked:
            self._answer(request)
        return plan

    def _answer(self, request: object) -> None:
        if isinstance(request, AskWaiting):
            self.looks.append(self.now)
            seen = WaitingSeen(request.pool, self.jobs)
            self.inbox.append(WaitingUnseen(request.pool, REFUSED) if self.unseen else seen)
        elif isinstance(request, CancelWaiting):
            self.cancelled.append(request.waiting)
            if self.refusal is None:
                self.jobs = ()
            self.inbox.append(WaitingAnswered(request.pool, request.waiting, self.refusal))


def waited(**keys: object) -> Waited:
    """A manager of one slot, idle, at whose service a job waits for seven hours."""
    spec = replace(pool("gpu", 1, provider="github"), cancel_stuck=6 * HOUR)
    manager = Waited(Host(), desire(specs(spec)))
    waits = replace(job(0), since=manager.now - 7 * HOUR)
    manager.jobs = (waits,)
    for name, value in keys.items():
        setattr(manager, name, value)
    queues = Queues().use((spec,), (POOL,), manager.now)
    manager.state = replace(manager.state, queues=queues)
    return manager


def minutes(manager: Waited, many: int) -> None:
    for _ in range(many * 6):
        manager.one_second(10.0)


def told(manager: Waited, kind: type) -> list[object]:
    return [fact for fact in manager.journal if isinstance(fact, kind)]


def test_a_manager_that_looks_cancels_what_is_stuck_once_and_it_is_on_disk_before() -> None:
    manager = waited()
    minutes(manager, 3)
    assert manager.cancelled == []  # the slot has not been idle for long
    minutes(manager, 120)
    assert manager.cancelled == ["1"]
    (begun,) = told(manager, WaitingCancelling)
    (done,) = told(manager, WaitingCancelled)
    assert isinstance(begun, WaitingCancelling)
    assert isinstance(done, WaitingCancelled)
    assert (begun.waiting, begun.url) == ("1", "https://service/runs/1")
    assert begun.waited > 6 * HOUR
    assert done.refusal is None
    assert manager.journal.index(begun) < manager.journal.index(done)
    assert len(manager.looks) <= 7  # of three an hour


def test_a_service_that_does_not_cancel_is_asked_once() -> None:
    manager = waited(refusal=REFUSED)
    minutes(manager, 180)
    assert manager.cancelled == ["1"]
    (done,) = told(manager, WaitingCancelled)
    assert isinstance(done, WaitingCancelled)
    assert done.refusal == "the token may not"
    (line,) = manager.state.queues.conditions(manager.config().pools, manager.memory, manager.now)
    assert line.code == "waiting.stuck"
    assert "could not be cancelled" in line.text


def test_a_token_that_may_not_know_is_no_trouble_of_the_pool() -> None:
    manager = waited(unseen=True)
    minutes(manager, 120)
    assert len(manager.looks) == 1
    assert manager.cancelled == []
    assert manager.conditions() == []
    assert manager.phases("gpu-0")[0] == "idle"


def test_a_paused_manager_neither_looks_nor_cancels() -> None:
    manager = waited()
    minutes(manager, 1)
    manager.journal.append(pause_fact := ManagerPaused(manager.now, Pause(manager.now, "alice")))
    manager.memory = apply(manager.memory, (pause_fact,))
    manager.state = replace(manager.state, memory=manager.memory)
    minutes(manager, 60)
    assert manager.looks == []
    assert manager.cancelled == []


@pytest.mark.parametrize("first", ["pause", "answer"])
def test_what_was_seen_before_a_pause_is_not_cancelled_after_it(first: str) -> None:
    manager = waited()
    minutes(manager, 8)
    assert manager.phases("gpu-0")[0] == "idle"
    seen = WaitingSeen(POOL, (replace(job(0, 7), since=manager.now - 7 * HOUR),))
    pause_fact = ManagerPaused(manager.now, Pause(manager.now, "alice"))
    both: list[Stimulus] = [Commanded((pause_fact,)), seen]
    manager.inbox += both if first == "pause" else reversed(both)
    manager.jobs = ()  # it has begun meanwhile
    minutes(manager, 30)
    manager.inbox.append(Commanded((ManagerResumed(manager.now, "alice"),)))
    minutes(manager, 60)
    assert "7" not in manager.cancelled
