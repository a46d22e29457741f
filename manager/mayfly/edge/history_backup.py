"""The state directory's databases as a backup takes them: as of one moment, while a manager writes.

Nothing here changes what it reads, and no manager waits for it: a database is copied from one snapshot, which
a writer goes on beside.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.model import JobId
from mayfly.edge.faults import Refused
from mayfly.edge.history_file import FILE_NAME, translated

SINCE_KEYS = 10  # the schema that has the keys of jobs' variables in a table of their own
SINCE_CONTENT = 7  # that has what jobs bring
# What may come of reading a file as a state that is none of Mayfly's.
NO_STATE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, sqlite3.Error)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The history as of one moment."""

    schema: int
    queued: int
    running: int
    without_variables: tuple[JobId, ...]
    users: frozenset[int]  # whose content jobs need that have not ended


def copy_database(source: Path, target: Path) -> None:
    """A database as of one moment, in one file; ``Fault`` where it cannot be read, ``OSError`` where the copy
    cannot be written.
    """
    with translated("cannot back up", source), closing(_read_only(source)) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            # It is thrown away where it is not whole, and synced where it is restored.
            copy.execute("PRAGMA synchronous = OFF")
            try:
                db.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                if "full" in str(error) or "I/O" in str(error):
                    raise OSError(
                        errno.ENOSPC, os.strerror(errno.ENOSPC), str(target.parent)
                    ) from error
                raise
    target.chmod(0o600)


def copy_history(state_dir: Path, target: Path, *, variables: bool) -> Snapshot:
    """The same of the history; without the ``variables`` of its jobs nobody can read them from the copy."""
    copy_database(state_dir / FILE_NAME, target)
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA synchronous = OFF")
        schema = int(db.execute("PRAGMA user_version").fetchone()[0])
        counted = dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
        bare = [] if variables else _bared(db, schema)
        users = (
            db.execute(
                "SELECT DISTINCT uid FROM jobs WHERE state IN ('queued', 'running')"
                " AND (workspace IS NOT NULL OR stdin IS NOT NULL)"
            )
            if schema >= SINCE_CONTENT
            else []
        )
        return Snapshot(
            schema,
            counted.get("queued", 0),
            counted.get("running", 0),
            tuple(map(JobId, bare)),
            frozenset(uid for (uid,) in users),
        )


def _bared(db: sqlite3.Connection, schema: int) -> list[str]:
    """Take the variables of all jobs away; the queued ones that had any."""
    found = db.execute("SELECT id FROM jobs WHERE env != '{}' AND state = 'queued'").fetchall()
    db.execute("UPDATE jobs SET env = '{}' WHERE env != '{}'")
    if schema >= SINCE_KEYS:
        db.execute("DELETE FROM job_keys")
    db.execute("VACUUM")
    return [job for (job,) in found]


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5)


def identity(history: Path, keys: Iterable[str]) -> dict[str, str]:
    """Those meta values of a history; none where there is no history, or none that can be read."""
    if not history.exists():
        return {}
    with suppress(sqlite3.Error), closing(_read_only(history)) as db:
        found = {}
        for key in keys:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            if row is None:
                return {}
            found[key] = str(row[0])
        return found
    return {}


def moved(history_meta: str | None) -> str | None:
    """When the box was handed over, in words; ``None``: it was not."""
    if history_meta is None:
        return None
    try:
        return str(json.loads(history_meta)["at"])
    except (ValueError, KeyError, TypeError):
        return "an unknown time"


def refuse_moved(history_meta: str | None) -> None:
    """``Refused`` where the box was handed over: its queue may run on another one."""
    at = moved(history_meta)
    if at is not None:
        raise Refused(
            f"this box was handed over at {at} (`mayfly backup --move`), and its queue may run on another "
            "one; to take it back: mayfly restore --force FILE, with that backup"
        )


def refuse_foreign(database: Path) -> None:
    """``Refused`` where a database of a backup does more than to hold tables: Mayfly makes no such one."""
    with translated("cannot read", database), closing(_read_only(database)) as db:
        found = db.execute(
            "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
            " OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1"
        ).fetchone()
    if found is not None:
        raise Refused(
            f"the backup has a {found[0]} {found[1]!r} in {database.name}, which Mayfly never makes: nothing "
            "was changed"
        )


def forget(history: Path, keys: Iterable[str]) -> None:
    """Take meta values out of a history that nobody has open."""
    with translated("cannot write", history), closing(sqlite3.connect(history)) as db, db:
        db.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in keys])
