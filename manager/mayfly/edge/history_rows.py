"""What the rows of the history say, as the values of the core."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from mayfly.core.memory import (
    Agent,
    Booking,
    ClockLock,
    Cordon,
    Doom,
    FailedRun,
    Heal,
    HoldWish,
    Job,
    JobHold,
    Memory,
    Pause,
    Share,
    SlotMemory,
    TurnAccount,
    Visit,
)
from mayfly.core.model import (
    ClocksSeen,
    DoomReason,
    Excess,
    Generation,
    Hold,
    JobId,
    JobState,
    Phase,
    PoolName,
    Priority,
    SlotName,
)
from mayfly.core.reservations import Reservation
from mayfly.core.reserved_hours import AllHad, Had

HEALS = "heal "  # what the keys of the resets of GPUs begin with
RESERVATIONS = "reservation "  # what those of reservations begin with
HAD = "reserved "  # and those of what a person had, of a pool
NOBODY = -1  # the uid of jobs that an earlier Mayfly took
# Of a job all but what it runs, which may be a quarter of a mebibyte.
JOB_COLUMNS = (
    "id, pool, serial, state, exit_code, cause, slot, agent, submitted, started, finished, timeout, tries,"
    " cancelled_by, uid, owner, size, name, priority, group_id, variant, after, awaits, forsaken,"
    " retry_lost, lost, detail, command, workspace, stdin, out, results, image, container, hold"
)


def remembered(rows: Callable[[str], Iterable[sqlite3.Row]]) -> Memory:
    """The memory as the rows have it."""
    agents = {
        Generation(row["generation"]): agent_from(json.loads(row["data"]))
        for row in rows("SELECT generation, data FROM agents")
    }
    slots = {
        SlotName(row["name"]): slot_from(json.loads(row["data"]))
        for row in rows("SELECT name, data FROM slots")
    }
    jobs = {
        JobId(row["id"]): _job_from(row)
        for row in rows(
            f"SELECT {JOB_COLUMNS} FROM jobs"  # noqa: S608
            " WHERE state IN ('queued', 'running') ORDER BY serial"
        )
    }
    shares = {
        (
            row["pool"],
            None if row["uid"] == NOBODY else row["uid"],
            Priority(row["priority"]),
        ): Share(row["used"], row["at"], row["started"])
        for row in rows("SELECT * FROM shares")
    }
    turns = {
        PoolName(row["pool"]): TurnAccount(row["used"], row["since"])
        for row in rows("SELECT * FROM turns")
    }
    serials = [row["serial"] or 0 for row in rows("SELECT max(serial) AS serial FROM jobs")]
    pauses = [
        json.loads(row["value"]) for row in rows("SELECT value FROM meta WHERE key = 'pause'")
    ]
    heals = [
        heal_from(json.loads(row["value"]))
        for row in rows(f"SELECT value FROM meta WHERE key GLOB '{HEALS}*'")  # noqa: S608
    ]
    reservations = [
        reservation_from(json.loads(row["value"]))
        for row in rows(
            f"SELECT value FROM meta WHERE key GLOB '{RESERVATIONS}*' ORDER BY key"  # noqa: S608
        )
    ]
    return Memory(
        agents,
        slots,
        jobs,
        Pause(**pauses[0]) if pauses else None,
        max([*serials, *(agent.serial for agent in agents.values())]),
        shares,
        turns,
        {heal.gpu: heal for heal in heals},
        {one.id: one for one in reservations},
        _had(rows(f"SELECT key, value FROM meta WHERE key GLOB '{HAD}*'")),  # noqa: S608
    )


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that the dataclass has: a newer Mayfly may have written more."""
    names = {entry.name for entry in fields(kind)}
    return {key: value for key, value in data.items() if key in names}


def agent_from(data: Mapping[str, Any]) -> Agent:
    """An agent from its JSON."""
    known = _known(Agent, data)
    for key in ("lease", "devices", "out"):
        known[key] = tuple(known.get(key) or ())
    known["excess"] = tuple(Excess(one) for one in known.get("excess") or ())
    visits = known.get("attached") or ()
    known["attached"] = tuple(Visit(**_known(Visit, visit)) for visit in visits)
    if known.get("confirmed") is not None:
        known["confirmed"] = Phase(known["confirmed"])
    if known.get("doom") is not None:
        doom = _known(Doom, known["doom"])
        known["doom"] = Doom(**{**doom, "reason": DoomReason(doom["reason"])})
    if known.get("hold_wish") is not None:
        known["hold_wish"] = _wish_from(known["hold_wish"])
    if known.get("hold") is not None:
        known["hold"] = JobHold(**_known(JobHold, known["hold"]))
    return Agent(**known)


