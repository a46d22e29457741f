"""A manager without an Engine: the real control socket, a loop that answers, an account in memory.

What stands behind the socket in a real manager (the loop, SQLite, kept output) is played by plain
Python here, so that tests can hold a moment still: a job that has printed half, a manager that is
gone. The socket, its server and everything on the client's side are the real ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import AttachAgent, Command, SubmitJob
from mayfly.core.host_hours import QUARTER, Hours
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.model import JobId, JobState
from mayfly.core.usage_report import Work
from mayfly.edge.history_reader import ALL_JOBS, ALL_RUNS, JobsWanted, RunsWanted
from mayfly.edge.http_connection import Reply, error_reply
from mayfly.edge.output_kept import NOTE, OUT, Chunk
from mayfly.edge.results import ResultStore
from mayfly.edge.workspaces import Bounds, Workspaces
from mayfly.service.attachments import Wanted
from mayfly.service.board import StatusBoard
from mayfly.service.control import Control
from mayfly.service.pending_command import Answer, PendingCommand

Row = dict[str, Any]


def slot(name: str, **other: Any) -> Row:
    """A row of the status document, idle unless said otherwise."""
    pool = name.rpartition("-")[0]
    return {
        "slot": name,
        "pool": pool,
        "provider": "local",
        "phase": "idle",
        "confirmed_by": "queue",
        "cordoned": None,
        "since": "2026-11-21T09:00:00.000Z",
        "agent": "0abc0000def00",
        "container": "c" * 64,
        "standby": None,
        "image": "mayfly/local:cpu",
        "gpus": [],
        "job": None,
        "note": None,
        **other,
    }


def status(*slots: Row, **other: Any) -> Row:
    """The published document."""
    return {
        "schema": "mayfly.status/1",
        "host": "lab1",
        "headline": "all slots are idle",
        "paused": False,
        "slots": list(slots),
        "health": [],
        **other,
    }


def job(name: str, /, **other: Any) -> Row:
    """A row of the queue, queued unless said otherwise."""
    return {
        "job": name,
        "pool": "local",
        "state": "queued",
        "exit_code": None,
        "cause": None,
        "slot": None,
        "agent": None,
        "submitted": "2026-11-21T09:00:00.000Z",
        "started": None,
        "finished": None,
        "owner": None,
        "name": None,
        "command": None,
        "priority": "normal",
        "group": None,
        "variant": "",
        "image": None,
        **other,
    }


def run(name: str, /, **other: Any) -> Row:
    """A run as the disk has it, of one job that is queued unless said otherwise."""
    return {
        "run": name,
        "repository": "/srv/git/lab.git",
        "ref": "refs/heads/main",
        "commit": "c0ffee" + "0" * 34,
        "base": "0" * 40,
        "subject": "Train longer",
        "owner": "ann",
        "uid": 1000,
        "state": "queued",
        "submitted": "2026-11-21T09:00:00.000Z",
        "finished": None,
        "jobs": {"queued": 1},
        **other,
    }


class Account:
    """The ``HistoryReader`` and the ``Output``: rows and output that a test puts there."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.runs: dict[str, Row] = {}
        self.worked: list[Work] = []
        self.owners: dict[str, int] = {}  # uids by job
        self.event_rows: list[Row] = []
        self.agents: list[Row] = []
        self.printed: dict[str, list[Chunk]] = {}
        self.ended: set[str] = set()
        self.at_gate: dict[str, str] = {}
        self.stints: list[tuple[float, float, tuple[str, ...]]] = []
        self.slots: dict[tuple[str, bool], str] = {}
        self.changed = threading.Condition()
        self.fault: Exception | None = None
        self.held_lists = 0  # so many lists of jobs wait until this is 0
        self.waiting_lists = 0

    def prints(self, generation: str, data: bytes, stream: int = OUT) -> None:
        """An agent printed something."""
        with self.changed:
            chunks = self.printed.setdefault(generation, [])
            chunks.append(Chunk(stream, 1_700_000_000.0 + len(chunks) // 2, data))
            self.changed.notify_all()

    def ends(self, generation: str) -> None:
        """An agent ended: its output is whole."""
        with self.changed:
            self.ended.add(generation)
            self.changed.notify_all()

    def listed_jobs(self, wanted: JobsWanted = ALL_JOBS) -> Mapping[JobId, JobState]:
        self._check()
        with self.changed:
            if self.waiting_lists < self.held_lists:
                self.waiting_lists += 1
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.held_lists == 0)
        return {
            JobId(name): JobState(row["state"])
            for name, row in self.rows.items()
            if (wanted.pool is None or row["pool"] == wanted.pool)
            and (wanted.state is None or row["state"] == wanted.state)
            and (wanted.group is None or row["group"] == wanted.group)
            and (wanted.uid is None or self.owners.get(name) == wanted.uid)
        }

    def job_rows(self, jobs: Sequence[JobId]) -> Sequence[Row]:
        return [self.rows[one] for one in jobs]

    def job(self, job: str) -> Row | None:
        self._check()
        return self.rows.get(job)

    def listed_runs(self, wanted: RunsWanted = ALL_RUNS) -> Sequence[Row]:
        self._check()
        given: Row = {"repository": wanted.repository, "ref": wanted.ref, "state": wanted.state}
        given["uid"] = wanted.uid
        return [
            row
            for row in reversed(self.runs.values())
            if all(value in (None, row[key]) for key, value in given.items())
        ][: wanted.limit]

    def run(self, run: str) -> Row | None:
        return self.runs.get(run)

    def owner_of_job(self, job: str) -> int | None:
        return self.owners.get(job)

    def owner_of_agent(self, generation: str) -> int | None:
        found = [name for name, row in self.rows.items() if row["agent"] == generation]
        return self.owners.get(found[0]) if found else None

    def generation_of_job(self, job: str) -> str | None:
        agent = self.rows[job]["agent"]
        return None if agent is None else str(agent)

    def generation_of_slot(self, slot: str, *, previous: bool = False) -> str | None:
        return self.slots.get((slot, previous))

    def gpu_stints(
        self, since: float, limit: int
    ) -> Sequence[tuple[float, float, tuple[str, ...]]]:
        self._check()
        return [one for one in self.stints if one[1] >= since][:limit]

    def end_at_gate(self, generation: str) -> str | None:
        return self.at_gate.get(generation)

    def events(
        self, after: int = 0, limit: int = 1000, slot: str | None = None, *, last: bool = False
    ) -> Sequence[Row]:
        self._check()
        rows = [row for row in self.event_rows if slot is None or row.get("slot") == slot]
        rows = [row for row in rows if row["seq"] > after]
        return rows[-limit:] if last else rows[:limit]

    def lives(self, generations: Sequence[str]) -> Sequence[Row]:
        found = {row["agent"]: row for row in self.agents}
        return [found[one] for one in generations if one in found]

    def works(self, since: float) -> list[Work]:
        """Runs of jobs that ended since then."""
        return [work for work in self.worked if work.ended >= since]

    def known_from(self) -> float | None:
        """When the first ended."""
        return min((work.ended for work in self.worked), default=None)

    def ended_agents(
        self,
        since: float | None = None,
        slot: str | None = None,
        outcome: str | None = None,
        gpu: str | None = None,
        limit: int = 1000,
    ) -> Sequence[str]:
        self._check()
        return [
            str(row["agent"])
            for row in reversed(self.agents)
            if slot in (None, row["slot"])
            and outcome in (None, row["outcome"])
            and (since is None or row["exited"] >= since)
            and (gpu is None or gpu in row["gpus"])
        ][:limit]

    def read(
        self, generation: str, *, follow: bool, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Chunk]:
        read = 0
        while not stop():
            with self.changed:
                chunks = self.printed.get(generation, [])[read:]
                whole = generation in self.ended
            yield from chunks
            read += len(chunks)
            if not chunks:
                if whole or not follow:
                    return
                yield Chunk(NOTE, 0.0, b"")
                with self.changed:
                    self.changed.wait(0.05)

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault


Answering = Callable[[Command], Answer]


class Standing:
    """The ``QueueView``: what a test says of the jobs that wait and run."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.told: dict[str, Row] = {}  # position, starts_at, why by job
        self.left: float | None = None
        self.asked: list[SubmitJob] = []  # where it would stand
        self.estimated: Mapping[str, Any] | Refusal = {
            "jobs": 1,
            "pools": ["local"],
            "starts_in": 0.0,
            "why": "it is next",
            "ahead": 0,
            "slots": 1,
            "busy": 0,
        }
        self.reserved: list[Row] = []  # the calendar of reserved GPUs
        self.reservable: list[str] = []  # pools that let people reserve

    def is_reservation(self, job: str) -> bool:
        return any(row["reservation"] == job for row in self.reserved)

    def reservations(self) -> dict[str, object]:
        return {
            "schema": "mayfly.reservations/1",
            "reservations": self.reserved,
            "pools": self.reservable,
        }

    def positions(self) -> Mapping[str, int]:
        return self.places

    def seconds_left(self, pool: str, timeout: float | None, started: float) -> float | None:
        return self.left

    def standing(self, job: str) -> Mapping[str, Any]:
        return self.told.get(job, {})

    def standings(self, jobs: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        return {job: self.standing(job) for job in jobs}

    def estimate(self, command: SubmitJob) -> Mapping[str, Any] | Refusal:
        self.asked.append(command)
        return self.estimated


class IdleStandIn:
    """The ``IdleHost``: what a test says of a host's hours."""

    def __init__(self) -> None:
        self.settings: IdleSettings | None = None
        self.told: Row = {"schema": "mayfly.idle/1", "configured": False}
        self.quarters: dict[int, Hours] = {}

    def document(self) -> Row:
        return self.told

    def hours(self, since: float, until: float) -> dict[int, Hours]:
        return {
            one: hours for one, hours in self.quarters.items() if since <= one * QUARTER < until
        }


def nobody_there(command: AttachAgent, _: Wanted) -> Reply:
    """No slot and no job has anybody."""
    return error_reply(404, f"there is no {command.to}", "no_such_job")


class StandIn:
    """A manager on a socket; ``commands`` is what its loop was asked."""

    def __init__(self, path: Path, answering: Answering | None = None) -> None:
        self.path = path
        self.board = StatusBoard()
        self.account = Account()
        self.queue = Standing()
        self.idle = IdleStandIn()
        self.commands: list[Command] = []
        self.failures: list[BaseException] = []
        kept = Bounds(1 << 30, 10 << 30, 20 << 30)
        self.workspaces = Workspaces(path.parent / "kept-for-jobs", kept, list)
        # What jobs use, the next time that it is asked.
        self.use: list[Row] = [
            {"schema": "mayfly.top/1", "at": "2026-11-21T09:00:00.000Z", "rows": []}
        ]
        self.attach: Callable[[AttachAgent, Wanted], Reply] = nobody_there
        self.gpus: Row = {"schema": "mayfly.gpus/1", "watched": False, "gpus": [], "slots": []}
        self.results = ResultStore(path.parent / "kept-results", 1 << 30, 1 << 30)
        self.answering = answering or (lambda _: Answer(200, {"slots": []}))
        self._inbox: SimpleQueue[PendingCommand | None] = SimpleQueue()
        self._loop = threading.Thread(target=self._run, daemon=True)
        self._loop.start()
        self.open()

    def send(self, pending: PendingCommand) -> None:
        """To its loop."""
        self._inbox.put(pending)

    def _let_in(self, command: AttachAgent, wanted: Wanted) -> Reply:
        return self.attach(command, wanted)

    def open(self) -> None:
        """Answer on the socket."""
        self.control = Control(
            self.board,
            self._inbox.put,
            self.account,
            self.account,
            lambda: b"mayfly_paused 0\n",
            idle=self.idle,
            queue=self.queue,
            workspaces=self.workspaces,
            attach=self._let_in,
            results=self.results,
            gpus=lambda: self.gpus,
            use=lambda: self.use.pop(0) if len(self.use) > 1 else self.use[0],
            version="0.1.0",
            on_failure=lambda _, error: self.failures.append(error),
        )
        self._server = self.control.open(self.path)
        self._server.start()

    def close(self) -> None:
        """Go away as a manager does that stops: streams end, the socket is gone."""
        self._server.close()
        self.control.stop()

    def publish(self, document: Mapping[str, object]) -> None:
        """What the loop does at the end of a pass."""
        self.board.publish(document)

    def _run(self) -> None:
        while (pending := self._inbox.get()) is not None:
            self.commands.append(pending.command)
            answer = self.answering(pending.command)
            pending.answer(answer.status, answer.body)
