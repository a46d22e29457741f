"""What to do next: desired, world and memory in, a plan out. The heart of Mayfly.

Pure: the same arguments give the same plan. It never acts on what is unknown, never ends an agent that
runs a job unless a person or a limit says so, opens a gate at most once, and names at most one action per
subject. Facts of a plan are to be on disk before its actions are begun; facts that doom an agent take
effect in the next pass.
"""

from __future__ import annotations

from collections.abc import Callable

from mayfly.core import naming
from mayfly.core.actions import Prepare
from mayfly.core.ending import clear, end, kept_failure, sweep, unwanted
from mayfly.core.facts import AgentCreated, SlotHeld, SlotUncordoned
from mayfly.core.keeping import keep
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import Desired, DoomReason, Generation, PoolName, SlotName, SlotSpec, World
from mayfly.core.notice import doubtful_until
from mayfly.core.opening import leased, use
from mayfly.core.plan import Pass, Plan
from mayfly.core.rolling import rolling
from mayfly.core.slots import VACANCY, Tenancy, cooling, tenancies

MAX_PREPARING = 8  # containers made at once; the Engine makes them one after the other anyway


def decide(
    desired: Desired,
    world: World,
    memory: Memory,
    now: float,
    *,
    run_id: str,
    mint: Callable[[], Generation],
    in_flight: frozenset[str] = frozenset(),
) -> Plan:
    """The plan for now.

    ``run_id`` names this run of the manager, ``mint`` gives generations never used before, and subjects
    ``in_flight`` already have an action under way (or rest after one that failed).
    """
    if world.containers is None or memory.pause is not None:
        return Plan(wake=_next_doubt(world, memory, now))
    tenants = tenancies(memory.agents.values())
    run = Pass(
        desired=desired,
        world=world,
        memory=memory,
        now=now,
        run_id=run_id,
        mint=mint,
        in_flight=in_flight,
        containers=world.containers,
        names=frozenset(container.name for container in world.containers.values()),
        queues=_queues(memory),
        rolling=rolling(desired, memory, world, tenants, now),
        leased=leased(memory, world, world.containers),
        sharing=frozenset(spec.pool.name for spec in desired.slots if spec.pool.share),
        room=MAX_PREPARING - _preparing(memory),
        serial=memory.serial,
    )
    wanted: set[SlotName] = set()
    for spec in desired.slots:
        wanted.add(spec.name)
        _slot(run, spec, tenants.get(spec.name, VACANCY))
    for name, tenancy in tenants.items():
        if name not in wanted:
            unwanted(run, tenancy)
    sweep(run)
    wakes = [due for due in run.wakes if due > now]
    doubt = _next_doubt(world, memory, now)
    if doubt is not None:
        wakes.append(doubt)
    return Plan(tuple(run.facts), tuple(run.actions), min(wakes, default=None))


def _queues(memory: Memory) -> dict[PoolName, list[Job]]:
    """Each pool's queued jobs, the next one last."""
    queues: dict[PoolName, list[Job]] = {}
    for job in memory.jobs.values():
        if job.agent is None and job.cancelled_by is None:
            queues.setdefault(job.pool, []).append(job)
    for waiting in queues.values():
        waiting.sort(key=lambda job: job.serial, reverse=True)
    return queues


def _preparing(memory: Memory) -> int:
    return sum(
        1
        for agent in memory.agents.values()
        if agent.armed is None and agent.doom is None and not agent.settled
    )


def _next_doubt(world: World, memory: Memory, now: float) -> float | None:
    dues = (doubtful_until(agent, world) for agent in memory.agents.values())
    return min((due for due in dues if due is not None and due > now), default=None)


def _slot(run: Pass, spec: SlotSpec, tenancy: Tenancy) -> None:
    known = run.memory.slot(spec.name)
    cordon = known.cordon
    if cordon is not None and cordon.until is not None:
        if cordon.until <= run.now:
            run.facts.append(SlotUncordoned(run.now, spec.name, reason="its time was over"))
            return
        run.wakes.append(cordon.until)
    kept = kept_failure(run, spec, tenancy)
    for agent in tenancy.settled:
        clear(run, agent, spec, kept=agent is kept)
    _hold_sick_gpus(run, spec)
    own, standby = tenancy.own, tenancy.standby
    for agent in tenancy.agents:
        if agent.settled:
            continue
        if agent.doom is not None:
            end(run, agent, spec)
        elif agent not in (own, standby) and agent.opened is None:
            run.doom(agent, DoomReason.UNWANTED, "the slot has an agent and a standby")
        elif not keep(run, spec, agent, own=agent is own):
            continue
        elif agent is own:
            use(run, spec, agent, tenancy)
    _fill(run, spec, tenancy)


def _hold_sick_gpus(run: Pass, spec: SlotSpec) -> None:
    """A slot whose GPU is sick is held until a person has seen to it; the others go on."""
    word = run.world.gpu_verdicts.get(spec.name)
    if word is not None and word.sick is not None and run.memory.slot(spec.name).held is None:
        run.facts.append(SlotHeld(run.now, spec.name, word.sick))


def _fill(run: Pass, spec: SlotSpec, tenancy: Tenancy) -> None:
    """Make the slot's next agent where it has none and may have one."""
    known = run.memory.slot(spec.name)
    if known.cordon is not None or known.held is not None or spec.name in run.desired.obstacles:
        return
    if spec.name in run.desired.undetermined:
        return
    if cooling(known, run.now):
        run.wakes.append(known.cooling_until or run.now)
        return
    own, standby = tenancy.own, tenancy.standby
    if own is None:
        reason = "the slot has no agent"
    elif standby is None and spec.pool.standby and (own.opened is not None or own.doom is not None):
        reason = "the slot's agent is at work; this is its standby"
    else:
        return
    if run.room <= 0:
        return
    run.room -= 1
    run.serial += 1
    generation = run.mint()
    alone = not tenancy.agents and spec.name not in run.names
    agent = Agent(
        generation=generation,
        slot=spec.name,
        pool=spec.pool.name,
        serial=run.serial,
        fingerprint=spec.fingerprint,
        image=spec.image,
        lease=spec.lease,
        born=run.now,
        embedded=spec.embedded,
    )
    run.facts.append(AgentCreated(run.now, agent, reason))
    name = str(spec.name) if alone else naming.standby(spec.name, generation)
    run.actions.append(Prepare(generation, spec, name, reason))
