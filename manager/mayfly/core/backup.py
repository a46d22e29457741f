"""What a backup holds, what it says of itself, and what a restored state is: nothing runs twice by itself.

Pure. A backup is of one moment, and the box that it is of may have gone on after it. So whatever had begun
then is ended in the record and never begun again, and a restored manager begins paused: what was queued then
runs once an operator says so, who alone can know what has become of the other box.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mayfly.core.apply import apply
from mayfly.core.facts import (
    AgentExited,
    AgentRemoved,
    ClocksUnlocked,
    Fact,
    HoldEnded,
    JobEnded,
    ManagerPaused,
    ManagerResumed,
    ReservationEnded,
    SlotReleased,
    SlotUnbooked,
    SlotUncordoned,
)
from mayfly.core.memory import Memory, Pause
from mayfly.core.model import Cause, JobId, JobState
from mayfly.core.outcomes import Result
from mayfly.core.plain_text import clean
from mayfly.core.quantities import rfc3339
from mayfly.core.queue import charged, share_with_hold
from mayfly.core.reserving import ended

SCHEMA = "mayfly.backup/1"
BY = "restore"
# Of the meta values of the state file those that are true of one box at one time.
OF_ONE_RUN = ("engine_mark", "host_boot", "gpu_use", "gpu_quiet", "tried", "moved")
IDENTITY = ("host", "installation_key")  # by which a manager knows its containers


class Part(StrEnum):
    """What an entry of the state directory is to a backup."""

    DATABASE = "database"  # copied as of one moment
    FILES = "files"
    NEEDED = "needed"  # of what is in it, what jobs need that have not ended
    BULK = "bulk"  # left out where a backup is to be small
    TOKENS = "tokens"  # left out unless secrets were asked for
    OF_THE_BOX = "of the box"  # true of this box and this moment alone: left out


# A name stays here for as long as there are backups that have it: a restore takes no other.
PARTS: Mapping[str, Part] = {
    "mayfly.sqlite": Part.DATABASE,
    "idle.db": Part.DATABASE,
    "builds.json": Part.FILES,
    "clients.json": Part.FILES,
    "notices": Part.FILES,
    "pools": Part.FILES,
    "workspaces": Part.NEEDED,
    "output": Part.BULK,
    "results": Part.BULK,
    "agents": Part.OF_THE_BOX,
    "figures": Part.OF_THE_BOX,
    "gateway": Part.OF_THE_BOX,
    "lock": Part.OF_THE_BOX,
    "engine-id": Part.OF_THE_BOX,
    "lease-holder": Part.OF_THE_BOX,
    "clocks-let-go": Part.OF_THE_BOX,
}
BESIDE = ("lost+found", "removed-package")  # what others put into a state directory of Mayfly's
KEPT_ASIDE = "before-restore-"  # what the name of what a restore has put aside begins with
_BESIDE_DATABASES = ("-wal", "-shm", "-journal")


def part_of(name: str, providers: Collection[str] = ()) -> Part | None:
    """What an entry of the state directory is; ``None``: no Mayfly of this version makes one.

    One that is called as a provider has what its service gave once.
    """
    if name in providers:
        return Part.TOKENS
    if name.startswith((".", KEPT_ASIDE)):
        return Part.OF_THE_BOX
    for end in _BESIDE_DATABASES:
        if name.endswith(end) and PARTS.get(name.removesuffix(end)) is Part.DATABASE:
            return Part.OF_THE_BOX
    return PARTS.get(name)


def is_written(name: str, providers: Collection[str], *, secrets: bool) -> bool:
    """Whether `mayfly backup` writes an entry of that name: a restore, which is root's, takes no other."""
    top, _, inner = name.partition("/")
    match top:
        case "config":
            return re.fullmatch(r"config\.toml|conf\.d/[^/]+\.toml", inner) is not None
        case "secrets":
            return secrets and inner != ""
        case "state":
            first = inner.partition("/")[0]
            part = part_of(first, providers)
            if part is Part.TOKENS:
                return secrets
            return part not in (None, Part.OF_THE_BOX) and (
                part is not Part.DATABASE or inner == first
            )
    return False


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself, before all else."""

    id: str
    version: str  # of the Mayfly that wrote it
    state_schema: int
    taken: float  # which moment it is of
    host: str  # what the box is called
    machine: str  # which one it is; "": not known
    state_dir: str
    moved: bool  # the box that it is of starts no manager any more
    secrets: bool
    queued: int
    running: int
    half_life: float  # of shares, seconds
    without_variables: tuple[JobId, ...] = ()  # queued jobs whose variables are not in it

    @property
    def told(self) -> str:
        """Which backup it is, for a sentence."""
        return f"a backup of {self.host} of {rfc3339(self.taken)}"


LATEST = 253_402_300_799.0  # the last second that RFC 3339 can write


def manifest_from(told: Mapping[str, object]) -> Manifest | None:
    """What a backup says of itself; ``None``: it does not say it as `mayfly backup` does. Whoever made the
    file may have written anything.
    """
    texts = {name: told.get(name) for name in ("id", "version", "host", "machine", "state_dir")}
    counts = {name: told.get(name) for name in ("state_schema", "queued", "running")}
    flags = {name: told.get(name) for name in ("moved", "secrets")}
    times = {name: told.get(name) for name in ("taken", "half_life")}
    jobs = told.get("without_variables", [])
    if not (
        all(isinstance(one, str) and one == clean(one) for one in texts.values())
        and all(type(one) is int and one >= 0 for one in counts.values())
        and all(isinstance(one, bool) for one in flags.values())
        and all(type(one) in (int, float) for one in times.values())
        and isinstance(jobs, list)
        and all(isinstance(one, str) for one in jobs)
    ):
        return None
    found = Manifest(
        **{**texts, **counts, **flags, **times},  # type: ignore[arg-type]
        without_variables=tuple(map(JobId, jobs)),
    )
    place = found.state_dir
    is_right = (
        re.fullmatch(r"[A-Za-z0-9]{1,64}", found.id)
        and math.isfinite(found.half_life)
        and found.half_life > 0
        and 0 <= found.taken <= LATEST
        and place.startswith("/")
        and posixpath.normpath(place) == place != "/"
    )
    return found if is_right else None


def unusable(schema: object, state_schema: object, version: object, known: int) -> str | None:
    """Why a backup cannot be restored here; ``None``: it can. ``known``: the newest state schema."""
    newer = isinstance(schema, str) and schema.startswith("mayfly.backup/") and schema != SCHEMA
    if not newer and schema != SCHEMA:
        return "is no backup that `mayfly backup` has written"
    if newer or (isinstance(state_schema, int) and state_schema > known):
        return (
            f"was written by a newer Mayfly ({clean(str(version))}): install that version here, then "
            "restore; nothing was changed"
        )
    return None


def not_to_be_moved(memory: Memory) -> str | None:
    """Why the box cannot be handed over now; ``None``: nothing is under way."""
    at_work = sorted({agent.slot for agent in memory.agents.values() if agent.at_work})
    if at_work:
        return (
            f"something may still run in {', '.join(at_work)}: start the manager, let it end (`mayfly drain "
            "--wait`), and stop the manager again; a backup without --move can be had at any time"
        )
    held = sorted({agent.slot for agent in memory.agents.values() if agent.is_held})
    if held:
        return f"{', '.join(held)} is held for a person: `mayfly release {held[0]}` before"
    begun = sorted(one.id for one in memory.reservations.values() if one.began is not None)
    if begun:
        return f"reservation {begun[0]} has begun: `mayfly release {begun[0]}` before"
    return None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restored memory comes of: first what ended, then what goes with it."""

    ends: tuple[Fact, ...]
    gone: tuple[Fact, ...]


