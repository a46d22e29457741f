"""The state file: what is remembered, the queue, and what happened, in one SQLite database.

One writer (the loop's thread) commits facts and the rows that they change in one transaction, durable when
``commit`` returns. Readers open the file read-only, one connection a thread. A failed commit changes nothing.
A job's environment leaves the file when the job has ended.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from manager.core.facts import (
    AgentExited,
    AgentOpened,
    ClockJumped,
    Fact,
    JobEnded,
    JobSubmitted,
    PoolPaused,
    PoolResumed,
    event_name,
)
from manager.core.memory import Agent, Cordon, Doom, Job, Memory, Pause, SlotMemory
from manager.core.model import (
    DoomReason,
    Generation,
    JobId,
    JobState,
    Phase,
    SlotName,
)
from manager.edge.faults import Passing, Refused

FILE_NAME = "mayfly.sqlite"
COMMITS_A_LOG = 32  # of the write-ahead log, before it may begin anew
SCHEMA_VERSION = 1
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
)


@dataclass(frozen=True, slots=True)
class Payload:
    """What a job runs: its command line and its environment (which may hold secrets)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]

    def __repr__(self) -> str:
        """Without the environment."""
        return f"Payload(argv={self.argv!r}, env=****)"


@contextmanager
def _translated(what: str, path: Path) -> Iterator[None]:
    """SQLite's errors as the three families."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "malformed" in text or "not a database" in text:
            raise Refused(
                f"{what}: the state file {path} is damaged ({text}); move it away to start afresh, "
                "or restore it from a backup: nothing was changed"
            ) from error
        if "locked" in text:
            raise Passing(
                f"{what}: the state file {path} is locked by another process", 1.0
            ) from error
        raise Passing(
            f"{what}: the state file {path} cannot be written ({text}); see to the disk's space and health",
            1.0,
        ) from error


class History:
    """The state file, open for writing by one thread."""

    def __init__(self, state_dir: Path) -> None:
        """Open or make it; ``Refused`` where it is damaged or was written by a newer Mayfly."""
        self.path = state_dir / FILE_NAME
        with _translated("cannot open the history", self.path):
            self._db = _connect(self.path)
            _migrate(self._db, self.path)
        self.path.chmod(0o600)
        self._commits = 0  # since the log last began anew
        self._erased = True  # a manager that was killed may have erased something just before

    def close(self) -> None:
        """Write everything into the file proper and let go of it."""
        self.scrub(force=True)
        self._db.close()

    # -- meta -------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """A remembered value; ``None`` where there is none."""
        with _translated("cannot read the history", self.path):
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Remember a value, durably."""
        with _translated("cannot write the history", self.path):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- memory -----------------------------------------------------------------------------

    def load(self) -> Memory:
        """The memory as it was when the last commit returned."""
        with _translated("cannot read the history", self.path):
            return _remembered(self._db.execute)

    def commit(
        self,
        facts: Sequence[Fact],
        after: Memory,
        payloads: Mapping[JobId, Payload] | None = None,
        *,
        mark: str | None = None,
    ) -> int:
        """Put the facts on disk, with the rows of ``after`` that they touch; returns the last event's number.

        ``payloads`` holds what jobs submitted by these facts run, ``mark`` the last event seen of the Engine.
        ``Passing`` where the disk does not take them; then none of them is there.
        """
        with _translated("cannot record what happened", self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                seq = self._write(facts, after, payloads or {})
                if mark is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO meta VALUES ('engine_mark', ?)", (mark,)
                    )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._commits += 1
        return seq

    def _write(
        self, facts: Sequence[Fact], after: Memory, payloads: Mapping[JobId, Payload]
    ) -> int:
        """The facts, then the rows that they touch."""
        touched = _Touched(set(), set(), set())
        seq = 0
        for fact in facts:
            seq = self._event(fact)
            touched.add(fact, after)
            self._own_row(fact, after, payloads)
        for generation in touched.agents:
            self._agent(generation, after.agents.get(generation))
        for name in touched.slots & after.slots.keys():
            self._db.execute(
                "INSERT OR REPLACE INTO slots VALUES (?, ?)",
                (name, json.dumps(asdict(after.slots[name]))),
            )
        for job_id in touched.jobs & after.jobs.keys():
            self._job(after.jobs[job_id])
        return seq

    def _own_row(self, fact: Fact, after: Memory, payloads: Mapping[JobId, Payload]) -> None:
        """What a fact leaves behind beyond the rows of what is remembered."""
        match fact:
            case JobSubmitted():
                self._submit(fact, payloads[fact.job.id])
            case AgentOpened():
                self._started(fact)
            case JobEnded():
                self._finish(fact)
            case AgentExited():
                self._life(fact, after)
            case PoolPaused() | PoolResumed():
                self._pause(after.pause)
            case _:
                pass

    def _event(self, fact: Fact) -> int:
        told = _plain(asdict(fact))
        agent = told.pop("agent", None)
        if isinstance(agent, dict):
            told |= {key: agent[key] for key in ("generation", "slot", "image", "lease")}
        job = told.pop("job", None)
        if isinstance(job, dict):
            told |= {"pool": job["pool"]}
            job = job["id"]
        at = told.pop("at")
        slot, generation = told.pop("slot", None), told.pop("generation", None)
        if slot is None and generation is not None:
            row = self._db.execute(
                "SELECT slot FROM agents WHERE generation = ?", (generation,)
            ).fetchone()
            slot = row[0] if row is not None else None
        told = {key: value for key, value in told.items() if value is not None}
        cursor = self._db.execute(
            "INSERT INTO events (at, event, slot, generation, job, fields) VALUES (?, ?, ?, ?, ?, ?)",
            (at, event_name(fact), slot, generation, job, json.dumps(told)),
        )
        return int(cursor.lastrowid or 0)

    def _agent(self, generation: Generation, agent: Agent | None) -> None:
        if agent is None:
            self._db.execute("DELETE FROM agents WHERE generation = ?", (generation,))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO agents VALUES (?, ?, ?)",
                (generation, agent.slot, json.dumps(asdict(agent))),
            )

    def _submit(self, fact: JobSubmitted, payload: Payload) -> None:
        job = fact.job
        self._db.execute(
            "INSERT INTO jobs (id, serial, pool, state, argv, env, timeout, submitted)"
            " VALUES (?, ?, ?, 'queued', ?, ?, ?, ?)",
            (
                job.id,
                job.serial,
                job.pool,
                json.dumps(payload.argv),
                json.dumps(dict(payload.env)),
                job.timeout,
                job.submitted,
            ),
        )

    def _job(self, job: Job) -> None:
        self._db.execute(
            "UPDATE jobs SET state = ?, slot = ?, agent = ?, started = ?, tries = ?, cancelled_by = ?"
            " WHERE id = ?",
            (job.state, job.slot, job.agent, job.started, job.tries, job.cancelled_by, job.id),
        )

    def _started(self, fact: AgentOpened) -> None:
        """Also where the job ends in the same commit, and is no more among what is remembered."""
        self._db.execute(
            "UPDATE jobs SET started = ? WHERE agent = ? AND state = 'running'",
            (fact.at, fact.generation),
        )

    def _finish(self, fact: JobEnded) -> None:
        self._db.execute(
            "UPDATE jobs SET state = ?, cause = ?, exit_code = ?, finished = ? WHERE id = ?",
            (fact.state, fact.cause, fact.exit_code, fact.at, fact.job),
        )
        emptied = self._db.execute(
            "UPDATE jobs SET env = '{}' WHERE id = ? AND env != '{}'", (fact.job,)
        )
        self._erased |= emptied.rowcount > 0

    def _life(self, fact: AgentExited, after: Memory) -> None:
        agent = after.agents.get(fact.generation)
        if agent is None:
            return
        self._db.execute(
            "INSERT OR REPLACE INTO lives VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                agent.generation,
                agent.slot,
                agent.pool,
                fact.at,
                fact.outcome,
                fact.cause,
                fact.exit_code,
                fact.oom_kills,
                agent.job,
                json.dumps(
                    {
                        **_plain(asdict(agent)),
                        "detail": fact.detail,
                        "gpu_use": [_plain(asdict(use)) for use in fact.gpus],
                    }
                ),
            ),
        )

    def _pause(self, pause: Pause | None) -> None:
        if pause is None:
            self._db.execute("DELETE FROM meta WHERE key = 'pause'")
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('pause', ?)", (json.dumps(asdict(pause)),)
            )

    # -- upkeep -----------------------------------------------------------------------------

    def scrub(self, *, force: bool = False) -> bool:
        """Make what was erased unreadable in the write-ahead log too; True once that is so.

        Where nothing was, it may let the log begin anew: a commit over what is there already costs half of
        one that makes the file longer.
        """
        if not (self._erased or force):
            self._begin_anew()
            return True
        try:
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.DatabaseError:
            return False
        self._erased = bool(busy)
        return not busy

    def _begin_anew(self) -> None:
        if self._commits < COMMITS_A_LOG:
            return
        self._commits = 0
        with suppress(
            sqlite3.DatabaseError
        ):  # the log goes on growing; no commit is the worse for it
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def prune(self, before: float, most: int) -> None:
        """Forget what is from ``before``, and of events, ended agents and ended jobs all but the newest
        ``most`` of each.
        """
        with _translated("cannot prune the history", self.path):
            self._db.execute("DELETE FROM events WHERE at < ?", (before,))
            self._db.execute(
                "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?", (most,)
            )
            for table, key, when in (("lives", "generation", "exited"), ("jobs", "id", "finished")):
                self._db.execute(f"DELETE FROM {table} WHERE {when} < ?", (before,))  # noqa: S608
                self._db.execute(
                    f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table}"  # noqa: S608
                    f" WHERE {when} IS NOT NULL ORDER BY {when} DESC LIMIT -1 OFFSET ?)",
                    (most,),
                )


