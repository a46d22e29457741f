"""What keeps a host up, and whether a job may yet begin on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.actions import Enrol
from mayfly.core.apply import apply
from mayfly.core.commands import Caller, CloseGates, LeaveHost, OpenGates
from mayfly.core.contact import CallKind, Contact, Contacts, Failing
from mayfly.core.delivery import JobCounts
from mayfly.core.dispatch import Dispatch
from mayfly.core.facts import (
    AgentConfirmed,
    AgentExited,
    Fact,
    HostClosing,
    HostKept,
    HostPausing,
    HostReturned,
    JobSubmitted,
    SlotCordoned,
    SlotUncordoned,
)
from mayfly.core.gpu_health import Process, Reading, Vitals
from mayfly.core.gpus import Gpus
from mayfly.core.host_closing import NOTE, effects, is_closed, opened_by_others
from mayfly.core.idleness import BY_HAND, CLOSER, Kind, is_activity, reasons, still_open, wanted_at
from mayfly.core.memory import Agent, Cordon, Heal, Job, JobHold, Memory, Pause, SlotMemory, Visit
from mayfly.core.model import (
    Config,
    ContainerId,
    Generation,
    HostId,
    HostSpec,
    JobId,
    Phase,
    PoolName,
    SlotName,
    World,
)
from mayfly.core.observed import Observed
from mayfly.core.reservations import Reservation
from mayfly.core.state import State
from mayfly.core.stimuli import Failure, Family
from mayfly.core.waiting import Queue, Queues, WaitingJob
from tests.core.simulator import desire, pool, specs

NOW = 1_000_000.0
OWN, HUB = pool("cpu"), pool("gpu", provider="github")
SERVICE = PoolName("gpu")
FAILURE = Failure(Family.PASSING, "no route to host")


def agent(slot: str, *, embedded: bool = False, **more: Any) -> Agent:
    kind = PoolName(slot.rpartition("-")[0])
    made = Agent(Generation(f"g-{slot}"), SlotName(slot), kind, 1, "f", "i", (), NOW - 600)
    return replace(made, embedded=embedded, ready=NOW - 590, container=ContainerId("c"), **more)


AT_GATE = agent("cpu-0", embedded=True)
HOLD = JobHold("ann", 1000, NOW - 10, NOW + 3590, NOW + 7190)
IDLE = agent(
    *("gpu-0",), committed=NOW - 500, opened=NOW - 499, confirmed=Phase.IDLE, registration="17"
)


def state(*agents: Agent, seen: bool = True, **more: Any) -> State:
    """A host with a pool of its own queue and one of a service, all idle unless said otherwise."""
    memory = Memory(agents={one.generation: one for one in agents or (AT_GATE, IDLE)})
    known: dict[str, Any] = {"memory": replace(memory, **more.pop("memory", {}))}
    known["observed"] = Observed(HostId("h"), World({} if seen else None, engine_error="it hangs"))
    known["contacts"] = Contacts({SERVICE: Contact(NOW + 10, interval=30.0)})
    config = Config(HostSpec("box"), (OWN, HUB))
    desired = desire(specs(OWN), specs(HUB))
    return State(
        **{
            "host": HostId("h"),
            "run_id": "r",
            "config": config,
            "noise": 0,
            "desired": desired,
            **known,
            **more,
        }
    )


def why(of: State) -> list[tuple[Kind, str]]:
    return [(reason.kind, reason.text) for reason in reasons(of, NOW)]


def test_a_host_whose_agents_wait_has_nothing_to_do() -> None:
    assert why(state()) == []


QUEUED = Job(JobId("j1"), PoolName("cpu"), 1, NOW)
RUNNING = replace(QUEUED, agent=AT_GATE.generation)
DOWN = Contact(NOW, interval=30.0, failing={CallKind.LIST: Failing(NOW, NOW, FAILURE)})
WAITS = WaitingJob("7", "test", NOW - 60, "https://service/7", fits=True)
BOOKED = Reservation(
    JobId("r1"), PoolName("cpu"), 1000, "ann", 2, 1, NOW + 2 * 3600, 3600.0, NOW - 60
)


@pytest.mark.parametrize(
    ("of", "kind", "text"),
    [
        (state(seen=False), Kind.UNKNOWN, "what runs on the Engine is not known: it hangs"),
        (
            state(memory={"jobs": {QUEUED.id: QUEUED}}),
            *(Kind.WORK, "job j1 is queued in pool cpu"),
        ),
        (
            state(replace(AT_GATE, committed=NOW, job=JobId("j1")), IDLE),
            *(Kind.WORK, "slot cpu-0 runs job j1"),
        ),
        (
            state(AT_GATE, replace(IDLE, confirmed=Phase.BUSY)),
            *(Kind.WORK, "slot gpu-0 runs a job"),
        ),
        (
            state(AT_GATE, agent("gpu-0", dispatched=True, committed=NOW)),
            *(Kind.WORK, "slot gpu-0 runs a job"),
        ),
        (
            state(memory={"heals": {"GPU-1": Heal("GPU-1", (), (), (), (), "x", NOW)}}),
            *(Kind.WORK, "GPU GPU-1 is being reset"),
        ),
        (
            state(dispatches={SERVICE: Dispatch(at=NOW, counts=JobCounts(available=2))}),
            *(Kind.WORK, "2 jobs wait at the service of pool gpu"),
        ),
        (
            state(dispatches={SERVICE: Dispatch(able=1)}),
            *(Kind.UNKNOWN, "the service of pool gpu has not said yet what jobs it has"),
        ),
        (
            state(dispatches={SERVICE: Dispatch(at=NOW, failing_since=NOW, failure=FAILURE)}),
            Kind.UNKNOWN,
            "the service of pool gpu does not say what jobs it has: no route to host",
        ),
        (
            state(queues=Queues({SERVICE: Queue(NOW, jobs=(WAITS,), seen=NOW - 60)})),
            *(Kind.WORK, "job test waits at the service for pool gpu"),
        ),
        (
            state(contacts=Contacts({SERVICE: DOWN})),
            *(Kind.UNKNOWN, "the service of pool gpu does not say whether its agents have a job"),
        ),
        (
            state(contacts=Contacts({SERVICE: Contact(NOW)})),
            Kind.UNKNOWN,
            "the service of pool gpu has not said yet whether its agents have a job",
        ),
        (
            state(AT_GATE, replace(IDLE, confirmed=None)),
            *(Kind.UNSETTLED, "slot gpu-0 is not idle at its service yet"),
        ),
        (
            state(memory={"pause": Pause(NOW, "ann")}),
            *(Kind.KEPT, "the manager is paused by ann, and touches nothing"),
        ),
        (
            state(replace(AT_GATE, attached=(Visit("ann", "m"),)), IDLE),
            *(Kind.KEPT, "ann is attached in slot cpu-0"),
        ),
        (
            state(memory={"reservations": {BOOKED.id: replace(BOOKED, start=NOW + 600)}}),
            *(Kind.KEPT, "ann has reserved 2 GPUs of pool cpu in 10m"),
        ),
        (
            state(memory={"reservations": {BOOKED.id: replace(BOOKED, began=NOW - 600, gpus=1)}}),
            *(Kind.KEPT, "ann has reserved 1 GPU of pool cpu"),
        ),
        (
            state(replace(AT_GATE, exited=NOW - 10, failed=True, hold=HOLD), IDLE),
            Kind.KEPT,
            "slot cpu-0 is held for ann for 59m",
        ),
        (
            state(
                memory={
                    "slots": {SlotName("cpu-0"): SlotMemory(cordon=Cordon(NOW, "ann", BY_HAND))}
                }
            ),
            *(Kind.KEPT, "ann uses slot cpu-0 by hand"),
        ),
    ],
)
def test_what_keeps_a_host_up_is_said(of: State, kind: Kind, text: str) -> None:
    assert why(of) == [(kind, text)]


@pytest.mark.parametrize(
    "of",
    [
        # It runs nothing, whatever waits for it: a person's, or not to be filled.
        state(
            AT_GATE, memory={"slots": {SlotName("gpu-0"): SlotMemory(cordon=Cordon(NOW, "ann"))}}
        ),
        state(AT_GATE, memory={"slots": {SlotName("gpu-0"): SlotMemory(held="refused")}}),
        state(queues=Queues({SERVICE: Queue(NOW, jobs=(WAITS,), seen=NOW - 86400)})),
        state(queues=Queues({SERVICE: Queue(NOW, jobs=(replace(WAITS, fits=False),), seen=NOW)})),
        state(dispatches={SERVICE: Dispatch(at=NOW)}, contacts=Contacts()),
        state(dispatches={SERVICE: Dispatch(unsupported="it is old")}),
        # Its job waits for its moment, and the command is told of that.
        state(
            memory={
                "reservations": {BOOKED.id: BOOKED},
                "jobs": {BOOKED.id: replace(QUEUED, id=BOOKED.id)},
            }
        ),
    ],
)
def test_what_is_nobodys_work_here_keeps_no_host_up(of: State) -> None:
    assert why(of) == []


def test_somebody_elses_process_on_a_gpu_keeps_it_up_and_an_agents_own_does_not() -> None:
    own = replace(AT_GATE, lease=("GPU-1",), container=ContainerId("ours"))
    ours = Process(7, None, ContainerId("ours"))
    theirs = Process(8, None, command="python train.py")
    gone = Process(9, None, gone=True)

    def with_reading(*processes: Process, problem: str | None = None) -> State:
        vitals = {"GPU-1": Vitals(processes=processes), "GPU-2": Vitals(processes=processes)}
        reading = Reading(NOW, NOW, vitals=vitals, problem=problem)
        return state(own, IDLE, gpus=Gpus(watching=True, reading=reading))

    assert why(with_reading(ours, gone)) == []
    assert why(with_reading(ours, theirs)) == [
        (Kind.KEPT, "process 8 (python train.py), which is no agent's, computes on GPU-1")
    ]
    told = why(with_reading(problem="NVML hangs"))
    assert told == [(Kind.UNKNOWN, "whether anybody computes on the GPUs is not known: NVML hangs")]


def test_the_next_reservation_is_told_to_whoever_pauses_the_host() -> None:
    begun, later = replace(BOOKED, id=JobId("r0"), began=NOW), replace(BOOKED, id=JobId("r2"))
    assert wanted_at(Memory(reservations={begun.id: begun})) is None
    found = {one.id: one for one in (begun, BOOKED, replace(later, start=NOW + 9e4))}
    assert wanted_at(Memory(reservations=found)) == BOOKED.start


# -- closing --------------------------------------------------------------------------------------

BY = Caller(1, 0, 0, CLOSER)


def done(command: CloseGates | LeaveHost | OpenGates, of: State) -> tuple[Fact, ...] | str:
    return effects(command, of.desired, of.memory, NOW)


def after(of: State, facts: tuple[Fact, ...] | str) -> State:
    assert not isinstance(facts, str), facts
    return replace(of, memory=apply(of.memory, facts))


def test_closing_drains_every_slot_but_those_that_a_person_has_cordoned() -> None:
    theirs = Cordon(NOW - 5, "ann")
    of = state(memory={"slots": {SlotName("cpu-0"): SlotMemory(cordon=theirs)}})
    facts = done(CloseGates(BY, NOW - 600), of)
    assert facts == (
        HostClosing(NOW, NOW - 600),
        SlotCordoned(NOW, SlotName("gpu-0"), Cordon(NOW, CLOSER, NOTE, drain=True)),
    )
    closed = after(of, facts)
    assert is_closed(closed.memory)
    assert opened_by_others(closed.desired, closed.memory) == ""
    opened = after(closed, done(OpenGates(BY, "a veto"), closed))
    assert not is_closed(opened.memory)
    assert opened.memory.slot(SlotName("cpu-0")).cordon == theirs
    facts = done(OpenGates(BY, "", 3600.0, "suspended"), closed)
    assert facts == (
        HostReturned(NOW, 3600.0, "suspended"),
        SlotUncordoned(NOW, SlotName("gpu-0"), CLOSER),
    )
    assert done(OpenGates(BY, "x"), of) == (HostKept(NOW, "x"),)


@pytest.mark.parametrize("command", [CloseGates, LeaveHost])
def test_a_job_that_came_in_between_is_seen_where_the_facts_are_made(command: Any) -> None:
    busy = state(memory={"jobs": {QUEUED.id: QUEUED}})
    assert done(command(BY, NOW), busy) == "job j1 is queued in pool cpu"
    paused = state(memory={"pause": Pause(NOW, "ann")})
    assert done(command(BY, NOW), paused) == "the manager is paused by ann, and touches nothing"
    assert done(LeaveHost(BY, NOW - 1), state()) == (HostPausing(NOW, NOW - 1),)


def test_a_slot_that_somebody_has_opened_is_noticed() -> None:
    of = state()
    closed = after(of, done(CloseGates(BY, NOW), of))
    facts = (SlotUncordoned(NOW, SlotName("gpu-0"), "ann"),)
    opened = after(closed, facts)
    assert (
        opened_by_others(opened.desired, opened.memory) == "somebody has let slot gpu-0 take jobs"
    )


CLOSED = {
    name: SlotMemory(cordon=Cordon(NOW, CLOSER, NOTE, drain=True))
    for name in map(SlotName, ("cpu-0", "gpu-0"))
}
THEIRS = {**CLOSED, SlotName("gpu-0"): SlotMemory(cordon=Cordon(NOW, "ann"))}


def closed(*agents: Agent, slots: Any = None, **more: Any) -> State:
    memory = Memory(
        agents={one.generation: one for one in agents}, slots=CLOSED if slots is None else slots
    )
    return state(memory={"agents": memory.agents, "slots": memory.slots}, **more)


ENDED = replace(IDLE, exited=NOW)


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (closed(), ""),
        (closed(seen=False), "what runs on the Engine is not known"),
        (closed(slots={}), "slot cpu-0 takes jobs"),
        (closed(AT_GATE), "slot cpu-0: its agent has not ended yet"),
        (closed(IDLE), "slot gpu-0: its agent has not ended yet"),
        # Its entry may be given a job as long as the service knows it.
        (closed(ENDED), "slot gpu-0: its service has not let go of its agent yet"),
        (closed(replace(ENDED, dismissed=True)), ""),
        (closed(replace(ENDED, dismissed=True, made=True)), "not removed yet"),
        (
            closed(replace(ENDED, dismissed=True, out=("x",), opened=NOW - 9)),
            "its last job's results are not kept yet",
        ),
        # What a person has cordoned stays as they have it, unless it may have a job.
        (closed(replace(IDLE, cordoned_there=True), slots=THEIRS), ""),
        (closed(IDLE, slots=THEIRS), "slot gpu-0: its agent may have a job"),
        (closed(agent("gpu-0"), slots=THEIRS), ""),
        (
            closed(in_flight={"g": Enrol(Generation("g"), SlotName("gpu-0"), SERVICE, "why", ())}),
            "enrol is under way for g",
        ),
        (
            closed(dispatches={SERVICE: Dispatch(at=NOW, in_session=True)}),
            "the service of pool gpu may hand a job out yet",
        ),
        (
            closed(dispatches={SERVICE: Dispatch(at=NOW, asked=NOW)}),
            "the service of pool gpu may hand a job out yet",
        ),
        (closed(dispatches={SERVICE: Dispatch(at=NOW)}), ""),
    ],
)
def test_a_host_is_closed_once_no_service_can_give_it_a_job(of: State, says: str) -> None:
    found = still_open(of)
    assert (says in found) if says else not found, found


def test_a_job_between_two_looks_is_seen_by_its_facts() -> None:
    generation = Generation("g")
    job = AgentExited(NOW, generation, "job done", None, 0, 0, job_succeeded=True)
    assert is_activity(job)
    assert is_activity(JobSubmitted(NOW, QUEUED))
    assert is_activity(AgentConfirmed(NOW, generation, Phase.BUSY))
    assert not is_activity(AgentConfirmed(NOW, generation, Phase.IDLE))
    assert not is_activity(replace(job, job_succeeded=None)), "an idle agent was replaced"
    assert not is_activity(HostClosing(NOW, NOW))
