"""Slots and their phases: which phase an agent is in, since when, and for how long it may be.

Phases of an agent (edges on the right)::

    preparing   container being made, or not yet at its gate      -> armed | idle | ending
    armed       waits at its gate as the slot's next              -> idle | enrolling | ending
    idle        ready for a job, and confirmed so                 -> enrolling | busy | ending
    enrolling   its gate is being opened, or the service has      -> idle | busy | ending
                not confirmed it yet
    busy        runs a job                                        -> ending | idle (its service
                                                                     took the job away unbegun)
    ending      is over or being ended; its container goes        -> (gone)

and of a slot that has no agent::

    vacant      about to be filled                                -> preparing
    cooling     an agent died young; waits until a time           -> vacant
    held        what it needs is missing or refused, or sick      -> vacant
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from mayfly.core.doubling import doubling
from mayfly.core.memory import Agent, Memory, SlotMemory
from mayfly.core.model import (
    Desired,
    DoomReason,
    Excess,
    Generation,
    Hold,
    Phase,
    PoolSpec,
    SlotName,
    SlotSpec,
)

STANDBY_LIFE = 24 * 3600.0
WITNESS_LOST = 300.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a phase may last, and what comes of an agent that misses it."""

    seconds: float | None  # None: another rule bounds it, named in ``then``
    then: str


# Law 7 (docs/architecture.md): every phase has one, and all of them stand here.
DEADLINES: Mapping[Phase, Deadline] = {
    Phase.PREPARING: Deadline(120.0, "destroyed, and the slot cools"),
    Phase.ARMED: Deadline(STANDBY_LIFE, "replaced"),
    Phase.ENROLLING: Deadline(180.0, "dismissed and destroyed, and the slot cools"),
    Phase.IDLE: Deadline(None, "replaced after the pool's idle_recycle"),
    Phase.BUSY: Deadline(None, "stopped by its ladder after the job's or the pool's job_timeout"),
    Phase.ENDING: Deadline(60.0, "killed, once its stop ladder is through"),
    Phase.VACANT: Deadline(60.0, "told in a health line"),
    Phase.COOLING: Deadline(None, "filled again when its time is over"),
    Phase.HELD: Deadline(None, "filled again when what held it is gone"),
}

BACKOFF_FIRST = 1.0
BACKOFF_MOST = 300.0
TRIAL_FIRST = 30.0  # seconds between a refused agent and the next
TRIAL_MOST = 300.0
HOLD_NOTE = "held for a person"  # where nobody has said the time of day
SHORT_IMAGE = len("sha256:") + 12
UNKNOWN_PROVIDER = "unknown"  # of a pool that the configuration no longer has
# seconds in which a host hears that it is to end an agent, and kills it at last
UNSEEN_MARGIN = 15.0
CLOCK_SLACK = 5.0  # seconds that clocks, read one after the other, may disagree


def within(now: float, since: float, seconds: float) -> bool:
    """Whether a wait of so many seconds goes on; one that began in the future is over."""
    return -CLOCK_SLACK <= now - since < seconds


def backoff(failures: int) -> float:
    """Seconds to wait after that many young deaths in a row (1 or more)."""
    return doubling(BACKOFF_FIRST, BACKOFF_MOST, failures)


def cooling(known: SlotMemory, now: float) -> bool:
    """Whether the slot waits after a young death; not longer than it ever would, whatever the clock says."""
    until = known.cooling_until
    return until is not None and now < until <= now + BACKOFF_MOST + CLOCK_SLACK


def still_ending(known: SlotMemory, spec: SlotSpec, now: float) -> float | None:
    """Until when processes of an agent may run that is gone and of whose end nobody said anything, on a host
    that this one cannot look at: who ends it there gives it its grace. ``None``: none can.
    """
    since = known.unseen_end
    if since is None or spec.engine.on_this_host:
        return None
    lasts = spec.stop_grace + UNSEEN_MARGIN
    return since + lasts if within(now, since, lasts) else None


def trial_wait(hold: Hold, trials: int) -> float:
    """Seconds between the last refusal and the next trial, after that many in a row (1 or more)."""
    if hold is Hold.SERVICE:
        return TRIAL_MOST  # what helps most often is another image, which is tried at once
    return doubling(TRIAL_FIRST, TRIAL_MOST, trials)