EVENTS_FIRST = "SELECT * FROM events WHERE seq > ? AND (? IS NULL OR slot = ?) ORDER BY seq LIMIT ?"
EVENTS_LAST = EVENTS_FIRST.replace("ORDER BY seq", "ORDER BY seq DESC")


class Reader:
    """The state file, read-only; safe to use from any thread, each gets a connection of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self._local = threading.local()

    def _rows(self, query: str, arguments: Sequence[object] = ()) -> list[sqlite3.Row]:
        with _translated("cannot read the history", self.path):
            db = getattr(self._local, "db", None)
            if db is None:
                db = sqlite3.connect(
                    f"file:{self.path}?mode=ro", uri=True, isolation_level=None, timeout=5
                )
                db.row_factory = sqlite3.Row
                self._local.db = db
            return list(db.execute(query, arguments))

    def close(self) -> None:
        """Let go of this thread's connection."""
        db = getattr(self._local, "db", None)
        if db is not None:
            db.close()
            self._local.db = None

    def meta(self, key: str) -> str | None:
        """A remembered value; ``None`` where there is none."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    def memory(self) -> Memory:
        """The memory as it was when the last commit returned; ``Refused`` where a newer Mayfly wrote it."""
        _check_version(int(self._rows("PRAGMA user_version")[0][0]), self.path)
        with _translated("cannot read the history", self.path):
            return _remembered(self._rows)

    def payload(self, job: JobId) -> Payload | None:
        """What the job runs; ``None`` where there is no such job."""
        rows = self._rows("SELECT argv, env FROM jobs WHERE id = ?", (job,))
        if not rows:
            return None
        return Payload(tuple(json.loads(rows[0]["argv"])), json.loads(rows[0]["env"]))

    def jobs(self, limit: int = 100) -> list[dict[str, Any]]:
        """All queued and running jobs, and the last ``limit`` ended ones, in the order of submission."""
        rows = self._rows(
            "SELECT * FROM jobs WHERE state IN ('queued', 'running') UNION ALL"
            " SELECT * FROM (SELECT * FROM jobs WHERE state NOT IN ('queued', 'running')"
            " ORDER BY finished DESC, serial DESC LIMIT ?) ORDER BY serial",
            (limit,),
        )
        return [_job_row(row) for row in rows]

    def job(self, job: str) -> dict[str, Any] | None:
        """One job; ``None`` where there is no such job."""
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", (job,))
        return _job_row(rows[0]) if rows else None

    def generation_of_job(self, job: str) -> str | None:
        """The agent that has or had the job; ``None`` where none did."""
        rows = self._rows("SELECT agent FROM jobs WHERE id = ?", (job,))
        if rows and rows[0]["agent"] is not None:
            return str(rows[0]["agent"])
        return None

    def generation_of_slot(self, slot: str, *, previous: bool = False) -> str | None:
        """The slot's agent, or the last that ended there; ``None`` where there is none."""
        if not previous:
            rows = self._rows(
                "SELECT generation, data FROM agents WHERE slot = ? ORDER BY json_extract(data, '$.serial')",
                (slot,),
            )
            for row in rows:
                if json.loads(row["data"]).get("exited") is None:
                    return str(row["generation"])
        rows = self._rows(
            "SELECT generation FROM lives WHERE slot = ? AND json_extract(data, '$.opened') IS NOT NULL"
            " ORDER BY exited DESC LIMIT 1",
            (slot,),
        )
        return str(rows[0]["generation"]) if rows else None

    def events(
        self, after: int = 0, limit: int = 1000, slot: str | None = None, *, last: bool = False
    ) -> list[dict[str, Any]]:
        """Events numbered above ``after``, oldest first; with ``last``, the newest ``limit`` of them."""
        rows = self._rows(
            EVENTS_LAST if last else EVENTS_FIRST,
            (after, slot, slot, limit),
        )
        found = [
            {
                "seq": row["seq"],
                "at": row["at"],
                "event": row["event"],
                "slot": row["slot"],
                "agent": row["generation"],
                "job": row["job"],
                **json.loads(row["fields"]),
            }
            for row in rows
        ]
        return found[::-1] if last else found

    def history(
        self,
        since: float | None = None,
        slot: str | None = None,
        outcome: str | None = None,
        gpu: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """The lives of agents that ended, newest first."""
        rows = self._rows(
            "SELECT * FROM lives WHERE exited >= ? AND (? IS NULL OR slot = ?)"
            " AND (? IS NULL OR outcome = ? OR cause = ?)"
            " AND (? IS NULL OR instr(json_extract(data, '$.lease'), ?))"
            " ORDER BY exited DESC LIMIT ?",
            (since or 0.0, slot, slot, outcome, outcome, outcome, gpu, gpu, limit),
        )
        return [_life_row(row) for row in rows]


def _remembered(rows: Callable[[str], Iterable[sqlite3.Row]]) -> Memory:
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
        for row in rows("SELECT * FROM jobs WHERE state IN ('queued', 'running') ORDER BY serial")
    }
    serials = [row["serial"] or 0 for row in rows("SELECT max(serial) AS serial FROM jobs")]
    pauses = [
        json.loads(row["value"]) for row in rows("SELECT value FROM meta WHERE key = 'pause'")
    ]
    return Memory(
        agents,
        slots,
        jobs,
        Pause(**pauses[0]) if pauses else None,
        max([*serials, *(agent.serial for agent in agents.values())]),
    )


