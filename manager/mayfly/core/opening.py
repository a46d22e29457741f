"""Whether an agent's gate may be opened now, and for what; until then, and after, its name.

No gate is opened while an earlier agent may still be at work in the slot, or any other on the agent's GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping

from mayfly.core import naming
from mayfly.core.actions import Enrol, Open, Rename
from mayfly.core.ending import kept_failure, registered_at_service
from mayfly.core.facts import GateOpening
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import Container, Generation, SlotSpec, World
from mayfly.core.plan import Pass
from mayfly.core.slots import Tenancy, cooling, within

RENAME_AFTER = (
    5.0  # seconds at work after which an agent gets its slot's name, if it has not got it yet
)


def use(run: Pass, spec: SlotSpec, agent: Agent, tenancy: Tenancy) -> None:
    """Open the gate of the slot's own agent where there is something for it, else see to its name."""
    if not run.free(agent.generation):
        return
    container = run.containers.get(agent.generation)
    if container is None or not container.live:
        return
    if agent.committed is None and agent.ready is not None and _may_open(run, spec, agent, tenancy):
        if spec.embedded:
            queue = run.queues.get(spec.pool.name)
            if queue:
                job = queue.pop()
                _open(run, spec, agent, container, job)
                return
        elif agent.enrolled is None or agent.enrolled_by_run not in (None, run.run_id):
            # What another run of the manager was given is gone with it: it was never on disk.
            run.actions.append(
                Enrol(agent.generation, spec.name, spec.pool.name, "its slot is free", spec.labels)
            )
            return
        else:
            _open(run, spec, agent, container, None)
            return
    nameable = spec.name not in run.names and run.free(naming.naming_of(spec.name))
    if container.name != spec.name and nameable and _stays(run, agent):
        run.actions.append(
            Rename(
                agent.generation, spec.name, container.id, spec.name, "it is the slot's agent now"
            )
        )


def _stays(run: Pass, agent: Agent) -> bool:
    """Whether the agent is not likely to end in this moment.

    An Engine 20.10 that renames a container while it ends keeps the container's end of its network for good.
    """
    if agent.committed is None:
        return True
    if agent.opened is None:
        return False
    if within(run.now, agent.opened, RENAME_AFTER):
        run.wakes.append(agent.opened + RENAME_AFTER)
        return False
    return True


def _may_open(run: Pass, spec: SlotSpec, agent: Agent, tenancy: Tenancy) -> bool:
    """Whether no earlier agent can still be at work in the slot, nor any other on the agent's GPUs, and
    the gate of their health lets it.
    """
    known = run.memory.slot(spec.name)
    if known.cordon is not None or spec.name in run.desired.undetermined:
        return False
    if not spec.embedded and cooling(known, run.now):
        run.wakes.append(known.cooling_until or run.now)
        return False  # a standby that stands ready is no reason to try a service again at once
    if spec.keeps_entries and any(
        other.committed and registered_at_service(other) for other in tenancy.settled
    ):
        return False  # the slot's one entry is the ended agent's until the service has let go of it
    if not agent.lease:
        return True
    if any(may_run(run.world, run.containers, other) for other in tenancy.settled):
        return False
    if kept_failure(run, spec, tenancy) is not None:
        return False  # its GPUs stay as they are until somebody has looked
    word, probe = run.world.gpu_verdicts.get(spec.name), run.world.probes.get(agent.generation)
    if word is None or not word.fit or probe is None or not probe.sees:
        return False
    if agent.lease != spec.lease:
        return False
    return all(
        spec.pool.name in run.sharing and other.pool in run.sharing
        for uuid in agent.lease
        for other in run.leased.get(uuid, ())
    )


def _open(run: Pass, spec: SlotSpec, agent: Agent, container: Container, job: Job | None) -> None:
    for uuid in agent.lease:
        run.leased.setdefault(uuid, []).append(agent)
    run.facts.append(
        GateOpening(
            run.now,
            agent.generation,
            run.run_id,
            job.id if job is not None else None,
            job.timeout if job is not None else None,
        )
    )
    run.actions.append(
        Open(
            agent.generation,
            spec.name,
            spec.pool.name,
            container.id,
            job.id if job is not None else None,
            f"job {job.id} is next" if job is not None else "its enrolment is here",
        )
    )


def may_run(world: World, containers: Mapping[Generation, Container], agent: Agent) -> bool:
    """Whether a process of it may be left. The Engine's word that its container died counts at once, before
    the next look at it.
    """
    container = containers.get(agent.generation)
    return container is not None and container.live and agent.generation not in world.deaths


def leased(
    memory: Memory, world: World, containers: Mapping[Generation, Container]
) -> dict[str, list[Agent]]:
    """Who may be at work on each GPU: agents whose gate was being opened and whose container may run."""
    found: dict[str, list[Agent]] = {}
    for agent in memory.agents.values():
        if agent.committed is not None and may_run(world, containers, agent):
            for uuid in agent.lease:
                found.setdefault(uuid, []).append(agent)
    return found
