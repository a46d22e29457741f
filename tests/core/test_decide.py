"""What is decided, told as short stories on a simulated host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.actions import (
    Action,
    Dismiss,
    Enrol,
    Forget,
    Open,
    Prepare,
    Remove,
    Signal,
    StartAgain,
    TakeResults,
)
from mayfly.core.capabilities import Capabilities
from mayfly.core.decide import MAX_PREPARING, decide
from mayfly.core.ending import OUTPUT_WAIT, OUTPUTS_AWAITED, RESULTS_WAIT, SELF_REMOVAL
from mayfly.core.facts import (
    AgentDoomed,
    HoldEnded,
    JobEnded,
    JobRequeued,
    ResultsTaken,
    SlotCooled,
    SlotHeld,
    SlotReleased,
    SlotUncordoned,
)
from mayfly.core.keeping import INTERRUPTED_GRACE
from mayfly.core.model import (
    STOP_GRACE,
    Cause,
    ContainerId,
    ContainerState,
    Death,
    Desired,
    DeviceKind,
    DoomReason,
    Generation,
    JobId,
    JobState,
    Phase,
    PoolName,
    Removal,
    SlotName,
    SlotSpec,
    StopStep,
)
from mayfly.core.notice import DOUBT
from mayfly.core.opening import RENAME_AFTER
from mayfly.core.plan import Plan
from mayfly.core.queue import HALF_LIFE, shares_used
from mayfly.core.slots import DEADLINES, STANDBY_LIFE, TRIAL_FIRST, UNSEEN_MARGIN, status_of
from mayfly.core.stimuli import EngineSeen, ProcessesGone
from tests.core.simulator import START, Fate, Host, Manager, desire, pool, specs

A0, A1 = SlotName("a-0"), SlotName("a-1")
GATE = DEADLINES[Phase.ENROLLING].seconds or 0.0


def filled(*groups: tuple[SlotSpec, ...]) -> Manager:
    """A manager whose slots are all idle."""
    manager = Manager(Host(), desire(*(groups or (specs(pool("a")),))))
    manager.run()
    return manager


def kinds(plan: Plan) -> list[type[Action]]:
    return [type(action) for action in plan.actions]


def dooms(manager: Manager) -> list[DoomReason]:
    facts = (*manager.journal, *manager.drafting)
    return [fact.reason for fact in facts if isinstance(fact, AgentDoomed)]


def names(manager: Manager) -> list[str]:
    return sorted(box.name for box in manager.host.boxes.values())


# -- gates that take long to be written ----------------------------------------------------------


def late_to_its_gate() -> tuple[Manager, JobId, Generation]:
    """A manager whose one agent's gate waits to be written for longer than a launcher may take."""
    manager = filled(specs(pool("a", standby=False)))
    job, agent = manager.submit("a"), manager.own("a-0")
    manager.turn()
    assert isinstance(manager.flight[agent], Open)
    manager.host.now += GATE + 1.0
    manager.turn()
    assert dooms(manager) == []
    return manager, job, agent


def test_a_gate_that_waits_to_be_written_is_not_late_and_its_launcher_has_all_of_its_time_then() -> (
    None
):
    manager, job, agent = late_to_its_gate()
    manager.host.slow = True
    manager.finish(agent)
    assert kinds(manager.turn()) == []
    manager.host.now += GATE - 1.0
    assert kinds(manager.turn()) == []
    manager.host.progress()
    manager.run()
    assert dooms(manager) == []
    assert manager.memory.jobs[job].agent == agent
    assert manager.host.runs == {job: [agent]}


def test_a_launcher_that_says_nothing_once_its_gate_is_written_misses_its_deadline() -> None:
    manager, _, agent = late_to_its_gate()
    manager.host.slow = True
    manager.finish(agent)
    manager.turn()
    manager.jump(1000.0)
    manager.turn()
    manager.host.now += GATE
    assert kinds(manager.turn()) == []
    wake = manager.foreseen().wake
    assert wake is not None
    manager.host.now += 0.01
    assert kinds(manager.turn()) == [Remove]
    assert dooms(manager) == [DoomReason.MISSED]


def test_a_slot_that_goes_while_its_gate_waits_to_be_written_lets_its_job_begin() -> None:
    manager, job, agent = late_to_its_gate()
    manager.desired = desire()
    manager.turn()
    manager.finish(agent)
    manager.run()
    assert dooms(manager) == []
    assert manager.host.runs == {job: [agent]}


def test_a_gate_that_waited_to_be_written_when_the_manager_died_was_interrupted() -> None:
    manager, job, _ = late_to_its_gate()
    manager.crash(())
    manager.turn()
    assert dooms(manager) == [DoomReason.INTERRUPTED]
    manager.run()
    assert len(manager.host.runs[job]) == 1


# -- filling ---------------------------------------------------------------------------------------


def test_an_empty_host_is_filled_and_then_nothing_is_to_do() -> None:
    manager = filled(specs(pool("a", 3)))
    assert names(manager) == ["a-0", "a-1", "a-2"]
    assert [manager.phases(f"a-{index}") for index in range(3)] == [["idle"]] * 3
    assert manager.turn().empty


def test_only_so_many_containers_are_made_at_once() -> None:
    manager = Manager(Host(), desire(specs(pool("a", 20))))
    assert kinds(manager.turn()) == [Prepare] * MAX_PREPARING
    assert manager.turn().empty
    manager.run()
    assert len(manager.host.boxes) == 20


def test_a_job_goes_past_an_agent_that_somebody_paused() -> None:
    manager = filled(specs(pool("a", 2)))
    first, second = (manager.host.boxes[manager.own(f"a-{index}")] for index in range(2))
    first.state = ContainerState.PAUSED
    manager.run()
    jobs = [manager.submit("a") for _ in range(2)]
    manager.run()
    assert [manager.memory.jobs[job].agent for job in jobs] == [second.generation, None]
    first.state = ContainerState.RUNNING
    manager.run()
    assert manager.memory.jobs[jobs[1]].agent == first.generation


def test_a_standby_is_made_when_the_gate_opens_and_takes_over_when_its_agent_ends() -> None:
    manager = filled()
    first = manager.submit("a")
    manager.run()
    assert manager.phases("a-0") == ["busy", "armed"]
    busy, standby = manager.tenancy("a-0").agents
    assert names(manager) == ["a-0", f"a-0.{standby.generation}"]
    second = manager.submit("a")
    manager.run()
    assert manager.memory.jobs[second].agent is None
    manager.host.ends(busy.generation, 0)
    manager.run()
    assert manager.ended(first).state is JobState.SUCCEEDED
    assert manager.memory.jobs[second].agent == standby.generation
    # A container renamed while it ends leaves its end of the network behind: one that has just begun is not.
    assert manager.host.boxes[standby.generation].name != "a-0"
    manager.pass_time(RENAME_AFTER + 0.1)
    manager.run()
    assert manager.host.boxes[standby.generation].name == "a-0"


def test_without_standby_the_next_agent_is_made_when_the_last_is_over() -> None:
    manager = filled(specs(pool("a", standby=False)))
    manager.submit("a")
    manager.run()
    assert manager.phases("a-0") == ["busy"]
    manager.host.ends(manager.own("a-0"), 0)
    manager.run()
    assert manager.phases("a-0") == ["idle"]


def able(capabilities: Capabilities) -> tuple[SlotSpec, ...]:
    return tuple(replace(spec, engine=capabilities) for spec in specs(pool("a")))


def test_an_engine_that_keeps_no_standby_gets_none() -> None:
    manager = filled(able(Capabilities(standby=False)))
    for _ in range(2):
        manager.submit("a")
        manager.run()
        assert manager.phases("a-0") == ["busy"]
        manager.host.ends(manager.own("a-0"), 0)
        manager.run()
        assert manager.phases("a-0") == ["idle"]


@pytest.mark.parametrize(
    ("claims", "kind", "standby"),
    [
        ("", None, None),
        ("any", None, "armed"),
        ("", DeviceKind(device_class="own"), "armed"),
        ("any", DeviceKind(gpu_resource="own"), None),
        ("any", DeviceKind(device_selector="own"), "armed"),
    ],
)
def test_where_an_engine_picks_gpus_a_standby_needs_those_of_its_slot(
    claims: str, kind: DeviceKind | None, standby: str | None
) -> None:
    able_to = Capabilities(picks_gpu=False, claims=claims)
    of = replace(pool("a"), devices=1, device_kind=kind)
    manager = filled(tuple(replace(spec, engine=able_to) for spec in specs(of)))
    manager.submit("a")
    manager.run()
    assert manager.phases("a-0") == ["busy", *([standby] if standby is not None else [])]


