"""Conditions: what is the matter with slots and queued jobs, why, and what a person types next.

Pure. One condition stands for all slots of a pool that have the same cause, so that one trouble is one line
and one alert however many slots it has. A condition is not kept: it ends when what it says is no longer so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from mayfly.core.contact import Contacts, awaited_since, trouble
from mayfly.core.ending import LETTING_GO
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Condition,
    ContainerState,
    EngineLines,
    JobId,
    Phase,
    PoolName,
    Severity,
    SlotName,
    World,
)
from mayfly.core.naming import GENERATION_LENGTH, WITNESSES
from mayfly.core.quantities import whole_number
from mayfly.core.signs import SHOWN, Reported, Trouble
from mayfly.core.slots import DEADLINES, SlotStatus, too_much

CLIENT_GRACE = 10.0  # seconds that a client may be in trouble before it is a condition
NAMING = 15.0  # seconds that an agent may be without its slot's name, as in every hand-over
FAILURES = 5  # agents in a row that died young: after so many it is a condition
FAILING = 300.0  # seconds of young deaths, more than one, after which it is one as well
WELL = 60.0  # seconds that an agent is idle after which it is none any more
SLOW = 60.0  # seconds after which it is told for what an agent waits that does not run yet
UNKILLED = 60.0  # seconds of being killed after which who still lives is one
KEEPS = "what is left of it keeps the slot and its GPUs until the kernel is done with it"
UNCOUNTED = "files that the engine does not count, or not in time: its `disk` limit is not kept"
THROTTLED = "it is frozen again and again, so that no other job pays for that"
SPELT_OUT = 6  # slots that a line to type names each


def slot_conditions(
    rows: Iterable[SlotStatus],
    world: World,
    now: float,
    lines: EngineLines,
    refused: Mapping[PoolName, str] = MappingProxyType({}),
) -> list[Condition]:
    """The conditions of all slots, those of one pool with the same cause as one.

    That a slot is held since its pool is ``refused`` is said of the pool.
    """
    found = [
        one
        for row in rows
        # (What a person wants to be held its row says.)
        if row.held is None and (one := _condition(row, world, now, lines)) is not None
        if one[1] != refused.get(row.spec.pool.name)
    ]
    return grouped(found)


def stranger_condition(names: Sequence[str], lines: EngineLines) -> Condition:
    """That containers say by their labels that they are agents of this Mayfly, and are not."""
    first, more = names[0], len(names) - 1
    others = f" and {more} more" if more else ""
    return Condition(
        "container.stranger",
        Severity.WARNING,
        f"container {first}{others} bears an agent's labels and is none (a copy of one?): it is left alone",
        lines.on(lines.inspect, first),
    )


def grouped(found: Iterable[tuple[Condition, str]]) -> list[Condition]:
    """Conditions of single slots, each with its cause, as one for each pool, code and cause."""
    groups: dict[tuple[PoolName | None, str, str], list[Condition]] = {}
    for condition, cause in found:
        shared = _of_any_slot(cause, condition)
        groups.setdefault((condition.pool, condition.code, shared), []).append(condition)
    return [_together(members, cause) for (_, _, cause), members in groups.items()]


def _together(members: Sequence[Condition], cause: str) -> Condition:
    first = members[0]
    if len(members) == 1:
        return first
    slots = tuple(slot for member in members for slot in member.slots)
    what = f"{len(slots)} slots of pool {first.pool} ({spanned(slots)})"
    fix = first.fix
    if fix == f"mayfly retry {slots[0]}":
        fix = f"mayfly retry {' '.join(slots) if len(slots) <= SPELT_OUT else '--all'}"
    elif fix == f"mayfly cordon {slots[0]}":
        fix = f"mayfly cordon {' '.join(slots)}"
    return replace(first, text=f"{what} {OF_SLOTS[first.code]}: {cause}", fix=fix, slots=slots)


def _of_any_slot(cause: str, condition: Condition) -> str:
    """The cause as it may be that of other slots of the pool: the slot's own names stand for theirs."""
    for slot in condition.slots:
        own = rf"(?<![\w.-]){re.escape(slot)}(\.[0-9a-z]{{{GENERATION_LENGTH}}})?(?![\w-])"
        cause = re.sub(own, f"{condition.pool}-N", cause)
    # The directory of one agent's witness stands for those of all.
    witness = rf"(?<=/{WITNESSES}/)[0-9a-z]{{{GENERATION_LENGTH}}}(?![\w-])"
    return re.sub(witness, "…", cause)


# The conditions of a slot, and how they are said of several.
OF_SLOTS = {
    "slot.held": "are held",
    "slot.cooling": "keep losing their agents",
    "slot.vacant": "are vacant",
    "slot.starting": "have an agent that does not run yet",
    "slot.failing_jobs": "fail one job after the other while other slots of the pool do not",
    "slot.throttled": "have an agent that does too much of something",
    "slot.paused": "have a container that somebody paused",
    "slot.unkillable": "have an agent that does not die",
    "slot.unmeasured": "have an agent whose disk is not watched",
    "slot.name_taken": "have a container of another name",
    "service.unreachable": "have a client that is in trouble with its service",
}


