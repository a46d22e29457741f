"""Whether an agent's gate may be opened now, and for what; until then, and after, its name.

No gate is opened while an earlier agent may still be at work in the slot, or any other on the agent's GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mayfly.core import belongings, bench_lane, mounts, naming
from mayfly.core.actions import Enrol, Open, Rename
from mayfly.core.allocations import fits
from mayfly.core.booking import book
from mayfly.core.ending import registered_at_service
from mayfly.core.facts import GateOpening
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import (
    Container,
    ContainerState,
    Generation,
    PoolName,
    SlotSpec,
    World,
)
from mayfly.core.plan import STAY, Act, Stay, Verdict, View
from mayfly.core.queue import Queue
from mayfly.core.reserving import job_of
from mayfly.core.slots import Tenancy, cooling, still_ending, trial_due, within
from mayfly.core.unseen_ends import on_its_gpus

# seconds at work after which an agent gets its slot's name, if it has not got it yet
RENAME_AFTER = 5.0
Leased = Mapping[str, Sequence[Agent]]  # who may be at work on each GPU
EVERY_GATE: Mapping[PoolName, int] = MappingProxyType({})


def use(
    view: View,
    leased: Leased,
    queue: Queue,
    spec: SlotSpec,
    agent: Agent,
    tenancy: Tenancy,
    gates: Mapping[PoolName, int] = EVERY_GATE,
) -> Verdict:
    """Open the gate of the slot's own agent where there is something for it, else see to its name."""
    if not view.free(agent.generation):
        return STAY
    container = view.containers.get(agent.generation)
    if container is None or not container.live or container.state is ContainerState.PAUSED:
        return STAY  # what somebody paused reads nothing at its gate
    until: float | None = None
    if agent.committed is None and agent.ready is not None:
        shut = why_shut(view, leased, spec, agent, tenancy)
        if shut is None:
            opening = _next_use(view, queue, spec, agent, container, gates)
            if opening is not None and not _mounts_are_known(view, spec):
                return Stay(look_at_mounts=True)
            if opening is not None and _opens(opening) and spec.bench is not None:
                return _measured(view, spec, agent, opening)
            if opening is not None:
                return opening
        else:
            until = shut.until
    return _named(view, spec, agent, container, until)


def _opens(act: Act) -> bool:
    return any(isinstance(action, Open) for action in act.actions)


def _measured(view: View, spec: SlotSpec, agent: Agent, opening: Act) -> Verdict:
    """The gate of a job that is measured: its clocks are locked first."""
    if bench_lane.locked_for(view, spec, agent):
        return opening
    found = bench_lane.locking(view, spec, agent)
    if isinstance(found, tuple):
        lock, fact = found
        return Act((lock,), (fact,))
    return Stay(found)


def _mounts_are_known(view: View, spec: SlotSpec) -> bool:
    """Whether what the agent holds of the host's directories has just been looked at: it may have been made
    long ago.
    """
    seen = view.world.mounts_seen
    return not mounts.paths(spec.pool) or (
        seen is not None and within(view.now, seen, mounts.FRESH)
    )


def _next_use(
    view: View,
    queue: Queue,
    spec: SlotSpec,
    agent: Agent,
    container: Container,
    gates: Mapping[PoolName, int],
) -> Act | None:
    """What an agent whose gate may be opened is used for; ``None`` where nothing waits for it.

    ``gates``: for how many jobs more a pool may have an agent enrolled, where that is bounded.
    """
    if spec.embedded:
        return _next_job(view, queue, spec, agent, container)
    if agent.enrolled is None or agent.enrolled_by_run not in (None, view.run_id):
        # What another run of the manager was given is gone with it: it was never on disk.
        if not view.asks(spec.pool.name, naming.enrolment_of(agent.generation)):
            return None
        if gates.get(spec.pool.name, 1) <= 0:
            return None
        why = "a job waits for it" if spec.pool.name in gates else "its slot is free"
        enrol = Enrol(agent.generation, spec.name, spec.pool.name, why, spec.labels)
        return Act((enrol,))
    return _open(view, spec, agent, container, None)


def _next_job(
    view: View, queue: Queue, spec: SlotSpec, agent: Agent, container: Container
) -> Act | None:
    """The job that the agent's gate is opened for, or that its slot is booked for; no job begins in an agent
    of another image than it asks for. Where the slot cannot be booked for the one that is next, its agent is
    of use to the first behind that which asks for no image.
    """
    if agent.asked_image != spec.asked_image:
        return None
    booking = view.memory.slot(spec.name).booking
    is_reserved, own = job_of(view, spec)
    if is_reserved:
        waiting = own if own is not None and own.image == agent.asked_image else None
    elif booking is not None:
        waiting = view.memory.jobs.get(booking.job)
    else:
        waiting = queue.next(spec.pool.name)
        if waiting is not None and waiting.image is not None:
            booked = book(view, spec, waiting)
            if booked is not None:
                return booked
            waiting = queue.next_of_own_image(spec.pool.name)
    return _open(view, spec, agent, container, waiting) if waiting is not None else None


def _named(
    view: View, spec: SlotSpec, agent: Agent, container: Container, until: float | None
) -> Verdict:
    """Give the agent its slot's name, once it is free and the agent not likely to end in this moment.

    An Engine 20.10 that renames a container while it ends keeps the container's end of its network for good.
    """
    if container.name == spec.name or not spec.engine.renames:
        return Stay(until) if until is not None else STAY
    if spec.name in view.names or not view.free(naming.naming_of(spec.name)):
        return Stay(until)
    if spec.name in view.desired.undetermined:
        return Stay(until)  # whether the engine renames is told with the images
    if agent.committed is not None and agent.opened is None:
        return Stay(until)
    if agent.opened is not None and within(view.now, agent.opened, RENAME_AFTER):
        return Stay(agent.opened + RENAME_AFTER)
    rename = Rename(
        agent.generation, spec.name, container.id, spec.name, "it is the slot's agent now"
    )
    return Act((rename,), until=until)