# -- agents whose end nobody saw -----------------------------------------------------------------

FAR = Capabilities(renames=False, picks_gpu=False, claims="any", on_this_host=False)


def forgotten(capabilities: Capabilities, death: Death | None) -> tuple[Manager, JobId]:
    """A manager whose busy agent's container is gone at once, with another job that waits for its standby."""
    slots = tuple(
        replace(spec, engine=capabilities) for spec in specs(replace(pool("a"), devices=1))
    )
    manager = filled(slots)
    manager.submit("a")
    manager.run()
    waiting = manager.submit("a")
    busy = manager.own("a-0")
    box = manager.host.boxes.pop(busy)
    if death is not None:
        told = replace(death, container=box.id, at=manager.host.now)
        manager.host.deaths.append((busy, told))
    manager.run()
    manager.pass_time(DOUBT + 0.1)
    manager.run()
    assert busy not in manager.memory.agents
    return manager, waiting


GONE = Death(ContainerId("id"), None, 0.0, "its pod was deleted")


@pytest.mark.parametrize("death", [None, GONE], ids=["nothing told", "told as gone"])
def test_a_gate_stays_shut_while_processes_may_run_of_an_agent_whose_end_nobody_saw(
    death: Death | None,
) -> None:
    manager, waiting = forgotten(FAR, death)
    assert manager.phases("a-0")[0] == "idle"
    assert manager.memory.jobs[waiting].agent is None
    spec = manager.desired.slots[0]
    known = manager.memory
    status = status_of(spec, manager.desired, known, manager.tenancy("a-0"), manager.host.now)
    assert "nobody has said that the last agent's processes have ended" in status.note
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN - DOUBT - 2.0)
    manager.run()
    assert manager.memory.jobs[waiting].agent is None
    manager.pass_time(2.1)
    manager.run()
    assert manager.memory.jobs[waiting].agent is not None


@pytest.mark.parametrize(
    ("capabilities", "death"),
    [(FAR, replace(GONE, exit_code=137)), (replace(FAR, on_this_host=True), None)],
    ids=["its code is known", "the kernel of this host is asked"],
)
def test_who_is_known_to_have_ended_keeps_no_gate_shut(
    capabilities: Capabilities, death: Death | None
) -> None:
    manager, waiting = forgotten(capabilities, death)
    assert manager.memory.jobs[waiting].agent is not None


def test_an_agent_that_was_at_its_gate_keeps_none_shut() -> None:
    manager = filled(able(replace(FAR, claims="")))
    del manager.host.boxes[manager.own("a-0")]
    waiting = manager.submit("a")
    manager.run()
    manager.pass_time(10.0)
    manager.run()
    assert manager.memory.jobs[waiting].agent is not None


def test_where_an_engine_gives_no_other_name_the_next_agent_keeps_its_own_and_works() -> None:
    manager = filled(able(Capabilities(renames=False)))
    manager.submit("a")
    manager.run()
    busy, standby = manager.tenancy("a-0").agents
    manager.host.ends(busy.generation, 0)
    manager.run()
    manager.pass_time(RENAME_AFTER + 0.1)
    manager.run()
    assert manager.host.boxes[standby.generation].name == f"a-0.{standby.generation}"
    job = manager.submit("a")
    manager.run()
    assert manager.memory.jobs[job].agent == standby.generation


def test_before_it_is_known_what_the_engine_can_do_no_agent_is_given_another_name() -> None:
    manager = filled()
    manager.submit("a")
    manager.run()
    busy, standby = manager.tenancy("a-0").agents
    known = manager.desired
    manager.desired = replace(known, undetermined=frozenset({SlotName("a-0")}))
    manager.host.ends(busy.generation, 0)
    manager.run()
    manager.pass_time(RENAME_AFTER + 0.1)
    manager.run()
    assert manager.host.boxes[standby.generation].name == f"a-0.{standby.generation}"
    manager.desired = known
    manager.run()
    assert manager.host.boxes[standby.generation].name == "a-0"


def test_turning_standbys_off_removes_the_standby() -> None:
    manager = filled()
    manager.submit("a")
    manager.run()
    manager.desired = desire(specs(pool("a", standby=False)))
    manager.run()
    assert manager.phases("a-0") == ["busy"]


def test_jobs_are_taken_in_the_order_in_which_they_came() -> None:
    manager = filled()
    jobs = [manager.submit("a") for _ in range(3)]
    for job in jobs:
        manager.run()
        assert manager.memory.jobs[job].agent == manager.own("a-0")
        manager.host.ends(manager.own("a-0"), 0)
    manager.run()
    assert not manager.memory.jobs


def test_a_service_is_asked_for_an_enrolment_before_the_gate_opens() -> None:
    manager = Manager(Host(), desire(specs(pool("service", provider="azure"))))
    seen: list[str] = []
    for _ in range(6):
        plan = manager.turn()
        seen += [kind.__name__ for kind in kinds(plan)]
        for subject in list(manager.flight):
            manager.finish(subject)
    assert seen[:3] == ["Prepare", "Enrol", "Open"]
    assert manager.phases("service-0") == ["enrolling", "armed"]
    manager.ask_service()
    manager.turn()
    assert manager.phases("service-0") == ["idle", "armed"]


# -- services --------------------------------------------------------------------------------------


def served() -> Manager:
    """A manager with one slot of a service, its agent idle, a standby behind it."""
    return filled(specs(pool("service", provider="azure")))


def test_an_idle_agent_is_dismissed_before_it_is_stopped() -> None:
    manager = served()
    idle = manager.own("service-0")
    manager.desired = desire(specs(pool("service", provider="azure"), fingerprint="f2"))
    seen: list[str] = []
    for _ in range(6):
        plan = manager.turn()
        seen += [
            kind.__name__
            for kind, action in zip(kinds(plan), plan.actions, strict=True)
            if action.generation == idle
        ]
        for subject in list(manager.flight):
            manager.finish(subject)
    assert seen[:2] == ["Dismiss", "Signal"]
    manager.pass_time(60)
    assert manager.phases("service-0") == ["idle", "armed"]
    assert {agent.fingerprint for agent in manager.memory.agents.values()} == {"f2"}


def test_an_agent_that_got_a_job_when_it_was_to_be_dismissed_keeps_it() -> None:
    manager = served()
    idle = manager.own("service-0")
    manager.cordon(SlotName("service-0"), drain=True)
    manager.turn()
    manager.turn()
    manager.host.gives_job(idle)
    for subject in list(manager.flight):
        manager.finish(subject)
    manager.pass_time(300)
    assert manager.phases("service-0") == ["busy"]
    manager.host.ends(idle, 0)
    manager.pass_time(300)
    assert names(manager) == []
    assert manager.host.entries == {}


def test_an_idle_agent_is_not_stale_while_its_image_has_not_been_looked_at() -> None:
    manager = served()
    before = set(manager.memory.agents)
    changed = desire(specs(pool("service", provider="azure"), fingerprint="f2"))
    manager.desired = replace(changed, undetermined=frozenset({SlotName("service-0")}))
    manager.pass_time(60)
    assert set(manager.memory.agents) == before
    manager.desired = changed
    manager.pass_time(120)
    assert {agent.fingerprint for agent in manager.memory.agents.values()} == {"f2"}


def kept() -> Manager:
    """A manager with one slot of a service that keeps the slot's entry, its agent idle, a standby behind."""
    return filled(with_entries("f1"))


def with_entries(fingerprint: str) -> tuple[SlotSpec, ...]:
    of = specs(pool("service", provider="azure"), fingerprint=fingerprint)
    return tuple(replace(spec, keeps_entries=True, can_cordon=True) for spec in of)


def of_agent(manager: Manager, generation: Generation, turns: int = 8) -> list[str]:
    """What was done with one agent: the actions' names, ``Keep`` for a dismissal that keeps the entry."""
    seen: list[str] = []
    for _ in range(turns):
        plan = manager.turn()
        for kind, action in zip(kinds(plan), plan.actions, strict=True):
            if action.generation == generation:
                seen.append("Keep" if getattr(action, "keep", False) else kind.__name__)
        for subject in list(manager.flight):
            manager.finish(subject)
    return seen


@pytest.mark.parametrize("provider", ["local", "azure"])
@pytest.mark.parametrize(("missing", "dooms"), [(299.0, []), (301.0, [DoomReason.MISSED])])
def test_an_idle_agent_whose_witness_is_gone_is_replaced(
    provider: str, missing: float, dooms: list[DoomReason]
) -> None:
    manager = filled(specs(pool("p", provider=provider)))
    idle = manager.own("p-0")
    world = replace(manager.look(), unwitnessed={idle: manager.now - missing})
    plan = decide(
        manager.desired,
        world,
        manager.memory,
        manager.now,
        run_id=manager.run_id,
        mint=manager.mint,
    )
    doomed = [fact for fact in plan.facts if isinstance(fact, AgentDoomed)]
    assert [fact.reason for fact in doomed] == dooms