# -- rows and values -----------------------------------------------------------------------------


def _connect(path: Path) -> sqlite3.Connection:
    old_mask = os.umask(0o077)
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
    finally:
        os.umask(old_mask)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    return db


def _check_version(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise Refused(
            f"the state file {path} was written by a newer Mayfly (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): install that version again, or name another state_dir"
        )


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    _check_version(version, path)
    for number in range(version, SCHEMA_VERSION):
        db.execute("BEGIN IMMEDIATE")
        for statement in MIGRATIONS[number]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number + 1}")
        db.execute("COMMIT")


@dataclass(frozen=True, slots=True)
class _Touched:
    """Whose rows the facts of one commit change."""

    agents: set[Generation]
    slots: set[SlotName]
    jobs: set[JobId]

    def add(self, fact: Fact, after: Memory) -> None:
        """One more fact."""
        if isinstance(fact, ClockJumped):
            self.agents.update(after.agents)
            self.slots.update(after.slots)
        slot, job = getattr(fact, "slot", None), getattr(fact, "job", None)
        if slot is not None:
            self.slots.add(slot)
        if isinstance(job, str):
            self.jobs.add(JobId(job))
        born = getattr(fact, "agent", None)
        generation = born.generation if born is not None else getattr(fact, "generation", None)
        if generation is None:
            return
        self.agents.add(generation)
        agent = after.agents.get(generation)
        if agent is not None:
            self.slots.add(agent.slot)
            if agent.job is not None:
                self.jobs.add(agent.job)


