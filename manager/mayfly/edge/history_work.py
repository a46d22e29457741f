"""Which jobs ran, for how long, for whom and on what, read from the history a piece at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mayfly.core.lifetime import began_at
from mayfly.core.model import Phase, UseOf
from mayfly.core.usage_report import Work

# agents at once: a long history is not in memory, and no reader keeps the log from ending
PIECE = 2000
# Seconds before the report in which a job may have ended whose container was held until then.
HELD_MOST = 14 * 86400.0
# All of a life in one call, since SQLite reads its text anew for each.
_WORK = (
    "SELECT lives.rowid AS number, lives.exited, lives.generation, lives.pool,"
    " json_extract(lives.data, '$.embedded', '$.opened', '$.confirmed', '$.confirmed_at', '$.lease',"
    " '$.devices', '$.gpu_use', '$.held') AS life,"
    " jobs.owner, jobs.uid, jobs.submitted, jobs.started, jobs.agent, runs.repository"
    " FROM lives LEFT JOIN jobs ON jobs.id = lives.job LEFT JOIN runs ON runs.id = jobs.group_id"
    " WHERE (lives.exited, lives.rowid) > (?, ?) ORDER BY lives.exited, lives.rowid LIMIT ?"
)
# What was reserved for work outside of containers.
_RESERVED = (
    "SELECT rowid AS number, pool, owner, began, ended, devices FROM reserved"
    " WHERE (ended, rowid) > (?, ?) ORDER BY ended, rowid LIMIT ?"
)
Rows = Callable[[str, Sequence[object]], Sequence[sqlite3.Row]]


def works(rows: Rows, since: float) -> Iterator[Work]:
    """All that ended since then and had a job, the oldest first; then what people had without one."""
    for row in _pieces(rows, _WORK, "exited", since - HELD_MOST):
        if row["exited"] > since and (found := _work(row)) is not None:
            yield found
        if (held := _held(row)) is not None and held.ended > since:
            yield held
    for row in _pieces(rows, _RESERVED, "ended", since):
        yield Work(
            pool=row["pool"],
            began=row["began"],
            ended=row["ended"],
            person=row["owner"],
            devices=tuple(json.loads(row["devices"])),
            job=False,
        )


def _pieces(rows: Rows, query: str, at: str, since: float) -> Iterator[sqlite3.Row]:
    """The rows that ended since then."""
    last: tuple[float, int] = (since, -1)
    while piece := rows(query, (*last, PIECE)):
        yield from piece
        last = (piece[-1][at], piece[-1]["number"])
        if len(piece) < PIECE:
            return


def _held(row: sqlite3.Row) -> Work | None:
    """The time for which its container was held for a person; ``None``: it was not, or is yet."""
    *_, lease, devices, _, held = json.loads(row["life"])
    if not held:
        return None
    began, ended, user = held
    return Work(
        pool=row["pool"],
        began=began,
        ended=max(began, ended),
        person=user or None,
        repository=row["repository"],
        devices=tuple(lease or devices or ()),
        job=False,
    )


def _work(row: sqlite3.Row) -> Work | None:
    embedded, opened, confirmed, confirmed_at, lease, devices, used, _ = json.loads(row["life"])
    began = began_at(embedded, opened, confirmed == Phase.BUSY, confirmed_at)
    if began is None:
        return None
    had = tuple(lease or devices or ())
    energy, measured = _energy(had, used or ())
    person = row["owner"] or (f"uid {row['uid']}" if row["uid"] is not None else None)
    return Work(
        pool=row["pool"],
        began=min(began, row["exited"]),
        ended=row["exited"],
        person=person,
        repository=row["repository"],
        waited=_waited(row),
        devices=had,
        energy=energy,
        measured=measured,
    )


def _waited(row: sqlite3.Row) -> float | None:
    """Of a job that was lost and ran again, until the last time that it began."""
    if row["agent"] != row["generation"] or row["started"] is None:
        return None
    return max(0.0, float(row["started"] - row["submitted"]))


def _energy(had: tuple[str, ...], used: Sequence[dict[str, Any]]) -> tuple[dict[str, float], bool]:
    """Joules of each device, and whether that is all; of a shared GPU nothing is one job's."""
    energy: dict[str, float] = {}
    whole = 0
    for use in used:
        joules = use.get("energy")
        if joules is not None and use.get("use_of") == UseOf.GPU:
            energy[use["uuid"]] = float(joules)
            whole += not use.get("partial")
    return energy, whole == len(had)