def test_an_idle_agent_whose_entry_stays_is_told_to_take_no_job_before_it_is_stopped() -> None:
    manager = kept()
    idle = manager.own("service-0")
    manager.desired = desire(with_entries("f2"))
    assert of_agent(manager, idle)[:3] == ["SetSchedulable", "Signal", "Keep"]
    assert manager.host.entries


def test_an_agent_that_got_a_job_when_it_was_told_to_take_none_keeps_it() -> None:
    manager = kept()
    idle = manager.own("service-0")
    manager.cordon(SlotName("service-0"), drain=True)
    manager.turn()
    manager.turn()
    manager.host.gives_job(idle)
    for subject in list(manager.flight):
        manager.finish(subject)
    manager.pass_time(300)
    assert manager.phases("service-0") == ["busy"]


PATIENT = (StopStep("QUIT", 75.0, idle=True), StopStep("TERM", 40.0))


def patient(manager: Manager) -> None:
    """Its clients end by themselves when QUIT reaches them without a job."""
    slots = tuple(replace(spec, ladder=PATIENT) for spec in manager.desired.slots)
    manager.desired = Desired(slots)


def signals(manager: Manager, generation: Generation, turns: int = 6) -> list[str]:
    """The signals that an agent is sent meanwhile, each of them lost on it."""
    sent: list[str] = []
    for _ in range(turns):
        plan = manager.turn()
        for action in plan.actions:
            if isinstance(action, Signal) and action.generation == generation:
                sent.append(action.signal)
                manager.flight.pop(action.subject)
        for subject in list(manager.flight):
            manager.finish(subject)
    return sent


@pytest.mark.parametrize(
    ("reason", "first"),
    [
        (DoomReason.DRAINED, "QUIT"),
        (DoomReason.FORCED, "TERM"),
        (DoomReason.TIMEOUT, "TERM"),
        (DoomReason.REFUSED, "TERM"),
    ],
)
def test_a_step_for_idle_agents_is_left_out_where_there_may_be_a_job_or_can_be_none(
    reason: DoomReason, first: str
) -> None:
    manager = served()
    patient(manager)
    idle = manager.own("service-0")
    manager.doom(idle, reason)
    assert signals(manager, idle) == [first]


def test_the_key_of_an_agent_that_did_its_job_is_made_useless_before_the_next_gate_opens() -> None:
    manager = kept()
    first, second = (agent.generation for agent in manager.tenancy("service-0").agents)
    manager.host.gives_job(first)
    manager.host.ends(first, 0)
    opened: list[Generation] = []
    for _ in range(3):
        plan = manager.turn()
        opened += [action.generation for action in plan.actions if isinstance(action, Enrol)]
        if any(isinstance(action, Dismiss) and action.keep for action in plan.actions):
            break
    else:
        pytest.fail("its key was not made useless")
    assert opened == []
    assert of_agent(manager, second)[:2] == ["Enrol", "Open"]


def test_a_slot_that_cools_enrols_no_standby_at_its_service() -> None:
    manager = served()
    for _ in range(4):
        manager.host.ends(manager.own("service-0"), 1)
        manager.turn()
        for subject in list(manager.flight):
            manager.finish(subject)
        until = manager.memory.slot(SlotName("service-0")).cooling_until
        assert until is not None
        plan = manager.turn()
        assert not [action for action in plan.actions if isinstance(action, Enrol)]
        manager.pass_time(until - manager.now + 1)


def test_an_agent_whose_job_was_taken_away_before_it_began_is_idle_again_after_a_while() -> None:
    manager = served()
    generation = manager.own("service-0")
    manager.host.gives_job(generation)
    manager.ask_service()
    manager.turn()
    assert manager.phases("service-0")[0] == "busy"
    box = manager.host.boxes[generation]
    assert box.entry is not None
    box.working = False
    manager.host.entries[box.entry] = replace(manager.host.entries[box.entry], busy=False)
    manager.ask_service()
    manager.turn()
    assert manager.phases("service-0")[0] == "busy", "a list may be older than the job"
    manager.pass_time(200)
    assert manager.phases("service-0")[0] == "idle"


def test_while_the_service_is_away_no_agent_of_it_is_ended() -> None:
    manager = served()
    before = set(manager.memory.agents)
    manager.host.service_answers = False
    manager.pass_time(3600)
    assert set(manager.memory.agents) == before
    assert dooms(manager) == []


def may_hold_untracked_job() -> tuple[Manager, Generation]:
    """An agent that opened, whose registration only a roster can tell, and which has a job already."""
    manager = Manager(Host(), desire(specs(pool("service", provider="azure"))))
    manager.host.anonymous = True
    for _ in range(4):
        manager.turn()
        for subject in list(manager.flight):
            manager.finish(subject)
    manager.host.service_answers = False
    generation = manager.own("service-0")
    manager.host.gives_job(generation)
    assert manager.phases("service-0")[0] == "enrolling"
    return manager, generation


@pytest.mark.parametrize("what", ["nothing", "drain", "stale", "gone", "crash"])
def test_an_agent_whose_service_has_not_spoken_yet_may_have_a_job_and_is_left_alone(
    what: str,
) -> None:
    manager, generation = may_hold_untracked_job()
    if what == "drain":
        manager.cordon(SlotName("service-0"), drain=True)
    elif what == "stale":
        manager.desired = desire(specs(pool("service", provider="azure"), fingerprint="f2"))
    elif what == "gone":
        manager.desired = desire(specs(pool("a")))
    elif what == "crash":
        manager.crash(())
    manager.pass_time(600)
    assert manager.own("service-0") == generation
    manager.host.service_answers = True
    manager.pass_time(60)
    assert manager.phases("service-0")[0] == "busy"
    assert DoomReason.MISSED not in dooms(manager)


@pytest.mark.parametrize("anonymous", [False, True])
def test_an_agent_whose_gate_opened_against_all_reports_is_kept(anonymous: bool) -> None:
    manager = Manager(Host(), desire(specs(pool("service", provider="azure"))))
    manager.host.anonymous = anonymous
    while not manager.host.entries:
        manager.turn()
        for subject in list(manager.flight):
            manager.finish(subject)
    manager.turn()
    (gate,) = (key for key, action in manager.flight.items() if isinstance(action, Open))
    manager.finish(gate, Fate.LOST)
    generation = manager.own("service-0")
    assert dooms(manager) == [DoomReason.UNOPENED]
    manager.host.gives_job(generation)
    manager.host.service_answers = False
    manager.pass_time(600)
    assert manager.host.boxes[generation].working
    manager.host.service_answers = True
    manager.pass_time(60)
    assert manager.own("service-0") == generation
    assert manager.phases("service-0")[0] == "busy"


def test_a_roster_of_before_the_deadline_ends_no_agent_that_may_have_got_a_job_since() -> None:
    manager, generation = may_hold_untracked_job()
    box = manager.host.boxes[generation]
    manager.host.service_answers = True
    manager.host.entries[box.entry or ""] = replace(
        manager.host.entries[box.entry or ""], online=False, busy=False
    )
    manager.ask_service()
    manager.host.gives_job(generation)
    manager.host.now += 4000.0  # the manager, or the whole host, was held still
    manager.turn()
    assert dooms(manager) == []
    manager.ask_service()
    manager.turn()
    assert manager.phases("service-0")[0] == "busy"


def test_an_agent_is_confirmed_in_the_pass_that_sees_its_gate_open() -> None:
    manager = Manager(Host(), desire(specs(pool("service", provider="azure"))))
    manager.host.anonymous = True
    while not (box := next(iter(manager.host.boxes.values()), None)) or not box.running:
        manager.turn()
        for subject in list(manager.flight):
            manager.finish(subject)
    manager.ask_service()
    assert manager.memory.agents[box.generation].opened is None
    manager.turn()
    assert manager.phases("service-0")[0] == "idle"


def test_an_agent_that_its_service_does_not_show_at_its_deadline_is_replaced() -> None:
    manager, generation = may_hold_untracked_job()
    box = manager.host.boxes[generation]
    manager.host.entries.clear()
    box.working = False
    manager.host.service_answers = True
    manager.pass_time(170)
    assert manager.own("service-0") == generation
    manager.pass_time(60)
    assert manager.own("service-0") != generation