def trial_due(known: SlotMemory, spec: SlotSpec, now: float) -> bool:
    """Whether a held slot gets an agent all the same: it is time for one, or one would be made otherwise now
    than the one that was refused.
    """
    if known.hold not in (Hold.MAKING, Hold.SERVICE):
        return False
    if known.held_with != spec.fingerprint:
        return True
    at = known.trial_at
    return at is None or not now < at <= now + TRIAL_MOST + CLOCK_SLACK


def phase_of(agent: Agent, *, own: bool) -> Phase:
    """The agent's phase; ``own``: it is the slot's own agent, not its standby."""
    if agent.settled or agent.doom is not None:
        return Phase.ENDING
    if agent.ready is None and agent.committed is None:
        return Phase.PREPARING
    if agent.committed is None:
        # Where a job alone opens the gate, who waits there lacks nothing else.
        return Phase.IDLE if own and (agent.embedded or agent.dispatched) else Phase.ARMED
    if agent.opened is None:
        return Phase.ENROLLING
    if agent.embedded:
        return Phase.BUSY
    return agent.confirmed or Phase.ENROLLING


def phase_since(agent: Agent, phase: Phase) -> float:
    """When the agent entered the phase it is in (seconds since the epoch)."""
    match phase:
        case Phase.ENDING:
            return agent.doom.at if agent.doom is not None else agent.exited or agent.born
        case Phase.IDLE | Phase.ARMED if agent.committed is None:
            return agent.ready or agent.born
        case Phase.ENROLLING:
            return agent.committed or agent.born
        case Phase.BUSY if agent.embedded:
            return agent.opened or agent.born
        case Phase.IDLE | Phase.BUSY:
            return agent.confirmed_at or agent.opened or agent.born
        case _:
            return agent.born


def due_since(agent: Agent, phase: Phase, written: float | None) -> float:
    """From when on the phase's deadline counts; ``written``: when its gate was, infinite while it is being.

    What a job brings may wait for others' and take its time, which is bounded by itself: a launcher has all
    of its deadline once the gate is written.
    """
    since = phase_since(agent, phase)
    return max(since, written) if phase is Phase.ENROLLING and written is not None else since


def overdue(
    agent: Agent, spec: SlotSpec | None, now: float, *, own: bool, written: float | None = None
) -> tuple[DoomReason, str] | None:
    """Why the agent is to be ended for having been in its phase too long; ``None`` while it may stay.

    ``written``: see ``due_since``.
    """
    phase = phase_of(agent, own=own)
    age = now - due_since(agent, phase, written)
    match phase:
        case Phase.PREPARING | Phase.ENROLLING:
            limit = enrol_limit(spec) if phase is Phase.ENROLLING else prepare_limit(spec, agent)
            if limit is not None and age > limit:
                return DoomReason.MISSED, f"{phase} for more than {limit:.0f} s"
        case Phase.ARMED:
            if age > STANDBY_LIFE:
                return DoomReason.OLD, "waited at its gate for a day"
        case Phase.IDLE:
            if spec is not None and age > spec.pool.limits.idle_recycle:
                return DoomReason.OLD, f"idle for more than {spec.pool.limits.idle_recycle:.0f} s"
        case Phase.BUSY:
            limit = job_limit(agent, spec)
            if limit is not None and age > limit:
                return DoomReason.TIMEOUT, f"ran for more than {limit:.0f} s"
        case _:
            pass
    return None


def prepare_limit(spec: SlotSpec | None, agent: Agent) -> float:
    """The seconds from its birth for an agent to come to its gate.

    An engine that fetches images as it makes containers may need more than the table has until there is a
    container, which then has what everybody has.
    """
    usual = DEADLINES[Phase.PREPARING].seconds or 0.0
    needs = spec.engine.preparing if spec is not None else None
    if needs is None:
        return usual
    return (
        usual + max(0.0, agent.armed - agent.born) if agent.armed is not None else max(usual, needs)
    )


def enrol_limit(spec: SlotSpec | None) -> float | None:
    """The seconds that a service may take to confirm an agent; a provider may know better than the table."""
    if spec is not None and spec.enrol_deadline is not None:
        return spec.enrol_deadline
    return DEADLINES[Phase.ENROLLING].seconds


