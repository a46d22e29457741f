"""What to do next: desired, world and memory in, a plan out. The heart of Mayfly.

Pure: the same arguments give the same plan. It never acts on what is unknown, never ends an agent that
runs a job unless a person or a limit says so, opens a gate at most once, and names at most one action per
subject. Facts of a plan are to be on disk before its actions are begun; facts that doom an agent take
effect in the next pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from manager.core import naming
from manager.core.actions import (
    Action,
    Bury,
    Dismiss,
    Enrol,
    Open,
    Prepare,
    Remove,
    Rename,
    Signal,
    Tell,
)
from manager.core.facts import (
    AgentCreated,
    AgentDoomed,
    AgentPushed,
    Fact,
    GateOpening,
    SlotHeld,
    SlotUncordoned,
)
from manager.core.memory import ENDS_JOBS, Agent, Doom, Job, Memory
from manager.core.model import (
    Container,
    Desired,
    DoomReason,
    Generation,
    Phase,
    PoolName,
    Removal,
    SlotName,
    SlotSpec,
    Step,
    World,
)
from manager.core.notice import doubtful_until
from manager.core.rosters import ABSENCE, ORPHANED
from manager.core.slots import (
    DEADLINES,
    VACANCY,
    WITNESS_LOST,
    Tenancy,
    cooling,
    enrol_limit,
    job_limit,
    overdue,
    phase_of,
    phase_since,
    tenancies,
    waits,
)

MAX_PREPARING = 8  # containers made at once; the Engine makes them one after the other anyway
SELF_REMOVAL = 20.0  # seconds for the Engine to remove an ended container by itself
RENAME_AFTER = (
    5.0  # seconds at work after which an agent gets its slot's name, if it has not got it yet
)
INTERRUPTED_GRACE = (
    2.0  # seconds for a launcher to say that a gate opened by a dead manager is open
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be recorded, what is to be done, and when to look again at the latest."""

    facts: tuple[Fact, ...] = ()
    actions: tuple[Action, ...] = ()
    wake: float | None = None  # None: nothing is due

    @property
    def empty(self) -> bool:
        """Whether there is nothing to record or do."""
        return not self.facts and not self.actions


@dataclass(slots=True)
class _Pass:
    """One run of ``decide``: its arguments, and the plan as it grows."""

    desired: Desired
    world: World
    memory: Memory
    now: float
    boot: str
    mint: Callable[[], Generation]
    in_flight: frozenset[str]
    containers: Mapping[Generation, Container]
    names: frozenset[str]
    queues: dict[PoolName, list[Job]]
    rolling: set[PoolName]
    leased: dict[str, list[Agent]]
    sharing: frozenset[PoolName]
    room: int
    serial: int
    facts: list[Fact] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)

    def free(self, subject: str) -> bool:
        return subject not in self.in_flight

    def doom(
        self, agent: Agent, reason: DoomReason, detail: str = "", by: str | None = None
    ) -> None:
        self.facts.append(AgentDoomed(self.now, agent.generation, reason, by, detail))


