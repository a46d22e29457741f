"""The history as everyone but its writer reads it: read-only, one connection a thread."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mayfly.core.commands import Payload
from mayfly.core.facts import FORMER_EVENTS, PRESENT_EVENTS
from mayfly.core.lifetime import seconds_in_phases
from mayfly.core.memory import Memory
from mayfly.core.model import JobId, JobState
from mayfly.core.queue_estimate import RUNS
from mayfly.core.runs import standing
from mayfly.core.usage_report import Work
from mayfly.core.workspace import Brought
from mayfly.edge.faults import Refused
from mayfly.edge.history_file import FILE_NAME, SCHEMA_VERSION, check_version, translated
from mayfly.edge.history_rows import (
    JOB_COLUMNS,
    RESERVATIONS,
    agent_from,
    remembered,
    reservation_from,
)
from mayfly.edge.history_work import works
from mayfly.edge.veiled import unveiled

PAGE = 200  # runs that are looked at at once
EVENTS_FIRST = "SELECT * FROM events WHERE seq > ? AND (? IS NULL OR slot = ?) ORDER BY seq LIMIT ?"


EVENTS_LAST = EVENTS_FIRST.replace("ORDER BY seq", "ORDER BY seq DESC")

LIVES = (
    "FROM lives WHERE exited >= ? AND (? IS NULL OR slot = ?)"
    " AND (? IS NULL OR outcome = ? OR cause = ?)"
    " AND (? IS NULL OR"
    " instr(json_extract(data, '$.lease') || ifnull(json_extract(data, '$.devices'), ''), ?))"
    " ORDER BY exited DESC LIMIT ?"
)
_WANTED = (
    "(:pool IS NULL OR pool = :pool) AND (:state IS NULL OR state = :state)"
    " AND (:uid IS NULL OR uid = :uid) AND (:group IS NULL OR group_id = :group)"
)
_JOBS = "SELECT id, state, serial FROM jobs"
JOBS = (
    f"{_JOBS} WHERE state IN ('queued', 'running') AND {_WANTED} UNION ALL"  # noqa: S608
    f" SELECT * FROM ({_JOBS} WHERE finished >= :since AND {_WANTED}"
    " ORDER BY finished DESC, serial DESC LIMIT :limit) ORDER BY serial"
)


@dataclass(frozen=True, slots=True)
class JobsWanted:
    """Which jobs are to be listed; ``None``: any."""

    limit: int = 100  # of those that have ended; the others are all listed
    pool: str | None = None
    state: str | None = None
    uid: int | None = None  # whose
    since: float | None = None  # of those that have ended: from then on
    group: str | None = None


ALL_JOBS = JobsWanted()


@dataclass(frozen=True, slots=True)
class RunsWanted:
    """Which runs are to be listed; ``None``: any."""

    limit: int = 50
    repository: str | None = None
    ref: str | None = None
    state: str | None = None
    uid: int | None = None  # whose
    since: float | None = None  # submitted from then on


ALL_RUNS = RunsWanted()
LOOKED_AT = 5000  # runs, for those in one state
_RUNS_WANTED = (
    "(:repository IS NULL OR repository = :repository) AND (:ref IS NULL OR ref = :ref)"
    " AND (:uid IS NULL OR uid = :uid) AND submitted >= :since"
)
_RUNS = f"SELECT * FROM runs WHERE {_RUNS_WANTED} ORDER BY submitted DESC, rowid DESC"  # noqa: S608


class HistoryReader:
    """The state file, read-only; safe to use from any thread, each gets a connection of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self._local = threading.local()

    def _rows(
        self, query: str, arguments: Sequence[object] | Mapping[str, object] = ()
    ) -> list[sqlite3.Row]:
        with translated("cannot read the history", self.path):
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
        """The memory as it was when the last commit returned; ``Refused`` where another Mayfly wrote it."""
        version = int(self._rows("PRAGMA user_version")[0][0])
        check_version(version, self.path)
        if version < SCHEMA_VERSION:
            raise Refused(
                f"the state file {self.path} is of an earlier Mayfly (schema {version}, this one has "
                f"{SCHEMA_VERSION}): start the manager of this one, which brings it up to date"
            )
        with translated("cannot read the history", self.path):
            return remembered(self._rows)

    def payload(self, job: JobId) -> Payload | None:
        """What the job runs; ``None`` where there is none of that id that has not ended."""
        rows = self._rows(
            "SELECT argv, env, container, key FROM jobs LEFT JOIN job_keys ON job_keys.job = jobs.id"
            " WHERE id = ? AND finished IS NULL",
            (job,),
        )
        if not rows:
            return None
        argv, env, container, key = rows[0]
        if key is not None:
            env = unveiled(env, key)
        return Payload(tuple(json.loads(argv)), json.loads(env), container)

    def variables(self, job: JobId) -> Mapping[str, str]:
        """The variables of a job that has not ended, or whose container is held; of others none is left."""
        rows = self._rows(
            "SELECT env, key FROM jobs LEFT JOIN job_keys ON job_keys.job = jobs.id WHERE id = ?",
            (job,),
        )
        if not rows:
            return {}
        env, key = rows[0]
        found = json.loads(unveiled(env, key) if key is not None else env)
        return {str(name): str(value) for name, value in found.items()}

    def reserved_until(self, job: JobId) -> float | None:
        """When the reservation ends whose job that is; ``None``: it is none's, or it has not begun."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (f"{RESERVATIONS}{job}",))
        return reservation_from(json.loads(rows[0]["value"])).until if rows else None

    def brought(self, job: JobId) -> Brought | None:
        """What the job brings; ``None`` where it begins nowhere else than any other, or has ended."""
        rows = self._rows(
            "SELECT uid, workspace, stdin, out FROM jobs WHERE id = ? AND finished IS NULL", (job,)
        )
        if not rows or rows[0]["uid"] is None:
            return None
        uid, workspace, stdin, out = rows[0]
        if workspace is None and stdin is None and out == "[]":
            return None
        return Brought(uid, workspace, stdin)

    def needed(self) -> list[tuple[int, str]]:
        """Whose content, by digest, the jobs need that have not ended."""
        rows = self._rows(
            "SELECT uid, workspace, stdin FROM jobs WHERE state IN ('queued', 'running')"
            " AND (workspace IS NOT NULL OR stdin IS NOT NULL)"
        )
        return [
            (row["uid"], digest)
            for row in rows
            for digest in (row["workspace"], row["stdin"])
            if digest is not None
        ]

    def listed_jobs(self, wanted: JobsWanted = ALL_JOBS) -> dict[JobId, JobState]:
        """All queued and running jobs that are wanted, and the last of the ended ones, in the order of
        submission: by id, and how each stands. Of many, all else is read a few at a time.
        """
        named = {**asdict(wanted), "since": wanted.since or 0.0}
        return {JobId(row[0]): JobState(row[1]) for row in self._rows(JOBS, named)}

    def job_rows(self, jobs: Sequence[JobId]) -> list[dict[str, Any]]:
        """Those jobs, in that order; what is forgotten meanwhile is left out.

        Without what they run, which nobody needs of many at once.
        """
        marks = ",".join("?" * len(jobs))
        rows = self._rows(f"SELECT {JOB_COLUMNS} FROM jobs WHERE id IN ({marks})", jobs)  # noqa: S608
        found = {row["id"]: row for row in rows}
        uses = self._gpu_uses([row["agent"] for row in rows if row["finished"] is not None])
        return [
            _job_row(found[one]) | {"gpu_use": uses.get(found[one]["agent"], [])}
            for one in jobs
            if one in found
        ]

    def _gpu_uses(self, generations: Sequence[str | None]) -> dict[str, Any]:
        """What those agents did with their GPUs, for those that have ended."""
        marks = ",".join("?" * len(generations))
        rows = self._rows(
            "SELECT generation, json_extract(data, '$.gpu_use') AS used FROM lives"  # noqa: S608
            f" WHERE generation IN ({marks})",
            generations,
        )
        return {row["generation"]: json.loads(row["used"]) for row in rows if row["used"]}

    def likenesses(self, pool: str) -> dict[JobId, str]:
        """What the runs of each open job of the pool are compared by."""
        rows = self._rows(
            "SELECT id, alike FROM jobs WHERE state IN ('queued', 'running') AND pool = ?"
            " AND alike IS NOT NULL",
            (pool,),
        )
        return {JobId(row["id"]): str(row["alike"]) for row in rows}

    def lasted(self, pool: str, alike: str | None = None) -> list[float]:
        """How many seconds the last jobs ran that succeeded there, of all or of those alike."""
        which = "" if alike is None else "alike = :alike AND "
        rows = self._rows(
            f"SELECT finished - started FROM jobs WHERE pool = :pool AND {which}state = 'succeeded'"  # noqa: S608
            " AND started IS NOT NULL ORDER BY finished DESC LIMIT :runs",
            {"pool": pool, "alike": alike, "runs": RUNS},
        )
        return [max(0.0, float(row[0])) for row in rows]

    def job(self, job: str) -> dict[str, Any] | None:
        """One job, with what is there of its command; ``None`` where there is no such job."""
        rows = self._rows(
            f"SELECT {JOB_COLUMNS}, argv FROM jobs WHERE id = ?",  # noqa: S608
            (job,),
        )
        return _job_row(rows[0]) | {"argv": json.loads(rows[0]["argv"])} if rows else None

    def listed_runs(self, wanted: RunsWanted = ALL_RUNS) -> list[dict[str, Any]]:
        """The runs that are wanted, the last first; of one state only among the last thousands."""
        given = {**asdict(wanted), "since": wanted.since or 0.0}
        found: list[dict[str, Any]] = []
        for at in range(0, LOOKED_AT, PAGE):
            rows = self._rows(f"{_RUNS} LIMIT {PAGE} OFFSET {at}", given)
            told = self._run_rows(rows)
            found += [row for row in told if wanted.state in (None, row["state"])]
            if len(rows) < PAGE or len(found) >= wanted.limit:
                break
        return found[: wanted.limit]

    def run(self, run: str) -> dict[str, Any] | None:
        """One run; ``None`` where there is none of that id."""
        return next(
            iter(self._run_rows(self._rows("SELECT * FROM runs WHERE id = ?", (run,)))), None
        )

    def _run_rows(self, rows: Sequence[sqlite3.Row]) -> list[dict[str, Any]]:
        """Runs with how their jobs stand."""
        marks = ",".join("?" * len(rows))
        counted = self._rows(
            "SELECT group_id, state, count(*) AS jobs, max(finished) AS finished FROM jobs"  # noqa: S608
            f" WHERE group_id IN ({marks}) GROUP BY group_id, state",
            [row["id"] for row in rows],
        )
        jobs: dict[str, dict[JobState, int]] = {}
        ends: dict[str, float] = {}
        for row in counted:
            jobs.setdefault(row["group_id"], {})[JobState(row["state"])] = row["jobs"]
            ends[row["group_id"]] = max(ends.get(row["group_id"], 0.0), row["finished"] or 0.0)
        return [_run_row(row, jobs.get(row["id"], {}), ends.get(row["id"])) for row in rows]

    def members(self, name: str) -> dict[JobId, JobState]:
        """The job of that id, or the jobs of that group, and how they stand."""
        rows = self._rows(
            "SELECT id, state FROM jobs WHERE id = ? UNION ALL"
            " SELECT * FROM (SELECT id, state FROM jobs WHERE group_id = ? ORDER BY serial)",
            (name, name),
        )
        return {JobId(row["id"]): JobState(row["state"]) for row in rows}

    def owner_of_job(self, job: str) -> int | None:
        """The uid of whoever submitted it; ``None`` where nobody did, or an earlier Mayfly had it."""
        rows = self._rows("SELECT uid FROM jobs WHERE id = ?", (job,))
        return rows[0]["uid"] if rows else None

    def owner_of_agent(self, generation: str) -> int | None:
        """The uid of whoever submitted the job that the agent has or had; ``None``: it had none."""
        rows = self._rows(
            "SELECT uid FROM jobs WHERE id = coalesce("
            "(SELECT job FROM lives WHERE generation = ?),"
            " (SELECT json_extract(data, '$.job') FROM agents WHERE generation = ?))",
            (generation, generation),
        )
        return rows[0]["uid"] if rows else None

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
            "SELECT generation FROM lives WHERE slot = ? AND (json_extract(data, '$.opened') IS NOT NULL"
            " OR outcome = 'died_young') ORDER BY exited DESC LIMIT 1",
            (slot,),
        )
        return str(rows[0]["generation"]) if rows else None

    def end_at_gate(self, generation: str) -> str | None:
        """How an agent ended that ended before its gate was opened; ``None`` where it did not."""
        rows = self._rows(
            "SELECT json_extract(data, '$.detail') AS detail FROM lives"
            " WHERE generation = ? AND json_extract(data, '$.opened') IS NULL",
            (generation,),
        )
        return str(rows[0]["detail"] or "it ended at its gate") if rows else None

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
                **_names(row["event"]),
                "slot": row["slot"],
                "agent": row["generation"],
                "job": row["job"],
                **json.loads(row["fields"]),
            }
            for row in rows
        ]
        return found[::-1] if last else found

    def works(self, since: float) -> Iterator[Work]:
        """All runs of jobs that ended since then, the oldest first; a few are read at a time."""
        return works(self._rows, since)

    def known_from(self) -> float | None:
        """When the first agent ended that is remembered; ``None``: none is."""
        found: float | None = self._rows("SELECT min(exited) FROM lives")[0][0]
        return found

    def ended_agents(
        self,
        since: float | None = None,
        slot: str | None = None,
        outcome: str | None = None,
        gpu: str | None = None,
        limit: int = 1000,
    ) -> list[str]:
        """The generations of those agents alone, newest first: of many, all else is read a few at a time."""
        wanted = (since or 0.0, slot, slot, outcome, outcome, outcome, gpu, gpu, limit)
        return [str(row[0]) for row in self._rows(f"SELECT generation {LIVES}", wanted)]

    def gpu_stints(self, since: float, limit: int) -> list[tuple[float, float, tuple[str, ...]]]:
        """Of the agents with GPUs whose gates were opened and that ended since, newest end first: when it was
        opened, when they ended, and which GPUs they had.
        """
        rows = self._rows(
            "SELECT json_extract(data, '$.opened') AS opened, exited, json_extract(data, '$.lease') AS lease,"
            " json_extract(data, '$.devices') AS devices FROM lives WHERE exited >= ? AND opened IS NOT NULL"
            " AND (lease != '[]' OR ifnull(devices, '[]') != '[]') ORDER BY exited DESC LIMIT ?",
            (since, limit),
        )
        return [
            (
                float(row["opened"]),
                float(row["exited"]),
                tuple(json.loads(row["lease"]) or json.loads(row["devices"] or "[]")),
            )
            for row in rows
        ]

    def lives(self, generations: Sequence[str]) -> list[dict[str, Any]]:
        """The lives of those agents, in that order; who is forgotten meanwhile is left out."""
        marks = ",".join("?" * len(generations))
        rows = self._rows(f"SELECT * FROM lives WHERE generation IN ({marks})", generations)  # noqa: S608
        found = {row["generation"]: row for row in rows}
        return [_life_row(found[one]) for one in generations if one in found]


JOB_ROW = (
    *(
        "pool",
        "state",
        "exit_code",
        "cause",
        "slot",
        "agent",
        "submitted",
        "started",
        "finished",
        "owner",
    ),
    *("uid", "name", "command", "priority", "variant", "retry_lost", "lost", "timeout", "detail"),
    "image",
)


def _job_row(row: sqlite3.Row) -> dict[str, Any]:
    found = {"job": row["id"], **{name: row[name] for name in JOB_ROW}}
    told = json.loads(row["results"]) if row["results"] is not None else None
    return found | {
        "group": row["group_id"],
        "after": row["after"].split(),
        "out": json.loads(row["out"]),
        "results": told,
        # what it asked for, whether its agent is of it or a container there
        "image": row["image"] or row["container"],
        # that it is to be held when it has ended: for how many seconds, and who asked
        "hold": json.loads(row["hold"]) if row["hold"] is not None else None,
    }


def _run_row(row: sqlite3.Row, jobs: Mapping[JobState, int], end: float | None) -> dict[str, Any]:
    state = standing(jobs)
    over = state not in (JobState.QUEUED, JobState.RUNNING)
    return {
        "run": row["id"],
        "repository": row["repository"],
        "ref": row["ref"],
        "commit": row["commit_id"],
        "base": row["base"],
        "subject": row["subject"],
        "owner": row["owner"],
        "uid": row["uid"],
        "state": state,
        "submitted": row["submitted"],
        "finished": end if over else None,
        "jobs": {str(one): count for one, count in jobs.items()},
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
        "job_succeeded": data.get("job_succeeded"),
        "oom_kills": row["oom_kills"],
        "ended_for": doom.get("reason"),
        "ended_by": doom.get("by"),
        "image": data["image"],
        "gpus": data["lease"] or data.get("devices", []),
        "gpu_use": data.get("gpu_use", []),
        "bench": data.get("bench"),
        "refused": data.get("refused", 0),
        "refusals": data.get("refusals", []),
        "container": data["container"],
        "born": data["born"],
        "opened": data["opened"],
        "exited": row["exited"],
        "detail": data.get("detail", ""),
        "seconds": seconds_in_phases(agent_from(data), row["exited"]),
    }


def _names(event: str) -> dict[str, str]:
    """An event's name, and beside it for one release what it was called before."""
    name = PRESENT_EVENTS.get(event, event)
    former = FORMER_EVENTS.get(name)
    return {"event": name} | ({"formerly": former} if former is not None else {})
