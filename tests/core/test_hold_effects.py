"""Who may have a job held, go into it, and give it up, and what each of these comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.apply import apply
from mayfly.core.capabilities import Capabilities
from mayfly.core.command_effects import effects
from mayfly.core.command_result import CommandResult, Situation
from mayfly.core.commands import (
    AttachAgent,
    Caller,
    ExtendHold,
    HoldJob,
    ReleaseHold,
    RetrySlots,
)
from mayfly.core.facts import (
    AgentAttached,
    AgentExited,
    AgentHeld,
    HoldAsked,
    HoldEnded,
    HoldExtended,
    JobEnded,
)
from mayfly.core.held_jobs import conditions, with_holds
from mayfly.core.memory import Agent, HoldWish, Job, JobHold, Memory
from mayfly.core.model import (
    Config,
    ContainerId,
    Desired,
    Generation,
    HostSpec,
    JobId,
    JobState,
    Phase,
    PoolSecurity,
    Removal,
    SlotName,
    SlotSpec,
)
from mayfly.core.quantities import rfc3339
from mayfly.core.queue import share_with_hold
from mayfly.core.reservations import Reservation
from tests.core.simulator import pool, specs

T = 1_800_000_000.0
ROOT = Caller(7, 0, 0, "root")
ANN = Caller(7, 1000, 1000, "ann", operator=False)
BEN = Caller(7, 1001, 1001, "ben", operator=False)
LOCAL = replace(pool("a", 2), hold_failed=600.0, hold_most=3600.0)
A0, A1 = SlotName("a-0"), SlotName("a-1")
JOB, OVER = JobId("j1"), JobId("j0")
BOX = ContainerId("b" * 64)
RUNS = Agent(
    *(Generation("g1"), A0, LOCAL.name, 1, "f", "image", (), T - 60),
    ready=T - 50, committed=T - 40, opened=T - 39, job=JOB, container=BOX,
)  # fmt: skip
HOLD = JobHold("ann", ANN.uid, T - 10, T + 590, T + 3590)
HELD = replace(RUNS, generation=Generation("g0"), slot=A1, job=OVER, exited=T - 10, hold=HOLD)
SERVED_BUSY = replace(RUNS, embedded=False, job=None, confirmed=Phase.BUSY)
ENTRY = Job(JOB, LOCAL.name, 3, T - 45, agent=RUNS.generation, slot=A0, uid=1000, owner="ann")
KEPT = specs(LOCAL, removal=Removal.MANAGER)


def situation(*agents: Agent, slots: tuple[SlotSpec, ...] = KEPT, job: Job = ENTRY) -> Situation:
    memory = Memory({one.generation: one for one in agents}, {}, {job.id: job})
    return Situation(Config(HostSpec(name="lab1"), (LOCAL,)), Desired(slots), memory, T)


BOTH = situation(RUNS, HELD)


def refused(found: CommandResult) -> str:
    assert found.facts == ()
    return f"{found.status} {found.body['error']}"


def test_a_running_job_is_to_be_held_once_and_that_is_taken_back() -> None:
    found = effects(HoldJob(ANN, JOB, is_slot=False), BOTH)
    asked = HoldAsked(T, 600.0, "ann", job=JOB)
    assert found.facts == (asked,)
    assert found.body == {"job": JOB, "slot": A0, "user": "ann", "until": None, "seconds": 600.0}
    again = situation(RUNS, job=replace(ENTRY, hold=HoldWish(600.0, "ann")))
    assert effects(HoldJob(ANN, JOB, is_slot=False), again).facts == ()
    assert effects(ReleaseHold(ANN, JOB, is_slot=False), again).facts == (
        HoldAsked(T, 0.0, "ann", job=JOB),
    )
    longer = effects(HoldJob(ROOT, A0, is_slot=True, seconds=1200.0), again)
    assert longer.facts == (HoldAsked(T, 1200.0, "root", job=JOB),)
    assert longer.body["user"] == "ann"


def test_a_services_job_is_held_for_the_operator_who_asks() -> None:
    found = effects(HoldJob(ROOT, A0, is_slot=True), situation(SERVED_BUSY))
    assert found.facts == (HoldAsked(T, 600.0, "root", generation=RUNS.generation),)
    told = "403 the job in slot a-0 is not one of ann's"
    assert refused(effects(HoldJob(ANN, A0, is_slot=True), situation(SERVED_BUSY))) == told


def test_a_held_job_is_entered_extended_and_given_up_by_its_owner_and_by_operators() -> None:
    for by in (ANN, ROOT):
        for to, is_slot in ((OVER, False), (A1, True)):
            entered = effects(AttachAgent(by, to, is_slot=is_slot, mark="m"), BOTH)
            assert entered.facts == (AgentAttached(T, HELD.generation, by.name, "m"),)
            assert (entered.body["held"], entered.body["job"]) == (True, OVER)
            more = effects(ExtendHold(by, to, is_slot=is_slot, seconds=600.0), BOTH)
            assert more.facts == (HoldExtended(T, HELD.generation, T + 1190, by.name),)
            assert more.body["until"] == rfc3339(T + 1190)
            gone = effects(ReleaseHold(by, to, is_slot=is_slot), BOTH)
            reason = f"{by.name} gave it up"
            assert gone.facts == (HoldEnded(T, HELD.generation, reason, by.name, OVER),)
    assert effects(HoldJob(ANN, OVER, is_slot=False), BOTH).facts == ()


def test_a_retry_leaves_a_held_job_held() -> None:
    found = effects(RetrySlots(ROOT, (A1,)), BOTH)
    assert found.status == 200
    assert found.body["slots"] == [A1]
    assert apply(BOTH.memory, found.facts).agents[HELD.generation].hold == HOLD


def test_it_is_extended_to_what_its_pool_allows_and_no_further() -> None:
    most = effects(ExtendHold(ANN, OVER, is_slot=False, seconds=90_000.0), BOTH)
    assert most.facts == (HoldExtended(T, HELD.generation, HOLD.latest, "ann"),)
    little = refused(effects(ExtendHold(ANN, OVER, is_slot=False, seconds=59.0), BOTH))
    assert little == "400 a job is held for a minute longer at least"
    full = replace(HELD, hold=replace(HOLD, until=HOLD.latest))
    told = "409 j0 is not held for more than 1h in all (hold_most)"
    assert (
        refused(effects(ExtendHold(ANN, OVER, is_slot=False, seconds=60.0), situation(full)))
        == told
    )


LONG = replace(LOCAL, hold_most=4 * 3600.0)
HELD_LONG = replace(HELD, hold=replace(HOLD, latest=HOLD.since + 4 * 3600.0))
WAITS = replace(ENTRY, id=JobId("j9"), agent=None, slot=None, uid=BEN.uid, owner="ben")


def waited_for(job: Job) -> Situation:
    return situation(HELD_LONG, slots=specs(LONG, removal=Removal.MANAGER), job=job)


@pytest.mark.parametrize("by", [ANN, ROOT])
def test_while_others_wait_for_its_slot_it_is_not_extended_beyond_an_hour_in_all(
    by: Caller,
) -> None:
    more, much = (
        ExtendHold(by, OVER, is_slot=False, seconds=seconds) for seconds in (3000.0, 3001.0)
    )
    assert effects(more, waited_for(WAITS)).status == 200
    why = refused(effects(much, waited_for(WAITS)))
    assert why == (
        "409 j0 is held for 1h at most while others wait for its slot, and a job waits in pool a"
    )
    own = replace(WAITS, uid=ANN.uid, owner="ann")
    assert effects(much, waited_for(own)).status == 200, "its owner's own jobs are no others"
    assert effects(much, waited_for(ENTRY)).status == 200, "nobody waits"


def test_nor_is_it_held_for_longer_from_the_start_by_who_asked_for_that_before() -> None:
    slots = specs(LONG, removal=Removal.MANAGER)
    wish = replace(ENTRY, hold=HoldWish(4 * 3600.0, "ann"))
    end = AgentExited(T, RUNS.generation, "job_done", None, 0, None)
    ended = (end, JobEnded(T, JOB, JobState.SUCCEEDED, None, 0, ""))
    for waiting, lasts in (({}, 4 * 3600.0), ({WAITS.id: WAITS}, 3600.0)):
        memory = Memory({RUNS.generation: RUNS}, {}, {JOB: wish, **waiting})
        (held,) = (one for one in with_holds(ended, memory, slots, T) if isinstance(one, AgentHeld))
        assert held.until == T + lasts
        assert held.latest == T + 4 * 3600.0, "it may be extended when nobody waits any more"


def test_nobody_else_touches_it() -> None:
    for to, is_slot in ((OVER, False), (A1, True), (JOB, False), (A0, True)):
        for command in (
            HoldJob(BEN, to, is_slot=is_slot),
            AttachAgent(BEN, to, is_slot=is_slot),
            ExtendHold(BEN, to, is_slot=is_slot, seconds=60.0),
            ReleaseHold(BEN, to, is_slot=is_slot),
        ):
            found = effects(command, BOTH)
            assert found.status == 403
            assert found.facts == ()
    for_operators = replace(HELD, hold=replace(HOLD, user="", uid=None))
    assert effects(AttachAgent(ANN, OVER, is_slot=False), situation(for_operators)).status == 403


@pytest.mark.parametrize(
    ("slots", "why"),
    [
        (specs(LOCAL), "its containers are removed by the engine as they end"),
        (specs(replace(LOCAL, hold_most=0.0), removal=Removal.MANAGER), "`hold_most = 0`"),
        (
            specs(replace(LOCAL, security=PoolSecurity(read_only=True)), removal=Removal.MANAGER),
            "its files are in memory",
        ),
        (
            tuple(replace(one, engine=Capabilities(starts_again=False)) for one in KEPT),
            "its engine cannot start a container that has ended once more",
        ),
    ],
)
def test_what_cannot_be_held_is_refused_with_why(slots: tuple[SlotSpec, ...], why: str) -> None:
    found = effects(HoldJob(ANN, JOB, is_slot=False), situation(RUNS, slots=slots))
    assert why in refused(found)


def test_a_reservation_is_not_held_beyond_its_time() -> None:
    one = Reservation(JOB, LOCAL.name, 1000, "ann", 1, 1, T - 45, 3600.0, T - 45, began=T - 45)
    reserved = replace(BOTH, memory=replace(BOTH.memory, reservations={JOB: one}))
    for to, is_slot in ((JOB, False), (A0, True)):
        found = effects(HoldJob(ANN, to, is_slot=is_slot), reserved)
        assert refused(found).startswith("409 j1 is a reservation, which ends with its time")


def test_a_job_that_was_given_up_is_not_held_although_it_had_ended_by_itself() -> None:
    job = replace(ENTRY, hold=HoldWish(600.0, "ann"))
    ended = (
        AgentExited(T, RUNS.generation, "job_done", None, 0, None),
        JobEnded(T, JOB, JobState.SUCCEEDED, None, 0),
    )
    for given_up in (None, "ann", "its reservation's end"):
        memory = situation(RUNS, job=replace(job, cancelled_by=given_up)).memory
        found = with_holds(ended, memory, KEPT, T)
        assert any(isinstance(one, AgentHeld) for one in found) is (given_up is None)


def test_it_is_not_held_for_longer_than_its_pool_allows() -> None:
    found = effects(HoldJob(ANN, JOB, is_slot=False, seconds=7200.0), BOTH)
    assert refused(found) == "409 a job of pool a is held for 1h at most, not 2h (hold_most)"
    none = effects(ReleaseHold(ANN, JOB, is_slot=False), BOTH)
    assert refused(none) == "409 j1 is not held, and nobody has asked for it"
    early = effects(ExtendHold(ANN, JOB, is_slot=False, seconds=60.0), BOTH)
    assert refused(early) == "409 j1 is not held yet: `mayfly hold j1` asks for it"


def test_a_pool_whose_slots_are_all_held_is_told_with_the_line_that_gives_one_back() -> None:
    other = replace(HELD, generation=Generation("g2"), slot=A0, hold=replace(HOLD, until=T + 100))
    (told,) = conditions(situation(HELD, other).memory, KEPT)
    assert (told.code, told.pool, told.slots) == ("pool.held", LOCAL.name, (A0, A1))
    assert (
        "all 2 slots of pool a are held for people, the first until 2027-01-15 08:01 UTC"
        in told.text
    )
    assert told.fix == f"mayfly release {A0}"
    assert [*conditions(BOTH.memory, KEPT)] == [], "one of them takes jobs"


@pytest.mark.parametrize(("later", "counts"), [(600.0, 600.0), (50 * 3600.0, 3600.0), (-60.0, 0.0)])
def test_a_share_counts_what_was_held_and_not_how_long_no_manager_was_there_to_see_its_end(
    later: float, counts: float
) -> None:
    hold = replace(HOLD, latest=HOLD.since + 3600.0)
    agent = replace(HELD, hold=hold)
    memory = Memory({agent.generation: agent})
    share = share_with_hold(memory, agent.generation, hold.since + later, 1e9)
    assert share == pytest.approx(counts, rel=1e-3)