def spanned(slots: Sequence[SlotName]) -> str:
    """The names in short: ``gpu-0 to gpu-55`` where they follow each other, else the first and how many."""
    ends = [name.rpartition("-")[2] for name in slots]
    numbers = [number for end in ends if (number := whole_number(end)) is not None]
    if len(numbers) == len(slots) and numbers == [numbers[0] + n for n in range(len(numbers))]:
        return f"{slots[0]} to {slots[-1]}"
    return f"{slots[0]} and {len(slots) - 1} more"


def _condition(
    row: SlotStatus, world: World, now: float, lines: EngineLines
) -> tuple[Condition, str] | None:
    """What is the matter with a slot, and the cause that it may share with others; ``None``: nothing."""
    name, known = row.spec.name, row.memory
    describe = f"mayfly describe {name}"
    if row.phase is Phase.HELD:
        fix = f"mayfly retry {name}" if known.held else _line_in(row.note, lines) or describe
        return _of(
            row, "slot.held", Severity.ERROR, f"slot {name} is held: {row.note}", fix
        ), row.note
    if known.held is not None and row.configured:
        text = f"slot {name} gets no next agent: {known.held}"
        fix = f"mayfly retry {name}"
        return _of(row, "slot.held", Severity.ERROR, text, fix), known.held
    if _keeps_failing(row, now):
        text = f"slot {name} keeps losing its agent, {known.failures} in a row: {known.reason}"
        return _of(row, "slot.cooling", Severity.ERROR, text, describe), known.reason
    vacancy = DEADLINES[Phase.VACANT].seconds or 0.0
    if row.phase is Phase.VACANT and known.cordon is None and row.since is not None:
        if now - row.since <= vacancy:
            return None
        text = f"slot {name} has been vacant for {now - row.since:.0f} s"
        return _of(row, "slot.vacant", Severity.WARNING, text, describe), row.note
    if (waits := _waits(row, world, now)) is not None:
        text = f"the agent of slot {name} does not run yet: {waits[0]}"
        fix = lines.on(lines.inspect, waits[1])
        return _of(row, "slot.starting", Severity.WARNING, text, fix), waits[0]
    if row.agent is not None and row.agent.throttled is not None and not row.agent.settled:
        cause = f"it {too_much(row.agent)}"
        who = "job" if row.agent.committed is not None else "image"  # whose programs it runs
        text = f"the {who} of slot {name} {too_much(row.agent)}: {THROTTLED}"
        fix = f"mayfly logs {name}"
        return _of(row, "slot.throttled", Severity.WARNING, text, fix), cause
    if (paused := _paused(row, world)) is not None:
        text = f"the container of slot {name} is paused, by somebody and not by Mayfly"
        fix = lines.on(lines.unpause, paused)
        return _of(row, "slot.paused", Severity.ERROR, text, fix), "by somebody and not by Mayfly"
    if (since := _dying_since(row, world)) is not None and now - since > UNKILLED:
        text = (
            f"the agent of slot {name} has been killed for {now - since:.0f} s and lives: {KEEPS}"
        )
        return _of(row, "slot.unkillable", Severity.ERROR, text, describe), KEEPS
    if _is_unmeasured(row, world):
        text = f"the agent of slot {name} has {UNCOUNTED}"
        fix = f"mayfly drain {name} --force   # ends its job"
        return _of(row, "slot.unmeasured", Severity.WARNING, text, fix), UNCOUNTED
    called = misnamed(row, world, now)
    if called is None:
        return None
    text = f"the container of slot {name} is called {called}: another has its name"
    fix = lines.on(lines.rename, name)
    return _of(row, "slot.name_taken", Severity.WARNING, text, fix), "others have their names"


def _line_in(note: str, lines: EngineLines) -> str | None:
    """The first line to type that a note holds between backquotes."""
    programs = {"mayfly", "sudo", lines.inspect.removeprefix("sudo ").partition(" ")[0]}
    typed = re.findall(r"`([^`]+)`", note)
    return next((line for line in typed if line.partition(" ")[0] in programs), None)


def _keeps_failing(row: SlotStatus, now: float) -> bool:
    """Whether its agents keep dying young, often or for long, and none has been well for a while since."""
    known = row.memory
    if row.phase is Phase.BUSY:
        return False
    if row.phase is Phase.IDLE and row.since is not None and now - row.since > WELL:
        return False
    since = known.failing_since
    long = since is not None and now - since >= FAILING and known.failures > 1
    return known.failures >= FAILURES or long


def _of(row: SlotStatus, code: str, severity: Severity, text: str, fix: str) -> Condition:
    return Condition(code, severity, text, fix, row.spec.pool.name, (row.spec.name,))