def why_shut(
    view: View, leased: Leased, spec: SlotSpec, agent: Agent, tenancy: Tenancy
) -> Stay | None:
    """``None`` where the gate may be opened: no earlier agent can still be at work in the slot, nor any other
    on the agent's GPUs, and the gate of their health lets it.
    """
    known = view.memory.slot(spec.name)
    if known.cordon is not None or spec.name in view.desired.undetermined:
        return STAY
    if view.world.resetting.intersection(agent.lease):
        return STAY
    if _is_held(view, spec, tenancy) or not _is_given_its_gpus(view, spec, agent):
        return STAY
    if belongings.in_the_way(view, spec, tenancy) or belongings.gateway_is_missing(view, spec):
        return STAY
    unseen = still_ending(known, spec, view.now)
    if unseen is not None:
        return Stay(unseen)
    elsewhere = on_its_gpus(view.unseen, spec, agent, view.now)
    if elsewhere is not None:
        return Stay(elsewhere.until)
    if known.held is not None and not spec.embedded and not trial_due(known, spec, view.now):
        return Stay(known.trial_at)
    if not spec.embedded and cooling(known, view.now):
        # A standby that stands ready is no reason to try a service again at once.
        return Stay(known.cooling_until or view.now)
    if spec.keeps_entries and any(
        other.committed and registered_at_service(other) for other in tenancy.settled
    ):
        return STAY  # the slot's one entry is the ended agent's until the service has let go of it
    begun = bench_lane.has_begun(view.run_id, view.enrolling, agent)
    if view.lane.is_shut(spec, agent, begun=begun):
        return STAY
    if not agent.lease or _has_its_gpus(view, leased, spec, agent, tenancy):
        return None
    return STAY


def _is_held(view: View, spec: SlotSpec, tenancy: Tenancy) -> bool:
    """Whether a person may be in the container of an earlier job of the slot; for a job that is to have the
    host to itself, of any.
    """
    if any(other.hold is not None for other in tenancy.settled):
        return True
    alone = spec.bench is not None and spec.bench.others_idle
    return alone and any(other.hold is not None for other in view.memory.agents.values())


def _is_given_its_gpus(view: View, spec: SlotSpec, agent: Agent) -> bool:
    """Whether it is the slot's turn on them, or Slurm has given them for as long as a job may last; and none
    is reserved for somebody.
    """
    begun = bench_lane.has_begun(view.run_id, view.enrolling, agent)
    if view.reserved.bars(spec.name, agent.lease, begun=begun):
        return False
    if spec.pool.takes_turns:
        granted = spec.name in view.turns.granted
        return granted or view.reserved.owner_of(spec) is not None
    if not spec.pool.by_slurm:
        return True
    if agent.allocation != spec.allocation or spec.name in view.desired.awaiting:
        return False
    return fits(spec.allocated_until, spec.pool, view.now)


def _has_its_gpus(
    view: View, leased: Leased, spec: SlotSpec, agent: Agent, tenancy: Tenancy
) -> bool:
    """Whether the agent's GPUs are its own, healthy, and what it sees."""
    if any(may_run(view.world, view.containers, other) for other in tenancy.settled):
        return False
    word, probe = view.world.gpu_verdicts.get(spec.name), view.world.probes.get(agent.generation)
    if word is None or not word.fit or probe is None or not probe.sees:
        return False
    if agent.lease != spec.lease:
        return False
    return all(
        spec.pool.name in view.sharing and other.pool in view.sharing
        for uuid in agent.lease
        for other in leased.get(uuid, ())
    )


def _open(view: View, spec: SlotSpec, agent: Agent, container: Container, job: Job | None) -> Act:
    opening = GateOpening(
        view.now,
        agent.generation,
        view.run_id,
        job.id if job is not None else None,
        job.timeout if job is not None else None,
    )
    action = Open(
        agent.generation,
        spec.name,
        spec.pool.name,
        container.id,
        job.id if job is not None else None,
        f"job {job.id} is next" if job is not None else "its enrolment is here",
        container.sandbox,
        brings=job is not None and job.brings,
        uid=job.uid if job is not None else None,
    )
    return Act((action,), (opening,))


def may_run(world: World, containers: Mapping[Generation, Container], agent: Agent) -> bool:
    """Whether a process of it may be left. The kernel's word that none is, or the Engine's that its container
    died, counts at once: before the next look at it.
    """
    container = containers.get(agent.generation)
    told = agent.generation in world.ended or agent.generation in world.deaths
    return container is not None and container.live and not told


def leased(
    memory: Memory, world: World, containers: Mapping[Generation, Container]
) -> dict[str, list[Agent]]:
    """Who may be at work on each GPU: agents whose gate was being opened and whose container may run, or one
    that they have made, and those that are held, until their container is gone.
    """
    found: dict[str, list[Agent]] = {}
    for agent in memory.agents.values():
        if agent.committed is None:
            continue
        if agent.hold is not None or agent.lingers or may_run(world, containers, agent):
            for uuid in agent.lease:
                found.setdefault(uuid, []).append(agent)
    return found
