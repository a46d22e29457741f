"""What the world shows, told once: ends and their causes, and what they mean for job and slot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.apply import apply
from mayfly.core.facts import (
    AgentAdopted,
    AgentDoomed,
    AgentExited,
    AgentOpened,
    AgentReady,
    Fact,
    JobEnded,
    JobRequeued,
    SlotCooled,
    SlotHeld,
    SlotRecovered,
    SlotUnbooked,
)
from mayfly.core.memory import Agent, Booking, Doom, Job, Memory, SlotMemory
from mayfly.core.model import (
    Cause,
    Container,
    ContainerId,
    ContainerState,
    Death,
    DoomReason,
    Exit,
    GateDeath,
    Generation,
    Hold,
    HostId,
    JobId,
    JobState,
    PoolName,
    SlotName,
    Witness,
    World,
)
from mayfly.core.notice import DOUBT, LAST_WORDS, doubtful_until, notice, unopened, unprepared
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.slots import TRIAL_FIRST, TRIAL_MOST, backoff
from tests.core.simulator import judge

T = 1_800_000_000.0
G, SLOT, POOL, JOB = Generation("g1"), SlotName("a-0"), PoolName("a"), JobId("j1")
AGENT = Agent(
    generation=G,
    slot=SLOT,
    pool=POOL,
    serial=1,
    fingerprint="f1",
    image="image",
    lease=(),
    born=T - 100,
    container=ContainerId("c1"),
    armed=T - 90,
    ready=T - 89,
)
COMMITTED = replace(AGENT, committed=T - 50, run_id="b", job=JOB)
OPENED = replace(COMMITTED, opened=T - 49)
BOX = Container(
    id=ContainerId("c1"),
    name="a-0",
    state=ContainerState.RUNNING,
    host=HostId("ours"),
    pool=POOL,
    slot=SLOT,
    generation=G,
    fingerprint="f1",
    image="image",
    created=T - 100,
)


def memory(agent: Agent, *, tries: int = 0, cancelled: bool = False, failures: int = 0) -> Memory:
    job = Job(
        id=JOB,
        pool=POOL,
        serial=2,
        submitted=T - 60,
        tries=tries,
        agent=agent.generation if agent.job else None,
        slot=SLOT,
        cancelled_by="ann" if cancelled else None,
    )
    return Memory({G: agent}, {SLOT: SlotMemory(failures=failures)}, {JOB: job}, None, 2)


def world(
    witness: Witness | None = None, container: Container | None = None, **more: object
) -> World:
    """A known Engine; no container unless one is given."""
    return World(
        containers={G: container} if container is not None else {},
        witnesses={G: witness} if witness is not None else {},
        **more,  # type: ignore[arg-type]
    )


def told(agent: Agent, seen: World, now: float = T, **more: object) -> list[Fact]:
    return notice(memory(agent, **more), seen, now, judge, frozenset())  # type: ignore[arg-type]


def end_of(facts: list[Fact]) -> tuple[JobState, Cause | None, int | None]:
    (end,) = (fact for fact in facts if isinstance(fact, JobEnded))
    return end.state, end.cause, end.exit_code


def doomed(agent: Agent, reason: DoomReason) -> Agent:
    return replace(agent, doom=Doom(reason, T - 5))


def exited(
    code: int, oom: int | None = 0, *, signalled: bool = False, at: float = T - 1
) -> Witness:
    return Witness(ready=T - 89, opened=T - 49, exit=Exit(code, oom, at), signalled=signalled)


LONG_AGO = {G: T - 30}
RUNNING = Witness(ready=T - 89, opened=T - 49)
DIED = {G: Death(ContainerId("c1"), 137, T - 10)}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (world(exited(0, at=T - 30)), T - 30),  # nobody looked for half a minute
        (world(exited(0, at=T + 30)), T),  # the clock was set back since
        (world(exited(0, at=T - 60)), T - 49),  # or before: a job does not end before it began
        (world(RUNNING, deaths=DIED), T - 10),
        (world(RUNNING, first_missed=LONG_AGO), T - 30),
    ],
)
def test_a_job_and_its_agent_ended_when_they_did_and_not_when_it_was_noticed(
    seen: World, expected: float
) -> None:
    facts = told(OPENED, seen)
    assert [fact.at for fact in facts if isinstance(fact, AgentExited | JobEnded)] == [expected] * 2


@pytest.mark.parametrize(
    ("agent", "seen", "account"),
    [
        (OPENED, world(exited(0)), (JobState.SUCCEEDED, None, 0)),
        (OPENED, world(exited(3)), (JobState.FAILED, Cause.EXIT, 3)),
        (OPENED, world(exited(137, 1)), (JobState.FAILED, Cause.OOM, 137)),
        (OPENED, world(exited(137, None)), (JobState.FAILED, Cause.EXIT, 137)),
        # Its own code counts, also where the container still stands or something else happened later.
        (OPENED, world(exited(0), BOX, ended=frozenset({G})), (JobState.SUCCEEDED, None, 0)),
        (OPENED, world(exited(0), BOX, deaths=DIED), (JobState.SUCCEEDED, None, 0)),
        (OPENED, world(exited(0, signalled=True)), (JobState.SUCCEEDED, None, 0)),
        (
            doomed(OPENED, DoomReason.TIMEOUT),
            world(exited(143, signalled=True)),
            (JobState.FAILED, Cause.TIMEOUT, 143),
        ),
        (
            doomed(OPENED, DoomReason.DISK),
            world(exited(143, signalled=True)),
            (JobState.FAILED, Cause.DISK, 143),
        ),
        (
            doomed(OPENED, DoomReason.CANCELLED),
            world(RUNNING, deaths=DIED),
            (JobState.CANCELLED, Cause.CANCELLED, None),
        ),
        (
            doomed(OPENED, DoomReason.FORCED),
            world(exited(143, signalled=True)),
            (JobState.CANCELLED, Cause.CANCELLED, 143),
        ),
        # Killed from outside: the Engine said so, or the launcher was told to stop.
        (OPENED, world(RUNNING, deaths=DIED), (JobState.LOST, Cause.KILLED, None)),
        (
            OPENED,
            world(exited(143, signalled=True, at=T - 10)),
            (JobState.LOST, Cause.KILLED, 143),
        ),
        # The Engine stopped around it.
        (
            OPENED,
            world(RUNNING, engine_stop=T - 30, last_seen={G: T - 32}, first_missed=LONG_AGO),
            (JobState.LOST, Cause.ENGINE_STOPPED, None),
        ),
        (
            OPENED,
            world(exited(143, signalled=True), engine_stop=T, last_seen={G: T - 2}),
            (JobState.LOST, Cause.ENGINE_STOPPED, 143),
        ),
        # Gone, and nobody can say why.
        (OPENED, world(RUNNING, first_missed=LONG_AGO), (JobState.LOST, Cause.UNKNOWN, None)),
        (
            OPENED,
            world(RUNNING, replace(BOX, state=ContainerState.EXITED), first_missed=LONG_AGO),
            (JobState.LOST, Cause.UNKNOWN, None),
        ),
        # It stopped long before this agent was last seen alive: that does not explain its end.
        (
            OPENED,
            world(RUNNING, engine_stop=T - 80, last_seen={G: T - 32}, first_missed=LONG_AGO),
            (JobState.LOST, Cause.UNKNOWN, None),
        ),
        # It was to be ended for having no job, and had one.
        (
            doomed(COMMITTED, DoomReason.INTERRUPTED),
            world(exited(143, signalled=True, at=T - 10)),
            (JobState.LOST, Cause.KILLED, 143),
        ),
        (doomed(COMMITTED, DoomReason.MISSED), world(exited(4)), (JobState.FAILED, Cause.EXIT, 4)),
    ],
)
def test_a_job_ends_with_the_cause_that_the_world_shows(
    agent: Agent, seen: World, account: tuple[JobState, Cause | None, int | None]
) -> None:
    assert end_of(told(agent, seen)) == account


@pytest.mark.parametrize(
    "seen",
    [
        world(exited(0), BOX),
        world(exited(137, 1), BOX),
        world(exited(143, signalled=True, at=T - 10), BOX),
        world(exited(0), BOX, engine_stop=T, last_seen={G: T - 2}),
        replace(world(exited(0)), containers=None),
    ],
)
def test_an_end_that_the_witness_alone_tells_is_none(seen: World) -> None:
    assert not told(OPENED, seen)
    assert not told(doomed(OPENED, DoomReason.FORCED), seen)


@pytest.mark.parametrize(
    ("agent", "seen"),
    [
        (OPENED, world(RUNNING, BOX)),
        (OPENED, world(RUNNING, replace(BOX, state=ContainerState.PAUSED))),
        (OPENED, World(None, {G: RUNNING})),
        (COMMITTED, World(None)),
        (AGENT, World(None)),
        (AGENT, world(None, replace(BOX, state=ContainerState.CREATED))),
        # Gone a moment ago: its witness or the Engine may still say why.
        (OPENED, world(RUNNING, first_missed={G: T - DOUBT + 0.1})),
        (COMMITTED, world(None, first_missed={G: T - DOUBT + 0.1})),
        # Told to stop by nobody that is known yet: an Engine that stops may be about to be noticed.
        (OPENED, World(None, {G: exited(143, signalled=True, at=T - 100)})),
        (OPENED, world(exited(143, signalled=True, at=T - 1))),
    ],
)
def test_nothing_is_said_of_what_runs_or_is_unknown_or_in_doubt(agent: Agent, seen: World) -> None:
    told_of = [fact for fact in told(agent, seen) if not isinstance(fact, AgentReady)]
    assert told_of == []


def test_a_subject_in_flight_is_not_judged_by_its_container_but_by_its_witness() -> None:
    gone = world(RUNNING, deaths=DIED)
    assert notice(memory(OPENED), gone, T, judge, frozenset({G})) == []
    ended = world(exited(0))
    assert notice(memory(OPENED), ended, T, judge, frozenset({G})) != []


def test_ready_and_opened_are_told_once() -> None:
    seen = world(Witness(ready=T - 2, opened=T - 1), BOX)
    fresh = replace(COMMITTED, ready=None)
    facts = told(fresh, seen)
    assert facts == [AgentReady(T, G), AgentOpened(T - 1, G)]
    after = apply(memory(fresh), facts)
    assert notice(after, seen, T, judge, frozenset()) == []
    assert after.jobs[JOB].started == T - 1


def test_when_a_doubt_is_over_is_said_in_advance() -> None:
    assert doubtful_until(OPENED, world(RUNNING, first_missed={G: T})) == T + DOUBT
    assert doubtful_until(OPENED, world(RUNNING, BOX)) is None
    assert doubtful_until(AGENT, world(first_missed={G: T})) == T + LAST_WORDS
    assert doubtful_until(AGENT, world(first_missed={G: T}, outputs_kept=frozenset({G}))) is None
    assert doubtful_until(doomed(OPENED, DoomReason.FORCED), world()) is None


def test_who_died_at_its_gate_is_told_with_its_code_and_its_last_words() -> None:
    died = Death(ContainerId("c1"), 70, T - 1.0)
    gone = world(deaths={G: died})
    assert told(AGENT, gone) == []  # its last line is on its way
    said = replace(
        gone, outputs_kept=frozenset({G}), last_words={G: "the image has no user nosuch"}
    )
    facts = told(AGENT, said)
    sentence = "the agent ended at its gate with exit code 70: the image has no user nosuch"
    (end,) = (fact for fact in facts if isinstance(fact, AgentExited))
    assert (end.exit_code, end.detail) == (70, sentence)
    (cooled,) = (fact for fact in facts if isinstance(fact, SlotCooled))
    assert cooled.reason == sentence
    witnessed = {G: Witness(died=GateDeath(70, "the image has no user nosuch"))}
    # Whoever removed it was quicker than who reads its output, or than who hears of its end.
    for seen in (replace(gone, witnesses=witnessed), world(first_missed={G: T - 1.0})):
        (end,) = (
            fact
            for fact in told(AGENT, replace(seen, witnesses=witnessed))
            if isinstance(fact, AgentExited)
        )
        assert (end.exit_code, end.detail) == (70, sentence)
    late = replace(gone, deaths={G: replace(died, at=T - LAST_WORDS)})
    (end,) = (fact for fact in told(AGENT, late) if isinstance(fact, AgentExited))
    assert end.detail == "the agent ended at its gate with exit code 70"


def test_a_clock_set_back_does_not_prolong_a_doubt() -> None:
    gone = world(RUNNING, first_missed={G: T + 3600})
    assert end_of(told(OPENED, gone)) == (JobState.LOST, Cause.UNKNOWN, None)


NEVER = "3 agents that were to run it ended before it began"


@pytest.mark.parametrize(
    ("agent", "seen", "tries", "expected"),
    [
        (COMMITTED, world(first_missed=LONG_AGO), 0, JobRequeued(T, JOB, G, True)),
        (COMMITTED, world(first_missed=LONG_AGO), 1, JobRequeued(T, JOB, G, True)),
        (
            COMMITTED,
            world(first_missed=LONG_AGO),
            2,
            JobEnded(T, JOB, JobState.LOST, Cause.NEVER_STARTED, None, NEVER),
        ),
        # An entrypoint that refused its frame.
        (COMMITTED, world(Witness(exit=Exit(64, 0, T))), 0, JobRequeued(T, JOB, G, True)),
        # A deadline missed counts, and so does a gate that could not be opened.
        (doomed(COMMITTED, DoomReason.MISSED), world(), 0, JobRequeued(T, JOB, G, True)),
        (doomed(COMMITTED, DoomReason.UNBROUGHT), world(), 0, JobRequeued(T, JOB, G, True)),
        (doomed(COMMITTED, DoomReason.BROKEN_OFF), world(), 2, JobRequeued(T, JOB, G, False)),
        (
            doomed(COMMITTED, DoomReason.REFUSED),
            world(),
            2,
            JobEnded(T, JOB, JobState.LOST, Cause.NEVER_STARTED, None, NEVER),
        ),
        # What Mayfly or the Engine did does not, however often.
        (doomed(COMMITTED, DoomReason.INTERRUPTED), world(), 2, JobRequeued(T, JOB, G, False)),
        (doomed(COMMITTED, DoomReason.FORCED), world(), 2, JobRequeued(T, JOB, G, False)),
        (
            COMMITTED,
            world(engine_stop=T - 30, last_seen={G: T - 31}, first_missed=LONG_AGO),
            2,
            JobRequeued(T, JOB, G, False),
        ),
    ],
)
def test_a_job_whose_agent_did_not_open_is_queued_again_three_times(
    agent: Agent, seen: World, tries: int, expected: Fact
) -> None:
    facts = told(agent, seen, tries=tries)
    assert [fact for fact in facts if isinstance(fact, JobRequeued | JobEnded)] == [expected]


def test_a_cancelled_job_that_did_not_start_is_cancelled() -> None:
    facts = told(doomed(COMMITTED, DoomReason.CANCELLED), world(), cancelled=True)
    assert end_of(facts) == (JobState.CANCELLED, Cause.CANCELLED, None)


def slot_facts(facts: list[Fact]) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact, SlotCooled | SlotRecovered | SlotHeld)]


@pytest.mark.parametrize(
    ("agent", "seen", "cools"),
    [
        (AGENT, world(), True),
        (AGENT, world(Witness(ready=T, exit=Exit(64, 0, T))), True),
        (doomed(AGENT, DoomReason.MISSED), world(), True),
        (doomed(COMMITTED, DoomReason.MISSED), world(), True),
        (doomed(COMMITTED, DoomReason.REFUSED), world(), True),
        (doomed(COMMITTED, DoomReason.UNOPENED), world(), True),
        # Who brings what cannot be put anywhere stops nobody else's.
        (doomed(COMMITTED, DoomReason.UNBROUGHT), world(), False),
        (doomed(COMMITTED, DoomReason.BROKEN_OFF), world(), True),
        (doomed(AGENT, DoomReason.DRAINED), world(), False),
        (doomed(AGENT, DoomReason.STALE), world(), False),
        (doomed(AGENT, DoomReason.UNWANTED), world(), False),
        (doomed(COMMITTED, DoomReason.INTERRUPTED), world(), False),
        (AGENT, world(engine_stop=T - 30, last_seen={G: T - 31}, first_missed=LONG_AGO), False),
        (replace(AGENT, armed=None, container=None), world(), False),
        # A job that ran says nothing against its slot, however it ended.
        (OPENED, world(exited(1)), False),
        (OPENED, world(RUNNING, deaths=DIED), False),
        (doomed(OPENED, DoomReason.TIMEOUT), world(exited(143, signalled=True)), False),
    ],
)
def test_a_young_death_cools_the_slot_and_nothing_else_does(
    agent: Agent, seen: World, cools: bool
) -> None:
    cooled = [fact for fact in told(agent, seen) if isinstance(fact, SlotCooled)]
    assert bool(cooled) is cools


def test_each_young_death_cools_for_longer_and_a_job_done_resets_it() -> None:
    (cooled,) = slot_facts(told(AGENT, world(), failures=3))
    assert isinstance(cooled, SlotCooled)
    assert (cooled.failures, cooled.until) == (4, T + 8.0)
    assert slot_facts(told(OPENED, world(exited(1)), failures=3)) == [SlotRecovered(T, SLOT)]
    assert slot_facts(told(OPENED, world(exited(1)))) == []


@pytest.mark.parametrize(
    ("reason", "warms"),
    [(DoomReason.OLD, True), (DoomReason.STALE, False), (DoomReason.DRAINED, False)],
)
def test_only_an_agent_that_was_there_for_long_shows_that_agents_live(
    reason: DoomReason, warms: bool
) -> None:
    facts = slot_facts(told(doomed(AGENT, reason), world(), failures=3))
    assert facts == ([SlotRecovered(T, SLOT)] if warms else [])


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            Result.REFUSED,
            SlotHeld(T, SLOT, "no", Hold.SERVICE, T + TRIAL_MOST, 1, AGENT.fingerprint),
        ),
        (
            Result.IMAGE_TOO_OLD,
            SlotHeld(T, SLOT, "no", Hold.SERVICE, T + TRIAL_MOST, 1, AGENT.fingerprint),
        ),
        (Result.DIED_YOUNG, SlotCooled(T, SLOT, T + 1, 1, "no")),
    ],
)
def test_what_a_service_thinks_of_an_agent_that_opened_counts(
    result: Result, expected: Fact
) -> None:
    def says(of: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        return Outcome(result, detail="no")

    agent = replace(OPENED, job=None, embedded=False)
    facts = notice(memory(agent), world(exited(1)), T, says, frozenset())
    assert slot_facts(facts) == [expected]


def test_an_end_is_told_once() -> None:
    seen = world(exited(0))
    after = apply(memory(OPENED), told(OPENED, seen))
    assert after.agents[G].settled
    assert after.jobs == {}
    assert notice(after, seen, T + 1, judge, frozenset()) == []


@pytest.mark.parametrize(
    ("witness", "doom"), [(None, True), (Witness(ready=T), True), (RUNNING, False)]
)
def test_a_container_without_a_record_is_kept_only_if_it_runs_a_job(
    witness: Witness | None, doom: bool
) -> None:
    facts = notice(Memory(serial=7), world(witness, BOX), T, judge, frozenset())
    adopted = facts[0]
    assert isinstance(adopted, AgentAdopted)
    assert adopted.agent.serial == 8
    assert [type(fact) for fact in facts[1:]] == ([AgentDoomed] if doom else [])
    after = apply(Memory(serial=7), facts)
    assert after.agents[G].busy is not doom
    assert notice(Memory(), world(None, BOX), T, judge, frozenset({G})) == []


def test_a_container_that_the_engine_is_still_removing_is_not_found_again_and_again() -> None:
    box = replace(BOX, state=ContainerState.REMOVING)
    assert notice(Memory(), world(None, box), T, judge, frozenset()) == []
    assert notice(Memory(), world(RUNNING, box), T, judge, frozenset()) == []


def test_a_container_without_a_record_keeps_the_gpus_that_it_was_given() -> None:
    box = replace(BOX, lease=("GPU-1",))
    adopted = notice(Memory(), world(None, box), T, judge, frozenset())[0]
    assert isinstance(adopted, AgentAdopted)
    assert adopted.agent.lease == ("GPU-1",)


def test_a_prepare_that_failed_cools_the_slot_or_holds_it_and_is_told_once() -> None:
    known = memory(AGENT)
    assert [type(fact) for fact in unprepared(AGENT, "no", False, known, T)] == [
        AgentExited,
        SlotCooled,
    ]
    held = unprepared(AGENT, "no such image", True, known, T)
    assert held[1] == SlotHeld(
        T, SLOT, "no such image", Hold.MAKING, T + TRIAL_FIRST, 1, AGENT.fingerprint
    )
    assert unprepared(AGENT, "no", False, apply(known, held), T) == []
    assert unprepared(AGENT, "no", False, Memory(), T) == []


FOR_IMAGE = replace(AGENT, ready=None, asked_image="lab/x", born=T - 100, armed=T - 90)
MADE = SlotMemory(booking=Booking(JOB, "lab/x", T - 110))


def booked_memory(agent: Agent, slot: SlotMemory = MADE) -> Memory:
    return replace(memory(agent), slots={SLOT: slot})


@pytest.mark.parametrize(
    ("lasting", "after"),
    [
        (True, [JobRequeued(T, JOB, G, counted=True)]),
        (
            False,
            [
                JobRequeued(T, JOB, G, counted=False),
                SlotCooled(T, SLOT, T + backoff(1), 1, "no"),
            ],
        ),
    ],
)
def test_an_agent_of_a_jobs_image_that_could_not_be_made_is_a_try_only_where_that_lasts(
    lasting: bool, after: list[Fact]
) -> None:
    end, unbooked, *rest = unprepared(FOR_IMAGE, "no", lasting, booked_memory(FOR_IMAGE), T)
    assert (type(end), type(unbooked)) == (AgentExited, SlotUnbooked)
    assert rest == after


READY = replace(FOR_IMAGE, ready=T - 80)


@pytest.mark.parametrize(
    ("agent", "of_image"),
    [
        (FOR_IMAGE, True),  # it ended by itself
        (READY, True),
        (doomed(FOR_IMAGE, DoomReason.MISSED), True),  # and had its time
        (doomed(replace(FOR_IMAGE, armed=T - 20), DoomReason.MISSED), False),  # the Engine took it
        (doomed(READY, DoomReason.MISSED), False),  # its witness is gone
        (doomed(READY, DoomReason.BLIND), False),
    ],
)
def test_what_ends_an_agent_of_a_jobs_image_at_its_gate_is_the_images_fault_or_the_hosts(
    agent: Agent, of_image: bool
) -> None:
    facts = notice(booked_memory(agent), world(deaths=DIED), T, judge, frozenset())
    (requeued,) = (fact for fact in facts if isinstance(fact, JobRequeued))
    assert requeued.counted is of_image
    assert any(isinstance(fact, SlotCooled) for fact in facts) is not of_image


def test_an_agent_of_an_earlier_booking_says_nothing_of_the_job_that_the_slot_is_booked_for() -> (
    None
):
    later = SlotMemory(booking=Booking(JOB, "lab/x", T - 50))
    facts = notice(booked_memory(FOR_IMAGE, later), world(deaths=DIED), T, judge, frozenset())
    assert any(isinstance(fact, AgentExited) for fact in facts)
    assert not any(isinstance(fact, SlotUnbooked | JobRequeued) for fact in facts)
    unmade = unprepared(FOR_IMAGE, "no", True, booked_memory(FOR_IMAGE, later), T)
    assert [type(fact) for fact in unmade] == [AgentExited]


def test_a_gate_that_could_not_be_opened_ends_its_agent_unless_it_opened_after_all() -> None:
    (doom,) = unopened(COMMITTED, "broken pipe", memory(COMMITTED), T)
    assert isinstance(doom, AgentDoomed)
    assert doom.reason is DoomReason.UNOPENED
    assert unopened(COMMITTED, "broken pipe", memory(OPENED), T) == []
    # The other order: doomed first, then seen to run.
    doomed_first = apply(memory(COMMITTED), [doom])
    assert doomed_first.agents[G].doom is not None
    assert apply(doomed_first, [AgentOpened(T, G)]).agents[G].doom is None
    assert apply(memory(OPENED), [doom]).agents[G].doom is None