def test_an_agent_that_its_service_no_longer_shows_is_replaced_after_a_while() -> None:
    manager = served()
    idle = manager.own("service-0")
    manager.host.entries.pop(manager.host.boxes[idle].entry or "")
    manager.pass_time(100)
    assert manager.own("service-0") == idle
    for _ in range(20):
        manager.pass_time(10)
    assert manager.own("service-0") != idle
    assert dooms(manager) == [DoomReason.MISSED]


@pytest.mark.parametrize("goes", [True, False])
def test_a_job_that_its_service_has_ended_is_stopped_where_entries_go_with_their_jobs(
    goes: bool,
) -> None:
    """Its client hears nothing of it, and would go on to the job's natural end."""
    manager = served()
    manager.desired = Desired(
        tuple(replace(spec, entry_ends_with_job=goes) for spec in manager.desired.slots)
    )
    busy = manager.own("service-0")
    manager.host.gives_job(busy)
    manager.ask_service()
    manager.turn()
    assert manager.phases("service-0")[0] == "busy"
    manager.host.entries.pop(manager.host.boxes[busy].entry or "")
    manager.ask_service()
    manager.turn()
    assert manager.own("service-0") == busy
    assert dooms(manager) == []
    manager.pass_time(300)
    assert dooms(manager) == ([DoomReason.TAKEN_BACK] if goes else [])
    assert (manager.own("service-0") == busy) is not goes


def test_the_entry_of_an_agent_that_died_is_taken_back() -> None:
    manager = served()
    manager.host.ends(manager.own("service-0"), 1)
    manager.pass_time(300)
    assert manager.phases("service-0") == ["idle", "armed"]
    assert len(manager.host.entries) == 1


def test_an_entry_without_an_agent_is_swept_after_a_while_and_not_before() -> None:
    manager = served()
    lone = manager.host.enlist(Generation("0000000000000"), SlotName("service-0"))
    manager.pass_time(100)
    assert lone in manager.host.entries
    manager.pass_time(100)
    assert lone not in manager.host.entries


# -- unknown, paused ---------------------------------------------------------------------------------


def test_an_engine_that_does_not_answer_leads_to_nothing() -> None:
    manager = filled()
    manager.submit("a")
    manager.host.answers = False
    manager.host.now += 90_000
    assert manager.turn().empty
    manager.host.answers = True
    assert not manager.turn().empty


def test_a_pause_only_observes() -> None:
    manager = filled()
    job = manager.submit("a")
    manager.run()
    manager.pause()
    manager.submit("a")
    manager.host.ends(manager.own("a-0"), 7)
    assert manager.turn().empty
    assert manager.ended(job).exit_code == 7
    manager.resume()
    manager.run()
    assert manager.phases("a-0")[0] == "busy"


# -- holding what failed ---------------------------------------------------------------------------------


def holding(**of: Any) -> tuple[SlotSpec, ...]:
    return specs(pool("a", 1, hold_failed=1800.0), removal=Removal.MANAGER, **of)


def fails(manager: Manager) -> Generation:
    """A job has come and has failed."""
    manager.submit("a")
    manager.run()
    failed = manager.own("a-0")
    manager.host.ends(failed, 3)
    manager.run()
    return failed


def test_a_failed_jobs_container_is_started_again_and_its_slot_waits_until_its_time_is_over() -> (
    None
):
    manager = filled(holding())
    failed = fails(manager)
    assert manager.host.boxes[failed].held
    job = manager.submit("a")
    manager.pass_time(1790)
    assert manager.host.boxes[failed].live
    assert manager.phases("a-0") == ["idle"]
    assert manager.memory.jobs[job].agent is None
    manager.pass_time(20)
    assert failed not in manager.host.boxes
    assert manager.memory.jobs[job].agent is not None
    ended = [fact for fact in manager.journal if isinstance(fact, HoldEnded)]
    assert [(one.at, one.reason) for one in ended] == [(START + 1800.0, "its time is over")]


def test_a_job_that_did_well_is_held_where_somebody_asked_for_it_and_no_other() -> None:
    manager = filled(holding())
    for asked in (False, True):
        job = manager.submit("a")
        manager.run()
        if asked:
            manager.hold(job, 60.0)
        done = manager.own("a-0")
        manager.host.ends(done, 0)
        manager.run()
        assert (done in manager.host.boxes) is asked


def test_a_job_of_which_nobody_wants_to_see_more_is_not_held() -> None:
    manager = filled(holding())
    job = manager.submit("a")
    manager.run()
    manager.hold(job, 60.0)
    cancelled = manager.own("a-0")
    manager.cancel(job)
    manager.run()
    assert cancelled not in manager.host.boxes
    job = manager.submit("a")
    manager.run()
    manager.hold(job, 0.0)
    refused = manager.own("a-0")
    manager.host.ends(refused, 1)
    manager.run()
    assert refused not in manager.host.boxes


def test_a_held_container_is_given_up_extended_and_lost_and_comes_back_after_an_engine() -> None:
    manager = filled(holding())
    failed = fails(manager)
    manager.extend(failed, 600.0)
    manager.pass_time(2300)
    assert manager.host.boxes[failed].live
    manager.host.dies(failed)
    manager.run()
    assert manager.host.boxes[failed].live, "it is started once more, as it was left"
    manager.give_up(failed)
    manager.run()
    assert failed not in manager.host.boxes
    lost = fails(manager)
    manager.host.dies(lost)
    manager.host.boxes.pop(lost)
    manager.run()
    reasons = [fact.reason for fact in manager.journal if isinstance(fact, HoldEnded)]
    assert reasons == ["given up", "its container is gone"]
    manager.submit("a")
    manager.run()
    assert manager.phases("a-0")[0] == "busy"


def test_a_hold_whose_time_is_over_when_a_manager_comes_back_ends_at_once() -> None:
    manager = filled(holding(leases=(("GPU-1",),)))
    failed = fails(manager)
    manager.crash(())
    manager.run()
    assert manager.host.boxes[failed].live, "the next manager holds it on"
    manager.crash(())
    manager.host.now += 3600.0
    manager.submit("a")
    manager.run()
    assert failed not in manager.host.boxes
    assert manager.phases("a-0")[0] == "busy"


def test_a_job_whose_end_is_seen_when_its_hold_would_be_over_is_not_held() -> None:
    manager = filled(holding())
    manager.submit("a")
    manager.run()
    failed = manager.own("a-0")
    manager.host.ends(failed, 3)
    manager.crash(())
    manager.host.now += 3600.0
    manager.run()
    assert failed not in manager.host.boxes


def test_a_container_that_cannot_be_started_again_is_held_no_longer() -> None:
    manager = filled(holding())
    manager.submit("a")
    manager.run()
    failed = manager.own("a-0")
    manager.host.ends(failed, 3)
    for _ in range(100):
        manager.turn()
        for subject, action in list(manager.flight.items()):
            manager.finish(subject, Fate.FAILED if isinstance(action, StartAgain) else Fate.DONE)
        manager.host.now += 1.0
    manager.run()
    [ended] = [fact for fact in manager.journal if isinstance(fact, HoldEnded)]
    assert ended.reason == "its container could not be started once more: it failed"
    assert ended.at < START + 70.0
    assert failed not in manager.host.boxes


@pytest.mark.parametrize("filled_it", [False, True], ids=["a person", "its job, and then a person"])
def test_whoever_is_in_a_held_container_fills_no_disk(filled_it: bool) -> None:
    limited = pool("a", 1, hold_failed=1800.0, disk=1000)
    manager = filled(specs(limited, removal=Removal.MANAGER))
    if filled_it:
        manager.submit("a")
        manager.run()
        failed = manager.own("a-0")
        manager.sizes[failed] = 1001
        manager.run()
        assert [one.cause for one in manager.journal if isinstance(one, JobEnded)] == [Cause.DISK]
    else:
        failed = fails(manager)
    most = 2000 if filled_it else 1000
    for size in (most, most + 1):
        assert manager.host.boxes[failed].held
        manager.sizes[failed] = size
        manager.run()
    assert failed not in manager.host.boxes
    [ended] = [fact for fact in manager.journal if isinstance(fact, HoldEnded)]
    allows = "its pool allows 1000 (limits.disk)"
    assert ended.reason == f"{most + 1} bytes were written in it; {allows}"


def test_a_held_container_that_ends_as_often_as_it_is_started_is_held_no_longer() -> None:
    manager = filled(holding())
    failed = fails(manager)
    for ends in range(1, 6):
        assert manager.host.boxes[failed].live, f"it is held on, started {ends} times"
        manager.host.dies(failed)
        manager.pass_time(5.0)
    assert failed not in manager.host.boxes
    [ended] = [fact for fact in manager.journal if isinstance(fact, HoldEnded)]
    assert ended.reason == "its container ends again and again"