def decide(
    desired: Desired,
    world: World,
    memory: Memory,
    now: float,
    *,
    boot: str,
    mint: Callable[[], Generation],
    in_flight: frozenset[str] = frozenset(),
) -> Plan:
    """The plan for now.

    ``boot`` names this run of the manager, ``mint`` gives generations never used before, and subjects
    ``in_flight`` already have an action under way (or rest after one that failed).
    """
    if world.containers is None or memory.pause is not None:
        return Plan(wake=_next_doubt(world, memory, now))
    tenants = tenancies(memory.agents.values())
    run = _Pass(
        desired=desired,
        world=world,
        memory=memory,
        now=now,
        boot=boot,
        mint=mint,
        in_flight=in_flight,
        containers=world.containers,
        names=frozenset(container.name for container in world.containers.values()),
        queues=_queues(memory),
        rolling=_rolling(desired, memory, world, tenants, now),
        leased=_leased(memory, world, world.containers),
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
            _unwanted(run, tenancy)
    _sweep(run)
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


def _rolling(
    desired: Desired, memory: Memory, world: World, tenants: Mapping[SlotName, Tenancy], now: float
) -> set[PoolName]:
    """Pools in which nothing stale is replaced now: a slot has no agent that stands ready, or what the
    configuration wants was tried in one slot and has not been seen to work in any.
    """
    pools: set[PoolName] = set()
    tried: set[PoolName] = set()
    proven: set[PoolName] = set()
    for spec in desired.slots:
        known, pool = memory.slot(spec.name), spec.pool.name
        tenancy = tenants.get(spec.name, VACANCY)
        agents = [agent for agent in (tenancy.own, tenancy.standby) if agent is not None]
        fresh = [agent for agent in agents if agent.fingerprint == spec.fingerprint]
        proven |= {pool for agent in fresh if _works(agent)}
        trying = [agent for agent in fresh if not _waits_its_turn(agent, tenancy)]
        tried |= {pool for agent in trying if not _works(agent)}
        if known.cordon is not None or spec.name in desired.obstacles:
            continue
        if known.held is not None:
            word = world.gpu_words.get(spec.name)
            if word is None or word.sick is None:
                tried.add(pool)
        elif cooling(known, now):
            tried.add(pool)
        elif _moving(spec, tenancy):
            pools.add(pool)
    return pools | (tried - proven)


UNREADY = (Phase.PREPARING, Phase.ENDING)


def _moving(spec: SlotSpec, tenancy: Tenancy) -> bool:
    """Whether the slot has no agent that stands ready, or its standby is being replaced."""
    own, standby = tenancy.own, tenancy.standby
    if own is None or phase_of(own, own=True) in UNREADY:
        return True
    if standby is None:
        return own.opened is not None and spec.pool.standby
    return standby.doom is not None


def _works(agent: Agent) -> bool:
    """Whether an agent shows that its image and configuration are good: at its gate, or at its service."""
    if agent.settled or agent.doom is not None:
        return False
    return agent.ready is not None if agent.queue else agent.confirmed is not None


def _waits_its_turn(agent: Agent, tenancy: Tenancy) -> bool:
    """Whether it is a standby at its gate: it can show no more before the slot's own agent makes way."""
    waits_there = agent.ready is not None and agent.committed is None and agent.doom is None
    return waits_there and agent is tenancy.standby


def _preparing(memory: Memory) -> int:
    return sum(
        1
        for agent in memory.agents.values()
        if agent.armed is None and agent.doom is None and not agent.settled
    )


def _next_doubt(world: World, memory: Memory, now: float) -> float | None:
    dues = (doubtful_until(agent, world) for agent in memory.agents.values())
    return min((due for due in dues if due is not None and due > now), default=None)


def _may_run(world: World, containers: Mapping[Generation, Container], agent: Agent) -> bool:
    """Whether a process of it may be left: not once the Engine has said that its container died, which comes
    before the next look at it.
    """
    container = containers.get(agent.generation)
    return container is not None and container.live and agent.generation not in world.deaths


def _leased(
    memory: Memory, world: World, containers: Mapping[Generation, Container]
) -> dict[str, list[Agent]]:
    """Who may be at work on each GPU: agents whose gate was being opened and whose container may run."""
    found: dict[str, list[Agent]] = {}
    for agent in memory.agents.values():
        if agent.committed is not None and _may_run(world, containers, agent):
            for uuid in agent.lease:
                found.setdefault(uuid, []).append(agent)
    return found


# -- one slot ----------------------------------------------------------------------------------


def _slot(run: _Pass, spec: SlotSpec, tenancy: Tenancy) -> None:
    known = run.memory.slot(spec.name)
    cordon = known.cordon
    if cordon is not None and cordon.until is not None:
        if cordon.until <= run.now:
            run.facts.append(SlotUncordoned(run.now, spec.name, "its time was over"))
            return
        run.wakes.append(cordon.until)
    kept = _kept(run, spec, tenancy)
    for agent in tenancy.settled:
        _clear(run, agent, spec, kept=agent is kept)
    _heed_gpus(run, spec)
    own, standby = tenancy.own, tenancy.standby
    for agent in tenancy.agents:
        if agent.settled:
            continue
        if agent.doom is not None:
            _end(run, agent, spec)
        elif agent not in (own, standby) and agent.opened is None:
            run.doom(agent, DoomReason.UNWANTED, "the slot has an agent and a standby")
        elif not _keep(run, spec, agent, own=agent is own):
            continue
        elif agent is own:
            _use(run, spec, agent, tenancy)
    _fill(run, spec, tenancy)


def _kept(run: _Pass, spec: SlotSpec, tenancy: Tenancy) -> Agent | None:
    """The slot's last failed agent, while its container is there for somebody to look at."""
    cordon = run.memory.slot(spec.name).cordon
    if spec.removal is not Removal.MANAGER or (cordon is not None and cordon.drain):
        return None
    last = next((agent for agent in reversed(tenancy.settled) if agent.failed), None)
    if last is None or last.exited is None or last.generation not in run.containers:
        return None
    if not waits(run.now, last.exited, spec.pool.keep_failed):
        return None
    run.wakes.append(last.exited + spec.pool.keep_failed)
    return last


def _heed_gpus(run: _Pass, spec: SlotSpec) -> None:
    """A slot whose GPU is sick is held until a person has seen to it; the others go on."""
    word = run.world.gpu_words.get(spec.name)
    if word is not None and word.sick is not None and run.memory.slot(spec.name).held is None:
        run.facts.append(SlotHeld(run.now, spec.name, word.sick))


def _keep(run: _Pass, spec: SlotSpec, agent: Agent, *, own: bool) -> bool:
    """Whether the agent may stay as it is; if not, it is doomed."""
    late = overdue(agent, spec, run.now, own=own)
    if late is not None:
        if _unheard(run, spec, agent):
            return True
        run.doom(agent, *late)
        return False
    _remember_deadline(run, spec, agent, own=own)
    if agent.opened is not None:
        return _keep_working(run, spec, agent)
    if agent.committed is not None:
        return _keep_committed(run, agent)
    reason = _unfit(run, spec, agent, own=own)
    if reason is None:
        return True
    run.doom(agent, *reason)
    return False


def _nameless(agent: Agent) -> bool:
    """Whether the agent may have a job that only a roster can tell of.

    Without its registration nobody can ask the service to let go of it, so ending it might end a job.
    """
    opened = agent.opened is not None and not agent.queue
    return opened and agent.confirmed is None and agent.registration is None


def _unheard(run: _Pass, spec: SlotSpec | None, agent: Agent) -> bool:
    """Whether a roster is still to come, without which it is not ended: one of after its deadline, since with
    an older one it may have got a job meanwhile.
    """
    roster = run.world.rosters.get(agent.pool)
    due = phase_since(agent, Phase.ENROLLING) + (enrol_limit(spec) or 0.0)
    return _nameless(agent) and (roster is None or roster.at < due)


def _keep_working(run: _Pass, spec: SlotSpec, agent: Agent) -> bool:
    """Whether nobody has cancelled its job, and what it has written is within its pool's limit."""
    job = run.memory.jobs.get(agent.job) if agent.job is not None else None
    if job is not None and job.cancelled_by is not None:
        run.doom(agent, DoomReason.CANCELLED, by=job.cancelled_by)
        return False
    limit, size = spec.pool.limits.disk, run.world.sizes.get(agent.generation, 0)
    if limit is not None and size > limit:
        run.doom(agent, DoomReason.DISK, f"wrote {size} bytes; its pool allows {limit}")
        return False
    return agent.busy or _keep_waiting(run, spec, agent)


def _stale(run: _Pass, spec: SlotSpec, agent: Agent) -> bool:
    """Whether it is known to be made from another configuration or image than is wanted now."""
    known = spec.name not in run.desired.unseen | run.desired.stuck
    return known and agent.fingerprint != spec.fingerprint


def _keep_waiting(run: _Pass, spec: SlotSpec, agent: Agent) -> bool:
    """Whether an agent that waits at its service for a job may go on waiting."""
    cordon = run.memory.slot(spec.name).cordon
    since = run.world.absent.get(agent.generation)
    if _nameless(agent):
        return True  # what it does is not known yet: it is confirmed, or misses its deadline
    if cordon is not None and (cordon.drain or not spec.tells):
        run.doom(agent, DoomReason.DRAINED, "the slot is to take no new job")
    elif since is not None and agent.confirmed is not None and run.now - since > ABSENCE:
        run.doom(agent, DoomReason.MISSED, "its service does not show it online any more")
    elif _stale(run, spec, agent) and spec.pool.name not in run.rolling:
        run.rolling.add(spec.pool.name)
        run.doom(agent, DoomReason.STALE, "it was made from another configuration or image")
    else:
        if agent.registration is not None and agent.told != (cordon is not None) and spec.tells:
            reason = "the slot is cordoned" if cordon is not None else "the slot is uncordoned"
            _tell(run, spec, agent, cordoned=cordon is not None, reason=reason)
        return True
    return False


def _tell(run: _Pass, spec: SlotSpec, agent: Agent, *, cordoned: bool, reason: str) -> None:
    assert agent.registration is not None
    action = Tell(
        agent.generation,
        spec.name,
        spec.pool.name,
        agent.registration,
        cordoned,
        reason,
    )
    if run.free(action.subject):
        run.actions.append(action)


def _keep_committed(run: _Pass, agent: Agent) -> bool:
    """A gate that another run of the manager was opening is never opened again."""
    if agent.boot == run.boot or not run.free(agent.generation):
        return True
    committed = agent.committed or run.now
    if waits(run.now, committed, INTERRUPTED_GRACE):
        run.wakes.append(committed + INTERRUPTED_GRACE)
        return True
    run.doom(agent, DoomReason.INTERRUPTED, "its gate was being opened when the manager stopped")
    return False


def _unfit(run: _Pass, spec: SlotSpec, agent: Agent, *, own: bool) -> tuple[DoomReason, str] | None:
    """Why an agent at its gate is not to take a job; ``None`` where it may."""
    known = run.memory.slot(spec.name)
    if known.cordon is not None and known.cordon.drain:
        return DoomReason.DRAINED, "the slot is drained"
    if known.held is not None:
        return DoomReason.UNWANTED, "the slot is held"
    if spec.name in run.desired.unseen:
        return None
    stuck = spec.name in run.desired.stuck and agent.ready is not None
    if spec.name in run.desired.obstacles and not stuck:
        return DoomReason.UNWANTED, run.desired.obstacles[spec.name]
    lost = run.world.unwitnessed.get(agent.generation)
    if lost is not None and run.now - lost > WITNESS_LOST:
        return DoomReason.MISSED, "its witness is gone"
    probe = run.world.probes.get(agent.generation)
    if agent.lease and probe is not None and not probe.sees:
        return DoomReason.BLIND, probe.text
    if agent.fingerprint != spec.fingerprint and not stuck:
        ready = agent.ready is not None and agent.lease == spec.lease
        if spec.pool.name in run.rolling and ready:
            return None
        run.rolling.add(spec.pool.name)
        return DoomReason.STALE, "it was made from another configuration or image"
    if not own and not spec.pool.standby:
        return DoomReason.UNWANTED, "the pool keeps no standby"
    if agent.armed is None and run.free(agent.generation):
        return DoomReason.INTERRUPTED, "it was being made when the manager stopped"
    return None


def _remember_deadline(run: _Pass, spec: SlotSpec, agent: Agent, *, own: bool) -> None:
    phase = phase_of(agent, own=own)
    limit = DEADLINES[phase].seconds
    if phase is Phase.IDLE:
        limit = spec.pool.limits.idle_recycle
    elif phase is Phase.BUSY:
        limit = job_limit(agent, spec)
    elif phase is Phase.ENROLLING:
        limit = enrol_limit(spec)
    if limit is not None:
        run.wakes.append(phase_since(agent, phase) + limit + 0.001)


def _use(run: _Pass, spec: SlotSpec, agent: Agent, tenancy: Tenancy) -> None:
    """Open the gate of the slot's own agent where there is something for it, else see to its name."""
    if not run.free(agent.generation):
        return
    container = run.containers.get(agent.generation)
    if container is None or not container.live:
        return
    if agent.committed is None and agent.ready is not None and _may_open(run, spec, agent, tenancy):
        if spec.queue:
            queue = run.queues.get(spec.pool.name)
            if queue:
                job = queue.pop()
                _open(run, spec, agent, container, job)
                return
        elif agent.enrolled is None or agent.enrolled_in not in (None, run.boot):
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


def _stays(run: _Pass, agent: Agent) -> bool:
    """Whether the agent is not likely to end in this moment.

    An Engine 20.10 that renames a container while it ends keeps the container's end of its network for good.
    """
    if agent.committed is None:
        return True
    if agent.opened is None:
        return False
    if waits(run.now, agent.opened, RENAME_AFTER):
        run.wakes.append(agent.opened + RENAME_AFTER)
        return False
    return True


def _may_open(run: _Pass, spec: SlotSpec, agent: Agent, tenancy: Tenancy) -> bool:
    """Whether no earlier agent can still be at work in the slot, nor any other on the agent's GPUs, and
    the gate of their health lets it.
    """
    known = run.memory.slot(spec.name)
    if known.cordon is not None or spec.name in run.desired.unseen:
        return False
    if not spec.queue and cooling(known, run.now):
        run.wakes.append(known.cooling_until or run.now)
        return False  # a standby that stands ready is no reason to try a service again at once
    if spec.keeps_entries and any(
        other.committed and _enlisted(other) for other in tenancy.settled
    ):
        return False  # the slot's one entry is the ended agent's until the service has let go of it
    if not agent.lease:
        return True
    if any(_may_run(run.world, run.containers, other) for other in tenancy.settled):
        return False
    if _kept(run, spec, tenancy) is not None:
        return False  # its GPUs stay as they are until somebody has looked
    word, probe = run.world.gpu_words.get(spec.name), run.world.probes.get(agent.generation)
    if word is None or not word.fit or probe is None or not probe.sees:
        return False
    if agent.lease != spec.lease:
        return False
    return all(
        spec.pool.name in run.sharing and other.pool in run.sharing
        for uuid in agent.lease
        for other in run.leased.get(uuid, ())
    )


def _open(run: _Pass, spec: SlotSpec, agent: Agent, container: Container, job: Job | None) -> None:
    for uuid in agent.lease:
        run.leased.setdefault(uuid, []).append(agent)
    run.facts.append(
        GateOpening(
            run.now,
            agent.generation,
            run.boot,
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


def _fill(run: _Pass, spec: SlotSpec, tenancy: Tenancy) -> None:
    """Make the slot's next agent where it has none and may have one."""
    known = run.memory.slot(spec.name)
    if known.cordon is not None or known.held is not None or spec.name in run.desired.obstacles:
        return
    if spec.name in run.desired.unseen:
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
        queue=spec.queue,
    )
    run.facts.append(AgentCreated(run.now, agent, reason))
    name = str(spec.name) if alone else naming.standby(spec.name, generation)
    run.actions.append(Prepare(generation, spec, name, reason))


# -- ending --------------------------------------------------------------------------------------


def _end(run: _Pass, agent: Agent, spec: SlotSpec | None) -> None:
    """The next step towards the end of a doomed agent, if it is time for one."""
    if agent.doom is None or not run.free(agent.generation):
        return
    container = run.containers.get(agent.generation)
    if container is None:
        return
    # Whom its service lets in no more need not be kept from jobs.
    hard = agent.doom.reason in ENDS_JOBS or agent.doom.reason is DoomReason.REFUSED
    gently = agent.opened is not None and container.live and not hard
    if gently and _let_go(
        run, agent, spec, f"{agent.doom.reason}: it is let go before it is stopped"
    ):
        return
    ladder = (
        tuple(step for step in spec.ladder if gently or not step.idle) if spec is not None else ()
    )
    if agent.opened is None or not container.live:
        ladder = ()
    _climb(run, agent, container, agent.doom, ladder)


def _let_go(run: _Pass, agent: Agent, spec: SlotSpec | None, reason: str) -> bool:
    """See that the service gives the agent no job any more; False where it cannot, or has been told.

    An entry that belongs to the slot is not taken back for that: jobs wait for it.
    """
    if spec is None or not spec.keeps_entries:
        return _dismiss(run, agent, reason)
    if agent.registration is None or agent.told:
        return False
    _tell(run, spec, agent, cordoned=True, reason=reason)
    return True


def _dismiss(run: _Pass, agent: Agent, reason: str, *, keep: bool = False) -> bool:
    """See that the service lets go of the agent; False where it has, or has nothing to let go of."""
    if not _enlisted(agent):
        return False
    assert agent.registration is not None
    action = Dismiss(
        agent.generation, agent.slot, agent.pool, agent.registration, reason, keep=keep
    )
    if run.free(action.subject):
        run.actions.append(action)
    return True


def _enlisted(agent: Agent) -> bool:
    """Whether its service may still know the agent."""
    return not agent.queue and agent.registration is not None and not agent.dismissed


def _sweep(run: _Pass) -> None:
    """Entries of ours at a service that no agent of ours stands behind."""
    for (pool, registration), since in run.world.orphans.items():
        if waits(run.now, since, ORPHANED):
            run.wakes.append(since + ORPHANED)
            continue
        action = Dismiss(None, None, pool, registration, "no agent of ours stands behind it")
        if run.free(action.subject):
            run.actions.append(action)


def _climb(
    run: _Pass, agent: Agent, container: Container, doom: Doom, steps: tuple[Step, ...]
) -> None:
    why = f"{doom.reason}: {doom.detail}" if doom.detail else str(doom.reason)
    if 0 < doom.step <= len(steps):
        grace = steps[doom.step - 1].grace
        if waits(run.now, doom.stepped, grace):
            run.wakes.append(doom.stepped + grace)
            return
    if doom.step < len(steps):
        run.facts.append(AgentPushed(run.now, agent.generation, doom.step + 1))
        signal = steps[doom.step].signal
        run.actions.append(Signal(agent.generation, agent.slot, container.id, signal, why))
    else:
        run.actions.append(Remove(agent.generation, agent.slot, container.id, why))


def _clear(run: _Pass, agent: Agent, spec: SlotSpec | None, *, kept: bool = False) -> None:
    """What is left of an agent whose outcome is on disk; of one that is ``kept`` the container stays."""
    if not run.free(agent.generation):
        return
    container = run.containers.get(agent.generation)
    keeps = spec is not None and spec.keeps_entries
    due = agent.committed is not None if keeps else not agent.clean
    registered = due and _dismiss(run, agent, "its agent has ended", keep=keeps)
    if container is None:
        if not registered:
            run.actions.append(Bury(agent.generation, agent.slot, "its container is gone"))
        return
    if kept:
        return
    ours = spec is not None and spec.removal is Removal.MANAGER and not container.live
    exited = agent.exited or run.now
    if ours or not waits(run.now, exited, SELF_REMOVAL):
        run.actions.append(
            Remove(agent.generation, agent.slot, container.id, "its outcome is on disk")
        )
    else:
        run.wakes.append(exited + SELF_REMOVAL)


def _unwanted(run: _Pass, tenancy: Tenancy) -> None:
    """A slot that the configuration no longer has: what runs a job ends it, the rest goes."""
    for agent in tenancy.agents:
        if agent.settled:
            _clear(run, agent, None)
        elif agent.doom is not None:
            _end(run, agent, None)
        elif agent.committed is None:
            run.doom(agent, DoomReason.UNWANTED, "the configuration has no such slot")
        else:
            late = overdue(agent, None, run.now, own=True)
            if late is not None and not _unheard(run, None, agent):
                run.doom(agent, *late)
            elif agent.opened is None:
                _keep_committed(run, agent)
            elif not agent.busy and not _nameless(agent):
                run.doom(agent, DoomReason.UNWANTED, "the configuration has no such slot")
