"""The SQLite file of the history: where it is, how it is opened, its schema, and what its errors mean.

By hand, since a handful of steps in order needs no library of migrations.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mayfly.core.kept_texts import kept_command_json
from mayfly.edge.descriptors import descriptors
from mayfly.edge.faults import Passing, Refused

FILE_NAME = "mayfly.sqlite"
BUSY_MS = 5000  # that one waits who writes while another does
DAMAGED = frozenset({"CORRUPT", "NOTADB"})
TAKEN = frozenset({"BUSY", "LOCKED"})
UNWRITABLE = frozenset({"FULL", "IOERR", "READONLY", "CANTOPEN", "PERM", "NOLFS"})


SCHEMA_VERSION = 13


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE agents (generation TEXT PRIMARY KEY, slot TEXT NOT NULL, data TEXT NOT NULL)",
        "CREATE TABLE slots (name TEXT PRIMARY KEY, data TEXT NOT NULL)",
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY, serial INTEGER NOT NULL, pool TEXT NOT NULL, state TEXT NOT NULL,
            argv TEXT NOT NULL, env TEXT NOT NULL, timeout REAL, tries INTEGER NOT NULL DEFAULT 0,
            slot TEXT, agent TEXT, cancelled_by TEXT, submitted REAL NOT NULL, started REAL,
            finished REAL, exit_code INTEGER, cause TEXT)""",
        "CREATE INDEX jobs_open ON jobs (state, serial)",
        """CREATE TABLE lives (
            generation TEXT PRIMARY KEY, slot TEXT NOT NULL, pool TEXT NOT NULL, exited REAL NOT NULL,
            outcome TEXT NOT NULL, cause TEXT, exit_code INTEGER, oom_kills INTEGER, job TEXT,
            data TEXT NOT NULL)""",
        "CREATE INDEX lives_exited ON lives (exited)",
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, event TEXT NOT NULL,
            slot TEXT, generation TEXT, job TEXT, fields TEXT NOT NULL)""",
        "CREATE INDEX events_at ON events (at)",
    ),
    # A key in JSON text is unlike any text within a value, where its quotes are escaped.
    tuple(
        f"UPDATE {table} SET data = replace(data, '\"{old}\": ', '\"{new}\": ')"  # noqa: S608
        for table in ("agents", "lives")
        for old, new in (
            ("queue", "embedded"),
            ("told", "cordoned_there"),
            ("boot", "run_id"),
            ("enrolled_in", "enrolled_by_run"),
        )
    ),
    (
        "ALTER TABLE jobs ADD COLUMN uid INTEGER",
        "ALTER TABLE jobs ADD COLUMN owner TEXT",
        "ALTER TABLE jobs ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
        "UPDATE jobs SET size = length(argv) + length(env) WHERE state = 'queued'",
    ),
    (
        "CREATE INDEX jobs_finished ON jobs (finished, serial)",
        # Up to which row commands of ended jobs may be whole: the writer cuts them, a few at a time.
        "INSERT INTO meta SELECT 'whole_commands', coalesce(max(rowid), 0) FROM jobs",
    ),
    (
        "ALTER TABLE jobs ADD COLUMN name TEXT",
        "ALTER TABLE jobs ADD COLUMN priority TEXT NOT NULL DEFAULT 'normal'",
        "ALTER TABLE jobs ADD COLUMN group_id TEXT",
        "ALTER TABLE jobs ADD COLUMN variant TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN after TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN awaits TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN forsaken TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN retry_lost INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN detail TEXT NOT NULL DEFAULT ''",
        # What it runs, in one line for a list, and what makes runs of it comparable.
        "ALTER TABLE jobs ADD COLUMN command TEXT",
        "ALTER TABLE jobs ADD COLUMN alike TEXT",
        "CREATE INDEX jobs_group ON jobs (group_id) WHERE group_id IS NOT NULL",
        "CREATE INDEX jobs_alike ON jobs (pool, alike, finished) WHERE state = 'succeeded'",
        """CREATE TABLE shares (
            pool TEXT NOT NULL, uid INTEGER NOT NULL, priority TEXT NOT NULL,
            used REAL NOT NULL, at REAL NOT NULL, started REAL,
            PRIMARY KEY (pool, uid, priority))""",
    ),
    (
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, submitted REAL NOT NULL, repository TEXT NOT NULL, ref TEXT,
            commit_id TEXT, base TEXT, subject TEXT NOT NULL, uid INTEGER NOT NULL, owner TEXT NOT NULL)""",
        "CREATE INDEX runs_submitted ON runs (submitted)",
        "CREATE INDEX runs_ref ON runs (repository, ref, submitted)",
    ),
    (
        # What it brings, by digest; paths that are brought back, and what came of that, both as JSON.
        "ALTER TABLE jobs ADD COLUMN workspace TEXT",
        "ALTER TABLE jobs ADD COLUMN stdin TEXT",
        "ALTER TABLE jobs ADD COLUMN out TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE jobs ADD COLUMN results TEXT",
    ),
    # By name; none: its pool's own.
    ("ALTER TABLE jobs ADD COLUMN image TEXT",),
    # By name, of the container that it runs in; none: it runs in its agent itself.
    ("ALTER TABLE jobs ADD COLUMN container TEXT",),
    # Of the environments of jobs that have not ended (`edge/veiled.py`); those of before have none.
    ("CREATE TABLE job_keys (job TEXT PRIMARY KEY, key BLOB NOT NULL)",),
    # Of pools in turn.
    ("CREATE TABLE turns (pool TEXT PRIMARY KEY, used REAL NOT NULL, since REAL)",),
    # As JSON, that its container is held when it has ended; none: where its pool says so.
    ("ALTER TABLE jobs ADD COLUMN hold TEXT",),
    (  # what people had reserved for work outside of containers
        """CREATE TABLE reserved (
            id TEXT PRIMARY KEY, pool TEXT NOT NULL, owner TEXT, uid INTEGER, began REAL NOT NULL,
            ended REAL NOT NULL, devices TEXT NOT NULL)""",
        "CREATE INDEX reserved_ended ON reserved (ended)",
    ),
)