def _waits(row: SlotStatus, world: World, now: float) -> tuple[str, str] | None:
    """For what the slot's agent has long not come to run, and what its container is called; ``None``: it has,
    or nobody says.
    """
    agent = row.agent
    if agent is None or agent.ready is not None or agent.settled or agent.doom is not None:
        return None
    container = (world.containers or {}).get(agent.generation)
    if container is None or not container.waits or now - agent.born <= SLOW:
        return None
    return container.waits, container.name


def _paused(row: SlotStatus, world: World) -> str | None:
    """What the slot's container is called where it is paused; ``None`` where it is not."""
    container = (world.containers or {}).get(row.agent.generation) if row.agent else None
    if container is None or container.state is not ContainerState.PAUSED:
        return None
    return container.name


def _is_unmeasured(row: SlotStatus, world: World) -> bool:
    """Whether nobody knows how much the slot's agent has written, and its pool has a limit to that."""
    limited = row.spec.pool.limits.disk is not None
    return limited and row.agent is not None and row.agent.generation in world.unmeasured


def _dying_since(row: SlotStatus, world: World) -> float | None:
    """Since when the slot's agent is being killed, its stop ladder done; ``None`` where it is not."""
    agent = row.agent
    if agent is None or agent.doom is None or agent.settled:
        return None
    container = (world.containers or {}).get(agent.generation)
    if container is None or not container.live:
        return None
    gently = 0.0 if agent.embedded else LETTING_GO
    return agent.doom.at + gently + sum(step.grace for step in row.spec.ladder)


def misnamed(row: SlotStatus, world: World, now: float) -> str | None:
    """What the slot's container is called where it has not got the slot's name; ``None`` where it has."""
    agent = row.agent
    if agent is None or row.since is None or not row.configured or agent.ready is None:
        return None
    container = (world.containers or {}).get(agent.generation)
    if container is None or container.name == row.spec.name:
        return None
    if not agent.embedded and agent.enrolled is None:
        return None  # it is named once its service has given it an enrolment
    return container.name if now - max(row.since, agent.opened or 0.0) > NAMING else None


def service_conditions(
    contacts: Contacts, refused: Mapping[PoolName, str], now: float
) -> list[Condition]:
    """A condition for each pool whose service is down or slow, fails at what it is asked, or refuses us."""
    found = [_of_service("service.refused", pool, why) for pool, why in refused.items()]
    for pool, contact in contacts.pools.items():
        if pool in refused:
            continue
        failing, since = trouble(contact, now), awaited_since(contact, now)
        if failing is not None:
            code = "service.refused" if failing.failure.lasting else "service.down"
            found.append(_of_service(code, pool, failing.failure.text))
        elif since is not None:
            text = f"the service of pool {pool} has not answered for {now - since:.0f} s"
            found.append(_of_service("service.down", pool, text))
    return found


def _of_service(code: str, pool: PoolName, text: str) -> Condition:
    return Condition(code, Severity.ERROR, text, "mayfly doctor", pool)


def client_conditions(
    rows: Iterable[SlotStatus], reported: Reported, now: float
) -> list[Condition]:
    """A condition for the agents of a pool whose clients tell of the same trouble with their service."""
    found: list[tuple[Condition, str]] = []
    for row in rows:
        one = reported.troubles.get(row.spec.name)
        if one is None or not _in_trouble(row, one, now):
            continue
        text = f"the client of slot {row.spec.name} is in trouble with its service: {one.text}"
        fix = f"mayfly logs {row.spec.name}; mayfly doctor"
        found.append((_of(row, "service.unreachable", Severity.ERROR, text, fix), one.text))
    return grouped(found)


def _in_trouble(row: SlotStatus, one: Trouble, now: float) -> bool:
    """Whether the slot's agent, or the one before it, has a trouble that is to be told."""
    if row.agent is None or row.phase is Phase.BUSY:
        return False
    if one.generation == row.agent.generation:
        return one.goes_on(now, SHOWN) and (one.again or now - one.since >= CLIENT_GRACE)
    if not one.again and one.last - one.since < CLIENT_GRACE and one.until is not None:
        return False
    # Its own word is awaited: without that, one condition would come and go with each agent.
    if row.phase is Phase.IDLE:
        return row.spec.proof != "roster" and now - one.last < SHOWN
    return one.goes_on(now, SHOWN)


def queue_conditions(rows: Iterable[SlotStatus], memory: Memory) -> list[Condition]:
    """A condition for each pool that has queued jobs and no slot that could ever take one."""
    pools = {row.spec.pool.name for row in rows if row.configured}
    waiting: dict[PoolName, list[JobId]] = {}
    for job in memory.jobs.values():
        if job.agent is None and job.pool not in pools:
            waiting.setdefault(job.pool, []).append(job.id)
    return [
        Condition(
            "queue.no_slot",
            Severity.ERROR,
            f"{len(jobs)} queued job{'s' if len(jobs) > 1 else ''} of pool {pool} will never run: no slot is"
            f" of that pool",
            f"mayfly cancel {jobs[0]}   # or configure the pool again",
            pool,
        )
        for pool, jobs in waiting.items()
    ]
