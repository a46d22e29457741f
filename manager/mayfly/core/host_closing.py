"""What it comes to that a host with nothing to do is closed, left, and opened again.

Pure. A closed host's slots are drained by nobody but Mayfly (``CLOSER``): what they had at a service is let
go of there, and what stands at a gate ends. What a person has cordoned stays theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

from mayfly.core.commands import CloseGates, LeaveHost, OpenGates
from mayfly.core.facts import Fact, HostClosing, HostKept, HostPausing, HostReturned, SlotCordoned
from mayfly.core.facts import SlotUncordoned as Uncordoned
from mayfly.core.idleness import CLOSER, kept, work
from mayfly.core.memory import Cordon, Memory
from mayfly.core.model import Desired

NOTE = "this host has nothing to do and is about to be paused"


def effects(
    command: CloseGates | LeaveHost | OpenGates,
    desired: Desired,
    memory: Memory,
    now: float,
) -> tuple[Fact, ...] | str:
    """What is to be on disk; a sentence says why it is not done."""
    match command:
        case CloseGates(since=since):
            refused = why_not(memory, now)
            return refused or (HostClosing(now, since), *_closed(desired, memory, now))
        case LeaveHost(since=since):
            return why_not(memory, now) or (HostPausing(now, since),)
        case OpenGates():
            return (*_told(command, now), *opened(memory, now))


def why_not(memory: Memory, now: float) -> str:
    """Why the host stays; ``""``: it need not. The loop asks: nothing comes between this and the facts."""
    found = (*work(memory), *kept(memory, now))
    return found[0].text if found else ""


def _closed(desired: Desired, memory: Memory, now: float) -> Iterator[Fact]:
    for spec in desired.slots:
        if memory.slot(spec.name).cordon is None:
            yield SlotCordoned(now, spec.name, Cordon(now, CLOSER, NOTE, drain=True))


def _told(command: OpenGates, now: float) -> Iterator[Fact]:
    if command.how:
        yield HostReturned(now, command.away, command.how)
    elif command.reason:
        yield HostKept(now, command.reason)


def opened(memory: Memory, now: float) -> Iterator[Fact]:
    """What was closed for this is open again."""
    for name, known in memory.slots.items():
        if known.cordon is not None and known.cordon.by == CLOSER:
            yield Uncordoned(now, name, CLOSER)


def is_closed(memory: Memory) -> bool:
    """Whether a slot is closed for this."""
    return any(
        known.cordon is not None and known.cordon.by == CLOSER for known in memory.slots.values()
    )


def opened_by_others(desired: Desired, memory: Memory) -> str:
    """Which slot somebody has opened, or made, since all were closed, a sentence; ``""``: none."""
    for spec in desired.slots:
        if memory.slot(spec.name).cordon is None:
            return f"somebody has let slot {spec.name} take jobs"
    return ""