def _plain(value: Any) -> Any:
    """The value with nested mappings and sequences as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that the dataclass has: a newer Mayfly may have written more."""
    names = {entry.name for entry in fields(kind)}
    return {key: value for key, value in data.items() if key in names}


def agent_from(data: Mapping[str, Any]) -> Agent:
    """An agent from its JSON."""
    known = _known(Agent, data)
    known["lease"] = tuple(known.get("lease") or ())
    if known.get("confirmed") is not None:
        known["confirmed"] = Phase(known["confirmed"])
    if known.get("doom") is not None:
        doom = _known(Doom, known["doom"])
        known["doom"] = Doom(**{**doom, "reason": DoomReason(doom["reason"])})
    return Agent(**known)


def slot_from(data: Mapping[str, Any]) -> SlotMemory:
    """What is remembered of a slot, from its JSON."""
    known = _known(SlotMemory, data)
    if known.get("cordon") is not None:
        known["cordon"] = Cordon(**_known(Cordon, known["cordon"]))
    return SlotMemory(**known)


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
    )


def _job_row(row: sqlite3.Row) -> dict[str, Any]:
    names: Iterable[str] = (
        "pool",
        "state",
        "exit_code",
        "cause",
        "slot",
        "agent",
        "submitted",
        "started",
        "finished",
    )
    return {
        "job": row["id"],
        **{name: row[name] for name in names},
        "argv": json.loads(row["argv"]),
    }


