"""The published document: what ``mayfly status --json`` prints, made from what the loop knows.

Pure: values in, JSON-ready values out. Nothing secret can be in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from mayfly.core import naming, reservation_words, sandbox, taking_turns, unseen_ends
from mayfly.core.conditions import queue_conditions, slot_conditions, stranger_condition
from mayfly.core.delivery import JobCounts
from mayfly.core.held_jobs import generations_held, held_words
from mayfly.core.job_conditions import job_conditions
from mayfly.core.memory import Agent, Cordon, Memory
from mayfly.core.model import (
    Condition,
    Container,
    Desired,
    EngineLines,
    Generation,
    HostSpec,
    Phase,
    PoolName,
    Severity,
    World,
)
from mayfly.core.quantities import rfc3339, spoken_age
from mayfly.core.read_on import anchor
from mayfly.core.reservations import Reserved
from mayfly.core.sandbox import Sandboxes
from mayfly.core.slots import (
    VACANCY,
    SlotStatus,
    status_of,
    status_of_former,
    tenancies,
)
from mayfly.core.turns import NO_TURN, Turns

SCHEMA = "mayfly.status/1"


def timestamp(at: float | None) -> str | None:
    """RFC 3339, UTC, milliseconds; ``None`` stays ``None``."""
    return None if at is None else rfc3339(at)


def statuses(
    desired: Desired, memory: Memory, now: float, turns: Turns = NO_TURN
) -> list[SlotStatus]:
    """A status for each slot, in config order, then the slots that the configuration no longer has."""
    tenants = tenancies(memory.agents.values())
    former = sorted(tenants.keys() - {spec.name for spec in desired.slots})
    unseen = unseen_ends.unseen_ends(desired, memory, now)

    reserved = Reserved(memory.reserved)

    def noted(row: SlotStatus) -> SlotStatus:
        hold = row.held.hold if row.held is not None else None
        if hold is not None and hold.over is None:
            return replace(row, note=held_words(hold, now))
        told = taking_turns.noted(unseen_ends.noted(row, unseen, now), turns, desired, memory)
        return reservation_words.noted(told, reserved, now)

    return [
        *(
            noted(status_of(spec, desired, memory, tenants.get(spec.name, VACANCY), now))
            for spec in desired.slots
        ),
        *(status_of_former(name, desired, memory, tenants[name]) for name in former),
    ]


def document(
    host: HostSpec,
    rows: Iterable[SlotStatus],
    memory: Memory,
    world: World,
    headline: str,
    health: Iterable[Condition],
) -> dict[str, object]:
    """The whole document, schema ``mayfly.status/1``."""
    containers = world.containers or {}
    sandboxes = sandbox.sandboxes(world, generations_held(memory.agents.values()))
    return {
        "schema": SCHEMA,
        "host": host.name,
        "headline": headline,
        "paused": memory.pause is not None,
        "slots": [_slot(row, containers, sandboxes) for row in rows],
        "health": [
            {
                "code": line.code,
                "severity": line.severity,
                "pool": line.pool,
                "slots": list(line.slots),
                "text": line.text,
                "fix": line.fix,
                "anchor": anchor(line.code, host.docs),
            }
            for line in health
        ],
    }


def _slot(
    row: SlotStatus, containers: Mapping[Generation, Container], sandboxes: Sandboxes
) -> dict[str, object]:
    agent = row.held or row.agent
    return {
        "slot": row.spec.name,
        "pool": row.spec.pool.name,
        "provider": row.spec.pool.provider,
        "phase": row.phase,
        "confirmed_by": row.confirmed_by,
        "cordoned": _cordon(row.memory.cordon),
        "since": timestamp(row.since),
        "agent": agent.generation if agent is not None else None,
        "container": _container(agent or row.leftover, containers),
        "standby": _standby(row, containers),
        "sandbox": _sandbox(row, containers, sandboxes),
        "image": row.spec.reference,
        "job_image": agent.asked_image if agent is not None else None,
        "gpus": list(row.spec.lease or (agent.devices if agent is not None else ())),
        "job": agent.job if agent is not None else None,
        "held": _held(row.held),
        "note": row.note,
        "configured": row.configured,
    }


def _held(agent: Agent | None) -> dict[str, object] | None:
    """The job whose container is held, for whom and until when; ``None``: none is."""
    if agent is None or agent.hold is None:
        return None
    hold = agent.hold
    return {
        "job": agent.job,
        "user": hold.user,
        "since": timestamp(hold.since),
        "until": timestamp(hold.until),
        "latest": timestamp(hold.latest),
        "over": hold.over is not None,
    }


def _container(agent: Agent | None, containers: Mapping[Generation, Container]) -> str | None:
    if agent is None:
        return None
    if agent.container is not None:
        return naming.shown(agent.container)
    known = containers.get(agent.generation)
    return naming.shown(known.id) if known is not None else None


def _sandbox(
    row: SlotStatus, containers: Mapping[Generation, Container], sandboxes: Sandboxes
) -> dict[str, object] | None:
    """The holder that the slot's agent is in, or the slot's newest; ``None``: there is none."""
    agent = row.agent
    container = containers.get(agent.generation) if agent is not None else None
    if container is not None:
        holder = container.sandbox
    else:
        own = sandboxes.newest.get(row.spec.name)
        holder = own.id if own is not None else None
    if holder is None:
        return None
    return {
        "container": naming.shown(holder),
        "usable": holder in sandboxes.usable,
        "processes": sandbox.PROCESSES,
        "memory_limit": sandbox.MEMORY,
    }


def _standby(
    row: SlotStatus, containers: Mapping[Generation, Container]
) -> dict[str, object] | None:
    if row.standby is None or row.standby_phase is None:
        return None
    return {
        "container": _container(row.standby, containers),
        "phase": row.standby_phase,
        "since": timestamp(row.standby.ready or row.standby.born),
    }


def _cordon(cordon: Cordon | None) -> dict[str, object] | None:
    if cordon is None:
        return None
    return {
        "since": timestamp(cordon.since),
        "until": timestamp(cordon.until),
        "by": cordon.by,
        "note": cordon.note,
        "drain": cordon.drain,
    }


def headline(
    rows: Iterable[SlotStatus],
    memory: Memory,
    world: World,
    handed: Mapping[PoolName, JobCounts] = MappingProxyType({}),
) -> str:
    """One sentence: what the pool is doing, and what is in its way."""
    counts: dict[Phase, int] = {}
    everything = list(rows)
    rows = [row for row in everything if row.configured]
    for row in rows:
        counts[row.phase] = counts.get(row.phase, 0) + 1
    told = ", ".join(f"{counts[phase]} {phase}" for phase in Phase if phase in counts)
    slots = "1 slot" if len(rows) == 1 else f"{len(rows)} slots"
    sentence = f"{slots}: {told}" if rows else "no slots are configured"
    cordoned = sum(1 for row in rows if row.memory.cordon is not None)
    if cordoned:
        sentence += f" ({cordoned} cordoned)"
    former = len(everything) - len(rows)
    if former:
        sentence += f"; {former} more no longer configured"
    queued = sum(1 for job in memory.jobs.values() if job.agent is None)
    if queued:
        sentence += f"; {queued} job{'s' if queued > 1 else ''} queued"
    for pool, known in handed.items():
        if known.waiting:
            jobs = "1 job waits" if known.waiting == 1 else f"{known.waiting} jobs wait"
            sentence += f"; {jobs} at the service of pool {pool}"
    if memory.pause is not None:
        sentence += f"; paused by {memory.pause.by}, nothing is touched"
    if world.containers is None:
        sentence += f"; the Engine is unknown: {world.engine_error or 'not looked at yet'}"
    return sentence


def health_of(
    rows: Iterable[SlotStatus],
    memory: Memory,
    world: World,
    now: float,
    words: EngineLines,
    refused: Mapping[PoolName, str] = MappingProxyType({}),
) -> list[Condition]:
    """The health lines that follow from slots, memory and world; a pool that is ``refused`` has its own."""
    lines: list[Condition] = []
    if world.containers is None:
        lines.append(
            Condition(
                "engine.unknown",
                Severity.ERROR,
                world.engine_error or "the Engine has not been looked at yet",
                words.status,
            )
        )
    if memory.pause is not None:
        lines.append(
            Condition(
                "manager.paused",
                Severity.WARNING,
                f"paused by {memory.pause.by} for {spoken_age(now - memory.pause.since)}"
                + (f": {memory.pause.note}" if memory.pause.note else ""),
                "mayfly resume",
            )
        )
    if world.strangers:
        lines.append(stranger_condition(world.strangers, words))
    rows = list(rows)
    lines += slot_conditions(rows, world, now, words, refused)
    lines += queue_conditions(rows, memory)
    lines += job_conditions(rows, now)
    return lines


def noted(
    rows: Iterable[SlotStatus], busy_without_job: Mapping[Generation, float], now: float
) -> list[SlotStatus]:
    """The rows; those whose agent is in ``busy_without_job`` (listed as busy since when) say so."""
    return [
        replace(row, note=f"listed as busy for {spoken_age(now - since)}, and told of no job")
        if (since := _unbegun_since(row, busy_without_job)) is not None
        else row
        for row in rows
    ]


def health_of_unbegun(
    rows: Iterable[SlotStatus], busy_without_job: Mapping[Generation, float], now: float
) -> dict[Generation, Condition]:
    """A line for each agent that its service lists as busy and that has reported no job."""
    found: dict[Generation, Condition] = {}
    for row in rows:
        since = _unbegun_since(row, busy_without_job)
        if since is None or row.agent is None:
            continue
        text = (
            f"slot {row.spec.name}: its service has listed its agent as busy for "
            f"{spoken_age(now - since)}, and the agent has told of no job; it is left alone, as it may "
            "have one: look for the job at the service and cancel it there"
        )
        fix = f"mayfly logs {row.spec.name}   # to end it: mayfly drain {row.spec.name} --force"
        found[row.agent.generation] = Condition(
            "agent.unbegun", Severity.WARNING, text, fix, row.spec.pool.name, (row.spec.name,)
        )
    return found


def _unbegun_since(row: SlotStatus, busy_without_job: Mapping[Generation, float]) -> float | None:
    return busy_without_job.get(row.agent.generation) if row.agent is not None else None
