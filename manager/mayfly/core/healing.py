"""Healing: when a sick GPU is reset, what has to be ended before, and when it is back in service.

Pure: it says what is to be recorded and done; who resets is told by a request once that is on disk, and what
came of it is a stimulus. A GPU is reset at most once an hour, and never while anything uses it or a GPU that
has to be reset with it: docs/adr/0046-heal.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mayfly.core.facts import (
    AgentDoomed,
    Fact,
    GpuHealed,
    GpuHealing,
    GpuReset,
    GpuResetting,
    SlotHeld,
    SlotReleased,
)
from mayfly.core.gpu_health import ForeignContainer, Reading, foreign_containers_on_lease, physical
from mayfly.core.gpus import Gpus
from mayfly.core.held_jobs import OPERATORS
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Heal, Memory
from mayfly.core.model import (
    ContainerId,
    Desired,
    DoomReason,
    GpuVerdict,
    Hold,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.quantities import spoken_age
from mayfly.core.reservations import clock
from mayfly.core.slots import within

ONCE_IN = 3600.0  # seconds from one reset of a GPU to the next
DRAIN = 600.0  # seconds that what waits with the GPU has to be gone
GIVE_UP = 600.0  # seconds after which nobody waits for a reset any more
PROOF = 60.0  # seconds that a GPU has to be seen to be well after its reset
FIRST_AGENT = 300.0  # seconds in which an agent has to see it then
ALONE_FROM = (8, 0)  # compute capability from which on a GPU with NVLink is reset by itself
TO_BE_RESET = "its GPU is to be reset"
IN_THE_DARK = "see `nvidia-smi` and dmesg, then `mayfly retry`"


@dataclass(frozen=True, slots=True)
class ResetOutcome:
    """What came of a reset."""

    failure: str | None = None  # a sentence: what was tried, what it said, what to do
    untouched: bool = False  # nothing was changed
    detail: str = ""  # what is worth knowing of one that went well


@dataclass(frozen=True, slots=True)
class HealPlan:
    """What a reset of a GPU would take."""

    gpu: str
    together: tuple[str, ...]  # GPUs that have to be reset with it
    devices: tuple[str, ...]  # all of these, with their MIG devices
    mig: tuple[str, ...]  # profiles of those
    slots: tuple[SlotName, ...]  # that are sick of it
    reason: str
    stops: tuple[Agent, ...]  # that wait with it, without a job
    refusals: tuple[str, ...]  # why it is not to be; none: it may


@dataclass(frozen=True, slots=True)
class Scene:
    """What healing is decided by."""

    desired: Desired
    world: World
    memory: Memory
    gpus: Gpus
    foreign: tuple[ForeignContainer, ...]
    now: float

    @property
    def known(self) -> Sequence[Gpu]:
        """The GPUs of the host."""
        return self.gpus.known or ()

    def on(self, devices: Iterable[str]) -> list[SlotSpec]:
        """The slots that may have any of these devices."""
        wanted = frozenset(devices)
        return [spec for spec in self.desired.slots if wanted.intersection(spec.lease)]

    def agents_on(self, devices: Iterable[str]) -> list[Agent]:
        """Who has any of these devices, the ended included as long as something of them may be there."""
        wanted, containers = frozenset(devices), self.world.containers or {}
        return [
            agent
            for agent in self.memory.agents.values()
            if wanted.intersection(agent.lease)
            and (
                not agent.settled
                or agent.owes
                or agent.hold is not None
                or agent.generation in containers
            )
        ]


@dataclass(frozen=True, slots=True)
class Healing:
    """What follows now."""

    facts: tuple[Fact, ...] = ()
    resetting: frozenset[str] = frozenset()  # devices that nobody may have
    wake: float | None = None  # None: no time is due
    # Why GPUs that are to be reset are not yet, by UUID.
    waits: Mapping[str, str] = field(default_factory=dict)

    def shown(self, gpus: Gpus, world: World) -> tuple[Gpus, World]:
        """What is known of GPUs and of the world, with this."""
        return replace(gpus, waits=self.waits), replace(world, resetting=self.resetting)


# -- what it would take ------------------------------------------------------------------------


def linked(gpu: Gpu, known: Sequence[Gpu]) -> tuple[str, ...]:
    """The GPUs that have to be reset with this one: those at the other ends of its NVLinks, and at theirs.

    From Ampere on a GPU is reset by itself all the same (nvidia-smi(1), --gpu-reset).
    """
    if gpu.capability is not None and gpu.capability >= ALONE_FROM:
        return ()
    found = {gpu.uuid: gpu}
    while True:
        ends = {end for one in found.values() for end in (*one.links, one.bus) if end}
        more = {
            one.uuid: one
            for one in known
            if one.uuid not in found and one.links and ends.intersection((*one.links, one.bus))
        }
        if not more:
            return tuple(uuid for uuid in found if uuid != gpu.uuid)
        found |= more


def plan(scene: Scene, uuid: str, *, by_hand: bool) -> HealPlan | None:
    """What a reset of the GPU would take, or of that which a MIG device is a part of; ``None`` where the host
    has no such GPU.
    """
    whole = physical(uuid, scene.known)
    gpu = next((one for one in scene.known if one.uuid == whole), None)
    if gpu is None:
        return None
    together = linked(gpu, scene.known)
    members = [gpu, *(one for one in scene.known if one.uuid in together)]
    devices = tuple(
        uuid for one in members for uuid in (one.uuid, *(part.uuid for part in one.mig))
    )
    verdicts = scene.world.gpu_verdicts
    sick = [
        spec
        for spec in scene.on(devices)
        if (word := verdicts.get(spec.name)) is not None and _healable(scene, word) == whole
    ]
    reason = next((verdicts[spec.name].sick or "" for spec in sick), "")
    agents = scene.agents_on(devices)
    return HealPlan(
        gpu=whole,
        together=together,
        devices=devices,
        mig=tuple(part.name for one in members for part in one.mig),
        slots=tuple(spec.name for spec in sick),
        reason=reason or "a person wants it reset",
        stops=tuple(agent for agent in agents if has_no_job(agent)),
        refusals=tuple(_refusals(scene, members, devices, agents, by_hand=by_hand)),
    )


def has_no_job(agent: Agent) -> bool:
    """Whether it waits for a job, at its gate or at its service."""
    if agent.settled:
        return False
    if agent.committed is None:
        return True
    return not agent.embedded and agent.opened is not None and not agent.busy


def _refusals(
    scene: Scene,
    members: Sequence[Gpu],
    devices: Sequence[str],
    agents: Sequence[Agent],
    *,
    by_hand: bool,
) -> Iterator[str]:
    specs = scene.on(devices)
    unsaid = [spec.pool.name for spec in specs if spec.pool.heal != "reset"]
    if unsaid and not by_hand:
        yield f'pool {unsaid[0]}, which has it too, does not say heal = "reset"'
    if any(not spec.engine.on_this_host for spec in specs):
        yield "its engine is not on this host"
    yield from _too_soon(scene, members)
    yield from (
        f"{uuid} is reserved by {one.owner} until {clock(one.ends)}"
        for uuid, one in scene.memory.reserved.items()
        if uuid in devices
    )
    reading = scene.gpus.reading
    if reading is None or reading.problem is not None:
        yield "NVML does not say what uses it"
        return
    yield from _processes(scene, reading, devices)
    for uuid, foreign in foreign_containers_on_lease(devices, scene.known, scene.foreign):
        yield f"container {foreign.name}, which is not Mayfly's, was given {uuid}: end it"
    yield from (why for agent in agents if (why := _at_work(agent)) is not None)
    yield from (
        f"{one.uuid}, which has to be reset with {members[0].uuid}, does not answer"
        for one in members[1:]
        if one.uuid not in reading.vitals
    )


def _too_soon(scene: Scene, members: Sequence[Gpu]) -> Iterator[str]:
    known = {one.uuid for one in members}
    for heal in scene.memory.heals.values():
        if not known.intersection((heal.gpu, *heal.together)):
            continue
        if heal.ended is None:
            yield f"{heal.gpu} is being healed already"
        elif heal.began is not None and within(scene.now, heal.began, ONCE_IN):
            ago, left = scene.now - heal.began, heal.began + ONCE_IN - scene.now
            yield (
                f"{heal.gpu} was reset {spoken_age(ago)} ago, and is not again for {spoken_age(left)}: "
                "what one reset does not mend a second does not either"
            )


def _processes(scene: Scene, reading: Reading, devices: Sequence[str]) -> Iterator[str]:
    told: set[int] = set()
    for uuid in devices:
        vitals = reading.vitals.get(uuid)
        for process in vitals.processes if vitals is not None else ():
            if process.gone or process.pid in told or _is_agents(scene, process.container):
                continue
            told.add(process.pid)
            yield f"{process.named} computes on {uuid}: end it"


def _is_agents(scene: Scene, container: ContainerId | None) -> bool:
    """Whether an agent has it that is not over: what it does is told of the agent."""
    return container is not None and any(
        agent.container == container and (not agent.settled or agent.hold is not None)
        for agent in scene.memory.agents.values()
    )


def _at_work(agent: Agent) -> str | None:
    """Why an agent is in the way that cannot be ended; ``None`` where it is not, or can be."""
    if agent.settled:
        if agent.hold is not None:
            whom = agent.hold.user or OPERATORS
            return f"slot {agent.slot} is held for {whom}: mayfly release {agent.slot}"
        return f"slot {agent.slot} still has an ended agent's container" if agent.owes else None
    if has_no_job(agent):
        return None
    return f"slot {agent.slot} has a job, which is not ended for it"


# -- what follows ------------------------------------------------------------------------------


def heal(scene: Scene, run_id: str) -> Healing:
    """What is to be recorded now of GPUs that are to be reset, are being, or were."""
    facts: list[Fact] = []
    wakes: list[float] = []
    resetting: set[str] = set()
    waits: dict[str, str] = {}
    for one in scene.memory.heals.values():
        if one.ended is not None:
            continue
        if one.resets:
            resetting.update(one.devices)
        new, due = _go_on(scene, one, run_id)
        facts += new
        wakes += [due] if due is not None else []
    seen = scene.world.containers is not None and scene.memory.pause is None
    if seen and not any(one.resets for one in scene.memory.heals.values()):
        begun, waits, due = _begun(scene)
        facts += begun
        wakes += [due] if due is not None else []
        resetting.update(uuid for fact in begun for uuid in fact.devices)
    return Healing(tuple(facts), frozenset(resetting), min(wakes, default=None), waits)


def _begun(scene: Scene) -> tuple[list[GpuHealing], dict[str, str], float | None]:
    """The next GPU that is to be reset, one at a time; why others are not; and when to look again."""
    waits: dict[str, str] = {}
    dues: list[float] = []
    for uuid in dict.fromkeys(_wanted(scene)):
        found = plan(scene, uuid, by_hand=False)
        if found is None:
            continue
        if not found.refusals:
            return [healing(found, scene.now, None)], waits, None
        waits[uuid] = found.refusals[0]
        last = scene.memory.heals.get(uuid)
        if last is not None and last.began is not None:
            dues.append(last.began + ONCE_IN)
    return [], waits, min((due for due in dues if due > scene.now), default=None)


def _wanted(scene: Scene) -> Iterable[str]:
    """The GPUs that a reset may mend, and whose pool wants that."""
    failures = {one.failure for one in scene.memory.heals.values() if one.failure is not None}
    for spec in scene.desired.slots:
        word = scene.world.gpu_verdicts.get(spec.name)
        uuid = _healable(scene, word) if word is not None else None
        if spec.pool.heal != "reset" or uuid is None:
            continue
        if scene.memory.slot(spec.name).held not in failures:
            yield uuid


def sick_gpus(scene: Scene) -> list[str]:
    """The GPUs of which a reset may mend what they are sick of, each once."""
    words = (scene.world.gpu_verdicts.get(spec.name) for spec in scene.desired.slots)
    found = (_healable(scene, word) for word in words if word is not None)
    return list(dict.fromkeys(uuid for uuid in found if uuid is not None))


def _healable(scene: Scene, word: GpuVerdict) -> str | None:
    """The GPU that a reset may mend; ``None`` where none would help."""
    if word.sick is None or not word.healable or word.device is None:
        return None
    return physical(word.device, scene.known)


def healing(found: HealPlan, now: float, by: str | None) -> GpuHealing:
    """That the plan is to be carried out."""
    return GpuHealing(
        at=now,
        gpu=found.gpu,
        reason=found.reason,
        together=found.together,
        devices=found.devices,
        mig=found.mig,
        slots=found.slots,
        by=by,
    )


def _go_on(scene: Scene, one: Heal, run_id: str) -> tuple[list[Fact], float | None]:
    """The next step of a heal under way, and when to look again."""
    now = scene.now
    if one.reset is not None:
        return _proved(scene, one)
    if one.began is None:
        return _drained(scene, one, run_id)
    if one.run_id != run_id:
        failure = (
            f"Mayfly ended while it reset {one.gpu}, and does not know whether the reset was made"
            f"{_split(one)}: {IN_THE_DARK}"
        )
        return failed(scene, one, ResetOutcome(failure)), None
    if not within(now, one.began, GIVE_UP):
        failure = (
            f"the reset of {one.gpu} has not come to an end in {GIVE_UP:.0f} s, and nobody knows whether it "
            f"was made{_split(one)}: {IN_THE_DARK}"
        )
        return failed(scene, one, ResetOutcome(failure)), None
    return [], one.began + GIVE_UP


def _split(one: Heal) -> str:
    return f" (its MIG devices were {', '.join(one.mig)})" if one.mig else ""


def _drained(scene: Scene, one: Heal, run_id: str) -> tuple[list[Fact], float | None]:
    """End what waits with it; begin the reset once nothing of it is left."""
    if scene.memory.pause is not None:  # for longer, maybe, than agents have to end
        hint = f"`mayfly resume`, then `mayfly gpus heal {one.gpu}`"
        text = f"{one.gpu} was not reset: Mayfly is paused: {hint}"
        return _given_up(scene, one, ResetOutcome(text, untouched=True)), None
    if scene.world.containers is None:
        return [], None
    left = scene.agents_on(one.devices)
    others = Memory(
        agents=scene.memory.agents,
        slots=scene.memory.slots,
        heals={gpu: heal for gpu, heal in scene.memory.heals.items() if gpu != one.gpu},
    )
    known = Scene(scene.desired, scene.world, others, scene.gpus, scene.foreign, scene.now)
    found = plan(known, one.gpu, by_hand=one.by is not None)
    refusals = found.refusals if found is not None else ("it is not there any more",)
    if refusals:
        outcome = ResetOutcome(f"{one.gpu} was not reset: {refusals[0]}", untouched=True)
        return _given_up(scene, one, outcome), None
    if one.by is None and _is_well_again(scene, one):
        outcome = ResetOutcome(f"{one.gpu} was not reset: it is well again", untouched=True)
        return _given_up(scene, one, outcome), None
    if not left:
        return [GpuResetting(scene.now, one.gpu, run_id)], None
    if not within(scene.now, one.asked, DRAIN):
        text = (
            f"{one.gpu} was not reset: the agent of slot {left[0].slot} does not end: "
            f"`mayfly describe {left[0].slot}`, then `mayfly gpus heal {one.gpu}`"
        )
        return failed(scene, one, ResetOutcome(text, untouched=True)), None
    # Who stands at a gate is ended where its slot is kept; who waits at a service is ended here.
    return [
        AgentDoomed(scene.now, agent.generation, DoomReason.UNWANTED, detail=TO_BE_RESET)
        for agent in left
        if has_no_job(agent) and agent.doom is None
    ], one.asked + DRAIN


def _is_well_again(scene: Scene, one: Heal) -> bool:
    """Whether what it was to mend has ended by itself: whoever has it may have a job, as NVML says now."""
    words = [scene.world.gpu_verdicts.get(spec.name) for spec in scene.on(one.devices)]
    return bool(words) and all(word is not None and word.fit for word in words)


def _given_up(scene: Scene, one: Heal, outcome: ResetOutcome) -> list[Fact]:
    """It was not begun, since somebody uses it: its slots stay as they are, and it is tried again."""
    return [_healed(scene.now, one, outcome)]


def after_reset(scene: Scene, gpu: str, outcome: ResetOutcome) -> tuple[Fact, ...]:
    """What is to be recorded once a reset has come to an end; nothing where nobody waits for it any more."""
    one = scene.memory.heals.get(gpu)
    if one is None or one.began is None or not one.resets:
        return ()
    if outcome.failure is not None:
        return tuple(failed(scene, one, outcome))
    return (GpuReset(scene.now, gpu, one.devices, outcome.detail),)


def failed(scene: Scene, one: Heal, outcome: ResetOutcome) -> list[Fact]:
    """The end of a heal that did not mend the GPU: what was to be mended is held for a person."""
    facts: list[Fact] = [_healed(scene.now, one, outcome)]
    slots = one.slots if outcome.untouched else [spec.name for spec in scene.on(one.devices)]
    facts += [
        SlotHeld(scene.now, slot, outcome.failure or "", Hold.PERSON)
        for slot in dict.fromkeys((*one.slots, *slots))
    ]
    return facts


def _healed(now: float, one: Heal, outcome: ResetOutcome) -> GpuHealed:
    return GpuHealed(
        at=now,
        gpu=one.gpu,
        reason=one.reason,
        seconds=round(now - one.asked, 1),
        failure=outcome.failure,
        untouched=outcome.untouched,
        detail=outcome.detail,
    )


def _proved(scene: Scene, one: Heal) -> tuple[list[Fact], float | None]:
    """Whether it is well after its reset: NVML says so, and the first agent on it sees it."""
    assert one.reset is not None
    if scene.world.containers is None:
        return [], None
    now, reading = scene.now, scene.gpus.reading
    fit = _is_fit(scene, one, reading)
    if fit is not None:
        if within(now, one.reset, PROOF):
            return [], one.reset + PROOF
        sentence = f"{one.gpu} was reset for this: {one.reason}; it is not well after it: {fit}{_split(one)}"
        return failed(scene, one, ResetOutcome(f"{sentence}: replace it, or {IN_THE_DARK}")), None
    specs = scene.on(_current(scene, one))
    released: list[Fact] = [
        SlotReleased(now, spec.name)
        for spec in specs
        if _held_for(scene.memory.slot(spec.name).held, one)
    ]
    if released:
        return released, None
    agents = [
        agent
        for agent in scene.memory.agents.values()
        if agent.slot in {spec.name for spec in specs} and agent.born >= one.reset
    ]
    seen = any(
        (probe := scene.world.probes.get(agent.generation)) is not None and probe.sees
        for agent in agents
    )
    if seen or any(agent.committed is not None for agent in agents) or not _may_see(scene, specs):
        return [_healed(now, one, ResetOutcome(detail=_told(scene, one, seen=seen)))], None
    if within(now, one.reset, FIRST_AGENT):
        return [], one.reset + FIRST_AGENT
    text = f"{one.gpu} was reset for this: {one.reason}; no agent has seen it since"
    return failed(scene, one, ResetOutcome(f"{text}: {IN_THE_DARK}")), None


def _all_of(gpu: Gpu) -> tuple[str, ...]:
    return (gpu.uuid, *(part.uuid for part in gpu.mig))


def _held_for(held: str | None, one: Heal) -> bool:
    """Whether a slot is held for one of the devices that were reset."""
    return held is not None and any(uuid in held for uuid in one.devices)


def _is_fit(scene: Scene, one: Heal, reading: Reading | None) -> str | None:
    """What speaks against it now; ``None`` where nothing does."""
    if reading is None or reading.began < (one.reset or 0.0):
        return "NVML has not answered since"
    if reading.problem is not None:
        return reading.problem
    for uuid in (one.gpu, *one.together):
        vitals = reading.vitals.get(uuid)
        if vitals is None:
            return f"{uuid} is not there any more"
        if vitals.problem is not None:
            return vitals.problem
    parts = sorted(
        part.name for gpu in scene.known if gpu.uuid in (one.gpu, *one.together) for part in gpu.mig
    )
    if parts != sorted(one.mig):
        return f"its MIG devices are {', '.join(parts) or 'none'}"
    for spec in scene.on(_current(scene, one)):
        word = scene.world.gpu_verdicts.get(spec.name)
        if word is not None and not word.fit:
            return word.sick or word.text
    return None


def _current(scene: Scene, one: Heal) -> list[str]:
    """The devices as they are now: MIG devices may have other UUIDs after a reset."""
    members = (one.gpu, *one.together)
    return [uuid for gpu in scene.known if gpu.uuid in members for uuid in _all_of(gpu)]


def _may_see(scene: Scene, specs: Sequence[SlotSpec]) -> bool:
    """Whether any slot gets an agent that would see it."""
    desired = scene.desired
    return scene.memory.pause is None and any(
        scene.memory.slot(spec.name).cordon is None
        and scene.memory.slot(spec.name).held is None
        and spec.name not in desired.obstacles
        and spec.name not in desired.undetermined
        for spec in specs
    )


def _told(scene: Scene, one: Heal, *, seen: bool) -> str:
    parts = [uuid for uuid in _current(scene, one) if uuid.startswith("MIG-")]
    before = [uuid for uuid in one.devices if uuid.startswith("MIG-")]
    words = ["NVML and an agent have seen it" if seen else "NVML has seen it"]
    if parts and parts != before:
        words.append(f"its MIG devices have new UUIDs: {', '.join(parts)}")
    return "; ".join(words)