def restored(
    memory: Memory,
    backup: Manifest,
    lacking: Mapping[JobId, str],
    now: float,
    *,
    resumed: bool,
) -> Restored:
    """What is recorded so that the memory of a backup is true here. ``lacking``: why queued jobs cannot be
    run from it; ``resumed``: an operator says that what is queued runs.

    What had begun is accounted for up to the backup, and not for what nobody knows of.
    """
    ends = list(charged(tuple(_ends(memory, backup, lacking)), memory, backup.half_life))
    so_far = apply(memory, ends)
    # Each says what somebody's share is with it: the next counts on from there.
    for one in memory.reservations.values():
        if one.began is not None:
            found = ended(so_far, one, _why(backup), BY, backup.taken, backup.half_life)
            over = [fact for fact in found if isinstance(fact, ReservationEnded)]
            so_far = apply(so_far, over)
            ends += over
    gone: list[Fact] = []
    for agent in memory.agents:
        used = share_with_hold(so_far, agent, backup.taken, backup.half_life)
        gone.append(AgentRemoved(backup.taken, agent, used))
        so_far = apply(so_far, gone[-1:])
    gone += (*_gone(memory, backup), *_pause(memory, backup, now, resumed=resumed))
    return Restored(tuple(ends), tuple(gone))


def _why(backup: Manifest) -> str:
    return f"restored from {backup.told}, when it ran; it may have gone on there"