def _life_row(row: sqlite3.Row) -> dict[str, Any]:
    data = json.loads(row["data"])
    doom = data.get("doom") or {}
    return {
        "agent": row["generation"],
        "slot": row["slot"],
        "pool": row["pool"],
        "job": row["job"],
        "outcome": row["outcome"],
        "cause": row["cause"],
        "exit_code": row["exit_code"],
        "oom_kills": row["oom_kills"],
        "ended_for": doom.get("reason"),
        "ended_by": doom.get("by"),
        "image": data["image"],
        "gpus": data["lease"],
        "gpu_use": data.get("gpu_use", []),
        "container": data["container"],
        "born": data["born"],
        "opened": data["opened"],
        "exited": row["exited"],
        "detail": data.get("detail", ""),
        "seconds": _seconds(data, row["exited"]),
    }


def _seconds(data: Mapping[str, Any], exited: float) -> dict[str, float]:
    """Seconds that the agent spent in each phase that it came to."""
    stages = (
        ("preparing", "born"),
        ("idle", "ready"),
        ("enrolling", "committed"),
        ("busy", "opened"),
    )
    reached = [(phase, data[key]) for phase, key in stages if data.get(key) is not None]
    ends = [start for _, start in reached[1:]] + [exited]
    return {
        phase: round(max(0.0, end - start), 3)
        for (phase, start), end in zip(reached, ends, strict=True)
    }