def test_a_held_container_comes_back_after_each_of_many_restarts_of_its_engine() -> None:
    manager = filled(holding())
    failed = fails(manager)
    for _ in range(8):
        manager.pass_time(200.0)
        assert manager.host.boxes[failed].live
        manager.host.dies(failed)
        manager.run()


def test_the_time_that_a_job_is_held_counts_on_its_owners_share() -> None:
    manager = filled(holding())
    manager.submit("a", uid=7)
    manager.run()
    manager.host.ends(manager.own("a-0"), 3)
    own = manager.submit("a", uid=7)
    manager.run()
    other = manager.submit("a", uid=8)
    manager.pass_time(1700)
    mine = (PoolName("a"), 7)
    counts = shares_used(manager.memory, manager.now, HALF_LIFE)
    assert counts[mine] == pytest.approx(1700.0, rel=0.05), counts
    manager.pass_time(200)
    running = {job.id for job in manager.memory.jobs.values() if job.agent is not None}
    assert running == {other}, "who had the slot is first again"
    assert own in manager.memory.jobs
    counts = shares_used(manager.memory, manager.now, HALF_LIFE)
    assert counts[mine] == pytest.approx(1800.0, rel=0.05), counts
    manager.crash(())
    assert shares_used(manager.memory, manager.now, HALF_LIFE) == counts


def test_a_services_job_is_held_once_the_service_has_let_go_of_its_agent() -> None:
    of = pool("service", 1, provider="azure", hold_failed=1800.0)
    manager = filled(specs(of, removal=Removal.MANAGER))
    failed = manager.own("service-0")
    manager.host.gives_job(failed)
    manager.ask_service()
    manager.run()
    manager.host.service_answers = False
    manager.host.ends(failed, 3)
    manager.pass_time(300)
    assert manager.memory.agents[failed].is_held
    assert not manager.host.boxes[failed].held, "what it was given there opens something yet"
    manager.host.service_answers = True
    manager.pass_time(120)
    assert manager.host.boxes[failed].held


def test_a_drained_slot_holds_nothing() -> None:
    manager = filled(holding())
    failed = fails(manager)
    manager.cordon(SlotName("a-0"), drain=True)
    manager.run()
    assert manager.host.boxes == {}
    assert failed not in manager.memory.agents


def test_the_gpus_of_a_failed_agent_wait_until_it_is_gone() -> None:
    manager = filled(holding(leases=(("GPU-1",),)))
    for _ in range(2):
        manager.submit("a")
    manager.run()
    failed = manager.own("a-0")
    manager.host.ends(failed, 3)
    manager.pass_time(600)
    assert manager.phases("a-0") == ["idle"]
    manager.pass_time(1300)
    assert failed not in manager.host.boxes
    assert manager.phases("a-0")[0] == "busy"


# -- cordon, drain, hold -----------------------------------------------------------------------------


def test_a_cordoned_slot_takes_no_job_and_keeps_its_agent() -> None:
    manager = filled()
    manager.cordon(A0)
    manager.submit("a")
    manager.run()
    assert manager.phases("a-0") == ["idle"]
    manager.uncordon(A0)
    manager.run()
    assert manager.phases("a-0") == ["busy", "armed"]


def test_a_cordon_ends_by_itself_at_its_time_and_not_before() -> None:
    manager = filled()
    until = manager.now + 60
    manager.cordon(A0, until)
    manager.submit("a")
    manager.host.now = until - 0.001
    plan = manager.turn()
    assert plan.empty
    assert plan.wake == until
    manager.host.now = until
    (ended,) = [fact for fact in manager.turn().facts if isinstance(fact, SlotUncordoned)]
    assert (ended.by, ended.reason) == (None, "its time was over")
    manager.run()
    assert manager.phases("a-0") == ["busy", "armed"]


def test_a_cordoned_busy_slot_is_not_filled_again() -> None:
    manager = filled(specs(pool("a", standby=False)))
    manager.submit("a")
    manager.run()
    manager.cordon(A0)
    manager.host.ends(manager.own("a-0"), 0)
    manager.run()
    assert manager.phases("a-0") == []


def test_a_drain_lets_the_busy_agent_end_and_removes_all_others() -> None:
    manager = filled(specs(pool("a", 2)))
    job = manager.submit("a")
    manager.run()
    for slot in (A0, A1):
        manager.cordon(slot, drain=True)
    manager.run()
    assert manager.phases("a-0") == ["busy"]
    assert manager.phases("a-1") == []
    manager.host.ends(manager.own("a-0"), 0)
    manager.run()
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert names(manager) == []
    manager.uncordon(A0)
    manager.run()
    assert manager.phases("a-0") == ["idle"]


def test_a_forced_drain_goes_down_the_ladder() -> None:
    manager = filled(specs(pool("a", standby=False)))
    job = manager.submit("a")
    manager.run()
    manager.cordon(A0, drain=True)
    manager.doom(manager.own("a-0"), DoomReason.FORCED)
    assert kinds(manager.turn()) == [Signal]
    generation = manager.own("a-0")
    manager.shrug(generation)  # the signal is lost on the job
    manager.host.now += 9.9
    assert manager.turn().empty
    manager.host.now += 0.1
    assert kinds(manager.turn()) == [Remove]
    manager.finish(generation)
    manager.run()
    end = manager.ended(job)
    assert (end.state, end.cause) == (JobState.CANCELLED, Cause.CANCELLED)


def test_a_held_slot_is_emptied_but_for_its_busy_agent() -> None:
    manager = filled(specs(pool("a", 2)))
    manager.submit("a")
    manager.run()
    manager.desired = Desired(manager.desired.slots, {A0: "the GPU is ill", A1: "the GPU is ill"})
    manager.run()
    assert manager.phases("a-0") == ["busy"]
    assert manager.phases("a-1") == []
    manager.desired = Desired(manager.desired.slots)
    manager.run()
    assert manager.phases("a-1") == ["idle"]


# -- replacing -----------------------------------------------------------------------------------------


def test_stale_agents_are_replaced_one_slot_at_a_time_and_busy_ones_finish() -> None:
    manager = filled(specs(pool("a", 4)))
    job = manager.submit("a")
    manager.run()
    busy = manager.own("a-0")
    manager.desired = desire(specs(pool("a", 4), fingerprint="f2"))
    least = 4
    for _ in range(40):
        manager.turn()
        for subject in list(manager.flight):
            manager.finish(subject)
        ready = [index for index in (1, 2, 3) if manager.phases(f"a-{index}") == ["idle"]]
        least = min(least, len(ready))
    assert least == 2
    assert manager.own("a-0") == busy
    manager.host.ends(busy, 0)
    manager.run()
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert {agent.fingerprint for agent in manager.memory.agents.values()} == {"f2"}


def test_a_new_image_that_does_not_start_stops_the_replacing() -> None:
    manager = filled(specs(pool("a", 3)))
    manager.desired = desire(specs(pool("a", 3), fingerprint="f2"))
    for _ in range(20):
        manager.turn()
        for subject, action in list(manager.flight.items()):
            manager.finish(subject, Fate.FAILED if isinstance(action, Prepare) else Fate.DONE)
        manager.host.now += 1.0
    assert [manager.phases(f"a-{index}") for index in (1, 2)] == [["idle"], ["idle"]]


def test_an_image_that_can_make_no_agent_takes_none_of_those_that_stand_ready() -> None:
    manager = filled(specs(pool("a", 2)), specs(pool("service", 1, provider="azure")))
    before = set(manager.memory.agents)
    fresh = (
        specs(pool("a", 2), fingerprint="f2"),
        specs(pool("service", 1, provider="azure"), fingerprint="f2"),
    )
    wanted = desire(*fresh)
    every = {spec.name: "the image has no gate" for spec in wanted.slots}
    manager.desired = replace(wanted, obstacles=every, image_blocked=frozenset(every))
    manager.pass_time(300)
    assert set(manager.memory.agents) == before
    job = manager.submit("a")
    manager.run()
    manager.host.ends(manager.own("a-0"), 0)
    manager.run()
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert manager.own("a-1") in before
    manager.desired = wanted
    manager.pass_time(300)
    assert {agent.fingerprint for agent in manager.memory.agents.values()} == {"f2"}