def job_limit(agent: Agent, spec: SlotSpec | None) -> float | None:
    """The seconds that the agent's job may take: the smaller of its own and its pool's limit."""
    pool = spec.pool.limits.job_timeout if spec is not None else None
    limits = [limit for limit in (agent.timeout, pool) if limit is not None]
    return min(limits) if limits else None


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Who is in a slot: all its agents that are not gone, oldest first."""

    agents: tuple[Agent, ...]
    # The slot's agent: the oldest whose outcome is not on disk yet.
    own: Agent | None = field(init=False)
    # The slot's next agent, if there is one already.
    standby: Agent | None = field(init=False)
    # Agents that are over and not yet forgotten.
    settled: tuple[Agent, ...] = field(init=False)
    # Of these the one whose container a person may be in.
    held: Agent | None = field(init=False)

    def __post_init__(self) -> None:
        """Tell them apart once: a step asks many times."""
        rest = [agent for agent in self.agents if agent.exited is None]
        over = tuple(agent for agent in self.agents if agent.exited is not None)
        object.__setattr__(self, "own", rest[0] if rest else None)
        object.__setattr__(self, "standby", rest[1] if len(rest) > 1 else None)
        object.__setattr__(self, "settled", over)
        held = next((agent for agent in over if agent.hold is not None), None)
        object.__setattr__(self, "held", held)


VACANCY = Tenancy(())


def tenancies(agents: Iterable[Agent]) -> dict[SlotName, Tenancy]:
    """The tenancy of every slot that has agents."""
    found: defaultdict[SlotName, list[Agent]] = defaultdict(list)
    for agent in agents:
        found[agent.slot].append(agent)
    by_age = attrgetter("serial")
    return {slot: Tenancy(tuple(sorted(members, key=by_age))) for slot, members in found.items()}


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot as ``mayfly status`` shows it."""

    spec: SlotSpec
    phase: Phase
    since: float | None  # None: since before the manager can tell
    note: str
    memory: SlotMemory
    agent: Agent | None
    standby: Agent | None
    leftover: Agent | None  # is over, its outcome on disk, but something of it may still be there
    standby_phase: Phase | None
    confirmed_by: str | None  # None: nothing confirms it
    configured: bool = True  # False: the configuration has no such slot any more
    held: Agent | None = None  # whose job has ended, and whose container a person may be in


def status_of(
    spec: SlotSpec, desired: Desired, memory: Memory, tenancy: Tenancy, now: float
) -> SlotStatus:
    """The slot's row."""
    known = memory.slot(spec.name)
    own = tenancy.own
    if own is None:
        phase, since, note = _without_agent(spec.name, desired, known, now)
    else:
        phase = phase_of(own, own=True)
        since = _slot_since(own, phase, known)
        note = _note(own, phase) or _unseen_note(spec, known, own, now)
        note = note or _owed_note(tenancy)
        if known.held is not None and phase in (Phase.PREPARING, Phase.ARMED):
            phase, since, note = Phase.HELD, known.vacant_since, known.held  # one is tried
        if known.booking is not None and not note:
            note = f"made ready for job {known.booking.job}: image {known.booking.image}"
        if spec.name in desired.image_blocked and not note:
            note = f"the last of its image: {desired.obstacles[spec.name]}"
    held = tenancy.held
    if held is not None and held.hold is not None:
        phase, since = Phase.HELD, held.hold.since
        note = HOLD_NOTE if held.is_held else "is held no longer: its container goes"
    standby = tenancy.standby
    return SlotStatus(
        spec=spec,
        phase=phase,
        since=since,
        note=note,
        memory=known,
        agent=own,
        standby=standby,
        leftover=tenancy.settled[0] if tenancy.settled else None,
        standby_phase=phase_of(standby, own=False) if standby is not None else None,
        confirmed_by=_confirmed_by(own, phase, spec),
        held=held,
    )


def _slot_since(own: Agent, phase: Phase, known: SlotMemory) -> float | None:
    """Since when the slot is in that phase: its agent may have stood ready while another worked."""
    since = phase_since(own, phase)
    if since is None or known.vacant_since is None or own.opened is not None:
        return since
    return max(since, known.vacant_since)


