"""The laws (docs/architecture.md) as properties: whatever fails, in whatever order, they hold.

``Manager`` checks on every plan what can be seen on a plan (one action per subject, no busy agent ended,
a gate opened once, …) and ``Host`` what can only be seen outside (a job run twice, a GPU used twice). The
machine draws the faults; at the end everything works again, and what is promised must come true.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mayfly.core.actions import Clear, Open, Thaw
from mayfly.core.apply import apply
from mayfly.core.decide import decide
from mayfly.core.facts import AgentExited, JobEnded, JobSubmitted
from mayfly.core.memory import Memory, Pause
from mayfly.core.model import (
    Cause,
    ContainerState,
    Desired,
    DoomReason,
    JobState,
    Priority,
    Removal,
    SlotName,
    World,
)
from mayfly.core.notice import notice
from mayfly.core.plan import Plan
from mayfly.core.throttle import MIB
from tests.core.simulator import (
    Fate,
    Host,
    Manager,
    desire,
    judge,
    pool,
    specs,
    with_images,
)

pytestmark = pytest.mark.long

GPUS = (("G0",), ("G1",))
IMAGES = ("lab/x", "lab/y")
ASKED = ("lab/*",)  # what most pools let jobs ask for
VARIANTS: tuple[Desired, ...] = (
    desire(
        specs(pool("a", 2, sandbox="slot", job_images=ASKED, containers=True)),
        specs(
            pool("g", 2, job_images=ASKED, containers=True, hold_failed=3000.0),
            leases=GPUS,
            removal=Removal.MANAGER,
        ),
        specs(pool("m", 1, standby=False, job_images=ASKED), removal=Removal.MANAGER),
        specs(pool("service", 1, provider="azure", sandbox="slot", containers=True)),
    ),
    # Everything is to be made anew.
    desire(
        specs(pool("a", 2, sandbox="slot", job_images=("lab/x",)), fingerprint="f2"),
        specs(pool("g", 2, sandbox="slot", job_images=ASKED), fingerprint="f2", leases=GPUS),
        specs(
            pool("m", 1, sandbox="slot", hold_failed=300.0),
            fingerprint="f2",
            removal=Removal.MANAGER,
        ),
        specs(
            pool("service", 1, provider="azure", hold_failed=300.0),
            fingerprint="f2",
            removal=Removal.MANAGER,
        ),
    ),
    # The GPUs change places, slots go, and the pool with a service is gone.
    desire(
        specs(pool("a", 1, standby=False)),
        specs(pool("g", 2, containers=True), leases=GPUS[::-1]),
        specs(pool("m", 1), leases=(), removal=Removal.MANAGER),
    ),
    # A GPU goes from one pool to another.
    desire(
        specs(pool("a", 2, job_images=ASKED), leases=GPUS[::-1]),
        specs(pool("g", 1, job_images=ASKED)),
        specs(pool("m", 1), removal=Removal.MANAGER),
    ),
)
SLOTS = sorted({spec.name for variant in VARIANTS for spec in variant.slots})
QUEUES = ("a", "g", "m")
PREPARE_FATES = st.sampled_from(list(Fate))
FATES = st.sampled_from([Fate.DONE, Fate.DONE, Fate.FAILED, Fate.LOST, Fate.LASTING])
ANY = st.integers(0, 50)
DAY = 40  # steps, at most, from a new host to the end at which all is well


class Chaos(RuleBasedStateMachine):
    """A day on which everything may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.host = Host(images={"lab/x"})
        self.manager = Manager(self.host, with_images(VARIANTS[0], self.host.images, IMAGES))

    @initialize(slow=st.booleans(), anonymous=st.booleans())
    def begin(self, slow: bool, anonymous: bool) -> None:
        self.host.anonymous = anonymous
        self.manager.run()
        self.host.slow = slow

    # -- the manager --

    @rule(turns=st.integers(1, 3))
    def turns(self, turns: int) -> None:
        for _ in range(turns):
            self.manager.turn()

    @rule(at=ANY, fate=FATES)
    @precondition(lambda self: self.manager.flight)
    def an_action_ends(self, at: int, fate: Fate) -> None:
        subjects = list(self.manager.flight)
        self.manager.finish(subjects[at % len(subjects)], fate)

    @rule(fate=PREPARE_FATES)
    @precondition(lambda self: self.manager.flight)
    def all_actions_end(self, fate: Fate) -> None:
        for subject in list(self.manager.flight):
            self.manager.finish(subject, fate)

    @rule()
    def a_good_while(self) -> None:
        for _ in range(3):
            self.manager.turn()
            for subject in list(self.manager.flight):
                self.manager.finish(subject)
            self.host.progress()
            self.manager.ask_service()

    @rule(done=st.lists(ANY, max_size=4))
    def the_manager_dies(self, done: list[int]) -> None:
        subjects = list(self.manager.flight)
        self.manager.crash({subjects[at % len(subjects)] for at in done} if subjects else ())

    @rule(recorded=st.booleans())
    def the_manager_dies_around_its_commit(self, recorded: bool) -> None:
        self.manager.turn(recorded=recorded)
        self.manager.crash(())

    @rule(turns=st.integers(1, 3))
    def the_disk_takes_nothing_for_a_while(self, turns: int) -> None:
        for _ in range(turns):
            self.manager.turn(recorded=False)
            self.host.now += 1.0

    @rule(turns=st.integers(0, 2))
    def a_look_comes_late(self, turns: int) -> None:
        """It shows what was there before some actions ended, and is handed in after them."""
        late = self.manager.sight()
        for subject in list(self.manager.flight):
            self.manager.finish(subject)
        for _ in range(turns):
            self.manager.turn(sights=())
        self.manager.turn(sights=late)

    # -- the host --

    @rule(seconds=st.sampled_from([0.5, 2.0, 3.5, 25.0, 130.0, 200.0, 4000.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.host.now += seconds

    @rule(seconds=st.sampled_from([-3600.0, -30.0, 3600.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.manager.jump(seconds)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def the_clock_jumps_while_no_manager_runs(self, seconds: float) -> None:
        self.manager.crash(())
        self.host.now += seconds
        self.manager.begins()

    @rule()
    def launchers_go_on(self) -> None:
        self.host.progress()

    @rule(at=ANY, code=st.sampled_from([0, 0, 1, 137]))
    def an_agent_ends(self, at: int, code: int) -> None:
        live = [box.generation for box in self.host.boxes.values() if box.live]
        if live:
            self.host.ends(live[at % len(live)], code)

    @rule(at=ANY, size=st.sampled_from([4, 40, 400]))
    def a_job_prints(self, at: int, size: int) -> None:
        running = [box.generation for box in self.host.boxes.values() if box.running]
        if running:
            self.manager.prints(running[at % len(running)], size * MIB)

    @rule(at=ANY, begun=st.sampled_from([(4000, 0), (0, 9000), (90_000, 90_000)]))
    def a_job_begins_much(self, at: int, begun: tuple[int, int]) -> None:
        running = [box.generation for box in self.host.boxes.values() if box.running]
        if running:
            self.manager.storms(running[at % len(running)], *begun)

    @rule(at=ANY)
    def a_job_makes_a_container(self, at: int) -> None:
        """Or one that it made does, when it has ended already."""
        able = [one.generation for one in self.host.boxes.values() if one.door and one.sent]
        if able:
            self.host.makes(able[at % len(able)])

    @rule(to=st.sampled_from(("a", "g")), cleared=st.booleans())
    def a_job_leaves_a_container_and_the_next_one_waits(self, to: str, cleared: bool) -> None:
        at_work = [one for one in self.host.boxes.values() if one.door and one.running]
        for box in at_work:
            self.host.makes(box.generation)
            self.host.ends(box.generation, 0)
        self.manager.submit(to)
        for _ in range(3):
            self.manager.turn()
            for subject, action in list(self.manager.flight.items()):
                if cleared or not isinstance(action, Clear):
                    self.manager.finish(subject)
            self.host.progress()

    @rule(turns=st.integers(1, 3))
    def doors_cannot_be_shut_for_a_while(self, turns: int) -> None:
        self.host.shuts = False
        for _ in range(turns):
            self.manager.turn()
            self.host.now += 1.0
        self.host.shuts = True

    @rule(why=st.sampled_from(["", "the gateway is away"]))
    def the_gateway_goes_or_comes(self, why: str) -> None:
        self.host.gateway = why

    @rule(at=ANY)
    def a_job_forges_its_end(self, at: int) -> None:
        running = [box.generation for box in self.host.boxes.values() if box.running]
        if running:
            self.host.forges(running[at % len(running)])

    @rule(at=ANY)
    def a_person_removes_a_container(self, at: int) -> None:
        boxes = list(self.host.boxes)
        if boxes:
            generation = boxes[at % len(boxes)]
            if self.host.boxes[generation].live:
                self.host.dies(generation)
            self.host.boxes.pop(generation, None)

    @rule(at=ANY, littered=st.booleans())
    def a_sandbox_is_lost_or_littered(self, at: int, littered: bool) -> None:
        holders = list(self.host.holders)
        if holders and littered:
            self.host.holders[holders[at % len(holders)]].littered = True
        elif holders:
            del self.host.holders[holders[at % len(holders)]]

    @rule(keeps=st.booleans(), gently=st.booleans())
    def the_engine_restarts(self, keeps: bool, gently: bool) -> None:
        self.host.engine_restarts(keeps=keeps, gently=gently)

    @rule(turns=st.integers(1, 3), fate=FATES)
    def the_engine_does_not_answer_for_a_while(self, turns: int, fate: Fate) -> None:
        self.host.answers = False
        for _ in range(turns):
            self.manager.turn()
            for subject in list(self.manager.flight):
                self.manager.finish(subject, fate)
            self.host.now += 2.0
        self.host.answers = True

    # -- the service --

    @rule(at=ANY)
    def a_service_gives_a_job(self, at: int) -> None:
        ready = [box for box in self.host.boxes.values() if box.running and not box.queue]
        if ready:
            self.host.gives_job(ready[at % len(ready)].generation)

    @rule()
    def the_service_is_asked(self) -> None:
        self.manager.ask_service()

    @rule(answers=st.booleans())
    def the_service_goes_or_comes(self, answers: bool) -> None:
        self.host.service_answers = answers

    # -- people --

    @rule(
        to=st.sampled_from(QUEUES),
        timeout=st.sampled_from([None, 60.0, 7200.0]),
        uid=st.sampled_from([None, 1001, 1002]),
        priority=st.sampled_from(Priority),
        follows=st.booleans(),
        retry_lost=st.sampled_from([0, 0, 1]),
        out=st.sampled_from([(), (), ("results",)]),
        image=st.sampled_from([None, None, *IMAGES]),
    )
    def a_job_comes(
        self,
        to: str,
        timeout: float | None,
        uid: int | None,
        priority: Priority,
        follows: bool,
        retry_lost: int,
        out: tuple[str, ...],
        image: str | None,
    ) -> None:
        how = {"uid": uid, "priority": priority, "follows": follows, "retry_lost": retry_lost}
        self.manager.submit(to, timeout, out=out, image=image, **how)  # type: ignore[arg-type]

    @rule(
        there=st.sets(st.sampled_from(IMAGES)),
        broken=st.sets(st.sampled_from(IMAGES)),
        seen=st.booleans(),
    )
    def images_come_and_go(self, there: set[str], broken: set[str], seen: bool) -> None:
        self.host.images, self.host.broken = there, broken
        if seen:
            self.manager.desired = with_images(self.manager.desired, there, IMAGES)

    @rule(
        to=st.sampled_from(QUEUES),
        fate=st.sampled_from([Fate.DONE, Fate.LOST, Fate.FAILED, None]),
        then=st.sampled_from(["nothing", "crash", "done and crash", "late"]),
    )
    def a_gate_is_opened(self, to: str, fate: Fate | None, then: str) -> None:
        self.manager.submit(to)
        self.manager.turn()
        opens = [
            subject for subject, action in self.manager.flight.items() if isinstance(action, Open)
        ]
        for subject in opens if fate is not None else ():
            self.manager.finish(subject, fate or Fate.DONE)
        if then.endswith("crash"):
            self.manager.crash(opens if then.startswith("done") else ())
        if then == "late":
            self.host.now += 190.0
        if then != "nothing":
            self.manager.turn()
            self.host.now += 3.0
            self.manager.turn()

    @rule(at=ANY, seconds=st.sampled_from([0.0, 60.0, 400.0]))
    def a_job_is_to_be_held(self, at: int, seconds: float) -> None:
        jobs = list(self.manager.memory.jobs)
        if jobs:
            self.manager.hold(jobs[at % len(jobs)], seconds)

    @rule(to=st.sampled_from(("g", "m")), dies=st.booleans())
    def a_job_fails_and_is_held_while_the_next_one_waits(self, to: str, dies: bool) -> None:
        self.manager.submit(to)
        for _ in range(2):
            self.a_good_while()
        for box in list(self.host.boxes.values()):
            if box.running and box.pool == to:
                self.host.ends(box.generation, 1)
        if dies:
            self.manager.crash(())
        self.manager.submit(to)
        self.a_good_while()

    @rule(at=ANY, seconds=st.sampled_from([None, 100.0, 1000.0]))
    def a_hold_is_extended_or_given_up(self, at: int, seconds: float | None) -> None:
        held = [one.generation for one in self.manager.memory.agents.values() if one.is_held]
        if held and seconds is not None:
            self.manager.extend(held[at % len(held)], seconds)
        elif held:
            self.manager.give_up(held[at % len(held)])

    @rule(at=ANY)
    def a_job_is_cancelled(self, at: int) -> None:
        jobs = list(self.manager.memory.jobs)
        if jobs:
            self.manager.cancel(jobs[at % len(jobs)])

    @rule(
        slot=st.sampled_from(SLOTS),
        drain=st.booleans(),
        until=st.sampled_from([None, 10.0, 5000.0]),
    )
    def a_slot_is_cordoned(self, slot: SlotName, drain: bool, until: float | None) -> None:
        end = self.host.now + until if until is not None else None
        self.manager.cordon(slot, end, drain=drain)

    @rule(slot=st.sampled_from(SLOTS))
    def a_slot_is_uncordoned(self, slot: SlotName) -> None:
        self.manager.uncordon(slot)

    @rule(slot=st.sampled_from(SLOTS))
    def a_slot_is_released(self, slot: SlotName) -> None:
        self.manager.release(slot)

    @rule(at=ANY)
    def an_agent_is_forced_to_end(self, at: int) -> None:
        agents = list(self.manager.memory.agents)
        if agents:
            self.manager.doom(agents[at % len(agents)], DoomReason.FORCED)

    @rule(variant=st.integers(0, len(VARIANTS) - 1), held=st.sampled_from([None, "a-0", "g-1"]))
    def the_configuration_changes(self, variant: int, held: str | None) -> None:
        obstacles = {SlotName(held): "the GPU is ill"} if held is not None else {}
        wanted = Desired(VARIANTS[variant].slots, obstacles)
        self.manager.desired = with_images(wanted, self.host.images, IMAGES)

    @rule(turns=st.integers(1, 3))
    def a_person_pauses_for_a_while(self, turns: int) -> None:
        self.manager.pause()
        for _ in range(turns):
            self.manager.turn()
            for subject in list(self.manager.flight):
                self.manager.finish(subject)
        self.manager.resume()

    # -- always --

    def _decide(self, world: World, memory: Memory) -> Plan:
        manager = self.manager
        return decide(
            manager.desired,
            world,
            memory,
            manager.now,
            run_id=manager.run_id,
            mint=manager.mint,
            in_flight=manager.in_flight,
        )

    @invariant()
    def who_is_frozen_is_known_to_be(self) -> None:
        for generation, box in self.host.boxes.items():
            if box.state is ContainerState.PAUSED and generation in self.manager.memory.agents:
                assert self.manager.memory.agents[generation].throttled is not None

    @invariant()
    def what_is_unknown_or_paused_is_left_alone(self) -> None:
        memory = self.manager.memory
        assert self._decide(World(None), memory).empty
        paused = replace(memory, pause=Pause(self.host.now, "ann"))
        world = self.manager.look()
        plan = self._decide(world, paused)
        assert all(isinstance(action, Thaw) for action in plan.actions)
        assert not plan.facts
        unseen = notice(memory, World(None), self.host.now, judge, self.manager.in_flight)
        assert not any(isinstance(fact, AgentExited | JobEnded) for fact in unseen)

    @invariant()
    def the_same_arguments_give_the_same_plan(self) -> None:
        world, memory = self.manager.look(), self.manager.memory
        assert self._decide(world, memory) == self._decide(world, memory)
        assert self.manager.foreseen() == self.manager.foreseen()

    @invariant()
    def the_journal_gives_the_memory_again_however_it_is_cut(self) -> None:
        journal = self.manager.journal
        half = len(journal) // 2
        assert apply(apply(Memory(), journal[:half]), journal[half:]) == self.manager.memory

    # -- in the end all is well --

    def teardown(self) -> None:
        heal(self.manager)
        converged(self.manager)
        accounted(self.manager)


def heal(manager: Manager) -> None:
    """Nothing fails any more, and all jobs that run end."""
    host = manager.host
    host.slow, host.service_answers, host.gateway = False, True, ""
    host.progress()
    host.images, host.broken = set(IMAGES), set()
    manager.desired = with_images(VARIANTS[0], IMAGES)
    for subject in list(manager.flight):
        manager.finish(subject)
    manager.resume()  # what a person said may not have got to the disk
    for generation in manager.memory.agents:
        manager.give_up(generation)
    for slot in SLOTS:
        manager.uncordon(slot)
        manager.release(slot)
    for _ in range(40):
        manager.pass_time(700.0)
        for box in list(host.boxes.values()):
            if box.running and (box.queue or box.working):
                host.ends(box.generation, 0)
        if not manager.memory.jobs:
            break
    for generation in manager.memory.agents:
        manager.give_up(generation)  # a job that has ended meanwhile may be held for its owner
    manager.pass_time(1000.0)


def converged(manager: Manager) -> None:
    """Every slot has what it wants, and there is nothing else."""
    host, memory = manager.host, manager.memory
    assert manager.turn().empty
    assert not memory.booked
    wanted = 0
    for spec in manager.desired.slots:
        phases = manager.phases(spec.name)
        assert phases[0] == "idle", (spec.name, phases)
        assert host.boxes[manager.own(spec.name)].name == spec.name
        expected = 2 if not spec.embedded else 1
        wanted += len(phases)
        assert len(phases) <= 2
        assert len(phases) >= expected
    assert set(host.boxes) == set(memory.agents) == set(host.witnesses)
    assert all(box.state is ContainerState.RUNNING for box in host.boxes.values())
    assert all(agent.throttled is None for agent in memory.agents.values())
    assert len(host.boxes) == wanted
    assert host.belongings.keys() <= {name for name, box in host.boxes.items() if box.running}
    assert set(host.doors) == {name for name, box in host.boxes.items() if box.door}
    # A sandbox for each agent of a slot that keeps some, one more at most, and none beside.
    kept = Counter(holder.slot for holder in host.holders.values())
    assert set(kept) == {spec.name for spec in manager.desired.slots if spec.sandboxed}
    assert all(number <= 2 for number in kept.values())
    slots = {holder.id: holder.slot for holder in host.holders.values()}
    joined = [box.sandbox for box in host.boxes.values() if box.sandbox is not None]
    assert len(set(joined)) == len(joined)
    for box in host.boxes.values():
        assert (slots[box.sandbox] if box.sandbox else None) == (
            box.slot if box.slot in kept else None
        )
    for agent in memory.agents.values():
        spec = next(spec for spec in manager.desired.slots if spec.name == agent.slot)
        assert agent.fingerprint == spec.fingerprint
    # No registration without an agent that stands for it.
    assert {entry.generation for entry in host.entries.values()} == {
        agent.generation for agent in memory.agents.values() if agent.enrolled is not None
    }


def accounted(manager: Manager) -> None:
    """Every job that was submitted ended once, and its account is true."""
    host = manager.host
    submitted = [fact.job.id for fact in manager.journal if isinstance(fact, JobSubmitted)]
    ends = {fact.job: fact for fact in manager.journal if isinstance(fact, JobEnded)}
    assert sorted(submitted) == sorted(ends)
    for job, end in ends.items():
        assert (end.state is JobState.SUCCEEDED) == (end.cause is None)
        if end.cause is Cause.AFTER:
            assert job not in host.runs
        if end.cause is Cause.NEVER_STARTED and not host.again.get(job):
            assert job not in host.runs
        if end.state is JobState.SUCCEEDED:
            assert host.codes[job] == 0
        elif end.cause is Cause.EXIT:
            assert host.codes[job] != 0
        elif end.state is not JobState.CANCELLED and end.cause is not Cause.NEVER_STARTED:
            assert job in host.runs


Chaos.TestCase.settings = settings(max_examples=30, stateful_step_count=DAY, deadline=None)
# `make soak` has thousands of days. Ten seconds of a processor of one's own, and minutes where many share it.
TestWhateverFails = pytest.mark.timeout(600)(Chaos.TestCase)