def _wish_from(data: Mapping[str, Any]) -> HoldWish:
    return HoldWish(**_known(HoldWish, data))


def slot_from(data: Mapping[str, Any]) -> SlotMemory:
    """What is remembered of a slot, from its JSON."""
    known = _known(SlotMemory, data)
    if known.get("hold") is not None:
        known["hold"] = Hold(known["hold"])
    for key in ("left", "unseen_devices"):
        known[key] = tuple(known.get(key) or ())
    if known.get("cordon") is not None:
        known["cordon"] = Cordon(**_known(Cordon, known["cordon"]))
    if known.get("clocks") is not None:
        known["clocks"] = _lock_from(known["clocks"])
    if known.get("booking") is not None:
        known["booking"] = Booking(**_known(Booking, known["booking"]))
    if known.get("failed_run") is not None:
        known["failed_run"] = FailedRun(**_known(FailedRun, known["failed_run"]))
    return SlotMemory(**known)


def heal_from(data: Mapping[str, Any]) -> Heal:
    """The last reset of a GPU, from its JSON."""
    known = _known(Heal, data)
    for key in ("together", "devices", "mig", "slots"):
        known[key] = tuple(known.get(key) or ())
    return Heal(**known)


def reservation_from(data: Mapping[str, Any]) -> Reservation:
    """A reservation, from its JSON."""
    known = _known(Reservation, data)
    for key in ("taken", "devices"):
        known[key] = tuple(known.get(key) or ())
    return Reservation(**known)


def had_key(pool: str, uid: int) -> str:
    """Where it is kept what a person had reserved of a pool."""
    return f"{HAD}{pool} {uid}"


def _had(found: Iterable[sqlite3.Row]) -> AllHad:
    all_had = {}
    for row in found:
        pool, uid = str(row["key"]).removeprefix(HAD).rsplit(" ", 1)
        data = json.loads(row["value"])
        hours = tuple((float(at), float(used)) for at, used in data["hours"])
        all_had[PoolName(pool), int(uid)] = Had(float(data["ended"]), hours)
    return all_had


def _lock_from(data: Mapping[str, Any]) -> ClockLock:
    known = _known(ClockLock, data)
    known["gpus"] = tuple(known["gpus"])
    known["began"] = tuple(clocks_seen(one) for one in known.get("began") or ())
    return ClockLock(**known)


def clocks_seen(data: Mapping[str, Any]) -> ClocksSeen:
    """How a GPU fared while its clocks were locked, from its JSON."""
    known = _known(ClocksSeen, data)
    known["throttled"] = tuple(known.get("throttled") or ())
    return ClocksSeen(**known)


def _job_from(row: sqlite3.Row) -> Job:
    running = row["state"] == JobState.RUNNING
    return Job(
        id=row["id"],
        pool=row["pool"],
        serial=row["serial"],
        submitted=row["submitted"],
        timeout=row["timeout"],
        tries=row["tries"],
        agent=row["agent"] if running else None,
        slot=row["slot"] if running else None,
        started=row["started"],
        cancelled_by=row["cancelled_by"],
        uid=row["uid"],
        owner=row["owner"],
        size=row["size"],
        name=row["name"],
        priority=Priority(row["priority"]),
        group=row["group_id"],
        variant=row["variant"],
        after=job_ids(row["after"]),
        awaits=job_ids(row["awaits"]),
        forsaken=row["forsaken"],
        retry_lost=row["retry_lost"],
        lost=row["lost"],
        workspace=row["workspace"],
        stdin=row["stdin"],
        out=tuple(json.loads(row["out"])),
        image=row["image"],
        container=row["container"],
        hold=_wish_from(json.loads(row["hold"])) if row["hold"] is not None else None,
    )


def job_ids(text: str) -> tuple[JobId, ...]:
    """The ids of jobs that stand in one text, apart by spaces."""
    return tuple(JobId(one) for one in text.split())