def test_a_slot_that_is_held_for_the_new_image_stops_the_replacing_until_it_works_somewhere() -> (
    None
):
    manager = filled(specs(pool("a", 3)))
    manager.record([SlotHeld(manager.now, A0, "the image is too old")])
    manager.desired = desire(specs(pool("a", 3), fingerprint="f2"))
    manager.pass_time(120)
    assert [manager.own(f"a-{index}") is not None for index in (1, 2)] == [True, True]
    stale = [agent for agent in manager.memory.agents.values() if agent.fingerprint == "f1"]
    assert {agent.slot for agent in stale} == {"a-1", "a-2"}
    manager.record([SlotReleased(manager.now, A0, "alice")])
    manager.pass_time(120)
    assert {agent.fingerprint for agent in manager.memory.agents.values()} == {"f2"}


def test_a_new_image_whose_agent_never_comes_online_stops_at_the_first_slot() -> None:
    manager = filled(specs(pool("service", 3, provider="azure")))
    before = {manager.own(f"service-{index}") for index in range(3)}
    manager.desired = desire(specs(pool("service", 3, provider="azure"), fingerprint="f2"))
    for _ in range(200):
        manager.turn()
        for subject, action in list(manager.flight.items()):
            fails = isinstance(action, Open) and action.generation not in before
            manager.finish(subject, Fate.FAILED if fails else Fate.DONE)
        manager.host.now += 1.0
    kept = before & {manager.own(f"service-{index}") for index in range(3)}
    assert len(kept) == 2


def test_a_standby_made_anew_does_not_keep_its_slots_old_agent_from_being_replaced() -> None:
    pools = pool("service", 1, provider="azure")
    manager = filled(specs(pools))
    manager.desired = desire(specs(pools, fingerprint="f2"))
    own, agents = manager.own("service-0"), manager.memory.agents
    fresh = {
        generation: agent if generation == own else replace(agent, fingerprint="f2")
        for generation, agent in agents.items()
    }
    assert len(fresh) == 2
    manager.remember(replace(manager.memory, agents=fresh))
    for _ in range(60):
        manager.run()
        manager.host.now += 5.0
    assert {agent.fingerprint for agent in manager.memory.agents.values()} == {"f2"}


def test_a_bad_image_takes_the_standby_of_one_busy_slot_only() -> None:
    manager = filled(specs(pool("a", 3)))
    for _ in range(3):
        manager.submit("a")
    manager.run()
    manager.desired = desire(specs(pool("a", 3), fingerprint="f2"))
    for _ in range(60):
        manager.turn()
        for subject, action in list(manager.flight.items()):
            manager.finish(subject, Fate.FAILED if isinstance(action, Prepare) else Fate.DONE)
        manager.host.now += 1.0
    standing = [index for index in range(3) if len(manager.phases(f"a-{index}")) == 2]
    assert len(standing) == 2


def test_a_slot_that_the_configuration_loses_is_emptied_once_its_job_is_done() -> None:
    manager = filled(specs(pool("a", 2)))
    manager.submit("a")
    manager.submit("a")
    manager.run()
    manager.desired = desire(specs(pool("a", 1)))
    manager.run()
    assert manager.phases("a-1") == ["busy"]
    manager.host.ends(manager.own("a-1"), 0)
    manager.run()
    assert {agent.slot for agent in manager.memory.agents.values()} == {A0}


def test_a_slot_that_is_lost_while_its_gate_is_being_opened_still_runs_the_job() -> None:
    manager = filled(specs(pool("a", 1)))
    job = manager.submit("a")
    manager.turn()
    manager.desired = desire(specs(pool("b", 1)))
    manager.turn()
    generation = manager.own("a-0")
    manager.finish(generation)
    manager.run()
    assert manager.phases("a-0") == ["busy"]
    manager.host.ends(generation, 0)
    manager.pass_time(60)
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert names(manager) == ["b-0"]


def test_idle_agents_and_standbys_are_replaced_when_they_are_old() -> None:
    manager = filled(specs(pool("a", job_timeout=None)))
    idle = manager.own("a-0")
    manager.pass_time(STANDBY_LIFE + 60)
    assert manager.own("a-0") != idle
    manager.submit("a")
    manager.run()
    standby = manager.tenancy("a-0").standby
    manager.pass_time(STANDBY_LIFE + 60)
    assert manager.phases("a-0") == ["busy", "armed"]
    assert manager.tenancy("a-0").standby != standby
    assert set(dooms(manager)) == {DoomReason.OLD}


# -- limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "expected"), [(None, 600.0), (60.0, 60.0), (6000.0, 600.0)])
def test_a_job_is_stopped_at_the_smaller_limit(own: float | None, expected: float) -> None:
    manager = filled(specs(pool("a", standby=False, job_timeout=600.0)))
    job = manager.submit("a", own)
    manager.run()
    manager.pass_time(expected)
    assert manager.turn().empty
    manager.host.now += 0.01
    manager.run()
    end = manager.ended(job)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.TIMEOUT)


def test_a_job_that_writes_too_much_is_stopped() -> None:
    manager = filled(specs(pool("a", standby=False, disk=1000)))
    job = manager.submit("a")
    manager.run()
    generation = manager.own("a-0")
    manager.sizes[generation] = 1000
    manager.run()
    assert manager.phases("a-0") == ["busy"]
    manager.sizes[generation] = 1001
    manager.run()
    end = manager.ended(job)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.DISK)


@pytest.mark.parametrize("told", [True, False])
def test_a_job_that_fills_its_witness_is_stopped_whatever_its_pool_allows(told: bool) -> None:
    """Also one that takes away the record that it has begun: it is not run again."""
    manager = filled(specs(pool("a", standby=False)))
    job = manager.submit("a")
    if told:
        manager.run()
    else:
        manager.host.slow = True
        manager.turn()
        manager.finish(manager.own("a-0"))
        manager.turn()
    assert manager.phases("a-0") == ["busy" if told else "enrolling"]
    sights = [
        replace(seen, overfull=frozenset({manager.own("a-0")}))
        if isinstance(seen, EngineSeen)
        else seen
        for seen in manager.sight()
    ]
    manager.turn(sights=sights)
    manager.run()
    manager.pass_time(30)
    end = manager.ended(job)
    assert (end.state, end.cause) == (JobState.FAILED, Cause.DISK)


def test_a_cancelled_job_is_stopped_also_when_something_overtook_the_cancelling() -> None:
    manager = filled(specs(pool("a", standby=False)))
    manager.host.slow = True
    job = manager.submit("a")
    manager.turn()
    manager.finish(manager.own("a-0"))
    manager.crash(())
    manager.host.now += INTERRUPTED_GRACE
    manager.turn()  # doomed as interrupted
    manager.cancel(job)
    manager.host.progress()  # and runs after all
    manager.host.slow = False
    manager.run()
    assert manager.ended(job).state is JobState.CANCELLED


# -- young deaths ----------------------------------------------------------------------------------------


def test_a_slot_whose_agents_die_young_is_tried_less_and_less_often_and_recovers() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    tries: list[float] = []
    began = manager.now
    while manager.now < began + 100:
        plan = manager.turn()
        for subject, action in list(manager.flight.items()):
            if isinstance(action, Prepare):
                tries.append(manager.now - began)
            manager.finish(subject, Fate.FAILED if isinstance(action, Prepare) else Fate.DONE)
        if plan.empty:
            manager.host.now = plan.wake or manager.now + 1
    assert tries == [0, 1, 3, 7, 15, 31, 63]
    manager.pass_time(200)
    job = manager.submit("a")
    manager.run()
    assert manager.memory.slot(A0).failures == 7
    manager.host.ends(manager.own("a-0"), 0)
    manager.run()
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert manager.memory.slot(A0).failures == 0


def test_an_agent_that_never_comes_to_its_gate_is_destroyed_and_its_slot_cools() -> None:
    manager = Manager(Host(slow=True), desire(specs(pool("a"))))
    manager.turn()
    (subject,) = manager.flight
    manager.finish(subject)
    manager.turn()
    manager.host.now += 120.01
    manager.turn()
    assert dooms(manager) == [DoomReason.MISSED]
    manager.turn()
    manager.finish(subject)
    manager.turn()
    assert any(isinstance(fact, SlotCooled) for fact in manager.journal)


def test_a_refused_prepare_holds_the_slot_and_a_person_need_not_wait_for_the_next_trial() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.turn()
    (subject,) = manager.flight
    manager.finish(subject, Fate.LASTING)
    manager.pass_time(TRIAL_FIRST - 1)
    assert manager.phases("a-0") == []
    manager.release(A0)
    manager.run()
    assert manager.phases("a-0") == ["idle"]


def test_a_gate_is_not_opened_while_somebody_has_paused_the_container() -> None:
    manager = filled()
    box = manager.host.boxes[manager.own("a-0")]
    box.state = ContainerState.PAUSED
    job = manager.submit("a")
    manager.pass_time(600)
    assert manager.memory.jobs[job].agent is None
    box.state = ContainerState.RUNNING
    manager.run()
    assert manager.phases("a-0")[0] == "busy"