def status_of_former(
    name: SlotName, desired: Desired, memory: Memory, tenancy: Tenancy
) -> SlotStatus:
    """The row of a slot that the configuration no longer has, while something of it is left."""
    own, standby = tenancy.own, tenancy.standby
    phase = phase_of(own, own=True) if own is not None else Phase.ENDING
    shown = own or tenancy.agents[-1]
    note = "not configured any more"
    if own is not None and phase is Phase.BUSY:
        note += ": goes when its job has ended"
    return SlotStatus(
        spec=_former_spec(name, shown, desired),
        phase=phase,
        since=phase_since(shown, phase),
        note=note,
        memory=memory.slot(name),
        agent=own,
        standby=standby,
        leftover=tenancy.settled[0] if tenancy.settled else None,
        standby_phase=phase_of(standby, own=False) if standby is not None else None,
        confirmed_by=None,
        configured=False,
    )


def _former_spec(name: SlotName, agent: Agent, desired: Desired) -> SlotSpec:
    """The slot as far as its agent shows it; its pool's other slots, if any are left, know the rest."""
    kin = next((spec for spec in desired.slots if spec.pool.name == agent.pool), None)
    pool = (
        PoolSpec(agent.pool)
        if agent.embedded
        else PoolSpec(agent.pool, UNKNOWN_PROVIDER, embedded=False)
    )
    return SlotSpec(
        name=name,
        index=-1,
        pool=kin.pool if kin is not None else pool,
        image=agent.image,
        fingerprint=agent.fingerprint,
        lease=agent.lease,
        reference=kin.reference if kin is not None else agent.image[:SHORT_IMAGE],
        embedded=agent.embedded,
    )


def _without_agent(
    name: SlotName, desired: Desired, known: SlotMemory, now: float
) -> tuple[Phase, float | None, str]:
    if known.held is not None:
        return Phase.HELD, known.vacant_since, known.held
    if name in desired.obstacles:
        return Phase.HELD, known.vacant_since, desired.obstacles[name]
    if known.cooling_until is not None and cooling(known, now):
        wait = known.cooling_until - now
        return Phase.COOLING, known.vacant_since, f"next try in {wait:.0f} s: {known.reason}"
    if name in desired.awaiting and name not in desired.undetermined and known.cordon is None:
        return Phase.VACANT, None, desired.awaiting[name]
    if name in desired.undetermined:
        return Phase.VACANT, known.vacant_since, "what it needs has not been looked at yet"
    if known.cordon is not None:
        return Phase.VACANT, known.vacant_since, "drained" if known.cordon.drain else "cordoned"
    return Phase.VACANT, known.vacant_since, "about to be filled"


def _unseen_note(spec: SlotSpec, known: SlotMemory, own: Agent, now: float) -> str:
    """That the gate of the slot's agent waits for another of which nobody knows whether it has ended."""
    until = still_ending(known, spec, now)
    if until is None or own.committed is not None:
        return ""
    return f"takes a job in {until - now:.0f} s: nobody has said that the last agent's processes have ended"


def _owed_note(tenancy: Tenancy) -> str:
    """That its agent waits until what the last one has made is gone."""
    owes = any(agent.owes for agent in tenancy.settled)
    return "waits until what the last job's containers left is removed" if owes else ""


def _note(agent: Agent, phase: Phase) -> str:
    if phase is Phase.ENDING and agent.doom is not None:
        doom = agent.doom
        who = f" by {doom.by}" if doom.by else ""
        return f"{doom.reason}{who}" + (f": {doom.detail}" if doom.detail else "")
    return f"throttled: it {too_much(agent)}" if agent.throttled is not None else ""


# What somebody does whom others would pay for.
TOO_MUCH: Mapping[Excess, str] = {
    Excess.OUTPUT: "prints too much",
    Excess.CONNECTIONS: "opens too many connections",
    Excess.PROCESSES: "begins too many processes",
}


def too_much(agent: Agent) -> str:
    """What an agent is throttled for, in words; one of an earlier Mayfly was for its output."""
    return " and ".join(TOO_MUCH[one] for one in agent.excess or (Excess.OUTPUT,))


def _confirmed_by(agent: Agent | None, phase: Phase, spec: SlotSpec) -> str | None:
    if agent is None or phase not in (Phase.IDLE, Phase.BUSY):
        return None
    return "witness" if agent.embedded else spec.proof


def generations(agents: Iterable[Agent]) -> frozenset[Generation]:
    """The generations of the agents."""
    return frozenset(agent.generation for agent in agents)