def _ends(memory: Memory, backup: Manifest, lacking: Mapping[JobId, str]) -> Iterator[Fact]:
    at = backup.taken
    why = _why(backup)
    for agent in memory.agents.values():
        if agent.is_held:
            yield HoldEnded(at, agent.generation, why, None, agent.job)
        elif agent.at_work:
            yield AgentExited(
                at, agent.generation, Result.UNKNOWN, Cause.UNKNOWN, None, None, detail=why
            )
    for job in memory.jobs.values():
        if job.agent is not None:
            yield JobEnded(at, job.id, JobState.LOST, Cause.UNKNOWN, None, detail=why)
        elif job.id in lacking:
            yield JobEnded(at, job.id, JobState.LOST, Cause.NEVER_STARTED, None, lacking[job.id])


def _gone(memory: Memory, backup: Manifest) -> Iterator[Fact]:
    at = backup.taken
    for name, slot in memory.slots.items():
        if slot.clocks is not None:
            lock = slot.clocks
            unheld = "the box was restored from a backup"
            yield ClocksUnlocked(
                at, name, lock.generation, lock.clock, lock.memory_clock, unheld=unheld
            )
        if slot.booking is not None:
            yield SlotUnbooked(at, name, slot.booking.job, "the box was restored from a backup")
        if slot.held is not None or slot.cooling_until is not None:
            yield SlotReleased(at, name, BY)
        if backup.moved and slot.cordon is not None and slot.cordon.drain:
            yield SlotUncordoned(at, name, BY, "it was emptied to move the box")


def _pause(memory: Memory, backup: Manifest, now: float, *, resumed: bool) -> Iterator[Fact]:
    if resumed:
        if memory.pause is not None:
            yield ManagerResumed(now, BY)
        return
    yield ManagerPaused(now, Pause(now, BY, note_of(backup)))


def note_of(backup: Manifest) -> str:
    """Why a restored manager only observes."""
    if backup.moved:
        return f"restored from {backup.told}, which starts no manager any more: mayfly resume"
    return (
        f"restored from {backup.told}: what was queued then may have run there since; cancel what did, then "
        "mayfly resume"
    )


def why_lost(backup: Manifest, unsent: Collection[JobId]) -> Mapping[JobId, str]:
    """Why each job that cannot be run from the backup is lost. ``unsent``: those whose folder or standard
    input is not in it.
    """
    found = dict.fromkeys(unsent, f"what it brings was not in {backup.told}")
    secret = f"its variables were not in {backup.told} (--with-secrets)"
    return {**found, **dict.fromkeys(backup.without_variables, secret)}