# -- crashes -----------------------------------------------------------------------------------------------


def interrupted(*, written: bool) -> tuple[Manager, Generation]:
    """A manager that died between the commit and the answer of opening a gate."""
    manager = filled()
    manager.host.slow = True
    manager.submit("a")
    manager.turn()
    generation = manager.own("a-0")
    manager.crash([generation] if written else ())
    return manager, generation


def test_a_gate_whose_launcher_says_so_was_opened_and_its_job_goes_on() -> None:
    manager, generation = interrupted(written=True)
    manager.host.progress()
    manager.host.slow = False
    manager.pass_time(60)
    assert manager.own("a-0") == generation
    assert manager.phases("a-0") == ["busy", "armed"]
    assert dooms(manager) == []


def test_a_gate_that_stays_shut_is_given_up_after_its_grace_and_its_job_queued_again() -> None:
    manager, generation = interrupted(written=False)
    manager.host.now += INTERRUPTED_GRACE - 0.01
    assert manager.turn().empty
    manager.host.now += 0.01
    manager.turn()
    assert dooms(manager) == [DoomReason.INTERRUPTED]
    manager.host.slow = False
    manager.run()
    assert manager.own("a-0") != generation
    assert manager.phases("a-0")[0] == "busy"
    (again,) = (fact for fact in manager.journal if isinstance(fact, JobRequeued))
    assert not again.counted


def test_a_gate_that_opens_late_is_not_closed_again() -> None:
    manager, generation = interrupted(written=True)
    manager.host.now += INTERRUPTED_GRACE
    manager.turn()
    assert dooms(manager) == [DoomReason.INTERRUPTED]
    manager.host.progress()
    manager.host.slow = False
    manager.run()
    assert manager.own("a-0") == generation
    assert manager.phases("a-0") == ["busy", "armed"]


def test_ten_crashes_in_a_row_lose_no_job() -> None:
    manager = filled()
    job = manager.submit("a")
    for _ in range(10):
        manager.turn()
        manager.crash(())
        manager.host.now += INTERRUPTED_GRACE
        manager.turn()
        manager.turn()
        for subject, action in list(manager.flight.items()):
            if not isinstance(action, Open):
                manager.finish(subject)
    manager.run()
    manager.host.ends(manager.own("a-0"), 0)
    manager.run()
    assert manager.ended(job).state is JobState.SUCCEEDED


def test_three_agents_that_do_not_open_lose_the_job() -> None:
    manager = filled()
    job = manager.submit("a")
    for _ in range(60):
        manager.turn()
        for subject, action in list(manager.flight.items()):
            manager.finish(subject, Fate.FAILED if isinstance(action, Open) else Fate.DONE)
        manager.host.now += 2.0
    end = manager.ended(job)
    assert (end.state, end.cause) == (JobState.LOST, Cause.NEVER_STARTED)
    assert job not in manager.host.runs


@pytest.mark.parametrize("done", [True, False])
def test_a_container_in_the_making_when_the_manager_died_is_replaced(done: bool) -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.turn()
    manager.crash(list(manager.flight) if done else ())
    manager.pass_time(60)
    assert manager.phases("a-0") == ["idle"]
    assert names(manager) == ["a-0"]
    assert not any(isinstance(fact, SlotCooled) for fact in manager.journal)


def test_a_look_of_before_does_not_show_that_a_failed_prepare_made_nothing() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.turn()
    (subject,) = manager.flight
    late = manager.sight()
    manager.finish(subject, Fate.LOST)
    manager.turn(sights=late)
    assert not any(isinstance(action, Forget) for action in manager.flight.values())
    manager.pass_time(60)
    assert set(manager.host.boxes) == set(manager.memory.agents)
    assert manager.phases("a-0") == ["idle"]


def test_a_container_that_was_made_and_never_started_is_removed() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.turn()
    (subject,) = manager.flight
    manager.finish(subject, Fate.HALF)
    assert manager.host.boxes[Generation(subject)].state is ContainerState.CREATED
    manager.pass_time(SELF_REMOVAL + 10)
    assert names(manager) == ["a-0"]
    assert manager.phases("a-0") == ["idle"]


# -- the Engine ----------------------------------------------------------------------------------------------


def test_an_engine_restart_without_live_restore_loses_the_jobs_and_says_so() -> None:
    manager = filled()
    job = manager.submit("a")
    manager.run()
    manager.host.engine_restarts(keeps=False, gently=True)
    manager.pass_time(60)
    end = manager.ended(job)
    assert (end.state, end.cause) == (JobState.LOST, Cause.ENGINE_STOPPED)
    assert manager.phases("a-0") == ["idle"]
    assert manager.memory.slot(A0).failures == 0


def test_an_engine_restart_with_live_restore_changes_nothing() -> None:
    manager = filled()
    manager.submit("a")
    manager.run()
    manager.host.engine_restarts(keeps=True, gently=True)
    assert manager.turn().empty


@pytest.mark.parametrize("removal", [Removal.ENGINE, Removal.MANAGER])
def test_an_ended_container_is_removed_by_whoever_is_to_do_it(removal: Removal) -> None:
    manager = filled(specs(pool("a"), removal=removal))
    job = manager.submit("a")
    manager.run()
    manager.host.ends(manager.own("a-0"), 0)
    manager.pass_time(1)
    assert manager.ended(job).exit_code == 0
    assert names(manager) == ["a-0"]
    assert len(manager.host.witnesses) == 1


@pytest.mark.parametrize("configured", [True, False])
def test_an_ended_container_stays_until_its_output_is_on_disk(configured: bool) -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    manager.host.output_kept = False
    first = manager.own("a-0")
    job, following = manager.submit("a"), manager.submit("a")
    manager.run()
    manager.host.ends(first, 0)
    manager.run()
    assert manager.ended(job).exit_code == 0
    assert manager.memory.jobs[following].agent == manager.own("a-0")  # nobody waits for that
    if not configured:
        manager.desired = Desired(())
    manager.pass_time(OUTPUT_WAIT - 1)
    assert first in manager.host.boxes
    manager.host.output_kept = True
    manager.run()
    assert first not in manager.host.boxes


def taking(manager: Manager) -> list[str]:
    """Whose results are being taken."""
    return [name for name, one in manager.flight.items() if isinstance(one, TakeResults)]


def ended_with_results(manager: Manager, code: int = 0) -> tuple[Generation, JobId]:
    """An agent whose job has ended, and wanted something brought back."""
    agent, job = manager.own("a-0"), manager.submit("a", out=("results", "/tmp/log"))
    manager.run()
    manager.host.ends(agent, code)
    manager.turn()
    return agent, job


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("configured", [True, False])
def test_results_are_taken_before_the_container_goes_and_nobody_waits_for_that(
    configured: bool, code: int
) -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    agent, job = ended_with_results(manager, code)
    following = manager.submit("a")
    if not configured:
        manager.desired = Desired(())
    assert manager.ended(job).exit_code == code
    assert taking(manager) == [agent]
    for _ in range(5):
        manager.turn()
        for subject in [one for one in manager.flight if one != agent]:
            manager.finish(subject)
    assert not configured or manager.memory.jobs[following].agent == manager.own("a-0")
    assert agent in manager.host.boxes
    manager.finish(agent)
    manager.run()
    assert agent not in manager.host.boxes
    assert [fact.job for fact in manager.journal if isinstance(fact, ResultsTaken)] == [job]


def test_a_manager_that_is_killed_takes_results_up_again() -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    agent, _ = ended_with_results(manager)
    assert taking(manager) == [agent]
    manager.crash([])
    manager.turn()
    assert taking(manager) == [agent]
    manager.finish(agent)
    manager.run()
    assert agent not in manager.host.boxes


def test_results_that_cannot_be_had_are_tried_for_ten_minutes_and_then_told() -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    agent, _ = ended_with_results(manager)
    manager.finish(agent, Fate.FAILED)
    manager.turn()
    manager.host.gives = False
    manager.pass_time(RESULTS_WAIT - 60)
    assert agent in manager.host.boxes
    manager.pass_time(120)
    (told,) = [fact for fact in manager.journal if isinstance(fact, ResultsTaken)]
    assert told.results.left_out == ("all of it: they could not be had in time",)
    assert agent not in manager.host.boxes


def test_results_that_are_refused_are_told_at_once() -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    agent, _ = ended_with_results(manager)
    manager.finish(agent, Fate.LASTING)
    manager.run()
    (told,) = [fact for fact in manager.journal if isinstance(fact, ResultsTaken)]
    assert told.results.left_out == ("all of it: it failed",)
    assert agent not in manager.host.boxes


