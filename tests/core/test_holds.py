"""A hold lets go by itself: whatever holds a slot, it is said while it lasts, and nobody has to say retry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mayfly.core.actions import Prepare
from mayfly.core.facts import AgentCreated, SlotHeld, SlotReleased
from mayfly.core.gpus import Gpus
from mayfly.core.model import Desired, GpuVerdict, Phase, SlotName, World
from mayfly.core.slots import CLOCK_SLACK, TRIAL_MOST, SlotStatus, status_of
from tests.core.simulator import REFUSED, Fate, FitGpus, Host, Manager, desire, pool, specs

SECONDS = st.floats(1.0, 5000.0)


@dataclass(frozen=True, slots=True)
class Ill(FitGpus):
    """GPUs that are all lost for the moment."""

    def judged(
        self, desired: Desired, memory: object, world: World, now: float
    ) -> tuple[Gpus, World]:
        verdicts = {
            spec.name: GpuVerdict(sick="GPU-a is not there any more", returns=True)
            for spec in desired.slots
            if spec.lease
        }
        return self, replace(world, gpu_verdicts=verdicts)


@dataclass
class Moody(Manager):
    """A manager whose Engine ``refuses`` to make agents, whose service ``denies`` them, or whose GPUs are
    ``ill``.
    """

    refuses: bool = field(default=False, kw_only=True)
    denies: bool = field(default=False, kw_only=True)
    ill: bool = field(default=False, kw_only=True)

    def gpus(self) -> Gpus:
        return Ill() if self.ill else FitGpus()

    def finish(self, subject: str, fate: Fate = Fate.DONE) -> None:
        refused = self.refuses and isinstance(self.flight[subject], Prepare)
        super().finish(subject, Fate.LASTING if refused else fate)
        for generation, box in list(self.host.boxes.items()):
            if self.denies and box.running and not box.queue and not box.working:
                self.host.ends(generation, REFUSED)

    def row(self, slot: SlotName) -> SlotStatus:
        spec = next(spec for spec in self.desired.slots if spec.name == slot)
        return status_of(spec, self.desired, self.memory, self.tenancy(slot), self.now)


def _refuses(manager: Moody, on: bool) -> None:
    manager.refuses = on


def _denies(manager: Moody, on: bool) -> None:
    manager.denies = on


def _ill(manager: Moody, on: bool) -> None:
    manager.ill = on


def _missing(manager: Moody, on: bool) -> None:
    gone = {spec.name: "the dataset is not there" for spec in manager.desired.slots} if on else {}
    manager.desired = Desired(manager.desired.slots, gone)


LOCAL, SERVICE, LEASED = (
    specs(pool("a", 2)),
    specs(pool("service", 2, provider="azure")),
    specs(pool("g", 2), leases=(("G0",), ("G1",))),
)
KINDS: dict[str, tuple[tuple[object, ...], Callable[[Moody, bool], None], str]] = {
    "the Engine refuses to make agents": (LOCAL, _refuses, "it failed"),
    "the service refuses agents": (SERVICE, _denies, "takes no such agent"),
    "the GPUs are gone": (LEASED, _ill, "not there any more"),
    "what agents mount is gone": (LOCAL, _missing, "the dataset is not there"),
}


@pytest.mark.parametrize("kind", KINDS)
@example(before=3000.0, lasts=1000.0)
@settings(max_examples=4)
@given(before=SECONDS, lasts=SECONDS)
def test_what_held_a_slot_goes_and_the_slot_is_filled_without_a_person(
    kind: str, before: float, lasts: float
) -> None:
    goes_and_the_slot_is_filled(kind, before, lasts)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50)
@given(before=SECONDS, lasts=SECONDS)
def test_what_held_a_slot_goes_whenever_it_came_and_however_long_it_lasted(
    kind: str, before: float, lasts: float
) -> None:
    goes_and_the_slot_is_filled(kind, before, lasts)


def goes_and_the_slot_is_filled(kind: str, before: float, lasts: float) -> None:
    """Something that holds slots comes after so many seconds, and lasts so many."""
    group, turn, says = KINDS[kind]
    manager = Moody(Host(), desire(group))  # type: ignore[arg-type]
    slots = [spec.name for spec in manager.desired.slots]
    if before > 2500:  # trouble that is there from the start
        turn(manager, True)
        manager.pass_time(before)
    else:
        manager.pass_time(before)
        turn(manager, True)
        for slot in slots:  # whoever stands ready goes
            for agent in manager.tenancy(slot).agents:
                if agent.generation in manager.host.boxes:
                    manager.host.dies(agent.generation)
        manager.pass_time(TRIAL_MOST)
    made = len([fact for fact in manager.journal if isinstance(fact, AgentCreated)])
    manager.pass_time(lasts)
    for slot in slots:
        row = manager.row(slot)
        assert (row.phase, says in row.note) == (Phase.HELD, True)
    tried = [fact for fact in manager.journal if isinstance(fact, AgentCreated)][made:]
    assert len(tried) <= len(slots) * (5 + lasts / 150), "refused agents are tried too often"
    turn(manager, False)
    manager.pass_time(TRIAL_MOST + CLOCK_SLACK)
    for slot in slots:
        assert manager.phases(slot) in (["idle"], ["idle", "armed"]), manager.row(slot)
        assert manager.memory.slot(slot).held is None
    releases = [fact for fact in manager.journal if isinstance(fact, SlotReleased)]
    assert all(fact.by is None for fact in releases)


def test_one_that_would_be_made_otherwise_now_is_tried_at_once() -> None:
    manager = Moody(Host(), desire(LOCAL), refuses=True)
    manager.pass_time(3000)
    assert manager.row(SlotName("a-0")).phase is Phase.HELD
    manager.refuses = False
    manager.desired = desire(specs(pool("a", 2), fingerprint="f2"))
    manager.run()
    assert manager.phases("a-0") == ["idle"]


def test_a_held_slot_is_shown_as_held_while_an_agent_is_tried() -> None:
    manager = Moody(Host(), desire(LOCAL), refuses=True)
    manager.pass_time(29)
    manager.host.now += 5
    manager.turn()
    assert manager.flight, "agents are being made"
    row = manager.row(SlotName("a-0"))
    assert (row.phase, row.note) == (Phase.HELD, "it failed")


def test_a_gpu_that_only_a_person_can_judge_stays_held() -> None:
    manager = Moody(Host(), desire(LEASED))
    manager.run()
    slot = SlotName("g-0")
    manager.record([SlotHeld(manager.now, slot, "XID 79")])
    manager.pass_time(4000)
    assert manager.memory.slot(slot).held == "XID 79"
