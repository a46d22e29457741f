"""The state file: what is remembered, the queue, and what happened, in one SQLite database.

One writer (the loop's thread) commits facts and the rows that they change in one transaction, durable when
``commit`` returns. Readers open the file read-only, one connection a thread. A failed commit changes nothing.
Of a job that has ended the environment leaves the file, and until then nobody reads it without its key, which
goes with it; of its command the beginning stays: nobody fills the disk with what is over. Nothing here takes
longer the more there is to forget: that goes in pieces.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mayfly.core.commands import Payload
from mayfly.core.facts import (
    AgentExited,
    AgentOpened,
    ClockJumped,
    ClocksUnlocked,
    Fact,
    GateOpening,
    HoldEnded,
    JobEnded,
    JobSubmitted,
    ManagerPaused,
    ManagerResumed,
    ReservationEnded,
    ResultsTaken,
    RunSubmitted,
    event_name,
    for_everybody,
)
from mayfly.core.kept_texts import COMMAND_KEPT, kept_text, shown_command
from mayfly.core.memory import Agent, Heal, Job, Memory, Pause, Share, ShareKey, TurnAccount
from mayfly.core.model import Generation, JobId, PoolName, SlotName
from mayfly.core.queue_estimate import likeness
from mayfly.core.reservations import Reservation
from mayfly.core.reserved_hours import AllHad
from mayfly.core.reserved_shell import shown
from mayfly.edge.faults import Passing
from mayfly.edge.history_file import BUSY_MS, FILE_NAME, connect, migrate, translated
from mayfly.edge.history_rows import HEALS, NOBODY, RESERVATIONS, had_key, remembered
from mayfly.edge.veiled import veiled

INSTALLATION_KEY = "installation_key"  # the meta value that masks and seals are made with
# ms that a checkpoint waits for who reads (a backup, say): the loop waits with it, and it is tried again.
READERS_MS = 20
COMMITS_A_LOG = 32  # of the write-ahead log, before it may begin anew
PIECE = 200  # rows that one statement forgets; the loop waits for it
FEW = 50  # rows whose commands are cut at once, each of which may be half a mebibyte
# Of each table which rows are to be forgotten, the oldest first.
STALE = (
    ("events", "at < :before ORDER BY at LIMIT :piece"),
    ("events", "seq <= (SELECT max(seq) FROM events) - :most ORDER BY seq LIMIT :piece"),
    *(
        (table, stale.format(table=table, when=when))
        for table, when in (("lives", "exited"), ("jobs", "finished"), ("reserved", "ended"))
        for stale in (
            "{when} < :before ORDER BY {when} LIMIT :piece",
            """{when} IS NOT NULL ORDER BY {when}
               LIMIT max(0, min(:piece, (SELECT count({when}) FROM {table}) - :most))""",
        )
    ),
    # A run goes with its last job; those are forgotten in about the order in which they were submitted.
    (
        "runs",
        """rowid IN (SELECT rowid FROM runs ORDER BY submitted LIMIT :piece)
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE group_id = runs.id)""",
    ),
)


class History:
    """The state file, open for writing by one thread."""

    def __init__(self, state_dir: Path) -> None:
        """Open or make it; ``Refused`` where it is damaged or was written by a newer Mayfly."""
        self.path = state_dir / FILE_NAME
        with translated("cannot open the history", self.path):
            self._db = connect(self.path)
            migrate(self._db, self.path)
        self.path.chmod(0o600)
        self._identity = self._standing()
        self._shares_written: Mapping[ShareKey, Share] = {}
        self._turns_written: Mapping[PoolName, TurnAccount] = {}
        self._heals_written: Mapping[str, Heal] = {}
        self._reservations_written: Mapping[JobId, Reservation] = {}
        self._had_written: AllHad = {}
        self._commits = 0  # since the log last began anew
        self._erased = True  # a manager that was killed may have erased something just before

    def in_place(self) -> bool:
        """Whether its file still stands where it was opened: what is written to another is lost."""
        return self._standing() == self._identity

    def _standing(self) -> tuple[int, int] | None:
        """Device and inode of what stands at its path; ``None``: nothing does."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Write everything into the file proper and let go of it."""
        self.scrub(force=True)
        self._db.close()

    # -- meta -------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """A remembered value; ``None`` where there is none."""
        with translated("cannot read the history", self.path):
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Remember a value, durably."""
        with translated("cannot write the history", self.path):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- memory -----------------------------------------------------------------------------

    def load(self) -> Memory:
        """The memory as it was when the last commit returned."""
        with translated("cannot read the history", self.path):
            memory = remembered(self._db.execute)
        self._shares_written, self._turns_written = memory.shares, memory.turns
        self._heals_written = memory.heals
        self._reservations_written, self._had_written = memory.reservations, memory.had
        return memory

    def commit(
        self,
        facts: Sequence[Fact],
        after: Memory,
        payloads: Mapping[JobId, Payload] | None = None,
        *,
        cursor: str | None = None,
    ) -> int:
        """Put the facts on disk, with the rows of ``after`` that they touch; returns the last event's number.

        ``payloads`` holds what jobs submitted by these facts run, ``cursor`` the Engine's last event seen.
        ``Passing`` where the disk does not take them; then none of them is there. Without facts something is
        written all the same, to try the disk.
        """
        if not self.in_place():
            raise Passing(
                f"cannot record what happened: the state file {self.path} was moved or removed under the "
                "manager: put it back, or restart Mayfly, which begins a new one",
                1.0,
            )
        with translated("cannot record what happened", self.path), self._transaction():
            seq = self._write(facts, after, payloads or {})
            if not facts:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('tried', '')")
            if cursor is not None:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('engine_mark', ?)", (cursor,))
        self._shares_written, self._turns_written = after.shares, after.turns
        self._heals_written = after.heals
        self._reservations_written, self._had_written = after.reservations, after.had
        self._commits += 1
        return seq

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it on disk when it is left, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

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
        if any(isinstance(fact, JobEnded) for fact in facts):
            self._followers(touched.jobs, after)
        self._shares(after.shares)
        self._turns(after.turns)
        self._heals(after.heals)
        self._reservations(after.reservations)
        self._had(after.had)
        return seq

    def _own_row(  # noqa: C901, PLR0912  a case for each fact
        self, fact: Fact, after: Memory, payloads: Mapping[JobId, Payload]
    ) -> None:
        """What a fact leaves behind beyond the rows of what is remembered."""
        match fact:
            case JobSubmitted():
                self._submit(fact, payloads[fact.job.id])
            case RunSubmitted():
                self._run(fact)
            case AgentOpened():
                self._started(fact)
            case JobEnded():
                self._finish(fact)
                # A person may go into its held container, with its variables.
                if not any(one.job == fact.job and one.is_held for one in after.agents.values()):
                    self._forget_variables(fact.job)
            case HoldEnded(generation=generation, job=job):
                self._held_until(fact.at, generation, after.agents.get(generation))
                if job is not None:
                    self._forget_variables(job)
            case ReservationEnded():
                self._was_reserved(fact)
            case ResultsTaken():
                self._db.execute(
                    "UPDATE jobs SET results = ? WHERE id = ? AND agent = ?",
                    (json.dumps(_plain(asdict(fact.results))), fact.job, fact.generation),
                )
            case AgentExited():
                self._life(fact, after)
            case ClocksUnlocked():
                self._measured(fact)
            case ManagerPaused() | ManagerResumed():
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
            told |= {"pool": job["pool"], "by": job["owner"]}
            job = job["id"]
        reserved = told.pop("reservation", None)
        if isinstance(reserved, dict):
            wanted = ("pool", "gpus", "start", "seconds", "shell")
            told |= {key: reserved[key] for key in wanted} | {"by": reserved["owner"]}
            reserved = reserved["id"]
        told |= {"reservation": reserved}
        run = told.pop("run", None)
        if isinstance(run, dict):  # whose commits say what is for its owner and operators
            told |= {"run": run["id"], "by": run["owner"], "jobs": run["jobs"]}
        results = told.pop("results", None)
        if isinstance(results, dict):  # names of files, too, are for its owner and operators
            told |= {"files": results["files"], "bytes": results["size"]}
            told["left_out"] = len(results["left_out"])
        told = for_everybody(told)
        at = told.pop("at")
        slot, generation = told.pop("slot", None), told.pop("generation", None)
        if slot is None and generation is not None:
            row = self._db.execute(
                "SELECT slot, json_extract(data, '$.job') AS job FROM agents WHERE generation = ?",
                (generation,),
            ).fetchone()
            if row is not None:
                slot, job = row["slot"], job or row["job"]
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
        env: str | bytes = json.dumps(dict(payload.env))
        if payload.env:
            env, key = veiled(str(env))
            self._db.execute("INSERT INTO job_keys VALUES (?, ?)", (job.id, key))
        self._db.execute(
            "INSERT INTO jobs"
            " (id, serial, pool, state, argv, env, timeout, submitted, uid, owner, size,"
            " name, priority, group_id, variant, after, awaits, retry_lost, command, alike,"
            " workspace, stdin, out, image, container, hold)"
            " VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job.id,
                job.serial,
                job.pool,
                json.dumps(payload.argv),
                env,
                job.timeout,
                job.submitted,
                job.uid,
                job.owner,
                job.size,
                job.name,
                job.priority,
                job.group,
                job.variant,
                " ".join(job.after),
                " ".join(job.awaits),
                job.retry_lost,
                shown_command(shown(payload.argv)),
                likeness(job.name, payload.argv),
                job.workspace,
                job.stdin,
                json.dumps(job.out),
                job.image,
                job.container,
                _wish(job),
            ),
        )

    def _run(self, fact: RunSubmitted) -> None:
        run, origin = fact.run, fact.run.origin
        self._db.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(run.id, fact.at, origin.repository, origin.ref, origin.commit, origin.base),
                *(origin.subject, run.uid, run.owner),
            ),
        )

    def _job(self, job: Job) -> None:
        self._db.execute(
            "UPDATE jobs SET state = ?, slot = ?, agent = ?, started = ?, tries = ?, cancelled_by = ?,"
            " submitted = ?, awaits = ?, forsaken = ?, lost = ?, hold = ? WHERE id = ?",
            (
                job.state,
                job.slot,
                job.agent,
                job.started,
                job.tries,
                job.cancelled_by,
                job.submitted,
                " ".join(job.awaits),
                job.forsaken,
                job.lost,
                _wish(job),
                job.id,
            ),
        )

    def _followers(self, ended: set[JobId], after: Memory) -> None:
        """Those that were to run after a job that has ended."""
        for job in after.jobs.values():
            if job.after and not ended.isdisjoint(job.after):
                self._job(job)

    def _shares(self, shares: Mapping[ShareKey, Share]) -> None:
        """Those that are not as they were written last."""
        for key, share in shares.items():
            if share != self._shares_written.get(key):
                pool, person, priority = key
                uid = NOBODY if person is None else person
                self._db.execute(
                    "INSERT OR REPLACE INTO shares VALUES (?, ?, ?, ?, ?, ?)",
                    (pool, uid, priority, share.used, share.at, share.started),
                )

    def _turns(self, turns: Mapping[PoolName, TurnAccount]) -> None:
        """Those that are not as they were written last."""
        for pool, account in turns.items():
            if account != self._turns_written.get(pool):
                self._db.execute(
                    "INSERT OR REPLACE INTO turns VALUES (?, ?, ?)",
                    (pool, account.used, account.since),
                )

    def _heals(self, heals: Mapping[str, Heal]) -> None:
        """Those that are not as they were written last."""
        for gpu, heal in heals.items():
            if heal != self._heals_written.get(gpu):
                self._db.execute(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                    (f"{HEALS}{gpu}", json.dumps(asdict(heal))),
                )

    def _reservations(self, reservations: Mapping[JobId, Reservation]) -> None:
        """Those that have changed, and none that is over."""
        for one in reservations.values():
            if one != self._reservations_written.get(one.id):
                self._db.execute(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                    (f"{RESERVATIONS}{one.id}", json.dumps(asdict(one))),
                )
        for gone in self._reservations_written.keys() - reservations.keys():
            self._db.execute("DELETE FROM meta WHERE key = ?", (f"{RESERVATIONS}{gone}",))

    def _had(self, had: AllHad) -> None:
        """What has changed of what people had reserved."""
        for (pool, uid), one in had.items():
            if one != self._had_written.get((pool, uid)):
                self._db.execute(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                    (had_key(pool, uid), json.dumps(asdict(one))),
                )

    def _started(self, fact: AgentOpened) -> None:
        """Needed too when the job ends in the same commit: it is no longer in memory then."""
        self._db.execute(
            "UPDATE jobs SET started = ? WHERE agent = ? AND state = 'running'",
            (fact.at, fact.generation),
        )

    def _finish(self, fact: JobEnded) -> None:
        self._db.execute(
            "UPDATE jobs SET state = ?, cause = ?, exit_code = ?, finished = ?, detail = ? WHERE id = ?",
            (fact.state, fact.cause, fact.exit_code, fact.at, fact.detail, fact.job),
        )

    def _forget_variables(self, job: JobId) -> None:
        emptied = self._db.execute(
            "UPDATE jobs SET env = '{}', argv = kept_command(argv)"
            " WHERE id = ? AND (env != '{}' OR length(argv) > ?)",
            (job, COMMAND_KEPT),
        )
        self._db.execute("DELETE FROM job_keys WHERE job = ?", (job,))
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
                        "detail": kept_text(fact.detail),
                        "job_succeeded": fact.job_succeeded,
                        "gpu_use": [_plain(asdict(use)) for use in fact.gpus],
                        **({"refused": fact.refused} if fact.refused else {}),
                        **({"refusals": _plain(fact.refusals)} if fact.refusals else {}),
                    }
                ),
            ),
        )

    def _held_until(self, at: float, generation: Generation, agent: Agent | None) -> None:
        """For whom its container was held, and how long, beside what else is kept of its agent. Of one that
        is forgotten in the same moment, since its container is gone, the row from before says it.
        """
        if agent is not None:
            hold = asdict(agent.hold) if agent.hold is not None else None
        else:
            row = self._db.execute(
                "SELECT json_extract(data, '$.hold') FROM agents WHERE generation = ?",
                (generation,),
            ).fetchone()
            hold = json.loads(row[0]) if row is not None and row[0] is not None else None
        if hold is None:
            return
        told = [hold["since"], min(at, hold["latest"]), hold["user"]]
        self._db.execute(
            "UPDATE lives SET data = json_set(data, '$.held', json(?)) WHERE generation = ?",
            (json.dumps(told), generation),
        )

    def _was_reserved(self, fact: ReservationEnded) -> None:
        """GPUs that somebody had outside of containers: of a shell its job says it."""
        one = self._reservations_written.get(fact.reservation)
        if one is None or one.shell or one.began is None:
            return
        devices, until = json.dumps(one.devices), min(fact.at, one.ends)
        self._db.execute(
            "INSERT OR IGNORE INTO reserved VALUES (?, ?, ?, ?, ?, ?, ?)",
            (one.id, one.pool, one.owner, one.uid, one.began, until, devices),
        )

    def _measured(self, fact: ClocksUnlocked) -> None:
        """How the GPUs of a job fared whose clocks were locked, beside what else is kept of its agent."""
        told = {
            "clock": fact.clock,
            "memory_clock": fact.memory_clock,
            "held": not fact.unheld,
            "unheld": fact.unheld,
            "gpus": _plain([asdict(one) for one in fact.seen]),
        }
        self._db.execute(
            "UPDATE lives SET data = json_set(data, '$.bench', json(?)) WHERE generation = ?",
            (json.dumps(told), fact.generation),
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
            if not force:
                self._db.execute(f"PRAGMA busy_timeout = {READERS_MS}")
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.DatabaseError:
            return False
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
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

    def prune(self, before: float, most: int) -> bool:
        """Forget what is older than ``before``, and of events, ended agents and ended jobs all but the newest
        ``most`` of each. True where only a piece of that is forgotten yet: call it again.
        """
        bounds = {"before": before, "most": most, "piece": PIECE}
        more = False
        with translated("cannot prune the history", self.path), self._transaction():
            for table, stale in STALE:
                rows = f"SELECT rowid FROM {table} WHERE {stale}"  # noqa: S608
                forgotten = self._db.execute(
                    f"DELETE FROM {table} WHERE rowid IN ({rows})",  # noqa: S608
                    bounds,
                )
                more |= forgotten.rowcount == PIECE
            more |= self._cut_former_commands()
        return more

    def _cut_former_commands(self) -> bool:
        """Cut some commands of ended jobs that an earlier Mayfly kept whole; whether there are more."""
        up_to = self.meta("whole_commands")
        if up_to is None:
            return False
        found = self._db.execute(
            "SELECT rowid FROM jobs WHERE rowid <= ? ORDER BY rowid DESC LIMIT ?", (int(up_to), FEW)
        ).fetchall()
        if not found:
            self._db.execute("DELETE FROM meta WHERE key = 'whole_commands'")
            return False
        last = found[-1]["rowid"]
        cut = self._db.execute(
            "UPDATE jobs SET argv = kept_command(argv)"
            " WHERE rowid BETWEEN ? AND ? AND finished IS NOT NULL AND length(argv) > ?",
            (last, int(up_to), COMMAND_KEPT),
        )
        self._erased |= cut.rowcount > 0
        self.set_meta("whole_commands", str(last - 1))
        return True


def _wish(job: Job) -> str | None:
    return json.dumps(asdict(job.hold)) if job.hold is not None else None


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
            self.jobs.update(after.jobs)
        if isinstance(fact, JobEnded):
            self.jobs.add(fact.job)
        if isinstance(fact, AgentExited) and fact.job_succeeded is not None:
            # What came of a job counts beside those that failed in other slots.
            self.slots.update(name for name, slot in after.slots.items() if slot.failed_run)
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
        if isinstance(fact, GateOpening) and agent is not None and agent.devices:
            # Nothing is left on its GPUs of who had them in other slots (unseen_ends.after_opening).
            self.slots.update(after.slots)
        if agent is not None:
            self.slots.add(agent.slot)
            if agent.job is not None:
                self.jobs.add(agent.job)


def _plain(value: Any) -> Any:
    """The value with nested mappings and sequences as JSON has them, and of its texts what is kept."""
    if isinstance(value, str):
        return kept_text(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