def test_results_of_a_container_that_somebody_removed_are_told_as_gone() -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    agent, job = ended_with_results(manager)
    del manager.host.boxes[agent]
    manager.finish(agent, Fate.FAILED)
    manager.run()
    manager.pass_time(20)
    (told,) = [fact for fact in manager.journal if isinstance(fact, ResultsTaken)]
    assert (told.job, told.results.left_out) == (job, ("all of it: its container was removed",))
    assert agent not in manager.memory.agents


def test_a_container_that_a_manager_died_over_does_not_wait_for_an_output_that_nobody_reads() -> (
    None
):
    manager = Manager(Host(), desire(specs(pool("a"), removal=Removal.MANAGER)))
    manager.host.output_kept = False
    manager.turn()
    (subject,) = manager.flight
    manager.crash([subject])
    (made,) = manager.host.boxes
    manager.host.dies(made)
    manager.run()
    assert made not in manager.host.boxes


def test_an_ended_container_stays_no_longer_than_its_time_of_which_the_engine_s_absence_is_none() -> (
    None
):
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    manager.host.output_kept = False
    first = manager.own("a-0")
    manager.submit("a")
    manager.run()
    manager.host.ends(first, 0)
    manager.run()
    manager.host.answers = False
    manager.pass_time(2 * OUTPUT_WAIT)
    manager.host.answers = True
    manager.pass_time(OUTPUT_WAIT - 1)
    assert first in manager.host.boxes
    manager.pass_time(2)
    assert first not in manager.host.boxes


def test_the_oldest_of_many_ended_containers_of_a_slot_waits_for_its_output_no_longer() -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    manager.host.output_kept = False
    ended = []
    for _ in range(OUTPUTS_AWAITED + 2):
        manager.submit("a")
        manager.run()
        ended.append(manager.own("a-0"))
        manager.host.ends(ended[-1], 0)
        manager.run()
    there = [generation in manager.host.boxes for generation in ended]
    assert there == [False] * 2 + [True] * OUTPUTS_AWAITED


def test_the_oldest_of_many_ended_containers_of_a_slot_waits_for_its_results_no_longer() -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    manager.host.gives = False
    ended = []
    for _ in range(OUTPUTS_AWAITED + 2):
        manager.submit("a", out=("results",))
        manager.run()
        ended.append(manager.own("a-0"))
        manager.host.ends(ended[-1], 0)
        manager.run()
    manager.pass_time(60)
    there = [generation in manager.host.boxes for generation in ended]
    assert there == [False] * 2 + [True] * OUTPUTS_AWAITED
    told = [fact for fact in manager.journal if isinstance(fact, ResultsTaken)]
    assert [one.generation for one in told] == ended[:2]
    why = f"all of it: {OUTPUTS_AWAITED} jobs of its slot ended before they could be had"
    assert {one.results.left_out for one in told} == {(why,)}


def test_an_engine_that_forgets_to_remove_is_helped_after_a_while() -> None:
    manager = filled()
    manager.submit("a")
    manager.run()
    generation = manager.own("a-0")
    manager.host.boxes[generation].auto_remove = False
    manager.host.ends(generation, 0)
    manager.pass_time(SELF_REMOVAL - 1)
    assert generation in manager.host.boxes
    manager.pass_time(2)
    assert generation not in manager.host.boxes
    assert names(manager) == ["a-0"]


# -- leases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leases", [(), (("G0",),)])
@pytest.mark.parametrize("word", ["the kernel's", "the engine's"])
def test_the_next_gate_opens_when_the_container_before_is_over_and_not_when_its_launcher_says_so(
    word: str, leases: tuple[tuple[str, ...], ...]
) -> None:
    manager = filled(specs(pool("a"), leases=leases))
    manager.submit("a")
    second = manager.submit("a")
    manager.run()
    first = manager.own("a-0")
    ends_slowly(manager, first)
    manager.run()
    assert manager.memory.jobs[second].agent is None
    assert manager.phases("a-0")[0] == "busy"
    if word == "the kernel's":
        manager.inbox.append(ProcessesGone(first, ContainerId(f"another-{first}")))
        manager.run()
        assert manager.memory.jobs[second].agent is None
        manager.host.empty.add(first)
        manager.inbox.append(ProcessesGone(first, manager.host.boxes[first].id))
    else:
        del manager.host.boxes[first]
    manager.run()
    assert manager.memory.jobs[second].agent == manager.own("a-0")


def test_results_wait_for_no_look_once_the_kernel_has_said_that_the_job_is_over() -> None:
    manager = filled(specs(pool("a"), removal=Removal.MANAGER))
    agent = manager.own("a-0")
    manager.submit("a", out=("results",))
    manager.run()
    seen = replace(manager.host.boxes[agent])
    ends_slowly(manager, agent)
    manager.host.boxes[agent] = seen
    manager.run()
    assert taking(manager) == []
    manager.host.empty.add(agent)
    manager.inbox.append(ProcessesGone(agent, manager.host.boxes[agent].id))
    manager.turn()
    assert manager.host.boxes[agent].live  # as far as the Engine knows
    assert taking(manager) == [agent]


def ends_slowly(manager: Manager, generation: Generation) -> None:
    """The launcher has said its last word, and nobody else has told yet that its container is over."""
    box = manager.host.boxes[generation]
    manager.host.ends(generation, 0)
    manager.host.boxes[generation] = box
    manager.host.deaths = [death for death in manager.host.deaths if death[0] != generation]


@pytest.mark.parametrize("share", [False, True])
def test_a_gpu_that_changes_slots_is_waited_for_unless_it_is_shared(share: bool) -> None:
    manager = filled(specs(pool("a", share=share), leases=(("G0",),)))
    manager.submit("a")
    manager.run()
    busy = manager.own("a-0")
    manager.desired = desire(
        specs(pool("a", share=share)), specs(pool("b", share=share), leases=(("G0",),))
    )
    job = manager.submit("b")
    manager.run()
    assert manager.phases("b-0")[0] == ("busy" if share else "idle")
    manager.host.ends(busy, 0)
    manager.run()
    assert manager.memory.jobs[job].agent == manager.own("b-0")


# -- clocks --------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_ahead_ends_only_what_its_real_limit_would() -> None:
    manager = filled(specs(pool("a", 2)))
    manager.submit("a", 7200.0)
    short = manager.submit("a", 1800.0)
    manager.run()
    manager.host.now += 3600
    manager.pass_time(1)
    assert manager.phases("a-0") == ["busy", "armed"]
    assert manager.ended(short).cause is Cause.TIMEOUT
    assert manager.phases("a-1") == ["idle"]


def test_a_clock_that_is_set_back_ends_nothing_and_stops_nothing() -> None:
    manager = filled(specs(pool("a", 2)))
    first = manager.submit("a", 7200.0)
    manager.run()
    busy = manager.own("a-0")
    manager.host.now -= 3600
    assert manager.turn().empty
    second = manager.submit("a")
    manager.run()
    assert manager.phases("a-1")[0] == "busy"
    manager.host.ends(busy, 0)
    manager.host.ends(manager.own("a-1"), 1)
    manager.pass_time(60)
    assert manager.ended(first).state is JobState.SUCCEEDED
    assert manager.ended(second).cause is Cause.EXIT
    assert manager.phases("a-0") == ["idle"]
    assert dooms(manager) == []


def test_a_clock_that_is_set_back_does_not_stretch_a_cooling() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.turn()
    manager.finish(next(iter(manager.flight)), Fate.FAILED)
    manager.turn()
    manager.host.now -= 3600
    manager.run()
    assert manager.phases("a-0") == ["idle"]


def test_accounts_are_closed_once_and_for_all() -> None:
    manager = filled(specs(pool("a", 2)))
    for code in (0, 1, 0):
        manager.submit("a")
        manager.run()
        manager.host.ends(manager.own("a-0"), code)
        manager.run()
    ends = [fact.exit_code for fact in manager.journal if isinstance(fact, JobEnded)]
    assert ends == [0, 1, 0]


def test_a_clock_set_back_while_no_manager_ran_is_noticed_by_what_is_remembered() -> None:
    manager = filled(specs(pool("a", job_timeout=600.0)))
    job = manager.submit("a")
    manager.run()
    manager.pass_time(300)
    manager.host.now -= 3600
    manager.crash(())
    manager.pass_time(590)
    assert manager.phases("a-0") == ["busy", "armed"]
    manager.pass_time(20)
    assert manager.ended(job).cause is Cause.TIMEOUT