def is_there(state_dir: Path) -> bool:
    """Whether a manager has run on that directory; ``Refused`` where this user may not look."""
    try:
        (state_dir / FILE_NAME).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        hint = "; try sudo" if isinstance(error, PermissionError) else ""
        raise Refused(f"{state_dir} cannot be read: {error.strerror}{hint}") from error
    return True


@contextmanager
def translated(what: str, path: Path) -> Iterator[None]:
    """SQLite's errors as the three families, by its result codes (sqlite.org/rescode.html).

    A wrong statement or a broken constraint is a bug, and passes as it is.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        kind = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").partition("_")[0]
        if kind in DAMAGED:
            raise Refused(
                f"{what}: the state file {path} is damaged ({text}); move it away to start afresh, "
                "or restore it from a backup: nothing was changed"
            ) from error
        if kind in TAKEN:
            raise Passing(
                f"{what}: the state file {path} is locked by another process", 1.0
            ) from error
        if kind not in UNWRITABLE:
            raise
        why = "see to the disk's space and health"
        if descriptors().few_left:
            why = "the manager has no file descriptor left: raise LimitNOFILE of its unit"
        raise Passing(
            f"{what}: the state file {path} cannot be written ({text}); {why}", 1.0
        ) from error


def connect(path: Path) -> sqlite3.Connection:
    old_mask = os.umask(0o077)
    try:
        db = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False
        )
    finally:
        os.umask(old_mask)
    db.row_factory = sqlite3.Row
    db.create_function("kept_command", 1, kept_command_json, deterministic=True)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    return db


def check_version(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise Refused(
            f"the state file {path} was written by a newer Mayfly (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): install that version again, or name another state_dir"
        )


def migrate(db: sqlite3.Connection, path: Path) -> None:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    check_version(version, path)
    for number in range(version, SCHEMA_VERSION):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[number]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
